//! An API key as a credential of the bus, with the configuration of `homeostat nats render --callout` on a real nats-server: who gets in,
//! with which rights, and how that ends.
//!
//! `HOMEOSTAT_TEST_CALLOUT` sets how many log-ins and revocations are measured.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use async_nats::{ConnectError, ConnectOptions, HeaderMap};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::bus::{Guest, LONG, Rendered, small};
use common::{Worker, http};
use futures::StreamExt as _;
use homeostat::callout::{Callout, Closed, SWEEP_EVERY, probe};
use homeostat::config::{DatabaseConfig, NatsConfig};
use homeostat::keys::ask::{CreateKey, KeyAnswer, RevokeKey, RotateKey};
use homeostat::keys::{Actor, Keys, KeysConfig, format};
use homeostat::metrics::Metrics;
use homeostat::store::Store;
use homeostat_client::Settings;
use homeostat_schemas::Scope;
use homeostat_schemas::event::Metric;
use homeostat_schemas::key::Environment;
use nkeys::{KeyPair, XKey};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const PLAN: &[&str] = &["--profile", "single", "--service", "shop", "--service", "till", "--viewer", "screen", "--callout"];
const TELEMETRY: &[Scope] = &[Scope::TelemetryWrite];

fn settings(server: &Rendered) -> NatsConfig {
    NatsConfig { url: Some(server.url()), callout_dir: Some(server.dir.path().join("rendered")), ..NatsConfig::default() }
}

/// A server that asks, and one who answers: in this process, so that what it does can be counted.
struct House {
    server: Rendered,
    keys: Keys,
    metrics: Arc<Metrics>,
    stop: watch::Sender<bool>,
}

impl House {
    async fn new() -> House {
        House::on(Rendered::start(PLAN).await).await
    }

    async fn on(server: Rendered) -> House {
        drop(server.log("homeostat").await);
        let store = Store::connect(&DatabaseConfig::default(), server.dir.path()).await.unwrap();
        let keys = Keys::open(store, &KeysConfig { queue_ms: 20_000, ..KeysConfig::default() }, server.dir.path()).unwrap();
        let callout = Callout::open(&settings(&server)).unwrap().unwrap();
        let keys = Keys { connections: Some(callout.connections()), ..keys };
        let metrics = Arc::new(Metrics::default());
        let (stop, until) = watch::channel(false);
        tokio::spawn(callout.run(keys.clone(), metrics.clone(), until));
        let house = House { server, keys, metrics, stop };
        let (_, key) = house.key("shop", TELEMETRY).await;
        let began = Instant::now();
        while house.enter("app-shop", &key).await.is_err() {
            assert!(began.elapsed() < LONG, "nobody gets in: {}", house.server_log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        house
    }

    fn server_log(&self) -> String {
        std::fs::read_to_string(self.server.dir.path().join("server.log")).unwrap_or_default()
    }

    /// A new key: id and text.
    async fn key(&self, owner: &str, scopes: &[Scope]) -> (String, String) {
        let asked = CreateKey { owner: owner.to_owned(), scopes: scopes.iter().copied().collect(), ..CreateKey::default() };
        self.created(asked).await
    }

    async fn created(&self, asked: CreateKey) -> (String, String) {
        let answer = self.keys.create(asked, &Actor::local("test")).await.unwrap();
        (answer.record.id, answer.key.unwrap())
    }

    async fn enter(&self, user: &str, key: &str) -> Result<Guest, ConnectError> {
        self.server.connect_as(user, ConnectOptions::new().token(key.to_owned())).await
    }

    async fn revoke(&self, id: &str, version: Option<u32>) -> Closed {
        let answer = self.keys.revoke(id, &RevokeKey { version, ..RevokeKey::default() }, &Actor::local("test")).await.unwrap();
        answer.receipt.unwrap().connections.unwrap()
    }
}

async fn ends(guest: &Guest, within: Duration) {
    let mut ends = guest.ends.clone();
    tokio::time::timeout(within, ends.wait_for(|ends| *ends > 0)).await.expect("the connection ends").unwrap();
}

/// The connection is there, and telemetry is stored.
async fn works(guest: &Guest, service: &str) {
    let subject = format!("homeostat.v1.event.query.{service}");
    let ack = tokio::time::timeout(LONG, guest.client.request(subject, "[]".into())).await.unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&ack.payload).unwrap()["stream"], "homeostat");
    assert_eq!(*guest.ends.borrow(), 0, "it has never been away");
}

