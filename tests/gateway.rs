//! The gateway over real HTTP, with a real bus and a real database behind it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub)]

#[path = "gateway/client.rs"]
mod client;
#[path = "gateway/hostile.rs"]
mod hostile;
#[path = "gateway/house.rs"]
mod house;
#[path = "gateway/keys.rs"]
mod keys;
#[path = "common/process.rs"]
mod process;
#[path = "gateway/registry.rs"]
mod registry;
#[path = "gateway/tls.rs"]
mod tls;

use client::Answer;
use flate2::Compression;
use flate2::write::GzEncoder;
use homeostat::feed::Chunk;
use homeostat::gateway::routes::ENDPOINTS;
use homeostat_nats::Message;
use homeostat_schemas::{Alert, Content, Delivery, Event, EventKind, TraceContext};
use house::House;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn capture(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp").join(name)).unwrap()
}

fn truth(run: &str) -> Value {
    serde_json::from_slice(&capture(&format!("{run}/truth.json"))).unwrap()
}

/// A problem says the status again, and nothing of the inside.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["status"], &body["type"]), (&json!(status), &json!("about:blank")));
    assert!(body["detail"].as_str().unwrap().len() > 3);
    assert_secure(answer);
}

#[track_caller]
fn assert_secure(answer: &Answer) {
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
}

#[test]
fn liveness_needs_nothing_and_readiness_says_what_is_missing() {
    let house = House::alone(|_| {});
    let mut client = house.client();
    for path in ["/livez", "/health/liveness"] {
        let answer = client.get(path, &[]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok\n"));
        assert_secure(&answer);
    }
    for path in ["/readyz", "/healthz", "/health/readiness"] {
        let answer = client.get(path, &[]);
        assert_eq!((answer.status, answer.text().as_str()), (503, "not ready\n"));
    }
    let checks = client.get("/readyz?verbose", &[]).json();
    let bus = checks["checks"].as_array().unwrap().iter().find(|check| check["name"] == "bus").unwrap();
    assert_eq!(bus["level"], "fail");
    assert_problem(&client.get("/readyz/shop", &[]), 503);
    house.readiness.bus(true);
    house.readiness.standby(true);
    (0..2).for_each(|_| house.readiness.database(Some(std::time::Duration::ZERO)));
    let answer = client.get("/readyz", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "ready\n"));
    client.head("HEAD /livez", &[]);
    assert_eq!(client.answer_head().status, 200);
}

#[test]
fn every_error_is_a_problem() {
    let house = House::alone(|_| {});
    let mut client = house.client();
    assert_problem(&client.get("/nothing", &[]), 404);
    assert_problem(&client.get("/api/v1/alerts/unknown", &[]), 404);
    for (path, status) in [("/v1/traces", "POST"), ("/v1/events", "POST")] {
        let answer = client.get(path, &[]);
        assert_problem(&answer, 405);
        assert_eq!(answer.header("allow"), Some(status));
    }
    let answer = house.client().post("/api/v1/status", &[], b"x");
    assert_problem(&answer, 405);
    assert_eq!(answer.header("allow"), Some("GET, HEAD"));
    assert_eq!(answer.header("connection"), Some("close"), "the body was not read");
    assert_problem(&client.get(&format!("/livez?{}", "x".repeat(3_000)), &[]), 414);
    for query in ["limit=0", "limit=10001", "limit=x", "severity=awful", "unknown=1"] {
        assert_problem(&client.get(&format!("/api/v1/alerts?{query}"), &[]), 400);
    }
    assert_problem(&client.get("/api/v1/alerts?all&limit=1001", &[]), 422);
    assert_eq!(client.get("/api/v1/alerts?limit=10000", &[]).status, 200);
    assert_problem(&house.client().post("/v1/events", &[("content-type", "text/html")], b"{}"), 415);
    assert_problem(&house.client().post("/v1/traces", &[("content-type", "text/html")], b"{}"), 415);
    assert_problem(&client.get("/api/v1/stream", &[("last-event-id", "x")]), 400);
}

