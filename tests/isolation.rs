//! Nobody gets where he does not belong: the configurations of `homeostat nats render` on a real nats-server, attacked by every user
//! against everybody else, and judged by what the victims heard and what their streams stored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use async_nats::{HeaderMap, Subscriber};
use common::bus::{Guest, LONG, Rendered};
use futures::StreamExt as _;
use homeostat_nats::{Log, Message, Reader, ReaderOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// What nobody but Homeostat may write, or only the service that is named in it.
const TARGETS: [&str; 25] = [
    "homeostat.v1.event.query.SERVICE",
    "homeostat.v1.event.order.SERVICE",
    "homeostat.v1.event.order.homeostat",
    "homeostat.v1.outcome.cache.warm.SERVICE",
    "homeostat.v1.command.cache.warm.SERVICE",
    "homeostat.v1.alert.query.slow.SERVICE",
    "homeostat.v1.admission.SERVICE.db",
    "homeostat.v1.key.sealed.SERVICE",
    "homeostat.v1.control.settings",
    "homeostat.v1.control.keys.k1",
    "homeostat.v1.chain.query",
    "homeostat.v1.answer.probe.a1",
    "homeostat.v1.ask.probe",
    "homeostat.v1.dead.query",
    "homeostat.v1.tick",
    "homeostat.v1.signers",
    "homeostat.v1.replica.r1",
    "homeostat.v1.receipt.k1.r1",
    "homeostat.v1.audit.act",
    "$KV.homeostat_state.alerts.x",
    "$KV.homeostat_checkpoints.pointer.query",
    "$KV.homeostat_leases.owner",
    "_INBOX.x",
    "_INBOX_app-SERVICE.x",
    "_R_.x",
];

/// The JetStream API and the server's own.
const API: [&str; 30] = [
    "$JS.API.INFO",
    "$JS.API.STREAM.NAMES",
    "$JS.API.STREAM.LIST",
    "$JS.API.STREAM.CREATE.mine",
    "$JS.API.STREAM.INFO.homeostat",
    "$JS.API.STREAM.UPDATE.homeostat",
    "$JS.API.STREAM.PURGE.homeostat",
    "$JS.API.STREAM.DELETE.homeostat",
    "$JS.API.STREAM.SNAPSHOT.homeostat",
    "$JS.API.STREAM.RESTORE.homeostat",
    "$JS.API.STREAM.MSG.GET.homeostat",
    "$JS.API.STREAM.MSG.DELETE.homeostat",
    "$JS.API.STREAM.PURGE.homeostat_archive",
    "$JS.API.STREAM.DELETE.KV_homeostat_state",
    "$JS.API.DIRECT.GET.homeostat_archive.homeostat.v1.alert.query.slow.shop",
    "$JS.API.DIRECT.GET.KV_homeostat_checkpoints.$KV.homeostat_checkpoints.pointer.query",
    "$JS.API.CONSUMER.CREATE.homeostat",
    "$JS.API.CONSUMER.CREATE.homeostat.spy",
    "$JS.API.CONSUMER.CREATE.homeostat.spy.homeostat.v1.command.*.*.shop",
    "$JS.API.CONSUMER.DURABLE.CREATE.homeostat.spy",
    "$JS.API.CONSUMER.NAMES.homeostat",
    "$JS.API.CONSUMER.INFO.homeostat_archive.bot_other",
    "$JS.API.CONSUMER.DELETE.homeostat_archive.bot_other",
    "$JS.API.CONSUMER.MSG.NEXT.homeostat_archive.bot_other",
    "$JS.ACK.homeostat_archive.bot_other.1.1.1.1.0",
    "$JS.FC.homeostat.x",
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.HOMEOSTAT.INFO",
    "$SYS.REQ.USER.AUTH",
    "$SYS.ACCOUNT.HOMEOSTAT.CONNECT",
];

/// What a listener would like to hear.
const EARS: [&str; 16] = [
    ">",
    "*",
    "homeostat.>",
    "*.v1.>",
    "homeostat.v1.>",
    "homeostat.v1.*.*.*",
    "homeostat.v1.event.>",
    "homeostat.v1.event.*.SERVICE",
    "homeostat.v1.control.>",
    "homeostat.v1.key.>",
    "_INBOX.>",
    "_INBOX_app-SERVICE.>",
    "_R_.>",
    "$JS.>",
    "$KV.>",
    "$SYS.>",
];

/// Everything on a log, as it must still be afterwards.
async fn stored(log: &Log) -> Vec<(u64, String, Vec<u8>)> {
    let last = log.bounds().await.unwrap().last;
    let mut all = Vec::new();
    if last == 0 {
        return all;
    }
    let mut reader = Reader::open(log, 1, ReaderOptions::default()).await.unwrap();
    while all.last().is_none_or(|(seq, _, _)| *seq < last) {
        let entries = tokio::time::timeout(LONG, reader.next()).await.unwrap().unwrap();
        all.extend(entries.into_iter().map(|entry| (entry.seq, entry.subject.to_string(), entry.payload.to_vec())));
    }
    all
}

/// Waits until a log has everything that was sent to it before.
async fn marked(log: &Log) {
    static MARK: AtomicU64 = AtomicU64::new(0);
    let mark = MARK.fetch_add(1, SeqCst);
    log.append(Message::new(log.subject("ask.mark"), mark.to_string())).await.unwrap();
}

/// A victim: its log, what Homeostat hears on the bus, and what its applications and readers hear.
struct Victim {
    log: Log,
    homeostat: Subscriber,
    guests: Vec<(Guest, Subscriber)>,
}

impl Victim {
    async fn of(server: &Rendered, homeostat: &str, guests: &[(&str, &str)]) -> Victim {
        let log = server.log(homeostat).await;
        let ears = log.bus().client().subscribe("homeostat.v1.>").await.unwrap();
        let mut all = Vec::new();
        for (name, subject) in guests {
            let guest = server.connect(name).await;
            let ears = guest.client.subscribe((*subject).to_owned()).await.unwrap();
            guest.settled().await;
            assert!(!guest.was_refused(subject), "{name} may not hear {subject}");
            all.push((guest, ears));
        }
        marked(&log).await;
        Victim { log, homeostat: ears, guests: all }
    }

    /// What came until now, but for what this test itself said to mark a place: `(subject, payload)`.
    async fn heard(&mut self) -> Vec<(String, Vec<u8>)> {
        let end = format!("end-{}", self.log.bounds().await.unwrap().last);
        // Each of them hears this last, on a subject that it may hear.
        for subject in ["command.the.end.shop", "command.the.end.depot", "command.the.end.till", "alert.the.end.shop"] {
            self.log.bus().client().publish(self.log.subject(subject), end.clone().into()).await.unwrap();
        }
        let mut all = Vec::new();
        let ears = std::iter::once(&mut self.homeostat).chain(self.guests.iter_mut().map(|(_, ears)| ears));
        for ears in ears {
            loop {
                let message = tokio::time::timeout(LONG, ears.next()).await.expect("the end is heard").unwrap();
                if message.payload == end.as_bytes() {
                    break;
                }
                if !message.subject.ends_with("ask.mark") && !message.payload.starts_with(b"end-") {
                    all.push((message.subject.to_string(), message.payload.to_vec()));
                }
            }
        }
        all
    }
}

/// Everything that a user may try against a service: publishing with and without a reply, tricks with headers, consumers, listening.
/// What the server let through is returned.
async fn attack(guest: &Guest, service: &str, own: &[&str]) -> BTreeSet<String> {
    let targets: Vec<String> = TARGETS.iter().chain(&API).map(|subject| subject.replace("SERVICE", service)).collect();
    let prefixed =
        targets.iter().flat_map(|subject| ["HOMEOSTAT", "HOMEOSTAT_acme", "HOMEOSTAT_bravo"].map(|account| format!("{account}.{subject}")));
    let all: Vec<String> = targets.iter().cloned().chain(prefixed).collect();
    let poison = br#"{"poison":true}"#;
    for subject in &all {
        guest.client.publish(subject.clone(), poison.as_slice().into()).await.unwrap();
        for (name, value) in
            [("Nats-Msg-Id", "guessed-id"), ("Nats-Rollup", "all"), ("Nats-TTL", "1s"), ("Nats-Expected-Last-Sequence", "0")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, value);
            guest.client.publish_with_headers(subject.clone(), headers, poison.as_slice().into()).await.unwrap();
        }
        // The answer to what one may ask goes where one names.
        for own in own {
            guest
                .client
                .publish_with_reply((*own).to_owned(), subject.clone(), br#"{"batch":1,"expires":1000000000}"#.as_slice().into())
                .await
                .unwrap();
        }
        // One at a time: the library forgets refusals that come faster than they are taken.
        guest.settled().await;
    }
    let ears: Vec<String> = EARS.iter().map(|subject| subject.replace("SERVICE", service)).collect();
    let mut listening = Vec::new();
    for subject in &ears {
        listening.push(guest.client.subscribe(subject.clone()).await.unwrap());
        listening.push(guest.client.queue_subscribe(subject.clone(), "q".to_owned()).await.unwrap());
        guest.settled().await;
    }
    drop(listening);
    all.iter().chain(&ears).filter(|subject| !guest.was_refused(subject)).cloned().collect()
}

const TENANTS: &[&str] = &[
    "--profile",
    "tenants",
    "--tenant",
    "acme=shop,till",
    "--tenant",
    "bravo=shop,depot",
    "--bot",
    "acme/pager",
    "--bot",
    "bravo/pager",
    "--viewer",
    "acme/screen",
    "--viewer",
    "bravo/screen",
    "--operator",
    "night",
    "--orders",
    "acme/till",
];

/// What a user may ask for, for the tricks with replies.
fn own(server: &Rendered, name: &str) -> Vec<String> {
    let publish = server.user(name)["permissions"]["publish"].as_array().unwrap();
    publish.iter().map(|subject| subject.as_str().unwrap().replace('*', "query").replace('>', "1.1.1.1.0")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_tenant_reaches_another_whoever_tries() {
    let server = Rendered::start(TENANTS).await;
    for (tenant, other, services) in [("acme", "bravo", ["shop", "depot"]), ("bravo", "acme", ["shop", "till"])] {
        let hears: Vec<(String, String)> = services
            .iter()
            .map(|service| (format!("{other}.app-{service}"), format!("homeostat.v1.command.*.*.{service}")))
            .chain([(format!("{other}.viewer-screen"), "homeostat.v1.alert.>".to_owned())])
            .collect();
        let hears: Vec<(&str, &str)> = hears.iter().map(|(name, subject)| (name.as_str(), subject.as_str())).collect();
        let mut victim = Victim::of(&server, &format!("{other}.homeostat"), &hears).await;
        let before = stored(&victim.log).await;
        let attackers: Vec<String> = ["application", "bot", "viewer", "operator"]
            .iter()
            .flat_map(|role| server.names(role))
            .filter(|name| !name.starts_with(other))
            .collect();
        assert!(attackers.len() >= 5, "{attackers:?}");
        for name in &attackers {
            let guest = server.connect(name).await;
            let own = own(&server, name);
            let own: Vec<&str> = own.iter().map(String::as_str).collect();
            for service in services {
                attack(&guest, service, &own).await;
            }
        }
        // Whoever runs one Homeostat may do everything in its own account, and nothing in another's.
        let theirs = server.log(&format!("{tenant}.homeostat")).await;
        let bus = theirs.bus().client();
        for subject in TARGETS.iter().chain(&API) {
            if !subject.starts_with("$JS") {
                bus.publish(subject.replace("SERVICE", "shop"), "{}".into()).await.unwrap();
                bus.publish(format!("HOMEOSTAT_{other}.{subject}"), "{}".into()).await.unwrap();
            }
        }
        theirs.bounds().await.unwrap();
        marked(&victim.log).await;
        assert_eq!(victim.heard().await, [], "{tenant} was heard by {other}");
        let after = stored(&victim.log).await;
        let new: Vec<_> = after.iter().filter(|entry| !before.contains(entry) && !entry.1.ends_with("ask.mark")).collect();
        assert!(new.iter().all(|(_, _, payload)| payload.starts_with(b"end-")), "{tenant} wrote {new:?} into the log of {other}");
        assert!(before.iter().all(|entry| after.contains(entry)), "something of {other}'s is gone");
        // The same id in another tenant's log hides nothing here.
        let event = Message::new("homeostat.v1.event.query.shop", "[]").with("Nats-Msg-Id", "guessed-id");
        let last = victim.log.bounds().await.unwrap().last;
        assert!(victim.log.append(event).await.unwrap() > last, "an event of {other}'s was swallowed");
        // Nobody made a stream there, and nobody reads from one.
        for stream in streams_and_consumers(&victim.log).await {
            let ours = stream.starts_with("homeostat_") || stream.starts_with("KV_homeostat_");
            assert!(ours && stream.ends_with(" 0"), "{other}: {stream}");
        }
    }
}

/// Every stream but the log, which this test reads itself, with the number of its consumers.
async fn streams_and_consumers(log: &Log) -> Vec<String> {
    let answer = log.bus().client().request("$JS.API.STREAM.LIST", "".into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    let streams = answer["streams"].as_array().unwrap().iter();
    let mut all: Vec<String> =
        streams.map(|stream| format!("{} {}", stream["config"]["name"].as_str().unwrap(), stream["state"]["consumer_count"])).collect();
    all.retain(|name| !name.starts_with("homeostat "));
    all.sort();
    all
}

const SINGLE: &[&str] = &["--profile", "single", "--service", "shop", "--service", "till", "--bot", "pager", "--viewer", "screen"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inside_a_tenant_everybody_keeps_to_what_is_his() {
    let server = Rendered::start(SINGLE).await;
    let mut victim = Victim::of(
        &server,
        "homeostat",
        &[("app-shop", "homeostat.v1.command.*.*.shop"), ("app-shop", "homeostat.v1.admission.shop.*"), ("app-shop", "_INBOX_app-shop.>")]
            [..1],
    )
    .await;
    let mut may: Vec<(String, BTreeSet<String>)> = Vec::new();
    for name in ["app-till", "bot-pager", "viewer-screen"] {
        let guest = server.connect(name).await;
        let own = own(&server, name);
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        may.push((name.to_owned(), attack(&guest, "shop", &own).await));
    }
    marked(&victim.log).await;
    // Nothing of it was let through but where the server says nothing about a subject that is nobody's.
    for (name, through) in &may {
        assert!(through.is_empty(), "{name} may use {through:?}");
    }
    // An application's own telemetry is all that is stored, and the answers to it went nowhere.
    let heard = victim.heard().await;
    let own = ["homeostat.v1.event.query.till", "homeostat.v1.outcome.query.query.till"];
    assert!(heard.iter().all(|(subject, _)| own.contains(&subject.as_str())), "{heard:?}");
    let subjects: BTreeSet<String> =
        stored(&victim.log).await.into_iter().map(|(_, subject, _)| subject).filter(|subject| !subject.contains("the.end")).collect();
    assert_eq!(subjects.into_iter().collect::<Vec<_>>(), ["homeostat.v1.ask.mark", own[0], own[1]]);
    assert!(!heard.is_empty(), "the tricks were tried");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_does_what_he_is_there_for() {
    let server = Rendered::start(SINGLE).await;
    let log = server.log("homeostat").await;
    // An application: telemetry is acknowledged, commands come.
    let shop = server.connect("app-shop").await;
    let mut commands = shop.client.subscribe("homeostat.v1.command.*.*.shop").await.unwrap();
    let ack = tokio::time::timeout(LONG, shop.client.request("homeostat.v1.event.query.shop", "[]".into())).await.unwrap().unwrap();
    let ack: Value = serde_json::from_slice(&ack.payload).unwrap();
    assert_eq!(ack["stream"], "homeostat");
    log.append(Message::new("homeostat.v1.command.cache.warm.shop", "{}")).await.unwrap();
    let command = tokio::time::timeout(LONG, commands.next()).await.unwrap().unwrap();
    assert_eq!(command.subject.as_str(), "homeostat.v1.command.cache.warm.shop");
    // An order is a person's word.
    shop.client.publish("homeostat.v1.event.order.shop", "{}".into()).await.unwrap();
    shop.settled().await;
    assert!(shop.was_refused("homeostat.v1.event.order.shop"));
    // A bot: from a consumer that Homeostat's own user made, with acknowledgements, and no other.
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .args(["--nats", &server.url(), "nats", "consumer", "pager", "--from-start", "--read", "alerts"])
        .env("HOMEOSTAT_NATS__NKEY_FILE", server.credentials("homeostat"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    log.append(Message::new("homeostat.v1.alert.query.slow.shop", r#"{"n":1}"#)).await.unwrap();
    let pager = server.connect("bot-pager").await;
    let inbox = pager.client.new_inbox();
    let mut pulled = pager.client.subscribe(inbox.clone()).await.unwrap();
    let ask = json!({ "batch": 1, "expires": 30_000_000_000_u64 }).to_string();
    pager.client.publish_with_reply("$JS.API.CONSUMER.MSG.NEXT.homeostat_archive.bot_pager", inbox, ask.into()).await.unwrap();
    let alert = tokio::time::timeout(LONG, pulled.next()).await.unwrap().unwrap();
    assert_eq!((alert.subject.as_str(), alert.payload.as_ref()), ("homeostat.v1.alert.query.slow.shop", br#"{"n":1}"#.as_slice()));
    pager.client.publish(alert.reply.unwrap(), "+ACK".into()).await.unwrap();
    pager.settled().await;
    let began = std::time::Instant::now();
    loop {
        let info = log.bus().client().request("$JS.API.CONSUMER.INFO.homeostat_archive.bot_pager", "".into()).await.unwrap();
        let info: Value = serde_json::from_slice(&info.payload).unwrap();
        if info["ack_floor"]["consumer_seq"] == 1 {
            break;
        }
        assert!(began.elapsed() < LONG, "{info}");
    }
    // A viewer: alerts as they pass, and what is open now.
    let screen = server.connect("viewer-screen").await;
    let mut alerts = screen.client.subscribe("homeostat.v1.alert.>").await.unwrap();
    screen.settled().await;
    log.append(Message::new("homeostat.v1.alert.query.slow.till", "{}")).await.unwrap();
    assert_eq!(tokio::time::timeout(LONG, alerts.next()).await.unwrap().unwrap().subject.as_str(), "homeostat.v1.alert.query.slow.till");
    let bucket = log.bus().jetstream().get_key_value("homeostat_state").await.unwrap();
    bucket.put("alerts.a", "open".into()).await.unwrap();
    let open = screen.client.request("$JS.API.DIRECT.GET.KV_homeostat_state.$KV.homeostat_state.alerts.a", "".into());
    assert_eq!(tokio::time::timeout(LONG, open).await.unwrap().unwrap().payload.as_ref(), b"open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_the_alerts_of_all_tenants_below_their_names_and_say_nothing() {
    let server = Rendered::start(TENANTS).await;
    let night = server.connect("operator-night").await;
    let mut alerts = Vec::new();
    for tenant in ["acme", "bravo"] {
        let log = server.log(&format!("{tenant}.homeostat")).await;
        let mut ears = night.client.subscribe(format!("HOMEOSTAT_{tenant}.homeostat.v1.alert.>")).await.unwrap();
        night.settled().await;
        log.append(Message::new("homeostat.v1.alert.query.slow.shop", tenant)).await.unwrap();
        let alert = tokio::time::timeout(LONG, ears.next()).await.unwrap().unwrap();
        alerts.push((alert.subject.to_string(), alert.payload.to_vec()));
    }
    assert_eq!(
        alerts,
        [
            ("HOMEOSTAT_acme.homeostat.v1.alert.query.slow.shop".to_owned(), b"acme".to_vec()),
            ("HOMEOSTAT_bravo.homeostat.v1.alert.query.slow.shop".to_owned(), b"bravo".to_vec())
        ]
    );
    for subject in ["x", "HOMEOSTAT_acme.homeostat.v1.alert.query.slow.shop", "homeostat.v1.event.query.shop"] {
        night.client.publish(subject, "{}".into()).await.unwrap();
        night.settled().await;
        assert!(night.was_refused(subject), "{subject}");
    }
}
