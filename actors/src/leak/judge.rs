//! One look at a process: does its memory grow without a bound?
//!
//! Suspicious: over the last 3, 6 or 12 hours or the whole life, the floor rises monotonically (Mann–Kendall, corrected for the
//! correlation of neighbours) and by enough (Theil–Sen), and its rise does not wane from third to third.
//! Leaking: moreover the growth has lasted for 6 hours, a curve without a bound explains the whole life better than every curve with
//! one, and, once it is known, memory is above what it was at the same time yesterday.

use super::clean::{Point, clean};
use super::shape::{Contest, Curve, contest};
use crate::stats::mann_kendall::{Trend, mann_kendall};
use crate::stats::theil_sen::{Line, median, theil_sen};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is asked of growth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Demands {
    /// Least growth, percent of the baseline an hour.
    pub min_slope: f64,
    /// Least normal deviate of the trend test.
    pub z: f64,
    /// Hours that must be known before anything is said.
    pub suspect_h: f64,
    /// Hours that growth must have lasted before it is a leak.
    pub confirm_h: f64,
    /// By how much the information criterion must prefer a curve without a bound.
    pub margin: f64,
}

/// What decided a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Too few samples.
    TooFew,
    /// It runs for too short a time.
    TooYoung,
    /// No lasting growth.
    NoGrowth,
    /// It grows, but not for long enough yet.
    TooShort,
    /// No curve fits.
    NoCurve,
    /// Growth with a bound explains it as well.
    Bounded,
    /// It grows too slowly.
    TooSlow,
    /// Memory was as high at the same time yesterday.
    Yesterday,
    /// Growth wanes.
    Wanes,
    /// It grows without a bound.
    Unbounded,
    /// More than the compatible rule allows within an hour.
    Compatible,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::TooFew => "too few samples",
            Reason::TooYoung => "it runs for too short a time",
            Reason::NoGrowth => "no lasting growth",
            Reason::TooShort => "it grows, but not for long enough yet",
            Reason::NoCurve => "no curve fits its growth",
            Reason::Bounded => "growth with a bound explains it as well",
            Reason::TooSlow => "it grows too slowly",
            Reason::Yesterday => "it was as high at the same time yesterday",
            Reason::Wanes => "its growth wanes",
            Reason::Unbounded => "it grows without a bound",
            Reason::Compatible => "it grew by more than the limit within an hour",
        })
    }
}

/// How a look ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Too little is known.
    Insufficient,
    /// Nothing grows without a bound.
    Steady,
    /// It may.
    Suspicious,
    /// It does.
    Leaking,
}

/// What a look found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    /// How it ended.
    pub grade: Grade,
    /// Growth an hour in percent of `base`: of the curve of a leak, else over the window that says most, else over the last 6 hours.
    pub slope: f64,
    /// Lower end of its 95 % interval.
    pub low: f64,
    /// Upper end of its 95 % interval.
    pub high: f64,
    /// What the percents of growth are of, percent of the baseline.
    pub base: f64,
    /// When the window begins, hours.
    pub since: f64,
    /// The normal deviate of the trend test in this window.
    pub z: f64,
    /// The comparison of curves, when it was made.
    pub contest: Option<Contest>,
    /// What decided.
    pub why: Reason,
}

/// The normal quantile of a 95 % interval.
const Q95: f64 = 1.96;
/// From so many hours on, yesterday is known.
const YESTERDAY_H: f64 = 27.0;
/// In the last third of a window growth must still be this part of what it was in the whole of it.
const STILL: f64 = 0.4;

struct Window {
    since: f64,
    trend: Trend,
    line: Line,
    wanes: bool,
}

