//! The floors of a process: the least memory in every quarter of an hour.
//!
//! What a runtime has allocated and not yet collected rises and falls within minutes; the least memory of a quarter of an hour is what
//! was left after collection. Two days of floors are kept in single precision (six digits are more than memory is known to), 16 bytes
//! each; peaks and first samples of the last two hours only.

use homeostat_schemas::{Ms, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The length of a floor.
pub(super) const QUARTER: Ms = 15 * 60_000;
/// How many are kept: two days.
pub(super) const KEPT: usize = 192;
/// Of how many the details are kept: two hours.
const DETAILED: usize = 8;

/// A quarter of an hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Floor {
    /// Which one since the first sample.
    pub index: u32,
    least: f32,
    /// Mean of the loads that were reported.
    load: f32,
    loads: u16,
}

impl Floor {
    /// Least memory, bytes.
    pub(super) fn least(&self) -> f64 {
        self.least.into()
    }

    /// Mean load, when any was reported.
    pub(super) fn load(&self) -> Option<f64> {
        (self.loads > 0).then(|| self.load.into())
    }
}

/// What is known of a quarter of an hour that is not long past.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Detail {
    index: u32,
    /// Most memory, bytes.
    pub most: f64,
    /// The first sample's time and memory.
    pub first: (UnixMs, f64),
}

/// The floors of one life, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Floors {
    kept: VecDeque<Floor>,
    details: VecDeque<Detail>,
}

impl Floors {
    /// Adds a sample; one that is older than everything kept is dropped: `false`.
    pub(super) fn add(&mut self, index: u32, at_ms: UnixMs, memory: f64, load: Option<f64>) -> bool {
        let newest = self.newest().map_or(index, |newest| newest.max(index));
        if newest - index >= KEPT as u32 {
            return false;
        }
        let place = self.kept.partition_point(|floor| floor.index < index);
        if self.kept.get(place).is_none_or(|floor| floor.index != index) {
            self.kept.insert(place, Floor { index, least: f32::MAX, load: 0.0, loads: 0 });
        }
        if let Some(floor) = self.kept.get_mut(place) {
            floor.add(memory, load);
        }
        while self.kept.front().is_some_and(|oldest| newest - oldest.index >= KEPT as u32) {
            self.kept.pop_front();
        }
        self.detail(index, at_ms, memory);
        true
    }

    fn detail(&mut self, index: u32, at_ms: UnixMs, memory: f64) {
        let place = self.details.partition_point(|detail| detail.index < index);
        match self.details.get_mut(place).filter(|detail| detail.index == index) {
            Some(detail) => {
                detail.most = detail.most.max(memory);
                if at_ms < detail.first.0 {
                    detail.first = (at_ms, memory);
                }
            }
            None => self.details.insert(place, Detail { index, most: memory, first: (at_ms, memory) }),
        }
        while self.details.len() > DETAILED {
            self.details.pop_front();
        }
    }

    pub(super) fn newest(&self) -> Option<u32> {
        self.kept.back().map(|floor| floor.index)
    }

    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Floor> {
        self.kept.iter()
    }

    /// The last two hours or so, the oldest first.
    pub(super) fn details(&self) -> impl DoubleEndedIterator<Item = &Detail> {
        self.details.iter()
    }

    /// Those that are over when a sample of this quarter arrives.
    pub(super) fn closed(&self, index: u32) -> impl DoubleEndedIterator<Item = &Floor> {
        self.kept.iter().take(self.kept.partition_point(|floor| floor.index < index))
    }
}

impl Floor {
    /// Values beyond single precision are the largest there are.
    #[allow(clippy::cast_possible_truncation)]
    fn add(&mut self, memory: f64, load: Option<f64>) {
        let single = |value: f64| (value as f32).clamp(f32::MIN, f32::MAX);
        self.least = self.least.min(single(memory)).max(f32::MIN_POSITIVE);
        if let Some(load) = load {
            self.loads = self.loads.saturating_add(1);
            self.load += (single(load) - self.load) / f32::from(self.loads);
        }
    }
}
