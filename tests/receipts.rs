//! Revocation is true when the command returns: three real processes, one of them stopped, and a receipt that names who has forgotten a
//! key and who has not. And whoever hears nothing lets in fewer, and at last nobody.
//!
//! `HOMEOSTAT_TEST_RECEIPTS` sets how many revocations are measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::postgres::Cluster;
use common::{SMALL, Server, Worker, http};
use homeostat::config::DatabaseConfig;
use homeostat::keys::receipt::Receipt;
use homeostat::keys::{Actor, Keys, KeysConfig, NewKey};
use homeostat::store::Store;
use homeostat_schemas::Scope;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(90);

/// Three gateways over one database, one keyring and one bus, that want a key of everybody.
struct House {
    server: Server,
    keys: Keys,
    workers: Vec<Worker>,
    gateways: Vec<String>,
    admin: String,
    _cluster: Arc<Cluster>,
}

impl House {
    async fn new() -> House {
        let server = Server::start().await;
        drop(server.small_log().await);
        let cluster = Cluster::shared();
        let (url, password) = (cluster.database(), cluster.password_file());
        let keyring = server.path("keyring.json");
        let database = DatabaseConfig { url: Some(url.clone()), password_file: Some(password.clone()), ..DatabaseConfig::default() };
        let store = Store::connect(&database, &server.path("")).await.unwrap();
        let config = KeysConfig { keyring: Some(keyring.clone()), queue_ms: 60_000, ..KeysConfig::default() };
        let keys = Keys::open(store, &config, &server.path("")).unwrap();
        let settings = [
            format!("database.url={url}"),
            format!("database.password_file={}", password.display()),
            format!("gateway.keys.keyring={}", keyring.display()),
            "gateway.keys.queue_ms=20000".to_owned(),
            "gateway.auth=always".to_owned(),
        ];
        let settings: Vec<&str> = settings.iter().map(String::as_str).chain(SMALL.iter().copied()).collect();
        let bus = server.url();
        let mut house = House { server, keys, workers: Vec::new(), gateways: Vec::new(), admin: String::new(), _cluster: cluster };
        house.admin = house.key(&[Scope::KeysAdmin]).await.1;
        for name in ["a", "b", "c"] {
            let mut worker = Worker::spawn(&house.server.path(name), Some(&bus), &settings, &[]);
            house.gateways.push(worker.gateway().await);
            house.workers.push(worker);
        }
        house
    }

    /// A new key: id and text.
    async fn key(&self, scopes: &[Scope]) -> (String, String) {
        let new = NewKey { owner: "shop".to_owned(), scopes: scopes.iter().copied().collect(), ..NewKey::default() };
        let created = self.keys.records.create(new, &Actor::local("test")).await.unwrap();
        (created.record.id, created.text.expose().to_owned())
    }

    /// What a gateway answers somebody with this key.
    async fn asks(&self, gateway: usize, key: &str, path: &str) -> Option<u16> {
        let bearer = format!("Bearer {key}");
        http(&self.gateways[gateway], "GET", path, &[("authorization", &bearer)], b"").await.map(|(status, _)| status)
    }

    async fn becomes(&self, gateway: usize, key: &str, path: &str, wanted: u16) {
        let began = Instant::now();
        loop {
            let status = self.asks(gateway, key, path).await;
            if status == Some(wanted) {
                return;
            }
            assert!(began.elapsed() < LONG, "{path} of gateway {gateway} stays {status:?}: {}", self.workers[gateway].log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn revoke(&self, gateway: usize, id: &str) -> Receipt {
        let bearer = format!("Bearer {}", self.admin);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let path = format!("/api/v1/keys/{id}/revoke");
        let (status, body) = http(&self.gateways[gateway], "POST", &path, &headers, b"{}").await.expect("the gateway answers");
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        serde_json::from_value(answer["receipt"].clone()).unwrap()
    }

    /// Waits until all three know each other; their names.
    async fn all(&self) -> BTreeSet<String> {
        let began = Instant::now();
        loop {
            let (id, _) = self.key(&[Scope::Metrics]).await;
            let receipt = self.revoke(0, &id).await;
            if receipt.complete && receipt.evicted.len() == 3 {
                return receipt.evicted.into_iter().map(|evicted| evicted.instance).collect();
            }
            assert!(began.elapsed() < LONG, "{receipt:#?}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_names_who_has_forgotten_a_key_and_who_has_not() {
    let house = House::new().await;
    let names = house.all().await;
    let mut stopped_names = BTreeSet::new();
    for stopped in [1, 2] {
        let (id, text) = house.key(&[Scope::Metrics]).await;
        for gateway in 0..3 {
            house.becomes(gateway, &text, "/metrics", 200).await;
        }
        house.workers[stopped].signal("STOP");
        let receipt = house.revoke(0, &id).await;
        assert!(!receipt.complete);
        let evicted: BTreeSet<String> = receipt.evicted.iter().map(|evicted| evicted.instance.clone()).collect();
        let missing: BTreeSet<String> = receipt.missing.iter().map(|missing| missing.instance.clone()).collect();
        assert_eq!((evicted.len(), missing.len()), (2, 1), "{receipt:#?}");
        assert_eq!(evicted.union(&missing).cloned().collect::<BTreeSet<_>>(), names);
        stopped_names.extend(missing);
        // What the receipt says of the others is true now.
        for gateway in (0..3).filter(|gateway| *gateway != stopped) {
            assert_eq!(house.asks(gateway, &text, "/metrics").await, Some(401));
        }
        house.workers[stopped].signal("CONT");
        house.becomes(stopped, &text, "/metrics", 401).await;
        house.all().await;
    }
    assert_eq!(stopped_names.len(), 2, "each time the one that was stopped: {stopped_names:?}");

    let count = std::env::var("HOMEOSTAT_TEST_RECEIPTS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_usize);
    let mut took = Vec::new();
    for _ in 0..count {
        let (id, text) = house.key(&[Scope::Metrics]).await;
        assert_eq!(house.asks(1, &text, "/metrics").await, Some(200));
        let receipt = house.revoke(0, &id).await;
        assert!(receipt.complete && receipt.evicted.len() == 3, "{receipt:#?}");
        assert_eq!(house.asks(1, &text, "/metrics").await, Some(401));
        took.push(receipt.took_us);
    }
    took.sort_unstable();
    eprintln!("receipts: {count} revocations over 3 processes, p50 {} us, p99 {} us", took[count / 2], took[count * 99 / 100]);
    house.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_hears_nothing_lets_nobody_change_anything_and_then_nobody_in() {
    let house = House::new().await;
    house.all().await;
    let (_, reader) = house.key(&[Scope::Metrics]).await;
    house.becomes(1, &house.admin, "/api/v1/keys", 200).await;
    house.becomes(1, &reader, "/metrics", 200).await;
    let House { server, keys, workers, gateways, admin, _cluster } = house;
    server.stop().await;
    let house = House { server: Server::start().await, keys, workers, gateways, admin, _cluster };
    house.becomes(1, &house.admin, "/api/v1/keys", 503).await;
    assert_eq!(house.asks(1, &reader, "/metrics").await, Some(200), "reading goes on for a while");
    house.becomes(1, &reader, "/metrics", 503).await;
    house.server.stop().await;
}
