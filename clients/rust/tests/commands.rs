//! Commands: executed once, answered, and nothing that is late, stale, foreign or only shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use homeostat_client::Client;
use homeostat_nats::{Bus, Entry, Log, Message};
use homeostat_schemas::{Command, Mode, Outcome, OutcomeStatus};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use support::{LONG, Server, signed, signer, soon, until};
use tokio::sync::mpsc;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn command(id: &str, target: &str, fence: u64) -> Command {
    Command {
        id: id.to_owned(),
        action: "cache.warm".to_owned(),
        service: "shop".to_owned(),
        target: target.to_owned(),
        args: json!({}),
        attempt: 1,
        fence,
        issued_ms: now(),
        expires_ms: now() + 60_000,
        mode: Mode::Act,
        ..Command::default()
    }
}

async fn issue(log: &Log, command: &Command) {
    soon(log.append(signed(&signer(), written(command)))).await.unwrap();
}

/// A command as it stands on the bus, but for its signature.
fn written(command: &Command) -> Message {
    let subject = format!("homeostat.v1.command.{}.{}", command.action, command.service);
    Message::new(subject, serde_json::to_vec(command).unwrap()).with("ce-id", command.id.as_str()).with("traceparent", TRACE)
}

fn outcome(entry: &Entry) -> Option<Outcome> {
    entry.subject.starts_with("homeostat.v1.outcome.").then(|| serde_json::from_slice(&entry.payload).unwrap())
}

/// What stands on the log of a command: `accepted, done: 3 entries`.
async fn told(server: &Server, id: &str) -> Vec<String> {
    let entries = server.entries().await;
    let outcomes = entries.iter().filter_map(outcome).filter(|outcome| outcome.command == id);
    outcomes.map(|o| format!("{:?} {}", o.status, o.detail.unwrap_or_default()).trim().to_owned()).collect()
}

