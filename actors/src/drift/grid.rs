//! The cells of a feature: frozen edges, to which every value is assigned in one binary search.
//!
//! Edges are kept as 32-bit numbers after one fixed, monotone map of the value (`(value − centre) · factor`). Baseline and current
//! values go through the same map, so both are counted in the same cells exactly; two values share a cell although an edge lies
//! between them only if they differ by less than 2⁻²⁴ of the baseline's range.

use super::evidence::{Kind, Odd};
use crate::stats::psi;
use serde::{Deserialize, Serialize};

/// Counts behind the cells: what is none of the feature's kind (the fields of [`Odd`], in order).
pub(super) const ODD: usize = 5;
/// Most cells a grid may have, for a baseline from outside too.
const CELLS_MAX: usize = 1_100;
/// Longest level that is told from others, in bytes.
pub(super) const LEVEL_MAX: usize = 64;

/// Where values go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Grid {
    kind: Kind,
    /// Subtracted from a number before it is compared.
    centre: f64,
    /// Multiplied with it then; a power of two.
    factor: f64,
    /// Upper edges of the cells in ascending order; the last cell is open.
    edges: Vec<f32>,
    /// The levels of a category in ascending order, a cell each.
    levels: Vec<String>,
    /// Cells before which a bin of PSI ends, ascending; none for categories, whose levels are bins.
    ends: Vec<u16>,
}

/// Where a value goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Cell(usize),
    Missing,
    Nan,
    NegativeInfinity,
    PositiveInfinity,
    Unseen,
}

/// A bin ends before the cell `end`; the last cell of it is a bin of its own when one heavy value fills it.
fn end_bin(ends: &mut Vec<u16>, end: u16, heavy: bool) {
    for end in [end.saturating_sub(1), end].into_iter().skip(usize::from(!heavy)) {
        if end > 0 && ends.last().is_none_or(|last| *last < end) {
            ends.push(end);
        }
    }
}

