//! The program itself: what it prints, and how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use expect_test::expect;
use homeostat_nats::{Bus, BusConfig, Embedded, EmbeddedConfig};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

#[path = "cli/drift.rs"]
mod drift;
#[path = "cli/forecast.rs"]
mod forecast;
#[path = "cli/heap.rs"]
mod heap;
#[path = "cli/keys.rs"]
mod keys;
#[path = "cli/leak.rs"]
mod leak;

/// The program in a directory of its own, without this machine's settings.
fn homeostat(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_homeostat"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOMEOSTAT_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(dir).stdin(Stdio::null()).env("TZ", "UTC");
    command
}

fn run(dir: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = homeostat(dir, arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that does not read its input may be gone before all is written.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

#[test]
fn a_setting_nobody_knows_is_an_error_with_its_place_and_the_nearest_one() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("homeostat.toml"), "[actors.query]\nslowms = 50\n").unwrap();
    let output = run(dir.path(), &["config", "show"], "");
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    expect![[r#"
        homeostat: unknown setting `actors.query.slowms` in homeostat.toml (line 2); did you mean `actors.query.slow_ms`?; `homeostat config explain` lists every setting and what it means
    "#]]
    .assert_eq(&stderr(&output));
    let output = run(dir.path(), &["config", "check", "homeostat.toml", "--json"], "");
    assert_eq!(code(&output), 1);
    assert_eq!(lines(&output)[0]["problems"][0]["key"], "actors.query.slowms");
}

#[test]
fn a_file_a_variable_and_a_flag_reach_the_settings_in_force() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("homeostat.toml"), "[actors.query]\nslow_ms = 1\n[database]\npool_max = 7\n").unwrap();
    let mut command = homeostat(dir.path(), &["config", "show", "--json", "--set", "actors.query.n_plus_one.min_count=9"]);
    let output = command.env("HOMEOSTAT_ACTORS__QUERY__SLOW_MS", "50").output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(shown["actors"]["query"]["slow_ms"], 50, "{}", stderr(&output));
    assert_eq!(shown["actors"]["query"]["n_plus_one"]["min_count"], 9);
    assert_eq!(shown["database"]["pool_max"], 7);
    let output = run(dir.path(), &["config", "explain", "database.pool_max"], "");
    let text = stdout(&output);
    assert!(text.contains("database.pool_max = 7") && text.contains("homeostat.toml (line 4)") && text.contains("default 20"), "{text}");
}

#[test]
fn usage_is_two_and_never_one() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [
        &["nonsense"][..],
        &["config", "show", "--set", "no-equals-sign"],
        &["export", "everything"],
        &["tail", "--count", "0"],
        &["replay"],
    ] {
        let output = run(dir.path(), arguments, "");
        assert_eq!(code(&output), 2, "{arguments:?}: {}", stderr(&output));
    }
    for arguments in [&["--help"][..], &["--version"], &["publish", "--help"]] {
        assert_eq!(code(&run(dir.path(), arguments, "")), 0, "{arguments:?}");
    }
}

#[test]
fn replay_without_arguments_says_both_ways_to_use_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["replay"], "");
    assert!(
        stderr(&output).contains("replay [OPTIONS] FILE") && stderr(&output).contains("replay [OPTIONS] --stream"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn a_check_where_there_is_nothing_to_compare_with_is_one_line() {
    let dir = tempfile::tempdir().unwrap();
    for what in ["schemas", "asyncapi"] {
        let output = run(dir.path(), &["export", what, "--check"], "");
        assert_eq!((code(&output), stdout(&output).as_str(), stderr(&output).lines().count()), (1, "", 1), "{}", stderr(&output));
        assert!(stderr(&output).contains("--out"), "{}", stderr(&output));
    }
}

#[test]
fn a_statement_a_line_becomes_its_form_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let input = "\"SELECT * FROM users WHERE id = 42 AND name = 'Ana'\"\n\n\"select *  from users where id=7 and name='Bo' -- x\"\n";
    let output = run(dir.path(), &["query", "normalise", "--dialect", "pg"], input);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let found = lines(&output);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0]["normal"], "select * from users where id = ? and name = ?");
    for key in ["normal", "fingerprint", "family", "tables"] {
        assert_eq!(found[0][key], found[1][key], "{key}");
    }
    assert_eq!(found[0]["tables"], json!(["users"]));
    assert_eq!(found[0]["summary"], "SELECT users");
    for key in ["fingerprint", "family"] {
        let text = found[0][key].as_str().unwrap();
        assert!(text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()), "{text}");
    }
}

