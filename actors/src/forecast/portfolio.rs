//! The portfolio: several ways to forecast, held against the end of the history, and those that prove themselves combined.
//!
//! 0. Outliers are left out (`outliers.rs`), and what was before a step is moved to the level of the end (`levels.rs`).
//! 1. The last part of the history is set aside. Every member is fitted to what is before it, and forecasts from many places
//!    within it (a rolling origin, parameters held fixed; Tashman 2000).
//! 2. The transform (logarithms or not) is the one in which the autoregression did better.
//! 3. Members whose mean absolute error is within [`SURVIVES`] of the best survive. Five or more are combined by their median,
//!    fewer by a mean weighted by the inverse of their errors squared (Bates and Granger 1969).
//! 4. The same combination of the same rolling forecasts gives the errors for the interval (`interval.rs`).
//! 5. The survivors are fitted to the whole history.

use super::fill::fill;
use super::interval::Spread;
use super::levels::levelled;
use super::member::{Fitted, History, Member};
use super::outliers::outliers;
use super::period;

/// A member survives whose error is at most this many times the least.
const SURVIVES: f64 = 2.5;
/// From so many survivors on their median is taken.
const MEDIAN_FROM: usize = 5;
/// Places in the part set aside from which is forecast.
const ORIGINS_MAX: usize = 64;
/// Values that are looked at; the last ones.
pub const HISTORY_MAX: usize = 4_096;
/// Fewer known values are an insufficient history.
pub const KNOWN_MIN: usize = 8;
/// Larger values are scaled down first.
const VALUE_MAX: f64 = 1e100;
/// Longest horizon.
pub const HORIZON_MAX: usize = 10_000;
/// Longest period; more than half of what is looked at cannot be learnt.
pub const PERIOD_MAX: usize = HISTORY_MAX / 2;
/// Periods that are used of those that are given.
const PERIODS_MAX: usize = 3;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Steps ahead.
    pub horizon: usize,
    /// Share of future values that the interval is to cover, between 0 and 1.
    pub level: f64,
    /// Periods in steps; found by autocorrelation when nothing is said.
    pub periods: Option<Vec<usize>>,
    /// Time between two values, when it is known: days and weeks are looked for first.
    pub step_ms: Option<u64>,
}

/// One step ahead.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    /// What is expected.
    pub mean: f64,
    /// Lower end of the interval.
    pub lower: f64,
    /// Upper end of the interval.
    pub upper: f64,
}

/// How a member did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trial {
    /// Which.
    pub member: Member,
    /// Its mean absolute error over the part set aside, in the units of the series.
    pub error: f64,
    /// Is it part of the forecast?
    pub used: bool,
}

/// A forecast.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// One value a step.
    pub steps: Vec<Ahead>,
    /// The members, best first.
    pub trials: Vec<Trial>,
    /// Were they combined by the median?
    pub median: bool,
    /// Did those without a transform of their own work in logarithms?
    pub log: bool,
    /// The periods that were used.
    pub periods: Vec<usize>,
    /// Errors behind the interval.
    pub errors: usize,
}

impl Outlook {
    /// The name of the model: its only member, or how many were combined in which way.
    #[must_use]
    pub fn model(&self) -> String {
        let used: Vec<&str> = self.trials.iter().filter(|trial| trial.used).map(|trial| trial.member.name()).collect();
        match used.as_slice() {
            [one] => (*one).to_owned(),
            many => format!("{}({})", if self.median { "median" } else { "mean" }, many.join(", ")),
        }
    }
}

/// Why there is no forecast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoOutlook {
    /// Too little is known.
    #[error("insufficient history: {known} known values, and {KNOWN_MIN} are needed")]
    Insufficient {
        /// Known values.
        known: usize,
    },
}

/// Forecasts a series: `values` are at equal distances, missing ones not finite.
///
/// A pure function of its arguments, in a fixed order of operations: the same values give the same bits.
///
/// # Errors
/// An insufficient history.
pub fn forecast(values: &[f64], wish: &Wish) -> Result<Outlook, NoOutlook> {
    let largest = values.iter().filter(|v| v.is_finite()).fold(0.0_f64, |max, v| max.max(v.abs()));
    if largest <= VALUE_MAX {
        return within_range(values, wish);
    }
    // Squares of such values are no numbers: a power of two less, exactly.
    let less = (VALUE_MAX / largest).log2().floor().exp2();
    let mut outlook = within_range(&values.iter().map(|v| v * less).collect::<Vec<_>>(), wish)?;
    let back = |v: &mut f64| *v = (*v / less).clamp(f64::MIN, f64::MAX);
    for step in &mut outlook.steps {
        [&mut step.mean, &mut step.lower, &mut step.upper].into_iter().for_each(back);
    }
    outlook.trials.iter_mut().for_each(|trial| back(&mut trial.error));
    Ok(outlook)
}

