//! `/api/v1/alerts`: what was found, open or over.

use super::Gate;
use super::api::{Answer, LIMIT_MAX, Source, asked, database, flag, limit_up_to, matches};
use super::problem::Problem;
use crate::store::{AlertFilter, AlertRecord, CommandRecord, DecisionRecord, IncidentRecord};
use actix_web::{HttpRequest, web};
use homeostat_actors::status::Mark;
use homeostat_schemas::{Alert, Severity, State, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest id that is looked for.
const ID_MAX: usize = 200;

/// What `/api/v1/alerts` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AlertsQuery {
    /// Also those that are over, from history.
    pub all: Option<String>,
    /// Of this service.
    pub service: Option<String>,
    /// Of this rule.
    pub rule: Option<String>,
    /// Of this severity.
    pub severity: Option<Severity>,
    /// Open ones that are silenced (`true`), or that are not (`false`).
    pub silenced: Option<bool>,
    /// Open ones that somebody looks after (`true`), or nobody (`false`).
    pub acknowledged: Option<bool>,
    /// At most so many, 1 to 10000, with `all` 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: Option<u32>,
    /// With `all`: older than the one of this `number`.
    #[schemars(range(min = 0, max = 18_446_744_073_709_551_615_u64))]
    pub before: Option<u64>,
}

/// One finding: its last message, and where it stands in history.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AlertEntry {
    /// The last message about it.
    #[serde(flatten)]
    pub alert: Alert,
    /// When it ended, log time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved_ms: Option<UnixMs>,
    /// Its place in history: the cursor for `before`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// What people say about it.
    #[serde(flatten)]
    pub said: Said,
}

/// What people say about an open finding.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Said {
    /// The silences in force that cover it: nobody is told of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub silenced_by: Vec<String>,
    /// Who looks after it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// Since when, log time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_ms: Option<UnixMs>,
    /// What was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledged_reason: Option<String>,
}

impl From<Mark> for Said {
    fn from(mark: Mark) -> Self {
        let said = mark.acknowledged;
        Said {
            silenced_by: mark.silenced_by,
            acknowledged_ms: said.as_ref().map(|said| said.at_ms),
            acknowledged_reason: said.as_ref().map(|said| said.reason.clone()).filter(|reason| !reason.is_empty()),
            acknowledged_by: said.map(|said| said.by),
        }
    }
}

impl From<AlertRecord> for AlertEntry {
    fn from(record: AlertRecord) -> Self {
        let alert = record.resolved.unwrap_or(record.alert);
        AlertEntry { alert, resolved_ms: record.resolved_ms, number: Some(record.number), said: Said::default() }
    }
}

/// Most open findings of an answer: as many as the status actor keeps.
const OPEN_MAX: u32 = 10_000;

/// `/api/v1/alerts`
pub(super) async fn alerts(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: AlertsQuery = asked(&request)?;
    let all = flag(asked.all.as_deref());
    let limit = limit_up_to(asked.limit, OPEN_MAX)?;
    if all && limit > LIMIT_MAX {
        return Err(Problem::unprocessable("limit: 1 to 1000 with `all`; go on with `before`"));
    }
    let view = gate.state.slots.status.view().await;
    if !all && let Some(mut view) = view {
        let open = view.open.into_iter().filter(|alert| {
            matches(asked.service.as_deref(), &alert.service)
                && matches(asked.rule.as_deref(), &alert.rule)
                && asked.severity.is_none_or(|s| s == alert.severity)
        });
        let open = open.map(|alert| {
            let said = view.marks.remove(&alert.incident).map(Said::from).unwrap_or_default();
            AlertEntry { alert, resolved_ms: None, number: None, said }
        });
        let open = open.filter(|entry| {
            asked.silenced.is_none_or(|wanted| wanted != entry.said.silenced_by.is_empty())
                && asked.acknowledged.is_none_or(|wanted| wanted == entry.said.acknowledged_by.is_some())
        });
        return Ok(Source::Mind.answers(&open.take(limit as usize).collect::<Vec<_>>()));
    }
    if asked.silenced.is_some() || asked.acknowledged.is_some() {
        return Err(match all {
            true => Problem::unprocessable("`silenced` and `acknowledged` are about open findings: ask without `all`"),
            false => Problem::not_here("status"),
        });
    }
    let filter = AlertFilter {
        open: (!all).then_some(true),
        service: asked.service,
        rule: asked.rule,
        severity: asked.severity,
        limit: Some(limit),
        before: asked.before,
        ..AlertFilter::default()
    };
    let records = gate.state.store.alerts(&filter).await.map_err(|error| database(&error))?;
    let mut entries: Vec<AlertEntry> = records.into_iter().map(AlertEntry::from).collect();
    if let Some(mut view) = view {
        for entry in entries.iter_mut().filter(|entry| entry.resolved_ms.is_none()) {
            entry.said = view.marks.remove(&entry.alert.incident).map(Said::from).unwrap_or_default();
        }
    }
    Ok(Source::Store.answers(&entries))
}

