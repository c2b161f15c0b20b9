//! What two samples of a feature say about each other: the same numbers whether the samples are whole files or counts of a
//! window against a frozen baseline.

use crate::stats::ks::Distance;
use crate::stats::{chi2, counts, psi};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a feature's values are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Numbers: they have an order.
    #[default]
    Number,
    /// Levels: texts and truth values.
    Category,
}

/// Values that are none of the feature's kind, counted apart: they never reach a bin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Odd {
    /// `null`, or an empty cell.
    pub missing: u64,
    /// Not-a-number.
    pub nan: u64,
    /// −∞.
    pub negative_infinity: u64,
    /// +∞.
    pub positive_infinity: u64,
    /// A text where numbers are expected, or a level that the baseline does not have.
    pub unseen: u64,
}

impl Odd {
    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.missing + self.nan + self.negative_infinity + self.positive_infinity + self.unseen
    }

    /// Each way to be odd, and all of them.
    const fn each(&self) -> [u64; 6] {
        [self.missing, self.nan, self.negative_infinity, self.positive_infinity, self.unseen, self.total()]
    }
}

/// The Kolmogorov–Smirnov part.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Ks {
    /// The largest distance between the distribution functions, 0–1.
    pub d: f64,
    /// P(D ≥ d) without drift.
    pub p: f64,
    /// Is the p-value exact, or asymptotic?
    pub exact: bool,
}

/// The part of the population stability index.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct Psi {
    /// Half-count PSI over the bins of the baseline's deciles (numbers) or over the levels (categories).
    pub value: f64,
    /// `value` less what it is on average without drift, (B − 1)(1/N + 1/M).
    pub adjusted: f64,
    /// The same over bins in which a value that is a tenth of the baseline or more stands alone: what shows a fall from the largest value.
    /// It is `adjusted` where there is none.
    pub apart: f64,
    /// P(PSI ≥ value) without drift.
    pub p: f64,
    /// How many bins.
    pub bins: usize,
}

/// The chi-square part, over the same bins as PSI.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct ChiSquare {
    /// The statistic.
    pub statistic: f64,
    /// Degrees of freedom.
    pub dof: u64,
    /// Its p-value.
    pub p: f64,
}

/// The part of values that are none of the kind. Each of the five ways to be none is looked at for itself and with the others.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
pub struct OddShare {
    /// Their share in the baseline.
    pub baseline: f64,
    /// Their share now.
    pub current: f64,
    /// By how much the share of one of them, or of all together, grew: 0 where none did. Where the windows of the baseline are known,
    /// beyond the window that had the most.
    pub grew: f64,
    /// By how much it fell, in the same way.
    pub fell: f64,
    /// The chance that a share grew or fell so much by luck.
    pub p: f64,
}

/// The least and the greatest share of each way to be odd, and of all together, in any window of a baseline: what comes and goes by
/// itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OddRange([(f64, f64); 6]);

impl OddRange {
    /// Of windows: what was odd in each, of how many values. None when there is nothing to compare.
    pub(super) fn of(windows: impl IntoIterator<Item = (Odd, u64)>) -> Option<OddRange> {
        let mut range = [(1.0_f64, 0.0_f64); 6];
        let mut seen = 0;
        for (odd, all) in windows.into_iter().filter(|(_, all)| *all > 0) {
            seen += 1;
            for ((least, most), count) in range.iter_mut().zip(odd.each()) {
                let share = share(count, all);
                (*least, *most) = (least.min(share), most.max(share));
            }
        }
        (seen > 1).then_some(OddRange(range))
    }
}

fn share(odd: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { crate::stats::real(odd) / crate::stats::real(all) }
}

