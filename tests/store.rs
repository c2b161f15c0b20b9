//! The store, on SQLite and on PostgreSQL: the same stories on both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "common/postgres.rs"]
mod postgres;

use homeostat::config::DatabaseConfig;
use homeostat::store::{AlertFilter, AlertRecord, CommandFilter, DecisionFilter, Store, StoreError};
use homeostat_actors::recovery::{Entry, What};
use homeostat_schemas::time::DAY;
use homeostat_schemas::{Alert, Command, Content, Delivery, Outcome, OutcomeStatus, Severity, State, TraceContext};
use serde_json::json;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::sync::Arc;

/// A database and where its settings say it is.
struct Place {
    config: DatabaseConfig,
    dir: tempfile::TempDir,
    cluster: Option<Arc<postgres::Cluster>>,
}

impl Place {
    fn sqlite() -> Place {
        Place { config: DatabaseConfig::default(), dir: tempfile::tempdir().unwrap(), cluster: None }
    }

    fn postgres() -> Place {
        let cluster = postgres::Cluster::shared();
        let config =
            DatabaseConfig { url: Some(cluster.database()), password_file: Some(cluster.password_file()), ..DatabaseConfig::default() };
        Place { config, dir: tempfile::tempdir().unwrap(), cluster: Some(cluster) }
    }

    async fn open(&self) -> Store {
        Store::connect(&self.config, self.dir.path()).await.unwrap()
    }

    /// The database as somebody else would reach it.
    async fn outside(&self, sql: &'static str) {
        use sqlx::ConnectOptions as _;
        if self.cluster.is_some() {
            let options: sqlx::postgres::PgConnectOptions = self.config.url.as_ref().unwrap().parse().unwrap();
            let mut connection = options.password(postgres::PASSWORD).connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        } else {
            let file = self.dir.path().join("homeostat.db");
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(file).connect().await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        }
    }
}

macro_rules! on_both {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $story() { super::$story(super::Place::sqlite()).await; })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)] async fn $story() { super::$story(super::Place::postgres()).await; })*
        }
    };
}

on_both! {
    a_batch_projected_twice_is_there_once,
    a_batch_that_overlaps_the_last_one_adds_only_what_is_new,
    history_and_statistics_survive_a_restart,
    a_batch_is_there_whole_or_not_at_all_when_the_process_is_killed,
    no_more_connections_than_allowed_whatever_the_load,
    a_database_that_was_emptied_is_made_anew_and_asks_for_the_log_from_its_beginning,
    an_incident_is_found_by_its_id_and_by_any_alert_of_it,
    questions_narrow_and_page,
    what_is_old_goes_and_what_is_open_stays,
    statistics_are_one_picture,
    names_of_any_bytes_are_kept_whole,
    another_incarnation_is_projected_from_its_own_beginning,
    a_quiet_log_moves_its_position_now_and_then,
    decisions_are_kept_once_and_found_again,
    a_verdict_stands_beside_its_command_and_tells_the_whole_story,
}

const INCARNATION: &str = "k3j9";

fn alert(position: u64, incident: &str, state: State) -> Delivery {
    let alert = Alert {
        id: format!("{INCARNATION}-query-0-{position}-0"),
        incident: incident.to_owned(),
        rule: "query.slow".to_owned(),
        severity: Severity::Warning,
        state,
        service: "shop".to_owned(),
        summary: "mean 300 ms".to_owned(),
        since_ms: position * 1_000,
        at_ms: position * 1_000 + 500,
        evidence: [("mean_ms".to_owned(), json!(300))].into_iter().collect(),
        ..Alert::default()
    };
    delivery(position, Content::Alert(Box::new(alert)))
}

fn delivery(position: u64, content: Content) -> Delivery {
    Delivery { position, at: position * 1_000 + 500, subject: format!("test.{position}"), content, context: TraceContext::default() }
}