#[test]
fn the_api_answers_from_history_while_no_actor_runs() {
    let house = House::alone(|_| {});
    let mut client = house.client();
    for path in
        ["/api/v1/alerts", "/api/v1/alerts?all&limit=5&severity=critical", "/api/v1/commands", "/api/v1/commands?all", "/api/v1/queries"]
    {
        let answer = client.get(path, &[]);
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
        assert_eq!(answer.header("homeostat-source"), Some("store"), "{path}");
    }
    let status = client.get("/api/v1/status", &[]).json();
    assert_eq!(status["actors"].as_object().unwrap().len(), homeostat::roster::NAMES.len());
    let document = client.get("/api/v1/openapi.json", &[]).json();
    let paths: std::collections::BTreeSet<&str> = ENDPOINTS.iter().map(|endpoint| endpoint.path).collect();
    assert_eq!(document["paths"].as_object().unwrap().len(), paths.len());
    let metrics = client.get("/metrics", &[]);
    assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(metrics.text().contains(r#"http_route="/api/v1/queries""#), "{}", metrics.text());
}

#[test]
fn captured_exports_stand_on_the_log_and_a_retry_adds_nothing() {
    let house = House::with_bus(|_| {});
    let mut client = house.client();
    for run in ["node_pg_json_new", "py_fastapi_asyncpg_new", "py_sqlalchemy_new"] {
        let before = house.last();
        let truth = truth(run);
        let mut bodies = Vec::new();
        for number in 1..=truth["requests"].as_u64().unwrap() {
            let (extension, kind) = if run.contains("json") { ("json", JSON) } else { ("pb", PROTOBUF) };
            bodies.push((capture(&format!("{run}/{number:04}_v1_traces.{extension}")), kind));
        }
        for (body, kind) in &bodies {
            let answer = client.post_chunked("/v1/traces", &[*kind, GZIP], &gzip(body), 1_000);
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.header("content-type"), Some(kind.1));
            assert_eq!(answer.text(), if *kind == JSON { "{}" } else { "" });
        }
        let stored = house.last();
        let events = house.events(before + 1);
        let count = |kind: EventKind| events.iter().filter(|event| event.kind() == kind).count();
        assert_eq!(count(EventKind::Query), truth["db_query_spans"].as_u64().unwrap() as usize, "{run}");
        assert_eq!(count(EventKind::Request), truth["http_server_spans"].as_u64().unwrap() as usize, "{run}");
        for (body, kind) in &bodies {
            assert_eq!(client.post("/v1/traces", &[*kind], body).status, 200);
        }
        assert_eq!(house.last(), stored, "a retry is a duplicate, compressed or not");
    }
    let status = client.get("/api/v1/status", &[]).json();
    assert_eq!(status["otlp"]["shop-node"]["requests"], 42);
    assert!(status["otlp"]["shop-node"]["hint"].is_null());
    let metrics = client.get("/metrics", &[]).text();
    assert!(metrics.contains(r#"homeostat_intake_total{intake="otlp",result="accepted"}"#), "{metrics}");
}

#[test]
fn the_trace_of_the_exporter_goes_on() {
    let house = House::with_bus(|_| {});
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let before = house.last();
    let body = capture("node_pg_pb_dup/0001_v1_traces.pb");
    assert_eq!(house.client().post("/v1/traces", &[PROTOBUF, ("traceparent", traceparent)], &body).status, 200);
    assert!(house.read(before + 1).iter().all(|delivery| delivery.context.traceparent.as_deref() == Some(traceparent)));
}

#[test]
fn what_is_no_export_is_refused_in_the_words_of_its_encoding() {
    let house = House::with_bus(|_| {});
    let mut client = house.client();
    let deep = format!(r#"{{"resourceSpans":{}"#, "[".repeat(100_000));
    for body in ["", "{", "[]", r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"x"}]}]}]}"#, &deep] {
        let answer = client.post("/v1/traces", &[JSON], body.as_bytes());
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/json")), "{body:.60}");
        assert_eq!(answer.json()["code"], 3);
        assert!(answer.json()["message"].as_str().unwrap().starts_with("malformed JSON at line"), "{}", answer.text());
        assert_secure(&answer);
    }
    for body in [&b"\x0a\xff\xff\xff\xff\x0f"[..], b"\xff", b"plain text", b"\x0a\x02\x12\xff"] {
        let answer = client.post("/v1/traces", &[PROTOBUF], body);
        assert_eq!((answer.status, answer.header("content-type")), (400, Some("application/x-protobuf")));
        assert_eq!(answer.body[..2], [0x08, 3]);
    }
    assert_eq!(client.post("/v1/traces", &[PROTOBUF, GZIP], b"not gzip").status, 400);
    let answer = client.post("/v1/traces", &[PROTOBUF, ("content-encoding", "br")], b"x");
    assert_eq!((answer.status, answer.header("accept-encoding")), (415, Some("gzip")));
}

