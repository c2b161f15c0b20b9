//! How full is what the log stands on: the disk of the data directory, and the streams. A full disk is the worst that can happen, because
//! nothing is taken any more; a stream that refuses when it is full is the next to it.

use super::Registrar;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

/// A label for a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StreamLabel {
    /// `log`, `archive`, `state`, `checkpoints` or `ledger`.
    stream: &'static str,
}

/// How full everything is.
#[derive(Debug, Clone, Default)]
pub struct Room {
    /// What the disk of the data directory has left for us.
    disk_available: Gauge,
    /// How large it is.
    disk_size: Gauge,
    /// What each stream holds.
    stream: Family<StreamLabel, Gauge>,
    /// What it may hold.
    stream_limit: Family<StreamLabel, Gauge>,
}

impl Room {
    pub(super) fn register(&self, r: &mut Registrar) {
        let bytes = || Some(Unit::Bytes);
        r.add(
            "homeostat_disk_available",
            bytes(),
            &[],
            "What the disk of the data directory has left for this user; the embedded server keeps its streams there",
            self.disk_available.clone(),
        );
        r.add("homeostat_disk_size", bytes(), &[], "Size of the disk of the data directory", self.disk_size.clone());
        r.add(
            "homeostat_stream_size",
            bytes(),
            &["stream"],
            "What a stream or bucket holds. In log and archive the oldest makes room; state, checkpoints and ledger take no more when full",
            self.stream.clone(),
        );
        r.add("homeostat_stream_limit", bytes(), &["stream"], "What a stream or bucket may hold", self.stream_limit.clone());
    }

    /// Shows the disk. Before that both are 0, of which no share is small.
    pub fn disk(&self, available: u64, size: u64) {
        self.disk_available.set(whole(available));
        self.disk_size.set(whole(size));
    }

    /// Shows a stream; one without a limit of its own is shown without.
    pub fn stream(&self, stream: &'static str, bytes: u64, limit: Option<u64>) {
        let label = StreamLabel { stream };
        self.stream.get_or_create(&label).set(whole(bytes));
        if let Some(limit) = limit {
            self.stream_limit.get_or_create(&label).set(whole(limit));
        } else {
            self.stream_limit.remove(&label);
        }
    }
}

fn whole(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
