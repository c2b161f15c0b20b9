//! A feature under watch: the window that is open, those before it, and the evidence that piles up between looks.

use super::baseline::{Baseline, place, statistic};
use super::config::{DriftConfig, RuleSet};
use super::counts::Counts;
use super::evidence::{Effort, Evidence, Kind};
use super::verdict::{Verdict, size};
use crate::stats::ks::Distance;
use crate::stats::{psi, real, urn};
use homeostat_schemas::UnixMs;
use homeostat_schemas::event::SampleValue;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Most verdicts that are remembered.
pub(super) const VERDICTS_MAX: usize = 8;
/// What a look may cost a feature: steps of the exact Kolmogorov–Smirnov p-value, and no draws of the null of PSI (its chi-square
/// errs on the side of silence where counts are small).
const EFFORT: Effort = Effort { lattice: Some(2_000_000), draws: 0, seed: 0 };

/// What was last said of a feature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Said {
    pub(super) at_ms: UnixMs,
    pub(super) verdict: Verdict,
    pub(super) psi: f64,
    pub(super) adjusted: f64,
    pub(super) psi_p: f64,
    pub(super) d: f64,
    pub(super) ks_p: f64,
    pub(super) chi2: f64,
    pub(super) p: f64,
    pub(super) n_current: u64,
    pub(super) odd_baseline: f64,
    pub(super) odd_current: f64,
}

impl Said {
    pub(super) fn new(evidence: &Evidence, p: f64, verdict: Verdict, at_ms: UnixMs) -> Said {
        Said {
            at_ms,
            verdict,
            psi: evidence.psi.map_or(0.0, |psi| psi.value),
            adjusted: evidence.psi.map_or(0.0, |psi| psi.adjusted),
            psi_p: evidence.psi.map_or(1.0, |psi| psi.p),
            d: evidence.ks.map_or(0.0, |ks| ks.d),
            ks_p: evidence.ks.map_or(1.0, |ks| ks.p),
            chi2: evidence.chi2.map_or(0.0, |chi2| chi2.statistic),
            p,
            n_current: evidence.n_current,
            odd_baseline: evidence.odd.baseline,
            odd_current: evidence.odd.current,
        }
    }
}

/// Piled-up evidence within one horizon: a quarter of the stake is on a change at the beginning of the horizon, a quarter on one
/// at the beginning of each fifth of it, half on one at the beginning of each window. The sum is an e-value like each of them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Pile {
    /// Bins since the horizon began, without the open window, and the part of them since the fifth began.
    horizon: Vec<u64>,
    fifth: Vec<u64>,
    /// Windows closed in this horizon.
    closed: u64,
    /// E-values of the fifths and windows that are over, each with its stake.
    kept: f64,
}

/// A feature with a frozen baseline.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Watch {
    pub(super) baseline: Baseline,
    /// Values since the last close.
    pub(super) open: Counts,
    /// Closed windows that are still compared, oldest first.
    past: VecDeque<Counts>,
    /// Windows that the open counts span, more than 1 while they are too few.
    spans: u32,
    /// Verdicts of the last windows, newest last.
    pub(super) verdicts: VecDeque<Verdict>,
    pub(super) said: Option<Said>,
    pile: Pile,
    /// ln of the e-value when it was last looked at.
    pub(super) ln_e: f64,
}

impl Watch {
    pub(super) fn new(baseline: Baseline) -> Watch {
        let open = Counts::new(baseline.grid.len());
        Watch { baseline, open, ..Watch::default() }
    }

    pub(super) fn take(&mut self, value: &SampleValue) {
        self.open.count(place(&self.baseline.grid, value));
    }

    /// Values that were seen and are not judged yet.
    pub(super) fn pending(&self) -> u64 {
        self.open.sum(0, self.open.len())
    }

