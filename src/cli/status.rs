//! `homeostat status` and `homeostat alerts`: what every operator asks first. The running gateway answers, found as `healthcheck` finds it.

use super::args::AlertsArgs;
use super::healthcheck::{gateway, percent};
use super::orders::{items, number};
use super::out::{Tone, count, plain};
use super::tail::readable;
use super::{CliError, Context, Finish, Out, orders};
use homeostat_schemas::Alert;
use serde::Deserialize as _;
use serde_json::Value;

/// Services with something open that are named.
const SERVICES_MAX: usize = 10;

/// Runs `status`.
///
/// # Errors
/// Nothing runs.
pub async fn run(context: &mut Context) -> Result<Finish, CliError> {
    let answer = orders::ask(context, "/api/v1/status").await?;
    if context.json {
        context.out.pretty(&answer)?;
    } else {
        let place = gateway(context.config());
        tell(&mut context.out, &answer, &place)?;
    }
    Ok(Finish::Fine)
}

/// Runs `alerts`.
///
/// # Errors
/// Nothing runs.
pub async fn alerts(context: &mut Context, args: &AlertsArgs) -> Result<Finish, CliError> {
    let said = [("service", &args.service), ("rule", &args.rule)];
    let filters = said.into_iter().filter_map(|(name, value)| Some(format!("&{name}={}", percent(value.as_deref()?))));
    let severity = args.severity.map(|severity| format!("&severity={}", severity.name()));
    let filters: String = filters.chain(severity).chain(args.all.then(|| "&all=true".to_owned())).collect();
    let answer = orders::ask(context, &format!("/api/v1/alerts?limit={}{filters}", args.limit)).await?;
    let Value::Array(entries) = answer else { return Err(CliError::new("the gateway's answer is no list of alerts")) };
    if context.json {
        context.out.pretty(&entries)?;
    } else {
        entries.iter().try_for_each(|entry| alert(&mut context.out, entry))?;
        let what = if args.all { "alert" } else { "open alert" };
        let last = match entries.len() {
            shown if shown == args.limit as usize => {
                format!(
                    "the first {shown}; there may be more (--limit, `homeostat status` counts them), or fewer to look at (--service, --rule, --severity)"
                )
            }
            shown => count(shown as u64, what),
        };
        context.out.line(last)?;
    }
    Ok(if args.check && !entries.is_empty() { Finish::Found } else { Finish::Fine })
}

/// One alert, and what people say about it.
fn alert(out: &mut Out, entry: &Value) -> Result<(), CliError> {
    let alert =
        Alert::deserialize(entry).map_err(|error| CliError::new("the gateway's answer holds something that is no alert").because(error))?;
    readable::alert(out, &alert, None)?;
    people(entry).iter().try_for_each(|said| out.line(out.paint(Tone::Faint, &format!("    {said}"))))
}

/// What people say about an alert of the gateway's answer, line by line.
pub(super) fn people(entry: &Value) -> Vec<String> {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(plain);
    let acknowledged = text("acknowledged_by").map(|by| {
        let reason = text("acknowledged_reason").map_or_else(String::new, |reason| format!(": {reason}"));
        format!("{by} looks after it{reason}")
    });
    let silences: Vec<String> = items(entry, "silenced_by").iter().filter_map(Value::as_str).map(plain).collect();
    let silenced = (!silences.is_empty()).then(|| format!("silenced by {}", silences.join(", ")));
    acknowledged.into_iter().chain(silenced).collect()
}

/// The process, its parts that are not well, and what is open.
fn tell(out: &mut Out, answer: &Value, place: &str) -> Result<(), CliError> {
    let ready = &answer["readiness"];
    let standby = ready["standby"] == true;
    let (tone, word) = match (ready["level"].as_str().unwrap_or_default(), standby) {
        ("fail", _) => (Tone::Bad, "not ready"),
        ("warn", _) => (Tone::Warning, "ready, but someone should look"),
        (_, true) => (Tone::Good, "stands by"),
        _ => (Tone::Good, "ready"),
    };
    let word = out.paint(tone, word);
    out.line(format!("{word}  homeostat {} at {}", plain(answer["version"].as_str().unwrap_or_default()), plain(place)))?;
    for check in items(ready, "checks").iter().filter(|check| check["level"] != "pass") {
        let tone = if check["level"] == "fail" { Tone::Bad } else { Tone::Warning };
        let detail = check["detail"].as_str().map_or_else(String::new, |detail| format!(": {}", plain(detail)));
        out.line(format!("  {}{detail}", out.paint(tone, &plain(check["name"].as_str().unwrap_or_default()))))?;
    }
    let actors: Vec<(&String, &Value)> = answer["actors"].as_object().into_iter().flatten().collect();
    if !standby {
        let working = actors.iter().filter(|(_, actor)| actor["running"] == true && actor["caught_up"] == true).count();
        out.line(format!("{}, {working} at work and caught up", count(actors.len() as u64, "actor")))?;
    }
    for (name, actor) in actors {
        if let Some(trouble) = actor["trouble"].as_str() {
            let line = format!("  {name}: {trouble} ({})", count(number(actor, "restarts"), "restart"));
            out.line(out.paint(Tone::Warning, &plain(&line)))?;
        }
    }
    let Some(findings) = answer.get("findings") else {
        return out.line("what is open is known where the actors work; `homeostat alerts` shows what history has");
    };
    let open = |severity: &str| number(&findings["open_by_severity"], severity);
    let total = open("critical") + open("warning") + open("info");
    let by_severity: Vec<String> = [("critical", Tone::Bad), ("warning", Tone::Warning), ("info", Tone::Strong)]
        .into_iter()
        .map(|(severity, tone)| {
            format!("{} {severity}", out.paint(if open(severity) > 0 { tone } else { Tone::Faint }, &open(severity).to_string()))
        })
        .collect();
    out.line(format!("{}: {}", count(total, "open alert"), by_severity.join(", ")))?;
    out.line(format!(
        "  {} silenced, {} acknowledged; {} in force",
        number(findings, "silenced"),
        number(findings, "acknowledged"),
        count(number(findings, "silences_active"), "silence")
    ))?;
    let mut services: Vec<(&String, u64)> = findings["open_by_service"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, open)| (name, open.as_u64().unwrap_or_default()))
        .collect();
    services.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
    for (name, open) in services.iter().take(SERVICES_MAX) {
        out.line(format!("  {open:>5}  {}", plain(name)))?;
    }
    if services.len() > SERVICES_MAX {
        out.line(format!("      …  {}", count((services.len() - SERVICES_MAX) as u64, "more service")))?;
    }
    Ok(())
}
