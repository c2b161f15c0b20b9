//! One process: its life, its floors, and what was said of it so far.

use super::clean::Point;
use super::config::{LeakConfig, LeakRule, hours};
use super::floors::{Floor, Floors, QUARTER};
use super::judge::{Grade, Look, Reason, look};
use super::limit::{Room, ToLimit};
use super::shape::Shape;
use crate::stats::theil_sen::median;
use homeostat_schemas::event::Resource;
use homeostat_schemas::{Ms, UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Start times that differ by less than this are one: some libraries work it out anew with every report.
const SAME_START: Ms = 2_000;
/// So many floors after the warm-up make the baseline.
const BASELINE: usize = 4;
/// A process that does not say when it started is another one when its memory falls below this part of its last two floors …
const FALLS_TO: f64 = 0.75;
/// … in so many samples in a row.
const FALLEN: u32 = 2;
/// So many samples in a row from before its time: the sender's clock was set back.
const LATE: u32 = 20;
/// So many reports in a row by an older process: it is the one that lives.
const OLDER: u32 = 3;
/// A leak whose memory fell to this part of its growth has been given back.
const GIVEN_BACK: f64 = 0.3;

/// One report.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sample {
    /// When, Unix ms.
    pub at_ms: UnixMs,
    /// Memory, bytes (or whatever unit; only the limit must have the same).
    pub memory: f64,
    /// The limit, same unit.
    pub limit: Option<f64>,
    /// Heap in use, bytes.
    pub heap: Option<f64>,
    /// Load, requests a second.
    pub load: Option<f64>,
    /// When the process started, Unix ms.
    pub started_ms: Option<UnixMs>,
}

impl From<&Resource> for Sample {
    #[allow(clippy::cast_precision_loss)]
    fn from(event: &Resource) -> Sample {
        Sample {
            at_ms: event.at_ms,
            memory: event.memory_bytes as f64,
            limit: event.memory_limit_bytes.map(|limit| limit as f64),
            heap: event.heap_bytes.map(|heap| heap as f64),
            load: event.load_rps,
            started_ms: event.started_ms,
        }
    }
}

/// What is said of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Nothing.
    #[default]
    None,
    /// It may leak.
    Suspected,
    /// It leaks.
    Confirmed,
}

/// What a sample changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Another process has taken its place; what was said of the old one is over.
    NewLife,
    /// The floors were looked at.
    Looked,
    /// It is suspected.
    Suspected,
    /// It is confirmed.
    Confirmed,
    /// What was said of it no longer holds, for this reason.
    Cleared(Cleared),
}

/// Why a finding about a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleared {
    /// It has stopped growing.
    Stopped,
    /// Memory was given back.
    GivenBack,
}

/// The numbers of the last look that had some.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// When, Unix ms.
    pub at_ms: UnixMs,
    /// What the percents are of, bytes: the level from which a leak grows, else the level after warm-up; with the compatible rule that
    /// of an hour ago.
    pub base_bytes: f64,
    /// Growth an hour, percent.
    pub slope_pct_per_h: f64,
    /// Lower end of its 95 % interval.
    pub slope_low: f64,
    /// Upper end of its 95 % interval.
    pub slope_high: f64,
    /// The normal deviate of the trend test.
    pub z: f64,
    /// When the growth that was looked at began, Unix ms.
    pub since_ms: UnixMs,
    /// The curve without a bound that fits best, when curves were compared.
    pub shape: Option<Shape>,
    /// The curve with a bound that fits best.
    pub bounded: Option<Shape>,
    /// By how much the information criterion prefers the former.
    pub margin: Option<f64>,
}

/// One process, in its present life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// When it started, as far as known.
    start_ms: UnixMs,
    /// What it said of that.
    started_ms: Option<UnixMs>,
    /// Its first sample.
    since_ms: UnixMs,
    floors: Floors,
    /// Its level after the warm-up, bytes.
    baseline: Option<f64>,
    tier: Tier,
    suspected_ms: Option<UnixMs>,
    confirmed_ms: Option<UnixMs>,
    /// Looks in a row that were suspicious, leaking, steady.
    rows: (u32, u32, u32),
    grade: Option<Grade>,
    why: Option<Reason>,
    measured: Option<Measured>,
    /// Its last sample.
    last_ms: UnixMs,
    memory: f64,
    limit: Option<f64>,
    heap: Option<f64>,
    fallen: u32,
    late: u32,
    older: u32,
    lives: u64,
    ignored: u64,
}

