//! The shape of growth: do curves without a bound explain it, or curves with one?
//!
//! A process that warms up, a cache that fills, a heap that fragments and the rise of a day all grow for hours like a leak. What tells
//! them apart is how they go on, and how they began. So curves of both families are fitted to everything that is known of a process's
//! life, and the best of each compared.
//!
//! | no bound | | a bound | |
//! |---|---|---|---|
//! | line | `a + b t` | nothing | `a` |
//! | late | `a + b (t − t₀)⁺` | filled | `a + b min(t, t₁)` |
//! | faster and faster | `a + b t + c t²` | ramp | `a + b clamp(t, t₀, t₁)` |
//! | after warm-up | `a − c e^(−t/τ) + b t` | saturating | `a − c e^(−t/τ)` |
//! | | | ever slower | `a + c ln(1 + t/τ)` |
//! | | | a day | `a + c cos ωt + s sin ωt`, ω = 2π / 24 h |
//!
//! Once a day and three hours are known, both families get two harmonics of the day on top, for then it can be told from growth.
//! Curves are fitted by least squares and compared by the Bayesian information criterion (Schwarz 1978),
//! `n′ ln(RSS/n) + k ln n′`, with the number of independent points n′ = n (1−ρ)/(1+ρ) in place of n: neighbours resemble each other.
//! Deviation from the criterion: a curve's position in time or time constant counts as one parameter though it is searched on a grid.

use crate::stats::mann_kendall::lag_one;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A curve that memory may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// It stays.
    Constant,
    /// It grows steadily.
    Line,
    /// It grows ever faster.
    Accelerating,
    /// It grows steadily since some time.
    Late,
    /// It fills up.
    Filled,
    /// It grows steadily after its warm-up.
    AfterWarmUp,
    /// It levels off.
    Saturating,
    /// It grows ever slower.
    Logarithmic,
    /// It rises once.
    Ramp,
    /// It follows the day.
    Day,
}

/// The best curve of a family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Curve {
    /// Which.
    pub shape: Shape,
    /// Its growth at the end, units of y an hour.
    pub slope: f64,
    /// When its growth began, hours.
    pub since: f64,
    /// The level from which its growth starts: what there was without it.
    pub base: f64,
    /// Its score: less is better.
    pub score: f64,
}

/// What came out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Contest {
    /// The best curve without a bound.
    pub unbounded: Curve,
    /// The best curve with one.
    pub bounded: Curve,
    /// By how much the criterion prefers the former.
    pub margin: f64,
}

/// Most columns of a fit: constant, two of growth, four of the day.
const COLUMNS: usize = 7;
const DAY_H: f64 = 24.0;
/// Younger than this, hours, a process was seen from its beginning.
const SEEN_YOUNG_H: f64 = 3.0;

/// Compares the families on points `(hours since the process started, level)` in order of time. `day` adds the harmonics of the day
/// to all curves. `None` with too few points, or if no curve without a bound grows.
#[must_use]
pub(super) fn contest(points: &[(f64, f64)], day: bool) -> Option<Contest> {
    let (first, last) = (points.first()?.0, points.last()?.0);
    if points.len() < 12 || last - first < 2.0 {
        return None;
    }
    let mut field = Field { points, day, fits: Vec::new() };
    let step = ((last - first) / 24.0).max(0.5);
    let grid = || std::iter::successors(Some(first + step), move |at| Some(at + step)).take_while(move |at| *at < last - 0.9).take(64);

    field.fit(Shape::Constant, false, 0, first, &[], |_| true);
    field.fit(Shape::Line, true, 0, first, &[&|t| t], |b| b[0] > 0.0);
    field.fit(Shape::Accelerating, true, 0, first, &[&|t| t, &|t| (t - first) * (t - first)], |b| b[0] > 0.0 && b[1] > 0.0);
    for late in grid() {
        field.fit(Shape::Late, true, 1, late, &[&move |t| (t - late).max(0.0)], |b| b[0] > 0.0);
        field.fit(Shape::Filled, false, 1, first, &[&move |t| t.min(late)], |b| b[0] > 0.0);
    }
    for tau in [0.25, 0.5, 0.75, 1.0, 1.5] {
        field.fit(Shape::AfterWarmUp, true, 1, first, &[&|t| t, &move |t| -(-t / tau).exp()], |b| b[0] > 0.0 && b[1] > 0.0);
    }
    for tau in [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0] {
        field.fit(Shape::Saturating, false, 1, first, &[&move |t| -(-t / tau).exp()], |b| b[0] > 0.0);
    }
    // A process that has run for long is past all logarithms that rise by much.
    for tau in [0.1, 0.3, 0.6, 1.0, 2.0].into_iter().filter(|_| first < DAY_H) {
        field.fit(Shape::Logarithmic, false, 1, first, &[&move |t| (t / tau).ln_1p()], |b| b[0] > 0.0);
    }
    let wide: Vec<f64> = grid().step_by(2).collect();
    for (index, &from) in wide.iter().enumerate() {
        for &to in &wide[index + 1..] {
            field.fit(Shape::Ramp, false, 2, from, &[&move |t| t.clamp(from, to)], |b| b[0] > 0.0);
        }
    }
    if !day {
        let turn = std::f64::consts::TAU / DAY_H;
        field.fit(Shape::Day, false, 0, first, &[&move |t| (turn * t).cos(), &move |t| (turn * t).sin()], |_| true);
    }
    field.result()
}

