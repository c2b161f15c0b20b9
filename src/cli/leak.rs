//! `homeostat leak FILE`: memory series, judged as the leak mind would have judged them live.

use super::args::LeakArgs;
use super::out::{Tone, complain, count, plain};
use super::{CliError, Context, Finish};
use homeostat_actors::leak::{Assessment, LeakCore, Sample, Tier, assess};
use homeostat_schemas::UnixMs;
use homeostat_schemas::time::rfc3339;
use serde::Serialize;
use std::collections::BTreeMap;

mod read;

/// One series and its verdict.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    service: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    instance: &'a str,
    #[serde(flatten)]
    assessment: Assessment,
    /// Rows that could not be read.
    unreadable: u64,
}

/// Service and instance, empty where the file names none.
type Name = (String, String);

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or holds no memory series.
pub fn run(context: &mut Context, args: &LeakArgs) -> Result<Finish, CliError> {
    let config = context.config().actors.of::<LeakCore>()?.config;
    let file = read::read(&args.file)?;
    let mut finish = Finish::Fine;
    for (name, samples) in file.series {
        let assessment = assess(samples, &config);
        if args.check && assessment.verdict == Tier::Confirmed {
            finish = Finish::Found;
        }
        let answer = Answer { service: &name.0, instance: &name.1, assessment, unreadable: file.unreadable };
        if context.json {
            context.out.json(&answer)?;
        } else {
            tell(context, &answer)?;
        }
    }
    Ok(finish)
}

/// The answer for people.
fn tell(context: &mut Context, answer: &Answer<'_>) -> Result<(), CliError> {
    let out = &mut context.out;
    let found = &answer.assessment;
    let who = [answer.service, answer.instance].into_iter().filter(|name| !name.is_empty()).map(plain).collect::<Vec<_>>().join("/");
    let (tone, verdict) = match found.verdict {
        Tier::Confirmed => (Tone::Bad, "leak confirmed"),
        Tier::Suspected => (Tone::Warning, "leak suspected"),
        Tier::None if found.insufficient => (Tone::Faint, "too little to say"),
        Tier::None => (Tone::Good, "no leak"),
    };
    let verdict = out.paint(tone, verdict);
    out.line(if who.is_empty() { verdict } else { format!("{who}: {verdict}") })?;
    if let (Some(slope), Some(base)) = (found.slope_pct_per_h, found.baseline_bytes) {
        let interval = found.slope_pct_per_h_interval.map(|[low, high]| format!(" (95 %: {low:.2} to {high:.2})")).unwrap_or_default();
        out.line(format!("  growth     {slope:.2} % an hour of {}{interval}", size(base)))?;
    }
    if let Some(why) = found.why {
        out.line(format!("  because    {why}"))?;
    }
    let start = answer.assessment.start_ms;
    for (word, at) in [("suspected", found.first_suspected_at), ("confirmed", found.first_confirmed_at)] {
        if let Some(at) = at {
            out.line(format!("  {word}  {}, after {:.1} h", moment(at), hours(at.saturating_sub(start))))?;
        }
    }
    if let (Some(limit), Some(eta)) = (found.memory_limit_bytes, found.eta_h) {
        let latest = found.eta_h_interval.and_then(|(_, latest)| latest).map_or("open".to_owned(), |hours| format!("{hours:.1} h"));
        let earliest = found.eta_h_interval.map_or(eta, |(earliest, _)| earliest);
        out.line(format!("  limit      {} in {eta:.1} h ({earliest:.1} h at the earliest, {latest} at the latest)", size(limit)))?;
    }
    let lives = if found.lives == 1 { "1 life".to_owned() } else { format!("{} lives", found.lives) };
    let ignored = if found.ignored == 0 { String::new() } else { format!(", {} ignored", found.ignored) };
    out.line(format!("  series     {:.1} h, {}{ignored}, {lives}", found.hours, count(found.samples, "sample")))
}

/// A time that counts from zero is shown as hours.
fn moment(at: UnixMs) -> String {
    if at < 1_000_000_000_000 { format!("at {:.2} h", hours(at)) } else { rfc3339(at) }
}

#[allow(clippy::cast_precision_loss)]
fn hours(ms: u64) -> f64 {
    ms as f64 / 3_600_000.0
}

/// Bytes for people.
pub(super) fn size(bytes: f64) -> String {
    let mut value = bytes;
    for unit in ["B", "KB", "MB", "GB"] {
        if value.abs() < 1000.0 {
            return if unit == "B" { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// Says once for a file what of it could not be read.
fn unreadable(path: &str, rows: u64, first: Option<(u64, String)>) {
    if let Some((line, why)) = first {
        complain(&format!("{path}: {} left out, the first is line {line}: {why}", count(rows, "row")));
    }
}

/// What a file holds.
struct File {
    series: BTreeMap<Name, Vec<Sample>>,
    unreadable: u64,
}
