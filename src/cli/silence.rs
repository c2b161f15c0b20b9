//! `homeostat silence create|list|expire` and `homeostat acknowledge`: people's word on alerts. Orders go onto the log as events; the
//! picture comes from the running gateway.

use super::args::{AcknowledgeArgs, CreateSilence, Named, SilenceArgs, SilenceCommand};
use super::out::{Tone, count, plain};
use super::tail::readable::local;
use super::{CliError, Context, Finish, Out, explain, orders};
use crate::clock::now_ms;
use homeostat_actors::status;
use homeostat_schemas::silence::{self, Window};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

/// Runs `silence …`.
///
/// # Errors
/// Nothing runs, or an order cannot be followed or stored.
pub async fn run(context: &mut Context, args: &SilenceArgs) -> Result<Finish, CliError> {
    match &args.command {
        SilenceCommand::Create(create) => make(context, create).await?,
        SilenceCommand::List { all } => list(context, *all).await?,
        SilenceCommand::Expire { ids, who } => {
            for id in ids {
                expire(context, id, who).await?;
            }
        }
    }
    Ok(Finish::Fine)
}

/// Runs `acknowledge`.
///
/// # Errors
/// No such incident is open, or the order cannot be stored.
pub async fn acknowledge(context: &mut Context, args: &AcknowledgeArgs) -> Result<Finish, CliError> {
    let incident = explain::find(context, &args.incident).await?;
    let Some(record) = incident.record else {
        return Err(CliError::new(format!(
            "{} is a command that a person ordered: there is no alert to look after",
            plain(&args.incident)
        )));
    };
    if record.resolved_ms.is_some() {
        return Err(CliError::new(format!("the incident {} is over", plain(&args.incident))));
    }
    let (action, said) = if args.withdraw {
        (silence::UNACKNOWLEDGE, "is nobody's again")
    } else {
        (silence::ACKNOWLEDGE, "is acknowledged: nobody is reminded of it")
    };
    give(context, action, &record.alert.incident, Value::Null, &args.who, said).await?;
    Ok(Finish::Fine)
}

async fn make(context: &mut Context, create: &CreateSilence) -> Result<(), CliError> {
    let id = match &create.id {
        Some(id) => id.clone(),
        None => super::publish::packer::id()?.chars().take(16).collect(),
    };
    let window = create.from.clone().zip(create.to.clone()).map(|(from, to)| Window {
        days: create.days.clone(),
        from,
        to,
        zone: create.zone.clone().or_else(|| TimeZone::system().iana_name().map(str::to_owned)).unwrap_or_else(|| "UTC".to_owned()),
    });
    let args = silence::SilenceArgs {
        matchers: create.matchers.clone(),
        starts_ms: create.start,
        ends_ms: create.until,
        duration_ms: create.duration,
        window,
    };
    let args = serde_json::to_value(args).map_err(|error| CliError::new("the silence cannot be written").because(error))?;
    give(context, silence::CREATE, &id, args, &create.who, "is made").await
}

/// Ends a silence, if one of that name is in force or to come, as far as that can be asked.
async fn expire(context: &mut Context, id: &str, who: &Named) -> Result<(), CliError> {
    let said = match orders::ask(context, "/api/v1/silences").await {
        Ok(silences) => {
            let found = silences.as_array().into_iter().flatten().find(|silence| silence["id"] == id);
            match found.map(|silence| &silence["state"]) {
                Some(state) if state == "ended" => return Err(CliError::new(format!("the silence {} is over already", plain(id)))),
                Some(_) => "is ended",
                None => {
                    let error = CliError::new(format!("no silence has the id {}", plain(id)));
                    return Err(error.advise("`homeostat silence list` shows them"));
                }
            }
        }
        Err(_) => "is to end, if there is one: the gateway cannot say; the order stands on the log",
    };
    give(context, silence::EXPIRE, id, Value::Null, who, said).await
}

async fn give(context: &mut Context, action: &str, target: &str, args: Value, who: &Named, said: &str) -> Result<(), CliError> {
    let order = orders::order(action, target, args, who);
    // The mind would refuse it too, but nobody would be looking.
    status::check(&order, now_ms()).map_err(|why| CliError::new(format!("{} {}: {}", plain(action), plain(target), plain(&why))))?;
    let position = orders::store(context, order).await?;
    if context.json {
        return context.out.json(&json!({ "action": action, "target": target, "position": position }));
    }
    context.out.line(format!("{} {said}", plain(target)))
}

async fn list(context: &mut Context, all: bool) -> Result<(), CliError> {
    let answer = orders::ask(context, "/api/v1/silences").await?;
    let Value::Array(mut silences) = answer else { return Err(CliError::new("the gateway's answer is no list of silences")) };
    silences.retain(|silence| all || silence["state"] != "ended");
    if context.json {
        return context.out.pretty(&silences);
    }
    context.out.line(count(silences.len() as u64, "silence"))?;
    silences.iter().try_for_each(|silence| tell(&mut context.out, silence))
}

fn tell(out: &mut Out, silence: &Value) -> Result<(), CliError> {
    let text = |key: &str| silence[key].as_str().unwrap_or_default();
    let time = |key: &str| silence[key].as_u64().map(local);
    let tone = match text("state") {
        "active" => Tone::Warning,
        "pending" => Tone::Strong,
        _ => Tone::Faint,
    };
    let matchers: Vec<&str> = silence["matchers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let state = out.paint(tone, &format!("{:<7}", plain(text("state"))));
    out.line(format!("{state} {}  {}", out.paint(Tone::Strong, &plain(text("id"))), plain(&matchers.join(" "))))?;
    let mut when = match (time("from_ms"), time("to_ms")) {
        (Some(from), Some(to)) => format!("{from} to {to}"),
        _ => format!("over since {}", time("ends_ms").unwrap_or_default()),
    };
    if let Some(window) = silence.get("window").filter(|window| window.is_object()) {
        let days: Vec<&str> = window["days"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let days = if days.is_empty() { "daily".to_owned() } else { days.join(",") };
        let said = |key: &str| window[key].as_str().unwrap_or_default().to_owned();
        when.push_str(&format!(" ({days} {} to {} {})", said("from"), said("to"), said("zone")));
    }
    if let Some(by) = silence["expired_by"].as_str() {
        when.push_str(&format!(", ended by {by}"));
    }
    let covers = silence["covers"].as_u64().unwrap_or_default();
    let covers = if text("state") == "ended" { String::new() } else { format!("; covers {}", count(covers, "open incident")) };
    let why = if text("reason").is_empty() { String::new() } else { format!(": {}", text("reason")) };
    out.line(format!("        {}{covers}; by {}{}", plain(&when), plain(text("by")), plain(&why)))
}
