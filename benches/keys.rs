//! Keys a second: `cargo bench --bench keys`. One table: hot verification with 10,000 keys, junk and forgeries with the number of argon2
//! runs, a cold stampede, what argon2 costs, and side by side two ways in which keys are often checked: argon2 for every request, and the
//! crate `prefixed-api-key` (SHA-256 against a table in memory).

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::cast_precision_loss)]

use argon2::{Algorithm, Argon2, Params, Version};
use homeostat::config::DatabaseConfig;
use homeostat::keys::format::{self, KeyId};
use homeostat::keys::hash::Hasher;
use homeostat::keys::{Actor, Keys, KeysConfig, NewKey};
use homeostat::store::Store;
use homeostat_schemas::Scope;
use homeostat_schemas::key::Environment;
use prefixed_api_key::{PrefixedApiKey, PrefixedApiKeyController};
use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys that are known.
const KEYS: usize = 10_000;
/// Verifications of each kind.
const HOT: usize = 4_000_000;
/// Keys of strangers.
const STRANGE: usize = 10_000_000;
/// How many at once at a key that nobody remembers.
const AT_ONCE: usize = 64;

fn main() {
    // `cargo test --benches` only looks whether it runs.
    let quick = std::env::args().any(|argument| argument == "--test");
    let share = if quick { 1_000 } else { 1 };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let place = runtime.block_on(Place::new(dir.path(), KEYS / share));
    println!("{:<52} {:>14} {:>10} {:>10} {:>12}", "", "per second", "p50", "p99", "argon2 runs");
    hot(&place, HOT / share);
    strange(&place, STRANGE / share);
    runtime.block_on(stampede(&place));
    runtime.block_on(cost(if quick { 1 } else { 40 }));
    prefixed(KEYS / share, HOT / share);
}

fn line(name: &str, rate: f64, quantiles: Option<(u64, u64)>, runs: Option<u64>) {
    let (p50, p99) = quantiles.map_or_else(Default::default, |(p50, p99)| (format!("{p50} ns"), format!("{p99} ns")));
    let runs = runs.map_or_else(String::new, |runs| runs.to_string());
    println!("{name:<52} {rate:>14.0} {p50:>10} {p99:>10} {runs:>12}");
}

/// Keys, created and proven once.
struct Place {
    keys: Keys,
    texts: Vec<String>,
    ids: Vec<KeyId>,
}

impl Place {
    async fn new(dir: &std::path::Path, count: usize) -> Place {
        let store = Store::connect(&DatabaseConfig::default(), dir).await.unwrap();
        let config = KeysConfig { queue_ms: 60_000, ..KeysConfig::default() };
        // To create and to prove 10,000 keys at full cost takes minutes, and what is measured does not run argon2.
        let hasher = Hasher::new(2, Duration::from_secs(60)).with_memory_kib(64);
        let keys = Keys::open_with(store, &config, dir, hasher).unwrap();
        let new = NewKey { owner: "shop".to_owned(), scopes: BTreeSet::from([Scope::TelemetryWrite]), ..NewKey::default() };
        let mut texts = Vec::with_capacity(count);
        let mut ids = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let created = keys.records.create(new.clone(), &Actor::local("bench")).await.unwrap();
            keys.verifier.verify(created.text.expose()).await.unwrap();
            ids.push(KeyId::parse(&created.record.id).unwrap());
            texts.push(created.text.expose().to_owned());
        }
        Place { keys, texts, ids }
    }
}

/// A different key each time, in an order that no cache foresees.
fn order(count: usize) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % count as u64).unwrap_or_default()
    })
}