async fn may_not_publish(guest: &Guest, subject: &str) {
    guest.client.publish(subject.to_owned(), "{}".into()).await.unwrap();
    guest.settled().await;
    assert!(guest.was_refused(subject), "{} may publish {subject}", guest.name);
}

async fn hears(guest: &Guest, subject: &str) -> bool {
    let _ears = guest.client.subscribe(subject.to_owned()).await.unwrap();
    guest.settled().await;
    !guest.was_refused(subject)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_what_is_its_owners_and_nothing_else() {
    let house = House::new().await;
    let (_, shop) = house.key("shop", TELEMETRY).await;
    let guest = house.enter("app-shop", &shop).await.unwrap();
    works(&guest, "shop").await;
    for subject in [
        "homeostat.v1.event.query.till",
        "homeostat.v1.outcome.a.b.till",
        "homeostat.v1.event.order.shop",
        "homeostat.v1.command.a.b.shop",
        "homeostat.v1.alert.query.slow.shop",
        "$JS.API.INFO",
        "$JS.API.STREAM.DELETE.homeostat",
        "$SYS.REQ.SERVER.PING.CONNZ",
    ] {
        may_not_publish(&guest, subject).await;
    }
    for subject in ["homeostat.v1.command.*.*.shop", "homeostat.v1.admission.shop.*", "homeostat.v1.key.sealed.shop"] {
        assert!(hears(&guest, subject).await, "{subject}");
    }
    for subject in [">", "homeostat.v1.>", "homeostat.v1.command.*.*.till", "_INBOX.>", "_INBOX_app-till.>", "$SYS.>"] {
        assert!(!hears(&guest, subject).await, "{subject}");
    }
    // As a password, with the name of the service or of the user; not with another's.
    for (name, good) in [("shop", true), ("app-shop", true), ("till", false), ("app-till", false), ("homeostat", false), ("callout", false)]
    {
        let options = ConnectOptions::new().user_and_password(name.to_owned(), shop.clone());
        assert_eq!(house.server.connect_as("app-shop", options).await.is_ok(), good, "{name}");
    }
    // A viewer, by its scopes.
    let (_, screen) = house.key("screen", &[Scope::AlertsRead]).await;
    let screen = house.enter("viewer-screen", &screen).await.unwrap();
    assert!(hears(&screen, "homeostat.v1.alert.>").await);
    assert!(!hears(&screen, "homeostat.v1.command.>").await);
    may_not_publish(&screen, "homeostat.v1.event.query.shop").await;
    // Nobody in the plan; no scope for the bus.
    for (owner, scopes) in [("nobody", Scope::ALL), ("homeostat", Scope::ALL), ("callout", Scope::ALL), ("shop", &[Scope::Metrics])] {
        let (_, key) = house.key(owner, scopes).await;
        assert!(house.enter("app-shop", &key).await.is_err(), "{owner}");
    }
    // Keys of the configuration are what they were.
    works(&house.server.connect("app-till").await, "till").await;
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_client_library_gets_in_with_a_key() {
    let house = House::new().await;
    let (_, key) = house.key("shop", TELEMETRY).await;
    let file = house.server.dir.path().join("shop.key");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let shop = Settings::new("shop").url(house.server.url()).token_file(&file).inbox_prefix("_INBOX_app-shop");
    let shop = shop.heartbeat(None).sampling(None).retire_on_shutdown(false).start().await.unwrap();
    assert!(shop.connected(LONG).await);
    shop.event(Metric { name: "orders".to_owned(), value: 1.0, ..Metric::default() }).unwrap();
    shop.flush(LONG).await.unwrap();
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_in_with_what_is_no_key_and_junk_costs_no_argon2() {
    let house = House::new().await;
    let (id, good) = house.key("shop", TELEMETRY).await;
    drop(house.enter("app-shop", &good).await.unwrap());
    let before = house.keys.verifier.argon2_runs();
    assert!(before > 0, "the first log-in has proven the secret");
    let forged = format::mint(Environment::Live, &format::KeyId::parse(&id).unwrap(), &[7; 32]).unwrap();
    let mut damaged = good.clone();
    damaged.pop();
    let flood = (0..200).map(|number| match number % 4 {
        0 => format!("junk-{number}"),
        1 => format::mint(Environment::Live, &format::KeyId::draw().unwrap(), &[number as u8; 32]).unwrap().expose().to_owned(),
        2 => forged.expose().to_owned(),
        _ => damaged.clone(),
    });
    let refused = futures::stream::iter(flood.collect::<Vec<_>>())
        .map(|key| {
            let house = &house;
            async move { house.enter("app-shop", &key).await.is_err() }
        })
        .buffer_unordered(16)
        .collect::<Vec<_>>()
        .await;
    assert_eq!(refused.len(), 200);
    assert!(refused.into_iter().all(|refused| refused));
    assert_eq!(house.keys.verifier.argon2_runs(), before);
    // Meanwhile and afterwards whoever has a key gets in.
    works(&house.enter("app-shop", &good).await.unwrap(), "shop").await;
    // Nothing at all; the nkey of nobody; the public key of somebody who is not asked about, without its seed.
    let nobody = KeyPair::new_user().seed().unwrap();
    for options in
        [ConnectOptions::new(), ConnectOptions::with_nkey(nobody), ConnectOptions::new().user_and_password("callout".into(), "x".into())]
    {
        assert!(house.server.connect_as("app-shop", options).await.is_err());
    }
    let public = house.server.user("homeostat")["public_key"].as_str().unwrap().to_owned();
    for options in [
        ConnectOptions::new().user_and_password(public.clone(), good.clone()),
        ConnectOptions::new().user_and_password(public, String::new()),
    ] {
        assert!(house.server.connect_as("app-shop", options).await.is_err());
    }
    // Revoked.
    house.revoke(&id, None).await;
    assert!(house.enter("app-shop", &good).await.is_err());
    // Ended: the server itself ends what was got with it.
    let expires_ms = homeostat::clock::now_ms() + 3_000;
    let scopes = TELEMETRY.iter().copied().collect();
    let (_, short) =
        house.created(CreateKey { owner: "shop".to_owned(), scopes, expires_ms: Some(expires_ms), ..CreateKey::default() }).await;
    let guest = house.enter("app-shop", &short).await.unwrap();
    works(&guest, "shop").await;
    ends(&guest, Duration::from_secs(4)).await;
    tokio::time::sleep(Duration::from_millis(expires_ms.saturating_sub(homeostat::clock::now_ms()))).await;
    assert!(house.enter("app-shop", &short).await.is_err());
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_key_back_closes_its_connections_and_no_others() {
    let house = House::new().await;
    let (id, key) = house.key("shop", TELEMETRY).await;
    let (_, other) = house.key("shop", TELEMETRY).await;
    let guests = [house.enter("app-shop", &key).await.unwrap(), house.enter("app-shop", &key).await.unwrap()];
    let stays = house.enter("app-shop", &other).await.unwrap();
    for guest in guests.iter().chain([&stays]) {
        works(guest, "shop").await;
    }
    let closed = house.revoke(&id, None).await;
    assert_eq!((closed.closed, closed.complete()), (2, true), "{closed:?}");
    for guest in &guests {
        ends(guest, LONG).await;
    }
    works(&stays, "shop").await;
    let (id, _) = house.key("till", TELEMETRY).await;
    assert_eq!(house.revoke(&id, None).await.closed, 0);

    // Somebody else may know it: its successor begins, and it ends at once.
    let (id, key) = house.key("till", TELEMETRY).await;
    let guest = house.enter("app-till", &key).await.unwrap();
    let rotated = house.keys.rotate(&id, &RotateKey { compromised: true, ..RotateKey::default() }, &Actor::local("test")).await.unwrap();
    assert_eq!(rotated.receipt.unwrap().connections.unwrap().closed, 1);
    ends(&guest, LONG).await;
    works(&house.enter("app-till", &rotated.key.unwrap()).await.unwrap(), "till").await;

    let count = std::env::var("HOMEOSTAT_TEST_CALLOUT").ok().and_then(|text| text.parse().ok()).unwrap_or(20_usize);
    let (mut logins, mut nkeys, mut gone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let began = Instant::now();
        drop(house.enter("app-shop", &other).await.unwrap());
        logins.push(began.elapsed());
        let began = Instant::now();
        drop(house.server.connect("app-shop").await);
        nkeys.push(began.elapsed());
        let (id, key) = house.key("shop", TELEMETRY).await;
        let guest = house.enter("app-shop", &key).await.unwrap();
        let began = Instant::now();
        let closed = house.revoke(&id, None).await;
        assert_eq!((closed.closed, closed.complete()), (1, true), "{closed:?}");
        ends(&guest, LONG).await;
        gone.push(began.elapsed());
    }
    for (what, took) in [("log-in with a remembered key", &mut logins), ("log-in with an nkey", &mut nkeys), ("revoke → closed", &mut gone)]
    {
        took.sort_unstable();
        eprintln!("callout: {what}, {count} times: p50 {:.1?}, p99 {:.1?}", took[count / 2], took[count * 99 / 100]);
    }
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_version_lives_until_its_grace_ends() {
    let house = House::new().await;
    let (id, old) = house.key("shop", TELEMETRY).await;
    let before = house.enter("app-shop", &old).await.unwrap();
    let began = Instant::now();
    let rotation = RotateKey { grace_ms: Some(4_000), ..RotateKey::default() };
    let rotated = house.keys.rotate(&id, &rotation, &Actor::local("test")).await.unwrap();
    assert!(rotated.receipt.is_none(), "nothing has ended");
    // Both get in, and who was there is there.
    let within = house.enter("app-shop", &old).await.unwrap();
    let new = house.enter("app-shop", &rotated.key.unwrap()).await.unwrap();
    for guest in [&before, &within, &new] {
        works(guest, "shop").await;
    }
    // Who got in while the end was known is ended by the server; who was there before, by the comparison.
    ends(&within, Duration::from_secs(5)).await;
    assert!(began.elapsed() >= Duration::from_millis(2_900), "not before its time: {:?}", began.elapsed());
    ends(&before, SWEEP_EVERY + Duration::from_secs(5)).await;
    assert!(began.elapsed() >= Duration::from_secs(4), "not before its time: {:?}", began.elapsed());
    works(&new, "shop").await;
    assert!(house.enter("app-shop", &old).await.is_err());
    assert!(house.metrics.encode().contains("homeostat_callout_connections_closed_total 1"));
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_no_more_lets_nobody_in_and_sends_nobody_away() {
    let house = House::new().await;
    let (_, key) = house.key("shop", TELEMETRY).await;
    let guest = house.enter("app-shop", &key).await.unwrap();
    house.stop.send_replace(true);
    let began = Instant::now();
    while house.enter("app-shop", &key).await.is_ok() {
        assert!(began.elapsed() < LONG, "somebody still answers");
    }
    works(&guest, "shop").await;
    works(&house.server.connect("app-shop").await, "shop").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_closed_on_every_server_and_one_that_is_silent_is_named() {
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (one, two) = (port(), port());
    let clustered = |conf: String, own: u16, other: u16| {
        format!("{conf}\ncluster {{ name: c, listen: \"127.0.0.1:{own}\", routes: [\"nats://127.0.0.1:{other}\"] }}\n")
    };
    let server = Rendered::start_with(PLAN, |conf| clustered(conf, one, two)).await;
    let second = server
        .another(|conf| {
            let alone = conf.split_once("\ncluster {").unwrap().0.replace("server_name: \"homeostat\"", "server_name: \"second\"");
            clustered(alone, two, one)
        })
        .await;
    let house = House::on(server).await;
    let (id, key) = house.key("shop", TELEMETRY).await;
    let here = house.enter("app-shop", &key).await.unwrap();
    // Servers that joined later are asked about as well.
    let began = Instant::now();
    let there = loop {
        match second.connect_as("app-shop", ConnectOptions::new().token(key.clone())).await {
            Ok(guest) => break guest,
            Err(error) => assert!(began.elapsed() < LONG, "{error}"),
        }
    };
    let closed = house.revoke(&id, None).await;
    assert_eq!((closed.closed, closed.complete()), (2, true), "{closed:?}");
    ends(&here, LONG).await;
    ends(&there, LONG).await;
    let (id, _) = house.key("shop", TELEMETRY).await;
    second.signal("STOP");
    let closed = house.revoke(&id, None).await;
    second.signal("CONT");
    assert_eq!((closed.silent, closed.closed), (vec!["second".to_owned()], 0));
    house.stop.send_replace(true);
}

/// A question about a log-in with this key as an intruder would make it up.
fn forged(house: &House, key: &str, xkey: &XKey) -> Vec<u8> {
    let server = KeyPair::new_server();
    let conf = std::fs::read_to_string(house.server.summary["conf"].as_str().unwrap()).unwrap();
    let named = |what: &str| conf.lines().find_map(|line| line.trim().strip_prefix(what)).unwrap().trim().to_owned();
    let claims = json!({
        "aud": "nats-authorization-request", "exp": homeostat::clock::now_ms() / 1_000 + 60, "iat": 1,
        "iss": server.public_key(), "jti": "x", "sub": named("issuer:"),
        "nats": {
            "type": "authorization_request", "version": 2, "user_nkey": KeyPair::new_user().public_key(),
            "server_id": { "id": server.public_key(), "name": "homeostat", "host": "127.0.0.1", "xkey": xkey.public_key() },
            "client_info": {}, "connect_opts": { "auth_token": key, "protocol": 1 },
        },
    });
    let signed =
        format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"ed25519-nkey"}"#), URL_SAFE_NO_PAD.encode(claims.to_string()));
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(server.sign(signed.as_bytes()).unwrap()));
    xkey.seal(token.as_bytes(), &XKey::from_public_key(&named("xkey:")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_question_is_not_answered_wherever_it_comes_from() {
    // Somebody has got into the account of the questions, and may do everything there; and a mistake lets Homeostat's account ask.
    let intruder = KeyPair::new_user();
    let public = intruder.public_key();
    let server = Rendered::start_with(PLAN, |conf| {
        let conf = conf.replace("auth_users: [\n", &format!("auth_users: [\n      {public}\n"));
        let export = "exports: [{ service: \"$SYS.REQ.USER.AUTH\" }]";
        let import = "imports: [{ service: { account: AUTH, subject: \"$SYS.REQ.USER.AUTH\" }, to: \"ask\" }]";
        let conf = conf.replace("  \"HOMEOSTAT\" {\n", &format!("  \"HOMEOSTAT\" {{\n    {import}\n"));
        conf.replace("  \"AUTH\" {\n    users: [\n", &format!("  \"AUTH\" {{\n    {export}\n    users: [\n      {{ nkey: {public} }}\n"))
    })
    .await;
    let house = House::on(server).await;
    let (_, key) = house.key("shop", TELEMETRY).await;
    let inside = house.server.connect_as("callout", ConnectOptions::with_nkey(intruder.seed().unwrap())).await.unwrap();
    let homeostat = house.server.connect("homeostat").await;
    let app = house.enter("app-shop", &key).await.unwrap();
    // What a real question looks like to somebody who sees it.
    let mut seen = inside.client.subscribe("$SYS.REQ.USER.AUTH").await.unwrap();
    inside.client.flush().await.unwrap();
    drop(house.enter("app-shop", &key).await.unwrap());
    let real = tokio::time::timeout(LONG, seen.next()).await.unwrap().unwrap();
    assert!(real.headers.is_some() && !String::from_utf8_lossy(&real.payload).contains("hst_live"), "sealed, even there");
    let before = house.keys.verifier.counts().hot.load(std::sync::atomic::Ordering::Relaxed);
    let xkey = XKey::new();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Server-Xkey", xkey.public_key());
    let forged = forged(&house, &key, &xkey);
    let ask = |headers: &HeaderMap, question: Vec<u8>| {
        homeostat.client.send_request(
            "ask",
            async_nats::Request::new().headers(headers.clone()).payload(question.into()).timeout(Some(Duration::from_secs(2))),
        )
    };
    // Of a server that is none of ours; not sealed; no token. And a real one again, whose time is over by then.
    assert!(ask(&headers, forged.clone()).await.is_err());
    assert!(ask(&HeaderMap::new(), forged.clone()).await.is_err());
    assert!(ask(&headers, b"eyJ.x.y".to_vec()).await.is_err());
    assert!(ask(&real.headers.unwrap(), real.payload.to_vec()).await.is_err());
    let judged = house.keys.verifier.counts().hot.load(std::sync::atomic::Ordering::Relaxed) - before;
    assert_eq!(judged, 0, "no key was judged");
    assert!(house.metrics.encode().contains("homeostat_callouts_total{result=\"forged\"} 4"), "{}", house.metrics.encode());
    // Without such a mistake nobody is heard: the server keeps this subject for itself, also in its account.
    may_not_publish(&app, "$SYS.REQ.USER.AUTH").await;
    inside.client.publish_with_headers("$SYS.REQ.USER.AUTH", headers.clone(), forged.clone().into()).await.unwrap();
    let began = Instant::now();
    while !inside.was_refused("$SYS.REQ.USER.AUTH") {
        assert!(began.elapsed() < LONG, "the server lets somebody else ask");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.stop.send_replace(true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_ask_is_found_out() {
    let server = Rendered::start(PLAN).await;
    let callout = Callout::open(&settings(&server)).unwrap().unwrap();
    assert!(probe::server_asks(&callout).await.unwrap());
    // Its users are there, and it asks nobody.
    let server = Rendered::start_with(PLAN, |conf| {
        let (before, rest) = conf.split_once("  auth_callout {").unwrap();
        format!("{before}{}", rest.split_once("    ]\n  }\n").unwrap().1)
    })
    .await;
    let callout = Callout::open(&settings(&server)).unwrap().unwrap();
    assert!(!probe::server_asks(&callout).await.unwrap());
    let doctor = homeostat(&server, &["doctor"]);
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("the server does not ask about API keys") && said.contains("nats render --callout"), "{said}");
    assert!(!doctor.status.success());
}

/// A command of ours, with the settings of the rendered bus.
fn homeostat(server: &Rendered, arguments: &[&str]) -> std::process::Output {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_homeostat"));
    command.arg("--data-dir").arg(server.dir.path().join("worker")).args(["--nats", &server.url()]);
    command.envs(environment(server).iter().map(|(name, value)| (*name, value.as_os_str()))).args(arguments).output().unwrap()
}

fn environment(server: &Rendered) -> [(&'static str, PathBuf); 2] {
    [("HOMEOSTAT_NATS__NKEY_FILE", server.credentials("homeostat")), ("HOMEOSTAT_NATS__CALLOUT_DIR", server.dir.path().join("rendered"))]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_homeostat_admits_and_its_receipts_say_who_was_sent_away() {
    let server = Rendered::start(PLAN).await;
    let environment = environment(&server);
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.to_str().unwrap())).collect();
    let mut worker = Worker::spawn(&server.dir.path().join("worker"), Some(&server.url()), &small(), &environment);
    let gateway = worker.ready().await;
    let create = || async {
        let body = json!({ "owner": "shop", "scopes": ["telemetry:write"] }).to_string();
        let headers = [("content-type", "application/json")];
        let (status, body) = http(&gateway, "POST", "/api/v1/keys", &headers, body.as_bytes()).await.unwrap();
        assert_eq!(status, 201, "{body}");
        let answer: KeyAnswer = serde_json::from_str(&body).unwrap();
        (answer.record.id, answer.key.unwrap())
    };
    let enter = |key: String| {
        let server = &server;
        async move {
            let began = Instant::now();
            loop {
                match server.connect_as("app-shop", ConnectOptions::new().token(key.clone())).await {
                    Ok(guest) => return guest,
                    Err(error) => assert!(began.elapsed() < LONG, "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    let (id, key) = create().await;
    let guest = enter(key).await;
    works(&guest, "shop").await;
    // By the gateway, for machines.
    let revoked = homeostat(&server, &["--json", "keys", "--url", &gateway, "revoke", &id]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
    let answer: Value = serde_json::from_slice(&revoked.stdout).unwrap();
    let receipt = &answer["receipt"];
    assert_eq!((&receipt["complete"], &receipt["connections"]["closed"]), (&json!(true), &json!(1)), "{answer:#}");
    ends(&guest, LONG).await;
    // With the database in hand, for people.
    let (id, key) = create().await;
    let guest = enter(key).await;
    let revoked = homeostat(&server, &["keys", "--local", "revoke", &id]);
    let said = String::from_utf8_lossy(&revoked.stdout).into_owned();
    assert!(revoked.status.success() && said.contains("closed 1 connection to the bus"), "{said}");
    ends(&guest, LONG).await;
    let doctor = String::from_utf8_lossy(&homeostat(&server, &["doctor"]).stdout).into_owned();
    assert!(doctor.contains("the server asks about API keys"), "{doctor}");
    // It dies: who is there stays, nobody new gets in but by a key of the configuration.
    let (_, key) = create().await;
    let guest = enter(key.clone()).await;
    worker.kill();
    assert!(server.connect_as("app-shop", ConnectOptions::new().token(key)).await.is_err());
    works(&guest, "shop").await;
}
