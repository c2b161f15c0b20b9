//! Whose commands are carried out: nobody's but a trusted signer's, word for word, once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use homeostat_client::{Client, Settings};
use homeostat_nats::{Log, Message};
use homeostat_schemas::signature::{HEADER, Signer};
use homeostat_schemas::{Command, Mode, Outcome, OutcomeStatus};
use serde_json::json;
use support::{LONG, Server, signed, signer, soon, until};
use tokio::sync::mpsc;

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as u64
}

fn command(id: &str, fence: u64) -> Command {
    Command {
        id: id.to_owned(),
        action: "cache.warm".to_owned(),
        service: "shop".to_owned(),
        target: "products".to_owned(),
        args: json!({}),
        attempt: 1,
        fence,
        issued_ms: now(),
        expires_ms: now() + 60_000,
        mode: Mode::Act,
        ..Command::default()
    }
}

fn written(command: &Command) -> Message {
    let subject = format!("homeostat.v1.command.{}.{}", command.action, command.service);
    Message::new(subject, serde_json::to_vec(command).unwrap()).with("ce-id", command.id.as_str())
}

async fn put(log: &Log, message: Message) {
    soon(log.append(message)).await.unwrap();
}

/// A shop that says which commands it carries out.
async fn shop(settings: Settings) -> (Client, mpsc::UnboundedReceiver<String>) {
    let client = settings.retire_on_shutdown(false).start().await.unwrap();
    let (say, said) = mpsc::unbounded_channel();
    client.on("cache.warm", move |command: Command| {
        say.send(command.id).unwrap();
        async { Ok::<(), String>(()) }
    });
    (client, said)
}

/// Every outcome on the log, in order.
async fn outcomes(server: &Server) -> Vec<Outcome> {
    let entries = server.entries().await;
    entries
        .iter()
        .filter(|entry| entry.subject.contains(".outcome."))
        .map(|entry| serde_json::from_slice(&entry.payload).unwrap())
        .collect()
}

/// Issues commands of this signer until one is carried out: from then on all are heard. Others may still be on their way.
async fn heard(log: &Log, by: &Signer, said: &mut mpsc::UnboundedReceiver<String>) {
    for n in 1.. {
        let probe = Command { target: format!("probe-{n}"), ..command(&format!("probe-{n}"), 1) };
        put(log, signed(by, written(&probe))).await;
        if tokio::time::timeout(std::time::Duration::from_millis(200), said.recv()).await.is_ok() {
            return;
        }
        assert!(n < 300, "nobody listens");
    }
}

/// The next command that is carried out and is none of [`heard`]: those have targets of their own, and end in any order.
async fn carried_out(said: &mut mpsc::UnboundedReceiver<String>) -> Option<String> {
    loop {
        let id = soon(said.recv()).await?;
        if !id.starts_with("probe-") {
            return Some(id);
        }
    }
}

async fn refused(server: &Server, id: &str) -> String {
    let deadline = tokio::time::Instant::now() + LONG;
    loop {
        let found = outcomes(server).await.into_iter().find(|outcome| outcome.command == id);
        if let Some(outcome) = found {
            assert_eq!(outcome.status, OutcomeStatus::Refused, "{outcome:?}");
            return outcome.detail.unwrap();
        }
        assert!(tokio::time::Instant::now() < deadline, "no outcome of {id}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_no_trusted_signer_has_signed_is_refused_and_leaves_no_trace_in_the_gate() {
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    let next = Signer::from_random([10; 32]).unwrap();
    let ours = signer();
    // While a key is replaced both are trusted.
    let settings = server.settings("shop").instance("web-1").trusted_signers([ours.public(), next.public()]);
    let (client, mut said) = shop(settings).await;
    heard(&log, &ours, &mut said).await;

    put(&log, written(&command("unsigned", u64::MAX))).await;
    assert_eq!(refused(&server, "unsigned").await, "it is not signed");
    let stranger = Signer::from_random([11; 32]).unwrap();
    put(&log, signed(&stranger, written(&command("stranger", u64::MAX)))).await;
    assert!(refused(&server, "stranger").await.contains("is not trusted here"));
    put(&log, written(&command("junk", u64::MAX)).with(HEADER, "junk")).await;
    assert_eq!(refused(&server, "junk").await, "its signature cannot be read");
    // A good signature of another message: of another id, of another service's subject, of another body.
    let good = signed(&ours, written(&command("good", 1)));
    let signature = good.headers.iter().find(|(name, _)| name == HEADER).unwrap().1.clone();
    put(&log, written(&command("moved", u64::MAX)).with(HEADER, signature.as_str())).await;
    assert!(refused(&server, "moved").await.contains("its signature is not"));
    let other = Message { subject: "homeostat.v1.command.cache.warm.till".to_owned(), ..written(&command("subject", u64::MAX)) };
    let other = signed(&ours, other);
    put(&log, Message { subject: "homeostat.v1.command.cache.warm.shop".to_owned(), ..other }).await;
    assert!(refused(&server, "subject").await.contains("its signature is not"));
    let mut later = command("later", 2);
    later.expires_ms -= 59_000;
    let mut stretched = signed(&ours, written(&later));
    later.expires_ms += 3_600_000;
    stretched.payload = serde_json::to_vec(&later).unwrap().into();
    put(&log, stretched).await;
    assert!(refused(&server, "later").await.contains("its signature is not"));

    // None of them moved the fence, which stands at nothing: the lowest one is carried out, whoever of the two signed it, and once.
    // Each waits for the one before it: a target takes one command at a time.
    put(&log, good.clone()).await;
    put(&log, good.clone()).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("good"));
    until_done(&server, "good").await;
    put(&log, signed(&next, written(&command("next", 2)))).await;
    put(&log, good).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("next"));
    until_done(&server, "next").await;
    // Six refused, and nothing was carried out twice.
    put(&log, signed(&ours, written(&command("last", 3)))).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("last"));
    assert_eq!(client.stats().commands_refused, 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_command_that_is_replayed_does_nothing_more_here_and_nothing_after_a_restart() {
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    let (first, mut said) = shop(server.settings("shop").instance("web-1")).await;
    heard(&log, &signer(), &mut said).await;
    // Seventeen commands: more than the gate remembers of a target, so the oldest is known by its fence alone.
    let all: Vec<Message> = (1..=17).map(|n| signed(&signer(), written(&command(&format!("c{n}"), n)))).collect();
    for message in &all {
        put(&log, message.clone()).await;
        carried_out(&mut said).await.unwrap();
        let id = message.headers.iter().find(|(name, _)| name == "ce-id").unwrap().1.clone();
        until_done(&server, &id).await;
    }
    for message in &all {
        put(&log, message.clone()).await;
    }
    let over = signed(&signer(), written(&command("over", 18)));
    put(&log, over).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("over"));
    soon(first.shutdown(LONG)).await.unwrap();
    let (_second, mut again) = shop(server.settings("shop").instance("web-1")).await;
    heard(&log, &signer(), &mut again).await;
    while again.try_recv().is_ok() {}
    for message in &all {
        put(&log, message.clone()).await;
    }
    put(&log, signed(&signer(), written(&command("new", 19)))).await;
    assert_eq!(carried_out(&mut again).await.as_deref(), Some("new"));
}