#[test]
fn a_line_that_is_no_string_is_said_and_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["query", "normalise"], "\"select 1\"\nselect 2\n\"select 3\"\n");
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("line 2"));
    let found = lines(&output);
    assert_eq!((found.len(), &found[0]["normal"]), (3, &found[2]["normal"]));
    let output = run(dir.path(), &["query", "normalise", "--dialect", "oracle"], "");
    assert_eq!(code(&output), 2);
}

#[test]
fn advice_comes_a_line_before_the_next_statement_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = homeostat(dir.path(), &["query", "advise"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut answers = BufReader::new(child.stdout.take().unwrap()).lines();
    for sql in ["SELECT * FROM users WHERE id = 1", "SELECT count(*) FROM users"] {
        stdin.write_all(format!("{}\n", json!({ "sql": sql, "dialect": "postgresql", "stats": {} })).as_bytes()).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        let star = answer["advice"].as_array().unwrap().iter().any(|advice| advice["kind"] == "select_star");
        assert_eq!(star, sql.contains(" * "), "{answer}");
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn health_cases_give_one_line_each_in_any_wrapping() {
    let dir = tempfile::tempdir().unwrap();
    let case = json!({ "id": "a", "kind": "aggregate", "components": { "db": "DOWN", "cache": "UP" }, "expect": { "status": "DOWN", "http": 503 } });
    for text in [json!({ "cases": [case] }).to_string(), json!([case]).to_string(), format!("{case}\n")] {
        let output = run(dir.path(), &["health", "replay", "-"], &text);
        assert_eq!(lines(&output), [json!({ "id": "a", "result": { "status": "DOWN", "http": 503 } })], "{}", stderr(&output));
    }
    let output = run(
        dir.path(),
        &["health", "replay", "-", "--check"],
        &json!([{ "id": 1, "kind": "aggregate", "components": {}, "expect": { "status": "UP" } }]).to_string(),
    );
    assert_eq!(code(&output), 3);
    let output = run(dir.path(), &["health", "replay", "-"], "{\"id\": 1, \"kind\": \"nothing\"}");
    assert_eq!((code(&output), lines(&output)[0]["id"].clone()), (1, json!(1)));
}

#[test]
fn breaker_cases_give_one_trace_each_in_the_dialect_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let case = json!({
        "id": "a", "config": { "failure_pct": 50, "min_calls": 2, "open_ms": 1000 },
        "calls": [[0, "x", "ok", 5], [10, "y", "err", 5], [20, "z", "ok", 5]], "ops": [], "until_ms": 30,
        "expect": { "resilience4j@2.4": [[0, "admit", "x"]] },
    });
    let calls = json!([[0, "admit", "x"], [10, "admit", "y"]]);
    let run = |arguments: &[&str]| run(dir.path(), &[&["breaker", "replay", "-"], arguments].concat(), &json!([case]).to_string());
    let output = run(&["--dialect", "opossum"]);
    let trace = lines(&output)[0]["trace"].clone();
    assert_eq!(trace, json!([calls[0], calls[1], [20, "admit", "z"], [30, "final", "closed"]]), "{}", stderr(&output));
    // Half of the calls failed: for this one that is enough.
    let output = run(&["--dialect", "resilience4j", "--check"]);
    let trace = lines(&output)[0]["trace"].clone();
    assert_eq!(trace, json!([calls[0], calls[1], [15, "state", "open"], [20, "reject", "z"], [30, "final", "open"]]));
    assert_eq!(code(&output), 3, "not what the case expects");
    assert_eq!(code(&run(&["--dialect", "hystrix"])), 2);
}

#[test]
fn every_shell_has_completions_and_the_man_page_names_every_command() {
    let dir = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(dir.path(), &["completions", shell], "");
        assert!(code(&output) == 0 && stdout(&output).contains("healthcheck"), "{shell}");
    }
    let page = stdout(&run(dir.path(), &["man"], ""));
    for command in ["up", "publish", "tail", "record", "replay", "explain", "export", "config", "doctor", "healthcheck", "completions"] {
        assert!(page.contains(command), "{command}");
    }
}

#[test]
fn the_committed_schemas_are_what_the_types_say() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for what in ["schemas", "asyncapi"] {
        let output = run(here, &["export", what, "--check"], "");
        assert_eq!(code(&output), 0, "{}", stdout(&output));
    }
}

