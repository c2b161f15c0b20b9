//! `homeostat nats render`: what is written, and that Homeostat, an application and its commands work with nothing but what it allows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::bus::{LONG, Rendered, render, small};
use common::{Worker, wait_for};
use homeostat_client::{FlushError, PublishError, Settings};
use homeostat_nats::{Reader, ReaderOptions};
use homeostat_schemas::event::{Cache, Metric};
use homeostat_schemas::signature::Signer;
use homeostat_schemas::{Alert, Command, Outcome, OutcomeStatus};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;

/// As in production, but for the times.
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
verify = "cache.hit_rate rises above 60 % within 30s"
expires_s = 30
"#;

const DEVELOPMENT: &[&str] = &["--profile", "development"];
const SINGLE: &[&str] = &["--profile", "single", "--service", "shop", "--service", "till"];
const TENANTS: &[&str] = &["--profile", "tenants", "--tenant", "acme=shop", "--tenant", "bravo=shop"];

/// Settings of a client that has what its `.env` file says, and nothing else.
fn client(server: &Rendered, user: &str, service: &str) -> Settings {
    let text = std::fs::read_to_string(server.user(user)["environment"].as_str().unwrap()).unwrap();
    let said: BTreeMap<&str, &str> = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect();
    Settings::new(service)
        .url(said["HOMEOSTAT_NATS__URL"])
        .nkey_file(said["HOMEOSTAT_NATS__NKEY_FILE"])
        .inbox_prefix(said["HOMEOSTAT_NATS__INBOX_PREFIX"])
        .root(said["HOMEOSTAT_NATS__ROOT"])
        .instance(format!("{service}-1"))
        .heartbeat(None)
        .sampling(None)
        .batch(64 << 10, Duration::from_millis(5))
}

/// Telemetry → alert → command → done → verified, by a Homeostat and an application that have only what was rendered for them.
async fn works(arguments: &[&str], owner: &str, application: &str) {
    let server = Rendered::start(arguments).await;
    let settings = server.dir.path().join("homeostat.toml");
    std::fs::write(&settings, SETTINGS).unwrap();
    let key = server.credentials(owner);
    let environment = [("HOMEOSTAT_CONFIG", settings.to_str().unwrap()), ("HOMEOSTAT_NATS__NKEY_FILE", key.to_str().unwrap())];
    let mut worker = Worker::spawn(&server.dir.path().join("worker"), Some(&server.url()), &small(), &environment);
    worker.ready().await;
    let log = server.log(owner).await;
    let filters = ["alert.>", "outcome.>"].map(|what| log.subject(what)).to_vec();
    let mut said = Reader::open(&log, 1, ReaderOptions { filters, ..ReaderOptions::default() }).await.unwrap();

    let signer = std::fs::read_to_string(worker.data_dir.join("signing.pub")).unwrap();
    let shop = client(&server, application, "shop").trusted_signers([signer.trim()]).start().await.unwrap();
    let (say, mut warmed) = mpsc::unbounded_channel();
    shop.on("cache.warm", move |command: Command| {
        say.send(command).unwrap();
        async { Ok::<(), String>(()) }
    });
    assert!(shop.connected(LONG).await);
    let lookups = |hits: u64| Cache { name: "products".to_owned(), hits, misses: 100 - hits, over_ms: 1_000, ..Cache::default() };
    // A cache that was warm, and then is not.
    for hits in [95, 95, 95, 5, 5, 5] {
        shop.event(lookups(hits)).unwrap();
        shop.flush(LONG).await.unwrap();
    }
    let command = tokio::time::timeout(LONG, warmed.recv()).await.unwrap_or_else(|_| panic!("no command: {}", worker.log())).unwrap();
    assert_eq!((command.action.as_str(), command.target.as_str()), ("cache.warm", "products"));
    let (mut cold, mut done) = (false, false);
    while !(cold && done) {
        for entry in tokio::time::timeout(LONG, said.next()).await.unwrap_or_else(|_| panic!("{}", worker.log())).unwrap() {
            cold |= serde_json::from_slice::<Alert>(&entry.payload).is_ok_and(|alert| alert.rule == "query.cache_cold");
            done |= serde_json::from_slice::<Outcome>(&entry.payload)
                .is_ok_and(|outcome| outcome.command == command.id && outcome.status == OutcomeStatus::Done);
        }
    }
    // Whoever looks at the log sees that all of it is signed.
    let verified = homeostat(&worker.data_dir, &server, &key, &["--json", "verify", "--check"]);
    assert!(verified.status.success(), "{verified:?}");
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert!(verified["good"].as_u64().unwrap() >= 2 && verified["good"] == verified["checked"], "{verified}");
    assert_eq!(verified["signers"][signer.trim()], verified["good"]);
    let shown =
        homeostat(&worker.data_dir, &server, &key, &["--json", "tail", "commands", "--signatures", "--since", "1h", "--count", "1"]);
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).unwrap()["signature"], "good");
    let explained = homeostat(&worker.data_dir, &server, &key, &["explain", &command.reason]);
    assert!(String::from_utf8_lossy(&explained.stdout).contains(&format!("signed by {}", signer.trim())), "{explained:?}");
    // Somebody who trusts another key sees that it is another's.
    let elsewhere = server.dir.path().join("elsewhere");
    let stranger = Signer::from_random([42; 32]).unwrap();
    let trusted = format!("signing.trusted=[\"{}\"]", stranger.public());
    let other = homeostat(&elsewhere, &server, &key, &["--set", &trusted, "--json", "verify", "--check"]);
    assert_eq!(other.status.code(), Some(3), "{other:?}");
    // An application that may give no orders says no goodbye, and that is no error.
    shop.shutdown(LONG).await.unwrap();
    assert!(worker.stop().await.success());
}