impl Grid {
    /// The cells of numbers in ascending order, about `cells` of them; values that repeat have cells of their own, and so have those
    /// below the least and above the largest one. `None` without numbers.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn numbers(sorted: &[f64], cells: u32) -> Option<Grid> {
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let cells = cells.clamp(20, 500) as usize;
        let n = sorted.len();
        let deciles = psi::edges(sorted, psi::TEXTBOOK_BINS);
        let mut edges = deciles.clone();
        for k in 1..cells {
            let place = (k * n).div_ceil(cells).clamp(1, n) - 1;
            edges.push(sorted[place]);
            // A value that fills a cell by itself begins one, too.
            if k % 2 == 0 && sorted[place.saturating_sub(n / cells)] == sorted[place] {
                let before = sorted.partition_point(|x| *x < sorted[place]);
                if let Some(before) = before.checked_sub(1) {
                    edges.push(sorted[before]);
                }
            }
        }
        edges.push(first);
        edges.push(last);
        edges.sort_unstable_by(f64::total_cmp);
        edges.dedup();
        let (centre, factor) = map(&edges);
        let mut grid = Grid { kind: Kind::Number, centre, factor, ..Grid::default() };
        grid.edges = edges.iter().map(|edge| grid.mapped(*edge)).collect();
        let least = grid.mapped(first).next_down();
        grid.edges.insert(0, least);
        grid.edges.dedup();
        grid.edges.shrink_to_fit();
        let end = |decile: &f64| u16::try_from(grid.cell(*decile) + 1).unwrap_or(u16::MAX);
        let mut ends = Vec::new();
        for decile in &deciles {
            let heavy = sorted.partition_point(|x| x <= decile) - sorted.partition_point(|x| x < decile);
            end_bin(&mut ends, end(decile), psi::is_heavy(heavy as u64, n as u64));
        }
        ends.shrink_to_fit();
        Some(Grid { ends, ..grid })
    }

    /// A cell a level, for at most `max` of them: those with the largest counts.
    pub(super) fn levels<'a>(counts: impl Iterator<Item = (&'a String, &'a u64)>, max: usize) -> Grid {
        let mut all: Vec<(&String, &u64)> = counts.collect();
        all.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        let mut levels: Vec<String> = all.into_iter().take(max.clamp(1, CELLS_MAX)).map(|(level, _)| level.clone()).collect();
        levels.sort_unstable();
        Grid { kind: Kind::Category, levels, ..Grid::default() }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// How many cells there are, odd ones not counted.
    pub(super) fn cells(&self) -> usize {
        match self.kind {
            Kind::Number => self.edges.len() + 1,
            Kind::Category => self.levels.len(),
        }
    }

    /// Length of the counts.
    pub(super) fn len(&self) -> usize {
        self.cells() + ODD
    }

    /// Bins of PSI.
    pub(super) fn bins(&self) -> usize {
        match self.kind {
            Kind::Number => self.ends.len() + 1,
            Kind::Category => self.levels.len(),
        }
    }

    #[allow(clippy::cast_possible_truncation)] // that is the map
    fn mapped(&self, value: f64) -> f32 {
        ((value - self.centre) * self.factor) as f32
    }

    fn cell(&self, value: f64) -> usize {
        let value = self.mapped(value);
        self.edges.partition_point(|edge| *edge < value)
    }

    pub(super) fn number(&self, value: f64) -> Place {
        if !value.is_finite() {
            return match (value.is_nan(), value > 0.0) {
                (true, _) => Place::Nan,
                (false, true) => Place::PositiveInfinity,
                (false, false) => Place::NegativeInfinity,
            };
        }
        if self.kind == Kind::Number { Place::Cell(self.cell(value)) } else { Place::Unseen }
    }

    pub(super) fn level(&self, level: &str) -> Place {
        match self.levels.binary_search_by(|known| known.as_str().cmp(level)) {
            Ok(cell) if self.kind == Kind::Category => Place::Cell(cell),
            _ => Place::Unseen,
        }
    }

    /// The index of a place among the counts.
    pub(super) fn index(&self, place: Place) -> usize {
        let cells = self.cells();
        match place {
            Place::Cell(cell) => cell,
            Place::Missing => cells,
            Place::Nan => cells + 1,
            Place::NegativeInfinity => cells + 2,
            Place::PositiveInfinity => cells + 3,
            Place::Unseen => cells + 4,
        }
    }

    /// What of the counts is odd.
    pub(super) fn odd(&self, counts: &super::counts::Counts) -> Odd {
        let cells = self.cells();
        Odd {
            missing: counts.get(cells),
            nan: counts.get(cells + 1),
            negative_infinity: counts.get(cells + 2),
            positive_infinity: counts.get(cells + 3),
            unseen: counts.get(cells + 4),
        }
    }

    /// Counts of cells, summed into the bins of PSI.
    pub(super) fn binned(&self, counts: &super::counts::Counts) -> Vec<u64> {
        match self.kind {
            Kind::Category => counts.iter().take(self.bins()).collect(),
            Kind::Number => {
                let ends = self.ends.iter().map(|end| usize::from(*end)).chain([self.cells()]);
                let mut from = 0;
                ends.map(|end| counts.sum(std::mem::replace(&mut from, end), end)).collect()
            }
        }
    }

    /// Puts the ends of the bins where the deciles of these counts are: the first cell at which a tenth, two tenths, … are reached
    /// (or missed by a five hundredth, for cells are not finer than that).
    pub(super) fn rebin(&mut self, counts: &super::counts::Counts) {
        if self.kind == Kind::Category {
            return;
        }
        let all = counts.sum(0, self.cells());
        let mut ends = Vec::new();
        let (mut sum, mut next) = (0_u64, 1_u64);
        for (cell, count) in counts.iter().take(self.cells().saturating_sub(1)).enumerate() {
            sum = sum.saturating_add(count);
            let reached = |k: u64| u128::from(sum) * 500 + u128::from(all) >= u128::from(all) * u128::from(k) * 50;
            if count > 0 && next < 10 && reached(next) {
                end_bin(&mut ends, u16::try_from(cell + 1).unwrap_or(u16::MAX), psi::is_heavy(count, all));
                while next < 10 && reached(next) {
                    next += 1;
                }
            }
        }
        self.ends = ends;
    }

    /// The largest share of these counts in one cell between the least and the largest edge, or outside of them: near 1 when the grid
    /// does not suit the values.
    pub(super) fn outside(&self, counts: &super::counts::Counts) -> f64 {
        let cells = self.cells();
        let all = counts.sum(0, cells);
        let out = match self.kind {
            Kind::Number => counts.get(0).saturating_add(counts.get(cells.saturating_sub(1))),
            Kind::Category => 0,
        };
        if all == 0 { 0.0 } else { crate::stats::real(out) / crate::stats::real(all) }
    }

    /// Is a grid from outside one that can be used?
    pub(super) fn fault(&self) -> Option<&'static str> {
        let ascending = |values: &[f32]| values.windows(2).all(|pair| pair[0] < pair[1]) && values.iter().all(|x| x.is_finite());
        let cells = self.cells();
        match self.kind {
            Kind::Number if self.edges.is_empty() || self.edges.len() > CELLS_MAX => Some("edges: 1 to 1100"),
            Kind::Number if !ascending(&self.edges) => Some("edges: finite and ascending"),
            Kind::Number if !self.centre.is_finite() || !self.factor.is_normal() || self.factor <= 0.0 => {
                Some("centre and factor: finite, factor above 0")
            }
            Kind::Number
                if self.ends.windows(2).any(|pair| pair[0] >= pair[1])
                    || self.ends.iter().any(|end| *end == 0 || usize::from(*end) >= cells)
                    || self.ends.len() > 100 =>
            {
                Some("ends: ascending, within the cells")
            }
            Kind::Category if self.levels.is_empty() || self.levels.len() > CELLS_MAX => Some("levels: 1 to 1100"),
            Kind::Category if self.levels.windows(2).any(|pair| pair[0] >= pair[1]) => Some("levels: ascending, each once"),
            Kind::Category if self.levels.iter().any(|level| level.len() > LEVEL_MAX) => Some("levels: at most 64 bytes each"),
            _ => None,
        }
    }

    /// The bins as people read them: upper edges, the last open (`null`), or levels.
    pub(super) fn labels(&self) -> Vec<String> {
        match self.kind {
            Kind::Category => self.levels.clone(),
            Kind::Number => {
                let edge = |end: &u16| {
                    let mapped = self.edges.get(usize::from(*end).saturating_sub(1)).copied().unwrap_or(f32::INFINITY);
                    format!("≤ {}", f64::from(mapped) / self.factor + self.centre)
                };
                self.ends.iter().map(edge).chain(["more".to_owned()]).collect()
            }
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        4 * self.edges.capacity() + 2 * self.ends.capacity() + self.levels.iter().map(|l| l.capacity() + size_of::<String>()).sum::<usize>()
    }
}

