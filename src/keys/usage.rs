//! How keys are used: how often, when last, from where, by version. Counted where keys are judged, written down every ten seconds and
//! at the first use of a version, so that the first sign of life of a new secret (or of an old one that should be gone) is not late.
//!
//! Promises
//! - KU-1 Counting takes no lock that anybody waits for.
//! - KU-2 What could not be written down is written down later; what a crash loses is at most one interval.

use super::error::KeysError;
use super::format::KeyId;
use super::records::Records;
use homeostat_schemas::UnixMs;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How often it is written down.
pub const FLUSH_EVERY: Duration = Duration::from_secs(10);
/// How often somebody who got in and is still there counts as a use.
const PRESENT_EVERY_MS: u64 = 60 * 60 * 1_000;
/// How soon after a first use.
const FIRST_AFTER: Duration = Duration::from_millis(100);

/// How one version of a key has been used since it was last written down.
#[derive(Debug)]
pub struct Cell {
    id: KeyId,
    version: u32,
    count: AtomicU64,
    last: AtomicU64,
    seen: AtomicBool,
    source: Mutex<Option<IpAddr>>,
}

/// What is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// Which key.
    pub id: KeyId,
    /// Which version.
    pub version: u32,
    /// How often, since last time.
    pub count: u64,
    /// When last.
    pub last_used_ms: UnixMs,
    /// From where.
    pub source: Option<IpAddr>,
}

/// All that has been counted.
#[derive(Debug, Default)]
pub struct Usage {
    cells: Mutex<HashMap<(KeyId, u32), Arc<Cell>>>,
    first: Notify,
}

impl Usage {
    /// Where one version is counted.
    pub(super) fn cell(&self, id: KeyId, version: u32) -> Arc<Cell> {
        let cell = || Cell {
            id,
            version,
            count: AtomicU64::new(0),
            last: AtomicU64::new(0),
            seen: AtomicBool::new(false),
            source: Mutex::new(None),
        };
        self.lock().entry((id, version)).or_insert_with(|| Arc::new(cell())).clone()
    }

    /// Counts one use.
    pub(super) fn used(&self, cell: &Cell, now: UnixMs, source: Option<IpAddr>) {
        cell.count.fetch_add(1, Ordering::Relaxed);
        cell.last.store(now, Ordering::Relaxed);
        // Where two come at once, either is the last.
        if let Some(source) = source
            && let Ok(mut last) = cell.source.try_lock()
        {
            *last = Some(source);
        }
        if !cell.seen.load(Ordering::Relaxed) && !cell.seen.swap(true, Ordering::Relaxed) {
            self.first.notify_one();
        }
    }

    /// Somebody who got in with it is still there. That is a use an hour, so that whoever stays for long is not taken for gone.
    pub(super) fn present(&self, cell: &Cell, now: UnixMs) {
        if now.saturating_sub(cell.last.load(Ordering::Relaxed)) >= PRESENT_EVERY_MS {
            self.used(cell, now, None);
        }
    }

    /// Takes what has been counted; cells that nobody counts in any more are dropped.
    fn take(&self) -> Vec<Used> {
        let mut taken = Vec::new();
        self.lock().retain(|_, cell| {
            let count = cell.count.swap(0, Ordering::Relaxed);
            if count > 0 {
                let source = *cell.source.lock().unwrap_or_else(PoisonError::into_inner);
                taken.push(Used { id: cell.id, version: cell.version, count, last_used_ms: cell.last.load(Ordering::Relaxed), source });
            }
            count > 0 || Arc::strong_count(cell) > 1
        });
        taken
    }

    fn put_back(&self, taken: &[Used]) {
        for used in taken {
            let cell = self.cell(used.id, used.version);
            cell.count.fetch_add(used.count, Ordering::Relaxed);
            cell.last.fetch_max(used.last_used_ms, Ordering::Relaxed);
        }
    }

    /// Writes down what has been counted.
    ///
    /// # Errors
    /// The database does not take it; it is kept for the next time.
    pub async fn flush(&self, records: &Records) -> Result<(), KeysError> {
        let taken = self.take();
        for part in taken.chunks(500) {
            if let Err(error) = records.add_usage(part).await {
                self.put_back(part);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Writes down until told to stop, and once more then.
    pub async fn run(&self, records: Records, mut stop: watch::Receiver<bool>) {
        loop {
            let stopped = tokio::select! {
                () = crate::system::told(&mut stop) => true,
                () = tokio::time::sleep(FLUSH_EVERY) => false,
                () = async {
                    self.first.notified().await;
                    tokio::time::sleep(FIRST_AFTER).await;
                } => false,
            };
            if let Err(error) = self.flush(&records).await {
                tracing::warn!(%error, "how keys are used could not be written down; it will be tried again");
            }
            if stopped {
                return;
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(KeyId, u32), Arc<Cell>>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_counted_is_taken_once_and_put_back_when_it_could_not_be_written() {
        let usage = Usage::default();
        let id = KeyId::draw().unwrap();
        let cell = usage.cell(id, 2);
        usage.used(&cell, 5, Some(IpAddr::from([10, 0, 0, 1])));
        usage.used(&cell, 9, None);
        let taken = usage.take();
        let expected = Used { id, version: 2, count: 2, last_used_ms: 9, source: Some(IpAddr::from([10, 0, 0, 1])) };
        assert_eq!(taken.as_slice(), std::slice::from_ref(&expected));
        assert!(usage.take().is_empty());
        usage.put_back(&taken);
        drop(cell);
        assert_eq!(usage.take()[0].count, 2);
        assert!(usage.take().is_empty());
        assert!(usage.lock().is_empty(), "nobody counts in it any more");
    }
}
