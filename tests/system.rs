//! The whole system from outside: the real binary, a real nats-server, real databases; what goes in is what a careless or hostile
//! world sends, what breaks is what breaks in production.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::postgres::Cluster;
use common::story::{Chance, now_ms, publish, request};
use common::{Server, Worker, http, http_get};
use homeostat_nats::{Checkpoints, Entry, Head, Log, Message, Reader, ReaderOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const OFTEN: &[&str] = &["shell.checkpoint_every_ms=200", "shell.checkpoint_idle_ms=300"];

/// Waits until every actor has taken the log up to a position and saved it.
async fn settled(log: &Log, position: u64) {
    let began = Instant::now();
    for actor in homeostat::roster::NAMES {
        loop {
            let head = log.last_on(&log.subject(&format!("chain.{actor}"))).await.unwrap();
            if head
                .and_then(|entry| Checkpoints::position_of(&Head::decode(&entry).ok()?.checkpoint?))
                .is_some_and(|saved| saved >= position)
            {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{actor} never came to {position}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn everything(log: &Log) -> Vec<Entry> {
    let last = log.bounds().await.unwrap().last;
    let mut reader = Reader::open(log, 1, ReaderOptions::default()).await.unwrap();
    let mut entries = Vec::new();
    while entries.last().is_none_or(|entry: &Entry| entry.seq < last) {
        entries.extend(reader.next().await.unwrap());
    }
    entries
}

fn of<'a>(entries: &'a [Entry], word: &str) -> Vec<&'a Entry> {
    entries.iter().filter(|entry| entry.subject.starts_with(&format!("homeostat.v1.{word}."))).collect()
}

/// Runs a command of the binary.
fn homeostat(arguments: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_homeostat")).args(arguments).current_dir(dir.path()).output().unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Each actor publishes in its own order; between two of them the bus may take the one or the other first. A command is the recovery actor's.
fn by_actor(mut said: Vec<String>) -> Vec<String> {
    said.sort_by_key(|line| {
        let said: Value = serde_json::from_str(line).unwrap();
        said["rule"].as_str().unwrap_or("recovery.command").split('.').next().unwrap().to_owned()
    });
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_the_live_run_byte_for_byte() {
    let server = Server::start().await;
    let log = server.log().await;
    let url = server.url();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&url), OFTEN, &[]);
    worker.ready().await;
    let mut chance = Chance(now_ms());
    let mut last = 0;
    for number in 0..300 {
        last = publish(&log, request(number, &mut chance)).await;
    }
    settled(&log, last).await;
    // Time enough for a service or two to fall silent.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(worker.stop().await.success());
    let entries = everything(&log).await;
    // Some stories make recovery say what it would do.
    let mut said = [of(&entries, "alert"), of(&entries, "command")].concat();
    said.sort_by_key(|entry| entry.seq);
    let live = by_actor(said.iter().map(|entry| String::from_utf8(entry.payload.to_vec()).unwrap()).collect());
    assert!(live.len() > 10, "the story gave too little to say: {}", live.len());

    let stream = homeostat(&["replay", "--stream", "--nats", &url]);
    assert!(stream.status.success(), "{}", stderr(&stream));
    assert_eq!(by_actor(lines(&stream)), live);
    let verified = homeostat(&["replay", "--stream", "--verify", "--nats", &url]);
    assert!(verified.status.success() && stderr(&verified).contains("all the same byte for byte"), "{}", stderr(&verified));

    let file = server.path("recording.ndjson");
    let file = file.to_str().unwrap();
    let recorded = homeostat(&["record", "--out", file, "--nats", &url]);
    assert!(recorded.status.success(), "{}", stderr(&recorded));
    let replayed = homeostat(&["replay", file]);
    assert!(replayed.status.success(), "{}", stderr(&replayed));
    assert_eq!(by_actor(lines(&replayed)), live);
    // A pipe cannot be read twice.
    let mut piped = Command::new(env!("CARGO_BIN_EXE_homeostat"));
    let piped =
        piped.args(["replay", "-", "--verify"]).current_dir(server.path("")).stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert!(piped.status.success() && stderr(&piped).contains("all the same byte for byte"), "{}", stderr(&piped));

    // A recording that somebody changed does not verify.
    let text = std::fs::read_to_string(file).unwrap();
    let changed = text.replacen("mean ", "MEAN ", 1);
    assert_ne!(text, changed);
    std::fs::write(file, changed).unwrap();
    let verified = homeostat(&["replay", file, "--verify"]);
    assert_eq!(verified.status.code(), Some(1), "{}", stderr(&verified));

    // What other settings would have said: nothing is slow any more, everything else is as before.
    std::fs::write(file, text).unwrap();
    let lenient = homeostat(&["replay", file, "--set", "actors.query.slow_ms=100000"]);
    assert!(lenient.status.success(), "{}", stderr(&lenient));
    assert!(lines(&lenient).iter().all(|line| !line.contains("query.slow")));
    let count = |lines: &[String], rule: &str| lines.iter().filter(|line| line.contains(rule)).count();
    assert_eq!(count(&lines(&lenient), "query.n_plus_one"), count(&live, "query.n_plus_one"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_set_aside_with_its_place_and_reason_and_costs_nobody_else_anything() {
    let server = Server::start().await;
    let log = server.log().await;
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), OFTEN, &[]);
    let gateway = worker.ready().await;
    let good = |n: u64| json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select {n} from t"), "took_us": 500_000});
    let deep = [vec![0x91_u8; 100_000], vec![0xc0]].concat();
    let nan = rmp_serde::to_vec_named(&json!({"kind": "metric", "service": "shop", "at_ms": 1, "name": "x"})).unwrap();
    let bad: Vec<(&str, &str, Vec<u8>, &str)> = vec![
        ("event.query.shop", "application/json", b"{\"kind\":".to_vec(), "malformed JSON"),
        ("event.query.shop", "application/msgpack", vec![0xdd, 0xff, 0xff, 0xff, 0xff], "malformed MessagePack"),
        ("event.query.shop", "application/msgpack", deep, "malformed MessagePack"),
        ("event.query.shop", "text/plain", b"hello".to_vec(), "content type"),
        ("event.metric.shop", "application/msgpack", nan, "missing field `value`"),
        (
            "event.query.shop",
            "application/json",
            json!({"kind": "query", "service": "shop", "at_ms": 1, "statement": "x", "took_us": -1}).to_string().into(),
            "not an event",
        ),
        (
            "event.query.shop",
            "application/json",
            json!({"kind": "query", "service": "other", "at_ms": 1, "statement": "x", "took_us": 1}).to_string().into(),
            "its service is `other`",
        ),
        (
            "event.query.shop",
            "application/json",
            json!({"kind": "query", "service": "shop", "at_ms": now_ms() + 200_000_000, "statement": "x", "took_us": 1}).to_string().into(),
            "more than a day ahead",
        ),
        ("event.nothing.shop", "application/json", b"{}".to_vec(), "no such kind"),
        ("event.query.a.b", "application/json", b"{}".to_vec(), "no such subject"),
        ("event.query.a=3", "application/json", b"{}".to_vec(), "not escaped"),
        ("alert.query", "application/json", b"{}".to_vec(), "no such subject"),
        ("event.query.x", "application/json", vec![b'x'; 1_048_400], "malformed JSON"),
    ];
    let mut expected = Vec::new();
    for (subject, content_type, body, reason) in &bad {
        let seq = log.append(Message::new(log.subject(subject), body.clone()).with("content-type", *content_type)).await.unwrap();
        expected.push((seq, *reason));
    }
    // One bad event in the middle of good ones.
    let mixed = json!([good(1), {"kind": "query", "service": "shop"}, good(2)]);
    let seq = log.append(Message::new(log.subject("event.query.shop"), mixed.to_string())).await.unwrap();
    expected.push((seq, "missing field"));
    settled(&log, seq).await;

    let entries = everything(&log).await;
    let dead = of(&entries, "dead");
    assert_eq!(dead.len(), expected.len());
    for ((seq, reason), dead) in expected.iter().zip(&dead) {
        assert_eq!(dead.header("homeostat-position"), Some(seq.to_string().as_str()));
        assert!(dead.header("homeostat-reason").unwrap().contains(reason), "{:?} is not {reason}", dead.header("homeostat-reason"));
        assert_eq!(dead.header("nats-ttl"), Some("24h"), "dead messages go by themselves");
        assert_eq!(dead.header("homeostat-cut-from").is_some(), *reason == "malformed JSON" && dead.payload.len() > 1_000_000);
    }
    assert_eq!(&dead[0].payload[..], b"{\"kind\":", "what was set aside is what came");
    let slow: Vec<_> = of(&entries, "alert").into_iter().filter(|entry| entry.subject.contains(".slow.")).collect();
    assert_eq!(slow.len(), 1, "the good siblings were heard");
    let (status, _) = http_get(&gateway, "/readyz").await.unwrap();
    assert_eq!(status, 200);
    assert!(worker.stop().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_names_and_statements_stays_within_bounds() {
    let server = Server::start().await;
    let log = server.log().await;
    let limits = ["actors.query.shapes_max=2000", "shell.checkpoint_every_ms=500"];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &limits, &[]);
    let gateway = worker.ready().await;
    let mut messages = Vec::new();
    for batch in 0..60_u64 {
        let events: Vec<Value> = (0..1000)
            .map(|n| json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select a{batch}_{n} from t"), "took_us": 10}))
            .collect();
        messages.push(
            Message::new(log.subject("event.query.shop"), rmp_serde::to_vec_named(&events).unwrap())
                .with("content-type", "application/msgpack"),
        );
        for n in 0..300 {
            let service = format!("s{batch}-{n}");
            let beat = json!({"kind": "heartbeat", "service": service, "at_ms": now_ms(), "up_s": 1, "interval_s": 3600});
            messages.push(Message::new(log.subject(&format!("event.heartbeat.{service}")), beat.to_string()));
        }
    }
    log.append_all(messages).await.unwrap();
    let last = log.bounds().await.unwrap().last;
    settled(&log, last).await;
    let (status, body) = http_get(&gateway, "/api/v1/queries").await.unwrap();
    assert_eq!(status, 200);
    let rows: Vec<Value> = serde_json::from_str(&body).unwrap();
    assert!(rows.len() <= 2_001, "{} rows", rows.len());
    let other = rows.iter().find(|row| row["fingerprint"] == "__other__").expect("what found no room is counted together");
    assert!(other["calls"].as_u64().unwrap() > 50_000);
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.child.id())).unwrap();
    let rss = status.lines().find(|line| line.starts_with("VmRSS")).unwrap().split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    assert!(rss < 600 * 1024, "{rss} KiB resident");
    assert!(worker.stop().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_bus_is_said_and_what_was_acknowledged_is_there_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::spawn(dir.path(), None, OFTEN, &[]);
    let gateway = worker.ready().await;
    let run: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("run.json")).unwrap()).unwrap();
    let event = |n: u64| json!([{"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select {n} from t{n}"), "took_us": 300_000}]);
    let post = async |n: u64| {
        http(&gateway, "POST", "/v1/events", &[("content-type", "application/json")], event(n).to_string().as_bytes()).await.unwrap()
    };
    assert_eq!(post(1).await.0, 200);
    let pid = run["server_pid"].as_u64().unwrap().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let began = Instant::now();
    loop {
        assert_eq!(http_get(&gateway, "/livez").await.unwrap().0, 200, "liveness does not depend on the bus");
        let (status, answer) = post(2).await;
        if status == 503 {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{status} {answer}");
    }
    // A server that hangs is killed; the embedded one comes back by itself.
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let began = Instant::now();
    while http_get(&gateway, "/readyz").await.unwrap().0 != 200 || post(3).await.0 != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "{}", worker.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let began = Instant::now();
    loop {
        let (_, body) = http_get(&gateway, "/api/v1/alerts").await.unwrap();
        // Those acknowledged with 200 are there; the unacknowledged one may be.
        if body.contains("from t1") && body.contains("from t3") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{body}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(worker.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vanished_database_is_said_costs_nothing_and_history_is_complete_afterwards() {
    let cluster = Cluster::start();
    let database = cluster.database();
    let server = Server::start().await;
    let log = server.log().await;
    let url = format!("database.url={database}");
    let password = format!("database.password_file={}", cluster.password_file().display());
    let settings = [&url, &password, "shell.checkpoint_every_ms=200", "shell.checkpoint_idle_ms=300"];
    let mut worker = Worker::spawn(&server.path("worker"), Some(&server.url()), &settings, &[]);
    let gateway = worker.ready().await;
    let slow = |n: u64| json!([{"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select {n} from t{n}"), "took_us": 300_000}]);
    let append = async |n: u64| log.append(Message::new(log.subject("event.query.shop"), slow(n).to_string())).await.unwrap();
    append(1).await;
    cluster.down();
    let began = Instant::now();
    while http_get(&gateway, "/readyz").await.unwrap().0 == 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "readiness never said it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(http_get(&gateway, "/livez").await.unwrap().0, 200, "liveness does not depend on the database");
    let last = append(2).await;
    settled(&log, last).await;
    assert_eq!(of(&everything(&log).await, "alert").len(), 2, "alerts do not wait for the database");
    cluster.up();
    let began = Instant::now();
    loop {
        let ready = http_get(&gateway, "/readyz").await.unwrap().0 == 200;
        let history = http_get(&gateway, "/api/v1/alerts?all").await.map(|(_, body)| body).unwrap_or_default();
        if ready && history.contains("from t1") && history.contains("from t2") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{history} {}", worker.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(worker.stop().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_graceful_and_history_is_there_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::spawn(dir.path(), None, &[], &[]);
    let gateway = worker.ready().await;
    let event = json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": "select * from t where secret = 'hunter2'", "took_us": 300_000});
    assert_eq!(
        http(&gateway, "POST", "/v1/events", &[("content-type", "application/json")], event.to_string().as_bytes()).await.unwrap().0,
        200
    );
    let began = Instant::now();
    while !http_get(&gateway, "/api/v1/alerts?all").await.unwrap().1.contains("query.slow") {
        assert!(began.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let status = worker.stop().await;
    assert_eq!(status.code(), Some(0));
    let mut worker = Worker::spawn(dir.path(), None, &[], &[]);
    let gateway = worker.ready().await;
    for path in ["/api/v1/alerts?all", "/api/v1/alerts", "/api/v1/queries"] {
        let (status, body) = http_get(&gateway, path).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.contains("select * from t where secret = ?"), "{path}: {body}");
    }
    assert!(worker.stop().await.success());
    assert_no_trace_of("hunter2", dir.path());
}

/// No file below a directory contains a text: not the streams, the checkpoints, the database, the logs.
fn assert_no_trace_of(secret: &str, dir: &Path) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_no_trace_of(secret, &path);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{} has it", path.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_and_actors_are_switched_while_the_system_runs() {
    let server = Server::start().await;
    let log = server.log().await;
    let url = server.url();
    let mut worker = Worker::spawn(&server.path("worker"), Some(&url), OFTEN, &[]);
    worker.ready().await;
    let slow = async |n: u64| {
        let event =
            json!({"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select a from t{n}"), "took_us": 300_000});
        log.append(Message::new(log.subject("event.query.shop"), event.to_string())).await.unwrap()
    };
    let set = |setting: &str| homeostat(&["config", "set", setting, "--nats", &url]);
    slow(1).await;
    let off = set("actors.query.rules.slow=off");
    assert!(off.status.success(), "{}", stderr(&off));
    let last = slow(2).await;
    settled(&log, last).await;
    assert!(set("actors.query.rules.slow=act").status.success());
    let last = slow(3).await;
    settled(&log, last).await;
    let said: Vec<String> = of(&everything(&log).await, "alert")
        .iter()
        .map(|entry| serde_json::from_slice::<Value>(&entry.payload).unwrap())
        .map(|alert| format!("{} {}", alert["state"].as_str().unwrap(), alert["summary"].as_str().unwrap()))
        .collect();
    // What was open ends with the rule; what comes while it is off is not said.
    let wanted = ["firing mean 300 ms  select a from t1", "resolved mean 300 ms  select a from t1", "firing mean 300 ms  select a from t3"];
    assert_eq!(said, wanted);

    let typo = set("actors.query.slowms=5");
    assert_eq!(typo.status.code(), Some(1));
    assert!(stderr(&typo).contains("actors.query.slow_ms"), "{}", stderr(&typo));
    let fixed = set("gateway.listen=127.0.0.1:1");
    assert!(stderr(&fixed).contains("cannot change while the system runs"), "{}", stderr(&fixed));
    let verified = homeostat(&["replay", "--stream", "--verify", "--nats", &url]);
    assert!(verified.status.success(), "settings are part of the log: {}", stderr(&verified));
    assert!(worker.stop().await.success());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_nothing_false_is_acknowledged_and_it_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::spawn(dir.path(), None, OFTEN, &[]);
    let gateway = worker.ready().await;
    let run: Value = serde_json::from_str(&std::fs::read_to_string(dir.path().join("run.json")).unwrap()).unwrap();
    let post = async |n: u64| {
        let event = json!([{"kind": "query", "service": "shop", "at_ms": now_ms(), "statement": format!("select a from t{n}"), "took_us": 300_000}]);
        http(&gateway, "POST", "/v1/events", &[("content-type", "application/json")], event.to_string().as_bytes()).await.unwrap().0
    };
    assert_eq!(post(0).await, 200);
    // Every write beyond a few KiB of a file fails, as on a disk that is full. The limit goes with the process: a server that is
    // started again has room again.
    let pid = run["server_pid"].as_u64().unwrap().to_string();
    let limited = Command::new("prlimit").args(["--pid", &pid, "--fsize=4096:unlimited"]).status().unwrap();
    assert!(limited.success());
    let mut acknowledged = vec![0];
    let mut said = false;
    let began = Instant::now();
    for n in 1.. {
        match post(n).await {
            200 => acknowledged.push(n),
            status => assert_eq!(status, 503, "a sender is told to try again"),
        }
        let ready = http_get(&gateway, "/readyz").await.unwrap().0;
        said |= ready == 503;
        assert_eq!(http_get(&gateway, "/livez").await.unwrap().0, 200);
        if said && ready == 200 && acknowledged.last() == Some(&n) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(90), "{}", worker.log());
    }
    let began = Instant::now();
    loop {
        let (_, body) = http_get(&gateway, "/api/v1/alerts").await.unwrap();
        let missing: Vec<_> = acknowledged.iter().filter(|n| !body.contains(&format!("from t{n}\""))).collect();
        if missing.is_empty() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "acknowledged and lost: {missing:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(worker.stop().await.success());
}
