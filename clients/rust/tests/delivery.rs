//! From the application to the log, through everything that can happen on the way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use homeostat_client::event::{CallOutcome, Flag, Metric, Query};
use homeostat_client::{Client, FlushError, PublishError, Settings, trace};
use homeostat_schemas::{Event, EventKind, TraceContext};
use std::collections::BTreeSet;
use std::time::Duration;
use support::{LONG, Server, free_port, numbers, soon, until};

fn say(client: &Client, from: u64, to: u64) {
    (from..to).for_each(|n| client.metric("n", n as f64));
}

/// Everything that was said stands on the log, once.
fn exactly(events: &[Event], count: u64) {
    let found = numbers(events);
    let unique: BTreeSet<u64> = found.iter().copied().collect();
    assert_eq!(unique.len(), found.len(), "something stands there twice");
    assert_eq!(unique, (0..count).collect());
}

#[tokio::test]
async fn what_is_said_stands_on_the_log() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").instance("web-1").zone("a").start().await.unwrap();
    client.query("SELECT * FROM orders WHERE email = 'ana@example.org'", Duration::from_millis(3));
    let failed = Query {
        statement: "insert into t values (17, 'secret')".to_owned(),
        system: Some("sqlite".to_owned()),
        error: Some(Flag::Text("UNIQUE constraint failed: t.name = 'secret'".to_owned())),
        ..Query::default()
    };
    client.event(failed).unwrap();
    client.request("GET /orders/{id}", 200, Duration::from_millis(7));
    client.call("payments", CallOutcome::Timeout, Duration::from_secs(1));
    client.metric("queue.depth", 4.0);
    client.sample("pricing", "price", 3.5);
    client.samples("pricing", "category", ["a", "b"]);
    let cache = client.cache("products");
    cache.hit();
    cache.miss();
    client.pool("db", || homeostat_client::PoolUse { used: 3, max: 10, waiting: Some(1), wait: None });
    let peer = client.peer("stock").operation("reserve");
    peer.record(CallOutcome::Ok, Duration::from_secs(2));
    peer.record(CallOutcome::Error, Duration::ZERO);
    client.shutdown(LONG).await.unwrap();

    let entries = server.entries().await;
    let (mut kinds, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries.iter().filter(|entry| entry.subject.contains(".event.")) {
        assert_eq!(entry.header("content-type"), Some("application/msgpack"));
        assert!(TraceContext::new(entry.header("traceparent"), None).traceparent.is_some());
        let id = entry.header("Nats-Msg-Id").unwrap();
        assert!(id.len() == 32 && ids.insert(id.to_owned()));
        for needle in ["ana@", "secret", "17,"] {
            assert!(!String::from_utf8_lossy(&entry.payload).contains(needle), "{needle} left the application");
        }
        for event in support::events_of(entry) {
            assert_eq!((event.service(), event.instance()), ("shop", Some("web-1")));
            assert!(event.at_ms() > 0);
            kinds.insert(event.kind());
        }
    }
    use EventKind as K;
    assert_eq!(kinds, BTreeSet::from([K::Query, K::Request, K::Call, K::Calls, K::Pool, K::Cache, K::Sample, K::Metric, K::Order]));
    let events = server.events().await;
    let queries: Vec<&Query> = events.iter().filter_map(|e| if let Event::Query(q) = e { Some(q) } else { None }).collect();
    assert_eq!(queries[0].statement, "select * from orders where email = ?");
    assert!(queries.iter().all(|query| query.params.as_ref().is_some_and(|hash| hash.len() == 16)));
    assert_eq!(queries[1].error, Some(Flag::Bool(true)));
    let Some(Event::Calls(calls)) = events.iter().find(|event| event.kind() == K::Calls) else { panic!("no calls") };
    assert_eq!((calls.ok, calls.failed, calls.slow, calls.operation.as_deref()), (1, 1, Some(1), Some("reserve")));
    let Some(Event::Order(last)) = events.last() else { panic!("the last word is not a goodbye") };
    assert_eq!((last.action.as_str(), last.target.as_str()), ("health.retire", "shop/web-1"));
    let stats = client.stats();
    assert_eq!((stats.published, stats.waiting, stats.dropped, stats.refused), (stats.accepted, 0, 0, 0));
    assert_eq!(client.event(Metric::default()), Err(PublishError::Closed));
}