#[test]
fn a_committed_file_that_drifted_is_told_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().to_str().unwrap();
    for what in ["schemas", "asyncapi"] {
        assert_eq!(code(&run(dir.path(), &["export", what, "--out", out], "")), 0);
        assert_eq!(code(&run(dir.path(), &["export", what, "--out", out, "--check"], "")), 0);
    }
    let file = dir.path().join("json/alert.schema.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen("incident", "accident", 1)).unwrap();
    std::fs::write(dir.path().join("json/event.gossip.schema.json"), "{}").unwrap();
    std::fs::remove_file(dir.path().join("json/ask.schema.json")).unwrap();
    let output = run(dir.path(), &["export", "schemas", "--out", out, "--check", "--json"], "");
    assert_eq!(code(&output), 1);
    let different = lines(&output)[0]["different"].clone();
    let names: Vec<_> = different.as_object().unwrap().keys().collect();
    assert_eq!(names, ["json/alert.schema.json", "json/ask.schema.json", "json/event.gossip.schema.json"]);
    assert!(different["json/alert.schema.json"].to_string().contains("accident"));
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = homeostat(dir.path(), &["export", "schemas"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = [0];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((code(&output), stderr(&output).as_str()), (0, ""));
}

#[test]
fn healthcheck_is_the_gateways_answer() {
    let dir = tempfile::tempdir().unwrap();
    for (status, expected) in [("200 OK", 0), ("503 Service Unavailable", 1)] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut request).unwrap();
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
            request
        });
        let output = run(dir.path(), &["healthcheck", "--url", &url], "");
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert_eq!(server.join().unwrap().trim(), "GET /readyz HTTP/1.1");
    }
    for url in ["http://127.0.0.1:1/readyz", "https://127.0.0.1/", "http:///", "nonsense"] {
        assert_eq!(code(&run(dir.path(), &["healthcheck", "--url", url], "")), 1, "{url}");
    }
}

#[test]
fn without_a_bus_it_says_both_ways_to_one() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [&["tail"][..], &["publish", "-"], &["record"], &["replay", "--stream"]] {
        let output = run(dir.path(), arguments, "");
        assert_eq!(code(&output), 1);
        let said = stderr(&output);
        assert!(said.contains("homeostat up") && said.contains("--nats"), "{said}");
    }
}

