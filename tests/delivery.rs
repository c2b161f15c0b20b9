//! Alerts on their way to people: a webhook that fails, a process that dies, and the real Alertmanager.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "delivery/added.rs"]
mod added;
mod common;
#[path = "delivery/silences.rs"]
mod silences;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::{Server, Worker, http, http_get, wait_for};
use homeostat_nats::{Log, Reader, ReaderOptions};
use ring::hmac;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What one POST said.
#[derive(Clone)]
struct Received {
    at: std::time::Instant,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Received {
    fn id(&self) -> String {
        self.headers["webhook-id"].clone()
    }
}

/// A pager: answers with a status of the test's choice and keeps what it was told.
struct Pager {
    address: String,
    status: Arc<AtomicU16>,
    /// How long it takes to answer, ms.
    takes: Arc<AtomicU64>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Pager {
    fn start() -> Pager {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/page", listener.local_addr().unwrap());
        let (status, received) = (Arc::new(AtomicU16::new(200)), Arc::new(Mutex::new(Vec::new())));
        let takes = Arc::new(AtomicU64::new(0));
        let (answers, pause, kept) = (status.clone(), takes.clone(), received.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // Alertmanager keeps several connections open: each has a thread.
                let (stream, answers, pause, kept) = (stream.unwrap(), answers.clone(), pause.clone(), kept.clone());
                std::thread::spawn(move || serve(stream, &answers, &pause, &kept));
            }
        });
        Pager { address, status, takes, received }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }
}

/// Connections are kept open by the client: as many requests as come.
fn serve(mut stream: TcpStream, answers: &AtomicU16, pause: &AtomicU64, kept: &Mutex<Vec<Received>>) {
    stream.set_nodelay(true).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader) {
        std::thread::sleep(Duration::from_millis(pause.load(Ordering::SeqCst)));
        let status = answers.load(Ordering::SeqCst);
        if status == 200 {
            kept.lock().unwrap().push(request);
        }
        // In one piece: the client waits for the whole of it.
        if stream.write_all(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n").as_bytes()).is_err() {
            break;
        }
    }
}

fn read(reader: &mut impl std::io::BufRead) -> Option<Received> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = BTreeMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    Some(Received { at: std::time::Instant::now(), headers, body })
}

/// The ids of all alerts on the log, in order.
async fn on_the_log(log: &Log) -> Vec<String> {
    let last = log.bounds().await.unwrap().last;
    let mut reader = Reader::open(log, 1, ReaderOptions::default()).await.unwrap();
    let (mut ids, mut seen) = (Vec::new(), 0);
    while seen < last {
        for entry in reader.next().await.unwrap() {
            seen = entry.seq;
            if entry.subject.starts_with("homeostat.v1.alert.") {
                ids.push(entry.header("ce-id").unwrap().to_owned());
            }
        }
    }
    ids
}

/// Makes one alert about a service.
async fn something_slow(gateway: &str, service: &str) {
    let event = json!([{ "kind": "query", "service": service, "at_ms": common::story::now_ms(), "took_us": 900_000, "statement": "select a from t" }]);
    let headers = [("content-type", "application/json")];
    let (status, body) = http(gateway, "POST", "/v1/events", &headers, event.to_string().as_bytes()).await.unwrap();
    assert_eq!(status, 200, "{body}");
}

