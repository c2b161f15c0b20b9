//! Keys: new secrets reach this service sealed, and take the place of the old ones without a request that fails.
//!
//! Homeostat seals the new version of a key to the service's xkey and says so on `key.sealed.<service>`. [`Client::keys`] follows
//! that subject, opens what is for this xkey, and swaps the credential. The old version is accepted for its grace (7 days unless
//! said otherwise), so that a request under way with it succeeds, and so does a process that was away meanwhile.
//!
//! Promises
//! - `K-1` A credential is replaced as a whole: a reader has the old one or the new one.
//! - `K-2` Only a greater version than any that was taken replaces one; what is sealed to others, by another sender than the trusted one,
//!   or says another thing inside than outside, replaces nothing and is counted.
//! - `K-3` With a file, what was taken is on disk before anybody is given it, so that a restart neither needs people nor goes back.
//! - `K-4` A secret is never logged, and wiped from memory when nobody holds it any more.

mod file;
mod follow;

pub use homeostat_schemas::sealed::{SealedError, Secret};

use crate::client::Client;
use crate::stats::lock;
use file::Kept;
use homeostat_schemas::key::is_key_id;
use homeostat_schemas::sealed::{Opener, SealedKey, Seen};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Why keys are not followed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// Not the seed of an xkey.
    #[error(transparent)]
    Seed(#[from] SealedError),
    /// The text that was given is no key of Homeostat.
    #[error("this is no key: they look like hst_live_…")]
    Key,
    /// A file cannot be used.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A file that others may read.
    #[error("{0} may be read by others: chmod 600")]
    Open(String),
    /// A file that is damaged.
    #[error("{0} cannot be read: move it away, and give the present key again")]
    Damaged(String),
}

/// One version of a key, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// The key's id.
    pub key: String,
    /// Which version; 0 when it was given by the application and the version is not known.
    pub version: u32,
    /// What to send: `Authorization: Bearer …`.
    pub secret: Secret,
}

impl Credential {
    /// The value of the header `Authorization`.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.secret.expose())
    }
}

/// How keys are followed.
#[derive(Debug)]
pub struct KeysSettings {
    opener: Opener,
    sender: Option<String>,
    file: Option<PathBuf>,
    first: Vec<Credential>,
}

impl KeysSettings {
    /// With the seed of this service's xkey (`SX…`), as `homeostat keys recipient` made it.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(seed: &str) -> Result<KeysSettings, KeysError> {
        Ok(KeysSettings { opener: Opener::from_seed(seed)?, sender: None, file: None, first: Vec::new() })
    }

    /// With the seed in a file that only this user may read.
    ///
    /// # Errors
    /// When there is none, others may read it, or it holds no seed.
    pub fn from_file(path: impl AsRef<Path>) -> Result<KeysSettings, KeysError> {
        let seed = file::private(path.as_ref())?;
        KeysSettings::new(&seed)
    }

    /// The key that is used until a newer version comes.
    ///
    /// # Errors
    /// When it is no key.
    pub fn present(mut self, text: &str) -> Result<KeysSettings, KeysError> {
        let id = text.strip_prefix("hst_").and_then(|rest| rest.split('_').nth(1)).filter(|id| is_key_id(id)).ok_or(KeysError::Key)?;
        self.first.push(Credential { key: id.to_owned(), version: 0, secret: Secret::new(text.trim().to_owned()) });
        Ok(self)
    }

    /// Keeps what was taken in a file that only this user may read: the secrets, and how far they have come.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> KeysSettings {
        self.file = Some(path.into());
        self
    }

    /// Whose deliveries are trusted: a public xkey. Unless it is named, that of the first delivery is.
    #[must_use]
    pub fn sender(mut self, public: impl Into<String>) -> KeysSettings {
        self.sender = Some(public.into());
        self
    }
}

/// What the followers and the readers of one [`Keys`] share.
pub(crate) struct Shared {
    opener: Opener,
    file: Option<PathBuf>,
    seen: Mutex<Seen>,
    current: watch::Sender<BTreeMap<String, Arc<Credential>>>,
    refused: AtomicU64,
}

