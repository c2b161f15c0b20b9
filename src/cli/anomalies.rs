//! `homeostat anomalies FILE`: a series, how unusual each of its values is, and where something was wrong.

use super::args::AnomaliesArgs;
use super::forecast::number;
use super::out::{Tone, count};
use super::{CliError, Context, Finish, series};
use homeostat_actors::forecast::{ForecastCore, Series, anomalies, threshold};
use serde_json::{Value, json};

/// Runs the command.
///
/// # Errors
/// The file is no series, or nobody reads the answer any more.
pub fn run(context: &mut Context, args: &AnomaliesArgs) -> Result<Finish, CliError> {
    let settings = context.config().actors.of::<ForecastCore>()?;
    let read = series::read(&args.file)?;
    let series = Series::of(&read.points);
    let periods = (!args.season.is_empty()).then_some(args.season.as_slice());
    let seen = anomalies(&series.values, periods, series.step_ms(), threshold(series.step_ms(), settings.config.alarms_per_series_month));
    let at = |cell: u64| read.clock.show(series.at(usize::try_from(cell).unwrap_or(usize::MAX)));
    if context.json {
        let points: Vec<Value> = read
            .points
            .iter()
            .zip(&series.cells)
            .map(|((at, value), cell)| {
                let p = cell.and_then(|cell| seen.p.get(cell).copied().flatten()).filter(|_| value.is_finite());
                json!({ "at": read.clock.show(*at), "value": value, "p": p })
            })
            .collect();
        let alarms: Vec<Value> = seen
            .incidents
            .iter()
            .map(|found| {
                json!({ "start": at(found.start), "end": at(found.end), "p": found.p, "value": found.value, "expected": found.expected })
            })
            .collect();
        context.out.json(&json!({ "points": points, "alarms": alarms }))?;
    } else {
        if let Some(first) = seen.incidents.first() {
            let width = at(first.start).to_string().len().max(12);
            let head = format!("{:<width$} {:<width$} {:>9} {:>14} {:>14}", "from", "to", "p", "value", "expected");
            context.out.line(context.out.paint(Tone::Faint, &head))?;
            for found in &seen.incidents {
                let text = |at: Value| at.as_str().map_or_else(|| at.to_string(), str::to_owned);
                let (from, to) = (text(at(found.start)), text(at(found.end)));
                let (value, expected) = (number(found.value), number(found.expected));
                context.out.line(format!("{from:<width$} {to:<width$} {:>9.1e} {value:>14} {expected:>14}", found.p))?;
            }
        }
        let judged = seen.p.iter().flatten().count() as u64;
        let word = if judged == 0 { "; insufficient history" } else { "" };
        context.out.line(format!("{} in {}{word}", count(seen.incidents.len() as u64, "alarm"), count(judged, "judged value")))?;
    }
    Ok(if args.check && !seen.incidents.is_empty() { Finish::Found } else { Finish::Fine })
}
