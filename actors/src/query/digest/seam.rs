//! Statements whose duration stands in a later message (`log_statement` with `log_duration`): paired by session, also over the
//! seams between blocks, which different threads may have read.

use super::{Digest, Execution, add, note_time};
use crate::query::stats::Stats;
use homeostat_reflexes::sql::Fingerprint;
use homeostat_schemas::UnixMs;
use std::collections::BTreeMap;

/// Sessions whose statement waits for its duration, and durations without a statement, of one block.
const SESSIONS_MAX: usize = 4_096;

/// What one block leaves open.
#[derive(Debug, Default)]
pub struct Seam {
    /// Statements that had no duration by the end of the block.
    open: BTreeMap<u64, Fingerprint>,
    /// Durations of statements that stand before the block, in order.
    early: Vec<(u64, u64, UnixMs)>,
    /// Sessions whose statement before the block has no duration: it failed (true), or another one began.
    ended: Vec<(u64, bool)>,
    /// Sessions that said anything in this block.
    known: BTreeMap<u64, ()>,
}

impl Seam {
    /// A statement began; its duration follows, if at all.
    pub(super) fn begun(&mut self, session: u64, statement: &str, at: UnixMs, digest: &mut Digest) {
        digest.counts.seen(at);
        let number = digest.recognise(statement);
        let Some(row) = digest.rows.get(number as usize) else {
            digest.counts.untimed += 1;
            return;
        };
        let fingerprint = row.fingerprint;
        self.enter(session, false);
        let room = self.open.len() < SESSIONS_MAX || self.open.contains_key(&session);
        if !room || self.open.insert(session, fingerprint).is_some() {
            digest.counts.untimed += 1;
        }
    }

    /// The statement of this session failed: there will be no duration.
    pub(super) fn failed(&mut self, session: u64) {
        self.enter(session, true);
        self.open.remove(&session);
    }

    /// The statement of this session took so long.
    pub(super) fn timed(&mut self, session: u64, took_us: u64, at: UnixMs, digest: &mut Digest) {
        match self.open.remove(&session) {
            Some(fingerprint) => {
                let number = digest.places.get(fingerprint.0).unwrap_or(super::NO_ROW);
                digest.count(number, &Execution { took_us, at_ms: at, ..Execution::default() });
            }
            None if !self.known.contains_key(&session) && self.early.len() < SESSIONS_MAX => {
                self.known.insert(session, ());
                self.early.push((session, took_us, at));
            }
            // `log_duration` alone, or a step whose statement is not logged.
            None => digest.counts.nameless += 1,
        }
    }

    fn enter(&mut self, session: u64, failed: bool) {
        if self.known.len() < 2 * SESSIONS_MAX
            && self.known.insert(session, ()).is_none()
            && !self.early.iter().any(|(known, ..)| *known == session)
        {
            self.ended.push((session, failed));
        }
    }

    /// Is there nothing to tell?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.early.is_empty() && self.ended.is_empty()
    }
}

/// Puts the seams of all blocks together, in their order.
#[derive(Default)]
pub struct Seams {
    slow_us: u64,
    next: u64,
    waiting: BTreeMap<u64, Seam>,
    open: BTreeMap<u64, Fingerprint>,
    timed: BTreeMap<Fingerprint, Stats>,
    untimed: u64,
    unknown: u64,
}

impl Seams {
    /// No block yet; an execution that took longer than `slow_us` microseconds is counted as slow.
    #[must_use]
    pub fn new(slow_us: u64) -> Seams {
        Seams { slow_us, ..Seams::default() }
    }

    /// Takes the seam of the block of this number, from 0; in any order.
    pub fn take(&mut self, block: u64, seam: Seam) {
        self.waiting.insert(block, seam);
        while let Some(seam) = self.waiting.remove(&self.next) {
            self.next += 1;
            for (session, took_us, at) in seam.early {
                match self.open.remove(&session) {
                    Some(fingerprint) => {
                        let stats = self.timed.entry(fingerprint).or_insert_with(|| Stats::new(0));
                        note_time(stats, at);
                        let last = stats.last_seen_ms;
                        stats.add(last, took_us, 0, false, took_us > self.slow_us);
                    }
                    None => self.unknown += 1,
                }
            }
            for (session, failed) in seam.ended {
                self.untimed += u64::from(self.open.remove(&session).is_some() && !failed);
            }
            for (session, fingerprint) in seam.open {
                if self.open.len() < SESSIONS_MAX {
                    self.open.insert(session, fingerprint);
                } else {
                    self.untimed += 1;
                }
            }
        }
    }

    /// Counts what was put together.
    pub fn finish(self, digest: &mut Digest) {
        for (fingerprint, stats) in &self.timed {
            digest.counts.seen(stats.first_seen_ms);
            digest.counts.seen(stats.last_seen_ms);
            match digest.places.get(fingerprint.0).and_then(|number| digest.rows.get_mut(number as usize)) {
                Some(row) => add(&mut row.stats, stats),
                None => add(&mut digest.other, stats),
            }
        }
        digest.counts.untimed += self.untimed + self.open.len() as u64;
        digest.counts.nameless += self.unknown;
    }
}