fn command(position: u64, incident: &str) -> Delivery {
    let command = Command {
        id: format!("{INCARNATION}-recovery-0-{position}-0"),
        action: "cache.warm".to_owned(),
        service: "shop".to_owned(),
        target: "products".to_owned(),
        incident: incident.to_owned(),
        attempt: 1,
        ..Command::default()
    };
    delivery(position, Content::Command(Box::new(command)))
}

fn outcome(position: u64, command: u64, status: OutcomeStatus) -> Delivery {
    let command = format!("{INCARNATION}-recovery-0-{command}-0");
    delivery(position, Content::Outcome(Outcome { command, status, service: "shop".to_owned(), ..Outcome::default() }))
}

fn life_of_an_incident() -> Vec<Delivery> {
    vec![
        alert(1, "i1", State::Firing),
        delivery(2, Content::Tick),
        command(3, "i1"),
        outcome(4, 3, OutcomeStatus::Accepted),
        outcome(5, 3, OutcomeStatus::Done),
        alert(6, "i1", State::Resolved),
        alert(7, "i2", State::Firing),
    ]
}

async fn everything(store: &Store) -> serde_json::Value {
    let alerts = store.alerts(&AlertFilter::default()).await.unwrap();
    let commands = store.commands(&CommandFilter::default()).await.unwrap();
    json!({ "alerts": alerts, "commands": commands, "position": store.position(INCARNATION, 0).await.unwrap() })
}

fn decided(position: u64, index: u32, what: What, incident: &str) -> Entry {
    let why = format!("{} at {position}", what.name());
    Entry {
        at_ms: position * 1_000,
        what,
        why,
        incident: incident.to_owned(),
        service: "shop".to_owned(),
        position,
        index,
        ..Entry::default()
    }
}

async fn decisions_are_kept_once_and_found_again(place: Place) {
    let store = place.open().await;
    assert_eq!(store.last_decision(INCARNATION, 0, u64::MAX).await.unwrap(), None);
    let mut entries: Vec<Entry> = (0..450).map(|n| decided(10 + n / 3, u32::try_from(n % 3).unwrap(), What::Held, "i1")).collect();
    entries.push(decided(200, 0, What::Issued, "i2"));
    store.save_decisions(INCARNATION, 0, &entries).await.unwrap();
    // The same again, as after a restart, and more.
    let more = [decided(200, 0, What::Issued, "i2"), decided(200, 1, What::Verified, "i2\0")];
    store.save_decisions(INCARNATION, 0, &more).await.unwrap();
    assert_eq!(store.last_decision(INCARNATION, 0, u64::MAX).await.unwrap(), Some((200, 1)));
    assert_eq!(store.last_decision(INCARNATION, 0, 158).await.unwrap(), Some((158, 2)), "the log has lost its tail");
    assert_eq!(store.last_decision("another", 0, u64::MAX).await.unwrap(), None);
    // A page at a time, each decision once.
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let page = store.decisions(&DecisionFilter { limit: Some(100), before, ..DecisionFilter::default() }).await.unwrap();
        assert!(page.len() <= 100 && page.is_sorted_by(|a, b| a.number > b.number));
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        seen.extend(page.into_iter().map(|record| record.entry));
    }
    seen.reverse();
    entries.push(more[1].clone());
    assert_eq!(seen, entries);
    let of = async |filter: DecisionFilter| store.decisions(&filter).await.unwrap().len();
    let any = DecisionFilter { limit: Some(1_000), ..DecisionFilter::default() };
    assert_eq!(of(DecisionFilter { incident: Some("i1".to_owned()), ..any.clone() }).await, 450);
    assert_eq!(of(DecisionFilter { incident: Some("i2\0".to_owned()), ..any.clone() }).await, 1);
    assert_eq!(of(DecisionFilter { what: Some(What::Issued), service: Some("shop".to_owned()), ..any.clone() }).await, 1);
    assert_eq!(of(DecisionFilter { since: Some(11_000), until: Some(13_000), ..any.clone() }).await, 6);
    assert_eq!(of(DecisionFilter { action: Some("cache.warm".to_owned()), ..any.clone() }).await, 0);
    // A position that stands for another message now.
    store.save_decisions(INCARNATION, 0, &[decided(200, 1, What::Failed, "i3")]).await.unwrap();
    assert_eq!(of(DecisionFilter { incident: Some("i3".to_owned()), ..any.clone() }).await, 1);
    assert_eq!(of(any.clone()).await, 452);
    // All but the last two are from before.
    let keep = u64::from(place.config.history_days.get()) * DAY;
    store.retain(keep + 200_000).await.unwrap();
    assert_eq!(of(any).await, 2);
    store.close().await;
}

