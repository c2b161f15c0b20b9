//! API keys: who may use the gateway, and how that ends.
//!
//! | module | what |
//! |---|---|
//! | [`format`] | how a key looks: parse, mint, mint tag, checksum |
//! | [`keyring`] | the keys that keys are made with, in a file outside of the database |
//! | [`hash`] | argon2id, a few at once |
//! | [`verify`] | is this a key, and whose? what every request passes |
//! | [`records`] | keys in the database, and the transactions in which they change |
//! | [`outbox`] | what happened to keys, said on the bus once |
//! | [`notes`] | how keys stand and are used, said again for those who only hear the log |
//! | [`replicas`], [`receipt`] | the processes that judge keys: each says that it is there, and that it has forgotten a key |
//! | [`usage`] | how keys are used, by version |
//! | [`ask`] | what is asked about keys, at the command line and over HTTP, and the answers |
//! | [`clock`] | the time by which keys expire |
//! | [`config`], [`error`] | settings; what can go wrong |

pub mod ask;
mod cache;
pub mod clock;
pub mod config;
pub mod error;
pub mod format;
pub mod hash;
pub mod keyring;
pub mod notes;
pub mod outbox;
pub mod receipt;
pub mod records;
pub mod replicas;
pub mod usage;
pub mod verify;

pub use ask::bootstrap;
pub use config::KeysConfig;
pub use error::KeysError;
pub use records::{Actor, NewKey, Records, Rotation};
pub use verify::{Principal, Refused, Verifier};

use crate::callout::Connections;
use crate::clock::now_ms;
use crate::store::Store;
use hash::Hasher;
use replicas::{Replicas, instance_name};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use usage::Usage;
use verify::VerifierConfig;

/// How often a process asks the database what it may have missed on the bus.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How far it looks back each time: clocks of several processes differ, and a transaction ends later than its time says.
const LOOK_BACK_MS: u64 = 60_000;
/// How often it is said that the keys are not those of the keyring.
const LOUD_EVERY: Duration = Duration::from_secs(60);

/// Everything about keys in one process. Clones share it.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The database.
    pub records: Records,
    /// Who is let in.
    pub verifier: Arc<Verifier>,
    /// What is counted.
    pub usage: Arc<Usage>,
    /// The other processes that judge keys.
    pub replicas: Arc<Replicas>,
    /// Where keys are credentials of the bus, too: who closes the connections of those that end.
    pub connections: Option<Arc<Connections>>,
}

impl Keys {
    /// Opens the keyring (and makes it, the first time) over this store.
    ///
    /// # Errors
    /// The keyring cannot be used.
    pub fn open(store: Store, config: &KeysConfig, data_dir: &Path) -> Result<Keys, KeysError> {
        let hasher = Hasher::new(config.argon2_at_once, config.queue());
        Keys::open_with(store, config, data_dir, hasher)
    }

    /// The same with hashes of another cost, for benches.
    ///
    /// # Errors
    /// The keyring cannot be used.
    pub fn open_with(store: Store, config: &KeysConfig, data_dir: &Path, hasher: Hasher) -> Result<Keys, KeysError> {
        let records = Records::new(store, config.keyring_path(data_dir), hasher.clone())?;
        let usage = Arc::new(Usage::default());
        let limits = VerifierConfig { cached_max: config.cached_max, queue: config.queue() };
        let verifier = Arc::new(Verifier::new(records.clone(), records.keyring(), hasher, usage.clone(), limits)?);
        let instance = instance_name()?;
        let replicas = Replicas::new(instance, verifier.clone());
        Ok(Keys { records, verifier, usage, replicas, connections: None })
    }

    /// Keeps what is remembered true, until told to stop: keys that changed elsewhere, another keyring, a database that was emptied.
    pub async fn watch(self, mut stop: watch::Receiver<bool>) {
        let mut known: HashMap<String, u64> = HashMap::new();
        let mut keyring_changed = keyring::changed(self.records.keyring_path());
        let mut loud = None::<Instant>;
        loop {
            match self.records.changed_since(now_ms().saturating_sub(LOOK_BACK_MS)).await {
                Ok(changed) => {
                    for (id, generation) in &changed {
                        if known.get(id) != Some(generation) {
                            self.verifier.evict(id, *generation);
                        }
                    }
                    known = changed.into_iter().collect();
                }
                Err(error) => tracing::warn!(%error, "keys that changed elsewhere cannot be asked for"),
            }
            let now = keyring::changed(self.records.keyring_path());
            if now != keyring_changed {
                match self.records.reload_keyring() {
                    Ok(keyring) => {
                        tracing::info!(keyring = keyring.id(), newest = keyring.newest().number, "the keyring was read again");
                        self.verifier.set_keyring(keyring);
                        keyring_changed = now;
                    }
                    Err(error) => tracing::error!(%error, "the keyring cannot be read; the one from before stays in use"),
                }
            }
            if loud.is_none_or(|at| at.elapsed() >= LOUD_EVERY) {
                if let Err(error @ KeysError::Estranged(_)) = self.records.check().await {
                    tracing::error!(%error, "keys are not accepted");
                }
                loud = Some(Instant::now());
            }
            tokio::select! {
                () = crate::system::told(&mut stop) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}