struct Fit {
    shape: Shape,
    unbounded: bool,
    parameters: usize,
    since: f64,
    slope: f64,
    base: f64,
    rss: f64,
}

struct Field<'a> {
    points: &'a [(f64, f64)],
    day: bool,
    fits: Vec<Fit>,
}

type Basis<'a> = &'a dyn Fn(f64) -> f64;

impl Field<'_> {
    /// Fits `a + Σ bᵢ fᵢ(t)`; `fits` says whether the coefficients b are such as the curve has.
    fn fit(&mut self, shape: Shape, unbounded: bool, searched: usize, since: f64, basis: &[Basis<'_>], fits: impl Fn(&[f64]) -> bool) {
        let Some((coefficients, rss)) = least_squares(self.points, basis, self.day) else { return };
        let growth = &coefficients[1..=basis.len()];
        if !fits(growth) {
            return;
        }
        let last = self.points.last().map_or(0.0, |point| point.0);
        let at = |t: f64| basis.iter().zip(growth).map(|(f, b)| b * f(t)).sum::<f64>();
        self.fits.push(Fit {
            shape,
            unbounded,
            parameters: 1 + basis.len() + searched + if self.day { 4 } else { 0 },
            since,
            slope: (at(last) - at(last - 0.5)) / 0.5,
            // A process that was young when it was first seen has grown since it started, an old one since then.
            base: coefficients[0] + if since < SEEN_YOUNG_H || matches!(shape, Shape::Late) { 0.0 } else { at(since) },
            rss,
        });
    }

    #[allow(clippy::cast_precision_loss)]
    fn result(self) -> Option<Contest> {
        let n = self.points.len() as f64;
        // How much neighbours resemble each other is read off what no curve explains: differences do not know of curves. For an
        // autoregressive process of first order, var(y₂−y₀) / var(y₁−y₀) = 1 + ρ.
        let rho = neighbours(self.points);
        let independent = (n * (1.0 - rho) / (1.0 + rho)).max(4.0);
        let level = self.points.iter().map(|(_, y)| y.abs()).fold(1e-9, f64::max);
        let floor = (1e-9 * level) * (1e-9 * level);
        let score = |fit: &Fit| independent * (fit.rss / n).max(floor).ln() + fit.parameters as f64 * independent.ln();
        let best = |unbounded: bool| {
            let fits = self.fits.iter().filter(|fit| fit.unbounded == unbounded);
            let fit = fits.min_by(|a, b| score(a).total_cmp(&score(b)))?;
            Some(Curve { shape: fit.shape, slope: fit.slope, since: fit.since, base: fit.base, score: score(fit) })
        };
        let (unbounded, bounded) = (best(true)?, best(false)?);
        Some(Contest { unbounded, bounded, margin: bounded.score - unbounded.score })
    }
}

/// The correlation of neighbours about a slow curve, 0 to 0.9: lag-1 correlation of what is left about the mean of a few points on
/// either side.
fn neighbours(points: &[(f64, f64)]) -> f64 {
    let around = 6;
    let rests: Vec<f64> = (0..points.len())
        .map(|index| {
            let (from, to) = (index.saturating_sub(around), (index + around + 1).min(points.len()));
            let near = &points[from..to];
            near_line(near, points[index].0).map_or(0.0, |fit| points[index].1 - fit)
        })
        .collect();
    lag_one(&rests).min(0.9)
}

