//! Migration is pure: what is there, what is wanted, what follows.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::limits::{GIB, MIB};
use super::*;

fn names() -> Names {
    Names::of("homeostat.v1").unwrap()
}

fn limits() -> StreamConfig {
    StreamConfig::default()
}

/// A stream as the server would show it after we created it.
fn found(wanted: &Wanted) -> StreamInfo {
    let mut config = with_incarnation(wanted.config.clone()).unwrap();
    config.insert("max_consumers".to_owned(), json!(-1));
    config.insert("field_of_tomorrow".to_owned(), json!({"a": 1}));
    let state = json!({"messages": 10, "bytes": 1_000_000_000, "first_seq": 1, "last_seq": 10,
        "first_ts": "2026-01-01T00:00:00Z"});
    serde_json::from_value(json!({ "config": config, "state": state })).unwrap()
}

const JAN_2: u64 = 1_767_312_000_000;

#[test]
fn a_stream_that_is_right_is_left_alone() {
    for wanted in [log_stream("homeostat.v1", &names(), &limits()), archive_stream("homeostat.v1", &names(), &limits())] {
        assert!(migrate(&wanted, &found(&wanted), &limits(), JAN_2).unwrap().is_none());
    }
}

#[test]
fn a_raised_limit_is_applied_and_unknown_fields_survive() {
    let old = log_stream("homeostat.v1", &names(), &limits());
    let raised = StreamConfig { max_bytes: 8 * GIB, ..limits() };
    let wanted = log_stream("homeostat.v1", &names(), &raised);
    let there = found(&old);
    let merged = migrate(&wanted, &there, &raised, JAN_2).unwrap().unwrap();
    assert_eq!(merged["max_bytes"], json!(8 * GIB));
    assert_eq!(merged["field_of_tomorrow"], json!({"a": 1}));
    assert_eq!(merged["metadata"][INCARNATION], there.config["metadata"][INCARNATION]);
}

#[test]
fn a_lowered_limit_is_applied_when_nothing_is_lost_and_refused_when_something_is() {
    let old = found(&log_stream("homeostat.v1", &names(), &limits()));
    let case = |change: StreamConfig| migrate(&log_stream("homeostat.v1", &names(), &change), &old, &change, JAN_2);
    assert!(case(StreamConfig { max_bytes: GIB, ..limits() }).unwrap().is_some());
    let error = case(StreamConfig { max_bytes: 900_000_000, ..limits() }).unwrap_err();
    assert!(error.to_string().contains("allow_data_loss"), "{error}");
    assert!(case(StreamConfig { max_age_s: 2 * 86_400, ..limits() }).unwrap().is_some());
    assert!(case(StreamConfig { max_age_s: 3_600, ..limits() }).is_err());
    let allowed = StreamConfig { max_age_s: 3_600, allow_data_loss: true, ..limits() };
    assert!(case(allowed).unwrap().is_some());
}

#[test]
fn a_stream_of_somebody_else_is_an_error_that_says_what_to_do() {
    let wanted = log_stream("homeostat.v1", &names(), &limits());
    let with = |key: &str, value: Value| {
        let mut info = found(&wanted);
        info.config.insert(key.to_owned(), value);
        migrate(&wanted, &info, &limits(), JAN_2)
    };
    for (key, value) in [
        ("storage", json!("memory")),
        ("retention", json!("workqueue")),
        ("mirror", json!({"name": "x"})),
        ("sealed", json!(true)),
        ("metadata", json!({ ROOT: "other.v1" })),
    ] {
        let Err(BusError::Incompatible { reason, .. }) = with(key, value) else {
            panic!("{key} should be incompatible");
        };
        assert!(reason.contains("nats.root"), "{reason}");
    }
    let mut foreign = found(&wanted);
    foreign.config.insert("metadata".to_owned(), json!({}));
    foreign.config.insert("subjects".to_owned(), json!(["orders.>"]));
    assert!(migrate(&wanted, &foreign, &limits(), JAN_2).is_err());
}

#[test]
fn a_stream_an_operator_made_for_us_is_adopted() {
    let wanted = log_stream("homeostat.v1", &names(), &limits());
    let mut made = found(&wanted);
    made.config.insert("metadata".to_owned(), json!({}));
    let merged = migrate(&wanted, &made, &limits(), JAN_2).unwrap().unwrap();
    assert_eq!(merged["metadata"][ROOT], json!("homeostat.v1"));
}

#[test]
fn another_root_has_streams_of_its_own() {
    assert_eq!(Names::of("acme.eu.v1").unwrap().checkpoints, "acme_eu_checkpoints");
    assert_eq!(Names::of("homeostat.v2").unwrap().log, "homeostat_v2");
    for bad in ["", "a..b", "a b", "$JS.v1", "a.*", &"a".repeat(65)] {
        assert!(Names::of(bad).is_err(), "{bad}");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    for bad in [
        StreamConfig { replicas: 2, ..limits() },
        StreamConfig { max_bytes: 1, ..limits() },
        StreamConfig { max_age_s: 0, ..limits() },
        StreamConfig { duplicate_window_s: 10_000_000, ..limits() },
        StreamConfig { max_age_s: u64::MAX, ..limits() },
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
    assert!(limits().check().is_ok());
    assert_eq!(limits().disk_bytes_max(), 6 * GIB + 768 * MIB);
}

#[test]
fn a_subject_belongs_to_the_log_or_it_does_not() {
    for ours in ["tick", "event.query.shop", "chain.query"] {
        assert!(is_kind(ours), "{ours}");
    }
    for foreign in ["", "tick.x", "tack", "event", "event.", "admission.a.b", "eventual.x"] {
        assert!(!is_kind(foreign), "{foreign}");
    }
}
