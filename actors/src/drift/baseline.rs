//! Baselines: learnt from the stream, given from a file or from history, renewed after a retraining.
//!
//! A learnt one comes in two steps. First values are *gathered* (a sample of at most [`GATHERED_MAX`]) until their range is known;
//! then cells are laid and values are *counted* in them, window by window. The gathered values are not counted, so that cells do
//! not depend on what is counted in them.

use super::config::{DriftConfig, MAX_WINDOWS};
use super::counts::Counts;
use super::evidence::{Kind, OddRange, Sample};
use super::grid::{Grid, LEVEL_MAX};
use crate::stats::{chi2, psi, real, seeded::Seeded};
use homeostat_schemas::event::SampleValue;
use homeostat_schemas::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF as _, FisherSnedecor, StudentsT};
use std::collections::BTreeMap;

/// Most values that are kept while cells are not known yet.
pub(super) const GATHERED_MAX: usize = 1_024;
/// A week: the season.
const WEEK: Ms = 7 * homeostat_schemas::time::DAY;
/// More of the values than this outside of the range that was gathered, and cells are laid anew (twice at most).
const OUTSIDE_MAX: f64 = 0.2;

/// Where a baseline came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// From the stream.
    #[default]
    Learnt,
    /// From an order.
    Given,
    /// From the stream after the model was retrained.
    Renewed,
}

/// The first values of a feature.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Gathering {
    pub(super) numbers: Vec<f64>,
    pub(super) levels: BTreeMap<String, u64>,
    pub(super) seen: u64,
    texts: u64,
    pub(super) since_ms: UnixMs,
    /// How often cells were laid in vain.
    tries: u8,
}

impl Gathering {
    pub(super) fn new(since_ms: UnixMs) -> Gathering {
        Gathering { since_ms, ..Gathering::default() }
    }

    pub(super) fn take(&mut self, value: &SampleValue, levels_max: usize) {
        match value {
            SampleValue::Number(value) if value.is_finite() => {
                self.seen += 1;
                if self.numbers.len() < GATHERED_MAX {
                    self.numbers.push(*value);
                } else {
                    // Algorithm R (Vitter 1985): every value so far is as likely to be kept as another.
                    let place = usize::try_from(Seeded::new(self.seen).below(self.seen)).unwrap_or(usize::MAX);
                    if let Some(kept) = self.numbers.get_mut(place) {
                        *kept = *value;
                    }
                }
            }
            SampleValue::Text(_) | SampleValue::Bool(_) => {
                self.seen += 1;
                self.texts += 1;
                let level = level_of(value);
                if let Some(count) = self.levels.get_mut(level) {
                    *count += 1;
                } else if self.levels.len() < 4 * levels_max.clamp(1, 1_000) {
                    self.levels.insert(level.to_owned(), 1);
                }
            }
            SampleValue::Number(_) | SampleValue::Null => {}
        }
    }

    /// Lays the cells when enough was seen for a window at least.
    pub(super) fn ready(&mut self, now: UnixMs, config: &DriftConfig) -> Option<Counting> {
        if self.seen < config.baseline_min.clamp(10, GATHERED_MAX as u64) || now < self.since_ms.saturating_add(config.window()) {
            return None;
        }
        let grid = if self.texts * 2 > self.seen {
            Grid::levels(self.levels.iter(), config.limits.levels)
        } else {
            self.numbers.sort_unstable_by(f64::total_cmp);
            Grid::numbers(&self.numbers, config.cells)?
        };
        Some(Counting { counts: Counts::new(grid.len()), grid, windows: Vec::new(), since_ms: now, tries: self.tries })
    }

    pub(super) fn bytes(&self) -> usize {
        8 * self.numbers.capacity() + self.levels.keys().map(|level| level.len() + 32).sum::<usize>()
    }
}

/// A truth value or a text as a level, cut to what is kept.
pub(super) fn level_of(value: &SampleValue) -> &str {
    match value {
        SampleValue::Text(text) => &text[..text.floor_char_boundary(LEVEL_MAX)],
        SampleValue::Bool(true) => "true",
        SampleValue::Bool(false) => "false",
        SampleValue::Null | SampleValue::Number(_) => "",
    }
}

