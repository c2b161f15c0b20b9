//! The breaker: calls that are not made, what stands in their place, what the fleet hears, and what the fleet says.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use homeostat_client::Client;
use homeostat_client::breaker::{Breaker, CallError, Config, Operation, Options, Outcome, Refusal, State};
use homeostat_client::layer::Breaking;
use homeostat_schemas::admission::AdmissionState;
use homeostat_schemas::{Admission, Event};
use http::{Request, Response, StatusCode};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use support::{LONG, Server, soon, until};
use tower::{Layer as _, Service as _, ServiceExt as _, service_fn};

fn quick() -> Config {
    // It stays open for longer than any test takes.
    Config { min_calls: 4, open_ms: 3_600_000, open_max_ms: 3_600_000, ..Config::default() }
}

async fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        let _ = breaker.call(async { Err::<(), _>("down") }).await;
    }
}

/// `(ok, failed, shed)` of a peer on the log.
fn sums(events: &[Event], peer: &str) -> (u64, u64, u64) {
    let calls = events.iter().filter_map(|event| if let Event::Calls(calls) = event { Some(calls) } else { None });
    calls.filter(|calls| calls.peer == peer).fold((0, 0, 0), |sum, c| (sum.0 + c.ok, sum.1 + c.failed, sum.2 + c.shed))
}

#[tokio::test]
async fn a_peer_that_fails_is_left_alone_and_the_fleet_hears_of_it() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().await.unwrap();
    let payments = client.breaker_with("payments", None, quick());
    assert_eq!(payments.call(async { Ok::<_, &str>(7) }).await, Ok(7));
    fail(&payments, 8).await;
    assert_eq!(payments.snapshot().state, State::Open);
    let polled = AtomicU64::new(0);
    let refused = payments
        .call(async {
            polled.fetch_add(1, SeqCst);
            Ok::<_, &str>(1)
        })
        .await;
    assert!(matches!(refused, Err(CallError::Refused(Refusal::Open { .. }))), "{refused:?}");
    assert_eq!(polled.load(SeqCst), 0, "a call that is refused is not begun");
    // Another handle is the same breaker; another peer is not.
    assert_eq!(client.breaker("payments").snapshot().state, State::Open);
    assert_eq!(client.breaker("stock").call(async { Ok::<_, &str>(1) }).await, Ok(1));
    let answer = payments.call_or(&Options::default(), async { Err("down") }, |_| async { Ok("later") }).await;
    assert_eq!(answer, Ok("later"));
    payments.operate(Operation::Close);
    assert_eq!(payments.call(async { Ok::<_, &str>(8) }).await, Ok(8));
    soon(client.shutdown(LONG)).await.unwrap();
    let events = server.events().await;
    let (ok, failed, shed) = sums(&events, "payments");
    assert_eq!(ok, 2);
    assert_eq!((failed, shed), (3, 7), "with one success, three failures are three quarters of the four calls it takes");
    assert_eq!(sums(&events, "stock"), (1, 0, 0));
}

/// What a peer's breaker said: from, to, why.
fn said(events: &[Event], peer: &str) -> Vec<(Option<State>, State, Option<String>)> {
    let all = events.iter().filter_map(|event| if let Event::Breaker(said) = event { Some(said) } else { None });
    let mut all: Vec<_> = all.filter(|said| said.peer == peer).collect();
    all.sort_by_key(|said| said.epoch);
    assert!(all.iter().all(|said| said.instance.as_deref() == Some("web-1") && said.since_ms.is_some_and(|since| since <= said.at_ms)));
    all.into_iter().map(|said| (said.from, said.state, said.why.clone())).collect()
}