async fn a_verdict_stands_beside_its_command_and_tells_the_whole_story(place: Place) {
    let store = place.open().await;
    let verdict = |position: u64, rule: &str, command: Option<&Delivery>| {
        let mut judged = alert(position, &format!("verdict-{position}"), State::Firing);
        let Content::Alert(alert) = &mut judged.content else { panic!() };
        rule.clone_into(&mut alert.rule);
        alert.evidence.insert("incident".to_owned(), json!("i1"));
        if let Some(Delivery { content: Content::Command(command), .. }) = command {
            alert.evidence.insert("command".to_owned(), json!(command.id));
        }
        judged
    };
    let (first, second) = (command(3, "i1"), command(6, "i1"));
    let log = [
        alert(1, "i1", State::Firing),
        first.clone(),
        outcome(4, 3, OutcomeStatus::Done),
        verdict(5, "recovery.ineffective", Some(&first)),
        second.clone(),
        outcome(7, 6, OutcomeStatus::Done),
        verdict(8, "recovery.verified", Some(&second)),
        // Somebody's own alert of that name judges nothing.
        verdict(9, "query.slow", Some(&second)),
    ];
    store.project(INCARNATION, 0, &log).await.unwrap();
    store.save_decisions(INCARNATION, 0, &[decided(1, 0, What::Opened, "i1"), decided(3, 0, What::Issued, "i1")]).await.unwrap();
    let ids = [
        "i1".to_owned(),
        format!("{INCARNATION}-query-0-1-0"),
        format!("{INCARNATION}-recovery-0-3-0"),
        format!("{INCARNATION}-query-0-5-0"),
        "verdict-8".to_owned(),
    ];
    for (n, id) in ids.iter().enumerate() {
        let story = store.alert(id).await.unwrap().unwrap();
        let what: Vec<_> = story.decisions.iter().map(|record| record.entry.what).collect();
        assert_eq!(what, [What::Opened, What::Issued], "{id}");
        let verdicts: Vec<_> = story.commands.iter().map(|record| record.verdict.clone().unwrap().verdict).collect();
        assert_eq!(verdicts, ["ineffective", "verified"], "{id}");
        assert_eq!(story.verdicts.iter().map(|alert| alert.at_ms).collect::<Vec<_>>(), [5_500, 8_500], "{id}");
        assert_eq!(story.about.map(|about| about.alert.incident), (n > 2).then(|| "i1".to_owned()), "{id}");
    }
    store.close().await;
}