fn homeostat(data_dir: &Path, server: &Rendered, key: &Path, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .arg("--data-dir")
        .arg(data_dir)
        .args(["--nats", &server.url()])
        .args(arguments)
        .env("HOMEOSTAT_NATS__NKEY_FILE", key)
        .output()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn homeostat_and_an_application_work_in_development() {
    works(DEVELOPMENT, "homeostat", "app").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn homeostat_and_an_application_work_with_their_own_rights_only() {
    works(SINGLE, "homeostat", "app-shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn homeostat_and_an_application_work_as_one_tenant_of_two() {
    works(TENANTS, "bravo.homeostat", "bravo.app-shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_refuses_is_an_error_of_the_client() {
    let server = Rendered::start(SINGLE).await;
    server.log("homeostat").await;
    // The credentials of another application.
    let shop = client(&server, "app-till", "shop").start().await.unwrap();
    shop.on("cache.warm", |_| async { Ok::<(), String>(()) });
    assert!(shop.connected(LONG).await);
    shop.event(Metric { name: "n".to_owned(), value: 1.0, ..Metric::default() }).unwrap();
    let lost = shop.flush(LONG).await.unwrap_err();
    assert!(matches!(lost, FlushError::Lost { refused: 1, lost: 0, .. }), "{lost}");
    let refused = shop.event(Metric { name: "n".to_owned(), value: 2.0, ..Metric::default() }).unwrap_err();
    let PublishError::Refused { subject, .. } = &refused else { panic!("{refused}") };
    assert_eq!(subject, "homeostat.v1.event.metric.shop");
    wait_for("the refused subscription", LONG, || {
        let refused = shop.stats().refused_subjects;
        refused.iter().any(|subject| subject == "homeostat.v1.command.*.*.shop").then_some(())
    })
    .await;
    // Answers that may not be heard: an error that says which setting is wrong, and not only silence.
    let deaf = client(&server, "app-shop", "shop").inbox_prefix("_INBOX").retry(Duration::from_millis(200), Duration::from_secs(1));
    let deaf = deaf.start().await.unwrap();
    assert!(deaf.connected(LONG).await);
    deaf.event(Metric { name: "n".to_owned(), value: 3.0, ..Metric::default() }).unwrap();
    let lost = deaf.flush(LONG).await.unwrap_err();
    assert!(lost.to_string().contains("HOMEOSTAT_NATS__INBOX_PREFIX"), "{lost}");
}

#[test]
fn keys_are_for_their_owners_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let run = |more: &[&str]| {
        let output = render(dir.path(), 4222, &[&["--profile", "single", "--service", "shop", "--bot", "pager"], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let first = run(&[]);
    let seeds: Vec<String> = first["users"]
        .as_array()
        .unwrap()
        .iter()
        .map(|user| std::fs::read_to_string(user["credentials"].as_str().unwrap()).unwrap().trim().to_owned())
        .collect();
    assert!(seeds.len() == 3 && seeds.iter().all(|seed| seed.starts_with("SU")));
    fn files(dir: &Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
            if path.is_dir() { files(&path, found) } else { found.push(path) }
        }
    }
    let mut all = Vec::new();
    files(&dir.path().join("rendered"), &mut all);
    for path in all.iter().filter(|path| path.extension().is_none_or(|ending| ending != "nk")) {
        let text = std::fs::read_to_string(path).unwrap();
        assert!(seeds.iter().all(|seed| !text.contains(seed)), "{} has a secret", path.display());
    }
    assert!(seeds.iter().all(|seed| !first.to_string().contains(seed)));
    // Another service, and everybody keeps the key that he has.
    let more = run(&["--service", "till"]);
    assert_eq!(more["users"].as_array().unwrap().len(), 4);
    let keys = |summary: &Value| -> BTreeMap<String, String> {
        summary["users"]
            .as_array()
            .unwrap()
            .iter()
            .map(|user| (user["name"].as_str().unwrap().to_owned(), user["public_key"].as_str().unwrap().to_owned()))
            .collect()
    };
    assert!(keys(&first).iter().all(|(name, key)| keys(&more)[name] == *key));
    let rotated = run(&["--rotate", "--show-secrets"]);
    assert!(keys(&first).iter().all(|(name, key)| keys(&rotated)[name] != *key));
    assert!(rotated["users"].as_array().unwrap().iter().all(|user| user["seed"].as_str().unwrap().starts_with("SU")));
    for (arguments, word) in [
        (&["--profile", "single"][..], "service"),
        (&["--profile", "single", "--service", "shop", "--listen", "0.0.0.0:4222"], "TLS"),
        (&["--profile", "tenants", "--tenant", "a=shop", "--bot", "b/pager"], "names no tenant"),
        (&["--profile", "development", "--service", "shop"], "no place"),
        (&["--profile", "single", "--service", "shop", "--signer", "nobody"], "signer"),
    ] {
        let output = render(dir.path(), 4222, arguments);
        assert!(
            !output.status.success() && String::from_utf8_lossy(&output.stderr).contains(word),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
