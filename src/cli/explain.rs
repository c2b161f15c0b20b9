//! `homeostat explain ID`: all about one alert, from the store, or from the log where there is no store: what caused it, what was
//! decided about it, which commands went out, what was said of them, and what they came to. The id may also be that of a command, or of
//! the verdict on one.

use super::args::ExplainArgs;
use super::healthcheck::percent;
use super::out::{Tone, plain};
use super::tail::readable::{self, local, short, tone};
use super::{CliError, Context, Finish, Out, bus, orders, status, verify};
use crate::config::Config;
use crate::feed;
use crate::store::{AlertRecord, CommandRecord, DecisionRecord, IncidentRecord, OutcomeRecord, Store, VerdictRecord};
use homeostat_nats::{Reader, ReaderError, ReaderOptions};
use homeostat_schemas::signature::Verdict;
use homeostat_schemas::{Alert, Content, Mode, Position, Rule, State, Subject};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages and commands of one incident that are shown.
const SHOWN_MAX: usize = 1_000;
/// How long the log may take to show the alert with its signature.
const SIGNATURE: Duration = Duration::from_secs(5);
/// How long to wait for a message of a kind that the log may not hold at all.
const QUIET: Duration = Duration::from_secs(2);

/// Runs the command.
///
/// # Errors
/// Nobody knows the id, or neither store nor log can be asked.
pub async fn run(context: &mut Context, args: &ExplainArgs) -> Result<Finish, CliError> {
    let incident = find(context, &args.id).await?;
    let signature = match &incident.record {
        Some(record) => signature(context, &record.alert).await,
        None => None,
    };
    if context.json {
        context.out.pretty(&Explained { incident: &incident, signature: signature.as_ref().map(Verdict::word) })?;
        return Ok(Finish::Fine);
    }
    tell(&mut context.out, &incident, signature.as_ref())?;
    // What people say of it now, only a running system knows.
    if let Some(record) = incident.record.filter(|record| record.resolved_ms.is_none())
        && let Ok(entry) = orders::ask(context, &format!("/api/v1/alerts/{}", percent(&record.alert.incident))).await
    {
        list(&mut context.out, "what people say", &status::people(&entry))?;
    }
    Ok(Finish::Fine)
}

/// The incident of this id, or with an alert or a command of this id.
///
/// # Errors
/// As for [`run`].
pub(crate) async fn find(context: &Context, id: &str) -> Result<IncidentRecord, CliError> {
    let mut trouble = None;
    let mut found = match stored(context.config(), id).await {
        Ok(found) => found,
        Err(error) => {
            trouble = Some(error);
            None
        }
    };
    if found.is_none() {
        match logged(context, id).await {
            Ok(logged) => found = logged,
            // Without a bus, what the store does not know nobody knows; but say why nobody could be asked.
            Err(error) => trouble = trouble.or(Some(error)),
        }
    }
    let Some(incident) = found else {
        let unknown = CliError::new(format!("no alert, incident or command with the id `{}`", plain(id)));
        return Err(match trouble {
            Some(error) => unknown.advise(format!("not everything could be asked ({})", error.chain())),
            None => unknown.advise("`homeostat tail alerts --since 1d --json` shows ids; older ones may have been deleted"),
        });
    };
    Ok(incident)
}

/// All about an incident, and what the signature of its alert is worth, where the log still holds it.
#[derive(Serialize)]
struct Explained<'a> {
    #[serde(flatten)]
    incident: &'a IncidentRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'static str>,
}

async fn signature(context: &Context, alert: &Alert) -> Option<Verdict> {
    let root = bus::root(context.config()).ok()?;
    let (actor, condition) = alert.actor_and_condition();
    let subject = root.subject(&Subject::Alert(actor.to_owned(), condition.to_owned(), alert.service.clone()));
    // The store may know what the log has forgotten, and may be asked where there is no bus.
    tokio::time::timeout(SIGNATURE, verify::of(context, &subject, &alert.id)).await.ok()?.ok()?
}

async fn stored(config: &Config, id: &str) -> Result<Option<IncidentRecord>, CliError> {
    // Looking must not make a database where there is none.
    if config.database.url.is_none() && !config.data_dir.join(crate::store::SQLITE_FILE).exists() {
        return Ok(None);
    }
    let store = Store::connect(&config.database, &config.data_dir).await?;
    let found = store.alert(id).await;
    store.close().await;
    Ok(found?)
}

