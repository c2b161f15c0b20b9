//! The key with which this process signs alerts and commands, and the keys it trusts.
//!
//! A process signs with the key that a setting names, or with one of its own, made at the first start and kept in the data directory
//! (mode 0600). Processes that share a bus share one key file, or each has its own and the clients trust all of them. To replace a
//! key, let the clients trust the new one as well, start with the new one, and take the old one away when its last command is over.

use crate::private;
use homeostat_nats::{Bus, Message};
use homeostat_schemas::Root;
use homeostat_schemas::signature::{HEADER, Signed, Signer, SignerError, Signers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The seed in the data directory.
pub const KEY_FILE: &str = "signing.nk";
/// Public keys beside it, one a line: this process's first, then those that it trusts. Clients on this machine read it.
pub const PUBLIC_FILE: &str = "signing.pub";
/// A file with a key is at most this large.
const FILE_MAX: u64 = 64 * 1024;

/// Who says what Homeostat says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SigningConfig {
    /// A file with the seed (`SU…`) of the nkey that signs alerts and commands; the same for all processes of one bus. Not set: a key of this data directory's own, made at the first start.
    pub key_file: Option<PathBuf>,
    /// Public keys (`U…`) of other processes, or of keys that are being replaced: their signatures are good, too.
    pub trusted: Vec<String>,
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The file cannot be read or written.
    #[error("the signing key {path} cannot be used: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Its content is none.
    #[error("the signing key {path} cannot be used: {source}; move it away for a new one, which the clients then have to trust")]
    Key {
        /// Which.
        path: String,
        /// Why.
        source: SignerError,
    },
    /// A setting cannot be used.
    #[error("`signing.trusted`: {0}")]
    Trusted(SignerError),
    /// No random numbers.
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The key of this process, and whom it trusts: itself and those of the settings.
#[derive(Debug, Clone)]
pub struct Signing {
    signer: Arc<Signer>,
    trusted: Signers,
}

impl Signing {
    /// The key of this data directory, made if there is none yet, or the one that the settings name.
    ///
    /// # Errors
    /// The file cannot be read, is no key, or cannot be made.
    pub fn open(config: &SigningConfig, data_dir: &Path) -> Result<Signing, SigningError> {
        let signer = match &config.key_file {
            Some(path) => read(path)?,
            None => {
                let path = data_dir.join(KEY_FILE);
                if path.exists() { read(&path)? } else { make(&path)? }
            }
        };
        let trusted = Signers::new(std::iter::once(signer.public()).chain(config.trusted.iter().map(String::as_str)));
        let signing = Signing { signer: Arc::new(signer), trusted: trusted.map_err(SigningError::Trusted)? };
        let path = data_dir.join(PUBLIC_FILE);
        signing.tell(&path).map_err(|source| SigningError::File { path: path.display().to_string(), source })?;
        Ok(signing)
    }

    /// The key by which others know this process.
    #[must_use]
    pub fn public(&self) -> &str {
        self.signer.public()
    }

    /// Signs a message: one header more. Whatever else it bears must be there already.
    #[must_use]
    pub fn sign(&self, message: Message) -> Message {
        let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        match self.signer.sign(&Signed::of(&message.subject, headers, &message.payload)) {
            Ok(signature) => message.with(HEADER, signature),
            Err(error) => {
                // Better said without a signature than not said: whoever needs one refuses it.
                tracing::error!(%error, "a message could not be signed");
                message
            }
        }
    }

    /// Public keys for clients beside this process, whole or not at all.
    fn tell(&self, path: &Path) -> io::Result<()> {
        let lines: String = self.trusted.public().map(|key| format!("{key}\n")).collect();
        if std::fs::read_to_string(path).is_ok_and(|there| there == lines) {
            return Ok(());
        }
        let new = path.with_extension("pub.new");
        std::fs::write(&new, lines)?;
        std::fs::rename(new, path)
    }

    /// Answers whoever asks on `{root}.signers` which keys sign here, for as long as the connection is there. Only clients on the
    /// same machine ask, and only where nobody told them; it is no proof of anything against somebody who may publish there.
    pub async fn answer(self, bus: Bus, root: Root) {
        let subject = root.signers();
        let answer = json!({ "signers": self.trusted.public().collect::<Vec<_>>() }).to_string();
        let questions = bus.client().subscribe(subject.clone()).await;
        let mut questions = match questions {
            Ok(questions) => questions,
            Err(error) => {
                tracing::warn!(%error, subject, "nobody is told which key signs; name it in the clients' settings");
                return;
            }
        };
        while let Some(question) = futures::StreamExt::next(&mut questions).await {
            // Never anywhere else than into an inbox: with this process's rights somebody could have written where he may not himself.
            let inbox = |reply: &&async_nats::Subject| ["_INBOX", "_R_."].iter().any(|begin| reply.starts_with(begin));
            if let Some(reply) = question.reply.as_ref().filter(inbox) {
                let message = Message::new(reply.as_str(), answer.clone()).with("content-type", homeostat_schemas::batch::JSON);
                // A question whose answer is lost is asked again.
                let _ = bus.publish(&message).await;
            }
        }
    }
}

/// Whom somebody trusts who only looks: the keys of the data directory and those of the settings.
///
/// # Errors
/// A setting is no public key.
pub fn trusted(config: &SigningConfig, data_dir: &Path) -> Result<Signers, SigningError> {
    let named = config.key_file.as_deref().map(read).transpose()?;
    let beside = std::fs::read_to_string(data_dir.join(PUBLIC_FILE)).unwrap_or_default();
    let beside = beside.lines().map(str::trim).filter(|line| Signers::new([*line]).is_ok());
    let keys = named.iter().map(Signer::public).chain(config.trusted.iter().map(String::as_str)).chain(beside);
    Signers::new(keys).map_err(SigningError::Trusted)
}

fn read(path: &Path) -> Result<Signer, SigningError> {
    let failed = |source| SigningError::File { path: path.display().to_string(), source };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "others may read the signing key: chmod 600");
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(failed)?;
    let seed = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', '-'])).unwrap_or_default();
    Signer::from_seed(seed).map_err(|source| SigningError::Key { path: path.display().to_string(), source })
}

