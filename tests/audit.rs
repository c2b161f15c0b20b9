//! The audit log on a real bus: written by several at once, never changed, and whoever tampers with it is found out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use homeostat::audit::chain::Head;
use homeostat::audit::record::{BEGIN, CHECKPOINT};
use homeostat::audit::{Act, Audit, Checker, Link, Report, SigningKey, export};
use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig, Ledger, Log, Message};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Cursor;
use std::path::PathBuf;
use tokio::sync::watch;

struct House {
    embedded: Embedded,
    log: Log,
    _dir: tempfile::TempDir,
}

impl House {
    async fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let tools = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".tools");
        let config = EmbeddedConfig { data_dir: dir.path().join("bus"), tools_dir: Some(tools), ..EmbeddedConfig::default() };
        let embedded = Embedded::start(config).await.unwrap();
        let log = open(&embedded).await;
        House { embedded, log, _dir: dir }
    }
}

/// A connection of its own, as another process has.
async fn open(embedded: &Embedded) -> Log {
    let bus = Bus::connect(&embedded.bus_config(&BusConfig::default())).await.unwrap();
    bus.ensure_log().await.unwrap()
}

fn writer(log: &Log, key: SigningKey) -> Audit {
    Audit::new(watch::channel(Some(log.clone())).1, Some(key))
}

fn act(target: &str) -> Act<'_> {
    Act { action: "order.recovery.pause", target, by: "local", detail: json!({"why": "a\r\nb"}), ..Act::default() }
}

async fn checked(ledger: &Ledger, trusted: &[&str], noted: Option<Head>) -> Report {
    let trusted: BTreeSet<String> = trusted.iter().map(|key| (*key).to_owned()).collect();
    export::check_bus(ledger, Checker::new(trusted, noted)).await.unwrap().end()
}

fn file(lines: &[String]) -> Report {
    export::check_file(Cursor::new(lines.join("\n")), Checker::new(BTreeSet::new(), None)).unwrap().end()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_writers_make_one_chain() {
    let house = House::new().await;
    let keys = [SigningKey::draw(), SigningKey::draw(), SigningKey::draw()];
    let public: Vec<String> = keys.iter().map(SigningKey::public).collect();
    let mut writers = Vec::new();
    for key in keys {
        writers.push(writer(&open(&house.embedded).await, key));
    }
    let tasks = writers.iter().enumerate().map(|(number, audit)| {
        let audit = audit.clone();
        tokio::spawn(async move {
            let mut places = Vec::new();
            for index in 0..40 {
                places.push(audit.record(act(&format!("{number}-{index}"))).await.unwrap());
                if index % 10 == 9 {
                    audit.checkpoint().await.unwrap();
                }
            }
            places
        })
    });
    let places: Vec<u64> = futures::future::join_all(tasks).await.into_iter().flat_map(Result::unwrap).collect();
    assert_eq!(places.iter().collect::<BTreeSet<_>>().len(), 120, "nobody shares a place");
    let ledger = house.log.ledger();
    let public: Vec<&str> = public.iter().map(String::as_str).collect();
    let report = checked(&ledger, &public, None).await;
    assert!(report.ok, "{report:?}");
    assert_eq!(report.records, 1 + 120 + report.checkpoints);
    assert!(report.checkpoints >= 4 && report.signed_through > 100, "{report:?}");
    assert!(!checked(&ledger, &public[..1], None).await.ok, "all three signed");
    // Nothing new, nothing to sign.
    writers[0].checkpoint().await.unwrap();
    assert!(!writers[1].checkpoint().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bus_refuses_to_forget() {
    let house = House::new().await;
    let audit = writer(&house.log, SigningKey::draw());
    audit.record(act("a")).await.unwrap();
    let stream = house.log.bus().names().ledger.clone();
    let jetstream = house.log.bus().jetstream();
    let stream = jetstream.get_stream(&stream).await.unwrap();
    assert!(stream.delete_message(1).await.is_err());
    assert!(stream.purge().await.is_err());
    let report = checked(&house.log.ledger(), &[], None).await;
    assert_eq!((report.ok, report.records), (true, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_somebody_else_is_found_and_stops_the_log() {
    let house = House::new().await;
    let audit = writer(&house.log, SigningKey::draw());
    audit.record(act("a")).await.unwrap();
    let ledger = house.log.ledger();
    ledger.append(&Message::new(ledger.subject("record"), r#"{"action":"nothing happened"}"#), 2).await.unwrap();
    let report = checked(&ledger, &[], None).await;
    assert_eq!(report.fault.as_ref().map(|fault| fault.seq), Some(3), "{report:?}");
    assert!(audit.record(act("b")).await.is_err(), "what cannot be recorded is not done");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_exported_file_the_first_record_that_was_touched_is_named() {
    let house = House::new().await;
    let key = SigningKey::draw();
    let audit = writer(&house.log, key);
    for index in 0..10 {
        audit.record(act(&format!("t{index}"))).await.unwrap();
    }
    assert!(audit.checkpoint().await.unwrap());
    let mut out = Vec::new();
    assert_eq!(export::export(&house.log.ledger(), &mut out).await.unwrap(), 12);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "line breaks in names are escaped");
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let links: Vec<Link> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&links[0].record["action"], &links[11].record["action"]), (&json!(BEGIN), &json!(CHECKPOINT)));
    let report = file(&lines);
    assert_eq!((report.ok, report.signed_through, report.last), (true, 11, 12));

    let mut edited = lines.clone();
    edited[4] = edited[4].replace("t3", "t4");
    assert_eq!(file(&edited).fault.unwrap().seq, 5);
    let mut deleted = lines.clone();
    deleted.remove(6);
    assert_eq!(file(&deleted).fault.unwrap().seq, 7);
    let mut moved = lines.clone();
    moved.swap(2, 3);
    assert_eq!(file(&moved).fault.unwrap().seq, 3);
    let mut broken = lines.clone();
    broken[8].truncate(20);
    assert_eq!(file(&broken).fault.unwrap().seq, 9);
    assert_eq!(file(&lines[..7]).last, 7, "a shorter log is a log; who noted the end knows better:");
    let noted = format!("{}:{}", report.last, report.head).parse().unwrap();
    assert!(checked(&house.log.ledger(), &[], Some(noted)).await.ok);
    audit.record(act("later")).await.unwrap();
    assert!(checked(&house.log.ledger(), &[], Some(noted)).await.ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_bus_nothing_is_recorded_and_so_nothing_done() {
    let audit = Audit::new(watch::channel(None).1, Some(SigningKey::draw()));
    assert!(audit.record(act("a")).await.is_err());
    assert!(!matches!(audit.checkpoint().await, Ok(true)));
}