#[tokio::test]
async fn a_value_nobody_can_mean_is_an_error_on_the_spot() {
    let client = Settings::new("shop").url("nats://127.0.0.1:1").heartbeat(None).sampling(None).start().await.unwrap();
    let error = client.event(Metric { name: "x".to_owned(), value: f64::NAN, ..Metric::default() }).unwrap_err();
    assert!(error.to_string().contains("value"), "{error}");
    assert_eq!((client.stats().invalid, client.stats().accepted), (1, 0));
}

#[tokio::test]
async fn a_bus_that_comes_later_gets_what_was_said_before() {
    let mut server = Server::idle("");
    let client = server.settings("shop").start().await.unwrap();
    say(&client, 0, 1_000);
    let late = client.flush(Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(late, FlushError::Late { left: 1_000, .. }), "{late}");
    assert!(late.to_string().contains("is Homeostat running"), "{late}");
    server.start();
    // There is a server, but nothing takes the events yet: they are not lost, either.
    assert!(soon(client.connected(LONG)).await);
    until("somebody says what is missing", || client.stats().last_error.is_some_and(|error| error.contains("no stream"))).await;
    server.make_log().await;
    soon(client.flush(LONG)).await.unwrap();
    exactly(&server.events().await, 1_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let mut server = Server::with_log("").await;
    let client = server.settings("shop").retry(Duration::from_secs(2), Duration::from_secs(100)).start().await.unwrap();
    assert!(soon(client.connected(LONG)).await);
    let mut said = 0;
    for life in 1..=5u64 {
        // Enough to be in the middle of something, whenever it dies.
        for _ in 0..20 {
            say(&client, said, said + 200);
            said += 200;
            tokio::task::yield_now().await;
        }
        let published = client.stats().published;
        until("something is stored", || client.stats().published > published || client.stats().waiting == 0).await;
        server.kill();
        say(&client, said, said + 50);
        said += 50;
        server.start();
        until("it is back", || client.stats().connections > life).await;
    }
    soon(client.flush(LONG)).await.unwrap();
    exactly(&server.events().await, said);
    let stats = client.stats();
    assert_eq!((stats.published, stats.dropped + stats.displaced, stats.uncertain), (said, 0, 0), "{stats:?}");
}

/// A road on which answers can be stopped: what the client says arrives, what the server says does not.
async fn road(to: u16) -> (u16, tokio::sync::watch::Sender<bool>, tokio::sync::watch::Sender<u32>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (silent, silenced) = tokio::sync::watch::channel(false);
    let (cut, cuts) = tokio::sync::watch::channel(0u32);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = tokio::net::TcpStream::connect(("127.0.0.1", to)).await else { continue };
            let (silenced, mut cuts) = (silenced.clone(), cuts.clone());
            cuts.mark_unchanged();
            tokio::spawn(async move {
                let (mut near_in, mut near_out) = near.into_split();
                let (mut far_in, mut far_out) = far.into_split();
                let there = async { tokio::io::copy(&mut near_in, &mut far_out).await.map(|_| ()) };
                let back = async {
                    let mut buffer = vec![0u8; 64 << 10];
                    loop {
                        let n = far_in.read(&mut buffer).await?;
                        if n == 0 {
                            return Ok::<(), std::io::Error>(());
                        }
                        if !*silenced.borrow() {
                            near_out.write_all(&buffer[..n]).await?;
                        }
                    }
                };
                tokio::select! { _ = there => {} _ = back => {} _ = cuts.changed() => {} }
            });
        }
    });
    (port, silent, cut)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_acknowledgements_double_nothing() {
    let server = Server::with_log("").await;
    let (port, silent, cut) = road(server.port).await;
    let settings = server.settings("shop").url(format!("nats://admin:admin@127.0.0.1:{port}"));
    let client = settings.retry(Duration::from_millis(300), Duration::from_secs(100)).start().await.unwrap();
    assert!(soon(client.connected(LONG)).await);
    say(&client, 0, 100);
    soon(client.flush(LONG)).await.unwrap();
    // Stored, but nobody hears it: by a time-out first, then because the connection breaks.
    silent.send_replace(true);
    say(&client, 100, 200);
    until("a try has failed", || client.stats().retries > 0).await;
    say(&client, 200, 300);
    until("that is under way, too", || client.stats().retries > 2).await;
    silent.send_replace(false);
    cut.send_modify(|n| *n += 1);
    soon(client.flush(LONG)).await.unwrap();
    let stats = client.stats();
    assert!(stats.duplicates > 0, "no acknowledgement was lost: the test tests nothing ({stats:?})");
    exactly(&server.events().await, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_can_tell_about_is_given_up_and_not_sent_again() {
    let server = Server::with_log("").await;
    let (port, silent, _cut) = road(server.port).await;
    let settings = server.settings("shop").url(format!("nats://admin:admin@127.0.0.1:{port}"));
    let client = settings.retry(Duration::from_millis(50), Duration::from_millis(50)).start().await.unwrap();
    assert!(soon(client.connected(LONG)).await);
    silent.send_replace(true);
    say(&client, 0, 10);
    let lost = soon(client.flush(LONG)).await.unwrap_err();
    assert!(matches!(lost, FlushError::Lost { lost: 10, refused: 0, .. }), "{lost}");
    assert_eq!(client.stats().uncertain, 10);
    exactly(&server.events().await, 10);
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_queue_drops_and_counts_and_never_waits() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").queue(100, 1 << 20).start().await.unwrap();
    // Nobody else runs on this thread meanwhile: nothing is taken out.
    say(&client, 0, 1_000);
    assert_eq!(client.event(Metric { name: "n".to_owned(), value: 1e6, ..Metric::default() }), Err(PublishError::Full));
    let stats = client.stats();
    assert_eq!((stats.accepted, stats.dropped), (100, 901));
    let lost = soon(client.flush(LONG)).await;
    assert_eq!(lost, Ok(()), "what was dropped before is not the flush's affair");
    exactly(&server.events().await, 100);
    assert!(matches!(soon(client.shutdown(LONG)).await, Err(FlushError::Lost { lost: 901, .. })), "but the shutdown's");
}

#[tokio::test]
async fn a_long_absence_keeps_the_newest() {
    let mut server = Server::idle("");
    let client = server.settings("shop").batch(2_000, Duration::from_millis(5)).waiting(20_000).start().await.unwrap();
    for n in 0..100u64 {
        say(&client, n * 20, n * 20 + 20);
        until("it is packed", || client.stats().queued == 0).await;
    }
    until("the oldest go", || client.stats().displaced > 0).await;
    server.start();
    server.make_log().await;
    let _ = soon(client.flush(LONG)).await;
    let found = numbers(&server.events().await);
    let stats = client.stats();
    assert_eq!(found.last(), Some(&1_999));
    assert!(found.is_sorted() && found[0] > 0, "the oldest went");
    assert_eq!(stats.published + stats.displaced, 2_000, "{stats:?}");
    assert_eq!(found.len() as u64, stats.published);
}

const LIMITED: &str = r#"{ user = limited, password = limited, permissions = {
    publish = ["homeostat.v1.event.metric.shop"], subscribe = ["_INBOX.>"] } }"#;

