//! Supervision with a mind that breaks: a panic is caught, the mind rebuilt, a message that fails twice set aside, and a mind that
//! never gets up ends the process. The bus is real.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::Server;
use homeostat::feed::Feed;
use homeostat::metrics::Metrics;
use homeostat::roster::{ActorSettings, Slot};
use homeostat::shell::ShellConfig;
use homeostat::signing::{Signing, SigningConfig};
use homeostat::supervise::{Common, End, Floor, Keeper};
use homeostat::telemetry::Spans;
use homeostat_actors::core::{Core, Cx, Input, Interest};
use homeostat_actors::incidents::{Finding, Incidents};
use homeostat_nats::{Fence, Log, Message, Reader, ReaderOptions};
use homeostat_schemas::{Event, EventKind, Root, rule};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{broadcast, watch};

/// Counts queries, and breaks on some of them.
#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    seen: u64,
    incidents: Incidents,
}

#[derive(Default, Clone, Serialize, Deserialize, schemars::JsonSchema)]
struct NoConfig {}

impl Core for Fragile {
    const NAME: &'static str = "fragile";
    const STATE_VERSION: u16 = 1;
    const INTEREST: Interest = Interest { events: &[EventKind::Query], ..Interest::NONE };
    type Config = NoConfig;
    type View = u64;

    fn step(&mut self, input: Input<'_>, cx: &mut Cx<'_, NoConfig>) {
        let Input::Event(Event::Query(query)) = input else { return };
        assert!(!query.statement.contains("poison"), "it is poison");
        if let Some(n) = query.statement.strip_prefix("once ") {
            // Falls at each message once: what it has fallen on before is remembered outside the mind.
            static FALLEN: AtomicU64 = AtomicU64::new(0);
            let bit = 1 << n.parse::<u64>().unwrap();
            assert!(FALLEN.fetch_or(bit, Ordering::SeqCst) & bit != 0, "the first time");
        }
        if query.statement == "hang" {
            std::thread::sleep(Duration::from_secs(4));
        }
        self.seen += 1;
        let finding =
            Finding::new(&rule::QUERY_SLOW, &query.service, format!("number {}", self.seen)).label("statement", query.statement.as_str());
        self.incidents.fire(finding, cx);
    }

    fn broken_promise(&self, _: &NoConfig) -> Option<&'static str> {
        None
    }

    fn view(&self, _: u64, _: &NoConfig) -> u64 {
        self.seen
    }

    fn incidents(&self) -> &Incidents {
        &self.incidents
    }
}

struct Rig {
    server: Server,
    log: Log,
    feed: Feed,
    slot: Slot<Fragile>,
    stop: watch::Sender<bool>,
    floor: Floor,
    keeper: tokio::task::JoinHandle<End>,
    dir: tempfile::TempDir,
}

async fn rig(config: ShellConfig) -> Rig {
    rig_after(config, &[]).await
}

