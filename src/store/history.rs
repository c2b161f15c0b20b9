//! Alerts, commands and outcomes, read.

use super::{DecisionFilter, DecisionRecord, Failure, Store, StoreError, column, on_pool, signed, unsigned};
use homeostat_schemas::{Alert, Command, Outcome, Position, Severity, UnixMs};
use schemars::JsonSchema;
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CommandRecord {
    /// Grows with every command; the cursor for [`CommandFilter::before`].
    pub number: u64,
    /// The command.
    pub command: Command,
    /// What was said of it, oldest first.
    pub outcomes: Vec<OutcomeRecord>,
    /// What became of it in the end, as recovery judged last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<VerdictRecord>,
}

/// What recovery says a command came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VerdictRecord {
    /// `verified`, `ineffective` or `escalated`.
    pub verdict: String,
    /// Why.
    pub summary: String,
    /// When it was said, log time.
    pub at_ms: UnixMs,
    /// The alert that says so.
    pub alert: String,
}

impl VerdictRecord {
    /// From the alert that says so; nothing for any other.
    #[must_use]
    pub fn of(alert: &Alert) -> Option<VerdictRecord> {
        let (verdict, ..) = alert.verdict()?;
        Some(VerdictRecord { verdict: verdict.to_owned(), summary: alert.summary.clone(), at_ms: alert.at_ms, alert: alert.id.clone() })
    }
}

/// What was said of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
    /// How it began and ended; nothing for a command that a person ordered and that has not been judged: no alert is about it.
    #[serde(flatten)]
    pub record: Option<AlertRecord>,
    /// Every message about it, oldest first.
    pub messages: Vec<Alert>,
    /// For a verdict: the incident that it is about. What follows is then about that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<AlertRecord>,
    /// What was decided about it and what was held back, oldest first, as far as history knows.
    #[serde(default)]
    pub decisions: Vec<DecisionRecord>,
    /// What was to be done about it, oldest first, and what became of that.
    pub commands: Vec<CommandRecord>,
    /// What it came to, oldest first.
    #[serde(default)]
    pub verdicts: Vec<Alert>,
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
     WHERE i.incident = $1 OR i.incident IN (SELECT incident FROM alert WHERE id = $1) \
     OR i.incident IN (SELECT incident FROM command WHERE id = $1) ORDER BY i.number DESC LIMIT 1";
// Of a command that a person ordered there is no alert but its verdict.
const ORDERED: &str = "SELECT v.alert FROM verdict v JOIN command c ON c.incident = v.incident WHERE c.id = $1 OR c.incident = $1 ORDER BY v.at_ms DESC LIMIT 1";
// Nor is there one before it is judged.
const WITHOUT_ALERT: &str = "SELECT incident FROM command WHERE id = $1 OR incident = $1 LIMIT 1";
const VERDICTS: &str =
    "SELECT a.id, a.body FROM verdict v JOIN alert a ON a.id = v.alert WHERE v.incident = $1 ORDER BY v.at_ms, a.position LIMIT $2";
const VERDICT: &str =
    "SELECT a.id, a.body FROM verdict v JOIN alert a ON a.id = v.alert WHERE v.command = $1 ORDER BY v.at_ms DESC LIMIT 1";
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

    /// All that is known of the incident with this id, or of the one that the alert or the command with this id belongs to. Of a verdict
    /// it is the story of the incident that it is about.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn alert(&self, id: &str) -> Result<Option<IncidentRecord>, StoreError> {
        let found = self.work("alert", async {
            let id = column(id);
            on_pool!(self, pool => {
                let mut connection = pool.acquire().await?;
                let mut row: Option<AlertRow> = sqlx::query_as(ALERT).bind(&id).fetch_optional(&mut *connection).await?;
                if row.is_none() {
                    let verdict: Option<String> = sqlx::query_scalar(ORDERED).bind(&id).fetch_optional(&mut *connection).await?;
                    if let Some(verdict) = verdict {
                        row = sqlx::query_as(ALERT).bind(verdict).fetch_optional(&mut *connection).await?;
                    }
                }
                let Some(record) = row.map(alert_record).transpose()? else {
                    let story: Option<String> = sqlx::query_scalar(WITHOUT_ALERT).bind(&id).fetch_optional(&mut *connection).await?;
                    return Ok(story.map(|story| (None, Vec::new(), story, None, Vec::new())));
                };
                let messages = alerts_of(
                    sqlx::query_as(MESSAGES).bind(column(&record.alert.incident)).bind(MESSAGES_MAX).fetch_all(&mut *connection).await?,
                )?;
                let judged = record.alert.verdict().map(|(_, incident, _)| incident.to_owned());
                let story = judged.clone().unwrap_or_else(|| record.alert.incident.clone());
                let about: Option<AlertRow> = match &judged {
                    Some(incident) => sqlx::query_as(ALERT).bind(column(incident)).fetch_optional(&mut *connection).await?,
                    None => None,
                };
                let about = about.map(alert_record).transpose()?;
                let verdicts =
                    alerts_of(sqlx::query_as(VERDICTS).bind(column(&story)).bind(MESSAGES_MAX).fetch_all(&mut *connection).await?)?;
                Ok(Some((Some(record), messages, story, about, verdicts)))
            })
        });
        let Some((record, messages, story, about, verdicts)) = found.await? else { return Ok(None) };
        let filter = CommandFilter { incident: Some(story.clone()), ..CommandFilter::default() };
        let mut commands = self.commands(&filter).await?;
        commands.reverse();
        let mut decisions = self.decisions(&DecisionFilter { incident: Some(story), ..DecisionFilter::default() }).await?;
        decisions.reverse();
        Ok(Some(IncidentRecord { record, messages, about, decisions, commands, verdicts }))
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
                    let judged: Option<(String, String)> = sqlx::query_as(VERDICT).bind(&id).fetch_optional(&mut *connection).await?;
                    let verdict = alerts_of(judged.into_iter().collect())?.first().and_then(VerdictRecord::of);
                    let command = read(&format!("command {id}"), &body)?;
                    commands.push(CommandRecord { number: unsigned(number), command, outcomes, verdict });
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

fn alerts_of(rows: Vec<(String, String)>) -> Result<Vec<Alert>, Failure> {
    rows.into_iter().map(|(id, body)| read(&format!("alert {id}"), &body)).collect()
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
