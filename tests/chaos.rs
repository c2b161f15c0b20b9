//! Once: whatever dies, and wherever, what stands on the bus is exactly what a replay of the log says: nothing missing, nothing
//! doubled, nothing out of order. And without the fence it is not.
//!
//! `HOMEOSTAT_CHAOS_ROUNDS` sets how often something is killed (a few in CI, `make chaos` more than a hundred);
//! `HOMEOSTAT_CHAOS_SEED` makes a run like an earlier one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::story::{Chance, publish, request};
use common::{Server, Worker};
use homeostat::feed::decode;
use homeostat::replay::verify::{Verdict, Verifier};
use homeostat::roster::{ActorSettings, NAMES};
use homeostat_nats::{Checkpoints, Head, Log, Reader, ReaderOptions, fault};
use homeostat_schemas::Root;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Checkpoints and takeovers come often, so that every step between them is met.
const SETTINGS: &[&str] = &[
    "shell.checkpoint_every_ms=200",
    "shell.checkpoint_every_messages=100",
    "shell.checkpoint_idle_ms=400",
    "shell.lease_renew_ms=100",
    "shell.lease_patience_ms=300",
];

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Publishes until told to stop; says the last sequence.
fn load(log: Log, seed: u64, stop: Arc<AtomicBool>, last: Arc<AtomicU64>) -> tokio::task::JoinHandle<u64> {
    tokio::spawn(async move {
        let mut chance = Chance(seed);
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            last.store(publish(&log, request(count, &mut chance)).await, Ordering::Relaxed);
            count += 1;
            tokio::time::sleep(Duration::from_millis(8)).await;
        }
        count
    })
}