/// One finding with its whole story.
#[derive(Debug, Serialize, JsonSchema)]
pub struct IncidentEntry {
    /// Its place in history; absent for a moment until it is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// When it began, log time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opened_ms: Option<UnixMs>,
    /// When it ended, log time.
    pub resolved_ms: Option<UnixMs>,
    /// The alert that fired; absent for a command that a person ordered and that has not been judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<Alert>,
    /// The alert that resolved.
    pub resolved: Option<Alert>,
    /// Every message about it, oldest first.
    pub messages: Vec<Alert>,
    /// For a verdict: the incident that it is about, and so is what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<AlertRecord>,
    /// What was decided about it and what was held back, oldest first.
    pub decisions: Vec<DecisionRecord>,
    /// What was to be done about it, oldest first, and what became of that.
    pub commands: Vec<CommandRecord>,
    /// What it came to, oldest first.
    pub verdicts: Vec<Alert>,
    /// What people say about it.
    #[serde(flatten)]
    pub said: Said,
}

impl From<IncidentRecord> for IncidentEntry {
    fn from(incident: IncidentRecord) -> Self {
        let IncidentRecord { record, messages, about, decisions, commands, verdicts } = incident;
        let (number, opened_ms) = record.as_ref().map(|record| (record.number, record.opened_ms)).unzip();
        let resolved_ms = record.as_ref().and_then(|record| record.resolved_ms);
        let (alert, resolved) = record.map(|record| (record.alert, record.resolved)).unzip();
        let (resolved, said) = (resolved.flatten(), Said::default());
        IncidentEntry { number, opened_ms, resolved_ms, alert, resolved, messages, about, decisions, commands, verdicts, said }
    }
}

/// From the last message about it, which is all that a mind knows.
impl From<&Alert> for IncidentEntry {
    fn from(alert: &Alert) -> Self {
        let ended = alert.state == State::Resolved;
        IncidentEntry {
            number: None,
            opened_ms: Some(alert.since_ms),
            resolved_ms: ended.then_some(alert.at_ms),
            alert: Some(alert.clone()),
            resolved: ended.then(|| alert.clone()),
            messages: vec![alert.clone()],
            about: None,
            decisions: Vec::new(),
            commands: Vec::new(),
            verdicts: Vec::new(),
            said: Said::default(),
        }
    }
}

/// `/api/v1/alerts/{id}`: by the id of a message, of the incident or of a command.
pub(super) async fn alert(gate: web::Data<Gate>, id: web::Path<String>) -> Answer {
    let unknown = || Problem::not_found("no alert or incident has this id");
    if id.len() > ID_MAX {
        return Err(unknown());
    }
    let view = gate.state.slots.status.view().await;
    let stored = gate.state.store.alert(&id).await.map_err(|error| database(&error))?;
    let (source, mut entry) = match stored {
        Some(incident) => (Source::Store, IncidentEntry::from(incident)),
        // History is a moment behind the mind.
        None => {
            let view = view.as_ref().ok_or_else(unknown)?;
            let mut known = view.open.iter().chain(&view.resolved);
            let alert = known.find(|alert| alert.id == *id || alert.incident == *id).ok_or_else(unknown)?;
            (Source::Mind, IncidentEntry::from(alert))
        }
    };
    let incident = entry.alert.as_ref().map(|alert| &alert.incident);
    let mark = view.as_ref().zip(incident).and_then(|(view, incident)| view.marks.get(incident)).cloned();
    entry.said = mark.map(Said::from).unwrap_or_default();
    Ok(source.answers(&entry))
}
