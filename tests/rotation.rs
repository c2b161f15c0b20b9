//! Rotation: whatever dies, and whenever, no new secret is lost, none is made twice, nobody is locked out, and a secret is in nobody's
//! hands but its owner's.
//!
//! Three processes share a bus, a keyring and a database (SQLite in one file; PostgreSQL) and are killed again and again while the keys
//! come due all the time. Owners follow their sealed deliveries, and all the while what an owner has got must be accepted.
//!
//! `HOMEOSTAT_CHAOS_ROTATIONS` sets how many rotations there are at least on each database (a few in CI, thousands with `make chaos`);
//! `HOMEOSTAT_CHAOS_SEED` makes the kills come like those of an earlier run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod common;

use common::postgres::Cluster;
use common::story::{Chance, now_ms};
use common::{SMALL, Server, Worker, wait_for};
use homeostat::config::DatabaseConfig;
use homeostat::keys::{Actor, Keys, KeysConfig, NewKey};
use homeostat::store::Store;
use homeostat_nats::{Entry, Log, Reader, ReaderOptions};
use homeostat_schemas::key::{KeyChange, KeyFact, KeyState};
use homeostat_schemas::sealed::{Opener, SealedKey, Seen};
use homeostat_schemas::{Scope, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Processes.
const FLEET: usize = 3;
/// How long an old version is accepted: longer than any process is away.
const GRACE_MS: u64 = 20_000;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A database that several processes share.
struct Place {
    config: DatabaseConfig,
    settings: Vec<String>,
    cluster: Option<Arc<Cluster>>,
    file: PathBuf,
}

impl Place {
    fn sqlite(dir: &Path) -> Place {
        let file = dir.join("shared.db");
        let url = format!("sqlite:{}", file.display());
        let settings = vec![format!("database.url={url}")];
        Place { config: DatabaseConfig { url: Some(url), ..DatabaseConfig::default() }, settings, cluster: None, file }
    }

    fn postgres(dir: &Path) -> Place {
        let cluster = Cluster::shared();
        let (url, password) = (cluster.database(), cluster.password_file());
        let settings = vec![format!("database.url={url}"), format!("database.password_file={}", password.display())];
        let config = DatabaseConfig { url: Some(url), password_file: Some(password), ..DatabaseConfig::default() };
        Place { config, settings, cluster: Some(cluster), file: dir.join("dump.sql") }
    }

    /// Every key is due after a second. Nobody may ask for less than a minute; but a study is to take minutes, not weeks.
    async fn hurry(&self) {
        use sqlx::ConnectOptions as _;
        const SQL: &str = "UPDATE api_key SET record = replace(record, '\"rotate_every_ms\":60000', '\"rotate_every_ms\":1000'); \
             UPDATE api_key_outbox SET body = replace(body, '\"rotate_every_ms\":60000', '\"rotate_every_ms\":1000')";
        if self.cluster.is_some() {
            let options: sqlx::postgres::PgConnectOptions = self.config.url.as_ref().unwrap().parse().unwrap();
            let mut connection = options.password(common::postgres::PASSWORD).connect().await.unwrap();
            sqlx::raw_sql(SQL).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new().filename(&self.file).connect().await.unwrap();
            sqlx::raw_sql(SQL).execute(&mut connection).await.unwrap();
        }
    }

    /// Every byte that somebody with the database in hand has.
    fn dump(&self) -> Vec<u8> {
        let Some(cluster) = &self.cluster else {
            let wal = self.file.with_extension("db-wal");
            return [std::fs::read(&self.file).unwrap(), std::fs::read(wal).unwrap_or_default()].concat();
        };
        let url = self.config.url.as_ref().unwrap();
        let output =
            Command::new(cluster.program("pg_dump")).args(["--dbname", url]).env("PGPASSWORD", common::postgres::PASSWORD).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

/// An owner: keys that are sealed to one xkey, and what of them has been delivered.
struct Owner {
    service: String,
    opener: Opener,
    seen: Seen,
    /// By key: the newest version and its secret.
    held: BTreeMap<String, (u32, String)>,
    /// By key and version: every secret that was ever delivered.
    all: BTreeMap<(String, u32), BTreeSet<String>>,
}

impl Owner {
    fn take(&mut self, payload: &[u8]) {
        // What is delivered twice is opened twice here, to see that it is the same.
        let (delivery, secret) = self.opener.open(payload, &mut Seen::default()).expect("the owner opens what is sealed to it");
        self.all.entry((delivery.key.clone(), delivery.version)).or_default().insert(secret.expose().to_owned());
        if let Ok((SealedKey { key, version, .. }, secret)) = self.opener.open(payload, &mut self.seen) {
            self.held.insert(key, (version, secret.expose().to_owned()));
        }
    }
}

fn settings(place: &Place, keyring: &Path) -> Vec<String> {
    let ours = [
        "shell.checkpoint_every_ms=200",
        "shell.checkpoint_idle_ms=400",
        "shell.lease_renew_ms=100",
        "shell.lease_patience_ms=400",
        "actors.key_rotation.jitter_s=0",
        "actors.key_rotation.rotations_per_min=1000000",
        "actors.key_rotation.retry_s=1",
        "actors.key_rotation.retry_max_s=2",
        "actors.key_rotation.timeout_s=10",
        "gateway.keys.queue_ms=20000",
    ];
    let keyring = format!("gateway.keys.keyring={}", keyring.display());
    ours.iter().chain(SMALL).map(|setting| (*setting).to_owned()).chain(place.settings.iter().cloned()).chain([keyring]).collect()
}

fn spawn(server: &Server, name: usize, url: &str, settings: &[String]) -> Worker {
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    Worker::spawn(&server.path(&format!("worker{name}")), Some(url), &settings, &[])
}

/// Takes what has been delivered meanwhile.
async fn deliver(log: &Log, next: &mut u64, owners: &mut BTreeMap<String, Owner>) {
    let subject = log.subject("key.sealed.>");
    let Some(last) = log.last_on(&subject).await.unwrap() else { return };
    if last.seq < *next {
        return;
    }
    let options = ReaderOptions { filters: vec![subject], ..ReaderOptions::default() };
    let mut reader = Reader::open(log, *next, options).await.unwrap();
    while *next <= last.seq {
        for entry in reader.next().await.unwrap() {
            let Ok(Subject::Sealed(service)) = homeostat_schemas::Root::default().parse(&entry.subject) else {
                panic!("{}", entry.subject)
            };
            owners.get_mut(&service).expect("a service of ours").take(&entry.payload);
            *next = entry.seq + 1;
        }
    }
}

/// Every owner gets in with what it has: one key in so many is tried.
async fn nobody_is_locked_out(keys: &Keys, owners: &BTreeMap<String, Owner>, one_in: u64, chance: &mut Chance) {
    for owner in owners.values() {
        for (key, (version, secret)) in &owner.held {
            if chance.below(one_in) > 0 {
                continue;
            }
            keys.verifier.evict(key, u64::MAX);
            let judged = keys.verifier.verify(secret).await;
            let record = keys.records.get(key).await.unwrap();
            let principal =
                judged.unwrap_or_else(|why| panic!("{} is locked out with version {version}: {why}: {record:#?}", owner.service));
            assert_eq!((&principal.key, principal.version), (key, *version));
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

/// Where a secret begins that nobody else's text holds: its random part.
fn needle(secret: &str) -> &[u8] {
    secret.as_bytes().get(22..54).expect("a secret is longer")
}

fn holds(haystack: &[u8], needles: &BTreeSet<&[u8]>) -> Option<usize> {
    haystack.windows(32).position(|window| needles.contains(window))
}

async fn study(place: fn(&Path) -> Place) {
    let wanted = number("HOMEOSTAT_CHAOS_ROTATIONS", 24);
    let seed = number("HOMEOSTAT_CHAOS_SEED", now_ms());
    let mut chance = Chance(seed);
    let server = Server::start().await;
    let log = server.small_log().await;
    let url = server.url();
    let place = place(&server.path(""));
    let keyring = server.path("keyring.json");
    let store = Store::connect(&place.config, &server.path("")).await.unwrap();
    let config = KeysConfig { keyring: Some(keyring.clone()), queue_ms: 60_000, ..KeysConfig::default() };
    let keys = Keys::open(store, &config, &server.path("")).unwrap();

    // Few keys in CI, so that each is rotated more than once; many, when there is much to do.
    let count = (wanted / 20).clamp(6, 400);
    let mut owners = BTreeMap::new();
    for number in 0..count {
        let service = format!("service{}", number % 5);
        let owner = owners.entry(service.clone()).or_insert_with(|| Owner {
            service: service.clone(),
            opener: Opener::draw().unwrap().0,
            seen: Seen::default(),
            held: BTreeMap::new(),
            all: BTreeMap::new(),
        });
        let new = NewKey {
            owner: service,
            scopes: BTreeSet::from([Scope::Probe]),
            rotate_every_ms: Some(60_000),
            grace_ms: GRACE_MS,
            recipient: Some(owner.opener.public().to_owned()),
            ..NewKey::default()
        };
        let created = keys.records.create(new, &Actor::local("test")).await.unwrap();
        owner.held.insert(created.record.id.clone(), (1, created.text.expose().to_owned()));
        owner.all.insert((created.record.id, 1), BTreeSet::from([created.text.expose().to_owned()]));
    }

    place.hurry().await;
    let settings = settings(&place, &keyring);
    let mut fleet: Vec<Worker> = (0..FLEET).map(|name| spawn(&server, name, &url, &settings)).collect();
    let (mut next, mut kills, began) = (1, 0_u64, Instant::now());
    let rotated = |owners: &BTreeMap<String, Owner>| -> u64 {
        owners.values().flat_map(|owner| owner.held.values()).map(|(version, _)| u64::from(*version) - 1).sum()
    };
    let limit = Duration::from_secs(180 + wanted * 2);
    while rotated(&owners) < wanted {
        // Long enough to come to work, short enough to die at it.
        tokio::time::sleep(Duration::from_millis(1_000 + chance.below(3_000))).await;
        let victim = usize::try_from(chance.below(FLEET as u64)).unwrap();
        fleet[victim].kill();
        kills += 1;
        deliver(&log, &mut next, &mut owners).await;
        nobody_is_locked_out(&keys, &owners, count / 20 + 1, &mut chance).await;
        fleet[victim] = spawn(&server, victim, &url, &settings);
        assert!(began.elapsed() < limit, "{} of {wanted} rotations after {:?}: {}", rotated(&owners), began.elapsed(), fleet[0].log());
    }
    // The end: nobody is killed any more; what is in the outbox is said, and everything stops in good order.
    let mut last = spawn(&server, FLEET, &url, &settings);
    last.ready().await;
    for worker in fleet {
        worker.stop().await;
    }
    last.stop().await;
    let mut empty = keys.records.unsaid(1).await.unwrap().is_empty();
    while !empty {
        homeostat::keys::outbox::drain(&keys.records, &log, &homeostat_schemas::Root::default()).await.unwrap();
        empty = keys.records.unsaid(1).await.unwrap().is_empty();
    }
    deliver(&log, &mut next, &mut owners).await;
    nobody_is_locked_out(&keys, &owners, 1, &mut chance).await;

    let entries = everything(&log).await;
    let facts: Vec<KeyFact> = entries
        .iter()
        .filter(|entry| entry.subject.starts_with("homeostat.v1.control.keys."))
        .map(|entry| serde_json::from_slice(&entry.payload).unwrap())
        .collect();
    let mut rotations = 0;
    for owner in owners.values() {
        for (key, (version, _)) in &owner.held {
            let record = keys.records.get(key).await.unwrap();
            let newest = record.versions.last().unwrap();
            assert_eq!(newest.version, *version, "the newest version of {key} was not delivered");
            assert_eq!(newest.state, KeyState::Active);
            for version in 1..=newest.version {
                // None lost: each was delivered. None doubled: one secret a version, one fact a rotation.
                let secrets = owner.all.get(&(key.clone(), version)).unwrap_or_else(|| panic!("version {version} of {key} was lost"));
                assert_eq!(secrets.len(), 1, "version {version} of {key} has {} secrets", secrets.len());
                let told = facts
                    .iter()
                    .filter(|fact| fact.record.id == *key && fact.change == KeyChange::Rotated && fact.version == Some(version));
                assert_eq!(told.count(), usize::from(version > 1), "version {version} of {key}");
                rotations += u64::from(version > 1);
            }
        }
    }
    let different: BTreeSet<&String> = owners.values().flat_map(|owner| owner.all.values().flatten()).collect();
    assert_eq!(different.len() as u64, rotations + count, "no secret was drawn twice");

    // Nobody else has a secret: not the database, not the log and its headers, not what the processes write.
    let needles: BTreeSet<&[u8]> = different.iter().map(|secret| needle(secret)).collect();
    assert_eq!(holds(&place.dump(), &needles), None, "a secret is in the database");
    for entry in &entries {
        assert_eq!(holds(&entry.payload, &needles), None, "a secret is on the bus: {}", entry.subject);
        let headers = entry.sorted_headers().into_iter().map(|(name, value)| format!("{name}{value}")).collect::<String>();
        assert_eq!(holds(headers.as_bytes(), &needles), None, "a secret is in a header: {}", entry.subject);
    }
    let mut files = vec![server.path("")];
    let mut read = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if let Ok(bytes) = std::fs::read(&path) {
            read += bytes.len();
            assert_eq!(holds(&bytes, &needles), None, "a secret is in {}", path.display());
        }
    }
    assert!(read > 0);
    // That the search finds what is there.
    let planted = [b"before ", different.first().unwrap().as_bytes(), b" after"].concat();
    assert!(holds(&planted, &needles).is_some());
    eprintln!(
        "rotation: {rotations} rotations of {count} keys in {:.0} s, {kills} kills, HOMEOSTAT_CHAOS_SEED={seed}",
        began.elapsed().as_secs_f64()
    );
    assert!(rotations >= wanted);
    keys.records.check().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_no_key_is_lost_or_doubled_on_sqlite() {
    study(Place::sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_no_key_is_lost_or_doubled_on_postgres() {
    study(Place::postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_opened_at_the_command_line_once() {
    let server = Server::start().await;
    let log = server.small_log().await;
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_homeostat")).args(arguments).current_dir(server.path("")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, public, error) = run(&["keys", "xkey", "seed"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(run(&["keys", "xkey", "seed"]).0, Some(1), "a seed is never overwritten");
    let sealer = homeostat_schemas::sealed::Sealer::new([7; 32]);
    let sealed = |version: u32| {
        let sealed = sealer.seal(("aB3dE6gH9jK2", version), "shop", &public, now_ms(), &format!("hst_live_secret{version}")).unwrap();
        serde_json::to_vec(&sealed).unwrap()
    };
    std::fs::write(server.path("delivery"), sealed(2)).unwrap();
    let opened = run(&["keys", "open", "delivery", "--seed", "seed"]);
    assert_eq!((opened.0, opened.1.as_str()), (Some(0), "hst_live_secret2"), "{}", opened.2);
    let again = run(&["keys", "open", "delivery", "--seed", "seed"]);
    assert_eq!((again.0, again.1.as_str()), (Some(1), ""));
    assert!(again.2.contains("not newer"), "{}", again.2);
    let (_, stranger, _) = run(&["keys", "xkey", "other"]);
    assert_ne!(stranger, public);
    assert!(run(&["keys", "open", "delivery", "--seed", "other"]).2.contains("not us"));

    let url = server.url();
    let subject = log.subject("key.sealed.shop");
    for version in [1, 2, 3] {
        log.append(homeostat_nats::Message::new(subject.clone(), sealed(version))).await.unwrap();
    }
    let followed =
        run(&["keys", "open", "--follow", "--service", "shop", "--count", "1", "--seed", "seed", "--out", "key", "--json", "--nats", &url]);
    assert_eq!(followed.0, Some(0), "{}", followed.2);
    assert!(followed.1.contains("\"version\":3") && !followed.1.contains("secret"), "{}", followed.1);
    assert_eq!(std::fs::read_to_string(server.path("key")).unwrap().trim(), "hst_live_secret3");
    wait_for("the file's mode", Duration::from_secs(1), || {
        use std::os::unix::fs::PermissionsExt as _;
        (std::fs::metadata(server.path("key")).unwrap().permissions().mode() & 0o777 == 0o600).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_is_accepted_at_the_command_line() {
    let server = Server::start().await;
    let log = server.small_log().await;
    let url = server.url();
    let output = Command::new(env!("CARGO_BIN_EXE_homeostat"))
        .args(["keys", "accept-clock", "--by", "anna", "--reason", "a new battery", "--json", "--nats", &url])
        .current_dir(server.path(""))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let order = log.last_on(&log.subject("event.order.homeostat")).await.unwrap().unwrap();
    assert_eq!(said["position"], order.seq);
    let order: serde_json::Value = serde_json::from_slice(&order.payload).unwrap();
    let words = ["action", "target", "by", "reason"].map(|field| order[field].as_str().unwrap_or_default());
    assert_eq!(words, [homeostat_actors::key_rotation::ACCEPT_CLOCK, "clock", "anna", "a new battery"]);
    server.stop().await;
}
