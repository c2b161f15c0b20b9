//! Keys: sealed deliveries over a real bus, taken once, kept across restarts, and swapped under load without a request that fails.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use homeostat_client::keys::{Keys, KeysError, KeysSettings};
use homeostat_nats::{Log, Message};
use homeostat_schemas::sealed::{Opener, Sealer};
use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use support::{LONG, Server, soon, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const KEY: &str = "aB3dE6gH9jK2";

fn text(version: u32) -> String {
    format!("hst_live_{KEY}_secret-of-version-{version}")
}

struct House {
    server: Server,
    log: Log,
    sealer: Sealer,
    seed: String,
    opener: Opener,
}

impl House {
    async fn new() -> House {
        let server = Server::with_log("").await;
        let log = server.make_log().await;
        let (opener, seed) = Opener::draw().unwrap();
        House { server, log, sealer: Sealer::new([7; 32]), seed: seed.to_string(), opener }
    }

    async fn say(&self, payload: Vec<u8>) {
        soon(self.log.append(Message::new("homeostat.v1.key.sealed.shop", payload))).await.unwrap();
    }

    fn sealed(&self, version: u32) -> Vec<u8> {
        serde_json::to_vec(&self.sealer.seal((KEY, version), "shop", self.opener.public(), 1, &text(version)).unwrap()).unwrap()
    }

    async fn follow(&self, settings: KeysSettings) -> (homeostat_client::Client, Keys) {
        let client = self.server.settings("shop").start().await.unwrap();
        let keys = client.keys(settings).unwrap();
        (client, keys)
    }

    fn settings(&self) -> KeysSettings {
        KeysSettings::new(&self.seed).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_takes_the_place_of_the_key_and_a_replay_does_not() {
    let house = House::new().await;
    let (_client, keys) = house.follow(house.settings().present(&text(1)).unwrap()).await;
    assert_eq!(keys.only().unwrap().secret.expose(), text(1));
    for version in [2, 3, 2, 3] {
        house.say(house.sealed(version)).await;
    }
    until("the replays are refused", || keys.refused() == 2).await;
    assert_eq!(keys.get(KEY).unwrap().bearer(), format!("Bearer {}", text(3)));
    assert!(!format!("{keys:?} {:?}", keys.only()).contains("secret-of"), "a secret is never printed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_to_others_by_others_or_to_nobody_changes_nothing() {
    let house = House::new().await;
    let (_client, keys) = house.follow(house.settings().sender(house.sealer.public())).await;
    let (stranger, _) = Opener::draw().unwrap();
    let foreign = house.sealer.seal((KEY, 8), "shop", stranger.public(), 1, "x").unwrap();
    let forged = Sealer::new([9; 32]).seal((KEY, 9), "shop", house.opener.public(), 1, "x").unwrap();
    for bad in [serde_json::to_vec(&foreign).unwrap(), serde_json::to_vec(&forged).unwrap(), b"{}".to_vec(), vec![0xff; 100_000]] {
        house.say(bad).await;
    }
    house.say(house.sealed(1)).await;
    assert!(keys.reaches(KEY, 1, LONG).await.is_some());
    assert_eq!((keys.refused(), keys.get(KEY).unwrap().version), (4, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_is_there_after_a_restart_without_the_bus_and_an_older_one_stays_refused() {
    let mut house = House::new().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    house.say(house.sealed(4)).await;
    let (client, keys) = house.follow(house.settings().file(&file)).await;
    assert!(keys.reaches(KEY, 4, LONG).await.is_some());
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    soon(client.shutdown(LONG)).await.unwrap();
    drop(keys);

    house.server.kill();
    let (_client, keys) = house.follow(house.settings().present(&text(1)).unwrap().file(&file)).await;
    assert_eq!(keys.get(KEY).unwrap().secret.expose(), text(4), "the newer one counts, not the one the application was given");
    house.server.start();
    house.log = house.server.make_log().await;
    house.say(house.sealed(3)).await;
    house.say(house.sealed(5)).await;
    assert!(keys.reaches(KEY, 5, LONG).await.is_some());
    // 4 was read again, 3 was new on the bus: both are no newer than what was taken.
    assert_eq!(keys.refused(), 2);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (other, _) = house.follow(house.settings()).await;
    assert!(matches!(other.keys(house.settings().file(&file)), Err(KeysError::Open(_))), "a file that others can read is not used");
}

/// A service that accepts the newest version and the one before it, as Homeostat does during a grace.
#[derive(Clone, Default)]
struct Accepts(Arc<Mutex<VecDeque<String>>>);

impl Accepts {
    fn rotate(&self, text: String) {
        let mut all = self.0.lock().unwrap();
        all.push_back(text);
        if all.len() > 2 {
            all.pop_front();
        }
    }
}

async fn serve(State(accepts): State<Accepts>, headers: HeaderMap) -> StatusCode {
    let shown = headers.get("authorization").and_then(|value| value.to_str().ok()).and_then(|value| value.strip_prefix("Bearer "));
    let accepted = shown.is_some_and(|shown| accepts.0.lock().unwrap().iter().any(|known| known == shown));
    if accepted { StatusCode::OK } else { StatusCode::UNAUTHORIZED }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keys_are_swapped_under_load_and_no_request_fails() {
    const ROTATIONS: u32 = 60;
    let house = House::new().await;
    let accepts = Accepts::default();
    accepts.rotate(text(1));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = Router::new().route("/", get(serve)).with_state(accepts.clone());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });

    let (_client, keys) = house.follow(house.settings().present(&text(1)).unwrap()).await;
    let (failed, ending) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let sent: Vec<Arc<AtomicU64>> = (0..8).map(|_| Arc::default()).collect();
    let callers: Vec<_> = sent
        .iter()
        .map(|sent| {
            let (keys, sent, failed, ending) = (keys.clone(), sent.clone(), failed.clone(), ending.clone());
            tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
                while !ending.load(SeqCst) {
                    let bearer = keys.only().unwrap().bearer();
                    let request = format!("GET / HTTP/1.1\r\nhost: x\r\nauthorization: {bearer}\r\n\r\n");
                    stream.write_all(request.as_bytes()).await.unwrap();
                    let mut answer = Vec::new();
                    while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
                        let mut part = [0; 512];
                        let read = stream.read(&mut part).await.unwrap();
                        assert!(read > 0);
                        answer.extend_from_slice(&part[..read]);
                    }
                    sent.fetch_add(1, SeqCst);
                    failed.fetch_add(u64::from(!answer.starts_with(b"HTTP/1.1 200")), SeqCst);
                }
            })
        })
        .collect();
    for version in 2..=ROTATIONS + 1 {
        // First it is accepted, then it is delivered; and the next one comes only when everybody uses this one, as a grace is long: of two
        // requests that a caller has ended since, the second began with it.
        accepts.rotate(text(version));
        house.say(house.sealed(version)).await;
        assert!(keys.reaches(KEY, version, LONG).await.is_some());
        let before: Vec<u64> = sent.iter().map(|sent| sent.load(SeqCst)).collect();
        until("requests go on", || sent.iter().zip(&before).all(|(sent, before)| sent.load(SeqCst) >= before + 2)).await;
    }
    ending.store(true, SeqCst);
    for caller in callers {
        soon(caller).await.unwrap();
    }
    let sent: u64 = sent.iter().map(|sent| sent.load(SeqCst)).sum();
    assert_eq!(failed.load(SeqCst), 0, "of {sent} requests");
    assert!(sent >= u64::from(ROTATIONS) * 16);
}
