//! Alerts, commands and outcomes, read.

use super::{Failure, Store, StoreError, column, on_pool, signed, unsigned};
use homeostat_schemas::{Alert, Command, Outcome, Position, Severity, UnixMs};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A question gets at most this many rows, whatever it asks for.
pub const LIMIT_MAX: u32 = 1_000;
/// What a question gets that names no limit.
pub const LIMIT_DEFAULT: u32 = 100;

/// Which incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    /// Only those that are open, or only those that are not.
    pub open: Option<bool>,
    /// Of this service.
    pub service: Option<String>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// That began at or after this.
    pub since: Option<UnixMs>,
    /// That began before this.
    pub until: Option<UnixMs>,
    /// At most so many ([`LIMIT_DEFAULT`] when not set, [`LIMIT_MAX`] at most).
    pub limit: Option<u32>,
    /// Older than this [`AlertRecord::number`]: the next page.
    pub before: Option<u64>,
}

/// One incident: how it began, and how it ended if it did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertRecord {
    /// Grows with every incident; the cursor for [`AlertFilter::before`].
    pub number: u64,
    /// When it began, log time.
    pub opened_ms: UnixMs,
    /// When it ended, log time.
    pub resolved_ms: Option<UnixMs>,
    /// The alert that fired (of one whose beginning is not known, the one that resolved).
    pub alert: Alert,
    /// The alert that resolved.
    pub resolved: Option<Alert>,
}

/// Which commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// To this service.
    pub service: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// For this incident.
    pub incident: Option<String>,
    /// At most so many ([`LIMIT_DEFAULT`] when not set, [`LIMIT_MAX`] at most).
    pub limit: Option<u32>,
    /// Older than this [`CommandRecord::number`]: the next page.
    pub before: Option<u64>,
}

/// One command and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Grows with every command; the cursor for [`CommandFilter::before`].
    pub number: u64,
    /// The command.
    pub command: Command,
    /// What was said of it, oldest first.
    pub outcomes: Vec<OutcomeRecord>,
}

/// What was said of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeRecord {
    /// Its place in the log.
    pub position: Position,
    /// Its log time; `outcome.at_ms` is the executor's.
    pub logged_ms: UnixMs,
    /// What was said.
    pub outcome: Outcome,
}

/// All that is known of one incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct IncidentRecord {
    /// How it began and ended.
    #[serde(flatten)]
    pub record: AlertRecord,
    /// Every message about it, oldest first.
    pub messages: Vec<Alert>,
    /// What was to be done about it, oldest first, and what became of that.
    pub commands: Vec<CommandRecord>,
}

/// An outcome about one of our commands is said a few times; more than this is somebody's mistake.
const OUTCOMES_MAX: i64 = 50;
/// Messages of one incident shown.
const MESSAGES_MAX: i64 = 100;

const ALERTS: &str = "SELECT i.number, i.opened_ms, i.resolved_ms, f.body, r.body FROM incident i \
     LEFT JOIN alert f ON f.id = i.firing LEFT JOIN alert r ON r.id = i.resolved \
     WHERE (CAST($1 AS BIGINT) IS NULL OR (i.resolved_ms IS NULL) = ($1 = 1)) \
     AND (CAST($2 AS TEXT) IS NULL OR i.service = $2) AND (CAST($3 AS TEXT) IS NULL OR i.rule = $3) \
     AND (CAST($4 AS TEXT) IS NULL OR i.severity = $4) \
     AND (CAST($5 AS BIGINT) IS NULL OR i.opened_ms >= $5) AND (CAST($6 AS BIGINT) IS NULL OR i.opened_ms < $6) \
     AND (CAST($7 AS BIGINT) IS NULL OR i.number < $7) ORDER BY i.number DESC LIMIT $8";
const ALERT: &str = "SELECT i.number, i.opened_ms, i.resolved_ms, f.body, r.body FROM incident i \
     LEFT JOIN alert f ON f.id = i.firing LEFT JOIN alert r ON r.id = i.resolved \
     WHERE i.incident = $1 OR i.incident IN (SELECT incident FROM alert WHERE id = $1) ORDER BY i.number DESC LIMIT 1";
const MESSAGES: &str = "SELECT id, body FROM alert WHERE incident = $1 ORDER BY at_ms, position LIMIT $2";
const COMMANDS: &str = "SELECT number, id, body FROM command \
     WHERE (CAST($1 AS TEXT) IS NULL OR service = $1) AND (CAST($2 AS TEXT) IS NULL OR action = $2) \
     AND (CAST($3 AS TEXT) IS NULL OR incident = $3) AND (CAST($4 AS BIGINT) IS NULL OR number < $4) ORDER BY number DESC LIMIT $5";
