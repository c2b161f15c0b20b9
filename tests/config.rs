//! Settings: what wins over what, and what a mistake is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use expect_test::expect;
use homeostat::config::sources::Flag;
use homeostat::config::{Config, Origin, Sources};
use proptest::prelude::*;
use std::path::PathBuf;

struct Given {
    _dir: tempfile::TempDir,
    file: PathBuf,
    sources: Sources,
}

fn given(file: &str, variables: &[(&str, &str)], sets: &[&str]) -> Given {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("homeostat.toml");
    std::fs::write(&path, file).unwrap();
    let flags = sets.iter().map(|set| {
        let (key, value) = set.split_once('=').unwrap();
        Flag { name: "--set".to_owned(), key: key.to_owned(), value: value.to_owned() }
    });
    let sources = Sources {
        file: Some(path.clone()),
        variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        flags: flags.collect(),
    };
    Given { _dir: dir, file: path, sources }
}

impl Given {
    fn complaint(&self) -> String {
        let text = Config::load(&self.sources).map(drop).unwrap_err().to_string();
        text.replace(&self.file.parent().unwrap().display().to_string(), "DIR")
    }
}

#[test]
fn a_flag_beats_a_variable_beats_a_file_beats_the_default() {
    let file = "[database]\npool_max = 1\nidle_timeout_s = 1\nlifetime_min = 1\n";
    let variables = [("HOMEOSTAT_DATABASE__POOL_MAX", "2"), ("HOMEOSTAT_DATABASE__IDLE_TIMEOUT_S", "2"), ("PATH", "/bin")];
    let given = given(file, &variables, &["database.pool_max=3"]);
    let loaded = Config::load(&given.sources).unwrap();
    let database = &loaded.config.database;
    assert_eq!((database.pool_max.get(), database.idle_timeout_s.get(), database.lifetime_min.get()), (3, 2, 1));
    assert_eq!(database.history_days.get(), 90);
    assert_eq!(loaded.origin("database.pool_max"), Origin::Flag("--set".to_owned()));
    assert_eq!(loaded.origin("database.idle_timeout_s"), Origin::Variable("HOMEOSTAT_DATABASE__IDLE_TIMEOUT_S".to_owned()));
    assert_eq!(loaded.origin("database.lifetime_min"), Origin::File { path: given.file.clone(), line: 4 });
    assert_eq!(loaded.origin("database.history_days"), Origin::Default);
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_was_meant() {
    let file =
        "data_dri = 'x'\n\n[actors.query]\nslowms = 50\n[actors.qeury]\nslow_ms = 50\n[database]\npool_max = 'many'\n[nothing.like.it]\n";
    let variables = [("HOMEOSTAT_ACTORS__QUERY__SLOWMS", "50"), ("HOMEOSTAT_DATABASE__POOL_MAX", "0")];
    let given = given(file, &variables, &["slow_ms=50", "actors.query.slow_ms=fast", "actors.query.mode=on", "a..b=1"]);
    expect![[r#"
        `a..b` names no setting in the flag --set; write KEY=VALUE, such as actors.query.slow_ms=50
        unknown setting `data_dri` in DIR/homeostat.toml (line 1); did you mean `data_dir`?
        unknown setting `actors.query.slowms` in DIR/homeostat.toml (line 4); did you mean `actors.query.slow_ms`?
        unknown setting `actors.qeury.slow_ms` in DIR/homeostat.toml (line 6); did you mean `actors.query.slow_ms`?
        `database.pool_max` in DIR/homeostat.toml (line 8): invalid type: string "many"; it takes an integer of at least 1
        unknown setting `nothing.like.it` in DIR/homeostat.toml (line 9)
        unknown setting `actors.query.slowms` in the variable HOMEOSTAT_ACTORS__QUERY__SLOWMS; did you mean `actors.query.slow_ms`?
        `database.pool_max` in the variable HOMEOSTAT_DATABASE__POOL_MAX: invalid value: integer `0`; it takes an integer of at least 1
        unknown setting `slow_ms` in the flag --set; did you mean `actors.query.slow_ms`?
        `actors.query.slow_ms` in the flag --set: invalid type: string "fast"; it takes an integer of at least 0
        `actors.query.mode` in the flag --set: unknown variant `on`; it takes one of off, observe, act"#]]
    .assert_eq(&given.complaint());
}

#[test]
fn a_broken_file_says_in_which_line() {
    let given = given("[database]\npool_max = \n", &[], &[]);
    assert!(given.complaint().contains("in DIR/homeostat.toml (line 2)"), "{}", given.complaint());
    let gone = Sources { file: Some(given.file.with_file_name("other.toml")), ..Sources::default() };
    let complaint = Config::load(&gone).map(drop).unwrap_err().to_string();
    assert!(complaint.contains("other.toml") && complaint.contains("--config"), "{complaint}");
}

#[test]
fn text_is_toml_where_it_is_toml_and_text_where_text_is_wanted() {
    let variables = [
        ("HOMEOSTAT_NATS__USER", "1234"),
        ("HOMEOSTAT_NATS", "nats://127.0.0.1:4333"),
        ("HOMEOSTAT_CLIENT_ZONE", "a"),
        ("HOMEOSTAT_ACTORS__QUERY__RULES", "{ slow = \"observe\" }"),
        ("HOMEOSTAT_LOG", "debug"),
        ("HOMEOSTAT_FAULT", "x:1"),
    ];
    let given = given("", &variables, &["nats.name='my bus'", "actors.query.slow_ms=1_000"]);
    let loaded = Config::load(&given.sources).unwrap();
    assert_eq!(loaded.config.nats.user.as_deref(), Some("1234"));
    assert_eq!(loaded.config.nats.name, "my bus");
    assert_eq!(loaded.config.nats.url.as_deref(), Some("nats://127.0.0.1:4333"));
    assert_eq!(loaded.config.telemetry.log, "debug");
    let query = loaded.config.actors.0.get("query").unwrap();
    assert_eq!(query["slow_ms"], 1_000);
    assert_eq!(query["rules"]["slow"], "observe");
    assert_eq!(loaded.origin("actors.query.rules"), Origin::Default, "the table itself is nobody's");
    assert_eq!(loaded.origin("actors.query.rules.slow"), Origin::Variable("HOMEOSTAT_ACTORS__QUERY__RULES".to_owned()));
}

#[test]
fn what_is_shown_is_a_settings_file_with_the_same_settings_and_no_secret() {
    let given = given(
        "data_dir = 'elsewhere'\n[actors.query]\nrules = { slow = 'off', n_plus_one = 'observe' }\n",
        &[],
        &["nats.url=nats://ann:s3cret@bus"],
    );
    let loaded = Config::load(&given.sources).unwrap();
    let shown = loaded.to_toml();
    assert!(!shown.contains("s3cret"), "{shown}");
    std::fs::write(&given.file, shown.replace("***", "s3cret")).unwrap();
    let again = Config::load(&Sources::of_file(given.file.clone())).unwrap();
    assert_eq!(serde_json::to_value(&again.config).unwrap(), serde_json::to_value(&loaded.config).unwrap());
}

#[test]
fn every_setting_says_what_it_means_and_what_it_takes() {
    let all = Config::load(&Sources::default()).unwrap().explain("");
    assert!(all.len() > 50, "{}", all.len());
    for entry in &all {
        assert!(!entry.meaning.is_empty(), "{} has no doc comment", entry.key);
        assert!(!entry.takes.is_empty(), "{} takes what?", entry.key);
        assert_eq!(entry.value, entry.default, "{}", entry.key);
        assert_eq!(entry.from, "the defaults");
    }
}

#[test]
fn a_secret_is_the_first_line_of_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "t0ken \nsecond\n").unwrap();
    let set = format!("nats.token_file={}", file.display());
    let config = Config::load(&given("", &[], &[&set]).sources).unwrap().config;
    assert_eq!(config.nats.bus("nats://bus").unwrap().token.as_deref(), Some("t0ken"));
    std::fs::write(&file, "\n").unwrap();
    let error = config.nats.bus("nats://bus").map(drop).unwrap_err().to_string();
    assert!(error.contains("empty"), "{error}");
}

proptest! {
    #[test]
    fn no_file_and_no_flag_makes_it_panic(file in "\\PC{0,60}", key in "[a-z._]{0,20}", value in "\\PC{0,20}") {
        let flag = Flag { name: "--set".to_owned(), key, value };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.toml");
        std::fs::write(&path, &file).unwrap();
        let _ = Config::load(&Sources { file: Some(path), variables: Vec::new(), flags: vec![flag] });
    }
}

#[test]
fn what_up_would_refuse_is_told_with_its_place_when_it_is_read() {
    let file = "\
[nats]
url = 'http://bus:4222'
root = 'a b'
request_timeout_ms = 0
stream.replicas = 2
[database]
url = 'mysql://x'
[gateway]
listen = '0.0.0.0'
body_deadline_ms = 0
[telemetry]
log = 'a=b=c'
sample_ratio = 1.5
[shell]
lease_patience_ms = 100
[actors.query]
resolve_ratio = 80
slow_msec = 5
";
    let given = given(file, &[], &["actors.health.pool=-0.1"]);
    expect![[r#"
        unknown setting `actors.query.slow_msec` in DIR/homeostat.toml (line 18); did you mean `actors.query.slow_ms`?
        `nats.url` in DIR/homeostat.toml (line 2): it is no address of a NATS server; write nats://host:port or tls://host:port
        `nats.root` in DIR/homeostat.toml (line 3): `a b` cannot be the root of subjects: use words of letters, digits, `_` and `-`, joined by dots, 64 bytes at most; write a word and the schema version, such as homeostat.v1
        `nats.stream.replicas` in DIR/homeostat.toml (line 5): it is out of bounds; 1, 3 or 5
        `database.url` in DIR/homeostat.toml (line 7): it is no address of a database; write postgres://user@host/name or sqlite:path
        `gateway.listen` in DIR/homeostat.toml (line 9): `0.0.0.0` is no address: it has no port; write for example 127.0.0.1:8080
        `telemetry.log` in DIR/homeostat.toml (line 12): invalid filter directive: too many '=' in filter directive, expected 0 or 1; write a level such as info, or filters such as homeostat=debug,async_nats=warn
        `shell.lease_patience_ms` in DIR/homeostat.toml (line 15): a standby would take over between two signs of life; make it several times `shell.lease_renew_ms`
        `gateway.body_deadline_ms` in DIR/homeostat.toml (line 10): 0 would mean that it is never done; it takes an integer of at least 1
        `nats.request_timeout_ms` in DIR/homeostat.toml (line 4): 0 would mean that it is never done; it takes an integer of at least 1
        `telemetry.sample_ratio` in DIR/homeostat.toml (line 13): it is a share; it takes a number from 0 to 1
        `actors.query.resolve_ratio` in DIR/homeostat.toml (line 17): it is a share; it takes a number from 0 to 1
        `actors.health.pool` in the flag --set: it is a share; it takes a number from 0 to 1"#]].assert_eq(&given.complaint());
}

#[test]
fn a_setting_is_judged_with_those_that_it_depends_on() {
    let file = "[gateway]\nlisten = '0.0.0.0'\n";
    assert!(Config::load(&given(file, &[], &["gateway.trusted_proxies=['10.0.0.0/8']"]).sources).is_err());
    assert!(Config::load(&given(file, &[], &["gateway.listen=[::1]:80"]).sources).is_ok());
    assert!(Config::load(&given("", &[], &["nats.url=nats://a:4222,tls://b", "database.url=postgresql://u@h/n"]).sources).is_ok());
    assert!(Config::load(&given("", &[], &["nats.url=127.0.0.1:4222", "database.url=sqlite:x.db"]).sources).is_ok());
}

#[test]
fn actors_and_rules_nobody_knows_are_told_with_the_nearest() {
    let file = "\
[actors.qury]
[actors.heallth]
never_heard_of = 1
[actors.query.rules]
slwo = 'observe'
slow = 'observe'
'query.n_plus_one' = 'off'
something_else = 'off'
[actors.status.rules]
open = 'off'
";
    expect![[r#"
        unknown setting `actors.qury` in DIR/homeostat.toml (line 1); did you mean `actors.query`?
        unknown setting `actors.heallth.never_heard_of` in DIR/homeostat.toml (line 3); did you mean `actors.health`?
        unknown rule `actors.query.rules.slwo` in DIR/homeostat.toml (line 5); did you mean `actors.query.rules.slow`?
        unknown rule `actors.query.rules.query.n_plus_one` in DIR/homeostat.toml (line 7); did you mean `actors.query.rules.n_plus_one`?
        unknown rule `actors.query.rules.something_else` in DIR/homeostat.toml (line 8); `query` has the rules slow, n_plus_one, duplicate, n_plus_one_write, regressed, advice, advice_effective, advice_ineffective, cache_cold
        unknown rule `actors.status.rules.open` in DIR/homeostat.toml (line 10); `status` has no rules"#]].assert_eq(&given(file, &[], &[]).complaint());
}