/// A new key, on the disk before anything is signed with it.
fn make(path: &Path) -> Result<Signer, SigningError> {
    let failed = |source| SigningError::File { path: path.display().to_string(), source };
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(SigningError::Random)?;
    let unusable = |source| SigningError::Key { path: path.display().to_string(), source };
    let signer = Signer::from_random(bytes).map_err(unusable)?;
    let seed = signer.seed().map_err(unusable)?;
    private::replace(path, format!("{seed}\n").as_bytes()).map_err(failed)?;
    tracing::info!(path = %path.display(), public = signer.public(), "made a key to sign with");
    Ok(signer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone_and_signs_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let config = SigningConfig::default();
        let first = Signing::open(&config, dir.path()).unwrap();
        let again = Signing::open(&config, dir.path()).unwrap();
        assert_eq!(first.public(), again.public());
        let mode = std::fs::metadata(dir.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let message = first.sign(Message::new("homeostat.v1.alert.query.slow.shop", "{}").with("ce-id", "a"));
        let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let parts = Signed::of(&message.subject, headers, &message.payload);
        assert!(trusted(&config, dir.path()).unwrap().verify(&parts).is_good());
        assert!(!trusted(&config, &dir.path().join("elsewhere")).unwrap().verify(&parts).is_good());
        let told = std::fs::read_to_string(dir.path().join(PUBLIC_FILE)).unwrap();
        assert_eq!(told, format!("{}\n", first.public()));
    }

    #[test]
    fn a_key_is_replaced_while_both_are_trusted() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let before = Signing::open(&SigningConfig::default(), old.path()).unwrap();
        let key_file = new.path().join("next.nk");
        let next = make(&key_file).unwrap();
        let config = SigningConfig { key_file: Some(key_file), trusted: vec![before.public().to_owned()] };
        let after = Signing::open(&config, old.path()).unwrap();
        assert_eq!(after.public(), next.public());
        for signing in [&before, &after] {
            let message = signing.sign(Message::new("a", "b"));
            let headers = message.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
            assert!(trusted(&config, old.path()).unwrap().verify(&Signed::of("a", headers, b"b")).is_good());
        }
    }

    #[test]
    fn a_file_that_is_no_key_is_an_error_that_does_not_repeat_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = SigningConfig { key_file: Some(dir.path().join("none")), ..SigningConfig::default() };
        assert!(matches!(Signing::open(&missing, dir.path()), Err(SigningError::File { .. })));
        std::fs::write(dir.path().join(KEY_FILE), "hunter2").unwrap();
        let error = Signing::open(&SigningConfig::default(), dir.path()).unwrap_err();
        assert!(matches!(error, SigningError::Key { .. }) && !error.to_string().contains("hunter2"));
    }
}