const OUTCOMES: &str = "SELECT position, at_ms, body FROM outcome WHERE command = $1 ORDER BY at_ms, position LIMIT $2";

type AlertRow = (i64, i64, Option<i64>, Option<String>, Option<String>);

impl Store {
    /// Incidents, the newest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn alerts(&self, filter: &AlertFilter) -> Result<Vec<AlertRecord>, StoreError> {
        let found = self.work("alerts", async {
            let rows: Vec<AlertRow> = on_pool!(self, pool => {
                sqlx::query_as(ALERTS)
                    .bind(filter.open.map(i64::from))
                    .bind(filter.service.as_deref().map(column))
                    .bind(filter.rule.as_deref().map(column))
                    .bind(filter.severity.map(|severity| severity.to_string()))
                    .bind(filter.since.map(signed))
                    .bind(filter.until.map(signed))
                    .bind(filter.before.map(signed))
                    .bind(limit(filter.limit))
                    .fetch_all(pool)
                    .await?
            });
            rows.into_iter().map(alert_record).collect()
        });
        found.await
    }

    /// All that is known of the incident with this id, or of the one that the alert with this id belongs to.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn alert(&self, id: &str) -> Result<Option<IncidentRecord>, StoreError> {
        let found = self.work("alert", async {
            let id = column(id);
            let row: Option<AlertRow> = on_pool!(self, pool => sqlx::query_as(ALERT).bind(&id).fetch_optional(pool).await?);
            let Some(record) = row.map(alert_record).transpose()? else { return Ok(None) };
            let incident = column(&record.alert.incident);
            let rows: Vec<(String, String)> =
                on_pool!(self, pool => sqlx::query_as(MESSAGES).bind(&incident).bind(MESSAGES_MAX).fetch_all(pool).await?);
            let messages = rows.into_iter().map(|(id, body)| read(&format!("alert {id}"), &body)).collect::<Result<_, _>>()?;
            Ok(Some((record, messages)))
        });
        let Some((record, messages)) = found.await? else { return Ok(None) };
        let filter = CommandFilter { incident: Some(record.alert.incident.clone()), ..CommandFilter::default() };
        let mut commands = self.commands(&filter).await?;
        commands.reverse();
        Ok(Some(IncidentRecord { record, messages, commands }))
    }

    /// Commands with their outcomes, the newest first.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn commands(&self, filter: &CommandFilter) -> Result<Vec<CommandRecord>, StoreError> {
        let found = self.work("commands", async {
            on_pool!(self, pool => {
                // One connection for the whole answer: a page asks once a command.
                let mut connection = pool.acquire().await?;
                let rows: Vec<(i64, String, String)> = sqlx::query_as(COMMANDS)
                    .bind(filter.service.as_deref().map(column))
                    .bind(filter.action.as_deref().map(column))
                    .bind(filter.incident.as_deref().map(column))
                    .bind(filter.before.map(signed))
                    .bind(limit(filter.limit))
                    .fetch_all(&mut *connection)
                    .await?;
                let mut commands = Vec::with_capacity(rows.len());
                for (number, id, body) in rows {
                    let said: Vec<(i64, i64, String)> =
                        sqlx::query_as(OUTCOMES).bind(&id).bind(OUTCOMES_MAX).fetch_all(&mut *connection).await?;
                    let outcomes = said.into_iter().map(outcome_record).collect::<Result<_, _>>()?;
                    commands.push(CommandRecord { number: unsigned(number), command: read(&format!("command {id}"), &body)?, outcomes });
                }
                Ok(commands)
            })
        });
        found.await
    }
}

pub(super) fn limit(wanted: Option<u32>) -> i64 {
    i64::from(wanted.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX))
}

pub(super) fn read<T: DeserializeOwned>(row: &str, body: &str) -> Result<T, Failure> {
    serde_json::from_str(body).map_err(|why| Failure::Corrupt(row.to_owned(), why.to_string()))
}

fn alert_record((number, opened, ended, firing, resolved): AlertRow) -> Result<AlertRecord, Failure> {
    let name = format!("incident {number}");
    let firing: Option<Alert> = firing.map(|body| read(&name, &body)).transpose()?;
    let resolved: Option<Alert> = resolved.map(|body| read(&name, &body)).transpose()?;
    let alert = firing.or_else(|| resolved.clone()).ok_or_else(|| Failure::Corrupt(name, "it has no alert".to_owned()))?;
    Ok(AlertRecord { number: unsigned(number), opened_ms: unsigned(opened), resolved_ms: ended.map(unsigned), alert, resolved })
}

fn outcome_record((position, at, body): (i64, i64, String)) -> Result<OutcomeRecord, Failure> {
    let outcome = read(&format!("outcome at {position}"), &body)?;
    Ok(OutcomeRecord { position: unsigned(position), logged_ms: unsigned(at), outcome })
}
