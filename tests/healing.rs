//! The whole loop with a real bus: telemetry → alert → command → an executor's outcome → the effect, measured; and what does not
//! help is a person's. The executor is a plain NATS program with the gate that every executor has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::story::now_ms;
use common::{Server, Worker, http, http_get};
use homeostat_nats::{Entry, Log, Message, Reader, ReaderOptions};
use homeostat_reflexes::executor::{Decision, Executor, ExecutorLimits};
use homeostat_schemas::{Alert, Command, Outcome, State};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PATIENCE: Duration = Duration::from_secs(60);

/// Quick rules: what they say is as in production, but for the times.
const SETTINGS: &str = r#"
[actors.query.cache]
min_lookups = 10
[actors.recovery]
mode = "act"
settle_ms = 100
lookups_min = 10
[[actors.recovery.rule]]
on = "query.cache_cold"
do = "cache.warm"
target = "{cache}"
verify = "cache.hit_rate rises above 60 % within 2s"
cooldown_s = 1
attempts = 2
expires_s = 30
[[actors.recovery.rule]]
on = "health.pool_exhausted"
do = "pool.resize"
target = "{pool}"
args = { size = "{evidence.advised_size}" }
verify = "pool.usage falls below 80 % within 30s"
approval = "person"
"#;

struct Shop {
    server: Server,
    log: Log,
    worker: Worker,
    gateway: String,
    commands: Reader,
    alerts: Reader,
    seen: Vec<Entry>,
}

impl Shop {
    async fn open() -> Shop {
        let server = Server::start().await;
        let log = server.log().await;
        let settings = server.path("homeostat.toml");
        std::fs::write(&settings, SETTINGS).unwrap();
        let environment = [("HOMEOSTAT_CONFIG", settings.to_str().unwrap())];
        let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &environment);
        let gateway = worker.ready().await;
        let follow = |what: &str| ReaderOptions { filters: vec![log.subject(what)], ..ReaderOptions::default() };
        let commands = Reader::open(&log, 1, follow("command.>")).await.unwrap();
        let alerts = Reader::open(&log, 1, follow("alert.>")).await.unwrap();
        Shop { server, log, worker, gateway, commands, alerts, seen: Vec::new() }
    }

    async fn says(&self, event: Value, traceparent: Option<&str>) {
        let mut event = event;
        event["service"] = "shop".into();
        event["at_ms"] = now_ms().into();
        let mut message = Message::new(self.log.subject(&format!("event.{}.shop", event["kind"].as_str().unwrap())), event.to_string());
        if let Some(traceparent) = traceparent {
            message = message.with("traceparent", traceparent);
        }
        self.log.append(message).await.unwrap();
    }

    async fn cache(&self, hits: u64, traceparent: Option<&str>) {
        self.says(json!({"kind": "cache", "name": "products", "hits": hits, "misses": 100 - hits, "over_ms": 1000}), traceparent).await;
    }

    async fn command(&mut self) -> (Command, Entry) {
        let entries = tokio::time::timeout(PATIENCE, self.commands.next()).await.expect("a command").unwrap();
        assert_eq!(entries.len(), 1);
        (serde_json::from_slice(&entries[0].payload).unwrap(), entries[0].clone())
    }

    /// Waits for an alert of this rule and state.
    async fn alert(&mut self, rule: &str, state: State) -> (Alert, Entry) {
        loop {
            let found = self.seen.iter().position(|entry| {
                let alert: Alert = serde_json::from_slice(&entry.payload).unwrap();
                alert.rule == rule && alert.state == state
            });
            if let Some(found) = found {
                let entry = self.seen.remove(found);
                return (serde_json::from_slice(&entry.payload).unwrap(), entry);
            }
            let more = tokio::time::timeout(PATIENCE, self.alerts.next()).await;
            self.seen.extend(more.unwrap_or_else(|_| panic!("no {rule} {state}: {}", self.worker.log())).unwrap());
        }
    }

    async fn outcome(&self, command: &Command, outcome: &Outcome, traceparent: Option<&str>) {
        let subject = self.log.subject(&format!("outcome.{}.shop", command.action));
        let mut message = Message::new(subject, serde_json::to_vec(outcome).unwrap()).with("content-type", "application/json");
        if let Some(traceparent) = traceparent {
            message = message.with("traceparent", traceparent);
        }
        self.log.append(message).await.unwrap();
    }

    /// Takes a command up and does it, as every executor does.
    async fn does(&self, gate: &mut Executor, command: &Command, entry: &Entry) {
        let Decision::Execute { accepted, .. } = gate.offer(command, true, now_ms()) else { panic!("it is not to be executed") };
        self.outcome(command, &accepted, entry.header("traceparent")).await;
        let done = gate.finished(&command.id, Ok(Some("as asked".to_owned())), now_ms()).unwrap();
        self.outcome(command, &done, entry.header("traceparent")).await;
        // The bus may bring it again: it is not done again.
        assert!(matches!(gate.offer(command, true, now_ms()), Decision::Answer(again) if again == done));
    }

    async fn view(&self) -> Value {
        let (status, body) = http_get(&self.gateway, "/api/v1/recovery").await.unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn order(&self, body: Value) -> u16 {
        let headers = [("content-type", "application/json")];
        http(&self.gateway, "POST", "/api/v1/recovery/orders", &headers, body.to_string().as_bytes()).await.unwrap().0
    }

    async fn close(self) {
        assert!(self.worker.stop().await.success());
        self.server.stop().await;
    }
}