    /// What the current windows (the open one with them) say, and the p-value that days of the baseline ask for: 0 where they are not
    /// known.
    pub(super) fn evidence(&self, window: u64, config: &DriftConfig) -> (Evidence, f64) {
        let current = self.current();
        let Baseline { grid, counts, .. } = &self.baseline;
        let (before, now) = (self.baseline.bins_of(window, config), grid.binned(&current));
        let bins: Vec<(u64, u64)> = before.iter().copied().zip(now.iter().copied()).collect();
        let distance = match (grid.kind(), config.seasonal) {
            (Kind::Category, _) => None,
            (Kind::Number, true) => Distance::of_counts(bins.iter().copied()),
            (Kind::Number, false) => Distance::of_counts(counts.iter().zip(current.iter()).take(grid.cells())),
        };
        let evidence =
            Evidence::new(grid.kind(), &bins, None, distance, (grid.odd(counts), grid.odd(&current), self.baseline.odd.as_ref()), EFFORT);
        (evidence, self.baseline.spread.map_or(0.0, |spread| spread.p(statistic(before, &now))))
    }

    /// The windows that are compared, the open one with them.
    fn current(&self) -> Counts {
        let mut current = self.open.clone();
        self.past.iter().for_each(|counts| current.merge(counts));
        current
    }

    /// Are there enough values to say anything, or have enough windows been waited for?
    pub(super) fn due(&self, evidence: &Evidence, config: &DriftConfig) -> bool {
        evidence.used.1 >= config.min_samples && evidence.noise() <= config.moderate || self.spans + 1 >= 7
    }

    /// A window ended too early to be judged: it goes on.
    pub(super) fn wait(&mut self) {
        self.spans += u32::from(self.pending() > 0);
    }

    /// A window ended and was judged.
    pub(super) fn close(&mut self, said: Said, config: &DriftConfig) {
        self.verdicts.push_back(said.verdict);
        let keep = (config.critical_of.max(1) as usize).min(VERDICTS_MAX);
        while self.verdicts.len() > keep {
            self.verdicts.pop_front();
        }
        self.said = Some(said);
        self.pile_up(config);
        let counts = std::mem::replace(&mut self.open, Counts::new(self.baseline.grid.len()));
        self.past.push_back(counts);
        while self.past.len() >= (config.current().max(1) as usize) {
            self.past.pop_front();
        }
        self.spans = 0;
    }

    /// Were so many of the last windows significant that it is critical?
    pub(super) fn repeated(&self, config: &DriftConfig) -> bool {
        let wanted = config.critical_windows.max(1) as usize;
        self.verdicts.iter().filter(|verdict| **verdict >= Verdict::Significant).count() >= wanted
    }

    /// Can evidence be piled up? Not where samples depend on each other or change with the hour: there it would prove that alone.
    pub(super) fn piles(&self, config: &DriftConfig) -> bool {
        !config.seasonal && self.baseline.spread.is_none_or(|spread| !spread.dependent)
    }

    /// Bins and, behind them, odd values.
    fn row(&self, mut bins: Vec<u64>, counts: &Counts) -> Vec<u64> {
        bins.push(self.baseline.grid.odd(counts).total());
        bins
    }

    /// ln of the e-value now.
    pub(super) fn look(&mut self, config: &DriftConfig) -> f64 {
        self.ln_e = 0.0;
        if self.piles(config) {
            let (urn, stakes) = (self.urn(), stakes(config));
            let parts = [(stakes.0, urn.horizon()), (stakes.1, urn.fifth()), (stakes.2, urn.window())];
            let sum = parts.iter().map(|(stake, ln_e)| stake * ln_e.exp()).sum::<f64>() + self.pile.kept;
            self.ln_e = sum.max(f64::MIN_POSITIVE).ln();
        }
        self.ln_e
    }

    fn urn(&self) -> Urn {
        let Baseline { grid, bins, counts, .. } = &self.baseline;
        let (baseline, open) = (self.row(bins.clone(), counts), self.row(grid.binned(&self.open), &self.open));
        let all = real(baseline.iter().sum()).max(1.0);
        let part = |bins: &[u64]| if bins.len() == baseline.len() { bins.to_vec() } else { vec![0; baseline.len()] };
        Urn {
            centre: baseline.iter().map(|count| real(*count) / all).collect(),
            horizon: part(&self.pile.horizon),
            fifth: part(&self.pile.fifth),
            inflation: self.baseline.spread.map_or(1.0, |spread| spread.inflation),
            baseline,
            open,
        }
    }