#[tokio::test]
async fn every_change_of_state_is_on_the_log() {
    use State::{Closed, Disabled, ForcedOpen, HalfOpen, Open};
    let server = Server::with_log("").await;
    let client = server.settings("shop").instance("web-1").start().await.unwrap();
    let config = Config { min_calls: 4, open_ms: 10, open_max_ms: 10, half_open_permits: 1, ..Config::default() };
    let payments = client.breaker_with("payments", None, config);
    let charge = client.breaker_with("stock", Some("reserve"), quick());
    fail(&payments, 8).await;
    assert_eq!(payments.snapshot().state, Open);
    soon(async {
        while payments.snapshot().state != Closed {
            let _ = payments.call(async { Ok::<_, &str>(1) }).await;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    for operation in [Operation::ForceOpen, Operation::Disable, Operation::Enable] {
        charge.operate(operation);
    }
    client.shutdown(LONG).await.unwrap();
    let events = server.events().await;
    let why = |word: &str| Some(word.to_owned());
    let story =
        [(Some(Closed), Open, why("failure_rate")), (Some(Open), HalfOpen, why("wait_over")), (Some(HalfOpen), Closed, why("probes_good"))];
    assert_eq!(said(&events, "payments"), story);
    let operated = [(Some(Closed), ForcedOpen), (Some(ForcedOpen), Disabled), (Some(Disabled), Closed)];
    assert_eq!(said(&events, "stock"), operated.map(|(from, to)| (from, to, why("operator"))));
    assert!(
        events
            .iter()
            .all(|event| !matches!(event, Event::Breaker(said) if said.peer == "stock" && said.operation.as_deref() != Some("reserve")))
    );
}

#[tokio::test]
async fn a_bus_that_is_away_holds_no_breaker_up() {
    let server = Server::idle("");
    let client = server.settings("shop").start().await.unwrap();
    let payments = client.breaker_with("payments", None, quick());
    for n in 0..10_000 {
        payments.operate(if n % 2 == 0 { Operation::ForceOpen } else { Operation::Close });
    }
    // 64 changes wait for the reporter at most, and eight of them are told; the rest of the queue is the application's.
    until("what is due is told", || client.stats().waiting > 0).await;
    assert!(client.stats().waiting <= 8 + 2, "{:?}", client.stats());
    assert_eq!((payments.snapshot().state, client.stats().dropped), (State::Closed, 0));
}

#[tokio::test]
async fn what_says_nothing_of_the_peer_opens_nothing() {
    let server = Server::idle("");
    let client = server.settings("shop").start().await.unwrap();
    let payments = client.breaker_with("payments", None, quick());
    let mine = Options::default().judge(|_: &&str| Outcome::Ignored);
    for _ in 0..20 {
        let wrong = payments.call_or(&mine, async { Err::<(), _>("no such card") }, |_| async { Ok(()) }).await;
        assert_eq!(wrong, Err(CallError::Failed("no such card")), "the caller's mistake is the caller's");
        // A caller that goes away.
        let mut call = Box::pin(payments.call(std::future::pending::<Result<(), &str>>()));
        assert!(futures::poll!(call.as_mut()).is_pending());
    }
    assert_eq!(payments.snapshot().state, State::Closed);
    let late = Options::default().timeout(Duration::from_millis(1));
    for _ in 0..8 {
        let given_up = payments.call_with(&late, std::future::pending::<Result<(), &str>>()).await;
        assert!(matches!(given_up, Err(CallError::TimedOut(_) | CallError::Refused(_))), "{given_up:?}");
    }
    assert_eq!(payments.snapshot().state, State::Open, "a time-out says something");
}

async fn announce(bus: &homeostat_nats::Bus, said: &Admission) {
    let message = homeostat_nats::Message::new("homeostat.v1.admission.shop.payments", serde_json::to_vec(said).unwrap());
    soon(bus.publish(&message)).await.unwrap();
}

/// Nothing passes.
fn nothing() -> Admission {
    Admission {
        service: "shop".to_owned(),
        peer: "payments".to_owned(),
        state: AdmissionState::Open,
        fraction: 0.0,
        retry_fraction: 0.0,
        epoch: 1,
        lease_ms: 3_600_000,
        ..Admission::default()
    }
}

/// Whether it listens already nobody can tell: it is said again, as the breaker actor does.
async fn announce_until_heard(bus: &homeostat_nats::Bus, said: &Admission, breaker: &Breaker) {
    let deadline = tokio::time::Instant::now() + LONG;
    while breaker.snapshot().share.is_none() {
        assert!(tokio::time::Instant::now() < deadline, "the fleet's word is not heard");
        announce(bus, said).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_held_back_is_called_in_the_end() {
    let server = Server::with_log("").await;
    let bus = server.bus().await;
    let client: Client = server.settings("shop").start().await.unwrap();
    let payments = client.breaker("payments");
    let hold = Duration::from_millis(120);
    announce_until_heard(&bus, &Admission { hold_ms: Some(120), ..nothing() }, &payments).await;
    let began = std::time::Instant::now();
    assert_eq!(soon(payments.call(async { Ok::<_, &str>(began.elapsed() >= hold) })).await, Ok(true));
    let peer = service_fn(|began: Request<std::time::Instant>| async move {
        let waited = began.body().elapsed() >= Duration::from_millis(120);
        Ok::<_, &str>(Response::new(waited))
    });
    let mut guarded = Breaking::new(payments.clone()).layer(peer);
    let answer = soon(guarded.ready().await.unwrap().call(Request::new(std::time::Instant::now()))).await.unwrap();
    assert!(*answer.body());
    assert_eq!(payments.snapshot().totals.shed, 0);
    // Another word, and who waits is refused.
    announce(&bus, &Admission { epoch: 2, hold_ms: Some(2_000), ..nothing() }).await;
    until("the other word is heard", || payments.snapshot().share.is_some_and(|share| share.hold == 2_000)).await;
    let (waiting, _) = tokio::join!(soon(payments.call(async { Ok::<_, &str>(1) })), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        announce(&bus, &Admission { epoch: 3, ..nothing() }).await;
    });
    assert_eq!(waiting, Err(CallError::Refused(Refusal::Fleet)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fleets_word_is_followed_as_long_as_it_holds() {
    let server = Server::with_log("").await;
    let bus = server.bus().await;
    let client: Client = server.settings("shop").start().await.unwrap();
    let payments = client.breaker("payments");
    let said = nothing();
    announce_until_heard(&bus, &said, &payments).await;
    let refused = payments.call(async { Ok::<_, &str>(1) }).await;
    assert_eq!(refused, Err(CallError::Refused(Refusal::Fleet)));
    // The bus is cut: the lease ends, and the breaker goes on alone.
    announce(&bus, &Admission { epoch: 2, lease_ms: 50, ..said }).await;
    until("the lease is over", || payments.snapshot().share.is_none()).await;
    assert_eq!(payments.snapshot().state, State::Closed);
}

#[tokio::test]
async fn the_layer_asks_first_and_the_fallback_answers() {
    let server = Server::idle("");
    let client = server.settings("shop").start().await.unwrap();
    let breaker = client.breaker_with("payments", None, quick());
    let calls = AtomicU64::new(0);
    let peer = service_fn(|request: Request<u16>| {
        calls.fetch_add(1, SeqCst);
        let status = *request.body();
        async move { Ok::<_, &str>(Response::builder().status(status).body("peer").unwrap()) }
    });
    let mut guarded = Breaking::new(breaker.clone()).layer(peer);
    for status in [404, 404, 404, 404, 404, 404, 404, 404, 503, 503, 503, 503, 503, 503] {
        let _ = guarded.ready().await.unwrap().call(Request::new(status)).await;
    }
    assert_eq!(breaker.snapshot().state, State::Open);
    let made = calls.load(SeqCst);
    assert!((12..14).contains(&made), "{made} calls were made");
    let refused = guarded.ready().await.unwrap().call(Request::new(200)).await;
    assert!(matches!(refused, Err(CallError::Refused(_))), "{refused:?}");
    let instead = |_: Refusal| Response::builder().status(StatusCode::ACCEPTED).body("later").unwrap();
    let mut guarded = Breaking::new(breaker).fallback(instead).layer(peer);
    let answer = guarded.ready().await.unwrap().call(Request::new(200)).await.unwrap();
    assert_eq!((answer.status(), *answer.body(), calls.load(SeqCst)), (StatusCode::ACCEPTED, "later", made));
}
