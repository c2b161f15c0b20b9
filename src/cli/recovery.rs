//! `homeostat recovery list|approve|deny|pause|resume|request`: what is being done about what is wrong, and people's word in it.
//!
//! The picture comes from the running gateway, orders go onto the log as events.

use super::args::{Named, RecoveryArgs, RecoveryCommand};
use super::healthcheck::percent;
use super::orders::{items, number, text};
use super::out::{Tone, count, plain};
use super::tail::readable::local;
use super::{CliError, Context, Finish, Out, orders};
use homeostat_actors::recovery::{RecoveryView, check, order};
use homeostat_schemas::event::Order;
use serde_json::{Map, Value, json};

/// Runs the command.
///
/// # Errors
/// Nothing runs, or an order cannot be stored.
pub async fn run(context: &mut Context, args: &RecoveryArgs) -> Result<Finish, CliError> {
    let order = |action: &str, target: &str, who: &Named| orders::order(action, target, Value::Null, who);
    let order = match &args.command {
        RecoveryCommand::List { history: true, incident, limit, before, .. } => {
            history(context, incident.as_deref(), *limit, *before).await?;
            return Ok(Finish::Fine);
        }
        RecoveryCommand::List { all, .. } => {
            list(context, *all).await?;
            return Ok(Finish::Fine);
        }
        RecoveryCommand::Approve { incident, who } => order(order::APPROVE, incident, who),
        RecoveryCommand::Deny { incident, who } => order(order::DENY, incident, who),
        RecoveryCommand::Pause { scope, who } => order(order::PAUSE, scope, who),
        RecoveryCommand::Resume { scope, who } => order(order::RESUME, scope, who),
        RecoveryCommand::Request { action, target, service, args, who } => {
            Order { service: service.clone(), args: arguments(args)?, ..order(action, target, who) }
        }
    };
    check(&order.action, &order.target).map_err(CliError::new)?;
    if order::decides(&order.action) {
        known(context, &order.target).await?;
    }
    send(context, order).await?;
    Ok(Finish::Fine)
}

/// Sees to it that an incident is open, as far as that can be asked.
async fn known(context: &Context, incident: &str) -> Result<(), CliError> {
    let Ok(answer) = orders::ask(context, "/api/v1/recovery").await else { return Ok(()) };
    match serde_json::from_value::<RecoveryView>(answer) {
        Ok(view) if view.knows(incident) == Some(false) => {
            Err(CliError::new(format!("no incident {} is open", plain(incident))).advise("`homeostat recovery list` shows them"))
        }
        _ => Ok(()),
    }
}

/// `KEY=VALUE`, the value as JSON if it is some.
fn arguments(pairs: &[String]) -> Result<Value, CliError> {
    let mut args = Map::new();
    for pair in pairs {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| CliError::new(format!("`{}` is no argument", plain(pair))).advise("write KEY=VALUE"))?;
        args.insert(key.to_owned(), serde_json::from_str(value).unwrap_or_else(|_| value.into()));
    }
    Ok(Value::Object(args))
}

async fn send(context: &mut Context, order: Order) -> Result<(), CliError> {
    let (action, target) = (order.action.clone(), order.target.clone());
    let position = orders::store(context, order).await?;
    if context.json {
        context.out.json(&json!({ "action": action, "target": target, "position": position }))
    } else {
        context.out.line(format!("{} of {} is ordered; `homeostat recovery list` shows what became of it", plain(&action), plain(&target)))
    }
}

async fn list(context: &mut Context, all: bool) -> Result<(), CliError> {
    let answer = orders::ask(context, "/api/v1/recovery").await?;
    if context.json { context.out.pretty(&answer) } else { tell(&mut context.out, &answer, all) }
}

