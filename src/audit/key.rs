//! The key that signs the audit log: Ed25519, written as NATS writes keys, in a file of the data directory that only its owner reads.

use super::chain::Hash;
use super::record::{Act, CHECKPOINT, Record, Signature};
use crate::private;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nkeys::KeyPair;
use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// The file within the data directory.
pub const FILE: &str = "audit.nk";
/// Longest file that could be one.
const FILE_MAX: u64 = 4_096;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read it.
    #[error("{0} can be read by others: `chmod 600` it, and think about who may have done so")]
    Open(PathBuf),
    /// It is none.
    #[error("{0} holds no key: restore it, or move it away, and a new one is made")]
    Form(PathBuf),
}

/// The key.
pub struct SigningKey(KeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SigningKey").field(&self.public()).finish()
    }
}

impl SigningKey {
    /// A new one, kept nowhere.
    #[must_use]
    pub fn draw() -> SigningKey {
        SigningKey(KeyPair::new_user())
    }

    /// The key of a data directory; made at the first time.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of(data_dir: &Path) -> Result<SigningKey, KeyError> {
        if let Some(key) = SigningKey::read(data_dir)? {
            return Ok(key);
        }
        let path = data_dir.join(FILE);
        let key = SigningKey::draw();
        let seed = key.0.seed().map_err(|_| KeyError::Form(path.clone()))?;
        // Another process may make one at the same moment.
        match private::create(&path, format!("{seed}\n").as_bytes()) {
            Ok(true) => Ok(key),
            Ok(false) => SigningKey::read(data_dir)?.ok_or(KeyError::Form(path)),
            Err(source) => Err(KeyError::File { path, source }),
        }
    }

    /// The key of a data directory, if there is one.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn read(data_dir: &Path) -> Result<Option<SigningKey>, KeyError> {
        let path = data_dir.join(FILE);
        let failed = |source| KeyError::File { path: path.clone(), source };
        let file = match OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed()).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open(path));
        }
        let mut seed = String::new();
        file.take(FILE_MAX).read_to_string(&mut seed).map_err(failed)?;
        KeyPair::from_seed(seed.trim()).map(|pair| Some(SigningKey(pair))).map_err(|_| KeyError::Form(path))
    }

    /// What others need to know of it.
    #[must_use]
    pub fn public(&self) -> String {
        self.0.public_key()
    }

    /// A record that vouches for everything up to `through`.
    #[must_use]
    pub fn checkpoint(&self, id: String, through: u64, hash: Hash) -> Record {
        let signature = self.0.sign(&hash.to_be_signed(through)).unwrap_or_default();
        let detail = Signature { through, hash, key: self.public(), signature: STANDARD.encode(signature) };
        let detail = serde_json::to_value(detail).unwrap_or(Value::Null);
        Record::new(id, Act { action: CHECKPOINT, target: "", by: "homeostat", source: None, detail })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        assert!(SigningKey::read(dir.path()).unwrap().is_none());
        let public = SigningKey::of(dir.path()).unwrap().public();
        assert_eq!(SigningKey::of(dir.path()).unwrap().public(), public);
        let path = dir.path().join(FILE);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!format!("{:?}", SigningKey::of(dir.path()).unwrap()).contains(std::fs::read_to_string(&path).unwrap().trim()));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(SigningKey::of(dir.path()), Err(KeyError::Open(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "junk").unwrap();
        assert!(matches!(SigningKey::of(dir.path()), Err(KeyError::Form(_))));
    }
}
