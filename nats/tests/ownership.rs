//! The ticker and the lease: one beat, one holder.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::time::Duration;

use homeostat_nats::{Lease, LeaseConfig, LeaseState, Ticker, TickerConfig};
use support::{soon, world};

async fn ticks(w: &support::World) -> Vec<u64> {
    w.everything().await.iter().filter(|e| e.subject.as_str() == "homeostat.v1.tick").map(|e| e.at_ms).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tickers_are_one_beat() {
    let w = world().await;
    let other = w.second().await;
    let config = TickerConfig { period_ms: 100 };
    let one = Ticker::start(&w.log, &config);
    let two = Ticker::start(&other, &config);
    soon(one.stats().wait_for(|s| s.stored + s.late >= 20)).await.unwrap();
    let (a, b) = (*one.stats().borrow(), *two.stats().borrow());
    one.stop().await;
    two.stop().await;
    let times = ticks(&w).await;
    assert!(times.len() as u64 >= a.stored + b.stored);
    // Two beats in a row are never much closer than a period. They may be further apart when the
    // machine is busy, so only the lower bound is asked for.
    let close = times.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) < 25).count();
    assert!(close <= 1, "{times:?}");
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_ticker_takes_over_and_a_stopped_one_is_silent() {
    let w = world().await;
    let other = w.second().await;
    let config = TickerConfig { period_ms: 50 };
    let one = Ticker::start(&w.log, &config);
    soon(one.stats().wait_for(|s| s.stored >= 3)).await.unwrap();
    let two = Ticker::start(&other, &config);
    soon(two.stats().wait_for(|s| s.late >= 1)).await.unwrap();
    one.stop().await;
    let before = two.stats().borrow().stored;
    soon(two.stats().wait_for(|s| s.stored >= before + 5)).await.unwrap();
    two.stop().await;
    let last = w.log.bounds().await.unwrap().last;
    tokio::task::yield_now().await;
    assert_eq!(w.log.bounds().await.unwrap().last, last);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticker_survives_the_servers_death_and_makes_nothing_up() {
    let w = world().await;
    let ticker = Ticker::start(&w.log, &TickerConfig { period_ms: 50 });
    soon(ticker.stats().wait_for(|s| s.stored >= 3)).await.unwrap();
    w.kill_server().await;
    let before = ticker.stats().borrow().stored;
    soon(ticker.stats().wait_for(|s| s.stored >= before + 5)).await.unwrap();
    ticker.stop().await;
    let times = ticks(&w).await;
    let close = times.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) < 10).count();
    assert!(close <= 1, "{times:?}");
    w.server.stop().await;
}

/// Nobody takes over from a holder that is merely slow: for tests that are not about that.
fn patient() -> LeaseConfig {
    LeaseConfig { patience_ms: 3_600_000, ..quick() }
}

fn quick() -> LeaseConfig {
    LeaseConfig { renew_ms: 50, patience_ms: 1_000 }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_holds_and_the_others_stand_by() {
    let w = world().await;
    let leases: Vec<Lease> = (0..3).map(|_| Lease::start(&w.log, "query", &patient()).unwrap()).collect();
    let held = futures::future::select_all(leases.iter().map(|lease| Box::pin(lease.held())));
    let (epoch, holder, _) = soon(held).await;
    assert_eq!(epoch, Some(1));
    for (index, lease) in leases.iter().enumerate() {
        if index != holder {
            let known = LeaseState::Standby { holder: Some(leases[holder].holder().to_owned()) };
            soon(lease.state().wait_for(|state| *state == known)).await.unwrap();
        }
    }
    // Another actor's lease has nothing to do with it.
    let other = Lease::start(&w.log, "drift", &quick()).unwrap();
    assert_eq!(soon(other.held()).await, Some(1));
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_after_a_crash_and_at_once_after_a_stop() {
    let w = world().await;
    let one = Lease::start(&w.log, "query", &quick()).unwrap();
    assert_eq!(soon(one.held()).await, Some(1));
    let two = Lease::start(&w.second().await, "query", &quick()).unwrap();
    soon(two.state().wait_for(|s| matches!(s, LeaseState::Standby { holder: Some(_) }))).await.unwrap();
    // Dropped without a word, like a crash.
    drop(one);
    let epoch = soon(two.held()).await.unwrap();
    assert!(epoch >= 2);
    let three = Lease::start(&w.second().await, "query", &patient()).unwrap();
    soon(three.state().wait_for(|s| matches!(s, LeaseState::Standby { holder: Some(_) }))).await.unwrap();
    two.stop().await;
    assert!(soon(three.held()).await.unwrap() > epoch);
    w.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_that_cannot_renew_stops_believing() {
    let w = world().await;
    let lease = Lease::start(&w.log, "query", &quick()).unwrap();
    assert_eq!(soon(lease.held()).await, Some(1));
    w.server.stop().await;
    soon(lease.state().wait_for(|state| !state.is_held())).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_outlives_a_restart_of_the_server() {
    let w = world().await;
    let lease = Lease::start(&w.log, "query", &quick()).unwrap();
    assert!(soon(lease.held()).await.is_some());
    w.kill_server().await;
    soon(async { while w.bus.ping(Duration::from_secs(1)).await.is_err() {} }).await;
    assert!(soon(lease.held()).await.is_some());
    w.server.stop().await;
}