    fn pile_up(&mut self, config: &DriftConfig) {
        let (urn, stakes, looks) = (self.urn(), stakes(config), config.looks());
        let pile = &mut self.pile;
        pile.kept += stakes.2 * urn.window().exp();
        pile.closed += 1;
        if pile.closed.is_multiple_of(looks.div_ceil(5)) {
            pile.kept += stakes.1 * urn.fifth().exp();
            pile.fifth.clear();
        } else {
            pile.fifth = sum(&urn.fifth, &urn.open);
        }
        pile.horizon = sum(&urn.horizon, &urn.open);
        if pile.closed >= looks {
            *pile = Pile::default();
        }
    }

    /// What was piled up is forgotten: what it told is over.
    pub(super) fn forget(&mut self) {
        self.pile = Pile::default();
        self.ln_e = 0.0;
    }

    /// Does what came since the last fifth speak against drift? Yes where nothing is piled up.
    pub(super) fn calm(&self, config: &DriftConfig) -> bool {
        config.rule == RuleSet::Compatible || !self.piles(config) || self.urn().fifth() <= 0.0
    }

    /// The size of what the piled-up evidence shows: PSI (adjusted) of that part of the horizon that shows it best, and the verdict.
    pub(super) fn piled_size(&self, config: &DriftConfig) -> (f64, Verdict) {
        let urn = self.urn();
        let (horizon, fifth, window) = (urn.horizon(), urn.fifth(), urn.window());
        let now = if window >= horizon && window >= fifth {
            urn.open
        } else if fifth >= horizon {
            sum(&urn.fifth, &urn.open)
        } else {
            sum(&urn.horizon, &urn.open)
        };
        let bins: Vec<(u64, u64)> = self.baseline.bins.iter().copied().zip(now).collect();
        let (n, m) = bins.iter().fold((0, 0), |(n, m), (a, b)| (n + a, m + b));
        let adjusted = psi::half_count(bins.iter().copied()) - psi::expected(bins.len(), n, m);
        let adjusted = if adjusted.is_finite() { adjusted } else { 0.0 };
        (adjusted, size(config, adjusted))
    }

    /// Bytes of this feature, on and off the heap.
    pub(super) fn bytes(&self) -> usize {
        let past: usize = self.past.iter().map(|counts| counts.bytes() + size_of::<Counts>()).sum();
        let pile = 8 * (self.pile.horizon.capacity() + self.pile.fifth.capacity());
        size_of::<Watch>() + self.baseline.bytes() + self.open.bytes() + past + pile + self.verdicts.capacity()
    }
}

/// The stakes on a change at the beginning of the horizon, of each fifth of it, of each window. They sum to 1 over the horizon.
fn stakes(config: &DriftConfig) -> (f64, f64, f64) {
    (0.25, 0.25 / 5.0, 0.5 / real(config.looks()))
}

/// What is in the urn: bins of the baseline, of the horizon and the fifth so far, and of the open window.
struct Urn {
    baseline: Vec<u64>,
    horizon: Vec<u64>,
    fifth: Vec<u64>,
    open: Vec<u64>,
    centre: Vec<f64>,
    /// Logarithms are divided by this: a power of an e-value with an exponent up to 1 is one too (Jensen), and samples that depend on each
    /// other a little tell that much less.
    inflation: f64,
}

impl Urn {
    /// ln of the e-value of a change at the beginning of the horizon.
    fn horizon(&self) -> f64 {
        self.ln_e_value(&self.baseline, &sum(&self.horizon, &self.open))
    }

    /// The same at the beginning of the fifth: what came before it lies in the urn.
    fn fifth(&self) -> f64 {
        let before = sum(&self.baseline, &self.horizon);
        let before: Vec<u64> = before.iter().zip(&self.fifth).map(|(all, part)| all.saturating_sub(*part)).collect();
        self.ln_e_value(&before, &sum(&self.fifth, &self.open))
    }

    /// The same at the beginning of the window.
    fn window(&self) -> f64 {
        self.ln_e_value(&sum(&self.baseline, &self.horizon), &self.open)
    }

    /// No larger than can be multiplied and summed.
    fn ln_e_value(&self, before: &[u64], now: &[u64]) -> f64 {
        (urn::ln_e_value(before, now, &self.centre) / self.inflation).min(600.0)
    }
}

fn sum(a: &[u64], b: &[u64]) -> Vec<u64> {
    a.iter().zip(b).map(|(a, b)| a.saturating_add(*b)).collect()
}
