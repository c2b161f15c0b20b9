//! Where the bus is: the address that was set, or the server of a `homeostat up` on this machine.
//!
//! `homeostat up` writes `run.json` (mode 0600) into its data directory: address, user and password of its server. The
//! directory is locked for as long as it runs, so a file that was left behind is told from one that counts.

use serde::Deserialize;
use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::Path;

/// Larger than any `run.json`: whatever else lies there is not read.
const RUN_BYTES_MAX: u64 = 64 * 1024;

/// Where a running server is, and how to get in.
#[derive(Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Run {
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

/// The server that `homeostat up` runs on a data directory, if it does.
pub(crate) fn running(data_dir: &Path) -> Option<Run> {
    let lock = File::open(data_dir.join("lock")).ok()?;
    match lock.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {}
        // Nobody holds it (ours ends with this file handle), or nobody can tell.
        Ok(()) | Err(TryLockError::Error(_)) => return None,
    }
    let mut text = String::new();
    File::open(data_dir.join("run.json")).ok()?.take(RUN_BYTES_MAX).read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_left_behind_is_nobody_and_a_locked_directory_is_somebody() {
        let dir = tempfile::tempdir().unwrap();
        assert!(running(dir.path()).is_none());
        std::fs::write(
            dir.path().join("run.json"),
            r#"{"url":"nats://127.0.0.1:1","user":"u","password":"p","pid":1,"server_pid":2,"server_name":"n","data_dir":"d"}"#,
        )
        .unwrap();
        let lock = File::create(dir.path().join("lock")).unwrap();
        assert!(running(dir.path()).is_none(), "nobody holds the directory");
        lock.lock().unwrap();
        assert_eq!(running(dir.path()).map(|run| run.url), Some("nats://127.0.0.1:1".to_owned()));
        std::fs::write(dir.path().join("run.json"), "{").unwrap();
        assert!(running(dir.path()).is_none());
    }
}
