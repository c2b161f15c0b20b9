//! `homeostat forecast FILE`: a series, and what follows it.

use super::args::ForecastArgs;
use super::out::Tone;
use super::{CliError, Context, Finish, series};
use homeostat_actors::forecast::{Outlook, Series, Wish, forecast};
use serde_json::{Value, json};

/// The word for the model where there is none.
const INSUFFICIENT: &str = "insufficient_history";

/// Runs the command.
///
/// # Errors
/// The file is no series, or nobody reads the answer any more.
pub fn run(context: &mut Context, args: &ForecastArgs) -> Result<Finish, CliError> {
    let read = series::read(&args.file)?;
    let series = Series::of(&read.points);
    let wish = Wish {
        horizon: usize::try_from(args.horizon).unwrap_or(usize::MAX),
        level: args.level,
        periods: (!args.season.is_empty()).then(|| args.season.clone()),
        step_ms: series.step_ms(),
    };
    let outlook = match forecast(&series.values, &wish) {
        Ok(outlook) => outlook,
        Err(why) => {
            if context.json {
                context.out.json(&json!({ "model": INSUFFICIENT, "reason": why.to_string(), "points": [] }))?;
            } else {
                context.out.line(why.to_string())?;
            }
            return Ok(Finish::Fine);
        }
    };
    let at = |k: usize| read.clock.show(series.at(series.values.len() + k));
    if context.json {
        let points: Vec<Value> = outlook
            .steps
            .iter()
            .enumerate()
            .map(|(k, step)| json!({ "at": at(k), "mean": step.mean, "lower": step.lower, "upper": step.upper }))
            .collect();
        let members: Vec<Value> =
            outlook.trials.iter().map(|trial| json!({ "name": trial.member.name(), "error": trial.error, "used": trial.used })).collect();
        context.out.json(&json!({
            "model": outlook.model(),
            "level": args.level,
            "season": outlook.periods,
            "transform": transform(&outlook),
            "members": members,
            "points": points,
        }))?;
        return Ok(Finish::Fine);
    }
    let head = format!("{}  season {}  {}", outlook.model(), season(&outlook.periods), transform(&outlook));
    let head = context.out.paint(Tone::Strong, &head);
    context.out.line(head)?;
    let percent = 100.0 * args.level;
    context
        .out
        .line(context.out.paint(Tone::Faint, &format!("{:<24} {:>16} {:>16} {:>16}", "at", "mean", format!("{percent} % from"), "to")))?;
    for (k, step) in outlook.steps.iter().enumerate() {
        let at = at(k);
        let at = at.as_str().map_or_else(|| at.to_string(), str::to_owned);
        context.out.line(format!("{at:<24} {:>16} {:>16} {:>16}", number(step.mean), number(step.lower), number(step.upper)))?;
    }
    Ok(Finish::Fine)
}

fn transform(outlook: &Outlook) -> &'static str {
    if outlook.log { "log" } else { "none" }
}

fn season(periods: &[usize]) -> String {
    if periods.is_empty() { "none".to_owned() } else { periods.iter().map(usize::to_string).collect::<Vec<_>>().join(", ") }
}

/// Six digits, whatever the size.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return format!("{value:.5e}");
    }
    let before = if size < 1.0 { 0 } else { size.log10().floor() as usize };
    format!("{value:.*}", 5_usize.saturating_sub(before))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn six_digits_whatever_the_size() {
        let shown = [0.0, 0.125, 12.5, 1234.5678, 1e12, -1.5e20, 1e-9].map(number);
        assert_eq!(shown, ["0.00000", "0.12500", "12.5000", "1234.57", "1000000000000", "-1.50000e20", "1.00000e-9"]);
    }
}