/// One page of what was decided.
async fn history(context: &mut Context, incident: Option<&str>, limit: u32, before: Option<u64>) -> Result<(), CliError> {
    let incident = incident.map_or_else(String::new, |id| format!("&incident={}", percent(id)));
    let before = before.map_or_else(String::new, |number| format!("&before={number}"));
    let path = format!("/api/v1/recovery/decisions?limit={limit}{incident}{before}");
    let answer = orders::ask(context, &path).await?;
    if context.json {
        return context.out.pretty(&answer);
    }
    let page = answer.as_array().map_or(&[][..], Vec::as_slice);
    page.iter().try_for_each(|entry| decided(&mut context.out, entry))?;
    match page.last() {
        None => context.out.line("nothing was decided"),
        Some(last) if page.len() == limit as usize => context.out.line(format!("… older ones with --before {}", number(last, "number"))),
        Some(_) => Ok(()),
    }
}

/// One entry of the decision record.
fn decided(out: &mut Out, entry: &Value) -> Result<(), CliError> {
    let what = format!("{:<11}", text(entry, "what"));
    let of = [text(entry, "action"), text(entry, "target"), text(entry, "service")].join(" ");
    let time = out.paint(Tone::Faint, &local(number(entry, "at_ms")));
    out.line(format!("{time} {} {}  {}", out.paint(Tone::Strong, &what), plain(of.trim()), plain(text(entry, "why"))))
}

/// What is open, then what was decided of late.
fn tell(out: &mut Out, view: &Value, all: bool) -> Result<(), CliError> {
    let budget = view.get("budget").cloned().unwrap_or_default();
    let mode = match text(view, "mode") {
        "act" => "commands are meant",
        "observe" => "commands only show what would be done; `homeostat config set actors.recovery.mode=act` means them",
        _ => "nothing is done",
    };
    out.line(format!("mode {}: {mode}", plain(text(view, "mode"))))?;
    out.line(format!(
        "budget: {} of {} commands within {} s",
        number(&budget, "used"),
        number(&budget, "of"),
        number(&budget, "window_s")
    ))?;
    for pause in items(view, "paused") {
        let line = format!("{} is paused by {} since {}", text(pause, "scope"), text(pause, "by"), local(number(pause, "since_ms")));
        out.line(out.paint(Tone::Warning, &plain(&line)))?;
    }
    for brake in items(view, "brakes") {
        let (cause, service) = (text(brake, "cause"), text(brake, "service"));
        let what = if service.is_empty() { "services".to_owned() } else { format!("instances of {service}") };
        let line = format!("brake: {} of {} {what} have {cause}", number(brake, "unhealthy"), number(brake, "of"));
        out.line(out.paint(Tone::Bad, &plain(&line)))?;
    }
    let open = items(view, "open");
    out.line(format!("\n{}", out.paint(Tone::Strong, &count(open.len() as u64, "incident"))))?;
    for case in open {
        let stage = text(case, "stage");
        let tone = match stage {
            "verified" => Tone::Good,
            "proposed" | "waiting" => Tone::Warning,
            "escalated" => Tone::Bad,
            _ => Tone::Strong,
        };
        let stage = out.paint(tone, &format!("{stage:<9}"));
        let cause = if text(case, "rule").is_empty() { format!("order of {}", text(case, "by")) } else { text(case, "rule").to_owned() };
        let what = format!("{} {} of {}", text(case, "action"), text(case, "target"), text(case, "service"));
        let line = format!("{}  {}  ({})", plain(&what), plain(text(case, "why")), plain(&cause));
        out.line(format!("{stage} {}  {line}", out.paint(Tone::Faint, &plain(text(case, "incident")))))?;
    }
    let record = items(view, "record");
    let shown = if all { record.len() } else { record.len().min(20) };
    out.line(format!("\n{}", out.paint(Tone::Strong, "decided of late, the newest first")))?;
    record.iter().take(shown).try_for_each(|entry| decided(out, entry))?;
    if shown < record.len() {
        out.line(format!("… {} more with --all", record.len() - shown))?;
    }
    Ok(())
}
