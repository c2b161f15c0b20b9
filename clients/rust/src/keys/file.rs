//! What is kept between two lives of a process: the secrets and how far they have come, in a file that only its user may read.

use super::{Credential, KeysError, Secret};
use homeostat_schemas::sealed::Seen;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

/// Largest file that is read, bytes.
const FILE_MAX: u64 = 1 << 20;

/// The file's content.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Kept {
    pub(super) seen: Seen,
    secrets: BTreeMap<String, Version>,
}

#[derive(Serialize, Deserialize)]
struct Version {
    version: u32,
    secret: String,
}

impl Kept {
    pub(super) fn of<'a>(seen: &Seen, all: impl Iterator<Item = &'a Arc<Credential>>) -> Kept {
        // What the application gave by itself it gives again.
        let known = all.filter(|credential| credential.version > 0);
        let secrets = known.map(|credential| {
            (credential.key.clone(), Version { version: credential.version, secret: credential.secret.expose().to_owned() })
        });
        Kept { seen: seen.clone(), secrets: secrets.collect() }
    }

    pub(super) fn credentials(self) -> impl Iterator<Item = Credential> {
        self.secrets.into_iter().map(|(key, Version { version, secret })| Credential { key, version, secret: Secret::new(secret) })
    }
}

fn wrong(path: &Path) -> impl Fn(std::io::Error) -> KeysError + '_ {
    |source| KeysError::File { path: path.display().to_string(), source }
}

/// A text file that only its user may read.
pub(super) fn private(path: &Path) -> Result<String, KeysError> {
    let file = File::open(path).map_err(wrong(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata().map_err(wrong(path))?.permissions().mode() & 0o077 != 0 {
            return Err(KeysError::Open(path.display().to_string()));
        }
    }
    let mut text = String::new();
    file.take(FILE_MAX).read_to_string(&mut text).map_err(wrong(path))?;
    Ok(text)
}

/// What was kept; nothing, when there is no file yet.
pub(super) fn load(path: &Path) -> Result<Kept, KeysError> {
    match private(path) {
        Ok(text) => serde_json::from_str(&text).map_err(|_| KeysError::Damaged(path.display().to_string())),
        Err(KeysError::File { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(Kept::default()),
        Err(error) => Err(error),
    }
}

/// Keeps it: another file, synced, takes the place of the old one, so that a crash leaves one or the other.
pub(super) fn store(path: &Path, kept: &Kept) -> Result<(), KeysError> {
    let next = path.with_extension("next");
    let written = || {
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let mut file = options.open(&next)?;
        file.write_all(&serde_json::to_vec(kept)?)?;
        file.sync_all()?;
        std::fs::rename(&next, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(folder)?.sync_all()
    };
    written().map_err(wrong(path))
}
