//! The log into rows. One transaction a batch, with the position in it; what was projected before is passed over.

use super::{Failure, Pool, Store, StoreError, column, on_pool, signed, unsigned};
use homeostat_schemas::{Alert, Command, Content, Delivery, Outcome, Position, State, UnixMs};

/// A transaction holds at most this many rows; a larger batch is several, each with its own position.
const ROWS_MAX: usize = 1_000;
/// A position that moved without anything worth a row is written after so many messages …
const QUIET_MESSAGES: u64 = 10_000;
/// … or so much log time.
const QUIET_MS: UnixMs = 5_000;

const ADD_POSITION: &str =
    "INSERT INTO projection (incarnation, part, position, at_ms) VALUES ($1, $2, 0, 0) ON CONFLICT (incarnation, part) DO NOTHING";
const SET_POSITION: &str = "UPDATE projection SET position = $3, at_ms = $4 WHERE incarnation = $1 AND part = $2";
const ADD_ALERT: &str = "INSERT INTO alert (id, incident, at_ms, incarnation, part, position, body) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO NOTHING";
const OPEN_INCIDENT: &str = "INSERT INTO incident (incident, rule, service, severity, opened_ms, firing) VALUES ($1, $2, $3, $4, $5, $6) \
     ON CONFLICT (incident) DO UPDATE SET severity = excluded.severity, firing = excluded.firing, resolved = NULL, resolved_ms = NULL";
const CLOSE_INCIDENT: &str = "INSERT INTO incident (incident, rule, service, severity, opened_ms, resolved, resolved_ms) VALUES ($1, $2, $3, $4, $5, $6, $7) \
     ON CONFLICT (incident) DO UPDATE SET resolved = excluded.resolved, resolved_ms = excluded.resolved_ms";
const ADD_VERDICT: &str =
    "INSERT INTO verdict (incident, alert, command, at_ms) VALUES ($1, $2, $3, $4) ON CONFLICT (incident, alert) DO NOTHING";
const ADD_COMMAND: &str = "INSERT INTO command (id, incident, service, action, at_ms, incarnation, part, position, body) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO NOTHING";
// Only what the service says that the command was for.
const ADD_OUTCOME: &str = "INSERT INTO outcome (incarnation, part, position, command, at_ms, body) SELECT $1, $2, $3, $4, $5, $6 \
     WHERE EXISTS (SELECT 1 FROM command WHERE id = $4 AND service = $7) ON CONFLICT (incarnation, part, position) DO NOTHING";

