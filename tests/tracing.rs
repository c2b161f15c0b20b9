//! One trace shows a publisher's message, the decision on it and the alert: spans really exported by OTLP, really received.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::story::now_ms;
use common::{Server, Worker};
use homeostat_nats::{Message, Reader, ReaderOptions};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// An OTLP receiver: what was exported to it.
async fn receiver() -> (String, Arc<Mutex<Vec<Span>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let spans = Arc::new(Mutex::new(Vec::new()));
    let received = spans.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream, received.clone()));
        }
    });
    (address, spans)
}

/// Answers requests on a connection until it ends.
async fn serve(mut stream: TcpStream, spans: Arc<Mutex<Vec<Span>>>) {
    let mut buffer = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        assert!(text.starts_with("post /v1/traces "), "{text}");
        let length: usize = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().trim().parse().unwrap();
        while buffer.len() < head + length {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let request = ExportTraceServiceRequest::decode(&buffer[head..head + length]).unwrap();
        let exported = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans);
        spans.lock().unwrap().extend(exported);
        buffer.drain(..head + length);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> String {
    let value = span.attributes.iter().find(|attribute| attribute.key == name).and_then(|attribute| attribute.value.clone());
    value.map_or(String::new(), |value| format!("{:?}", value.value))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_shows_event_decision_and_alert() {
    let (endpoint, spans) = receiver().await;
    let server = Server::start().await;
    let log = server.log().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &environment);
    worker.ready().await;
    let slow = |statement: &str, trace: Option<&str>| json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": statement, "took_us": 300_000, "trace": trace, "span": "00000000000000b7"});
    // A single message with its publisher's trace, and a batch without one whose event has.
    let subject = log.subject("event.query.shop");
    let single = Message::new(&subject, slow("select * from a", None).to_string()).with("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    log.append(single).await.unwrap();
    let batch = json!([slow("select * from b", Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")), slow("select * from c", None)]);
    log.append(Message::new(&subject, batch.to_string())).await.unwrap();

    let began = Instant::now();
    let mut reader =
        Reader::open(&log, 1, ReaderOptions { filters: vec![log.subject("alert.>")], ..ReaderOptions::default() }).await.unwrap();
    let mut alerts = Vec::new();
    while alerts.len() < 3 {
        alerts.extend(tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("alerts").unwrap());
    }
    let wanted = |spans: &[Span]| spans.iter().filter(|span| span.name == "publish homeostat.v1.alert").count() >= 3;
    while !wanted(&spans.lock().unwrap()) {
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", spans.lock().unwrap().iter().map(|span| &span.name).collect::<Vec<_>>());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(worker.stop().await.success());
    let spans = spans.lock().unwrap().clone();

    // Parent for a single message: publisher → process → publish, in one trace.
    let of_query = |span: &&Span| attribute(span, "homeostat.actor").contains("query");
    let process =
        spans.iter().filter(of_query).find(|span| hex(&span.trace_id) == TRACE).expect("the decision is in the publisher's trace");
    assert_eq!(process.name, "process homeostat.v1.event.query");
    assert_eq!(process.kind, SpanKind::Consumer as i32);
    assert_eq!(hex(&process.parent_span_id), PARENT);
    assert!(attribute(process, "messaging.system").contains("nats"));
    assert!(attribute(process, "messaging.destination.name").contains("homeostat.v1.event.query.shop"));
    let publish = spans.iter().find(|span| span.parent_span_id == process.span_id).expect("the alert is below the decision");
    assert_eq!(publish.name, "publish homeostat.v1.alert");
    assert_eq!(publish.kind, SpanKind::Producer as i32);
    assert_eq!(hex(&publish.trace_id), TRACE);
    let carried = format!("00-{TRACE}-{}-01", hex(&publish.span_id));
    assert!(alerts.iter().any(|alert| alert.header("traceparent") == Some(&carried)), "whoever reads the alert goes on in the same trace");

    // Links for a batch: the decision begins a trace of its own and points to those of its events.
    let batch =
        spans.iter().filter(of_query).find(|span| hex(&span.trace_id) != TRACE && !span.links.is_empty()).expect("a linked decision");
    assert!(batch.links.iter().any(|link| hex(&link.trace_id) == "a".repeat(32)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_endpoint_a_publishers_trace_is_carried_through() {
    let server = Server::start().await;
    let log = server.log().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &[]);
    worker.ready().await;
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let event = json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": "select 1 from t", "took_us": 300_000});
    log.append(Message::new(log.subject("event.query.shop"), event.to_string()).with("traceparent", &traceparent)).await.unwrap();
    let mut reader =
        Reader::open(&log, 1, ReaderOptions { filters: vec![log.subject("alert.>")], ..ReaderOptions::default() }).await.unwrap();
    let alerts = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.expect("an alert").unwrap();
    assert_eq!(alerts[0].header("traceparent"), Some(traceparent.as_str()));
    assert!(worker.stop().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_publisher_does_not_record_makes_no_span() {
    let (endpoint, spans) = receiver().await;
    let server = Server::start().await;
    let log = server.log().await;
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &["telemetry.sample_ratio=0.0"], &environment);
    worker.ready().await;
    let slow = |table: &str| {
        json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select 1 from {table}"), "took_us": 300_000})
            .to_string()
    };
    let subject = log.subject("event.query.shop");
    let unrecorded = format!("00-{}-{PARENT}-00", "b".repeat(32));
    log.append(Message::new(&subject, slow("a")).with("traceparent", unrecorded)).await.unwrap();
    log.append(Message::new(&subject, slow("b"))).await.unwrap();
    log.append(Message::new(&subject, slow("c")).with("traceparent", format!("00-{TRACE}-{PARENT}-01"))).await.unwrap();
    // Three alerts, and spans for one of them: the last, so that those of the others would have come before.
    let began = Instant::now();
    while !spans.lock().unwrap().iter().any(|span| span.name == "publish homeostat.v1.alert") {
        assert!(began.elapsed() < Duration::from_secs(30), "no span");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(worker.stop().await.success());
    let traces: std::collections::BTreeSet<String> = spans.lock().unwrap().iter().map(|span| hex(&span.trace_id)).collect();
    assert_eq!(traces, [TRACE.to_owned()].into());
    server.stop().await;
}

/// Waits for the first message of a subject that fits.
async fn first(log: &homeostat_nats::Log, subject: &str, fits: impl Fn(&serde_json::Value) -> bool) -> homeostat_nats::Entry {
    let options = ReaderOptions { filters: vec![log.subject(subject)], ..ReaderOptions::default() };
    let mut reader = Reader::open(log, 1, options).await.unwrap();
    loop {
        let entries = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.expect("a message").unwrap();
        if let Some(entry) = entries.into_iter().find(|entry| fits(&serde_json::from_slice(&entry.payload).unwrap())) {
            return entry;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_shows_everything_from_the_event_to_its_measured_effect() {
    let (endpoint, spans) = receiver().await;
    let server = Server::start().await;
    let log = server.log().await;
    let settings = ["actors.recovery.mode=act", "actors.recovery.settle_ms=100", "actors.query.cache.min_lookups=10"];
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "200")];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &environment);
    worker.ready().await;
    let cache = |hits: u64| json!({"kind": "cache", "service": "shop", "at_ms": now_ms(), "name": "products", "hits": hits, "misses": 100 - hits, "over_ms": 1000});
    let subject = log.subject("event.cache.shop");
    log.append(Message::new(&subject, cache(5).to_string()).with("traceparent", format!("00-{TRACE}-{PARENT}-01"))).await.unwrap();
    let command = first(&log, "command.>", |_| true).await;
    let id = serde_json::from_slice::<serde_json::Value>(&command.payload).unwrap()["id"].clone();
    let traceparent = command.header("traceparent").unwrap().to_owned();
    for status in ["accepted", "done"] {
        let outcome = json!({"command": id, "status": status, "at_ms": now_ms()});
        log.append(Message::new(log.subject("outcome.cache.warm.shop"), outcome.to_string()).with("traceparent", &traceparent))
            .await
            .unwrap();
    }
    // The measurements belong to no trace at all, and the verdict to that of its story.
    for _ in 0..2 {
        log.append(Message::new(&subject, cache(95).to_string())).await.unwrap();
    }
    let verdict = first(&log, "alert.recovery.verified.shop", |_| true).await;
    assert!(worker.stop().await.success());
    let spans = spans.lock().unwrap().clone();
    let of_story = |name: &str, key: &str, value: &str| {
        let found = spans.iter().filter(|span| hex(&span.trace_id) == TRACE && span.name == name);
        assert!(
            found.clone().any(|span| attribute(span, key).contains(value)),
            "{name} {value} is not in the trace: {:?}",
            found.map(|span| &span.attributes).collect::<Vec<_>>()
        );
    };
    of_story("process homeostat.v1.event.cache", "homeostat.actor", "query");
    of_story("publish homeostat.v1.alert", "homeostat.rule", "query.cache_cold");
    of_story("process homeostat.v1.alert", "homeostat.actor", "recovery");
    of_story("publish homeostat.v1.command", "homeostat.action", "cache.warm");
    of_story("process homeostat.v1.outcome", "homeostat.actor", "recovery");
    of_story("publish homeostat.v1.alert", "homeostat.rule", "recovery.verified");
    assert!(traceparent.contains(TRACE) && verdict.header("traceparent").is_some_and(|carried| carried.contains(TRACE)));
    server.stop().await;
}