impl Process {
    /// Takes a sample. Samples may be late, missing and repeated; memory that is no number, negative or zero (a failed scrape) counts
    /// as missing.
    pub fn take(&mut self, sample: &Sample, config: &LeakConfig) -> Vec<Change> {
        let mut changes = Vec::new();
        if !sample.memory.is_finite() || sample.memory <= 0.0 || !self.is_its_own(sample) {
            self.ignored = self.ignored.saturating_add(1);
            return changes;
        }
        if self.lives == 0 {
            self.begin(sample);
        } else if self.is_another(sample) {
            self.begin(sample);
            changes.push(Change::NewLife);
        }
        let Some(index) = self.index(sample.at_ms) else { return changes };
        if sample.at_ms >= self.last_ms {
            self.last_ms = sample.at_ms;
            self.memory = sample.memory;
            self.limit = sample.limit.filter(|limit| limit.is_finite() && *limit > 0.0);
            self.heap = sample.heap.filter(|heap| heap.is_finite() && *heap > 0.0);
        }
        let turn = self.floors.newest().is_some_and(|newest| index > newest);
        if turn && config.rule == LeakRule::Robust {
            self.look(index, sample.at_ms, config, &mut changes);
        }
        let load = sample.load.filter(|load| load.is_finite());
        if !self.floors.add(index, sample.at_ms, sample.memory, load) {
            self.ignored = self.ignored.saturating_add(1);
        } else if config.rule == LeakRule::Compatible && sample.at_ms == self.last_ms {
            self.compare(config, &mut changes);
        }
        changes
    }

    /// The series ends: looks at the last floor too.
    pub fn close(&mut self, config: &LeakConfig) -> Vec<Change> {
        let mut changes = Vec::new();
        if let (LeakRule::Robust, Some(newest)) = (config.rule, self.floors.newest()) {
            self.look(newest.saturating_add(1), self.last_ms, config, &mut changes);
        }
        changes
    }

    fn begin(&mut self, sample: &Sample) {
        let started = sample.started_ms.filter(|started| *started <= sample.at_ms);
        *self = Process {
            start_ms: started.unwrap_or(sample.at_ms),
            started_ms: sample.started_ms,
            since_ms: sample.at_ms,
            lives: self.lives.saturating_add(1),
            ignored: self.ignored,
            ..Process::default()
        };
    }

    /// Which quarter of an hour since the first sample; `None` before it.
    fn index(&self, at_ms: UnixMs) -> Option<u32> {
        let since = at_ms.checked_sub(self.since_ms)?;
        Some(u32::try_from(since / QUARTER).unwrap_or(u32::MAX))
    }

    /// Is it not one from before this life, or one that an older process still sent?
    fn is_its_own(&mut self, sample: &Sample) -> bool {
        if self.lives == 0 {
            return true;
        }
        let older = match (sample.started_ms, self.started_ms) {
            (Some(says), Some(known)) => says.saturating_add(SAME_START) < known,
            _ => false,
        };
        // An older process that goes on reporting after the younger one is the one that lives.
        self.older = if older && sample.at_ms > self.last_ms { self.older.saturating_add(1) } else { 0 };
        let kept = self.floors.newest().unwrap_or(0).saturating_sub(super::floors::KEPT as u32);
        let late = self.index(sample.at_ms).is_none_or(|index| index < kept);
        self.late = if late { self.late.saturating_add(1) } else { 0 };
        let passing = older && self.older < OLDER || late && self.late < LATE;
        !passing
    }

    fn is_another(&mut self, sample: &Sample) -> bool {
        if self.late >= LATE {
            return true;
        }
        match (sample.started_ms, self.started_ms) {
            (Some(says), Some(known)) => says.abs_diff(known) >= SAME_START,
            // It has begun to say when it started: that is news only if it started since.
            (Some(says), None) => {
                let began = says > self.since_ms.saturating_add(SAME_START);
                if !began {
                    self.started_ms = Some(says);
                    self.start_ms = self.start_ms.min(says);
                }
                began
            }
            (None, _) => {
                let mut floors = self.floors.iter().rev().skip(1).map(Floor::least);
                let floor = floors.next().zip(floors.next()).map(|(a, b)| a.min(b));
                let falls = sample.at_ms >= self.last_ms && floor.is_some_and(|floor| sample.memory < FALLS_TO * floor);
                self.fallen = if falls { self.fallen.saturating_add(1) } else { 0 };
                self.fallen >= FALLEN
            }
        }
    }

