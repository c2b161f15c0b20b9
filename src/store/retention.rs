//! What is old goes, in steps: each a transaction of its own, so that nobody waits long for the lock.

use super::{Store, StoreError, on_pool, signed};
use homeostat_schemas::{UnixMs, time::DAY};

/// Rows a step.
const STEP: i64 = 1_000;
/// Steps a call, over all tables; what is left waits for the next call.
const STEPS_MAX: usize = 100;

// Incidents first: an alert goes when its incident is gone, so that what is still open keeps its beginning.
const DELETIONS: &[&str] = &[
    "DELETE FROM incident WHERE number IN (SELECT number FROM incident WHERE resolved_ms < $1 ORDER BY number LIMIT $2)",
    "DELETE FROM alert WHERE id IN (SELECT a.id FROM alert a WHERE a.at_ms < $1 \
     AND NOT EXISTS (SELECT 1 FROM incident i WHERE i.incident = a.incident) LIMIT $2)",
    "DELETE FROM command WHERE number IN (SELECT number FROM command WHERE at_ms < $1 ORDER BY number LIMIT $2)",
    "DELETE FROM outcome WHERE (incarnation, part, position) IN (SELECT incarnation, part, position FROM outcome WHERE at_ms < $1 LIMIT $2)",
    "DELETE FROM decision WHERE number IN (SELECT number FROM decision WHERE at_ms < $1 ORDER BY number LIMIT $2)",
    "DELETE FROM verdict WHERE (incident, alert) IN (SELECT incident, alert FROM verdict WHERE at_ms < $1 LIMIT $2)",
];

/// What a call of [`Store::retain`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retained {
    /// Rows deleted.
    pub deleted: u64,
    /// Is there more to delete?
    pub more: bool,
}

impl Store {
    /// Deletes what is older than `history_days` before `now`, log time; a bounded piece of it a call.
    ///
    /// # Errors
    /// The database does not answer; what was deleted before stays deleted.
    pub async fn retain(&self, now: UnixMs) -> Result<Retained, StoreError> {
        let keep = u64::from(self.config().history_days.get()).saturating_mul(DAY);
        let Some(before) = now.checked_sub(keep) else { return Ok(Retained::default()) };
        let mut done = Retained::default();
        let mut steps = 0;
        for sql in DELETIONS.iter().copied() {
            loop {
                if steps == STEPS_MAX {
                    return Ok(Retained { more: true, ..done });
                }
                steps += 1;
                let step = self.work("retention", async {
                    on_pool!(self, pool => Ok(sqlx::query(sql).bind(signed(before)).bind(STEP).execute(pool).await?.rows_affected()))
                });
                let deleted = step.await?;
                done.deleted += deleted;
                if deleted < STEP.unsigned_abs() {
                    break;
                }
            }
        }
        Ok(done)
    }
}