/// The value at `x` of the least-squares line through points.
#[allow(clippy::cast_precision_loss)]
fn near_line(points: &[(f64, f64)], x: f64) -> Option<f64> {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let (mut xx, mut xy) = (0.0, 0.0);
    for (px, py) in points {
        xx += (px - mx) * (px - mx);
        xy += (px - mx) * (py - my);
    }
    (xx > 0.0).then(|| my + xy / xx * (x - mx))
}

/// Least squares of y on a constant, the basis and, if wanted, two harmonics of the day, by the normal equations of centred and
/// scaled columns. Returns the coefficients and the sum of squared residuals; `None` if the columns depend on each other.
fn least_squares(points: &[(f64, f64)], basis: &[Basis<'_>], day: bool) -> Option<([f64; COLUMNS], f64)> {
    let turn = std::f64::consts::TAU / DAY_H;
    let columns = 1 + basis.len() + if day { 4 } else { 0 };
    let row = |t: f64| {
        let mut row = [0.0; COLUMNS];
        row[0] = 1.0;
        for (place, f) in row[1..].iter_mut().zip(basis) {
            *place = f(t);
        }
        if day {
            let rest = &mut row[1 + basis.len()..];
            (rest[0], rest[1]) = ((turn * t).cos(), (turn * t).sin());
            (rest[2], rest[3]) = ((2.0 * turn * t).cos(), (2.0 * turn * t).sin());
        }
        row
    };
    solve(points.iter().map(|(t, y)| (row(*t), *y)), columns)
}

/// Least squares by modified Cholesky on centred, scaled columns; the first column is the constant.
#[allow(clippy::cast_precision_loss, clippy::needless_range_loop)]
pub(super) fn solve<const K: usize>(rows: impl Iterator<Item = ([f64; K], f64)> + Clone, columns: usize) -> Option<([f64; K], f64)> {
    let mut count = 0.0;
    let (mut mean, mut my) = ([0.0; K], 0.0);
    for (row, y) in rows.clone() {
        count += 1.0;
        for column in 1..columns {
            mean[column] += row[column];
        }
        my += y;
    }
    if count < columns as f64 + 2.0 {
        return None;
    }
    mean[1..columns].iter_mut().for_each(|m| *m /= count);
    my /= count;
    let (mut gram, mut right, mut total) = ([[0.0; K]; K], [0.0; K], 0.0);
    for (row, y) in rows {
        let y = y - my;
        total += y * y;
        for i in 1..columns {
            let xi = row[i] - mean[i];
            right[i] += xi * y;
            for j in 1..=i {
                gram[i][j] += xi * (row[j] - mean[j]);
            }
        }
    }
    let mut scale = [0.0; K];
    for i in 1..columns {
        scale[i] = gram[i][i].sqrt();
        if scale[i].is_nan() || scale[i] <= 0.0 {
            return None;
        }
    }
    // Cholesky of the correlation matrix.
    let mut lower = [[0.0; K]; K];
    for i in 1..columns {
        for j in 1..=i {
            let mut sum = gram[i][j] / (scale[i] * scale[j]);
            for k in 1..j {
                sum -= lower[i][k] * lower[j][k];
            }
            if i == j {
                if sum <= 1e-8 {
                    return None;
                }
                lower[i][i] = sum.sqrt();
            } else {
                lower[i][j] = sum / lower[j][j];
            }
        }
    }
    let (mut z, mut beta) = ([0.0; K], [0.0; K]);
    let mut explained = 0.0;
    for i in 1..columns {
        let mut sum = right[i] / scale[i];
        for k in 1..i {
            sum -= lower[i][k] * z[k];
        }
        z[i] = sum / lower[i][i];
        explained += z[i] * z[i];
    }
    for i in (1..columns).rev() {
        let mut sum = z[i];
        for k in i + 1..columns {
            sum -= lower[k][i] * beta[k];
        }
        beta[i] = sum / lower[i][i];
    }
    for i in 1..columns {
        beta[i] /= scale[i];
    }
    beta[0] = my - (1..columns).map(|i| beta[i] * mean[i]).sum::<f64>();
    Some((beta, (total - explained).max(0.0)))
}