#[tokio::test]
async fn a_refused_publish_is_an_error_and_a_count_and_stops_nobody_else() {
    let mut server = Server::with_log(LIMITED).await;
    let settings = server.settings("shop").url(format!("nats://limited:limited@127.0.0.1:{}", server.port));
    let client = settings.start().await.unwrap();
    client.query("select 1", Duration::ZERO);
    let lost = soon(client.flush(LONG)).await.unwrap_err();
    assert!(matches!(&lost, FlushError::Lost { refused: 1, lost: 0, .. }), "{lost}");
    assert!(lost.to_string().to_lowercase().contains("permissions violation"), "{lost}");
    let error = client.event(Query { statement: "select 2".to_owned(), ..Query::default() }).unwrap_err();
    assert!(matches!(&error, PublishError::Refused { subject, .. } if subject == "homeostat.v1.event.query.shop"), "{error}");
    say(&client, 0, 10);
    assert!(soon(client.flush(LONG)).await.is_err());
    assert_eq!((client.stats().published, client.stats().refused), (10, 2));

    // Somebody corrects the permissions: the next connection is another chance.
    server.kill();
    server.users = LIMITED.replace("event.metric.shop", "event.*.shop");
    server.start();
    until("it is back", || client.stats().connections > 1).await;
    let before = client.stats().refused;
    until("queries arrive", || {
        client.query("select 3", Duration::ZERO);
        client.stats().published > 10
    })
    .await;
    assert!(client.stats().refused <= before + 1);
}