async fn a_batch_projected_twice_is_there_once(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    let once = everything(&store).await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    assert_eq!(everything(&store).await, once);
    assert_eq!(once["position"], 7);
    assert_eq!(once["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(once["alerts"][1]["resolved_ms"], 6_500);
    assert_eq!(once["alerts"][0]["resolved_ms"], json!(null));
    assert_eq!(once["commands"][0]["outcomes"].as_array().unwrap().len(), 2);
}

async fn a_batch_that_overlaps_the_last_one_adds_only_what_is_new(place: Place) {
    let (whole, parts) = (place.open().await, life_of_an_incident());
    for start in 0..parts.len() {
        whole.project(INCARNATION, 0, &parts[start.saturating_sub(2)..=start]).await.unwrap();
    }
    let seen = everything(&whole).await;
    assert_eq!(seen["alerts"].as_array().unwrap().len(), 2);
    assert_eq!(seen["commands"][0]["outcomes"].as_array().unwrap().len(), 2);
    assert_eq!(seen["position"], 7);
}

async fn history_and_statistics_survive_a_restart(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    store.save_queries(&[json!({ "service": "shop", "fingerprint": "00000000000000aa", "calls": 3 })]).await.unwrap();
    let before = everything(&store).await;
    store.close().await;
    let store = place.open().await;
    assert_eq!(everything(&store).await, before);
    assert_eq!(store.queries().await.unwrap()[0]["calls"], 3);
}

/// The other process of the next story: projects batches of a hundred alerts until it is killed.
#[tokio::test]
async fn projects_until_killed() {
    let Ok(place) = std::env::var("HOMEOSTAT_TEST_STORE") else { return };
    let (config, dir): (DatabaseConfig, PathBuf) = serde_json::from_str(&place).unwrap();
    let store = Store::connect(&config, &dir).await.unwrap();
    for batch in 0_u64.. {
        let batch: Vec<_> = (1..=100).map(|n| alert(batch * 100 + n, &format!("i{}", batch * 100 + n), State::Firing)).collect();
        store.project(INCARNATION, 0, &batch).await.unwrap();
        eprintln!("projected");
    }
}

async fn a_batch_is_there_whole_or_not_at_all_when_the_process_is_killed(place: Place) {
    use std::io::BufRead as _;
    for round in 0..3 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "projects_until_killed", "--nocapture"])
            .env("HOMEOSTAT_TEST_STORE", serde_json::to_string(&(&place.config, place.dir.path())).unwrap())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let lines = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
        let mut projected = lines.map_while(Result::ok).filter(|line| line.contains("projected"));
        for _ in 0..=round {
            projected.next().expect("the other process projects");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let store = place.open().await;
    let position = store.position(INCARNATION, 0).await.unwrap();
    assert!(position >= 100 && position.is_multiple_of(100), "{position}");
    let mut found = 0;
    let mut page = AlertFilter { limit: Some(1_000), ..AlertFilter::default() };
    loop {
        let records = store.alerts(&page).await.unwrap();
        let Some(last) = records.last() else { break };
        found += records.len() as u64;
        page.before = Some(last.number);
    }
    assert_eq!(found, position, "one incident a position, as far as the position says");
}

async fn no_more_connections_than_allowed_whatever_the_load(mut place: Place) {
    place.config.pool_max = NonZeroU32::new(3).unwrap();
    place.config.acquire_timeout_ms = NonZeroU64::new(20_000).unwrap();
    place.config.query_timeout_ms = NonZeroU64::new(20_000).unwrap();
    let store = place.open().await;
    let jobs = (0_u64..60).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            match n % 3 {
                0 => store.project(&format!("life{n}"), 0, &[alert(n + 1, &format!("i{n}"), State::Firing)]).await.unwrap(),
                1 => store.alerts(&AlertFilter::default()).await.map(drop).unwrap(),
                _ => store.ping().await.map(drop).unwrap(),
            }
            store.pool().open
        })
    });
    for job in jobs.collect::<Vec<_>>() {
        assert!(job.await.unwrap() <= 3);
    }
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap().len(), 20);
}

async fn a_database_that_was_emptied_is_made_anew_and_asks_for_the_log_from_its_beginning(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    let before = everything(&store).await;
    place.outside("DROP TABLE alert; DROP TABLE incident; DROP TABLE command; DROP TABLE outcome; DROP TABLE query; DROP TABLE projection; DROP TABLE _sqlx_migrations;").await;
    let error = store.project(INCARNATION, 0, &[alert(8, "i3", State::Firing)]).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!(store.position(INCARNATION, 0).await.unwrap(), 0);
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    assert_eq!(everything(&store).await["alerts"].as_array().unwrap().len(), before["alerts"].as_array().unwrap().len());
}