/// The map under which no two edges become one, if there is such a map: none at all, or one round the middle.
#[allow(clippy::cast_possible_truncation)]
fn map(edges: &[f64]) -> (f64, f64) {
    let plain = edges.iter().all(|edge| edge.abs() < f64::from(f32::MAX) && (*edge == 0.0 || edge.abs() > f64::from(f32::MIN_POSITIVE)))
        && edges
            .windows(2)
            .all(|pair| (pair[0] as f32) < (pair[1] as f32) && pair[1] - pair[0] > 1e-5 * pair[0].abs().max(pair[1].abs()) * 1e-2);
    if plain {
        return (0.0, 1.0);
    }
    let (first, last) = (edges.first().copied().unwrap_or(0.0), edges.last().copied().unwrap_or(0.0));
    let centre = edges[edges.len() / 2];
    let range = (last - first).clamp(1e-300, 1e300);
    (centre, (-range.log2().floor()).exp2().clamp(1e-300, 1e300))
}

#[cfg(test)]
#[allow(clippy::float_cmp)]
mod tests {
    use super::super::counts::Counts;
    use super::*;
    use proptest::prelude::*;

    fn counted(grid: &Grid, values: &[f64]) -> Counts {
        let mut counts = Counts::new(grid.len());
        values.iter().for_each(|value| counts.count(grid.index(grid.number(*value))));
        counts
    }

    proptest! {
        #[test]
        fn bins_are_those_of_the_textbook_with_heavy_values_apart(
            mut values in prop::collection::vec(prop::sample::select((-40..40).map(f64::from).collect::<Vec<_>>()), 1..300),
            scale in prop::sample::select(vec![1.0, 1e-7, 1e9]),
        ) {
            values.iter_mut().for_each(|value| *value *= scale);
            values.sort_by(f64::total_cmp);
            let mut grid = Grid::numbers(&values, 250).unwrap();
            prop_assert_eq!(grid.fault(), None);
            let counts = counted(&grid, &values);
            let textbook = psi::count(values.iter().copied(), &psi::edges_apart(&values, 10));
            // An edge that rounding put beside a value, and not on it, is no edge between two values.
            let deciles = psi::edges(&values, 10);
            let beside = |edge: &f64| values.iter().any(|x| x != edge && (x - edge).abs() < 1e-5 * scale);
            if !deciles.iter().any(beside) {
                prop_assert_eq!(grid.binned(&counts), textbook);
            }
            prop_assert_eq!(grid.outside(&counts), 0.0);
            grid.rebin(&counts);
            prop_assert_eq!(grid.fault(), None);
            prop_assert_eq!(grid.binned(&counts).iter().sum::<u64>(), values.len() as u64);
        }

        #[test]
        fn every_number_has_one_place(values in prop::collection::vec(any::<f64>(), 1..80), other in any::<f64>()) {
            let mut sorted: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
            sorted.sort_by(f64::total_cmp);
            if let Some(grid) = Grid::numbers(&sorted, 100) {
                prop_assert!(grid.index(grid.number(other)) < grid.len());
                prop_assert_eq!(grid.fault(), None);
            }
        }
    }

    #[test]
    fn values_far_from_zero_keep_their_shape() {
        let values: Vec<f64> = (0..1000).map(|i| 1e12 + f64::from(i)).collect();
        let grid = Grid::numbers(&values, 250).unwrap();
        let bins = grid.binned(&counted(&grid, &values));
        assert_eq!(bins, [100; 10]);
        assert_eq!(grid.number(f64::NAN), Place::Nan);
        assert_eq!(grid.level("x"), Place::Unseen);
    }

    #[test]
    fn only_the_commonest_levels_have_cells() {
        let counts = std::collections::BTreeMap::from([("a".to_owned(), 5), ("b".to_owned(), 1), ("c".to_owned(), 9)]);
        let grid = Grid::levels(counts.iter(), 2);
        assert_eq!((grid.level("a"), grid.level("b"), grid.level("c")), (Place::Cell(0), Place::Unseen, Place::Cell(1)));
        assert_eq!(grid.number(1.0), Place::Unseen);
    }
}