#[tokio::test]
async fn wrong_credentials_are_said_and_tried_again() {
    let mut server = Server::with_log("").await;
    let settings = server.settings("shop").url(format!("nats://shop:new@127.0.0.1:{}", server.port));
    let client = settings.start().await.unwrap();
    say(&client, 0, 5);
    until("it says why", || client.stats().last_error.is_some_and(|error| error.contains("credentials"))).await;
    server.kill();
    server.users = "{ user = shop, password = new }".to_owned();
    server.start();
    soon(client.flush(LONG)).await.unwrap();
    exactly(&server.events().await, 5);
}

#[tokio::test]
async fn a_homeostat_on_this_machine_is_found_also_when_it_comes_back_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        let config = homeostat_nats::EmbeddedConfig {
            data_dir: dir.path().to_owned(),
            tools_dir: Some(concat!(env!("CARGO_MANIFEST_DIR"), "/../../.tools").into()),
            port: Some(free_port()),
            ..Default::default()
        };
        let server = soon(homeostat_nats::Embedded::start(config)).await.unwrap();
        let bus = soon(homeostat_nats::Bus::connect(&server.bus_config(&Default::default()))).await.unwrap();
        soon(bus.ensure_log()).await.unwrap();
        server
    };
    let client = Settings::new("shop").data_dir(dir.path()).heartbeat(None).sampling(None).retire_on_shutdown(false).start().await.unwrap();
    client.metric("n", 1.0);
    let first = start().await;
    soon(client.flush(LONG)).await.unwrap();
    soon(first.stop()).await;
    client.metric("n", 2.0);
    let second = start().await;
    soon(client.flush(LONG)).await.unwrap();
    soon(client.shutdown(LONG)).await.unwrap();
    assert_eq!(client.stats().published, 2);
    drop(second);
}

#[tokio::test]
async fn the_last_handle_leaves_nothing_behind() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").batch(1 << 10, Duration::from_secs(30)).start().await.unwrap();
    say(&client, 0, 100);
    drop(client);
    soon(async {
        while server.events().await.len() < 100 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    exactly(&server.events().await, 100);
}

#[tokio::test]
async fn the_heart_beats_with_checks_and_a_panicking_one_is_down() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").heartbeat(Duration::from_millis(200)).sampling(Duration::from_millis(100)).start().await.unwrap();
    client.check("db", || async { Ok::<(), String>(()) });
    client.check("disk", || async { Err::<(), _>("full") });
    client.check_optional("panics", || async {
        if true {
            panic!("on purpose");
        }
        homeostat_client::Verdict::up()
    });
    client.check_optional("hangs", || async {
        std::future::pending::<()>().await;
        homeostat_client::Verdict::up()
    });
    let beats = soon(async {
        loop {
            let _ = client.flush(LONG).await;
            let events = server.events().await;
            let full = events.iter().find_map(|event| match event {
                Event::Heartbeat(beat) if beat.checks.len() == 4 => Some(beat.clone()),
                _ => None,
            });
            let resource = events.iter().find_map(|event| if let Event::Resource(r) = event { Some(r.clone()) } else { None });
            if let (Some(beat), Some(resource)) = (full, resource) {
                return (beat, resource);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let (beat, resource) = beats;
    let told: Vec<String> = beat
        .checks
        .iter()
        .map(|check| format!("{} {:?} {:?} {}", check.name, check.status, check.required, check.detail.as_deref().unwrap_or("-")))
        .collect();
    assert_eq!(
        told,
        [
            "db Up Some(true) -",
            "disk Down Some(true) full",
            "panics Down Some(false) the check panicked",
            "hangs Down Some(false) no answer within 100 ms"
        ]
    );
    assert!((beat.interval_s - 0.2).abs() < 1e-9 && beat.up_s >= 0.0);
    assert!(resource.memory_bytes > 0 && resource.started_ms.is_some());
}

#[tokio::test]
async fn a_trace_reaches_the_message() {
    let server = Server::with_log("").await;
    let client = server.settings("shop").start().await.unwrap();
    let context = trace::Context::from_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
    context.scope(async { client.query("select 1", Duration::ZERO) }).await;
    soon(client.flush(LONG)).await.unwrap();
    let entries = server.entries().await;
    let entry = entries.iter().find(|entry| entry.subject.contains(".event.query.")).unwrap();
    assert_eq!(entry.header("traceparent"), Some(context.traceparent().as_str()));
    let Event::Query(query) = &support::events_of(entry)[0] else { panic!("no query") };
    assert_eq!((query.trace.clone(), query.parent.clone()), (Some(context.trace_id()), Some(context.span_id())));
}
