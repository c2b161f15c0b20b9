//! A whole series at once, judged as the mind would have judged it live: what `homeostat leak` answers.

use super::config::{LeakConfig, hours};
use super::judge::{Grade, Reason};
use super::limit::ToLimit;
use super::process::{Change, Measured, Process, Sample, Tier};
use super::shape::Shape;
use homeostat_schemas::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

/// The verdict on a series.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Assessment {
    /// What is said of it at its end. A leak that was confirmed in one life of the process and has not been seen to end in that life
    /// stands: a restart cures nothing.
    pub verdict: Tier,
    /// When it was first suspected, in the time of the series, Unix ms.
    pub first_suspected_at: Option<UnixMs>,
    /// When it was first confirmed.
    pub first_confirmed_at: Option<UnixMs>,
    /// Growth an hour in percent of `baseline_bytes`: of the leak, or of the last hours.
    pub slope_pct_per_h: Option<f64>,
    /// Its 95 % interval.
    pub slope_pct_per_h_interval: Option<[f64; 2]>,
    /// Hours from the end of the series until memory reaches its limit; absent without a limit or a finding.
    pub eta_h: Option<f64>,
    /// The earliest and the latest; the latest is absent when the interval of the growth reaches zero.
    pub eta_h_interval: Option<(f64, Option<f64>)>,
    /// Does the series say too little for a verdict (fewer than 3 hours of a process, or too few samples)? Then `none` means nothing.
    pub insufficient: bool,
    /// What decided.
    pub why: Option<Reason>,
    /// The curve that its growth follows.
    pub shape: Option<Shape>,
    /// The level from which the leak grows, or the level after warm-up, bytes.
    pub baseline_bytes: Option<f64>,
    /// Memory at the end, bytes.
    pub memory_bytes: f64,
    /// The limit at the end, bytes.
    pub memory_limit_bytes: Option<f64>,
    /// When the series begins, Unix ms.
    pub start_ms: UnixMs,
    /// Length of the series, hours.
    pub hours: f64,
    /// Samples that counted.
    pub samples: u64,
    /// Samples that did not: no number, zero, of an older process.
    pub ignored: u64,
    /// Lives of the process.
    pub lives: u64,
}

/// Judges samples, in whatever order they come.
#[must_use]
pub fn assess(mut samples: Vec<Sample>, config: &LeakConfig) -> Assessment {
    samples.sort_by_key(|sample| sample.at_ms);
    let mut process = Process::default();
    let mut said = Said::default();
    for sample in &samples {
        let before = process.tier();
        let changes = process.take(sample, config);
        said.note(before, &changes, &process);
    }
    let before = process.tier();
    let changes = process.close(config);
    said.note(before, &changes, &process);
    said.answer(&samples, &process)
}

/// What was said in the course of a series.
#[derive(Default)]
struct Said {
    suspected: Option<UnixMs>,
    confirmed: Option<UnixMs>,
    /// What stood when a life ended, and has not been contradicted since.
    carried: Tier,
    judged: bool,
    /// The last look that found a leak.
    leak: Option<Measured>,
}

impl Said {
    fn note(&mut self, before: Tier, changes: &[Change], process: &Process) {
        for change in changes {
            match change {
                Change::NewLife => self.carried = self.carried.max(before),
                Change::Looked => {
                    let grade = process.last_look().map(|(grade, _)| grade);
                    self.judged |= grade.is_some_and(|grade| grade > Grade::Insufficient);
                    if grade == Some(Grade::Steady) && self.carried == Tier::Suspected {
                        self.carried = Tier::None;
                    }
                    if grade == Some(Grade::Leaking) {
                        self.leak = process.measured().copied();
                    }
                }
                Change::Suspected => self.suspected = self.suspected.or(process.since().0),
                Change::Confirmed => {
                    self.suspected = self.suspected.or(process.since().0);
                    self.confirmed = self.confirmed.or(process.since().1);
                }
                Change::Cleared(_) => {}
            }
        }
    }

    fn answer(self, samples: &[Sample], process: &Process) -> Assessment {
        let verdict = process.tier().max(self.carried);
        let measured = self.leak.filter(|_| verdict == Tier::Confirmed).or_else(|| process.measured().copied());
        let eta = measured.filter(|_| verdict > Tier::None).and_then(|measured| process.room().to_limit(&measured));
        let length: Ms = samples.last().zip(samples.first()).map_or(0, |(last, first)| last.at_ms - first.at_ms);
        let room = process.room();
        Assessment {
            verdict,
            first_suspected_at: self.suspected,
            first_confirmed_at: self.confirmed,
            slope_pct_per_h: measured.map(|measured| measured.slope_pct_per_h),
            slope_pct_per_h_interval: measured.map(|measured| [measured.slope_low, measured.slope_high]),
            eta_h: eta.map(|eta: ToLimit| eta.hours),
            eta_h_interval: eta.map(|eta| (eta.earliest, eta.latest)),
            insufficient: !self.judged,
            why: process.last_look().map(|(_, why)| why),
            shape: measured.and_then(|measured| measured.shape).filter(|_| verdict > Tier::None),
            baseline_bytes: measured.map(|measured| measured.base_bytes),
            memory_bytes: room.memory,
            memory_limit_bytes: room.limit,
            start_ms: samples.first().map_or(0, |first| first.at_ms),
            hours: hours(length),
            samples: (samples.len() as u64).saturating_sub(process.ignored()),
            ignored: process.ignored(),
            lives: process.lives(),
        }
    }
}
