//! Words of the bus as lines for people: local time, colours where there are any, nothing that moves a cursor.

use crate::cli::out::{Tone, plain};
use crate::cli::{CliError, Out};
use homeostat_schemas::event::Order;
use homeostat_schemas::signature::Verdict;
use homeostat_schemas::{Alert, Command, Delivery, Event, Mode, Outcome, OutcomeStatus, Severity, State, UnixMs, silence};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::Value;

/// So many first characters of a statement tell that a summary has it.
const SAID: usize = 40;

/// The time of day where this terminal stands; with the day, unless it is today.
#[must_use]
pub fn local(at: UnixMs) -> String {
    let zone = TimeZone::system();
    let Ok(timestamp) = i64::try_from(at).map_err(drop).and_then(|at| Timestamp::from_millisecond(at).map_err(drop)) else {
        return "some time".to_owned();
    };
    let there = timestamp.to_zoned(zone.clone());
    let today = Timestamp::from_millisecond(i64::try_from(crate::clock::now_ms()).unwrap_or_default());
    let is_today = today.is_ok_and(|today| today.to_zoned(zone).date() == there.date());
    there.strftime(if is_today { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" }).to_string()
}

/// The tone of an alert.
#[must_use]
pub fn tone(alert: &Alert) -> Tone {
    match (alert.state, alert.severity) {
        (State::Resolved, _) => Tone::Good,
        (State::Firing, Severity::Critical) => Tone::Bad,
        (State::Firing, Severity::Warning) => Tone::Warning,
        (State::Firing, Severity::Info) => Tone::Strong,
    }
}

/// One alert: when, what, where, and the statement it is about, if it is about one.
///
/// # Errors
/// Nobody reads any more.
pub fn alert(out: &mut Out, alert: &Alert, verdict: Option<&Verdict>) -> Result<(), CliError> {
    let state = match alert.state {
        State::Firing => format!("{:<8}", alert.severity),
        State::Resolved => "resolved".to_owned(),
    };
    let state = out.paint(tone(alert), &state);
    let time = out.paint(Tone::Faint, &local(alert.at_ms));
    let rule = out.paint(Tone::Strong, &format!("{:<18}", plain(&alert.rule)));
    let statement = unsaid_statement(alert).map(|text| out.paint(Tone::Faint, &short(text)));
    let id = out.paint(Tone::Faint, &plain(&alert.id));
    out.line(format!(
        "{time} {state} {rule} {}  {}  {}{id}{}",
        plain(&alert.service),
        plain(&alert.summary),
        statement.map(|text| text + "  ").unwrap_or_default(),
        signature(out, verdict)
    ))
}

/// The statement that an alert is about, unless its summary says it already, whole or cut.
fn unsaid_statement(alert: &Alert) -> Option<&str> {
    let statement = alert.evidence.get("statement").and_then(Value::as_str)?;
    let begin: String = statement.chars().take(SAID).collect();
    (!alert.summary.contains(&begin)).then_some(statement)
}

/// One command.
///
/// # Errors
/// Nobody reads any more.
pub fn command(out: &mut Out, command: &Command, verdict: Option<&Verdict>) -> Result<(), CliError> {
    let time = out.paint(Tone::Faint, &local(command.issued_ms));
    let action = out.paint(Tone::Strong, &plain(&command.action));
    let mode = match command.mode {
        Mode::Act => String::new(),
        Mode::Observe | Mode::Off => " (not to be executed: observe)".to_owned(),
    };
    let signature = signature(out, verdict);
    let (target, service) = (plain(&command.target), plain(&command.service));
    out.line(format!("{time} command  {action} {target} of {service}, try {}{mode}{signature}", command.attempt))
}

/// What a signature is worth, at the end of a line.
#[must_use]
pub fn signature(out: &Out, verdict: Option<&Verdict>) -> String {
    let Some(verdict) = verdict else { return String::new() };
    let (tone, word) = match verdict {
        Verdict::Good(_) => (Tone::Faint, "signed"),
        Verdict::Untrusted(_) => (Tone::Warning, "signed by another"),
        Verdict::Unsigned => (Tone::Bad, "NOT SIGNED"),
        Verdict::Malformed | Verdict::Forged(_) => (Tone::Bad, "FORGED"),
    };
    format!("  {}", out.paint(tone, word))
}

/// What became of a command.
///
/// # Errors
/// Nobody reads any more.
pub fn outcome(out: &mut Out, delivery: &Delivery, outcome: &Outcome) -> Result<(), CliError> {
    let (tone, word) = status(outcome.status);
    let time = out.paint(Tone::Faint, &local(delivery.at));
    let word = out.paint(tone, &format!("{word:<8}"));
    let detail = outcome.detail.as_deref().map(plain).unwrap_or_default();
    out.line(format!("{time} {word} command {} {detail}", plain(&outcome.command)))
}

/// The tone and word of a status.
#[must_use]
pub const fn status(status: OutcomeStatus) -> (Tone, &'static str) {
    match status {
        OutcomeStatus::Accepted => (Tone::Faint, "accepted"),
        OutcomeStatus::Done => (Tone::Good, "done"),
        OutcomeStatus::Failed => (Tone::Bad, "failed"),
        OutcomeStatus::Refused => (Tone::Warning, "refused"),
        OutcomeStatus::Expired => (Tone::Warning, "expired"),
    }
}

/// What somebody says about alerts: a silence, an acknowledgement.
///
/// # Errors
/// Nobody reads any more.
pub fn said(out: &mut Out, order: &Order) -> Result<(), CliError> {
    let time = out.paint(Tone::Faint, &local(order.at_ms));
    let word = match order.action.as_str() {
        silence::CREATE => "silenced",
        silence::EXPIRE => "unsilenced",
        silence::ACKNOWLEDGE => "acknowledged",
        _ => "unacknowledged",
    };
    let word = out.paint(Tone::Strong, word);
    let matchers: Vec<&str> = order.args["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let reason = order.reason.as_deref().map(|reason| format!(": {}", short(reason))).unwrap_or_default();
    out.line(format!("{time} {word} {}  {}  by {}{reason}", plain(&order.target), short(&matchers.join(" ")), plain(&order.by)))
}

/// One event: its own fields in their order, long texts cut.
///
/// # Errors
/// Nobody reads any more.
pub fn event(out: &mut Out, event: &Event) -> Result<(), CliError> {
    let time = out.paint(Tone::Faint, &local(event.at_ms()));
    let kind = out.paint(Tone::Strong, &format!("{:<9}", event.kind().name()));
    let value = serde_json::to_value(event).unwrap_or_default();
    let shared = ["kind", "service", "at_ms"];
    let fields = value.as_object().into_iter().flatten().filter(|(key, _)| !shared.contains(&key.as_str()));
    let fields: Vec<String> =
        fields.map(|(key, value)| format!("{key}={}", short(&value.as_str().map_or_else(|| value.to_string(), str::to_owned)))).collect();
    out.line(format!("{time} {kind} {}  {}", plain(event.service()), fields.join(" ")))
}

/// A text on one line, cut where a line is long enough.
#[must_use]
pub fn short(text: &str) -> String {
    const LONG: usize = 160;
    let mut cut: String = plain(text).chars().take(LONG).collect();
    if text.chars().nth(LONG).is_some() {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_statement_is_shown_once() {
        let long = format!("select {} from t", ["a_column"; 40].join(", "));
        let alert = |summary: String, statement: &str| Alert {
            summary,
            evidence: [("statement".to_owned(), json!(statement))].into_iter().collect(),
            ..Alert::default()
        };
        let said = |summary: &str, statement| unsaid_statement(&alert(summary.to_owned(), statement)).is_none();
        assert!(said("mean 900 ms  select sleep(?)", "select sleep(?)"));
        assert!(said(&format!("mean 900 ms  {}…", long.chars().take(100).collect::<String>()), &long));
        assert!(!said("the cache is cold", "select sleep(?)"));
        assert!(!said("mean 900 ms  select 1", &long));
        assert_eq!(unsaid_statement(&Alert::default()), None);
    }
}