fn quantiles(mut took: Vec<u64>) -> (u64, u64) {
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

/// Rate without a clock in the loop; quantiles with one, its own cost included.
fn measured(count: usize, mut verify: impl FnMut() -> bool, expected: bool) -> (f64, (u64, u64)) {
    let begun = Instant::now();
    for _ in 0..count {
        assert_eq!(black_box(verify()), expected);
    }
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    let took = (0..count.min(1_000_000)).map(|_| {
        let begun = Instant::now();
        let _ = black_box(verify());
        u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    });
    (rate, quantiles(took.collect()))
}

fn hot(place: &Place, count: usize) {
    let mut order = order(place.texts.len());
    let runs = place.keys.verifier.argon2_runs();
    let source = Some(std::net::IpAddr::from([10, 0, 0, 1]));
    let verify = || matches!(place.keys.verifier.verify_hot(&place.texts[order.next().unwrap_or_default()], source), Ok(Ok(_)));
    let (rate, quantiles) = measured(count, verify, true);
    line(&format!("hot, {} keys", place.texts.len()), rate, Some(quantiles), Some(place.keys.verifier.argon2_runs() - runs));
}

fn strange(place: &Place, count: usize) {
    let runs = place.keys.verifier.argon2_runs();
    let junk: Vec<String> = (0..1_000).map(|index| format!("hst_live_{index:012}_{}", "x".repeat(61))).collect();
    let forged: Vec<String> = (0..1_000)
        .map(|index| format::mint(Environment::Live, &place.ids[index % place.ids.len()], &[3; 32]).unwrap().expose().to_owned())
        .collect();
    for (name, texts) in [("junk in the right form", junk), ("a known id, a secret of one's own", forged)] {
        let mut index = 0;
        let verify = || {
            index = (index + 1) % texts.len();
            !matches!(place.keys.verifier.verify_hot(&texts[index], None), Ok(Err(_)))
        };
        let (rate, quantiles) = measured(count, verify, false);
        line(name, rate, Some(quantiles), Some(place.keys.verifier.argon2_runs() - runs));
    }
}

async fn stampede(place: &Place) {
    let runs = place.keys.verifier.argon2_runs();
    place.keys.verifier.forget();
    let text: Arc<str> = place.texts[0].as_str().into();
    let begun = Instant::now();
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (keys, text) = (place.keys.clone(), text.clone());
            tokio::spawn(async move { keys.verifier.verify(&text).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    let rate = AT_ONCE as f64 / begun.elapsed().as_secs_f64();
    line(&format!("{AT_ONCE} at once, nobody remembers the key"), rate, None, Some(place.keys.verifier.argon2_runs() - runs));
}

async fn cost(rounds: usize) {
    let hasher = Hasher::new(1, Duration::from_secs(60));
    let phc = hasher.hash(b"warm").await.unwrap();
    let begun = Instant::now();
    for _ in 0..rounds {
        assert!(hasher.matches(&phc, b"warm").await.unwrap());
    }
    let rate = rounds as f64 / begun.elapsed().as_secs_f64();
    line("argon2id 19 MiB t=2 p=1, memory used again", rate, None, None);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(19 * 1024, 2, 1, Some(32)).unwrap());
    let begun = Instant::now();
    for _ in 0..rounds {
        let mut out = [0; 32];
        argon2.hash_password_into(b"warm", b"somesalt", &mut out).unwrap();
        black_box(out);
    }
    let rate = rounds as f64 / begun.elapsed().as_secs_f64();
    line("naive: argon2 for every request, also for junk", rate, None, None);
}

fn prefixed(keys: usize, count: usize) {
    let controller = PrefixedApiKeyController::configure().prefix("hst".to_owned()).seam_defaults().finalize().unwrap();
    let mut table: HashMap<String, String> = HashMap::with_capacity(keys);
    let mut texts = Vec::with_capacity(keys);
    for _ in 0..keys.max(1) {
        let (key, hash) = controller.try_generate_key_and_hash().unwrap();
        table.insert(key.short_token().to_owned(), hash);
        texts.push(key.to_string());
    }
    let mut order = order(texts.len());
    let verify = || {
        let text = &texts[order.next().unwrap_or_default()];
        PrefixedApiKey::from_string(text)
            .is_ok_and(|key| table.get(key.short_token()).is_some_and(|hash| controller.check_hash(&key, hash)))
    };
    let (rate, quantiles) = measured(count / 4, verify, true);
    line(&format!("prefixed-api-key 0.3 over a HashMap, {} keys", texts.len()), rate, Some(quantiles), None);
}