impl OddShare {
    fn new((before, n): (Odd, u64), (now, m): (Odd, u64), range: Option<&OddRange>) -> OddShare {
        let kinds = before.each().into_iter().zip(now.each()).enumerate();
        let mut pairs: Vec<(usize, (u64, u64))> = kinds.filter(|(_, (a, b))| a + b > 0).collect();
        // Of one kind, all together are the same again.
        if pairs.len() == 2 {
            pairs.pop();
        }
        let tests = crate::stats::real(2 * pairs.len() as u64);
        let (mut grew, mut fell, mut p) = (0.0_f64, 0.0_f64, 1.0_f64);
        for (kind, (a, b)) in pairs {
            let (was, is) = (share(a, n), share(b, m));
            let (least, most) = range.map_or((was, was), |range| (range.0[kind].0.min(was), range.0[kind].1.max(was)));
            if is > most {
                grew = grew.max(is - most);
                p = p.min(counts::grew(a, n, b, m));
            } else if is < least {
                fell = fell.max(least - is);
                p = p.min(counts::grew(b, m, a, n));
            }
        }
        let (baseline, current) = (share(before.total(), n), share(now.total(), m));
        OddShare { baseline, current, grew, fell, p: (p * tests.max(1.0)).min(1.0) }
    }
}

/// What two samples say.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Evidence {
    /// What the values are.
    pub kind: Kind,
    /// Values in the baseline, odd ones included.
    pub n_baseline: u64,
    /// Values now, odd ones included.
    pub n_current: u64,
    /// Those of them that fell into a bin, baseline and now.
    pub used: (u64, u64),
    /// Kolmogorov–Smirnov; none for categories, or where a side is empty.
    pub ks: Option<Ks>,
    /// PSI; none where a side is empty.
    pub psi: Option<Psi>,
    /// Chi-square; none where a side is empty.
    pub chi2: Option<ChiSquare>,
    /// What was none of the kind.
    pub odd: OddShare,
}

/// How much work evidence may cost.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Steps of the exact Kolmogorov–Smirnov p-value where its asymptotic one leaves a doubt (see [`Effort::doubtful`]); `None`
    /// as many as it takes, as SciPy does.
    pub lattice: Option<u128>,
    /// Draws of the null of PSI.
    pub draws: u64,
    /// Where draws start from.
    pub seed: u64,
}

impl Effort {
    /// As exact as it goes: for files.
    pub const FULL: Effort = Effort { lattice: None, draws: 20_000, seed: 0x5eed };

    /// No digit of a p-value outside of this decides anything.
    fn doubtful(p: f64) -> bool {
        (1e-9..0.01).contains(&p)
    }
}

impl Evidence {
    /// Of bins of counts (baseline, now), those in which heavy values stand alone if they are others, the distance of the distribution
    /// functions where there is one, and what was odd (in the baseline, now, and in the baseline's windows where they are known).
    #[must_use]
    pub fn new(
        kind: Kind,
        bins: &[(u64, u64)],
        apart: Option<&[(u64, u64)]>,
        distance: Option<Distance>,
        odd: (Odd, Odd, Option<&OddRange>),
        effort: Effort,
    ) -> Evidence {
        let used = bins.iter().fold((0, 0), |(n, m), (a, b)| (n + a, m + b));
        let totals = (used.0 + odd.0.total(), used.1 + odd.1.total());
        let both = used.0 > 0 && used.1 > 0;
        let apart_bins = apart.map_or(bins.len(), <[_]>::len);
        let psi = both.then(|| {
            let value = psi::half_count(bins.iter().copied());
            let p = psi::null(bins, value, effort.draws, effort.seed).p;
            let adjusted = |value: f64, bins: usize| value - psi::expected(bins, used.0, used.1);
            let apart = apart.map_or(value, |apart| psi::half_count(apart.iter().copied()));
            let adjusted = (adjusted(value, bins.len()), adjusted(apart, apart_bins));
            Psi { value, adjusted: adjusted.0, apart: adjusted.1, p, bins: bins.len() }
        });
        Evidence {
            kind,
            n_baseline: totals.0,
            n_current: totals.1,
            used,
            ks: distance.map(|distance| ks(distance, effort)),
            psi,
            chi2: chi2::test(bins.iter().copied()).map(|t| ChiSquare { statistic: t.statistic, dof: t.dof, p: t.p }),
            odd: OddShare::new((odd.0, totals.0), (odd.1, totals.1), odd.2),
        }
    }

