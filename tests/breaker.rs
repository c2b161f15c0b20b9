//! The fleet's breaker over a real bus: what replicas report, and what they hear.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::story::now_ms;
use common::{Server, Worker, http_get};
use futures::StreamExt as _;
use homeostat_nats::{Log, Message};
use homeostat_schemas::{Admission, AdmissionState};
use serde_json::{Value, json};
use std::time::Duration;

/// Ten replicas report so many calls each.
async fn report(log: &Log, ok: u64, failed: u64) {
    let events: Vec<Value> = (0..10)
        .map(|n| {
            json!({"kind": "calls", "service": "web shop", "at_ms": now_ms(), "instance": format!("shop-{n}"), "peer": "payments",
                "ok": ok, "failed": failed, "shed": 0, "over_ms": 200})
        })
        .collect();
    let subject = log.subject("event.calls.web=20shop");
    let message = Message::new(subject, serde_json::to_vec(&events).unwrap()).with("content-type", "application/json");
    log.append(message).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breakers_of_replicas_are_shown_also_after_a_restart() {
    let server = Server::start().await;
    let log = server.log().await;
    let dir = server.path("worker");
    let mut worker = Worker::spawn(&dir, Some(&server.url()), &[], &[]);
    let gateway = worker.ready().await;
    let said = |n: u32, state: &str, epoch: u64| {
        json!({"kind": "breaker", "service": "shop", "at_ms": now_ms(), "instance": format!("shop-{n}"), "peer": "payments",
            "state": state, "from": "closed", "why": "sequential", "epoch": epoch})
    };
    let subject = log.subject("event.breaker.shop");
    let body = serde_json::to_vec(&[said(1, "open", 7), said(2, "half_open", 8)]).unwrap();
    log.append(Message::new(subject, body).with("content-type", "application/json")).await.unwrap();
    shown(&gateway).await;
    let metrics = http_get(&gateway, "/metrics").await.unwrap().1;
    assert!(metrics.contains("homeostat_breaker_changes_total{to=\"half_open\"} 1"), "{metrics}");
    assert!(worker.stop().await.success());
    // Another process takes over where the first one was.
    let mut worker = Worker::spawn(&dir, Some(&server.url()), &[], &[]);
    let gateway = worker.ready().await;
    shown(&gateway).await;
    assert!(worker.stop().await.success());
    server.stop().await;
}

/// Waits until both replicas are seen.
async fn shown(gateway: &str) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let (status, body) = http_get(gateway, "/api/v1/breakers?service=shop").await.unwrap();
        let view: Value = serde_json::from_str(&body).unwrap();
        if status == 200 && view[0]["local_states"] == json!({"open": 1, "half_open": 1}) {
            assert_eq!((&view[0]["local"][0]["instance"], &view[0]["local"][0]["why"]), (&json!("shop-1"), &json!("sequential")), "{body}");
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "not shown: {body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_hear_what_share_of_their_calls_they_may_make() {
    let server = Server::start().await;
    let log = server.log().await;
    // Whoever listens is on core NATS: nothing of it is in the log.
    let mut heard = log.bus().client().subscribe("homeostat.v1.admission.web=20shop.payments").await.unwrap();
    log.bus().client().flush().await.unwrap();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &[]);
    let gateway = worker.ready().await;
    let mut said: Vec<Admission> = Vec::new();
    // Failures until the breaker opens, then good calls until it has closed.
    while said.last().is_none_or(|word| word.state != AdmissionState::Closed) {
        let down = said.iter().all(|word| word.state != AdmissionState::Open) || said.len() < 4;
        report(&log, if down { 0 } else { 5 }, if down { 5 } else { 0 }).await;
        if down && said.len() == 3 {
            let (status, body) = http_get(&gateway, "/api/v1/breakers?peer=payments").await.unwrap();
            let body: Value = serde_json::from_str(&body).unwrap();
            assert_eq!((status, &body[0]["state"], &body[0]["replicas"]), (200, &json!("open"), &json!(10)), "{body}");
        }
        let wait = tokio::time::timeout(Duration::from_millis(200), heard.next());
        if let Ok(Some(message)) = wait.await {
            said.push(serde_json::from_slice(&message.payload).unwrap());
        }
        assert!(said.len() < 500, "never closed: {:?}", said.last());
    }
    assert!(said.iter().any(|word| word.state == AdmissionState::Open && word.fraction < 0.5 && word.lease_ms == 1_500));
    assert!(said.iter().any(|word| word.state == AdmissionState::Ramping));
    assert!(said.is_sorted_by(|a, b| a.epoch < b.epoch), "in order of their epochs");
    assert_eq!(log.last_on("homeostat.v1.admission.web=20shop.payments").await.unwrap().map(|entry| entry.seq), None);
    let (_, alerts) = http_get(&gateway, "/api/v1/alerts?all&rule=breaker.open").await.unwrap();
    assert!(alerts.contains("breaker.open"), "{alerts}");
    assert!(worker.stop().await.success());
    server.stop().await;
}
