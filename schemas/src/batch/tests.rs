use super::*;
use proptest::prelude::*;
use serde_json::json;

fn frame(format: Format) -> Frame<'static> {
    Frame { kind: EventKind::Query, service: "shop", format, log_ms: Some(1_000_000) }
}

fn query(n: u64) -> serde_json::Value {
    json!({"kind": "query", "service": "shop", "at_ms": n, "statement": "select 1", "took_us": 5})
}

fn outline(events: &[Result<Event, Rejected>]) -> Vec<String> {
    events.iter().map(|e| e.as_ref().map_or_else(|r| format!("{}: {}", r.index, r.reason), |e| format!("ok {}", e.at_ms()))).collect()
}

#[test]
fn one_bad_event_never_costs_its_siblings() {
    let batch = json!([query(1), {"kind": "query", "service": "shop", "at_ms": 2}, query(3), {"kind": "span"}, query(5)]);
    for (format, payload) in
        [(Format::Json, serde_json::to_vec(&batch).unwrap()), (Format::MsgPack, rmp_serde::to_vec_named(&batch).unwrap())]
    {
        let events = decode_events(frame(format), &payload);
        let lines = outline(&events);
        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!((&*lines[0], &*lines[2], &*lines[4]), ("ok 1", "ok 3", "ok 5"));
        assert!(lines[1].contains("missing field `statement`"), "{}", lines[1]);
        assert!(lines[3].contains("kind"), "{}", lines[3]);
    }
}

#[test]
fn subject_and_body_must_agree() {
    let other = json!([query(1), {"kind": "query", "service": "other", "at_ms": 1, "statement": "select 1", "took_us": 5}]);
    let lines = outline(&decode_events(frame(Format::Json), &serde_json::to_vec(&other).unwrap()));
    assert_eq!(lines[1], "1: its service is `other` but its subject says `shop`");
}

#[test]
fn unfit_values_are_named() {
    let heartbeat =
        |up: f64, interval: f64| event::Heartbeat { service: "shop".into(), up_s: up, interval_s: interval, ..Default::default() };
    let payload =
        rmp_serde::to_vec_named(&[heartbeat(f64::NAN, 1.0), heartbeat(1.0, -1.0), heartbeat(1.0, 0.0), heartbeat(1.0, 1.0)]).unwrap();
    let frame = Frame { kind: EventKind::Heartbeat, ..frame(Format::MsgPack) };
    assert_eq!(
        outline(&decode_events(frame, &payload)),
        [
            "0: unfit value: up_s: must be a finite number",
            "1: unfit value: interval_s: must not be negative",
            "2: unfit value: interval_s: must be more than zero",
            "ok 0"
        ]
    );
    let negative = br#"{"kind":"query","service":"shop","at_ms":1,"statement":"select 1","took_us":-5}"#;
    let lines = outline(&decode_events(Frame { kind: EventKind::Query, format: Format::Json, ..frame }, negative));
    assert!(lines[0].contains("not an event of kind `query`"), "{lines:?}");
}

#[test]
fn a_time_more_than_a_day_ahead_is_refused_on_the_live_bus_only() {
    let payload = serde_json::to_vec(&query(1_000_000 + DAY + 1)).unwrap();
    assert!(decode_events(frame(Format::Json), &payload)[0].is_err());
    assert!(decode_events(Frame { log_ms: None, ..frame(Format::Json) }, &payload)[0].is_ok());
    let payload = serde_json::to_vec(&query(1_000_000 + DAY)).unwrap();
    assert!(decode_events(frame(Format::Json), &payload)[0].is_ok());
}