async fn alerts(log: &Log, count: usize) -> Vec<String> {
    let began = std::time::Instant::now();
    loop {
        let ids = on_the_log(log).await;
        if ids.len() >= count {
            return ids;
        }
        assert!(began.elapsed() < PATIENCE, "{} alerts of {count}", ids.len());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_everything_in_order_though_it_fails_and_the_process_dies() {
    let server = Server::start().await;
    let log = server.log().await;
    let pager = Pager::start();
    let secret = server.path("secret");
    std::fs::write(&secret, format!("whsec_{SECRET}\n")).unwrap();
    let settings =
        [format!("delivery.webhooks.pager.url={}", pager.address), format!("delivery.webhooks.pager.secret_file={}", secret.display())];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let data = server.path("worker");
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;

    something_slow(&gateway, "first").await;
    wait_for("the first alert", PATIENCE, || (!pager.received().is_empty()).then_some(())).await;
    pager.answer(503);
    for service in ["second", "third", "fourth"] {
        something_slow(&gateway, service).await;
    }
    alerts(&log, 4).await;
    worker.kill();
    pager.answer(200);
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    something_slow(&gateway, "fifth").await;
    let ids = alerts(&log, 5).await;
    let received = wait_for("all alerts", PATIENCE, || Some(pager.received()).filter(|all| all.len() >= ids.len())).await;

    assert_eq!(received.iter().map(Received::id).collect::<Vec<_>>(), ids);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &STANDARD.decode(SECRET).unwrap());
    for one in &received {
        let signed = [format!("{}.{}.", one.id(), one.headers["webhook-timestamp"]).as_bytes(), &one.body].concat();
        let signature = STANDARD.decode(one.headers["webhook-signature"].strip_prefix("v1,").unwrap()).unwrap();
        hmac::verify(&key, &signed, &signature).expect("the signature is right");
        let alert: Value = serde_json::from_slice(&one.body).unwrap();
        assert_eq!(alert["id"], one.id());
    }
    worker.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_refuses_one_alert_does_not_hold_up_the_next() {
    let server = Server::start().await;
    let pager = Pager::start();
    let mut worker =
        Worker::spawn(&server.path("worker"), Some(&server.url()), &[&format!("delivery.webhooks.pager.url={}", pager.address)], &[]);
    let gateway = worker.ready().await;
    pager.answer(422);
    something_slow(&gateway, "refused").await;
    wait_for("the alert to be given up", PATIENCE, || worker.log().contains("is given up").then_some(())).await;
    pager.answer(200);
    something_slow(&gateway, "wanted").await;
    let received = wait_for("the next alert", PATIENCE, || Some(pager.received()).filter(|all| !all.is_empty())).await;
    assert!(String::from_utf8_lossy(&received[0].body).contains("wanted"));
    worker.stop().await;
    server.stop().await;
}

/// The real Alertmanager, in a directory of its own.
struct Alertmanager {
    child: Child,
    url: String,
}

impl Alertmanager {
    fn start(dir: &Path) -> Alertmanager {
        Alertmanager::with(dir, &json!({ "route": { "receiver": "nobody" }, "receivers": [{ "name": "nobody" }] }))
    }

    fn with(dir: &Path, config: &Value) -> Alertmanager {
        std::fs::create_dir_all(dir).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(dir.join("config.yaml"), config.to_string()).unwrap();
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let child = Command::new("prometheus-alertmanager")
            .arg(format!("--config.file={}", dir.join("config.yaml").display()))
            .arg(format!("--storage.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus-alertmanager is there; `scripts/install-test-tools` installs it");
        Alertmanager { child, url: format!("http://127.0.0.1:{port}") }
    }

    /// Its active alerts that are what `wanted` says of all of them.
    async fn until(&self, what: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let began = std::time::Instant::now();
        loop {
            let answer = http_get(&self.url, "/api/v2/alerts").await;
            let alerts: Vec<Value> = answer.and_then(|(_, body)| serde_json::from_str(&body).ok()).unwrap_or_default();
            if wanted(&alerts) {
                return alerts;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain for {what}: {alerts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn alertmanager_knows_what_is_open_whoever_was_restarted() {
    let server = Server::start().await;
    let alertmanager = Alertmanager::start(&server.path("alertmanager"));
    let settings = [format!("delivery.alertmanager.urls=[\"{}\"]", alertmanager.url), "delivery.alertmanager.resend_s=1".to_owned()];
    let settings: Vec<&str> = settings.iter().map(String::as_str).chain(["actors.query.quiet_min=1"]).collect();
    let data = server.path("worker");
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    alertmanager.until("Alertmanager", |_| true).await;
    something_slow(&gateway, "shop").await;
    let alerts = alertmanager.until("the alert", |all| all.len() == 1).await;
    let labels = &alerts[0]["labels"];
    assert_eq!((&labels["alertname"], &labels["service"], &labels["severity"]), (&json!("query.slow"), &json!("shop"), &json!("warning")));
    assert!(labels["fingerprint"].is_string(), "{labels}");
    assert!(alerts[0]["annotations"]["summary"].as_str().unwrap().contains("900 ms"), "{alerts:?}");

    // Dead without a word: what was open is still the same one alert afterwards, and a second one joins it.
    worker.kill();
    let mut worker = Worker::spawn(&data, Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    something_slow(&gateway, "other").await;
    let alerts = alertmanager.until("both alerts", |all| all.len() == 2).await;
    assert!(alerts.iter().any(|alert| alert["labels"]["service"] == "shop"), "{alerts:?}");

    // The rule is switched off: both findings end, and Alertmanager is told so.
    let off = Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .args(["config", "set", "actors.query.rules.slow=off", "--nats", &server.url()])
        .output()
        .unwrap();
    assert!(off.status.success(), "{}", String::from_utf8_lossy(&off.stderr));
    alertmanager.until("the end of both", |all| all.is_empty()).await;
    worker.stop().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_alertmanager_that_is_down_keeps_no_other_from_being_told() {
    let server = Server::start().await;
    let alertmanager = Alertmanager::start(&server.path("alertmanager"));
    let down = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Nothing of it is due to a second telling: that comes once in ten minutes.
    let urls = format!("delivery.alertmanager.urls=[\"http://{down}\", \"{}\"]", alertmanager.url);
    let settings = [urls.as_str(), "delivery.alertmanager.resend_s=600"];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    alertmanager.until("Alertmanager", |_| true).await;
    let silence = ["silence", "create", "service=quiet", "--for", "1h", "--by", "ann", "--nats", &server.url()];
    assert!(Command::new(env!("CARGO_BIN_EXE_homeostat")).args(silence).status().unwrap().success());
    for (number, service) in ["shop", "till", "quiet"].into_iter().enumerate() {
        something_slow(&gateway, service).await;
        alertmanager.until(service, |all| all.len() == number + 1).await;
    }
    let state =
        |all: &[Value], service: &str| all.iter().find(|alert| alert["labels"]["service"] == service).unwrap()["status"]["state"].clone();
    alertmanager.until("the silence", |all| state(all, "quiet") == "suppressed" && state(all, "shop") == "active").await;
    let off = ["config", "set", "actors.query.rules.slow=off", "--nats", &server.url()];
    assert!(Command::new(env!("CARGO_BIN_EXE_homeostat")).args(off).status().unwrap().success());
    alertmanager.until("the end of all", |all| all.is_empty()).await;
    worker.stop().await;
    server.stop().await;
}