async fn an_incident_is_found_by_its_id_and_by_any_alert_of_it(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    let found = store.alert("i1").await.unwrap().unwrap();
    assert_eq!(found.messages.iter().map(|alert| alert.state).collect::<Vec<_>>(), [State::Firing, State::Resolved]);
    assert_eq!(found.commands.len(), 1);
    assert_eq!(found.commands[0].outcomes[1].outcome.status, OutcomeStatus::Done);
    for id in ["k3j9-query-0-1-0", "k3j9-query-0-6-0"] {
        assert_eq!(store.alert(id).await.unwrap().as_ref(), Some(&found), "{id}");
    }
    assert_eq!(store.alert("nobody").await.unwrap(), None);
}

async fn questions_narrow_and_page(place: Place) {
    let store = place.open().await;
    let mut batch: Vec<_> = (1..=30).map(|n| alert(n, &format!("i{n}"), State::Firing)).collect();
    for delivery in batch.iter_mut().take(10) {
        if let Content::Alert(alert) = &mut delivery.content {
            "other".clone_into(&mut alert.service);
            "health.silent".clone_into(&mut alert.rule);
            alert.severity = Severity::Critical;
        }
    }
    batch.push(alert(31, "i30", State::Resolved));
    store.project(INCARNATION, 0, &batch).await.unwrap();
    let count = async |filter: AlertFilter| store.alerts(&filter).await.unwrap().len();
    assert_eq!(count(AlertFilter::default()).await, 30);
    assert_eq!(count(AlertFilter { open: Some(true), ..Default::default() }).await, 29);
    assert_eq!(count(AlertFilter { open: Some(false), ..Default::default() }).await, 1);
    assert_eq!(count(AlertFilter { service: Some("other".into()), ..Default::default() }).await, 10);
    assert_eq!(count(AlertFilter { rule: Some("query.slow".into()), ..Default::default() }).await, 20);
    assert_eq!(count(AlertFilter { severity: Some(Severity::Critical), ..Default::default() }).await, 10);
    assert_eq!(count(AlertFilter { since: Some(5_000), until: Some(8_000), ..Default::default() }).await, 3);
    let mut seen: Vec<AlertRecord> = Vec::new();
    loop {
        let before = seen.last().map(|record| record.number);
        let page = store.alerts(&AlertFilter { limit: Some(7), before, ..Default::default() }).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    let incidents: Vec<_> = seen.iter().map(|record| record.alert.incident.clone()).collect();
    assert_eq!(incidents, (1..=30).rev().map(|n| format!("i{n}")).collect::<Vec<_>>());
}

async fn what_is_old_goes_and_what_is_open_stays(place: Place) {
    let store = place.open().await;
    let mut batch = life_of_an_incident();
    batch.extend(
        (10..1_510).flat_map(|n| [alert(2 * n, &format!("o{n}"), State::Firing), alert(2 * n + 1, &format!("o{n}"), State::Resolved)]),
    );
    store.project(INCARNATION, 0, &batch).await.unwrap();
    assert_eq!(store.retain(90 * DAY).await.unwrap().deleted, 0);
    let mut deleted = 0;
    loop {
        let done = store.retain(91 * DAY).await.unwrap();
        deleted += done.deleted;
        if !done.more {
            break;
        }
    }
    // Incidents with two messages each, one command and two outcomes; `i2` is open.
    assert_eq!(deleted, 1_501 * 3 + 3);
    let left = everything(&store).await;
    assert_eq!(left["alerts"].as_array().unwrap().len(), 1);
    assert_eq!(left["alerts"][0]["alert"]["incident"], "i2");
    assert_eq!(left["commands"], json!([]));
}

async fn statistics_are_one_picture(place: Place) {
    let store = place.open().await;
    let row = |n: u32, calls: u32| json!({ "service": "shop", "fingerprint": format!("{n:016x}"), "calls": calls });
    store.save_queries(&(0..1_200).map(|n| row(n, 1)).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.queries().await.unwrap().len(), 1_200);
    store.save_queries(&[row(7, 2), row(7, 3), row(2_000, 1)]).await.unwrap();
    assert_eq!(store.queries().await.unwrap(), [row(7, 3), row(2_000, 1)]);
    let error = store.save_queries(&[json!({ "service": "shop" })]).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    assert_eq!(store.queries().await.unwrap().len(), 2, "the old picture stands");
}

async fn names_of_any_bytes_are_kept_whole(place: Place) {
    let store = place.open().await;
    let name = "a\0b'\"\\;--\u{1f980}\r\n";
    let mut delivery = alert(1, name, State::Firing);
    if let Content::Alert(alert) = &mut delivery.content {
        name.clone_into(&mut alert.service);
    }
    store.project(INCARNATION, 0, &[delivery]).await.unwrap();
    let filter = AlertFilter { service: Some(name.to_owned()), ..AlertFilter::default() };
    assert_eq!(store.alerts(&filter).await.unwrap()[0].alert.service, name);
    assert_eq!(store.alert(name).await.unwrap().unwrap().messages.len(), 1);
}

async fn another_incarnation_is_projected_from_its_own_beginning(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    assert_eq!(store.position("other", 0).await.unwrap(), 0);
    let mut first = alert(1, "new", State::Firing);
    if let Content::Alert(alert) = &mut first.content {
        "other-query-0-1-0".clone_into(&mut alert.id);
    }
    store.project("other", 0, &[first]).await.unwrap();
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap().len(), 3);
    assert_eq!(store.position(INCARNATION, 0).await.unwrap(), 7);
}

