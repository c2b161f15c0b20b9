//! The data directory: its lock, its private files, and `run.json`.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::EmbeddedError;
use crate::connect::BusConfig;

const LOCK_FILE: &str = "lock";
pub(super) const RUN_FILE: &str = "run.json";
/// Larger than any `run.json`: whatever else lies there is not read.
const RUN_BYTES_MAX: u64 = 64 * 1024;

/// Where a running embedded server is, and how to get in. The content of `run.json`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its address.
    pub url: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// The process that runs it.
    pub pid: u32,
    /// The server's own process; another one after a restart.
    pub server_pid: u32,
    /// The server's name, random for every start.
    pub server_name: String,
    /// The data directory.
    pub data_dir: PathBuf,
}

impl RunInfo {
    /// Settings with which to connect to it, everything else as in `base`.
    #[must_use]
    pub fn bus_config(&self, base: &BusConfig) -> BusConfig {
        BusConfig {
            url: self.url.clone(),
            user: Some(self.user.clone()),
            password: Some(self.password.clone()),
            password_file: None,
            credentials_file: None,
            nkey_file: None,
            token: None,
            ..base.clone()
        }
    }
}

impl std::fmt::Debug for RunInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunInfo")
            .field("url", &self.url)
            .field("pid", &self.pid)
            .field("server_pid", &self.server_pid)
            .finish_non_exhaustive()
    }
}

/// Finds the embedded server that runs on a data directory, if one does. A `run.json` whose
/// process is gone does not count: what counts is that the directory is locked.
#[must_use]
pub fn find_running(data_dir: &Path) -> Option<RunInfo> {
    let lock = File::open(data_dir.join(LOCK_FILE)).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        // Nobody holds it (the lock ends with this file handle), or nobody can tell.
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    let file = File::open(data_dir.join(RUN_FILE)).ok()?;
    let mut text = String::new();
    file.take(RUN_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

/// The data directory is ours for as long as this lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Creates the directory (mode 0700) if need be and locks it. Waits a moment for one that is
    /// just ending or just being looked at.
    pub(super) async fn take(dir: &Path) -> Result<Self, EmbeddedError> {
        let shown = dir.display().to_string();
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(EmbeddedError::io(shown.clone()))?;
        let path = dir.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(EmbeddedError::io(path.display().to_string()))?;
        for attempt in 0..20 {
            match file.try_lock() {
                Ok(()) => {
                    let write =
                        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).and_then(|_| write!(file, "{}", std::process::id()));
                    write.map_err(EmbeddedError::io(path.display().to_string()))?;
                    return Ok(Self { _file: file });
                }
                Err(TryLockError::WouldBlock) if attempt < 19 => {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(source)) => {
                    return Err(EmbeddedError::Io { what: shown, source });
                }
            }
        }
        let mut pid = String::new();
        let _ = file.take(32).read_to_string(&mut pid);
        Err(EmbeddedError::Locked {
            dir: dir.to_owned(),
            holder: match pid.trim().parse::<u32>() {
                Ok(pid) => format!("process {pid}"),
                Err(_) => "another process".to_owned(),
            },
        })
    }
}

/// Writes a file of mode 0600 under a temporary name and renames it: nobody sees half of it.
pub(super) fn write_private(path: &Path, content: &[u8]) -> Result<(), EmbeddedError> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let write = || {
        // A left-over might have another mode.
        let _ = std::fs::remove_file(&temporary);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(EmbeddedError::io(path.display().to_string()))
}

/// Writes `run.json`.
pub(super) fn write_run(path: &Path, run: &RunInfo) -> Result<(), EmbeddedError> {
    let text = serde_json::to_vec_pretty(run).map_err(|error| EmbeddedError::io(RUN_FILE)(std::io::Error::other(error)))?;
    write_private(path, &text)
}

/// The last lines of what the server wrote, for an error message.
pub(super) fn tail(stderr: &Path, log: &Path) -> String {
    let read = |path: &Path| -> Option<String> {
        let mut file = File::open(path).ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(4096))).ok()?;
        let mut bytes = Vec::new();
        file.take(4096).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    let all = [read(stderr), read(log)].into_iter().flatten().collect::<Vec<_>>().join("\n");
    let lines: Vec<&str> = all.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(8)..].join(" | ")
}