fn within_range(values: &[f64], wish: &Wish) -> Result<Outlook, NoOutlook> {
    let values = &values[values.len().saturating_sub(HISTORY_MAX)..];
    let first = values.iter().position(|v| v.is_finite()).unwrap_or(values.len());
    let values = &values[first..];
    let count = values.iter().filter(|v| v.is_finite()).count();
    let insufficient = NoOutlook::Insufficient { known: count };
    if count < KNOWN_MIN {
        return Err(insufficient);
    }
    let mut periods = periods(values, wish).ok_or(insufficient.clone())?;
    // An outlier is what a gap is: nothing is learnt from it, and nothing is measured by it.
    let kept = without_outliers(values, periods.first().copied());
    let (kept, steps) = levelled(&kept, &periods);
    if !steps.is_empty() && wish.periods.is_none() {
        // A step hides the week.
        periods = self::periods(&kept, wish).filter(|found| !found.is_empty()).unwrap_or(periods);
    }
    let known: Vec<bool> = kept.iter().map(|v| v.is_finite()).collect();
    let full = fill(&kept, &periods).ok_or(insufficient.clone())?;
    let history = History { values: &full, known: &known, periods: &periods };
    let horizon = wish.horizon.clamp(1, HORIZON_MAX);
    let backtest = Backtest::run(history, horizon);
    let (trials, log) = backtest.judge();
    let weights = Weights::of(&trials);
    let spread = Spread::of(&backtest.errors(&trials, &weights), backtest.aside, wish.level);
    let (trials, means) = combine(history, trials, log, horizon).ok_or(insufficient)?;
    let never_negative = values.iter().all(|v| !v.is_finite() || *v >= 0.0);
    let floor = if never_negative { 0.0 } else { f64::NEG_INFINITY };
    let steps = means.iter().enumerate().map(|(k, mean)| {
        let (lower, upper) = spread.around(*mean, k);
        Ahead { mean: mean.max(floor), lower: lower.max(floor), upper: upper.max(floor) }
    });
    let median = weights.median;
    Ok(Outlook { steps: steps.collect(), trials, median, log, periods, errors: spread.errors() })
}

fn without_outliers(values: &[f64], period: Option<usize>) -> Vec<f64> {
    values.iter().zip(outliers(values, period)).map(|(v, outlier)| if outlier { f64::NAN } else { *v }).collect()
}

/// Those that were given and can be learnt, or those that are found: where there are none, perhaps an outlier hides them.
fn periods(values: &[f64], wish: &Wish) -> Option<Vec<usize>> {
    let mut periods = match &wish.periods {
        Some(given) => given.clone(),
        None => match period::detect(&fill(values, &[])?, wish.step_ms) {
            none if none.is_empty() => period::detect(&fill(&without_outliers(values, None), &[])?, wish.step_ms),
            found => found,
        },
    };
    periods.retain(|m| *m >= 2 && *m <= PERIOD_MAX && values.len() > *m + 1);
    periods.sort_unstable();
    periods.dedup();
    periods.truncate(PERIODS_MAX);
    Some(periods)
}

/// Fits the survivors to the whole history and combines their paths. One that cannot be fitted any more is left out.
fn combine(history: History<'_>, mut trials: Vec<Trial>, log: bool, horizon: usize) -> Option<(Vec<Trial>, Vec<f64>)> {
    let mut paths = Vec::new();
    for trial in trials.iter_mut().filter(|trial| trial.used) {
        let path = Fitted::new(trial.member, history, log).and_then(|fitted| fitted.path(&fitted.inside(history.values), horizon));
        match path {
            Some(path) => paths.push((trial.error, path)),
            None => trial.used = false,
        }
    }
    if paths.is_empty() {
        let fitted = Fitted::new(Member::SeasonalNaive, history, false)?;
        paths.push((0.0, fitted.path(&fitted.inside(history.values), horizon)?));
        trials.insert(0, Trial { member: Member::SeasonalNaive, error: 0.0, used: true });
    }
    let weights = Weights::of(&trials);
    let means = (0..horizon).map(|k| weights.mix(&mut paths.iter().map(|(_, path)| path[k]).collect::<Vec<_>>()));
    Some((trials, means.collect()))
}

/// How survivors are put together.
struct Weights {
    median: bool,
    weights: Vec<f64>,
}

impl Weights {
    fn of(trials: &[Trial]) -> Weights {
        let used: Vec<f64> = trials.iter().filter(|trial| trial.used).map(|trial| trial.error).collect();
        let least = used.iter().copied().fold(f64::INFINITY, f64::min).max(f64::MIN_POSITIVE);
        let weights: Vec<f64> = used.iter().map(|error| (least / error.max(least)).powi(2)).collect();
        let sum: f64 = weights.iter().sum();
        Weights { median: used.len() >= MEDIAN_FROM, weights: weights.iter().map(|w| w / sum).collect() }
    }

