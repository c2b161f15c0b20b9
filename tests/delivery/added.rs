//! What delivery adds: the time from an alert being on the bus, as a plain subscriber has it, to a webhook's request being there. A
//! measurement, not a test: nothing is asserted about time, and it runs only when asked for.
//!
//! ```sh
//! cargo build --release
//! HOMEOSTAT_TEST_BINARY=target/release/homeostat cargo test --test delivery -- --ignored --nocapture what_delivery_adds
//! ```

#![allow(clippy::print_stderr)]

use super::*;
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::time::Instant;

/// Alerts of each way.
const ALERTS: usize = 500;
/// Time between two of them: slower than any way takes, so that none waits for the one before.
const PACE: Duration = Duration::from_millis(40);

/// When the subscriber had each alert, by its id and its fingerprint.
type Heard = Arc<Mutex<BTreeMap<String, Instant>>>;

async fn subscribe(log: &Log) -> Heard {
    let client = log.bus().client().clone();
    let mut alerts = client.subscribe(log.subject("alert.>")).await.unwrap();
    client.flush().await.unwrap();
    let heard = Heard::default();
    let keep = heard.clone();
    tokio::spawn(async move {
        while let Some(message) = alerts.next().await {
            let now = Instant::now();
            let alert: Value = serde_json::from_slice(&message.payload).unwrap();
            let fingerprint = alert["labels"]["fingerprint"].as_str().unwrap().to_owned();
            let mut heard = keep.lock().unwrap();
            heard.insert(alert["id"].as_str().unwrap().to_owned(), now);
            heard.insert(fingerprint, now);
        }
    });
    heard
}

/// Every request of the pager: when it was there, and which alerts it was about.
fn told(pager: &Pager) -> Vec<(Instant, Vec<String>)> {
    let about = |received: &Received| match received.headers.get("webhook-id") {
        Some(id) => vec![id.clone()],
        None => {
            let body: Value = serde_json::from_slice(&received.body).unwrap();
            let alerts = body["alerts"].as_array().unwrap().iter();
            alerts.map(|alert| alert["labels"]["fingerprint"].as_str().unwrap().to_owned()).collect()
        }
    };
    pager.received().iter().map(|received| (received.at, about(received))).collect()
}

fn report(way: &str, mut added: Vec<Duration>) {
    added.sort();
    let at = |share: f64| added[((added.len() as f64 * share).ceil() as usize).clamp(1, added.len()) - 1].as_secs_f64() * 1000.0;
    eprintln!("{way:<58} {:>4} alerts  p50 {:>7.2} ms  p99 {:>7.2} ms  max {:>7.2} ms", added.len(), at(0.5), at(0.99), at(1.0));
}

/// Alerts one by one, through a system with these settings, until the pager was told all of them.
async fn measure(way: &str, server: &Server, pager: &Pager, settings: &[&str]) {
    let log = server.log().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), settings, &[]);
    worker.ready().await;
    let heard = subscribe(&log).await;
    for n in 0..ALERTS {
        let event = json!({
            "kind": "query", "service": "shop", "at_ms": common::story::now_ms(), "took_us": 900_000, "statement": format!("select a from t{n}")
        });
        log.append(homeostat_nats::Message::new(log.subject("event.query.shop"), event.to_string())).await.unwrap();
        tokio::time::sleep(PACE).await;
    }
    wait_for("the last alert at the webhook", PATIENCE, || {
        (told(pager).iter().map(|(_, alerts)| alerts.len()).sum::<usize>() >= ALERTS).then_some(())
    })
    .await;
    let heard = heard.lock().unwrap().clone();
    let mut added: BTreeMap<String, Duration> = BTreeMap::new();
    for (at, alerts) in told(pager) {
        for alert in alerts {
            // Told again is not told later; and the webhook may be told before the subscriber is.
            let since = at.saturating_duration_since(heard[&alert]);
            added.entry(alert).or_insert(since);
        }
    }
    report(way, added.into_values().collect());
    worker.stop().await;
}

/// One group an alert, told at once: what it adds otherwise is what its operator wants it to wait.
async fn alertmanager(dir: &Path, pager: &Pager) -> Alertmanager {
    let route = json!({ "receiver": "pager", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h" });
    let receivers = json!([{ "name": "pager", "webhook_configs": [{ "url": pager.address, "send_resolved": false }] }]);
    let alertmanager = Alertmanager::with(dir, &json!({ "route": route, "receivers": receivers }));
    while http_get(&alertmanager.url, "/-/ready").await.is_none_or(|(status, _)| status != 200) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    alertmanager
}

/// The floor: what Alertmanager and the webhook need by themselves.
async fn floor(dir: &Path) {
    let pager = Pager::start();
    let alertmanager = alertmanager(dir, &pager).await;
    let mut posted = BTreeMap::new();
    for n in 0..ALERTS {
        let fingerprint = format!("{n:016x}");
        let alert = json!([{ "labels": { "alertname": "query.slow", "service": "shop", "fingerprint": fingerprint } }]);
        posted.insert(fingerprint, Instant::now());
        let headers = [("content-type", "application/json")];
        let (status, body) = http(&alertmanager.url, "POST", "/api/v2/alerts", &headers, alert.to_string().as_bytes()).await.unwrap();
        assert_eq!(status, 200, "{body}");
        tokio::time::sleep(PACE).await;
    }
    wait_for("the last alert at the webhook", PATIENCE, || (told(&pager).len() >= ALERTS).then_some(())).await;
    let added = told(&pager).into_iter().flat_map(|(at, alerts)| alerts.into_iter().map(move |alert| (at, alert)));
    report("a POST of the test → Alertmanager → webhook (the floor)", added.map(|(at, alert)| at - posted[&alert]).collect());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: half a minute or more, and it says something only on a quiet machine"]
async fn what_delivery_adds() {
    eprintln!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
    let server = Server::start().await;
    let pager = Pager::start();
    let webhook = format!("delivery.webhooks.pager.url={}", pager.address);
    measure("alert on the bus → webhook", &server, &pager, &[&webhook]).await;
    server.stop().await;

    let server = Server::start().await;
    let pager = Pager::start();
    let alertmanager = alertmanager(&server.path("alertmanager"), &pager).await;
    let urls = format!("delivery.alertmanager.urls=[\"{}\"]", alertmanager.url);
    measure("alert on the bus → Alertmanager → webhook", &server, &pager, &[&urls]).await;
    floor(&server.path("floor")).await;
    server.stop().await;
    eprintln!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
}
