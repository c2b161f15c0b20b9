//! What recovery decided and held back, and why: taken from the mind's own record, which remembers the newest only.

use super::history::{limit, read};
use super::{CHUNK, Store, StoreError, column, on_pool, signed, unsigned};
use homeostat_actors::recovery::{Entry, What};
use homeostat_schemas::{Position, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecisionFilter {
    /// About this incident.
    pub incident: Option<String>,
    /// About this service.
    pub service: Option<String>,
    /// About this action.
    pub action: Option<String>,
    /// Of this sort.
    pub what: Option<What>,
    /// Decided at or after this, log time.
    pub since: Option<UnixMs>,
    /// Decided before this, log time.
    pub until: Option<UnixMs>,
    /// At most so many ([`LIMIT_DEFAULT`](super::history::LIMIT_DEFAULT) when not set, [`LIMIT_MAX`](super::history::LIMIT_MAX) at most).
    pub limit: Option<u32>,
    /// Older than this [`DecisionRecord::number`]: the next page.
    pub before: Option<u64>,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DecisionRecord {
    /// Grows with every decision; the cursor for [`DecisionFilter::before`].
    pub number: u64,
    /// What was decided, and why.
    #[serde(flatten)]
    pub entry: Entry,
}

const DECISIONS: &str = "SELECT number, body FROM decision \
     WHERE (CAST($1 AS TEXT) IS NULL OR incident = $1) AND (CAST($2 AS TEXT) IS NULL OR service = $2) \
     AND (CAST($3 AS TEXT) IS NULL OR action = $3) AND (CAST($4 AS TEXT) IS NULL OR what = $4) \
     AND (CAST($5 AS BIGINT) IS NULL OR at_ms >= $5) AND (CAST($6 AS BIGINT) IS NULL OR at_ms < $6) \
     AND (CAST($7 AS BIGINT) IS NULL OR number < $7) ORDER BY number DESC LIMIT $8";
// A log that lost its tail uses its positions again, for other messages.
const AGAIN: &str = " ON CONFLICT (incarnation, part, position, place) DO UPDATE SET at_ms = excluded.at_ms, what = excluded.what, \
     incident = excluded.incident, service = excluded.service, action = excluded.action, body = excluded.body";

impl Store {
    /// Keeps decisions, given the oldest first; those that are there already change nothing.
    ///
    /// # Errors
    /// The database does not answer; then none of them is kept.
    pub async fn save_decisions(&self, incarnation: &str, partition: u16, entries: &[Entry]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (incarnation, part) = (column(incarnation), i64::from(partition));
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let body = serde_json::to_string(entry)
                .map_err(|why| StoreError::Corrupt { row: format!("the decision at {}", entry.position), why: why.to_string() })?;
            rows.push((entry, body));
        }
        let done = self.work("save decisions", async {
            on_pool!(self, pool => {
                let mut tx = pool.begin_with(self.begin()).await?;
                for chunk in rows.chunks(CHUNK) {
                    let head = "INSERT INTO decision (incarnation, part, position, place, at_ms, what, incident, service, action, body) ";
                    let mut insert = sqlx::QueryBuilder::new(head);
                    insert.push_values(chunk, |mut values, (entry, body)| {
                        values
                            .push_bind(&incarnation)
                            .push_bind(part)
                            .push_bind(signed(entry.position))
                            .push_bind(i64::from(entry.index))
                            .push_bind(signed(entry.at_ms))
                            .push_bind(entry.what.name())
                            .push_bind(column(&entry.incident))
                            .push_bind(column(&entry.service))
                            .push_bind(column(&entry.action))
                            .push_bind(body);
                    });
                    insert.push(AGAIN);
                    insert.build().persistent(false).execute(&mut *tx).await?;
                }
                tx.commit().await?;
            });
            Ok(())
        });
        done.await
    }

    /// The place of the last decision at or before `until` that is kept: the message, and its number there.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn last_decision(&self, incarnation: &str, partition: u16, until: Position) -> Result<Option<(Position, u32)>, StoreError> {
        const SQL: &str = "SELECT position, place FROM decision WHERE incarnation = $1 AND part = $2 AND position <= $3 \
             ORDER BY position DESC, place DESC LIMIT 1";
        let found = self.work("last decision", async {
            let (incarnation, part) = (column(incarnation), i64::from(partition));
            let found: Option<(i64, i64)> =
                on_pool!(self, pool => sqlx::query_as(SQL).bind(incarnation).bind(part).bind(signed(until)).fetch_optional(pool).await?);
            Ok(found.map(|(position, place)| (unsigned(position), u32::try_from(place).unwrap_or(u32::MAX))))
        });
        found.await
    }

    /// Decisions, the newest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn decisions(&self, filter: &DecisionFilter) -> Result<Vec<DecisionRecord>, StoreError> {
        let found = self.work("decisions", async {
            let rows: Vec<(i64, String)> = on_pool!(self, pool => {
                sqlx::query_as(DECISIONS)
                    .bind(filter.incident.as_deref().map(column))
                    .bind(filter.service.as_deref().map(column))
                    .bind(filter.action.as_deref().map(column))
                    .bind(filter.what.map(What::name))
                    .bind(filter.since.map(signed))
                    .bind(filter.until.map(signed))
                    .bind(filter.before.map(signed))
                    .bind(limit(filter.limit))
                    .fetch_all(pool)
                    .await?
            });
            let one = |(number, body): (i64, String)| {
                Ok(DecisionRecord { number: unsigned(number), entry: read(&format!("decision {number}"), &body)? })
            };
            rows.into_iter().map(one).collect()
        });
        found.await
    }
}