#[test]
fn nothing_beyond_the_limit_is_taken_however_it_is_wrapped() {
    let house = House::with_bus(|_| {});
    let limit = 20 * 1024 * 1024;
    // A field that nobody knows, as large as allowed: a good export request without spans.
    let mut body = vec![0x7a];
    let length = limit - 5;
    body.extend((0..4).map(|index| u8::try_from(length >> (7 * index) & 0x7f).unwrap() | if index < 3 { 0x80 } else { 0 }));
    body.resize(limit, 0);
    assert_eq!(house.client().post("/v1/traces", &[PROTOBUF, GZIP], &gzip(&body)).status, 200);
    assert_eq!(house.client().post_chunked("/v1/traces", &[PROTOBUF], &body, 1 << 20).status, 200);
    body.push(0);
    assert_eq!(house.client().post("/v1/traces", &[PROTOBUF, GZIP], &gzip(&body)).status, 413);
    assert_eq!(house.client().post_chunked("/v1/traces", &[PROTOBUF], &body, 1 << 20).status, 413);
    let mut client = house.client();
    client.head("POST /v1/traces", &[PROTOBUF, ("content-length", "99999999999")]);
    assert_eq!(client.answer().status, 413, "before a byte of it was sent");
    let bomb = gzip(&vec![0; 256 * 1024 * 1024]);
    assert!(bomb.len() < 300_000);
    assert_eq!(house.client().post("/v1/traces", &[PROTOBUF, GZIP], &bomb).status, 413);
    assert_problem(&house.client().post("/v1/events", &[JSON, GZIP], &bomb), 413);
}

#[test]
fn spans_that_cannot_be_used_are_a_partial_success() {
    let house = House::with_bus(|_| {});
    let good = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": "x", "kind": 2,
        "startTimeUnixNano": 1, "endTimeUnixNano": "2000000"});
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [good, {"name": "no ids"}, good]}]}]}).to_string();
    let answer = house.client().post("/v1/traces", &[JSON], body.as_bytes());
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1");
    assert!(answer.json()["partialSuccess"]["errorMessage"].as_str().unwrap().contains("without a valid trace and span id"));
}

#[test]
fn a_span_with_texts_too_long_for_a_message_is_stored_with_shorter_ones() {
    let house = House::with_bus(|_| {});
    let span = |id: &str, file: &str| {
        let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": id, "name": "SELECT", "kind": 3,
            "startTimeUnixNano": "1000000", "endTimeUnixNano": "2000000", "attributes": [
                attribute("db.system.name", "postgresql"), attribute("db.query.text", "select a from t"), attribute("code.file.path", file)]})
    };
    let spans = [span("eee19b7ec3c1b171", "a.py"), span("eee19b7ec3c1b172", &"x".repeat(1_200_000)), span("eee19b7ec3c1b173", "b.py")];
    let before = house.last();
    let answer =
        house.client().post("/v1/traces", &[JSON], json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json().get("partialSuccess"), None, "{}", answer.text());
    let sources: Vec<_> = house
        .events(before + 1)
        .into_iter()
        .filter_map(|event| if let Event::Query(query) = event { query.source } else { None })
        .map(|source| source.len())
        .collect();
    assert_eq!((sources.len(), sources.iter().all(|length| *length < 1_000)), (3, true), "{sources:?}");
}