    /// The p-value of "nothing has changed": the smallest of the parts, paid for by their number (Bonferroni, nine tenths shared by
    /// Kolmogorov–Smirnov (or chi-square) and PSI, a tenth for odd values). 1 when there is nothing to say.
    #[must_use]
    pub fn p(&self) -> f64 {
        self.p_among(0.0)
    }

    /// The same for a caller who knows how much days differ from each other without drift: `day_p`, where it is larger, stands for the
    /// parts about shape. What days do with odd values is in [`OddRange`].
    #[must_use]
    pub fn p_among(&self, day_p: f64) -> f64 {
        let shape = match self.kind {
            Kind::Number => self.ks.map_or(1.0, |ks| ks.p),
            // With fewer than five values a level (names, times) chi-square means nothing.
            Kind::Category => self.chi2.filter(|chi2| self.used.0 + self.used.1 >= 5 * (chi2.dof + 1)).map_or(1.0, |chi2| chi2.p),
        };
        let index = self.psi.map_or(1.0, |psi| psi.p);
        (shape / 0.45).min(index / 0.45).max(day_p).min(self.odd.p / 0.1).min(1.0)
    }

    /// How large the change is: the adjusted PSI, with heavy values apart where that shows more.
    #[must_use]
    pub fn effect(&self) -> f64 {
        self.psi.map_or(0.0, |psi| psi.adjusted.max(psi.apart))
    }

    /// What PSI would be on average without drift.
    #[must_use]
    pub fn noise(&self) -> f64 {
        self.psi.map_or(f64::INFINITY, |psi| psi::expected(psi.bins, self.used.0, self.used.1))
    }
}

fn ks(distance: Distance, effort: Effort) -> Ks {
    let d = distance.d();
    let Some(steps) = effort.lattice else {
        let exact = distance.n.max(distance.m) <= crate::stats::ks::EXACT_MAX;
        return Ks { d, p: distance.p(), exact };
    };
    let p = distance.asymptotic_fast();
    let exact = Effort::doubtful(p) && distance.n.max(distance.m) <= crate::stats::ks::EXACT_MAX && distance.cost() <= steps;
    Ks { d, p: if exact { distance.exact() } else { p }, exact }
}

/// One side of a comparison: all values of a feature.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Finite numbers.
    pub numbers: Vec<f64>,
    /// Levels and how often each was there.
    pub levels: BTreeMap<String, u64>,
    /// What was neither.
    pub odd: Odd,
}

impl Sample {
    /// Takes a number; what is not finite is counted apart.
    pub fn number(&mut self, value: f64) {
        if value.is_finite() {
            self.numbers.push(value);
        } else if value.is_nan() {
            self.odd.nan += 1;
        } else if value > 0.0 {
            self.odd.positive_infinity += 1;
        } else {
            self.odd.negative_infinity += 1;
        }
    }

    /// Takes a level.
    pub fn level(&mut self, name: &str) {
        if let Some(count) = self.levels.get_mut(name) {
            *count += 1;
        } else {
            self.levels.insert(name.to_owned(), 1);
        }
    }
}