/// The same from the log: everything that names the incident, in one pass over alerts, commands and outcomes.
async fn logged(context: &Context, id: &str) -> Result<Option<IncidentRecord>, CliError> {
    let log = bus::log(context).await?;
    let root = bus::root(context.config())?;
    let last = log.bounds().await?.last;
    let filters = ["alert.>", "command.>", "outcome.>"].map(|kind| format!("{root}.{kind}")).to_vec();
    let mut alerts: Vec<Alert> = Vec::new();
    let mut commands: Vec<CommandRecord> = Vec::new();
    let (mut about, mut verdicts): (Vec<Alert>, Vec<Alert>) = (Vec::new(), Vec::new());
    // The incident that was asked for, and the one whose story is told: of a verdict, the one that it is about.
    let mut incident: Option<(String, String)> = None;
    for pass in 0..2 {
        let mut reader = Reader::open(&log, 1, ReaderOptions { filters: filters.clone(), ..ReaderOptions::default() }).await?;
        let mut position: Position = 0;
        while position < last {
            let entries = match tokio::time::timeout(QUIET, reader.next()).await {
                Ok(Ok(entries)) => entries,
                Ok(Err(ReaderError::Overtaken { .. })) => continue,
                Ok(Err(error)) => return Err(error.into()),
                // Nothing more of these kinds.
                Err(_) => break,
            };
            for entry in entries {
                position = entry.seq;
                let delivery = feed::decode(&root, &entry);
                match (delivery.content, pass, &incident) {
                    (Content::Alert(alert), 0, None) if alert.id == id || alert.incident == id => {
                        let story = alert.verdict().map_or_else(|| alert.incident.clone(), |(_, story, _)| story.to_owned());
                        incident = Some((alert.incident.clone(), story));
                    }
                    (Content::Command(command), 0, None) if command.id == id || command.incident == id => {
                        incident = Some((command.incident.clone(), command.incident));
                    }
                    (Content::Alert(alert), 1, Some((incident, story))) => {
                        if alert.verdict().is_some_and(|(_, about, _)| about == story) && verdicts.len() < SHOWN_MAX {
                            verdicts.push((*alert).clone());
                        }
                        if alert.incident == *incident && alerts.len() < SHOWN_MAX {
                            alerts.push(*alert);
                        } else if alert.incident == *story && about.len() < SHOWN_MAX {
                            about.push(*alert);
                        }
                    }
                    (Content::Command(command), 1, Some((_, story))) if command.incident == *story && commands.len() < SHOWN_MAX => {
                        commands.push(CommandRecord { number: entry.seq, command: *command, outcomes: Vec::new(), verdict: None });
                    }
                    (Content::Outcome(outcome), 1, _) => {
                        let record = commands
                            .iter_mut()
                            .find(|record| record.command.id == outcome.command && record.command.service == outcome.service);
                        if let Some(record) = record.filter(|record| record.outcomes.len() < SHOWN_MAX) {
                            record.outcomes.push(OutcomeRecord { position: entry.seq, logged_ms: delivery.at, outcome });
                        }
                    }
                    _ => {}
                }
            }
            if reader.pending() == 0 || (pass == 0 && incident.is_some()) {
                break;
            }
        }
        if incident.is_none() {
            return Ok(None);
        }
    }
    for record in &mut commands {
        let judges = |alert: &&Alert| alert.verdict().is_some_and(|(.., command)| command == Some(record.command.id.as_str()));
        record.verdict = verdicts.iter().rev().find(judges).and_then(VerdictRecord::of);
    }
    let record = summary(&alerts);
    if record.is_none() && commands.is_empty() {
        return Ok(None);
    }
    // Decisions are in the mind's record and in the store, not on the log.
    Ok(Some(IncidentRecord { record, about: summary(&about), messages: alerts, decisions: Vec::new(), commands, verdicts }))
}

/// How an incident began and ended, from its messages.
fn summary(alerts: &[Alert]) -> Option<AlertRecord> {
    let resolved = alerts.iter().rev().find(|alert| alert.state == State::Resolved).cloned();
    let alert = alerts.iter().rev().find(|alert| alert.state == State::Firing).or(resolved.as_ref()).cloned()?;
    Some(AlertRecord { number: 0, opened_ms: alert.since_ms, resolved_ms: resolved.as_ref().map(|alert| alert.at_ms), alert, resolved })
}

fn tell(out: &mut Out, incident: &IncidentRecord, signature: Option<&Verdict>) -> Result<(), CliError> {
    match &incident.record {
        Some(record) => finding(out, record, signature)?,
        None => out.line("a command that a person ordered: there is no alert about it until it is judged")?,
    }
    if let Some(AlertRecord { alert, .. }) = &incident.about {
        heading(out, "about")?;
        let rule = out.paint(tone(alert), &format!("{} {}", plain(&alert.rule), alert.severity));
        out.line(format!("  {} {rule}  {}  {}", local(alert.at_ms), plain(&alert.service), plain(&alert.summary)))?;
        out.line(format!("    incident {}, alert {}", plain(&alert.incident), plain(&alert.id)))?;
        alert.cause.iter().try_for_each(|cause| out.line(format!("    caused by {}", plain(cause))))?;
    }
    if !incident.decisions.is_empty() {
        heading(out, "decisions")?;
    }
    for DecisionRecord { entry, .. } in &incident.decisions {
        out.line(format!("  {} {:<11} {}", local(entry.at_ms), entry.what.name(), plain(&entry.why)))?;
    }
    if !incident.commands.is_empty() {
        heading(out, "commands")?;
    }
    incident.commands.iter().try_for_each(|record| command(out, record))?;
    // Such as that of an incident about which nothing could be done.
    let shown =
        |alert: &&Alert| incident.commands.iter().any(|record| record.verdict.as_ref().is_some_and(|known| known.alert == alert.id));
    let others: Vec<VerdictRecord> = incident.verdicts.iter().filter(|alert| !shown(alert)).filter_map(VerdictRecord::of).collect();
    if !others.is_empty() {
        heading(out, "verdicts")?;
    }
    others.iter().try_for_each(|verdict| judged(out, "  ", verdict))
}

