//! The example shop kept healthy by Homeostat: two real processes and a real bus. A fault is switched on over HTTP, and everything
//! after that (telemetry, alert, command, what the shop does, whether it helped) is theirs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Server, Worker, http};
use homeostat_nats::{Entry, Log, Reader, ReaderOptions};
use homeostat_schemas::{Alert, Command, Outcome, OutcomeStatus, State};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(90);

/// As in production, but for the times.
const SETTINGS: &str = r#"
[actors.query.cache]
min_lookups = 50
[actors.recovery]
mode = "act"
settle_ms = 100
lookups_min = 20
[[actors.recovery.rule]]
on = "query.cache_cold"
do = "cache.warm"
target = "{cache}"
verify = "cache.hit_rate rises above 90 % within 30s"
[[actors.recovery.rule]]
on = "health.error_rate"
where = { severity = "critical" }
do = "load.shed"
target = "{service}"
verify = "health.error_rate resolves within 2s"
cooldown_s = 1
attempts = 2
"#;

/// The example of the Rust client, which `cargo test --workspace` builds beside the tests.
fn example() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("examples/shop");
    assert!(path.exists(), "{} is missing: cargo build --workspace --examples", path.display());
    path
}

/// The process of the shop, which ends with the test.
struct Shop(Child);

impl Drop for Shop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Story {
    server: Server,
    worker: Worker,
    log: Log,
    shop: Shop,
    address: String,
    messages: Reader,
    seen: Vec<Entry>,
}

impl Story {
    async fn open() -> Story {
        let server = Server::start().await;
        let log = server.log().await;
        let settings = server.path("homeostat.toml");
        std::fs::write(&settings, SETTINGS).unwrap();
        let environment = [("HOMEOSTAT_CONFIG", settings.to_str().unwrap())];
        let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &[], &environment);
        worker.ready().await;
        let filters = ["alert.>", "command.>", "outcome.>"].map(|what| log.subject(what)).to_vec();
        let messages = Reader::open(&log, 1, ReaderOptions { filters, ..ReaderOptions::default() }).await.unwrap();
        let mut shop = std::process::Command::new(example())
            .env("HOMEOSTAT_NATS", server.url())
            .env("HOMEOSTAT_DATA_DIR", &worker.data_dir)
            .envs([("SHOP_LISTEN", "127.0.0.1:0"), ("SHOP_RPS", "100")])
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(server.path("shop.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(shop.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().to_owned();
        Story { server, worker, log, shop: Shop(shop), address, messages, seen: Vec::new() }
    }

    async fn fault(&self, name: &str) {
        let answer = http(&self.address, "POST", &format!("/faults/{name}/on"), &[], b"").await;
        assert_eq!(answer.map(|(status, _)| status), Some(200), "the shop takes the fault {name}");
    }

    /// Takes the next message of a kind that fits; what comes before it is kept for later questions.
    async fn next<T: serde::de::DeserializeOwned>(&mut self, kind: &str, fits: impl Fn(&T) -> bool) -> T {
        let kind = self.log.subject(kind);
        loop {
            let found = self.seen.iter().position(|entry| {
                entry.subject.starts_with(&kind) && serde_json::from_slice(&entry.payload).is_ok_and(|message| fits(&message))
            });
            if let Some(found) = found {
                return serde_json::from_slice(&self.seen.remove(found).payload).unwrap();
            }
            let shop = || std::fs::read_to_string(self.server.path("shop.log")).unwrap_or_default();
            let more = tokio::time::timeout(PATIENCE, self.messages.next()).await;
            let more = more.unwrap_or_else(|_| panic!("no such {kind}: {}\n{}", self.worker.log(), shop()));
            self.seen.extend(more.unwrap());
        }
    }

    async fn alert(&mut self, rule: &str, state: State) -> Alert {
        self.next("alert.", |alert: &Alert| alert.rule == rule && alert.state == state).await
    }

    async fn outcome(&mut self, command: &Command) -> Outcome {
        let id = command.id.clone();
        self.next("outcome.", move |outcome: &Outcome| outcome.command == id && outcome.status != OutcomeStatus::Accepted).await
    }

    async fn close(mut self) {
        let id = self.shop.0.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.shop.0.wait().unwrap().success(), "the shop says goodbye");
        assert!(self.worker.stop().await.success());
        self.server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shop_with_a_cold_cache_warms_it_when_told_and_the_hit_rate_proves_it() {
    let mut story = Story::open().await;
    story.fault("cold").await;
    let cold = story.alert("query.cache_cold", State::Firing).await;
    assert_eq!((cold.service.as_str(), cold.labels["cache"].as_str()), ("shop", "products"));
    let command: Command = story.next("command.", |command: &Command| command.action == "cache.warm").await;
    assert_eq!(command.reason, cold.id);
    let outcome = story.outcome(&command).await;
    assert_eq!((outcome.status, outcome.detail.as_deref()), (OutcomeStatus::Done, Some("500 entries")), "{outcome:?}");
    let verified = story.alert("recovery.verified", State::Firing).await;
    assert!(verified.cause.contains(&command.id), "{verified:?}");
    let resolved = story.alert("query.cache_cold", State::Resolved).await;
    assert_eq!(resolved.incident, cold.incident);
    story.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_that_shedding_does_not_cure_come_to_a_person() {
    let mut story = Story::open().await;
    story.fault("errors").await;
    let errors = story.next("alert.", |alert: &Alert| alert.rule == "health.error_rate" && alert.state == State::Firing).await;
    for attempt in [1, 2] {
        let command: Command = story.next("command.", |command: &Command| command.action == "load.shed").await;
        assert_eq!((command.attempt, &command.incident), (attempt, &errors.incident));
        let outcome = story.outcome(&command).await;
        assert_eq!((outcome.status, outcome.detail.as_deref()), (OutcomeStatus::Done, Some("orders are turned away")), "{outcome:?}");
    }
    let escalated = story.alert("recovery.escalated", State::Firing).await;
    assert_eq!(escalated.evidence["incident"], errors.incident, "{escalated:?}");
    story.close().await;
}