async fn a_quiet_log_moves_its_position_now_and_then(place: Place) {
    let store = place.open().await;
    store.project(INCARNATION, 0, &[delivery(1, Content::Tick)]).await.unwrap();
    store.project(INCARNATION, 0, &[delivery(2, Content::Tick)]).await.unwrap();
    assert_eq!(store.position(INCARNATION, 0).await.unwrap(), 1);
    store.project(INCARNATION, 0, &[delivery(9, Content::Tick)]).await.unwrap();
    assert_eq!(store.position(INCARNATION, 0).await.unwrap(), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_vanishes_is_an_error_and_comes_back_by_itself() {
    let cluster = postgres::Cluster::start();
    let config = DatabaseConfig {
        url: Some(cluster.database()),
        password_file: Some(cluster.password_file()),
        acquire_timeout_ms: NonZeroU64::new(300).unwrap(),
        ..DatabaseConfig::default()
    };
    let dir = tempfile::tempdir().unwrap();
    cluster.down();
    let store = Store::connect(&config, dir.path()).await.unwrap();
    let error = store.alerts(&AlertFilter::default()).await.unwrap_err();
    assert!(error.may_pass() && error.to_string().contains("127.0.0.1"), "{error}");
    cluster.up();
    store.project(INCARNATION, 0, &life_of_an_incident()).await.unwrap();
    cluster.down();
    assert!(store.ping().await.is_err());
    assert!(store.project(INCARNATION, 0, &[alert(8, "i3", State::Firing)]).await.is_err());
    cluster.up();
    store.project(INCARNATION, 0, &[alert(8, "i3", State::Firing)]).await.unwrap();
    assert_eq!(store.alerts(&AlertFilter::default()).await.unwrap().len(), 3);
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_at_once_and_show_no_password() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["mysql://ann:s3cret@db/x", "sqlite:", "sqlite::memory:", "postgres://ann:s3cret@:99999/x", "nonsense"] {
        let config = DatabaseConfig { url: Some(url.to_owned()), ..DatabaseConfig::default() };
        let error = Store::connect(&config, dir.path()).await.unwrap_err().to_string();
        assert!(error.contains("database.url") && !error.contains("s3cret"), "{error}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::connect(&DatabaseConfig::default(), &file.join("below")).await.unwrap_err().to_string();
    assert!(error.contains("--data-dir"), "{error}");
}