async fn until_done(server: &Server, id: &str) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !outcomes(server).await.iter().any(|outcome| outcome.command == id && outcome.status == OutcomeStatus::Done) {
        assert!(tokio::time::Instant::now() < deadline, "{id} is never done");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn for_development_unsigned_commands_may_be_allowed_and_badly_signed_ones_never() {
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    let nobody: [&str; 0] = [];
    let settings = server.settings("shop").instance("web-1").trusted_signers(nobody).allow_unsigned_commands(true);
    let (client, mut said) = shop(settings).await;
    for n in 1..300 {
        put(&log, written(&Command { target: format!("t{n}"), ..command(&format!("u{n}"), 1) })).await;
        if tokio::time::timeout(std::time::Duration::from_millis(200), said.recv()).await.is_ok() {
            break;
        }
    }
    put(&log, written(&command("junk", 5)).with(HEADER, "junk")).await;
    assert_eq!(refused(&server, "junk").await, "its signature cannot be read");
    put(&log, written(&command("plain", 1))).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("plain"));
    assert_eq!(client.stats().commands_refused, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_the_same_machine_whoever_answers_is_trusted_and_elsewhere_nobody() {
    use futures::StreamExt as _;
    let server = Server::with_log("").await;
    let log = server.make_log().await;
    let nobody: [&str; 0] = [];
    let ours = signer();
    let (client, mut said) = shop(server.settings("shop").instance("web-1").trusted_signers(nobody)).await;
    until("there is a connection", || client.stats().connected).await;
    // Nobody answers yet: nobody is trusted. A shown command says nothing, so the outcome of a meant one is waited for.
    let mut asked = 0;
    while outcomes(&server).await.is_empty() {
        asked += 1;
        assert!(asked < 600, "nothing was refused");
        put(&log, signed(&ours, written(&Command { target: format!("t{asked}"), ..command(&format!("early-{asked}"), 1) }))).await;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let first = outcomes(&server).await.remove(0);
    assert!(first.detail.unwrap().contains("HOMEOSTAT_CLIENT_TRUSTED_SIGNERS"));
    // A Homeostat that answers.
    let bus = server.bus().await;
    let mut questions = bus.client().subscribe("homeostat.v1.signers").await.unwrap();
    bus.client().flush().await.unwrap();
    let (answering, answer) = (bus.client().clone(), json!({ "signers": [ours.public()] }).to_string());
    tokio::spawn(async move {
        while let Some(question) = questions.next().await {
            answering.publish(question.reply.unwrap(), answer.clone().into()).await.unwrap();
        }
    });
    heard(&log, &ours, &mut said).await;
    let stranger = Signer::from_random([11; 32]).unwrap();
    put(&log, signed(&stranger, written(&command("stranger", 9)))).await;
    assert!(refused(&server, "stranger").await.contains("is not trusted here"));
    put(&log, signed(&ours, written(&command("good", 1)))).await;
    assert_eq!(carried_out(&mut said).await.as_deref(), Some("good"));
}