/// Waits until every actor has a checkpoint at or behind a position.
async fn settled(log: &Log, position: u64, worker: &mut Worker) {
    let began = std::time::Instant::now();
    for actor in NAMES {
        loop {
            let head = log.last_on(&log.subject(&format!("chain.{actor}"))).await.ok().flatten();
            let saved = head.and_then(|entry| Checkpoints::position_of(&Head::decode(&entry).ok()?.checkpoint?));
            if saved.is_some_and(|saved| saved >= position) {
                break;
            }
            if let Some(status) = worker.child.try_wait().unwrap() {
                panic!("the last worker ended with {status}: {}", worker.log());
            }
            assert!(began.elapsed() < Duration::from_secs(90), "{actor} is not at {position} but at {saved:?}: {}", worker.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

async fn verify(log: &Log) -> Verdict {
    let root = Root::default();
    let last = log.bounds().await.unwrap().last;
    let mut reader = Reader::open(log, 1, ReaderOptions::default()).await.unwrap();
    let mut verifier = Verifier::new(log.incarnation(), &ActorSettings::default(), BTreeSet::new()).unwrap();
    loop {
        for entry in reader.next().await.unwrap() {
            verifier.take(&decode(&root, &entry), &entry.payload);
            if entry.seq == last {
                return verifier.finish();
            }
        }
    }
}

fn assert_once(verdict: &Verdict) {
    assert!(verdict.holds(), "{verdict:#?}");
    assert_eq!(verdict.pending, 0, "{verdict:#?}");
    assert_eq!(verdict.same, verdict.recorded, "{verdict:#?}");
    assert!(verdict.recorded > 20, "the story gave the minds too little to say: {verdict:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_the_bus_says_what_a_replay_says() {
    let rounds = number("HOMEOSTAT_CHAOS_ROUNDS", 18);
    let seed = number("HOMEOSTAT_CHAOS_SEED", common::story::now_ms());
    eprintln!("chaos: {rounds} rounds, HOMEOSTAT_CHAOS_SEED={seed}");
    let mut chance = Chance(seed);
    let server = Server::start().await;
    let log = server.log().await;
    let stop = Arc::new(AtomicBool::new(false));
    let last = Arc::new(AtomicU64::new(0));
    let load = load(log.clone(), seed, stop.clone(), last.clone());
    let url = server.url();
    let points: Vec<&str> = fault::POINTS.iter().map(|(name, _)| *name).chain(["keeper.after_step"]).collect();
    let (mut at_points, mut at_random, mut servers, mut owners) = (0, 0, 0, 0);
    for round in 0..rounds {
        let dir = |n: u64| server.path(&format!("worker{n}"));
        match round % 6 {
            0..=2 => {
                // Every point in turn, at one of its first passes.
                let point = points[usize::try_from(round / 6 * 3 + round % 6).unwrap() % points.len()];
                let fault = format!("{point}:{}", 1 + chance.below(4));
                let mut worker = Worker::spawn(&dir(0), Some(&url), SETTINGS, &[("HOMEOSTAT_FAULT", &fault)]);
                if worker.ended(Duration::from_secs(10)).await.is_none() {
                    worker.kill();
                }
                at_points += 1;
            }
            3 => {
                let mut worker = Worker::spawn(&dir(0), Some(&url), SETTINGS, &[]);
                tokio::time::sleep(Duration::from_millis(300 + chance.below(1500))).await;
                worker.kill();
                at_random += 1;
            }
            4 => {
                let mut worker = Worker::spawn(&dir(0), Some(&url), SETTINGS, &[]);
                tokio::time::sleep(Duration::from_millis(700 + chance.below(500))).await;
                let pid = server.embedded.state().borrow().pid.expect("the server runs");
                assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
                tokio::time::sleep(Duration::from_millis(1500 + chance.below(500))).await;
                worker.kill();
                servers += 1;
            }
            _ => {
                // The first is frozen while the second takes over, and wakes up believing that nothing happened.
                let mut first = Worker::spawn(&dir(0), Some(&url), SETTINGS, &[("HOMEOSTAT_TEST_LEASE", "off")]);
                tokio::time::sleep(Duration::from_millis(700 + chance.below(300))).await;
                first.signal("STOP");
                let mut second = Worker::spawn(&dir(1), Some(&url), SETTINGS, &[("HOMEOSTAT_TEST_LEASE", "off")]);
                tokio::time::sleep(Duration::from_millis(700 + chance.below(300))).await;
                first.signal("CONT");
                tokio::time::sleep(Duration::from_millis(700 + chance.below(500))).await;
                first.kill();
                second.kill();
                owners += 1;
            }
        }
    }
    stop.store(true, Ordering::Relaxed);
    let requests = load.await.unwrap();
    let mut worker = Worker::spawn(&server.path("worker0"), Some(&url), SETTINGS, &[]);
    settled(&log, last.load(Ordering::Relaxed), &mut worker).await;
    let said = worker.log();
    let status = worker.stop().await;
    assert!(status.success(), "a graceful stop ends with 0, not {status}");
    // No message killed anything here, however often one was at work when the process was killed.
    let suspected = said.matches("it is taken alone").count();
    assert!(!said.contains("a message was set aside"), "an innocent message was set aside: {said}");
    let verdict = verify(&log).await;
    eprintln!(
        "chaos: killed {at_points} times between steps, {at_random} times at random, the server {servers} times, two owners {owners} times; \
         {suspected} messages suspected; {requests} requests, {} messages, {} outputs, {} the same in a replay",
        verdict.messages, verdict.recorded, verdict.same
    );
    assert_once(&verdict);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_fence_two_owners_say_everything_twice() {
    let server = Server::start().await;
    let log = server.log().await;
    let stop = Arc::new(AtomicBool::new(false));
    let load = load(log.clone(), 7, stop.clone(), Arc::new(AtomicU64::new(0)));
    let environment = [("HOMEOSTAT_TEST_LEASE", "off"), ("HOMEOSTAT_TEST_FENCE", "off")];
    let url = server.url();
    let mut first = Worker::spawn(&server.path("first"), Some(&url), SETTINGS, &environment);
    let mut second = Worker::spawn(&server.path("second"), Some(&url), SETTINGS, &environment);
    first.ready().await;
    second.ready().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    stop.store(true, Ordering::Relaxed);
    load.await.unwrap();
    first.kill();
    second.kill();
    let verdict = verify(&log).await;
    assert!(verdict.doubled > 0, "nothing was doubled, so the test above proves nothing: {verdict:#?}");
    server.stop().await;
}