#[test]
fn a_body_that_does_not_come_ends_in_time() {
    let house = House::with_bus(|config| config.body_deadline_ms = 100);
    let mut client = house.client();
    client.head("POST /v1/events", &[JSON, ("content-length", "100")]);
    client.stream.write_all(b"[").unwrap();
    assert_problem(&client.answer(), 408);
    let mut client = house.client();
    client.head("POST /v1/traces", &[PROTOBUF, ("content-length", "100")]);
    assert_eq!(client.answer().status, 408);
}

#[test]
fn too_many_at_once_are_sent_away_at_once() {
    let house = House::with_bus(|config| config.intake_max = 1);
    let event = br#"{"kind":"heartbeat","service":"shop","at_ms":5,"up_s":1,"interval_s":1}"#;
    // Bodies that do not come take nobody's place.
    let _slow: Vec<_> = (0..10)
        .map(|_| {
            let mut client = house.client();
            client.head("POST /v1/events", &[JSON, ("content-length", "100")]);
            client.stream.write_all(b"[").unwrap();
            client
        })
        .collect();
    assert_eq!(house.client().post("/v1/events", &[JSON], event).status, 200);
    // While the bus stands still, whoever came first is at work.
    let length = event.len().to_string();
    let bus = house.stop_bus();
    let mut clients = [house.client(), house.client()];
    for client in &mut clients {
        client.head("POST /v1/events", &[JSON, ("content-length", &length)]);
        client.stream.write_all(event).unwrap();
    }
    let sent_away = loop {
        let answered = |client: &mut client::Client| {
            client.stream.set_nonblocking(true).unwrap();
            let answered = client.stream.peek(&mut [0]).is_ok();
            client.stream.set_nonblocking(false).unwrap();
            answered
        };
        if let Some(index) = clients.iter_mut().position(answered) {
            break index;
        }
        std::thread::yield_now();
    };
    let answer = clients[sent_away].answer();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert!(answer.text().contains("too many requests at once"), "{}", answer.text());
    drop(bus);
    assert_eq!(clients[1 - sent_away].answer().status, 200);
}

#[test]
fn without_a_bus_nothing_is_taken_and_everybody_is_told_to_come_back() {
    let house = House::alone(|_| {});
    let body = capture("node_pg_pb_dup/0001_v1_traces.pb");
    let answer = house.client().post("/v1/traces", &[PROTOBUF], &body);
    assert_eq!((answer.status, answer.header("retry-after"), answer.header("content-type")), (503, Some("1"), Some(PROTOBUF.1)));
    assert_eq!(answer.body[..2], [0x08, 14]);
    let answer = house.client().post("/v1/events", &[JSON], b"[]");
    assert_problem(&answer, 503);
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn events_of_all_kinds_and_services_arrive_and_literals_do_not() {
    let house = House::with_bus(|_| {});
    let before = house.last();
    let query = json!({"kind": "query", "service": "shop", "at_ms": 5, "took_us": 7, "system": "postgresql",
        "statement": "select * from users where name = 'canary-17' and id = 4711"});
    let strange = json!({"kind": "heartbeat", "service": "a\r\n\u{0}b.*>", "at_ms": 5, "up_s": 1, "interval_s": 1});
    let body = json!([query, strange, {"kind": "query", "service": "shop"}, query]);
    let answer = house.client().post("/v1/events", &[JSON], body.to_string().as_bytes());
    assert_eq!(answer.status, 200);
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["rejected_total"], &receipt["rejected"][0]["index"]), (&json!(3), &json!(1), &json!(2)));
    let events = house.events(before + 1);
    assert_eq!(events.len(), 3);
    assert!(events.iter().any(|event| event.service() == "a\r\n\0b.*>"));
    let all = format!("{events:?}");
    assert!(!all.contains("canary") && !all.contains("4711"), "{all}");
    let params: Vec<_> =
        events.iter().filter_map(|event| if let Event::Query(query) = event { query.params.clone() } else { None }).collect();
    assert!(params.len() == 2 && params[0] == params[1], "the same question asked again can be told");

    let lines = format!("{query}\n{strange}\n");
    let before = house.last();
    assert_eq!(house.client().post("/v1/events", &[("content-type", "application/x-ndjson")], lines.as_bytes()).json()["accepted"], 2);
    let packed = rmp_serde::to_vec_named(&body).unwrap();
    assert_eq!(house.client().post("/v1/events", &[("content-type", "application/msgpack")], &packed).json()["accepted"], 3);
    assert_eq!(house.events(before + 1).len(), 5);

    let answer = house.client().post("/v1/events", &[JSON], b"[{}, 1]");
    assert_problem(&answer, 422);
    assert_eq!(answer.json()["rejected"].as_array().unwrap().len(), 2);
}