#[test]
fn headers_that_claim_four_billion_elements_cost_nothing() {
    for payload in [
        &[0xdd, 0xff, 0xff, 0xff, 0xff][..],
        &[0xdf, 0xff, 0xff, 0xff, 0xff],
        &[0xdb, 0xff, 0xff, 0xff, 0xff],
        &[0xc6, 0xff, 0xff, 0xff, 0xff],
        &[0xdd, 0xff, 0xff, 0xff, 0xff, 0xc0, 0xc0],
    ] {
        let events = decode_events(frame(Format::MsgPack), payload);
        assert!(events.len() <= 3 && events.iter().all(Result::is_err), "{events:?}");
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_stack_overflow() {
    let deep = [vec![0x91; 100_000], vec![0xc0]].concat();
    assert!(decode_events(frame(Format::MsgPack), &deep).iter().all(Result::is_err));
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    assert!(decode_events(frame(Format::Json), &deep).iter().all(Result::is_err));
}

#[test]
fn events_before_the_break_are_kept() {
    let mut payload = rmp_serde::to_vec_named(&json!([query(1), query(2), query(3)])).unwrap();
    payload.truncate(payload.len() - 4);
    let lines = outline(&decode_events(frame(Format::MsgPack), &payload));
    assert_eq!(lines[..2], ["ok 1", "ok 2"]);
    assert!(lines[2].starts_with("2: malformed MessagePack"), "{}", lines[2]);
}

#[test]
fn half_a_million_wrong_elements_are_few_messages() {
    let mut elements = vec![serde_json::Value::Null; 1000];
    elements.insert(500, query(7));
    for (format, payload) in
        [(Format::Json, serde_json::to_vec(&elements).unwrap()), (Format::MsgPack, rmp_serde::to_vec_named(&elements).unwrap())]
    {
        let events = decode_events(frame(format), &payload);
        assert_eq!(events.len(), REJECTED_MAX + 2);
        assert_eq!(events.iter().flatten().count(), 1, "the good one is there");
        let last = events.last().unwrap().as_ref().unwrap_err();
        assert_eq!(last.reason, DecodeError::Others(1000 - REJECTED_MAX));
        assert!(payload.ends_with(&last.payload) && last.payload.len() < payload.len());
    }
}

#[test]
fn bytes_behind_the_end_are_set_aside() {
    let whole = rmp_serde::to_vec_named(&json!([query(1), query(2)])).unwrap();
    for tail in [&[0xc1][..], &[0xc0], &[0x93, 1], b"more"] {
        let events = decode_events(frame(Format::MsgPack), &[&whole, tail].concat());
        assert_eq!(outline(&events)[..2], ["ok 1", "ok 2"]);
        assert_eq!(events[2].as_ref().unwrap_err().payload, tail);
    }
}

#[test]
fn what_is_bad_is_kept_as_it_came() {
    // A field that nobody knows, and blanks: both are gone once it is written anew.
    let mut bad = query(1);
    bad["took_us"] = json!(DAY * 1_000 * 31);
    bad["more"] = json!("x");
    let json = serde_json::to_string(&bad).unwrap().replace(',', " ,  ");
    let events = decode_events(frame(Format::Json), format!("[{},{json}]", query(1)).as_bytes());
    let rejected = events[1].as_ref().unwrap_err();
    assert_eq!((rejected.index, rejected.payload.as_slice(), rejected.content_type.as_deref()), (1, json.as_bytes(), Some(JSON)));
    let packed = rmp_serde::to_vec_named(&bad).unwrap();
    for payload in [packed.clone(), [&[0x91], packed.as_slice()].concat()] {
        let events = decode_events(frame(Format::MsgPack), &payload);
        let rejected = events[0].as_ref().unwrap_err();
        assert_eq!((rejected.payload.as_slice(), rejected.content_type.as_deref()), (packed.as_slice(), Some(MSGPACK)));
    }
    // Nothing of it can be told apart.
    let head = [0xdd, 0xff, 0xff, 0xff, 0xff];
    assert_eq!(decode_events(frame(Format::MsgPack), &head)[0].as_ref().unwrap_err().payload, head);
}

#[test]
fn an_empty_array_is_no_event_and_no_mistake() {
    assert!(decode_events(frame(Format::Json), b"[]").is_empty());
    assert!(decode_events(frame(Format::MsgPack), &[0x90]).is_empty());
}

#[test]
fn content_types_are_read_as_people_write_them() {
    assert_eq!(Format::of(None), Ok(Format::Json));
    assert_eq!(Format::of(Some("Application/JSON; charset=utf-8")), Ok(Format::Json));
    assert_eq!(Format::of(Some("application/msgpack")), Ok(Format::MsgPack));
    assert!(Format::of(Some("text/plain")).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in EventKind::ALL {
            for format in [Format::Json, Format::MsgPack] {
                let _ = decode_events(Frame { kind: *kind, ..frame(format) }, &payload);
            }
        }
    }
}

/// The words for what is wrong with an event of this kind with this value in this field; nothing when it is fit.
fn unfit(kind: &str, field: &str, value: &serde_json::Value) -> String {
    let mut event = json!({
        "kind": kind, "service": "shop", "at_ms": 1, "took_us": 1, "statement": "select 1", "route": "GET /", "status": 200, "peer": "p",
        "outcome": "ok", "ok": 1, "failed": 0, "shed": 0, "over_ms": 1, "name": "n", "op": "o", "trace": "t", "span": "s", "up_s": 1,
        "interval_s": 1, "memory_bytes": 1, "used": 1, "max": 1, "hits": 1, "misses": 1
    });
    event[field] = value.clone();
    Event::from_json(event.to_string().as_bytes()).err().map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn what_cannot_be_meant_is_named_and_the_last_that_can_is_taken() {
    let day_ms = 86_400_000u64;
    let whole = [
        ("query", "took_us", 30 * day_ms * 1_000, "must not be longer than 30 days, in microseconds"),
        ("request", "took_us", 30 * day_ms * 1_000, "must not be longer than 30 days, in microseconds"),
        ("call", "took_us", 30 * day_ms * 1_000, "must not be longer than 30 days, in microseconds"),
        ("span", "took_us", 30 * day_ms * 1_000, "must not be longer than 30 days, in microseconds"),
        ("pool", "wait_us", 30 * day_ms * 1_000, "must not be longer than 30 days, in microseconds"),
        ("calls", "over_ms", 30 * day_ms, "must not be longer than 30 days, in milliseconds"),
        ("cache", "over_ms", 30 * day_ms, "must not be longer than 30 days, in milliseconds"),
        ("resource", "started_ms", event::INSTANT_MAX_MS, "must be Unix milliseconds, before the year 10000"),
        ("query", "at_ms", event::INSTANT_MAX_MS, "must be Unix milliseconds, before the year 10000"),
    ];
    for (kind, field, last, why) in whole {
        assert_eq!(unfit(kind, field, &last.into()), "", "{kind}");
        for beyond in [last + 1, u64::MAX] {
            assert_eq!(unfit(kind, field, &beyond.into()), format!("unfit value: {field}: {why}"), "{kind}");
        }
    }
    let interval = "unfit value: interval_s: must lie between 0.05 and 604800 seconds (seven days)";
    for (seconds, why) in [(0.05, ""), (604_800.0, ""), (0.049, interval), (604_801.0, interval), (1e300, interval), (5e-324, interval)] {
        assert_eq!(unfit("heartbeat", "interval_s", &json!(seconds)), why, "{seconds}");
    }
    let up = "unfit value: up_s: must not be more than a hundred years, in seconds";
    for (seconds, why) in [(0.0, ""), (event::UP_MAX_S, ""), (3.2e9, up), (1e300, up)] {
        assert_eq!(unfit("heartbeat", "up_s", &json!(seconds)), why, "{seconds}");
    }
    for (kind, field) in [("query", "rows"), ("cache", "hits"), ("calls", "ok"), ("pool", "used"), ("resource", "memory_bytes")] {
        assert_eq!(unfit(kind, field, &u64::MAX.into()), "", "counts and bytes are data: {kind}");
    }
    let odd_check = json!([{ "name": "db", "status": "up", "took_us": u64::MAX }]);
    assert_eq!(unfit("heartbeat", "checks", &odd_check), "", "no sign of life is lost for an odd check");
}
