//! `/api/v1/commands`: what was to be done, and what became of it.

use super::Gate;
use super::api::{Answer, Source, asked, database, flag, limit, matches};
use crate::store::{CommandFilter, CommandRecord};
use actix_web::{HttpRequest, web};
use homeostat_actors::status::{CommandState, CommandView, Reply};
use homeostat_schemas::{Command, OutcomeStatus, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `/api/v1/commands` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommandsQuery {
    /// Also older ones, from history.
    pub all: Option<String>,
    /// To this service.
    pub service: Option<String>,
    /// Of this action.
    pub action: Option<String>,
    /// For this incident.
    pub incident: Option<String>,
    /// At most so many, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// With `all`: older than the one of this `number`.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub before: Option<u64>,
}

/// One command, and what became of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CommandEntry {
    /// The command.
    #[serde(flatten)]
    pub command: Command,
    /// How far it came; absent in history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<CommandState>,
    /// What was said of it.
    pub outcomes: Vec<OutcomeEntry>,
    /// The alert that judged its effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// Its place in history: the cursor for `before`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
}

/// What an executor said.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OutcomeEntry {
    /// How far it came.
    pub status: OutcomeStatus,
    /// Which replica says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// A word of explanation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When, by the executor's clock.
    pub at_ms: UnixMs,
}

impl From<CommandView> for CommandEntry {
    fn from(view: CommandView) -> Self {
        let outcome =
            |reply: Reply| OutcomeEntry { status: reply.status, instance: reply.instance, detail: reply.detail, at_ms: reply.at_ms };
        CommandEntry {
            command: view.command,
            state: Some(view.state),
            outcomes: view.outcomes.into_iter().map(outcome).collect(),
            verdict: view.verdict,
            number: None,
        }
    }
}

impl From<CommandRecord> for CommandEntry {
    fn from(record: CommandRecord) -> Self {
        let outcomes = record.outcomes.into_iter().map(|record| record.outcome);
        CommandEntry {
            command: record.command,
            state: None,
            verdict: record.verdict.map(|verdict| verdict.alert),
            outcomes: outcomes
                .map(|outcome| OutcomeEntry {
                    status: outcome.status,
                    instance: outcome.instance,
                    detail: outcome.detail,
                    at_ms: outcome.at_ms,
                })
                .collect(),
            number: Some(record.number),
        }
    }
}

/// `/api/v1/commands`
pub(super) async fn commands(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: CommandsQuery = asked(&request)?;
    let limit = limit(asked.limit)?;
    if !flag(asked.all.as_deref())
        && let Some(view) = gate.state.slots.status.view().await
    {
        let commands = view.commands.into_iter().filter(|view| {
            let command = &view.command;
            matches(asked.service.as_deref(), &command.service)
                && matches(asked.action.as_deref(), &command.action)
                && matches(asked.incident.as_deref(), &command.incident)
        });
        return Ok(Source::Mind.answers(&commands.take(limit as usize).map(CommandEntry::from).collect::<Vec<_>>()));
    }
    let filter =
        CommandFilter { service: asked.service, action: asked.action, incident: asked.incident, limit: Some(limit), before: asked.before };
    let records = gate.state.store.commands(&filter).await.map_err(|error| database(&error))?;
    Ok(Source::Store.answers(&records.into_iter().map(CommandEntry::from).collect::<Vec<_>>()))
}
