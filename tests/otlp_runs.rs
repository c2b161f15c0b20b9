//! Recorded OpenTelemetry traffic of real shops, through the real gateway and bus: what comes out is what the recordings' own
//! truth says, as a stock NATS client of another language counts it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Worker, http};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Longer than a trace may be idle before it is closed.
const IDLE: Duration = Duration::from_secs(3);

fn runs() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/otlp");
    let mut runs: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    runs.sort();
    assert_eq!(runs.len(), 7);
    runs
}

async fn send(gateway: &str, run: &Path) {
    let mut bodies: Vec<_> = std::fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path()).collect();
    bodies.sort();
    for body in bodies.iter().filter(|path| path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_v1_traces"))) {
        let content_type = match body.extension().and_then(|ext| ext.to_str()) {
            Some("pb") => "application/x-protobuf",
            Some("json") => "application/json",
            _ => continue,
        };
        let bytes = std::fs::read(body).unwrap();
        // Exporters retry: the same body twice must not count twice.
        for _ in 0..2 {
            let (status, answer) = http(gateway, "POST", "/v1/traces", &[("content-type", content_type)], &bytes).await.unwrap();
            assert_eq!(status, 200, "{}: {answer}", body.display());
        }
    }
}

/// The alerts of a rule as `(route, statement, repeats)`.
fn repeated(seen: &Value) -> BTreeSet<(String, u64)> {
    let alerts = seen["alerts"].as_array().unwrap().iter();
    let wanted = alerts.filter(|alert| alert["rule"] == "query.n_plus_one" && alert["state"] == "firing");
    wanted.map(|alert| (alert["labels"]["route"].as_str().unwrap().to_owned(), alert["evidence"]["repeats"].as_u64().unwrap())).collect()
}

fn check(run: &Path, truth: &Value, seen: &Value) {
    let run = run.display();
    assert_eq!(seen["queries"], truth["db_query_spans"], "{run}: statements");
    assert_eq!(seen["failed"], truth["db_query_spans_failed"], "{run}: failed statements");
    assert_eq!(seen["over_100ms"], truth["db_query_spans_over_100ms"], "{run}: slow statements");
    assert_eq!(seen["requests"], truth["http_server_spans"], "{run}: requests");
    for route in truth["http_by_route"].as_array().unwrap() {
        let Some(template) = route[1].as_str() else { continue };
        let name = format!("{} {template}", route[0].as_str().unwrap());
        let found = seen["routes"].as_array().unwrap().iter().find(|r| r[0] == name.as_str() && r[1] == route[2]);
        assert_eq!(found.map(|r| &r[2]), Some(&route[3]), "{run}: {name} {}", route[2]);
    }
    let wanted: BTreeSet<(String, u64)> = truth["n_plus_one"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| (format!("GET {}", n["route"].as_str().unwrap()), n["repeats"].as_u64().unwrap()))
        .collect();
    assert_eq!(repeated(seen), wanted, "{run}: N+1");
    let slow = seen["alerts"].as_array().unwrap().iter().filter(|a| a["rule"] == "query.slow" && a["state"] == "firing").count();
    assert_eq!(Some(slow as u64), truth["db_query_spans_over_100ms"].as_u64(), "{run}: slow queries alerted");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_count_of_every_recording_comes_out_on_the_bus() {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/python/bin/python");
    assert!(python.exists(), "nats-py is missing: run scripts/install-test-tools");
    for run in runs() {
        let truth: Value = serde_json::from_slice(&std::fs::read(run.join("truth.json")).unwrap()).unwrap();
        let server = Server::start().await;
        // The recorded databases ran beside their shops: an N+1 there takes less time than one worth an alert by default.
        let settings = ["actors.query.n_plus_one.min_total_ms=0", "actors.query.trace_idle_ms=1000"];
        let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
        let gateway = worker.ready().await;
        send(&gateway, &run).await;
        let (user, password) = server.embedded.credentials();
        let wanted = truth["n_plus_one"].as_array().unwrap().len();
        let began = Instant::now();
        let mut complete = None::<Instant>;
        let seen = loop {
            let output = Command::new(&python).arg("tests/subscriber.py").args([server.embedded.url(), user, password]).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
            if complete.is_none() && repeated(&seen).len() >= wanted {
                complete = Some(Instant::now());
            }
            // A false finding could come later than the true ones: traces without a request close when they have been idle.
            if complete.is_some_and(|at| at.elapsed() > IDLE) || began.elapsed() > Duration::from_secs(30) {
                break seen;
            }
        };
        check(&run, &truth, &seen);
        assert!(worker.stop().await.success());
        server.stop().await;
    }
}