/// A baseline being counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counting {
    pub(super) grid: Grid,
    /// The window that is open.
    pub(super) counts: Counts,
    /// Windows that are full, with their number since the epoch.
    pub(super) windows: Vec<(u64, Counts)>,
    since_ms: UnixMs,
    tries: u8,
}

/// What becomes of a baseline when a window of it is full.
pub(super) enum Counted {
    Goes,
    Again(Gathering),
    Done(Box<Baseline>),
}

impl Counting {
    /// A window ended.
    pub(super) fn close(&mut self, window: u64, now: UnixMs, wanted: u32, origin: Origin, config: &DriftConfig) -> Counted {
        let counts = std::mem::replace(&mut self.counts, Counts::new(self.grid.len()));
        let used = counts.sum(0, self.grid.cells());
        if used > 0 {
            self.windows.push((window, counts));
        }
        let all: u64 = self.windows.iter().map(|(_, counts)| counts.sum(0, self.grid.cells())).sum();
        let enough = self.windows.len() >= wanted.clamp(1, MAX_WINDOWS) as usize && all >= config.baseline_min;
        if !enough && self.windows.len() < MAX_WINDOWS as usize {
            return Counted::Goes;
        }
        let mut pooled = Counts::new(self.grid.len());
        self.windows.iter().for_each(|(_, counts)| pooled.merge(counts));
        if self.grid.outside(&pooled) > OUTSIDE_MAX && self.tries < 2 {
            return Counted::Again(Gathering { tries: self.tries + 1, ..Gathering::new(now) });
        }
        let mut grid = std::mem::take(&mut self.grid);
        grid.rebin(&pooled);
        Counted::Done(Box::new(Baseline::new(grid, pooled, &self.windows, origin, self.since_ms, now, config)))
    }

    pub(super) fn bytes(&self) -> usize {
        self.grid.bytes() + self.counts.bytes() + self.windows.iter().map(|(_, counts)| counts.bytes() + 40).sum::<usize>()
    }
}

/// How much windows differ from each other without drift.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Spread {
    /// Windows it was learnt from.
    pub windows: u32,
    /// Mean of ln(PSI·nm/(n+m)) of a window against the others.
    pub mean: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// How many times more windows differ than independent samples would: about 1, or more when samples depend on each other.
    pub dispersion: f64,
    /// Degrees of freedom behind `dispersion`: windows times (bins − 1).
    pub freedom: f64,
    /// The most that `dispersion` may be in truth (one-sided 95 %), and never less than 1: evidence between looks counts that much less.
    pub inflation: f64,
    /// Do windows differ more than independent samples ever would (chi-square, p < 0.05)?
    pub dependent: bool,
}

impl Spread {
    /// The p-value that windows of the baseline ask for. Always that of the statistic divided by its dispersion (Rao and Scott 1981), an F
    /// because the dispersion is itself an estimate: a little dependence that nobody could call certain costs certainty at once. Where
    /// windows certainly differ, they may differ in one way more than in others, and each of them is a witness.
    pub(super) fn p(&self, statistic: f64) -> f64 {
        let bins = self.freedom / f64::from(self.windows.max(1));
        let ratio = statistic / bins / self.dispersion;
        let scaled = FisherSnedecor::new(bins, self.freedom).map_or(1.0, |f| f.sf(ratio)).clamp(0.0, 1.0);
        if self.dependent { scaled.max(self.day_p(statistic)) } else { scaled }
    }

    /// The chance of a window as far from the baseline as this one, judged by the windows of the baseline: the one-sided prediction
    /// interval of a logarithm (Student's t, Hahn and Meeker 1991, section 4.6). It holds however samples within a window depend on
    /// each other, as long as windows do not.
    fn day_p(&self, statistic: f64) -> f64 {
        let n = f64::from(self.windows);
        if self.windows < 2 || self.deviation <= 0.0 || statistic <= 0.0 {
            return 1.0;
        }
        let t = (statistic.ln() - self.mean) / (self.deviation * (1.0 + 1.0 / n).sqrt());
        StudentsT::new(0.0, 1.0, n - 1.0).map_or(1.0, |student| student.sf(t)).clamp(0.0, 1.0)
    }
}