    fn warm(&self, index: u32, config: &LeakConfig) -> bool {
        self.since_ms.saturating_add(u64::from(index) * QUARTER) >= self.start_ms.saturating_add(config.warmup_ms)
    }

    fn hour(&self, index: u32) -> f64 {
        let middle = self.since_ms.saturating_add(u64::from(index) * QUARTER).saturating_add(QUARTER / 2);
        hours(middle.saturating_sub(self.start_ms))
    }

    /// Looks at the floors that are over when a sample of the quarter `index` arrives.
    fn look(&mut self, index: u32, at_ms: UnixMs, config: &LeakConfig, changes: &mut Vec<Change>) {
        let warm: Vec<Floor> = self.floors.closed(index).filter(|floor| self.warm(floor.index, config)).copied().collect();
        if self.baseline.is_none() && warm.len() >= BASELINE {
            self.baseline = Some(median(&mut warm[..BASELINE].iter().map(Floor::least).collect::<Vec<_>>()));
        }
        let Some(baseline) = self.baseline else { return };
        let points: Vec<Point> = warm
            .iter()
            .map(|floor| Point { hour: self.hour(floor.index), floor: floor.least() / baseline * 100.0, load: floor.load() })
            .collect();
        let look = look(&points, &config.demands());
        self.grade = Some(look.grade);
        self.why = Some(look.why);
        if look.slope.is_finite() {
            self.measured = Some(self.measure(&look, at_ms, baseline));
        }
        changes.push(Change::Looked);
        self.count(look.grade);
        self.decide(at_ms, &points, config, changes);
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn measure(&self, look: &Look, at_ms: UnixMs, baseline: f64) -> Measured {
        let since = self.start_ms.saturating_add((look.since.max(0.0) * 3_600_000.0) as Ms);
        Measured {
            at_ms,
            base_bytes: baseline * look.base / 100.0,
            slope_pct_per_h: look.slope,
            slope_low: look.low,
            slope_high: look.high,
            z: look.z,
            since_ms: since,
            shape: look.contest.map(|contest| contest.unbounded.shape),
            bounded: look.contest.map(|contest| contest.bounded.shape),
            margin: look.contest.map(|contest| contest.margin),
        }
    }

    fn count(&mut self, grade: Grade) {
        let (suspicious, leaking, steady) = self.rows;
        let more = |row: u32| row.saturating_add(1);
        self.rows = match grade {
            Grade::Insufficient => self.rows,
            Grade::Steady => (0, 0, more(steady)),
            Grade::Suspicious => (more(suspicious), 0, 0),
            Grade::Leaking => (more(suspicious), more(leaking), 0),
        };
    }

    fn decide(&mut self, at_ms: UnixMs, points: &[Point], config: &LeakConfig, changes: &mut Vec<Change>) {
        let (suspicious, leaking, steady) = self.rows;
        let agreeing = config.agreeing.max(1);
        let quiet = |after: Ms| u64::from(steady) >= (after / QUARTER).max(1);
        if self.tier == Tier::None && suspicious > 0 {
            self.tier = Tier::Suspected;
            self.suspected_ms = Some(at_ms);
            changes.push(Change::Suspected);
        }
        match self.tier {
            Tier::Suspected if leaking >= agreeing => {
                self.tier = Tier::Confirmed;
                self.confirmed_ms = Some(at_ms);
                changes.push(Change::Confirmed);
            }
            Tier::Suspected if quiet(config.suspicion_clears_after_ms) => self.clear(Cleared::Stopped, changes),
            Tier::Confirmed if quiet(config.leak_clears_after_ms) => self.clear(Cleared::Stopped, changes),
            Tier::Confirmed if given_back(points) => {
                self.clear(Cleared::GivenBack, changes);
                // What comes now is another story.
                self.floors = Floors::default();
                (self.start_ms, self.since_ms, self.baseline) = (at_ms, at_ms, None);
            }
            Tier::None | Tier::Suspected | Tier::Confirmed => {}
        }
    }

    fn clear(&mut self, why: Cleared, changes: &mut Vec<Change>) {
        self.tier = Tier::None;
        self.rows = (0, 0, 0);
        (self.suspected_ms, self.confirmed_ms) = (None, None);
        changes.push(Change::Cleared(why));
    }

    /// The compatible rule: memory now beside memory an hour ago.
    fn compare(&mut self, config: &LeakConfig, changes: &mut Vec<Change>) {
        let Some(then) = self.floors.details().rev().find(|detail| detail.first.0.saturating_add(4 * QUARTER) <= self.last_ms) else {
            return;
        };
        let (at, before) = then.first;
        let rate = (self.memory / before - 1.0) * 100.0 / hours(self.last_ms - at);
        let measured = Measured {
            at_ms: self.last_ms,
            base_bytes: before,
            slope_pct_per_h: rate,
            slope_low: rate,
            slope_high: rate,
            z: 0.0,
            since_ms: at,
            shape: None,
            bounded: None,
            margin: None,
        };
        self.measured = Some(measured);
        let leaks = rate > config.compatible_pct_per_h;
        self.grade = Some(if leaks { Grade::Leaking } else { Grade::Steady });
        self.why = Some(if leaks { Reason::Compatible } else { Reason::NoGrowth });
        changes.push(Change::Looked);
        if leaks && self.tier < Tier::Confirmed {
            self.tier = Tier::Confirmed;
            self.suspected_ms = self.suspected_ms.or(Some(self.last_ms));
            self.confirmed_ms = Some(self.last_ms);
            changes.push(Change::Confirmed);
        } else if !leaks && self.tier > Tier::None {
            self.clear(Cleared::Stopped, changes);
        }
    }

    /// What is said of it.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// The last look: how it ended, and what decided; `None` before the first.
    #[must_use]
    pub fn last_look(&self) -> Option<(Grade, Reason)> {
        self.grade.zip(self.why)
    }

    /// The numbers of the last look that had some.
    #[must_use]
    pub fn measured(&self) -> Option<&Measured> {
        self.measured.as_ref()
    }

    /// Since when it has been suspected and confirmed, Unix ms.
    #[must_use]
    pub fn since(&self) -> (Option<UnixMs>, Option<UnixMs>) {
        (self.suspected_ms, self.confirmed_ms)
    }

    /// When it started, Unix ms: as it says, or its first sample.
    #[must_use]
    pub fn start_ms(&self) -> UnixMs {
        self.start_ms
    }

    /// The time of its last sample, Unix ms.
    #[must_use]
    pub fn last_ms(&self) -> UnixMs {
        self.last_ms
    }

    /// Processes that reported under this name, this one included.
    #[must_use]
    pub fn lives(&self) -> u64 {
        self.lives
    }

    /// Samples that said nothing: no number, too late, of an older process.
    #[must_use]
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// What it uses and may use.
    #[must_use]
    pub fn room(&self) -> Room {
        let floor = median(&mut self.floors.iter().rev().take(3).map(Floor::least).collect::<Vec<_>>());
        let top = self.floors.details().rev().take(4).map(|detail| detail.most).fold(self.memory, f64::max);
        Room { memory: self.memory, floor, top, limit: self.limit, heap: self.heap }
    }

    /// When its growth reaches the limit, as was last measured; `None` without a limit, without growth, or while nothing is said of
    /// it.
    #[must_use]
    pub fn to_limit(&self) -> Option<ToLimit> {
        let measured = self.measured.filter(|_| self.tier > Tier::None)?;
        self.room().to_limit(&measured)
    }

    /// Are all its collections within their limits?
    pub(super) fn bounded(&self) -> bool {
        self.floors.len() <= super::floors::KEPT
    }
}

/// Has memory fallen back to where its growth began, for two floors in a row?
fn given_back(points: &[Point]) -> bool {
    let top = points.iter().map(|point| point.floor).fold(100.0, f64::max);
    let limit = 100.0 + GIVEN_BACK * (top - 100.0);
    points.len() >= 2 && points[points.len() - 2..].iter().all(|point| point.floor < limit)
}