/// What of a delivery is kept.
enum Row<'a> {
    Alert(&'a Alert),
    Command(&'a Command),
    Outcome(&'a Outcome),
}

fn row(delivery: &Delivery) -> Option<Row<'_>> {
    match &delivery.content {
        Content::Alert(alert) => Some(Row::Alert(alert)),
        Content::Command(command) => Some(Row::Command(command)),
        Content::Outcome(outcome) => Some(Row::Outcome(outcome)),
        Content::Events(_)
        | Content::Ask(_)
        | Content::Answer(_)
        | Content::Settings(_)
        | Content::Key(_)
        | Content::Tick
        | Content::Housekeeping
        | Content::Broken(_) => None,
    }
}

impl Store {
    /// How far the log of this incarnation has been projected; 0 when nothing was.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn position(&self, incarnation: &str, partition: u16) -> Result<Position, StoreError> {
        const SQL: &str = "SELECT position FROM projection WHERE incarnation = $1 AND part = $2";
        let found = self.work("position", async {
            let part = i64::from(partition);
            let found: Option<i64> =
                on_pool!(self, pool => sqlx::query_scalar(SQL).bind(column(incarnation)).bind(part).fetch_optional(pool).await?);
            Ok(found.map_or(0, unsigned))
        });
        found.await
    }

    /// The time of the message at that position, by which it is known whether the log still has it.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn position_ms(&self, incarnation: &str, partition: u16) -> Result<Option<UnixMs>, StoreError> {
        const SQL: &str = "SELECT at_ms FROM projection WHERE incarnation = $1 AND part = $2";
        let found = self.work("position", async {
            let part = i64::from(partition);
            let found: Option<i64> =
                on_pool!(self, pool => sqlx::query_scalar(SQL).bind(column(incarnation)).bind(part).fetch_optional(pool).await?);
            Ok(found.map(unsigned))
        });
        found.await
    }

    /// Projects the log of this incarnation from its beginning: what is there already changes nothing.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn rewind(&self, incarnation: &str, partition: u16) -> Result<(), StoreError> {
        const SQL: &str = "UPDATE projection SET position = 0, at_ms = 0 WHERE incarnation = $1 AND part = $2";
        let part = i64::from(partition);
        self.work("rewind", async {
            on_pool!(self, pool => { sqlx::query(SQL).bind(column(incarnation)).bind(part).execute(pool).await?; });
            Ok(())
        })
        .await?;
        self.written().remove(&(incarnation.to_owned(), partition));
        Ok(())
    }

    /// Takes messages of the log, in order. Those at or before the stored position change nothing.
    ///
    /// A batch with nothing to keep is not written at once: after a crash the position may be some seconds old, and what follows
    /// it is projected again without effect.
    ///
    /// # Errors
    /// The database does not answer. Ask for the [`position`](Store::position) again before going on: the database may be another.
    pub async fn project(&self, incarnation: &str, partition: u16, deliveries: &[Delivery]) -> Result<(), StoreError> {
        let mut rest = deliveries;
        while let Some(first) = rest.first() {
            // Everything up to and including the last row that still fits.
            let mut rows = 0;
            let fits = rest.iter().take_while(|delivery| {
                rows += usize::from(row(delivery).is_some());
                rows <= ROWS_MAX
            });
            let (batch, later) = rest.split_at(fits.count());
            rest = later;
            let last = batch.last().unwrap_or(first);
            let quiet = batch.iter().all(|delivery| row(delivery).is_none());
            if quiet && !self.is_due(incarnation, partition, last) {
                continue;
            }
            self.work("project", self.write(incarnation, partition, batch, last)).await?;
            self.written().insert((incarnation.to_owned(), partition), (last.position, last.at));
        }
        Ok(())
    }

    fn is_due(&self, incarnation: &str, partition: u16, last: &Delivery) -> bool {
        let written = self.written().get(&(incarnation.to_owned(), partition)).copied();
        written
            .is_none_or(|(position, at)| last.position.saturating_sub(position) >= QUIET_MESSAGES || last.at.saturating_sub(at) >= QUIET_MS)
    }

    async fn write(&self, incarnation: &str, partition: u16, batch: &[Delivery], last: &Delivery) -> Result<(), Failure> {
        let incarnation = column(incarnation);
        let part = i64::from(partition);
        // Two processes that project at once take turns: SQLite by `BEGIN IMMEDIATE`, PostgreSQL by the lock on this row.
        let read = match &self.inner.pool {
            Pool::Sqlite(_) => "SELECT position FROM projection WHERE incarnation = $1 AND part = $2",
            Pool::Postgres(_) => "SELECT position FROM projection WHERE incarnation = $1 AND part = $2 FOR UPDATE",
        };
        on_pool!(self, pool => {
            let mut tx = pool.begin_with(self.begin()).await?;
            sqlx::query(ADD_POSITION).bind(&incarnation).bind(part).execute(&mut *tx).await?;
            let stored: i64 = sqlx::query_scalar(read).bind(&incarnation).bind(part).fetch_one(&mut *tx).await?;
            let stored = unsigned(stored);
            for delivery in batch.iter().filter(|delivery| delivery.position > stored) {
                let (at, position) = (signed(delivery.at), signed(delivery.position));
                match row(delivery) {
                    Some(Row::Alert(alert)) => {
                        let (id, incident, body) = (column(&alert.id), column(&alert.incident), body(&delivery.subject, alert)?);
                        sqlx::query(ADD_ALERT).bind(&id).bind(&incident).bind(at).bind(&incarnation).bind(part).bind(position).bind(body)
                            .execute(&mut *tx).await?;
                        let change = match alert.state { State::Firing => OPEN_INCIDENT, State::Resolved => CLOSE_INCIDENT };
                        let change = sqlx::query(change).bind(&incident).bind(column(&alert.rule)).bind(column(&alert.service))
                            .bind(alert.severity.to_string()).bind(signed(alert.since_ms)).bind(&id);
                        let change = match alert.state { State::Firing => change, State::Resolved => change.bind(signed(alert.at_ms)) };
                        change.execute(&mut *tx).await?;
                        if let Some((_, about, command)) = alert.verdict() {
                            sqlx::query(ADD_VERDICT).bind(column(about)).bind(&id).bind(column(command.unwrap_or_default())).bind(at)
                                .execute(&mut *tx).await?;
                        }
                    }
                    Some(Row::Command(command)) => {
                        sqlx::query(ADD_COMMAND).bind(column(&command.id)).bind(column(&command.incident)).bind(column(&command.service))
                            .bind(column(&command.action)).bind(at).bind(&incarnation).bind(part).bind(position)
                            .bind(body(&delivery.subject, command)?).execute(&mut *tx).await?;
                    }
                    Some(Row::Outcome(outcome)) => {
                        sqlx::query(ADD_OUTCOME).bind(&incarnation).bind(part).bind(position).bind(column(&outcome.command)).bind(at)
                            .bind(body(&delivery.subject, outcome)?).bind(column(&outcome.service)).execute(&mut *tx).await?;
                    }
                    None => {}
                }
            }
            if last.position > stored {
                sqlx::query(SET_POSITION).bind(&incarnation).bind(part).bind(signed(last.position)).bind(signed(last.at))
                    .execute(&mut *tx).await?;
            }
            tx.commit().await?;
        });
        Ok(())
    }
}

fn body(subject: &str, word: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(word).map_err(|why| Failure::Corrupt(subject.to_owned(), why.to_string()))
}