/// The keys of a service, each in its newest version. Clones share them; following ends with the last one, or with the client.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
    current: watch::Receiver<BTreeMap<String, Arc<Credential>>>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let versions: BTreeMap<_, _> = self.current.borrow().iter().map(|(key, credential)| (key.clone(), credential.version)).collect();
        f.debug_struct("Keys").field("versions", &versions).finish_non_exhaustive()
    }
}

impl Client {
    /// Follows the sealed deliveries to this service, from the beginning of the log.
    ///
    /// ```no_run
    /// # async fn f(client: homeostat_client::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use homeostat_client::keys::KeysSettings;
    /// let settings = KeysSettings::from_file("/etc/shop/xkey")?.present(&std::fs::read_to_string("/etc/shop/key")?)?;
    /// let keys = client.keys(settings.file("/var/lib/shop/keys"))?;
    /// // With every request, so that the newest is used:
    /// let authorization = keys.only().map(|credential| credential.bearer());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn keys(&self, settings: KeysSettings) -> Result<Keys, KeysError> {
        let kept = match &settings.file {
            Some(path) => file::load(path)?,
            None => Kept::default(),
        };
        let mut seen = kept.seen.clone();
        if let Some(sender) = settings.sender {
            seen.sender = Some(sender);
        }
        let mut all: BTreeMap<String, Arc<Credential>> = BTreeMap::new();
        for credential in settings.first.into_iter().chain(kept.credentials()) {
            all.insert(credential.key.clone(), Arc::new(credential));
        }
        let (current, receiver) = watch::channel(all);
        let shared =
            Arc::new(Shared { opener: settings.opener, file: settings.file, seen: Mutex::new(seen), current, refused: AtomicU64::new(0) });
        tokio::spawn(follow::follow(Arc::downgrade(&self.inner), Arc::downgrade(&shared), self.inner.link.clone()));
        Ok(Keys { shared, current: receiver })
    }
}

impl Keys {
    /// The newest version of a key. Cheap: ask before every request.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Credential>> {
        self.current.borrow().get(key).cloned()
    }

    /// The newest version of the only key there is; nothing when there is none, or more than one.
    #[must_use]
    pub fn only(&self) -> Option<Arc<Credential>> {
        let all = self.current.borrow();
        if all.len() == 1 { all.values().next().cloned() } else { None }
    }

    /// Waits until a version of a key as new as `version` is there.
    pub async fn reaches(&self, key: &str, version: u32, within: Duration) -> Option<Arc<Credential>> {
        let mut current = self.current.clone();
        let there = |all: &BTreeMap<String, Arc<Credential>>| all.get(key).is_some_and(|credential| credential.version >= version);
        let found = tokio::time::timeout(within, current.wait_for(there)).await;
        found.ok()?.ok()?.get(key).cloned()
    }

    /// How many deliveries were refused: replays, those of others, forgeries.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Relaxed)
    }
}

impl Shared {
    /// One delivery from the bus. K-3: it is on disk before anybody has it.
    fn take(&self, payload: &[u8]) {
        let mut seen = lock(&self.seen);
        let mut next = seen.clone();
        let (delivery, secret) = match self.opener.open(payload, &mut next) {
            Ok(opened) => opened,
            Err(error) => {
                self.refused.fetch_add(1, Relaxed);
                return match error {
                    // Every start reads the log from its beginning.
                    SealedError::Replayed { .. } | SealedError::Foreign(_) => tracing::debug!(%error, "a sealed key was left alone"),
                    _ => tracing::warn!(%error, "a sealed key was refused"),
                };
            }
        };
        let SealedKey { key, version, .. } = delivery;
        let credential = Arc::new(Credential { key: key.clone(), version, secret });
        let mut all = self.current.borrow().clone();
        all.insert(key.clone(), credential);
        if let Some(path) = &self.file
            && let Err(error) = file::store(path, &Kept::of(&next, all.values()))
        {
            // Not taken: it is found again at the next start, and what is used now is accepted as long as its grace lasts.
            self.refused.fetch_add(1, Relaxed);
            return tracing::error!(%error, key, version, "a new version of a key cannot be kept and is not used");
        }
        *seen = next;
        self.current.send_replace(all);
        tracing::info!(key, version, "a key has a new version");
    }
}
