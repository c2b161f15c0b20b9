//! What became of the keys that were shown.

use std::sync::atomic::{AtomicU64, Ordering};

/// What became of the keys that were shown. For operators, not for those who show them.
#[derive(Debug, Default)]
pub struct Counts {
    /// Accepted by what is remembered.
    pub hot: AtomicU64,
    /// Accepted after argon2.
    pub cold: AtomicU64,
    /// No key at all.
    pub malformed: AtomicU64,
    /// A key in form, but not minted here.
    pub forged: AtomicU64,
    /// Minted here, and no longer in the database.
    pub unknown: AtomicU64,
    /// Revoked, expired, not yet valid, or of another environment.
    pub ended: AtomicU64,
    /// Another secret.
    pub wrong: AtomicU64,
    /// Not judged.
    pub busy: AtomicU64,
}

impl Counts {
    /// Each count with its name.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let Counts { hot, cold, malformed, forged, unknown, ended, wrong, busy } = self;
        let named = [
            ("hot", hot),
            ("cold", cold),
            ("malformed", malformed),
            ("forged", forged),
            ("unknown", unknown),
            ("ended", ended),
            ("wrong", wrong),
            ("busy", busy),
        ];
        named.into_iter().map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// One more.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