#[test]
fn an_event_larger_than_a_message_is_rejected_and_its_siblings_are_not() {
    let house = House::with_bus(|_| {});
    let before = house.last();
    let query = |source: &str| json!({"kind": "query", "service": "shop", "at_ms": 5, "took_us": 7, "source": source, "statement": "select a from t"});
    let heartbeat = json!({"kind": "heartbeat", "service": "shop", "at_ms": 5, "up_s": 1, "interval_s": 1});
    let body = json!([query("a"), heartbeat, query(&"x".repeat(1_200_000)), query("b")]);
    let answer = house.client().post("/v1/events", &[JSON], body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.text());
    let receipt = answer.json();
    assert_eq!((&receipt["accepted"], &receipt["rejected_total"], &receipt["rejected"][0]["index"]), (&json!(3), &json!(1), &json!(2)));
    assert_eq!(receipt["rejected"][0]["reason"], "it is larger than 512 KiB, more than a message can carry");
    assert_eq!(house.events(before + 1).len(), 3);
}

#[test]
fn the_same_events_twice_are_two_unless_their_sender_says_otherwise() {
    let house = House::with_bus(|_| {});
    let body = br#"{"kind":"heartbeat","service":"shop","at_ms":5,"up_s":1,"interval_s":1}"#;
    let before = house.last();
    for _ in 0..2 {
        assert_eq!(house.client().post("/v1/events", &[JSON], body).status, 200);
    }
    assert_eq!(house.last(), before + 2);
    for _ in 0..2 {
        assert_eq!(house.client().post("/v1/events", &[JSON, ("idempotency-key", "7")], body).status, 200);
    }
    assert_eq!(house.last(), before + 3);
    // A retry is the same; something else under its name would be dropped unseen.
    let other = br#"{"kind":"heartbeat","service":"till","at_ms":5,"up_s":1,"interval_s":1}"#;
    assert_problem(&house.client().post("/v1/events", &[JSON, ("idempotency-key", "7")], other), 422);
    assert_eq!(house.client().post("/v1/events", &[JSON, ("idempotency-key", "8")], other).status, 200);
    assert_eq!(house.last(), before + 4);
}

