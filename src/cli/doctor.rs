//! `homeostat doctor`: is everything there that Homeostat needs, and is it well? One line each, and what to do about it.
//!
//! Nothing is changed and nothing is made. Exit code 1 when something failed; a warning is no failure.

mod machine;
mod reach;

use super::out::{Tone, plain};
use super::{CliError, Context, Finish};
use serde::Serialize;
use serde_json::json;

/// How a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Well.
    Ok,
    /// It works, but someone should look.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: &'static str,
    /// How it is.
    pub state: State,
    /// What was seen.
    pub seen: String,
    /// What to do, unless all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Finding {
    fn ok(name: &'static str, seen: impl Into<String>) -> Finding {
        Finding { name, state: State::Ok, seen: seen.into(), advice: None }
    }

    fn warn(name: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, state: State::Warn, seen: seen.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, seen: impl Into<String>, advice: impl Into<String>) -> Finding {
        Finding { name, state: State::Fail, seen: seen.into(), advice: Some(advice.into()) }
    }
}

/// Runs the command.
///
/// # Errors
/// Nobody reads any more.
pub async fn run(context: &mut Context) -> Result<Finish, CliError> {
    let config = context.config().clone();
    let mut findings = vec![machine::server(&config), machine::data_dir(&config), machine::disk(&config), machine::files()];
    let running = reach::is_running(&config);
    findings.push(machine::listen(&config, running));
    findings.push(reach::database(&config).await);
    let bus = reach::bus(context).await;
    if bus.iter().any(|finding| finding.name == reach::BUS && finding.state == State::Ok) {
        // It is for the next start; what runs now does not need it.
        for missing in findings.iter_mut().filter(|finding| finding.name == machine::SERVER) {
            missing.state = missing.state.min(State::Warn);
        }
    }
    findings.extend(bus);
    findings.extend(reach::callout(&config).await);
    findings.push(reach::gateway(&config, running).await);
    let worst = findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    if context.json {
        context.out.pretty(&json!({ "state": worst, "findings": findings }))?;
    } else {
        findings.iter().try_for_each(|finding| tell(context, finding))?;
    }
    Ok(if worst == State::Fail { Finish::Failed } else { Finish::Fine })
}

fn tell(context: &mut Context, finding: &Finding) -> Result<(), CliError> {
    let (tone, word) = match finding.state {
        State::Ok => (Tone::Good, "ok  "),
        State::Warn => (Tone::Warning, "warn"),
        State::Fail => (Tone::Bad, "fail"),
    };
    let word = context.out.paint(tone, word);
    context.out.line(format!("{word}  {:<11} {}", finding.name, plain(&finding.seen)))?;
    match &finding.advice {
        Some(advice) => context.out.line(format!("                  → {}", plain(advice))),
        None => Ok(()),
    }
}

/// Bytes in a unit that people read.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A length of time in hours or days.
fn hours(hours: f64) -> String {
    if hours < 72.0 { format!("{hours:.1} h") } else { format!("{:.0} days", hours / 24.0) }
}