/// A frozen baseline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Baseline {
    pub(super) grid: Grid,
    pub(super) counts: Counts,
    /// The same in bins of PSI.
    pub(super) bins: Vec<u64>,
    pub(super) origin: Origin,
    pub(super) from_ms: UnixMs,
    pub(super) frozen_ms: UnixMs,
    pub(super) spread: Option<Spread>,
    /// Bins by part of the week; empty unless seasonal.
    pub(super) seasons: Vec<Vec<u64>>,
    /// What its windows did with odd values; none where they are not known.
    pub(super) odd: Option<OddRange>,
}

impl Baseline {
    fn new(
        grid: Grid,
        counts: Counts,
        windows: &[(u64, Counts)],
        origin: Origin,
        from_ms: UnixMs,
        frozen_ms: UnixMs,
        config: &DriftConfig,
    ) -> Baseline {
        let binned: Vec<(u64, Vec<u64>)> = windows.iter().map(|(window, counts)| (*window, grid.binned(counts))).collect();
        let bins = grid.binned(&counts);
        let odd = windows.iter().zip(&binned).map(|((_, counts), (_, bins))| {
            let odd = grid.odd(counts);
            (odd, bins.iter().sum::<u64>() + odd.total())
        });
        Baseline {
            odd: OddRange::of(odd),
            spread: spread(&bins, &binned, config),
            seasons: seasons(&binned, bins.len(), config),
            grid,
            counts,
            bins,
            origin,
            from_ms,
            frozen_ms,
        }
    }