/// A rig that finds a note of the messages at work at earlier deaths, as `suspect.rs` writes it: at work now, at work at the last
/// death, deaths there.
async fn rig_after(config: ShellConfig, note: &[u64]) -> Rig {
    let server = Server::start().await;
    let log = server.log().await;
    let root = Root::default();
    let (live, _) = broadcast::channel(4);
    let feed = Feed::new(&log, &root, 0, live);
    let (stop, stopped) = watch::channel(false);
    let system = homeostat::system::actix_system().await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    if !note.is_empty() {
        std::fs::write(dir.path().join("fragile"), note.iter().flat_map(|field| field.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    }
    let floor = Floor::default();
    let metrics = Arc::new(Metrics::default());
    let common = Common {
        log: log.clone(),
        root,
        feed: feed.clone(),
        metrics: metrics.clone(),
        config,
        settings: ActorSettings::default(),
        system,
        suspects: dir.path().to_owned(),
        floor: floor.clone(),
        spans: Spans::default(),
        signing: Signing::open(&SigningConfig::default(), dir.path()).unwrap(),
        stop: stopped.clone(),
        fence: Fence::On,
    };
    let reader = feed.clone();
    tokio::spawn(async move { reader.run(metrics, stopped).await });
    let slot = Slot::default();
    let keeper = tokio::spawn(Keeper::new(common, slot.clone()).run());
    Rig { server, log, feed, slot, stop, floor, keeper, dir }
}

impl Rig {
    async fn query(&self, statement: &str) -> u64 {
        let event = json!({"kind": "query", "service": "shop", "at_ms": 1, "statement": statement, "took_us": 1});
        self.log.append(Message::new("homeostat.v1.event.query.shop", event.to_string())).await.unwrap()
    }

    /// What stands on the bus from the beginning, until there are as many alerts.
    async fn bus(&self, alerts: usize) -> (Vec<String>, Vec<(String, String)>) {
        let mut reader = Reader::open(&self.log, 1, ReaderOptions::default()).await.unwrap();
        let (mut said, mut dead) = (Vec::new(), Vec::new());
        while said.len() < alerts {
            let entries = tokio::time::timeout(Duration::from_secs(60), reader.next()).await.expect("the alerts come").unwrap();
            for entry in entries {
                if entry.subject.contains(".alert.") {
                    let alert: serde_json::Value = serde_json::from_slice(&entry.payload).unwrap();
                    said.push(alert["summary"].as_str().unwrap().to_owned());
                } else if entry.subject.contains(".dead.") {
                    let header = |name: &str| entry.header(name).unwrap_or_default().to_owned();
                    dead.push((header("homeostat-position"), header("homeostat-reason")));
                }
            }
        }
        (said, dead)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_twice_is_set_aside_and_the_log_moves_on() {
    let rig = rig(ShellConfig::default()).await;
    rig.query("a").await;
    rig.query("b").await;
    let poison = rig.query("poison").await;
    rig.query("c").await;
    let (said, dead) = rig.bus(3).await;
    // The mind was rebuilt twice: what it had counted before is counted once.
    assert_eq!(said, ["number 1", "number 2", "number 3"]);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, poison.to_string());
    assert!(dead[0].1.contains("fragile panicked on it twice: it is poison"), "{}", dead[0].1);
    assert_eq!(rig.slot.condition().restarts, 2);
    assert_eq!(rig.slot.view().await, Some(3));
    rig.stop.send_replace(true);
    assert_eq!(rig.keeper.await.unwrap(), End::Stopped);
    assert!(rig.feed.dispatched() >= poison);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_poisonous_messages_in_a_row_are_all_set_aside() {
    let rig = rig(ShellConfig { restarts_max: 3, backoff_ms: 1, ..ShellConfig::default() }).await;
    rig.query("a").await;
    let mut poison = Vec::new();
    for _ in 0..8 {
        poison.push(rig.query("poison").await.to_string());
    }
    rig.query("b").await;
    let (said, dead) = rig.bus(2).await;
    assert_eq!(said, ["number 1", "number 2"]);
    assert_eq!(dead.into_iter().map(|(position, _)| position).collect::<Vec<_>>(), poison);
    rig.stop.send_replace(true);
    assert_eq!(rig.keeper.await.unwrap(), End::Stopped);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mind_that_does_not_come_back_ends_the_process_with_its_place_noted() {
    let rig = rig(ShellConfig { step_deadline_s: 1, ..ShellConfig::default() }).await;
    rig.query("a").await;
    let position = rig.query("hang").await;
    let end = tokio::time::timeout(Duration::from_secs(20), rig.keeper).await.expect("it gives up").unwrap();
    let End::GaveUp(reason) = end else { panic!("{end:?}") };
    assert!(reason.contains("does not come back"), "{reason}");
    let note = std::fs::read(rig.dir.path().join("fragile")).unwrap();
    assert_eq!(u64::from_le_bytes(note[..8].try_into().unwrap()), position, "the next start knows which message it was");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mind_that_falls_too_often_ends_with_a_clear_last_word() {
    let rig = rig(ShellConfig { restarts_max: 3, backoff_ms: 1, ..ShellConfig::default() }).await;
    // Every start falls on another message: nothing that could be set aside would help.
    for n in 0..4 {
        rig.query(&format!("once {n}")).await;
    }
    let end = tokio::time::timeout(Duration::from_secs(20), rig.keeper).await.expect("it gives up").unwrap();
    let End::GaveUp(reason) = end else { panic!("{end:?}") };
    assert!(reason.starts_with("fragile fell 4 times within 60 s"), "{reason}");
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_may_have_ended_the_process_is_taken_alone_and_acquitted() {
    // Two deaths at the first message.
    let rig = rig_after(ShellConfig::default(), &[1, 1, 1]).await;
    let other = rig.floor.work(false).await;
    assert_eq!(rig.query("a").await, 1, "the note speaks of the first message");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.slot.view().await, Some(0), "it waits while another mind works");
    drop(other);
    rig.query("b").await;
    let (said, dead) = rig.bus(2).await;
    assert_eq!((said, dead), (vec!["number 1".to_owned(), "number 2".to_owned()], Vec::new()));
    let other = rig.floor.work(false).await;
    rig.query("c").await;
    assert_eq!(rig.bus(3).await.0.len(), 3, "afterwards it works beside others again");
    drop(other);
    rig.stop.send_replace(true);
    assert_eq!(rig.keeper.await.unwrap(), End::Stopped);
    rig.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_ends_the_process_while_it_is_alone_is_set_aside() {
    let rig = rig_after(ShellConfig::default(), &[1, 1, 2]).await;
    rig.query("a").await;
    rig.query("b").await;
    let (said, dead) = rig.bus(1).await;
    assert_eq!(said, ["number 1"]);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].0, "1");
    assert!(dead[0].1.contains("the process ended 3 times while fragile worked on it"), "{}", dead[0].1);
    rig.stop.send_replace(true);
    assert_eq!(rig.keeper.await.unwrap(), End::Stopped);
    rig.server.stop().await;
}
