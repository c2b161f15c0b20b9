//! Status, alerts, commands and queries as JSON. What is open now comes from the minds, what was from the store; where a mind is
//! not running here (another process carries it), the store answers as far as it can.

use super::Gate;
use super::problem::Problem;
use super::readiness::Ready;
use crate::clock::now_ms;
use crate::otlp::ServiceSpans;
use crate::roster::Condition;
use crate::store::{AlertFilter, AlertRecord, CommandFilter, CommandRecord, StoreError};
use actix_web::{HttpRequest, HttpResponse, web};
use homeostat_actors::health::{ServiceView, Totals};
use homeostat_actors::status::{CommandState, CommandView, Count, Dropped, Mark, Refusal};
use homeostat_schemas::{Alert, Command, OutcomeStatus, Severity, UnixMs};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::PoisonError;

/// Most rows of an answer, and how many there are when nobody asks.
const LIMIT_MAX: u32 = 1_000;
const LIMIT_DEFAULT: u32 = 100;
/// Longest id that is looked for.
const ID_MAX: usize = 200;
/// From so many requests on, a service without a single database span is worth a hint.
const HINT_REQUESTS: u64 = 20;
const HINT: &str = "it reports HTTP requests but no database spans: if it uses a database, its library is not instrumented \
                    (SQLAlchemy 2.1 and later is passed over in silence by older instrumentations)";

/// The header that says who answered.
pub(super) const SOURCE: &str = "homeostat-source";

pub(super) type Answer = Result<HttpResponse, Problem>;

/// Who an answer comes from. The same question has another answer from either: a mind knows what is open now, the store what was
/// projected into it, a moment or (on a standby) a while ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The running actor.
    Mind,
    /// The database.
    Store,
}

impl Source {
    fn answers(self, body: &impl Serialize) -> HttpResponse {
        let name = match self {
            Source::Mind => "mind",
            Source::Store => "store",
        };
        HttpResponse::Ok().insert_header((SOURCE, name)).json(body)
    }
}

/// `/api/v1/status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusAnswer {
    /// The version of this process.
    pub version: &'static str,
    /// The wall clock, Unix milliseconds.
    pub now_ms: UnixMs,
    /// How the parts are.
    pub readiness: Ready,
    /// How each actor is, by name.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub actors: BTreeMap<&'static str, Condition>,
    /// What is open; absent while the status actor is not running here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub findings: Option<FindingCounts>,
    /// Homeostat itself as its health actor sees it; absent while that is not running here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<OwnHealth>,
    /// What came in over OTLP since this process started, by service.
    pub otlp: BTreeMap<String, OtlpService>,
}

/// What is open, counted.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FindingCounts {
    /// Log time.
    pub at_ms: UnixMs,
    /// Open findings by severity.
    pub open_by_severity: BTreeMap<Severity, usize>,
    /// Open findings by service.
    pub open_by_service: BTreeMap<String, usize>,
    /// Counts by rule.
    pub rules: BTreeMap<String, Count>,
    /// What found no room.
    pub dropped: Dropped,
    /// Open findings that nobody is told of, because somebody silenced them.
    pub silenced: usize,
    /// Open findings that somebody looks after.
    pub acknowledged: usize,
    /// Silences in force.
    pub silences_active: usize,
    /// Orders about silences and acknowledgements that were not followed, the newest first.
    pub refused_orders: Vec<Refusal>,
}

/// Homeostat itself.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OwnHealth {
    /// Its own verdict.
    pub own: ServiceView,
    /// How much it watches.
    pub totals: Totals,
}

/// What a service sent over OTLP.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtlpService {
    /// Spans by sort.
    #[serde(flatten)]
    pub spans: ServiceSpans,
    /// What looks wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// `/api/v1/status`
pub(super) async fn status(gate: web::Data<Gate>) -> HttpResponse {
    let slots = &gate.state.slots;
    let (findings, health) = futures::join!(slots.status.view(), slots.health.view());
    let findings = findings.map(|view| FindingCounts {
        silenced: view.silenced(),
        acknowledged: view.acknowledged(),
        silences_active: view.silences_active(),
        at_ms: view.at_ms,
        open_by_severity: view.open_by_severity,
        open_by_service: view.open_by_service,
        rules: view.rules,
        dropped: view.dropped,
        refused_orders: view.refused_orders,
    });
    let services = gate.services.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut answer = HttpResponse::Ok();
    // Without findings there is nothing here that the store could know.
    if findings.is_some() {
        answer.insert_header((SOURCE, "mind"));
    }
    answer.json(StatusAnswer {
        version: env!("CARGO_PKG_VERSION"),
        now_ms: now_ms(),
        readiness: gate.state.readiness.ready(),
        actors: slots.conditions().into_iter().collect(),
        findings,
        health: health.map(|view| OwnHealth { own: view.own, totals: view.totals }),
        otlp: services.into_iter().map(|(name, spans)| (name, otlp_service(spans))).collect(),
    })
}

fn otlp_service(spans: ServiceSpans) -> OtlpService {
    OtlpService { spans, hint: (spans.requests >= HINT_REQUESTS && spans.database == 0).then_some(HINT) }
}

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
    /// At most so many, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
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