/// Looks at the floors of one life of a process after its warm-up, in order of time. Percent of the baseline, hours since the start.
#[must_use]
pub(super) fn look(points: &[Point], demands: &Demands) -> Look {
    let unknown = |why| Look {
        grade: Grade::Insufficient,
        slope: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
        base: 100.0,
        since: f64::NAN,
        z: 0.0,
        contest: None,
        why,
    };
    let Some((first, last)) = points.first().map(|point| point.hour).zip(points.last().map(|point| point.hour)) else {
        return unknown(Reason::TooFew);
    };
    let levels = clean(points);
    let window = |from: f64| window(&levels, from);
    let (Some(recent), true) = (window(last - 6.0), points.len() >= 8) else { return unknown(Reason::TooFew) };
    let say = |grade, window: &Window, contest, why| Look {
        grade,
        slope: window.line.slope,
        low: window.line.low,
        high: window.line.high,
        base: 100.0,
        since: window.since,
        z: window.trend.z,
        contest,
        why,
    };
    if last + 0.25 < demands.suspect_h {
        return say(Grade::Insufficient, &recent, None, Reason::TooYoung);
    }
    let rises = |window: &Window| window.trend.z >= demands.z && window.line.slope >= demands.min_slope && !window.wanes;
    let all = [last - 3.0, last - 6.0, last - 12.0, first];
    let windows: Vec<Window> = all.into_iter().filter(|from| *from > first - 0.5).filter_map(window).collect();
    let Some(best) = windows.iter().filter(|window| rises(window)).max_by(|a, b| a.trend.z.total_cmp(&b.trend.z)) else {
        return say(Grade::Steady, &recent, None, Reason::NoGrowth);
    };
    let suspicious = |contest, why| say(Grade::Suspicious, best, contest, why);
    if last - first < demands.confirm_h - 0.3 {
        return suspicious(None, Reason::TooShort);
    }
    let day = last - first >= YESTERDAY_H;
    let Some(contest) = contest(&levels, day) else { return suspicious(None, Reason::NoCurve) };
    let shape = Some(contest);
    if contest.margin < demands.margin {
        return suspicious(shape, Reason::Bounded);
    }
    if last - contest.unbounded.since < demands.confirm_h - 0.3 {
        return suspicious(shape, Reason::TooShort);
    }
    if contest.unbounded.slope < demands.min_slope {
        return suspicious(shape, Reason::TooSlow);
    }
    let since = contest.unbounded.since.max(last - 24.0);
    let Some(rise) = window(since) else { return suspicious(shape, Reason::TooFew) };
    if day {
        let more = yesterday(&levels, last);
        // A leak that is younger than a day has added its growth since it began.
        let hours = (last - contest.unbounded.since).min(24.0);
        if more.is_none_or(|more| more < 0.5 * demands.min_slope * hours) {
            return suspicious(shape, Reason::Yesterday);
        }
    } else if !rises(&rise) && !windows.iter().any(|window| last - window.since >= demands.confirm_h - 0.3 && rises(window)) {
        return suspicious(shape, Reason::Wanes);
    }
    // The curve knows its growth now; how sure that is, the interval about the line says.
    let leaking = say(Grade::Leaking, &rise, shape, Reason::Unbounded);
    let Curve { slope, base, .. } = contest.unbounded;
    let base = if base > 1.0 { base } else { 100.0 };
    let of_base = |slope: f64| slope * 100.0 / base;
    let shift = slope - leaking.slope;
    Look { slope: of_base(slope), low: of_base(leaking.low + shift), high: of_base(leaking.high + shift), base, ..leaking }
}

fn window(levels: &[(f64, f64)], from: f64) -> Option<Window> {
    let inside = &levels[levels.partition_point(|(hour, _)| *hour < from)..];
    let (first, last) = (inside.first()?.0, inside.last()?.0);
    let trend = mann_kendall(inside)?;
    let line = theil_sen(inside, Q95 * trend.deviation)?;
    let third = (last - first) / 3.0;
    let part = |from: f64, to: f64| {
        let part = &inside[inside.partition_point(|(hour, _)| *hour < from)..inside.partition_point(|(hour, _)| *hour <= to)];
        theil_sen(part, 0.0).map(|line| line.slope)
    };
    let end = part(last - third, last)?;
    Some(Window { since: first, trend, wanes: end < STILL * line.slope, line })
}

/// By how much memory is above the same time yesterday over the last three hours, in the median; percent of the baseline.
fn yesterday(levels: &[(f64, f64)], last: f64) -> Option<f64> {
    let recent = &levels[levels.partition_point(|(hour, _)| *hour < last - 3.0)..];
    let mut more: Vec<f64> = recent
        .iter()
        .filter_map(|(hour, level)| {
            let then = levels.partition_point(|(before, _)| *before < hour - 24.0 - 0.13);
            levels.get(then).filter(|(before, _)| (before - hour + 24.0).abs() < 0.3).map(|(_, before)| level - before)
        })
        .collect();
    (more.len() >= 4).then(|| median(&mut more))
}