#[test]
fn the_stream_says_what_happens_and_what_was_missed() {
    let house = House::with_bus(|_| {});
    let alert =
        |number: u32| Alert { id: format!("alert-{number}"), rule: "query.slow".into(), service: "shop".into(), ..Alert::default() };
    let mut live = house.client();
    live.head("GET /api/v1/stream", &[]);
    assert_eq!(live.answer_head().header("content-type"), Some("text/event-stream"));
    // Chunked: the size of the piece, then the greeting, after which the client is subscribed.
    live.line();
    assert_eq!(live.line(), "retry: 2000");
    let delivery = Delivery {
        position: 41,
        at: 1,
        subject: String::new(),
        content: Content::Alert(Box::new(alert(1))),
        context: TraceContext::default(),
    };
    house.live.send(Chunk::from_iter([delivery])).unwrap();
    let seen: Vec<String> = std::iter::repeat_with(|| live.line()).filter(|line| line.contains(": ")).take(3).collect();
    assert_eq!(seen[..2], ["id: 41", "event: alert"]);
    assert!(seen[2].contains("alert-1"));

    let log = house.log.clone().unwrap();
    let positions: Vec<u64> = (1..=3)
        .map(|number| {
            let message = Message::new(log.subject("alert.query.slow.shop"), serde_json::to_vec(&alert(number)).unwrap());
            house.runtime.block_on(log.append(message)).unwrap()
        })
        .collect();
    let mut back = house.client();
    back.head("GET /api/v1/stream", &[("last-event-id", &positions[0].to_string())]);
    back.answer_head();
    let ids: Vec<String> = std::iter::repeat_with(|| back.line()).filter(|line| line.starts_with("id: ")).take(2).collect();
    assert_eq!(ids, [format!("id: {}", positions[1]), format!("id: {}", positions[2])]);
}

#[test]
fn a_bus_that_goes_away_is_noticed_and_one_that_comes_back_is_used() {
    let house = House::with_bus(|_| {});
    let body = br#"{"kind":"heartbeat","service":"shop","at_ms":5,"up_s":1,"interval_s":1}"#;
    house.bus_down.send_replace(None);
    assert_problem(&house.client().post("/v1/events", &[JSON], body), 503);
    house.bus_down.send_replace(house.log.clone());
    assert_eq!(house.client().post("/v1/events", &[JSON], body).status, 200);
}

#[test]
fn a_watched_service_is_as_ready_as_its_mind_says() {
    use homeostat_actors::core::Settings;
    use homeostat_actors::health::{HealthConfig, HealthCore};
    let house = House::alone(|_| {});
    let view = |up_s: f64| {
        let mut mind = homeostat_actors::driver::Driver::<HealthCore>::new("test", Settings::<HealthConfig>::default());
        let heartbeat = json!({"kind": "heartbeat", "service": "shop/eu", "at_ms": 1_000, "up_s": up_s, "interval_s": 10,
            "checks": [{"name": "db", "status": "up", "took_us": 1500}]});
        let event = Event::from_json(heartbeat.to_string().as_bytes()).unwrap();
        let content = Content::Events(vec![Ok(event)]);
        mind.step(&Delivery { position: 1, at: 1_000, subject: String::new(), content, context: TraceContext::default() });
        mind
    };
    for (up_s, status, word) in [(5.0, 503, "fail"), (500.0, 200, "pass")] {
        let mind = Arc::new(std::sync::Mutex::new(view(up_s)));
        house.slots.health.fill(Some(Arc::new(move |question| {
            question(&mind.lock().unwrap());
            Box::pin(async {})
        })));
        let mut client = house.client();
        let plain = client.get("/readyz/shop%2Feu", &[]);
        assert_eq!((plain.status, plain.header("content-type")), (status, Some("application/json")), "{}", plain.text());
        assert_eq!(plain.json()["http"], status);
        let health = client.get("/readyz/shop%2Feu", &[("accept", "text/html, application/health+json;q=0.9")]);
        assert_eq!((health.status, health.header("content-type")), (status, Some("application/health+json")));
        assert_eq!((&health.json()["status"], &health.json()["checks"]["db"][0]["observedUnit"]), (&json!(word), &json!("ms")));
        assert_problem(&client.get("/readyz/till", &[]), 404);
        assert_problem(&client.get(&format!("/readyz/{}", "x".repeat(100)), &[]), 404);
    }
}