/// `/api/v1/alerts`
pub(super) async fn alerts(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: AlertsQuery = asked(&request)?;
    let limit = limit(asked.limit)?;
    let all = flag(asked.all.as_deref());
    let view = gate.state.slots.status.view().await;
    if !all && let Some(mut view) = view {
        let matches = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let open = view.open.into_iter().filter(|alert| {
            matches(&asked.service, &alert.service)
                && matches(&asked.rule, &alert.rule)
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
            false => Problem::unavailable("the status actor is not running here; ask again"),
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

/// `/api/v1/alerts/{id}`: by the id of a message or of the incident.
pub(super) async fn alert(gate: web::Data<Gate>, id: web::Path<String>) -> Answer {
    let unknown = || Problem::not_found("no alert or incident has this id");
    if id.len() > ID_MAX {
        return Err(unknown());
    }
    let view = gate.state.slots.status.view().await;
    let said = |incident: &str| {
        let mark = view.as_ref().and_then(|view| view.marks.get(incident)).cloned();
        serde_json::to_value(mark.map(Said::from).unwrap_or_default()).unwrap_or_default()
    };
    match gate.state.store.alert(&id).await {
        Ok(Some(record)) => {
            let mut answer = serde_json::to_value(&record).unwrap_or_default();
            add(&mut answer, said(&record.record.alert.incident));
            return Ok(Source::Store.answers(&answer));
        }
        Ok(None) => {}
        Err(error) => return Err(database(&error)),
    }
    // History is a moment behind the mind.
    let view = view.as_ref().ok_or_else(unknown)?;
    let alert = view.open.iter().chain(&view.resolved).find(|alert| alert.id == *id || alert.incident == *id).ok_or_else(unknown)?;
    let ended = alert.state == homeostat_schemas::State::Resolved;
    let mut record = serde_json::json!({
        "opened_ms": alert.since_ms,
        "resolved_ms": ended.then_some(alert.at_ms),
        "alert": alert,
        "resolved": ended.then_some(&alert),
        "messages": [alert],
        "decisions": [],
        "commands": [],
        "verdicts": [],
    });
    add(&mut record, said(&alert.incident));
    Ok(Source::Mind.answers(&record))
}

/// Adds the fields of one object to another.
fn add(to: &mut Value, more: Value) {
    if let (Value::Object(to), Value::Object(more)) = (to, more) {
        to.extend(more);
    }
}

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
        let outcome = |reply: homeostat_actors::status::Reply| OutcomeEntry {
            status: reply.status,
            instance: reply.instance,
            detail: reply.detail,
            at_ms: reply.at_ms,
        };
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
        let matches = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
        let commands = view.commands.into_iter().filter(|view| {
            let command = &view.command;
            matches(&asked.service, &command.service)
                && matches(&asked.action, &command.action)
                && matches(&asked.incident, &command.incident)
        });
        return Ok(Source::Mind.answers(&commands.take(limit as usize).map(CommandEntry::from).collect::<Vec<_>>()));
    }
    let filter =
        CommandFilter { service: asked.service, action: asked.action, incident: asked.incident, limit: Some(limit), before: asked.before };
    let records = gate.state.store.commands(&filter).await.map_err(|error| database(&error))?;
    Ok(Source::Store.answers(&records.into_iter().map(CommandEntry::from).collect::<Vec<_>>()))
}

/// What `/api/v1/queries` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct QueriesQuery {
    /// Of this service.
    pub service: Option<String>,
    /// With this fingerprint.
    pub fingerprint: Option<String>,
    /// At most so many, 1 to 1000; 100 when not said. Those that took the most time come first.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/queries`
pub(super) async fn queries(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: QueriesQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    let matches = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found);
    if let Some(view) = gate.state.slots.query.view().await {
        let rows =
            view.queries.into_iter().filter(|row| matches(&asked.service, &row.service) && matches(&asked.fingerprint, &row.fingerprint));
        return Ok(Source::Mind.answers(&rows.take(limit).collect::<Vec<_>>()));
    }
    let rows = gate.state.store.queries().await.map_err(|error| database(&error))?;
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = rows
        .into_iter()
        .filter(|row| matches(&asked.service, &text(row, "service")) && matches(&asked.fingerprint, &text(row, "fingerprint")));
    Ok(Source::Store.answers(&rows.take(limit).collect::<Vec<_>>()))
}

/// What `/api/v1/breakers` is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakersQuery {
    /// Of this service.
    pub service: Option<String>,
    /// About calls to this peer.
    pub peer: Option<String>,
    /// At most so many, 1 to 1000; 100 when not said.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// `/api/v1/breakers`
pub(super) async fn breakers(gate: web::Data<Gate>, request: HttpRequest) -> Answer {
    let asked: BreakersQuery = asked(&request)?;
    let limit = limit(asked.limit)? as usize;
    // What is open is told by the findings as well; the breakers themselves are the mind's alone.
    let view = gate.state.slots.breaker.view().await.ok_or_else(|| Problem::unavailable("the breaker actor is not running here"))?;
    let rows = view.into_iter().filter(|row| {
        asked.service.as_ref().is_none_or(|service| *service == row.service) && asked.peer.as_ref().is_none_or(|peer| *peer == row.peer)
    });
    Ok(Source::Mind.answers(&rows.take(limit).collect::<Vec<_>>()))
}

/// The query string, checked: a parameter nobody knows is a mistake, not a filter that does nothing.
pub(super) fn asked<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    web::Query::<T>::from_query(request.query_string()).map(web::Query::into_inner).map_err(|_| {
        Problem::bad_request("the query string has an unknown parameter or a value of the wrong form; see /api/v1/openapi.json")
    })
}

fn flag(value: Option<&str>) -> bool {
    value.is_some_and(|value| !matches!(value, "0" | "false" | "no"))
}

pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        Some(_) => Err(Problem::bad_request("limit: 1 to 1000")),
    }
}

pub(super) fn database(error: &StoreError) -> Problem {
    tracing::warn!(%error, "history could not be read");
    Problem::unavailable("history cannot be read now; ask again")
}