/// Waits until this stands on the log of a command.
async fn becomes(server: &Server, id: &str, wanted: &[&str]) {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let found = told(server, id).await;
        if found == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{id}: {found:?} instead of {wanted:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A service that warms caches, and says each time it does.
async fn shop(server: &Server, instance: &str) -> (Client, mpsc::UnboundedReceiver<String>) {
    let client = server.settings("shop").instance(instance).retire_on_shutdown(false).start().await.unwrap();
    let (say, said) = mpsc::unbounded_channel();
    client.on("cache.warm", move |command: Command| {
        let say = say.clone();
        async move {
            say.send(command.id.clone()).unwrap();
            match command.target.as_str() {
                "broken" => Err("no database"),
                "panics" => panic!("on purpose"),
                target => Ok(format!("{target} is warm")),
            }
        }
    });
    (client, said)
}

/// Commands are heard from now on: one that is only shown came through the same way and nobody minds it, so an assigned one that
/// nobody knows is asked for until it is refused.
async fn listening(server: &Server, log: &Log, instance: &str) {
    static PROBES: AtomicU64 = AtomicU64::new(0);
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let n = PROBES.fetch_add(1, SeqCst);
        let mut probe = command(&format!("probe-{n}"), "probe", n + 1);
        probe.action = "nobody.knows".to_owned();
        probe.args = json!({ "instance": instance });
        issue(log, &probe).await;
        for _ in 0..20 {
            if !told(server, &probe.id).await.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(tokio::time::Instant::now() < deadline, "nobody listens");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_executed_once_and_answered() {
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    issue(&log, &command("before", "products", 1)).await;
    let (_client, mut said) = shop(&server, "web-1").await;
    listening(&server, &log, "web-1").await;

    issue(&log, &command("a", "products", 5)).await;
    becomes(&server, "a", &["Accepted", "Done products is warm"]).await;
    // The same again: answered as before, not executed again.
    issue(&log, &command("a", "products", 5)).await;
    becomes(&server, "a", &["Accepted", "Done products is warm", "Done products is warm"]).await;
    // A fence that is not higher, in whatever order they come.
    issue(&log, &command("stale", "products", 5)).await;
    becomes(&server, "stale", &["Refused a later command to the target was seen already"]).await;
    // Too late.
    issue(&log, &Command { expires_ms: now() - 1_000, ..command("late", "products", 9) }).await;
    becomes(&server, "late", &["Expired it came too late"]).await;
    // Failing, and worse.
    issue(&log, &command("b", "broken", 1)).await;
    becomes(&server, "b", &["Accepted", "Failed no database"]).await;
    issue(&log, &command("c", "panics", 1)).await;
    becomes(&server, "c", &["Accepted", "Failed the handler panicked"]).await;
    // Shown, foreign, meaning everything.
    issue(&log, &Command { mode: Mode::Observe, ..command("shown", "products", 20) }).await;
    issue(&log, &Command { args: json!({ "instance": "web-2" }), ..command("other", "products", 21) }).await;
    issue(&log, &command("wild", "*", 22)).await;
    becomes(&server, "wild", &["Refused a command needs an id and one definite target"]).await;
    // Whatever was not executed has passed by now: this came after it.
    issue(&log, &command("last", "products", 23)).await;
    becomes(&server, "last", &["Accepted", "Done products is warm"]).await;
    let mut executed = Vec::new();
    while let Ok(id) = said.try_recv() {
        executed.push(id);
    }
    assert_eq!(executed, ["a", "b", "c", "last"]);
    assert!(told(&server, "shown").await.is_empty() && told(&server, "other").await.is_empty() && told(&server, "before").await.is_empty());

    let entries = server.entries().await;
    let done = entries.iter().find(|entry| outcome(entry).is_some_and(|o| o.command == "a" && o.status == OutcomeStatus::Done)).unwrap();
    assert_eq!(done.subject.as_str(), "homeostat.v1.outcome.cache.warm.shop");
    assert_eq!(done.header("ce-type"), Some("homeostat.outcome.cache.warm"));
    assert!(done.header("traceparent").is_some_and(|header| header.contains("4bf92f3577b34da6a3ce929d0e0e4736")));
    assert_eq!(outcome(done).unwrap().instance.as_deref(), Some("web-1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_come_through_an_absence_of_the_bus_and_none_twice() {
    let mut server = Server::with_log("").await;
    let (client, mut said) = shop(&server, "web-1").await;
    let mut log = server.make_log().await;
    listening(&server, &log, "web-1").await;
    for round in 1..=3u64 {
        server.kill();
        server.start();
        log = server.make_log().await;
        // It may or may not be listening again.
        for n in 0..5 {
            issue(&log, &command(&format!("{round}-{n}"), "products", round * 100 + n)).await;
            becomes_done(&server, &format!("{round}-{n}")).await;
        }
    }
    soon(client.flush(LONG)).await.unwrap();
    let mut executed = Vec::new();
    while let Ok(id) = said.try_recv() {
        executed.push(id);
    }
    let wanted: Vec<String> = (1..=3).flat_map(|round| (0..5).map(move |n| format!("{round}-{n}"))).collect();
    assert_eq!(executed, wanted);
    drop(log);
}

async fn becomes_done(server: &Server, id: &str) {
    becomes(server, id, &["Accepted", "Done products is warm"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_started_again_executes_nothing_of_its_former_life() {
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    let (first, mut said) = shop(&server, "web-1").await;
    listening(&server, &log, "web-1").await;
    issue(&log, &command("a", "products", 1)).await;
    becomes_done(&server, "a").await;
    first.shutdown(LONG).await.unwrap();
    // Issued while nobody is there: for whoever is there, not for whoever comes.
    issue(&log, &command("between", "products", 2)).await;
    issue(&log, &Command { args: json!({ "instance": "web-1" }), ..command("for-it", "products", 3) }).await;
    let (_second, mut again) = shop(&server, "web-1").await;
    listening(&server, &log, "web-1").await;
    // The bus repeats what was executed in the former life.
    issue(&log, &Command { issued_ms: now() - 5_000, ..command("a", "products", 1) }).await;
    issue(&log, &command("b", "products", 4)).await;
    becomes_done(&server, "b").await;
    assert_eq!((said.try_recv().ok().as_deref(), said.try_recv().ok()), (Some("a"), None));
    assert_eq!((again.try_recv().ok().as_deref(), again.try_recv().ok()), (Some("b"), None));
}

const NO_CONSUMERS: &str = r#"{ user = plain, password = plain, permissions = {
    publish = ["homeostat.v1.event.*.shop", "homeostat.v1.outcome.*.*.shop"],
    subscribe = ["_INBOX.>", "homeostat.v1.command.*.*.shop"] } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_read_the_log_commands_are_heard_as_they_pass() {
    let server = Server::with_log(NO_CONSUMERS).await;
    let log = server.make_log().await;
    let url = format!("nats://plain:plain@127.0.0.1:{}", server.port);
    let client = server.settings("shop").url(url).instance("web-1").start().await.unwrap();
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    client.on("cache.warm", move |_| {
        counted.fetch_add(1, SeqCst);
        async { Ok::<(), String>(()) }
    });
    listening(&server, &log, "web-1").await;
    issue(&log, &command("a", "products", 1)).await;
    becomes(&server, "a", &["Accepted", "Done"]).await;
    issue(&log, &command("a", "products", 1)).await;
    becomes(&server, "a", &["Accepted", "Done", "Done"]).await;
    assert_eq!(count.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_comes_later_is_listened_to() {
    let mut server = Server::idle("");
    let (_client, mut said) = shop(&server, "web-1").await;
    server.start();
    let bus: Bus = server.bus().await;
    until("there is a connection", || _client.stats().connected).await;
    drop(bus);
    let log = server.make_log().await;
    listening(&server, &log, "web-1").await;
    issue(&log, &command("a", "products", 1)).await;
    becomes_done(&server, "a").await;
    assert_eq!(said.recv().await.as_deref(), Some("a"));
}

const READER: &str = r#"{ user = reader, password = reader, permissions = {
    publish = ["homeostat.v1.event.*.shop", "homeostat.v1.outcome.*.*.shop",
        "$JS.API.CONSUMER.CREATE.homeostat.*.homeostat.v1.command.*.*.shop", "$JS.API.CONSUMER.MSG.NEXT.homeostat.*"],
    subscribe = ["_INBOX.>"] } }"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_that_the_page_names_are_enough() {
    let server = Server::with_log(READER).await;
    let log = server.make_log().await;
    let settings = server.settings("shop").url(format!("nats://reader:reader@127.0.0.1:{}", server.port)).instance("web-1");
    let client = settings.start().await.unwrap();
    client.on("cache.warm", |_| async { Ok::<(), String>(()) });
    listening(&server, &log, "web-1").await;
    issue(&log, &command("a", "products", 1)).await;
    becomes(&server, "a", &["Accepted", "Done"]).await;
    soon(client.shutdown(LONG)).await.unwrap();
    assert_eq!(client.stats().last_error, None);
}