#[test]
fn doctor_says_how_each_thing_is_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["doctor", "--json", "--set", "gateway.listen=127.0.0.1:0", "--set", "nats.embedded.binary=nowhere"], "");
    assert_eq!(code(&output), 1, "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let of = |name: &str| findings.iter().find(|finding| finding["name"] == name).unwrap_or_else(|| panic!("{name}")).clone();
    assert_eq!(of("nats-server")["state"], "fail");
    assert!(of("nats-server")["advice"].as_str().unwrap().contains("install"));
    assert_eq!(of("port")["state"], "ok");
    for finding in findings {
        assert!(finding["state"] == "ok" || finding["advice"].is_string(), "{finding}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

/// A bus with a log on it, in the data directory of `dir`.
async fn bus(dir: &Path) -> (Embedded, Bus) {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools");
    let config = EmbeddedConfig { data_dir: dir.join("homeostat-data"), tools_dir: Some(tools), ..EmbeddedConfig::default() };
    let embedded = Embedded::start(config).await.expect("a nats-server: scripts/install-nats-server");
    let bus = Bus::connect(&embedded.bus_config(&BusConfig::default())).await.unwrap();
    bus.ensure_log().await.unwrap();
    (embedded, bus)
}

fn events() -> String {
    let query = |n: u64| json!({ "kind": "query", "service": "shop", "at_ms": n, "statement": format!("select * from t where id = {n} and secret = 's3cret'"), "took_us": n });
    let beat = |n: u64| json!({ "kind": "heartbeat", "service": "shop", "at_ms": n, "up_s": 1, "interval_s": 5 });
    let mut text = String::new();
    for n in 0..1_200 {
        text += &format!("{}\n", if n % 400 == 399 { beat(n) } else { query(n) });
        if n == 600 {
            text += "not an event\n\n{\"kind\":\"query\",\"service\":\"\",\"at_ms\":1,\"statement\":\"x\",\"took_us\":1}\n";
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_is_seen_in_its_order_without_its_literals() {
    let dir = tempfile::tempdir().unwrap();
    let (embedded, connection) = bus(dir.path()).await;
    std::fs::write(dir.path().join("events.ndjson"), events()).unwrap();
    let output = run(dir.path(), &["publish", "events.ndjson", "--json"], "");
    assert_eq!(code(&output), 1, "two lines were bad: {}", stderr(&output));
    let told = &lines(&output)[0];
    assert_eq!((told["published"].clone(), told["bad"].clone()), (json!(1_200), json!(2)));
    assert_eq!(told["bad_lines"].as_array().unwrap().iter().map(|bad| bad["line"].clone()).collect::<Vec<_>>(), [602, 604]);
    let output = run(dir.path(), &["tail", "events", "--json", "--since", "1h", "--count", "1200", "--service", "shop"], "");
    let seen = lines(&output);
    let order: Vec<u64> = seen.iter().map(|event| event["at_ms"].as_u64().unwrap()).collect();
    assert_eq!(order, (0..1_200).collect::<Vec<_>>());
    assert!(!stdout(&output).contains("s3cret"));
    assert_eq!(seen[0]["statement"], "select * from t where id = ? and secret = ?");
    let readable = stdout(&run(dir.path(), &["tail", "events", "--since", "1h", "--count", "2"], ""));
    assert!(readable.lines().count() == 2 && readable.contains("shop") && !readable.contains('\u{1b}'), "{readable}");
    connection.close().await.unwrap();
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_too_large_for_a_message_costs_no_other_and_a_time_far_ahead_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (embedded, connection) = bus(dir.path()).await;
    let query = |at_ms: u64, source: &str| {
        json!({ "kind": "query", "service": "shop", "at_ms": at_ms, "statement": "select a from t", "source": source, "took_us": 1 })
            .to_string()
    };
    let wrong = r#"{"kind":"query","service":"shop","at_ms":1,"statement":"select 1","took_us":"fast"}"#;
    let text = [query(1, "a.py:1"), query(2, &"x".repeat(700_000)), wrong.to_owned(), query(4_000_000_000_000, "a.py:2")].join("\n");
    let output = run(dir.path(), &["publish", "-", "--json"], &text);
    let told = &lines(&output)[0];
    assert_eq!((&told["published"], &told["bad"], &told["ahead"]), (&json!(2), &json!(2), &json!(1)), "{}", stderr(&output));
    let mut bad: Vec<String> =
        told["bad_lines"].as_array().unwrap().iter().map(|bad| format!("{} {}", bad["line"], bad["reason"].as_str().unwrap())).collect();
    bad.sort();
    assert_eq!(
        bad,
        [
            "2 the event is larger than 512 KiB, more than a message can carry",
            "3 not an event of kind `query`: invalid type: string \"fast\", expected u64"
        ]
    );
    assert!(stderr(&output).contains("1 event is more than a day ahead"), "{}", stderr(&output));
    connection.close().await.unwrap();
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_alert_is_explained_from_the_log_where_there_is_no_store() {
    use homeostat_nats::Message;
    let dir = tempfile::tempdir().unwrap();
    let (embedded, connection) = bus(dir.path()).await;
    let log = connection.open_log().await.unwrap();
    let alert = |id: &str, state: &str| {
        let body = json!({ "id": id, "incident": "i1", "rule": "query.slow", "severity": "warning", "state": state, "service": "shop",
            "summary": "mean 300 ms", "since_ms": 1_000, "at_ms": 2_000, "evidence": { "mean_ms": 300 }, "trace": "4bf92f3577b34da6a3ce929d0e0e4736" });
        Message::new(log.subject("alert.query.slow.shop"), body.to_string())
    };
    log.append(alert("a1", "firing")).await.unwrap();
    let command = json!({ "id": "c1", "action": "cache.warm", "service": "shop", "target": "products", "reason": "a1", "incident": "i1", "attempt": 1,
        "fence": 1, "issued_ms": 3_000, "expires_ms": 9_000, "verify": { "what": "", "until_ms": 0 }, "mode": "act" });
    log.append(Message::new(log.subject("command.cache.warm.shop"), command.to_string())).await.unwrap();
    let outcome = json!({ "command": "c1", "status": "done", "at_ms": 4_000 });
    log.append(Message::new(log.subject("outcome.cache.warm.shop"), outcome.to_string())).await.unwrap();
    let verdict = json!({ "id": "v1", "incident": "i2", "rule": "recovery.verified", "severity": "info", "state": "firing", "service": "shop",
        "summary": "cache.warm products: it helped", "since_ms": 5_000, "at_ms": 5_000, "evidence": { "incident": "i1", "command": "c1" }, "cause": ["a1", "c1"] });
    log.append(Message::new(log.subject("alert.recovery.verified.shop"), verdict.to_string())).await.unwrap();
    log.append(alert("a2", "resolved")).await.unwrap();
    let told = |id: &str| -> Value { serde_json::from_slice(&run(dir.path(), &["explain", id, "--json"], "").stdout).unwrap() };
    let of_verdict = told("v1");
    assert_eq!((&of_verdict["alert"]["id"], &of_verdict["about"]["alert"]["id"]), (&json!("v1"), &json!("a1")), "{of_verdict}");
    assert_eq!(of_verdict["commands"], told("c1")["commands"]);
    for id in ["i1", "a1", "a2", "c1"] {
        let output = run(dir.path(), &["explain", id, "--json"], "");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        assert_eq!((told["alert"]["id"].clone(), told["resolved"]["id"].clone()), (json!("a1"), json!("a2")));
        assert_eq!(told["commands"][0]["outcomes"][0]["outcome"]["status"], "done");
        assert_eq!((&told["commands"][0]["verdict"]["verdict"], &told["verdicts"][0]["id"]), (&json!("verified"), &json!("v1")));
    }
    let text = stdout(&run(dir.path(), &["explain", "a1"], ""));
    for word in
        ["query.slow", "mean_ms", "300", "cache.warm", "done", "verified", "it helped", "4bf92f3577b34da6a3ce929d0e0e4736", "resolved"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let output = run(dir.path(), &["explain", "nobody"], "");
    assert!(code(&output) == 1 && stderr(&output).contains("nobody"));
    let output = run(dir.path(), &["tail", "--since", "1h", "--count", "3", "--json"], "");
    assert_eq!(lines(&output).iter().map(|alert| alert["id"].clone()).collect::<Vec<_>>(), ["a1", "v1", "a2"]);
    connection.close().await.unwrap();
    embedded.stop().await;
}

const POSTGRES_LOG: &str = "\
2026-11-25 16:33:08.096 UTC [94] ann@shop LOG:  duration: 2800.500 ms  statement: select *\n\tfrom users\n\twhere email = 'canary@x.org';
2026-11-25 16:33:09.097 UTC [95] ann@shop LOG:  duration: 1.500 ms  execute S_1: select name from users where id = $1
2026-11-25 16:33:09.097 UTC [95] ann@shop DETAIL:  parameters: $1 = 'canary'
";

#[test]
fn a_log_becomes_a_table_for_people_and_json_for_machines() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["query", "digest", "-"], POSTGRES_LOG);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    expect![[r#"
        standard input  PostgreSQL log: 2 executions of 2 statements, 2.80 s in the database
        2026-11-25 16:33:08 – 2026-11-25 16:33:09 (1.00 s), 2.00 executions/s, 2.80 at a time

           #   share     total       calls      mean       p50       p95       p99       max  fingerprint
           1   99.9%    2.80 s           1    2.80 s    2.80 s    2.80 s    2.80 s    2.80 s  154cfcc579328069
             select * from users where email = ?
    "#]]
    .assert_eq(&stdout(&output).lines().take(6).map(|line| format!("{line}\n")).collect::<String>());
    let gz = dir.path().join("postgresql.log.gz");
    let mut encoder = flate2::write::GzEncoder::new(std::fs::File::create(&gz).unwrap(), flate2::Compression::fast());
    encoder.write_all(POSTGRES_LOG.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let output = run(dir.path(), &["query", "digest", "postgresql.log.gz", "--json", "--sort", "calls"], "");
    let found = &lines(&output)[0];
    assert_eq!((found["format"].clone(), found["totals"]["calls"].clone()), (json!("postgresql-stderr"), json!(2)), "{found}");
    assert_eq!(found["queries"][0]["statement"], "select * from users where email = ?");
    assert_eq!(found["queries"][0]["p99_ms"], 2800.5);
    assert!(!found.to_string().contains("canary"));
}

#[test]
fn events_are_digested_by_the_mind_itself() {
    let dir = tempfile::tempdir().unwrap();
    let query = |n: u64| {
        json!({ "kind": "query", "service": "shop", "at_ms": 1_760_000_000_000u64 + n * 20, "took_us": 20_000, "trace": "t", "span": n.to_string(),
        "parent": "view", "statement": "SELECT name FROM authors WHERE id = ?", "params": n.to_string() })
    };
    let request = json!({ "kind": "request", "service": "shop", "at_ms": 1_760_000_000_900u64, "took_us": 900_000, "route": "GET /books", "status": 200, "trace": "t", "span": "view" });
    let text = (1..=20).map(query).chain([request]).map(|event| format!("{event}\n")).collect::<String>();
    let output = run(dir.path(), &["query", "digest", "-", "--json", "--check"], &text);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    let found = &lines(&output)[0];
    assert_eq!(found["queries"][0]["calls"], 20);
    assert_eq!(found["queries"][0]["findings"], json!(["query.advice", "query.n_plus_one"]));
    let output = run(dir.path(), &["query", "digest", "-"], &text);
    assert!(stdout(&output).contains("query.n_plus_one") && stdout(&output).contains("GET /books"), "{}", stdout(&output));
}

#[test]
fn what_is_no_log_is_said_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["query", "digest", "-"], "hello\nworld\n");
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).contains("--format"), "{}", stderr(&output));
    assert_eq!(code(&run(dir.path(), &["query", "digest", "-"], "")), 0);
    assert_eq!(code(&run(dir.path(), &["query", "digest", "-"], "{\"no\": \"event\"}\n")), 1);
    assert_eq!(code(&run(dir.path(), &["query", "digest", "nowhere.log"], "")), 1);
    assert_eq!(code(&run(dir.path(), &["query", "digest"], "")), 2);
}

#[test]
fn a_planner_that_cannot_be_asked_is_told_without_the_password() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["query", "advise", "--postgres", "postgres://ann:s3cret@127.0.0.1:1/shop"], "{\"sql\": \"SELECT 1\"}\n");
    assert_eq!((code(&output), stdout(&output).as_str()), (1, ""));
    assert!(stderr(&output).contains("planner") && !stderr(&output).contains("s3cret"), "{}", stderr(&output));
}