/// Runs the binary against the bus of the test.
fn homeostat(url: &str, data_dir: &Path, arguments: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_homeostat"));
    let output = command.args(arguments).args(["--nats", url]).arg("--data-dir").arg(data_dir).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_cache_is_warmed_measured_and_called_verified_in_one_trace() {
    let mut shop = Shop::open().await;
    let mut gate = Executor::new("shop", "shop-1", 0, ExecutorLimits::default());
    shop.says(json!({"kind": "heartbeat", "instance": "shop-1", "up_s": 100, "interval_s": 60}), None).await;
    shop.cache(10, Some(&format!("00-{TRACE}-00f067aa0ba902b7-01"))).await;
    let (cold, _) = shop.alert("query.cache_cold", State::Firing).await;
    let (command, entry) = shop.command().await;
    assert_eq!((command.action.as_str(), command.target.as_str(), command.attempt), ("cache.warm", "products", 1));
    assert_eq!((&command.reason, &command.incident), (&cold.id, &cold.incident));
    assert_eq!(command.args["instance"], "shop-1");
    // CloudEvents, as any NATS viewer shows them.
    assert_eq!(entry.subject.to_string(), "homeostat.v1.command.cache.warm.shop");
    assert_eq!(entry.header("ce-type"), Some("homeostat.command.cache.warm"));
    assert_eq!(entry.header("ce-id"), Some(command.id.as_str()));
    shop.does(&mut gate, &command, &entry).await;
    for _ in 0..3 {
        shop.cache(95, None).await;
    }
    let (verified, verdict) = shop.alert("recovery.verified", State::Firing).await;
    assert!(verified.cause.contains(&command.id) && verified.cause.contains(&cold.id), "{verified:?}");
    assert_eq!(verified.evidence["incident"], json!(cold.incident));
    for message in [&entry, &verdict] {
        assert!(message.header("traceparent").is_some_and(|trace| trace.contains(TRACE)), "one trace from the event to its verdict");
    }

    // Everybody who shows commands shows this one.
    let view = shop.view().await;
    assert_eq!((&view["mode"], &view["counts"]["verified"]), (&json!("act"), &json!(1)), "{view}");
    let mut commands = Value::Null;
    for _ in 0..200 {
        let (_, body) = http_get(&shop.gateway, "/api/v1/commands?all").await.unwrap();
        commands = serde_json::from_str(&body).unwrap();
        if commands[0]["outcomes"].as_array().is_some_and(|outcomes| outcomes.len() == 2) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((&commands[0]["id"], &commands[0]["action"]), (&json!(command.id), &json!("cache.warm")), "{commands}");
    // The status actor reads the verdict in its own time.
    let mut shown = Value::Null;
    for _ in 0..200 {
        let (_, body) = http_get(&shop.gateway, "/api/v1/commands").await.unwrap();
        shown = serde_json::from_str(&body).unwrap();
        if shown[0]["state"] == "verified" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((&shown[0]["state"], &shown[0]["verdict"]), (&json!("verified"), &json!(verified.id)), "{shown}");
    let (url, dir) = (shop.server.url(), shop.worker.data_dir.clone());
    let explained = homeostat(&url, &dir, &["explain", &cold.incident]);
    assert!(explained.contains("cache.warm") && explained.contains("done") && explained.contains("as asked"), "{explained}");
    // Whatever of it is named, the whole chain is told: alert, decisions, command, outcomes, verdict.
    for id in [&cold.incident, &command.id, &verified.id] {
        let mut told = Value::Null;
        for _ in 0..100 {
            told = serde_json::from_str(&homeostat(&url, &dir, &["explain", id, "--json"])).unwrap();
            if told["decisions"].as_array().is_some_and(|decisions| decisions.iter().any(|entry| entry["what"] == "verified")) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let what: Vec<_> = told["decisions"].as_array().unwrap().iter().map(|entry| entry["what"].clone()).collect();
        assert_eq!(what, ["opened", "issued", "accepted", "done", "verified"], "{told}");
        assert_eq!(
            (&told["commands"][0]["verdict"]["verdict"], &told["commands"][0]["verdict"]["alert"]),
            (&json!("verified"), &json!(verified.id))
        );
        let explained = homeostat(&url, &dir, &["explain", id]);
        for word in ["query.cache_cold", "decisions", "issued", "cache.warm", "accepted", "done", "verified", verified.id.as_str()] {
            assert!(explained.contains(word), "{word}: {explained}");
        }
    }
    let history = homeostat(&url, &dir, &["recovery", "list", "--history", "--incident", &cold.incident, "--limit", "2"]);
    assert!(history.lines().count() == 3 && history.contains("verified") && history.contains("older ones with --before"), "{history}");
    let (_, page) = http_get(&shop.gateway, &format!("/api/v1/recovery/decisions?incident={}&what=issued", cold.incident)).await.unwrap();
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((page.as_array().unwrap().len(), &page[0]["command"]), (1, &json!(command.id)), "{page}");
    assert_eq!(http_get(&shop.gateway, "/api/v1/recovery/decisions?what=nonsense").await.unwrap().0, 400);
    let tail = homeostat(&url, &dir, &["tail", "commands", "--since", "1h", "--count", "3"]);
    assert!(tail.contains("cache.warm products of shop") && tail.contains("accepted"), "{tail}");
    let listed = homeostat(&url, &dir, &["recovery", "list"]);
    assert!(listed.contains("commands are meant") && listed.contains("verified"), "{listed}");
    // What was decided live is what a replay decides.
    let replay = homeostat(&url, &dir, &["replay", "--stream", "--verify"]);
    assert!(replay.is_empty() || !replay.contains("differ"), "{replay}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_help_is_escalated() {
    let mut shop = Shop::open().await;
    let mut gate = Executor::new("shop", "shop-1", 0, ExecutorLimits::default());
    shop.cache(10, None).await;
    let mut fence = 0;
    for attempt in 1..=2 {
        let (command, entry) = shop.command().await;
        assert_eq!(command.attempt, attempt);
        assert!(command.fence > fence);
        fence = command.fence;
        shop.does(&mut gate, &command, &entry).await;
        shop.cache(12, None).await;
        let (ineffective, _) = shop.alert("recovery.ineffective", State::Firing).await;
        assert!(ineffective.cause.contains(&command.id));
    }
    let (escalated, _) = shop.alert("recovery.escalated", State::Firing).await;
    assert!(escalated.summary.contains("2 of 2 tries without effect"), "{}", escalated.summary);
    assert_eq!(shop.view().await["open"][0]["stage"], "escalated");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn people_approve_pause_and_resume_by_http_command_line_and_bus() {
    let mut shop = Shop::open().await;
    let mut gate = Executor::new("shop", "shop-1", 0, ExecutorLimits::default());
    let (url, dir) = (shop.server.url(), shop.worker.data_dir.clone());
    let pool = |used: u64| json!({"kind": "pool", "instance": "shop-1", "name": "db", "used": used, "max": 20});
    // Paused by the command line: nothing goes out.
    homeostat(&url, &dir, &["recovery", "pause", "--by", "ann", "--reason", "a drill"]);
    shop.says(pool(20), None).await;
    let (full, _) = shop.alert("health.pool_exhausted", State::Firing).await;
    let mut view = shop.view().await;
    for _ in 0..200 {
        if view["open"][0]["why"].as_str().is_some_and(|why| why.contains("ann paused all")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        view = shop.view().await;
    }
    assert_eq!(view["open"][0]["why"], "ann paused all", "{view}");
    // Resumed on the bus: a person is asked.
    shop.says(json!({"kind": "order", "action": "recovery.resume", "target": "all", "args": null, "by": "bob"}), None).await;
    let (wanted, _) = shop.alert("recovery.approval_wanted", State::Firing).await;
    assert_eq!(wanted.evidence["approve"], json!(full.incident));
    // Approved by HTTP, and only in JSON, with a name.
    assert_eq!(shop.order(json!({"action": "approve", "target": full.incident})).await, 422);
    let form = [("content-type", "text/plain")];
    assert_eq!(http(&shop.gateway, "POST", "/api/v1/recovery/orders", &form, b"{}").await.unwrap().0, 415);
    assert_eq!(shop.order(json!({"action": "approve", "target": "nobody", "by": "ann"})).await, 404);
    assert_eq!(shop.order(json!({"action": "approve", "target": full.incident, "by": "ann"})).await, 202);
    let (command, entry) = shop.command().await;
    assert_eq!((command.action.as_str(), &command.args["size"]), ("pool.resize", &full.evidence["advised_size"]));
    shop.does(&mut gate, &command, &entry).await;
    shop.says(pool(10), None).await;
    shop.says(json!({"kind": "pool", "instance": "shop-1", "name": "db", "used": 9, "max": 26}), None).await;
    shop.alert("recovery.verified", State::Firing).await;
    shop.close().await;
}