/// Compares two samples value by value: K-S on all values, PSI and chi-square over the deciles of the baseline or over all levels
/// that either side has.
///
/// Numbers are put in order in place.
#[must_use]
pub fn compare(kind: Kind, baseline: &mut Sample, current: &mut Sample, effort: Effort) -> Evidence {
    match kind {
        Kind::Number => {
            baseline.numbers.sort_unstable_by(f64::total_cmp);
            current.numbers.sort_unstable_by(f64::total_cmp);
            let edges = psi::edges(&baseline.numbers, psi::TEXTBOOK_BINS);
            let count = |sample: &Sample, edges: &[f64]| psi::count(sample.numbers.iter().copied(), edges);
            let bins: Vec<(u64, u64)> = count(baseline, &edges).into_iter().zip(count(current, &edges)).collect();
            let apart = psi::edges_apart(&baseline.numbers, psi::TEXTBOOK_BINS);
            let apart: Option<Vec<(u64, u64)>> =
                (apart.len() > edges.len()).then(|| count(baseline, &apart).into_iter().zip(count(current, &apart)).collect());
            let distance = Distance::of_sorted(&baseline.numbers, &current.numbers);
            let odd = |sample: &Sample| Odd { unseen: sample.levels.values().sum(), ..sample.odd };
            Evidence::new(kind, &bins, apart.as_deref(), distance, (odd(baseline), odd(current), None), effort)
        }
        Kind::Category => {
            let levels: std::collections::BTreeSet<&String> = baseline.levels.keys().chain(current.levels.keys()).collect();
            let of = |sample: &Sample, level: &String| sample.levels.get(level).copied().unwrap_or(0);
            let bins: Vec<(u64, u64)> = levels.iter().map(|level| (of(baseline, level), of(current, level))).collect();
            Evidence::new(kind, &bins, None, None, (baseline.odd, current.odd, None), effort)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn numbers(values: &Value) -> Sample {
        let mut sample = Sample::default();
        for value in values.as_array().unwrap() {
            sample.number(value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap()));
        }
        sample
    }

    fn levels(counts: &Value) -> Sample {
        let counts = counts.as_object().unwrap().iter().map(|(level, n)| (level.clone(), n.as_u64().unwrap())).collect();
        Sample { levels: counts, ..Sample::default() }
    }

    #[test]
    fn the_vectors_of_scipy_and_the_textbook() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/data/drift/vectors.json")).unwrap();
        let vectors = vectors["vectors"].as_array().unwrap();
        assert_eq!(vectors.len(), 15);
        for vector in vectors {
            let (id, expected) = (&vector["id"], &vector["expected"]);
            let wanted = |path: &str| expected.pointer(path).and_then(Value::as_f64);
            let near = |found: f64, wanted: f64, by: f64| assert!((found - wanted).abs() <= by, "{id}: {found:e} instead of {wanted:e}");
            if vector["kind"] == "categorical" {
                let (mut a, mut b) = (levels(&vector["input"]["ref_counts"]), levels(&vector["input"]["cur_counts"]));
                let found = compare(Kind::Category, &mut a, &mut b, Effort::FULL);
                let (chi2, p) = (wanted("/scipy_chi2_contingency/statistic").unwrap(), wanted("/scipy_chi2_contingency/pvalue").unwrap());
                near(found.chi2.unwrap().statistic, chi2, 1e-10);
                near(found.chi2.unwrap().p, p, 1e-6 * p);
                near(found.psi.unwrap().value, wanted("/psi_halfcount").unwrap(), 1e-9);
                continue;
            }
            let (mut a, mut b) = (numbers(&vector["input"]["ref"]), numbers(&vector["input"]["cur"]));
            let found = compare(Kind::Number, &mut a, &mut b, Effort::FULL);
            assert_eq!((Some(found.n_baseline), Some(found.n_current)), (expected["n_ref"].as_u64(), expected["n_cur"].as_u64()));
            let of = |field: &str| {
                let finite = wanted(&format!("/scipy_ks_auto_finite_only/{field}"));
                finite.or(wanted(&format!("/scipy_ks_auto/{field}"))).unwrap()
            };
            let ks = found.ks.unwrap();
            near(ks.d, of("statistic"), 1e-12);
            near(ks.p, of("pvalue"), 1e-9 * of("pvalue"));
            near(found.psi.unwrap().value, wanted("/quantile10/psi_halfcount").unwrap(), 1e-9);
        }
    }

    /// Values, and how often each is there.
    type Values<'a> = &'a [(f64, usize)];

    /// What the guarded rule says of one feature.
    fn verdict(a: Values<'_>, b: Values<'_>) -> (Evidence, crate::drift::Verdict) {
        let sample = |values: Values<'_>| {
            let mut sample = Sample::default();
            values.iter().for_each(|(value, times)| (0..*times).for_each(|_| sample.number(*value)));
            sample
        };
        let found = compare(Kind::Number, &mut sample(a), &mut sample(b), Effort::FULL);
        let config = crate::drift::DriftConfig::default();
        let verdict = crate::drift::judge(&config, std::slice::from_ref(&found), None, config.look_q())[0];
        (found, verdict)
    }

    #[test]
    fn a_fall_from_a_heavy_value_is_as_large_as_a_rise() {
        use crate::drift::Verdict::{None, Significant};
        let cases: [(Values<'_>, Values<'_>, _); 8] = [
            (&[(100.0, 1000)], &[(0.0, 1000)], Significant),
            (&[(100.0, 1000)], &[(200.0, 1000)], Significant),
            (&[(1.0, 950), (0.0, 50)], &[(1.0, 500), (0.0, 500)], Significant),
            (&[(1.0, 50), (0.0, 950)], &[(1.0, 500), (0.0, 500)], Significant),
            (&[(2.0, 500)], &[(1.0, 250), (2.0, 250)], Significant),
            (&[(0.0, 910), (-1.0, 45), (1.0, 45)], &[(0.0, 500), (-1.0, 455), (1.0, 45)], Significant),
            (&[(1.0, 950), (0.0, 50)], &[(1.0, 950), (0.0, 50)], None),
            (&[(100.0, 1000)], &[(100.0, 1000)], None),
        ];
        for (a, b, wanted) in cases {
            let (found, verdict) = verdict(a, b);
            assert_eq!(verdict, wanted, "{a:?} {b:?} {found:?}");
        }
    }

    #[test]
    fn odd_values_are_told_from_each_other_and_missed_when_they_are_gone() {
        use crate::drift::Verdict::{Critical, None, Significant};
        let whole: Vec<(f64, usize)> = (0..50).map(|n| (f64::from(n), 18)).collect();
        let with = |odd: &[(f64, usize)]| [&whole, odd].concat();
        for (a, b, wanted) in [
            (&with(&[(f64::NAN, 900)]), &with(&[]), Significant),
            (&with(&[]), &with(&[(f64::NAN, 900)]), Critical),
            (&with(&[(f64::NAN, 100)]), &with(&[(f64::INFINITY, 100)]), Critical),
            (&with(&[(f64::NAN, 100)]), &with(&[(f64::NAN, 110)]), None),
        ] {
            let (found, verdict) = verdict(a, b);
            assert_eq!(verdict, wanted, "{found:?}");
        }
    }

    proptest! {
        #[test]
        fn any_two_samples_give_numbers_and_never_a_panic(
            a in prop::collection::vec(any::<f64>(), 0..40), b in prop::collection::vec(any::<f64>(), 0..40), offset in prop::sample::select(vec![0.0, 1e12, -1e300]),
        ) {
            let sample = |values: &[f64]| {
                let mut sample = Sample::default();
                values.iter().for_each(|value| sample.number(value + offset));
                sample
            };
            let effort = Effort { draws: 400, ..Effort::FULL };
            let found = compare(Kind::Number, &mut sample(&a), &mut sample(&b), effort);
            prop_assert_eq!((found.n_baseline, found.n_current), (a.len() as u64, b.len() as u64));
            prop_assert!((0.0..=1.0).contains(&found.p()));
            if let (Some(ks), Some(psi)) = (found.ks, found.psi) {
                prop_assert!((0.0..=1.0).contains(&ks.d) && (0.0..=1.0).contains(&ks.p) && psi.value.is_finite() && psi.value >= 0.0);
            }
        }
    }
}