/// How it began, what is behind it, and what to do.
fn finding(out: &mut Out, record: &AlertRecord, signature: Option<&Verdict>) -> Result<(), CliError> {
    let AlertRecord { opened_ms, resolved_ms, alert, resolved, .. } = record;
    let rule = out.paint(tone(alert), &format!("{} {}", plain(&alert.rule), alert.severity));
    out.line(format!("{rule}  {}  {}", plain(&alert.service), plain(&alert.summary)))?;
    if let Some(rule) = Rule::by_name(&alert.rule) {
        out.line(format!("  {}", rule.meaning))?;
    }
    let ended = resolved_ms.map_or_else(|| "still open".to_owned(), |at| format!("resolved {}", local(at)));
    out.line(format!("  began {}, {ended}", local(*opened_ms)))?;
    out.line(format!("  incident {}, alert {}", plain(&alert.incident), plain(&alert.id)))?;
    if let Some(verdict) = signature {
        let tone = if verdict.is_good() { Tone::Good } else { Tone::Bad };
        let verdict = out.paint(tone, &plain(&verdict.to_string()));
        out.line(format!("  signature: {verdict}"))?;
    }
    if let Some(trace) = &alert.trace {
        out.line(format!("  trace {}", plain(trace)))?;
    }
    table(out, "labels", alert.labels.iter().map(|(key, value)| (key, value.clone())))?;
    table(out, "evidence", alert.evidence.iter().map(|(key, value)| (key, said(value))))?;
    if let Some(resolved) = resolved {
        table(out, "evidence when it resolved", resolved.evidence.iter().map(|(key, value)| (key, said(value))))?;
    }
    list(out, "caused by", &alert.cause)?;
    if let Some(rule) = Rule::by_name(&alert.rule) {
        list(out, "what to look at", &[rule.look.to_owned()])?;
    }
    list(out, "what to do", &alert.advice)
}

/// What it came to.
fn judged(out: &mut Out, indent: &str, verdict: &VerdictRecord) -> Result<(), CliError> {
    let tone = match verdict.verdict.as_str() {
        "verified" => Tone::Good,
        "escalated" => Tone::Bad,
        _ => Tone::Warning,
    };
    let word = out.paint(tone, &plain(&verdict.verdict));
    out.line(format!("{indent}{} {word} {}, alert {}", local(verdict.at_ms), plain(&verdict.summary), plain(&verdict.alert)))
}

fn heading(out: &mut Out, text: &str) -> Result<(), CliError> {
    let text = out.paint(Tone::Strong, text);
    out.line(format!("\n{text}"))
}

fn table<'a>(out: &mut Out, title: &str, rows: impl Iterator<Item = (&'a String, String)>) -> Result<(), CliError> {
    let rows: BTreeMap<_, _> = rows.collect();
    if rows.is_empty() {
        return Ok(());
    }
    heading(out, title)?;
    let width = rows.keys().map(|key| key.chars().count()).max().unwrap_or_default();
    rows.iter().try_for_each(|(key, value)| out.line(format!("  {:<width$}  {}", plain(key), plain(value))))
}

fn list(out: &mut Out, title: &str, items: &[String]) -> Result<(), CliError> {
    if items.is_empty() {
        return Ok(());
    }
    heading(out, title)?;
    items.iter().try_for_each(|item| out.line(format!("  {}", plain(item))))
}

fn said(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn command(out: &mut Out, record: &CommandRecord) -> Result<(), CliError> {
    let CommandRecord { command, outcomes, verdict, .. } = record;
    let action = out.paint(Tone::Strong, &plain(&command.action));
    let mode = if command.mode == Mode::Act { "" } else { " (not to be executed: observe)" };
    out.line(format!(
        "  {} {action} {}, try {}{mode}, id {}",
        local(command.issued_ms),
        plain(&command.target),
        command.attempt,
        plain(&command.id)
    ))?;
    for OutcomeRecord { logged_ms, outcome, .. } in outcomes {
        let (tone, word) = readable::status(outcome.status);
        let word = out.paint(tone, word);
        out.line(format!("    {} {word} {}", local(*logged_ms), short(outcome.detail.as_deref().unwrap_or_default())))?;
    }
    verdict.as_ref().map_or(Ok(()), |verdict| judged(out, "    ", verdict))
}