    /// Of one value a survivor. Sorts them for the median.
    fn mix(&self, values: &mut [f64]) -> f64 {
        if !self.median {
            return values.iter().zip(&self.weights).fold(0.0, |sum, (v, w)| sum + v * w);
        }
        values.sort_unstable_by(f64::total_cmp);
        let middle = values.len() / 2;
        if values.len() % 2 == 1 { values[middle] } else { values[middle - 1].midpoint(values[middle]) }
    }
}

/// Forecasts from within the end of the history.
struct Backtest<'a> {
    history: History<'a>,
    /// How much is set aside.
    aside: usize,
    /// Where they begin, ascending.
    origins: Vec<usize>,
    /// How far they go.
    horizon: usize,
    /// For a member and a transform: its forecasts, one an origin.
    runs: Vec<(Member, bool, Vec<Vec<f64>>)>,
}

impl<'a> Backtest<'a> {
    fn run(history: History<'a>, horizon: usize) -> Backtest<'a> {
        let n = history.values.len();
        // A quarter of the history, more where that would be too short for the horizon.
        let aside = (n / 4).max((horizon + horizon / 2).min(n / 3)).max(2);
        let train = n - aside;
        let stride = aside.div_ceil(ORIGINS_MAX);
        let mut backtest =
            Backtest { history, aside, origins: (train..n).step_by(stride).collect(), horizon: horizon.min(aside), runs: Vec::new() };
        let mut log = false;
        for member in Member::ALL {
            backtest.add(member, train, log);
            if member == Member::SarRaw {
                log = backtest.better_in_logs(train);
            }
        }
        backtest
    }

    /// Where the autoregression cannot say, the Fourier regression does.
    fn better_in_logs(&mut self, train: usize) -> bool {
        let of = |backtest: &Self, log: bool| {
            let run = backtest.runs.iter().find(|(_, l, _)| *l == log);
            run.map(|(_, _, paths)| backtest.error(paths))
        };
        if of(self, false).is_none() {
            for log in [false, true] {
                self.add(Member::Fourier, train, log);
            }
            let better = matches!((of(self, false), of(self, true)), (Some(raw), Some(log)) if log < raw);
            self.runs.retain(|(member, ..)| *member != Member::Fourier);
            return better;
        }
        matches!((of(self, false), of(self, true)), (Some(raw), Some(log)) if log < raw)
    }

    fn add(&mut self, member: Member, train: usize, log: bool) {
        let Some(fitted) = Fitted::new(member, self.history.head(train), log) else { return };
        let inside = fitted.inside(self.history.values);
        let n = inside.len();
        let paths = self.origins.iter().map(|&o| fitted.path(&inside[..o], self.horizon.min(n - o))).collect::<Option<Vec<_>>>();
        if let Some(paths) = paths {
            self.runs.push((member, log || member == Member::SarLog, paths));
        }
    }

    /// Mean absolute error over the known values.
    fn error(&self, paths: &[Vec<f64>]) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0_f64);
        for (path, &origin) in paths.iter().zip(&self.origins) {
            for (k, v) in path.iter().enumerate().filter(|(k, _)| self.history.known[origin + k]) {
                sum += (v - self.history.values[origin + k]).abs();
                count += 1.0;
            }
        }
        sum / count.max(1.0)
    }

    /// The members by error, those that survive marked, and the transform.
    fn judge(&self) -> (Vec<Trial>, bool) {
        let log = self.runs.iter().any(|(member, log, _)| *log && *member != Member::SarLog);
        let mut trials: Vec<Trial> =
            self.runs.iter().map(|(member, _, paths)| Trial { member: *member, error: self.error(paths), used: false }).collect();
        trials.sort_by(|a, b| a.error.total_cmp(&b.error));
        let bound = trials.first().map_or(0.0, |best| best.error * SURVIVES);
        trials.iter_mut().for_each(|trial| trial.used = trial.error <= bound);
        (trials, log)
    }

    /// Errors of the combination, one list an origin; those of missing values are not numbers.
    fn errors(&self, trials: &[Trial], weights: &Weights) -> Vec<Vec<f64>> {
        let used: Vec<&Vec<Vec<f64>>> = trials
            .iter()
            .filter(|trial| trial.used)
            .filter_map(|trial| self.runs.iter().find(|(member, ..)| *member == trial.member).map(|(.., paths)| paths))
            .collect();
        let mut at = vec![0.0; used.len()];
        let mut errors = Vec::with_capacity(self.origins.len());
        for (index, &origin) in self.origins.iter().enumerate() {
            let steps = used.first().map_or(0, |paths| paths[index].len());
            let miss = (0..steps).map(|k| {
                at.iter_mut().zip(&used).for_each(|(cell, paths)| *cell = paths[index][k]);
                let mixed = weights.mix(&mut at);
                if self.history.known[origin + k] { self.history.values[origin + k] - mixed } else { f64::NAN }
            });
            errors.push(miss.collect());
        }
        errors
    }
}