    /// The bins to compare a window with: all, or those of its part of the week.
    pub(super) fn bins_of(&self, window: u64, config: &DriftConfig) -> &[u64] {
        if !config.seasonal {
            return &self.bins;
        }
        season(window, config).and_then(|season| self.seasons.get(season)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn bytes(&self) -> usize {
        let seasons: usize = self.seasons.iter().map(|bins| 8 * bins.capacity() + 24).sum();
        self.grid.bytes() + self.counts.bytes() + 8 * self.bins.capacity() + seasons
    }
}

/// The part of the week of a window: none when windows do not fill a week.
fn season(window: u64, config: &DriftConfig) -> Option<usize> {
    let parts = WEEK / config.window();
    (parts > 0 && parts <= 168).then(|| usize::try_from(window % parts).unwrap_or(0))
}

fn seasons(windows: &[(u64, Vec<u64>)], bins: usize, config: &DriftConfig) -> Vec<Vec<u64>> {
    if !config.seasonal {
        return Vec::new();
    }
    let parts = usize::try_from((WEEK / config.window()).min(168)).unwrap_or(0);
    let mut seasons = vec![vec![0_u64; bins]; parts];
    for (window, counts) in windows {
        if let Some(sums) = season(*window, config).and_then(|season| seasons.get_mut(season)) {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
        }
    }
    seasons
}

/// PSI of a window as a statistic that is chi-square with (bins − 1) degrees of freedom when nothing has changed.
pub(super) fn statistic(baseline: &[u64], now: &[u64]) -> f64 {
    let (n, m) = (real(baseline.iter().sum()), real(now.iter().sum()));
    psi::half_count(baseline.iter().copied().zip(now.iter().copied())) * n * m / (n + m).max(1.0)
}

/// Every window against the others.
fn spread(all: &[u64], windows: &[(u64, Vec<u64>)], config: &DriftConfig) -> Option<Spread> {
    let others = |bins: &[u64]| -> Vec<u64> { all.iter().zip(bins).map(|(all, bins)| all.saturating_sub(*bins)).collect() };
    let statistics: Vec<f64> = windows
        .iter()
        .filter(|(_, bins)| bins.iter().sum::<u64>() > 0)
        .map(|(_, bins)| statistic(&others(bins), bins))
        .filter(|x| x.is_finite() && *x > 0.0)
        .collect();
    let count = u32::try_from(statistics.len()).unwrap_or(u32::MAX);
    if count < config.calibration_windows.max(5) || all.len() < 2 {
        return None;
    }
    let n = f64::from(count);
    let mean = statistics.iter().map(|x| x.ln()).sum::<f64>() / n;
    let variance = statistics.iter().map(|x| (x.ln() - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let (sum, dof) = (statistics.iter().sum::<f64>(), n * real(all.len() as u64 - 1));
    let dependent = chi2::survival(sum, dof) < 0.05;
    let dispersion = sum / dof;
    let least = ChiSquared::new(dof).map_or(dof, |chi2| chi2.inverse_cdf(0.05));
    let inflation = (sum / least.max(f64::MIN_POSITIVE)).max(1.0);
    Some(Spread { windows: count, mean, deviation: variance.sqrt(), dispersion, freedom: dof, inflation, dependent })
}

/// A baseline as an order carries it (`drift.baseline`), made from whole samples.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The feature.
    pub feature: String,
    grid: Grid,
    counts: Vec<u64>,
    /// Windows of the history, when times were known: number since the epoch, and counts.
    #[serde(default)]
    windows: Vec<(u64, Vec<u64>)>,
    #[serde(default)]
    from_ms: UnixMs,
}

impl Given {
    /// The baseline of a sample; `at` has the time of each number or level where times are known. `None` when nothing usable is in
    /// it.
    ///
    /// Order of `values`: as the sample came; of `at`: the same.
    #[must_use]
    pub fn new(feature: &str, values: &[SampleValue], at: Option<&[UnixMs]>, config: &DriftConfig) -> Option<Given> {
        let mut sample = Sample::default();
        for value in values {
            match value {
                SampleValue::Number(value) => sample.number(*value),
                SampleValue::Text(_) | SampleValue::Bool(_) => sample.level(level_of(value)),
                SampleValue::Null => sample.odd.missing += 1,
            }
        }
        let texts: u64 = sample.levels.values().sum();
        let grid = if texts > sample.numbers.len() as u64 {
            Grid::levels(sample.levels.iter(), config.limits.levels)
        } else {
            sample.numbers.sort_unstable_by(f64::total_cmp);
            Grid::numbers(&sample.numbers, config.cells)?
        };
        let place = |value: &SampleValue| place(&grid, value);
        let mut counts = Counts::new(grid.len());
        let mut windows: BTreeMap<u64, Counts> = BTreeMap::new();
        for (i, value) in values.iter().enumerate() {
            counts.count(place(value));
            if let Some(at) = at.and_then(|at| at.get(i)) {
                windows.entry(at / config.window()).or_insert_with(|| Counts::new(grid.len())).count(place(value));
            }
        }
        let first = windows.keys().next().map_or(0, |window| window * config.window());
        // Days with few values say little of how much days differ.
        let kept = windows.into_iter().rev().take(366).collect::<BTreeMap<_, _>>();
        let windows = kept.into_iter().map(|(window, counts)| (window, grid.binned(&counts))).collect();
        Some(Given { feature: feature.to_owned(), counts: counts.iter().collect(), grid, windows, from_ms: first })
    }

    /// How many values it holds.
    #[must_use]
    pub fn values(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How many windows it knows apart.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.windows.len()
    }

    /// What its values are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.grid.kind()
    }

    /// The baseline, or what is wrong with it.
    pub(super) fn baseline(self, now: UnixMs, config: &DriftConfig) -> Result<Baseline, &'static str> {
        if let Some(fault) = self.grid.fault() {
            return Err(fault);
        }
        let bins = self.grid.bins();
        let sum = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        if self.counts.len() != self.grid.len() || sum == 0 || sum > 1 << 53 {
            return Err("counts: one a cell and five for odd values, not all 0");
        }
        if self.windows.len() > 366 || self.windows.iter().any(|(_, counts)| counts.len() != bins) {
            return Err("windows: at most 366, one count a bin");
        }
        let counts = Counts::of(&self.counts);
        let binned = self.grid.binned(&counts);
        Ok(Baseline {
            spread: spread(&binned, &self.windows, config),
            seasons: seasons(&self.windows, bins, config),
            bins: binned,
            counts,
            grid: self.grid,
            origin: Origin::Given,
            from_ms: self.from_ms,
            frozen_ms: now,
            // Its windows are in bins, which odd values never reach.
            odd: None,
        })
    }
}

/// The index of a value's cell.
pub(super) fn place(grid: &Grid, value: &SampleValue) -> usize {
    use super::grid::Place;
    let place = match value {
        SampleValue::Number(value) => grid.number(*value),
        SampleValue::Text(_) | SampleValue::Bool(_) => grid.level(level_of(value)),
        SampleValue::Null => Place::Missing,
    };
    grid.index(place)
}
