//! The distribution of the one-sample Kolmogorov–Smirnov statistic, by the best method for each part of the plane: the selection
//! of Simard and L'Ecuyer (2011, "Computing the two-sided Kolmogorov–Smirnov distribution", J. Stat. Softw. 39(11)) with the
//! limits that SciPy 1.14 uses (`scipy.stats._ksstats._kolmogn`), so that figures can be compared with it to the last digits.
//!
//! Deviation: where SciPy takes Pomeranz's recursion, the matrix of Marsaglia, Tsang and Wang is taken, which is as exact.

use super::real;
use std::f64::consts::PI;

/// Above this size Smirnov's sum is replaced by its expansion, as in SciPy (cephes).
const SMIRNOV_SUM_MAX: u64 = 1_000_000;

/// P(Dₙ ≥ d) for the two-sided statistic of `n` values of a continuous distribution. 1 when `n` is 0: nothing was seen.
#[must_use]
pub fn survival(n: u64, d: f64) -> f64 {
    beyond(n, d, |n, size, d| n <= 140 || (n <= 100_000 && size * d.powf(1.5) <= 1.4))
}

/// The same within 10⁻⁴, and a tenth of the time for some hundred values: the matrix gives way to the expansion from 32 values on.
#[must_use]
pub fn survival_fast(n: u64, d: f64) -> f64 {
    beyond(n, d, |n, _, _| n < 32)
}

/// `by_matrix` says where the matrix is taken, and not the expansion.
fn beyond(n: u64, d: f64, by_matrix: impl FnOnce(u64, f64, f64) -> bool) -> f64 {
    if n == 0 || d.is_nan() || d <= 0.0 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    let size = real(n);
    let t = size * d;
    if t <= 1.0 {
        // Ruben, Gambino 1982: n! · ((2t − 1)/n)ⁿ
        if t <= 0.5 {
            return 1.0;
        }
        let log = statrs::function::gamma::ln_gamma(size + 1.0) + size * ((2.0 * t - 1.0) / size).ln();
        return 1.0 - log.exp();
    }
    if t >= size - 1.0 {
        return (2.0 * (size * (-d).ln_1p()).exp()).min(1.0);
    }
    let square = t * d;
    if d >= 0.5 || (n <= 140 && square > 4.0) || (n > 140 && square >= 2.2) {
        // Miller 1956: both sides are hardly ever exceeded together.
        return if n > 140 && square >= 370.0 { 0.0 } else { (2.0 * smirnov(n, d)).min(1.0) };
    }
    let below = if by_matrix(n, size, d) { durbin(n, d) } else { pelz_good(n, d) };
    (1.0 - below).clamp(0.0, 1.0)
}

/// P(Dₙ⁺ ≥ d) for the one-sided statistic: Smirnov's sum d · Σⱼ C(n, j) (d + j/n)^(j−1) (1 − d − j/n)^(n−j), j ≤ n(1 − d)
/// (Birnbaum, Tingey 1951). Every term is positive and written as a binomial probability, so that none loses digits (Loader 2000).
/// Above a million values exp(−(6nd + 1)² / 18n) (Maag, Dicaire 1971).
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn smirnov(n: u64, d: f64) -> f64 {
    if d.is_nan() || d <= 0.0 || n == 0 {
        return 1.0;
    }
    if d >= 1.0 {
        return 0.0;
    }
    let size = real(n);
    if n > SMIRNOV_SUM_MAX {
        let root = 6.0 * size * d + 1.0;
        return (-root * root / (18.0 * size)).exp();
    }
    let last = (size * (1.0 - d)).floor() as u64;
    let mut sum = 0.0;
    for j in 0..=last.min(n) {
        let p = d + real(j) / size;
        if p < 1.0 {
            sum += binomial(j, n, p) / p;
        }
    }
    (d * sum).min(1.0)
}

/// The probability of `k` successes in `n` trials of probability `p`, by the saddle point (Loader 2000, "Fast and accurate
/// computation of binomial probabilities").
fn binomial(k: u64, n: u64, p: f64) -> f64 {
    let (size, x) = (real(n), real(k));
    if k == 0 {
        return (size * (-p).ln_1p()).exp();
    }
    if k == n {
        return (size * p.ln()).exp();
    }
    let rest = size - x;
    let log = stirling_error(n) - stirling_error(k) - stirling_error(n - k) - deviance(x, size * p) - deviance(rest, size * (1.0 - p));
    (size / (std::f64::consts::TAU * x * rest)).sqrt() * log.exp()
}

/// ln(n!) less Stirling's formula.
fn stirling_error(n: u64) -> f64 {
    let x = real(n);
    if n < 16 {
        let factorial = (2..=n).fold(1.0, |product, k| product * real(k));
        return f64::ln(factorial) - (0.5 * (std::f64::consts::TAU * x).ln() + x * x.ln() - x);
    }
    let square = x * x;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / square) / square) / square) / square) / x
}

/// x·ln(x/np) + np − x, without cancellation where x is near np.
fn deviance(x: f64, np: f64) -> f64 {
    if (x - np).abs() < 0.1 * (x + np) {
        let v = (x - np) / (x + np);
        let mut sum = (x - np) * v;
        let mut term = 2.0 * x * v;
        for j in 1_u32..1000 {
            term *= v * v;
            let next = sum + term / f64::from(2 * j + 1);
            if (next - sum).abs() <= f64::EPSILON * 0.25 * sum.abs() {
                return next;
            }
            sum = next;
        }
        return sum;
    }
    x * (x / np).ln() + np - x
}

const SCALE: f64 = f64::from_bits(0x47f0_0000_0000_0000); // 2^128
const SCALE_LOG2: i32 = 128;

/// P(Dₙ ≤ d) by Durbin's matrix (Marsaglia, Tsang, Wang 2003, "Evaluating Kolmogorov's distribution", J. Stat. Softw. 8(18)).
/// The matrix has 2⌈nd⌉ − 1 rows.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn durbin(n: u64, d: f64) -> f64 {
    let size = real(n);
    let t = size * d;
    let k = t.ceil() as usize;
    let h = real(k as u64) - t;
    let m = 2 * k - 1;
    let power = |base: f64, exponent: usize| base.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    let mut inverse_factorial = vec![1.0; m + 2];
    for j in 1..m + 2 {
        inverse_factorial[j] = inverse_factorial[j - 1] / real(j as u64);
    }
    let mut matrix = vec![0.0; m * m];
    for row in 0..m {
        for column in 1..m {
            if row + 1 >= column {
                matrix[row * m + column] = inverse_factorial[row + 1 - column];
            }
        }
    }
    let edge = |j: usize| (1.0 - power(h, j)) * inverse_factorial[j];
    for row in 0..m {
        let value = if row + 1 == m {
            (1.0 + power((2.0 * h - 1.0).max(0.0), m) - 2.0 * power(h, m)) * inverse_factorial[m]
        } else {
            edge(row + 1)
        };
        matrix[row * m] = value;
    }
    for column in 1..m {
        matrix[(m - 1) * m + column] = edge(m - column);
    }
    // Squaring costs some 1.5·log₂(n)·m³ products, walking with one row n·m²/2: all that is wanted is one element of the power.
    let walks = n / 3 < u64::from(n.ilog2() + 1) * m as u64;
    let (mut p, mut exponent) = if walks { walk(&matrix, m, n) } else { middle_of_power(matrix, m, n) };
    for i in 1..=n {
        p = p * real(i) / size;
        if p < 1.0 / SCALE {
            p *= SCALE;
            exponent -= SCALE_LOG2;
        }
    }
    while exponent > 0 {
        p *= SCALE;
        exponent -= SCALE_LOG2;
    }
    while exponent < 0 && p > 0.0 {
        p /= SCALE;
        exponent += SCALE_LOG2;
    }
    p.clamp(0.0, 1.0)
}

/// The middle element of the n-th power, and the power of two (a multiple of 128) that it has to be multiplied by: one row times the
/// matrix, n times (Carvalho 2015, "An Improved Evaluation of Kolmogorov's Distribution", J. Stat. Softw. 65(3)). There is nothing to the
/// right of the first superdiagonal.
fn walk(matrix: &[f64], m: usize, n: u64) -> (f64, i32) {
    let (mut row, mut next) = (vec![0.0; m], vec![0.0; m]);
    row[m / 2] = 1.0;
    let mut exponent = 0;
    for _ in 0..n {
        next.fill(0.0);
        for (i, (factor, other)) in row.iter().zip(matrix.chunks_exact(m)).enumerate() {
            let reach = (i + 2).min(m);
            for (sum, x) in next[..reach].iter_mut().zip(&other[..reach]) {
                *sum += factor * x;
            }
        }
        std::mem::swap(&mut row, &mut next);
        if row[m / 2] > SCALE {
            row.iter_mut().for_each(|x| *x /= SCALE);
            exponent += SCALE_LOG2;
        }
    }
    (row[m / 2], exponent)
}

/// The same by squaring (Marsaglia, Tsang, Wang 2003).
fn middle_of_power(matrix: Vec<f64>, m: usize, n: u64) -> (f64, i32) {
    let (power, exponent) = raise(matrix, m, n);
    (power[(m / 2) * m + m / 2], exponent)
}

/// The n-th power of a square matrix of m rows, and the power of two (a multiple of 128) that it has to be multiplied by.
fn raise(mut base: Vec<f64>, m: usize, mut n: u64) -> (Vec<f64>, i32) {
    let mut result = vec![0.0; m * m];
    for i in 0..m {
        result[i * m + i] = 1.0;
    }
    let (mut result_exponent, mut base_exponent) = (0, 0);
    let middle = (m / 2) * m + m / 2;
    while n > 0 {
        if n % 2 == 1 {
            result = product(&result, &base, m);
            result_exponent += base_exponent;
            if result[middle] > SCALE {
                result.iter_mut().for_each(|x| *x /= SCALE);
                result_exponent += SCALE_LOG2;
            }
        }
        n /= 2;
        if n == 0 {
            break;
        }
        base = product(&base, &base, m);
        base_exponent *= 2;
        if base[middle] > SCALE {
            base.iter_mut().for_each(|x| *x /= SCALE);
            base_exponent += SCALE_LOG2;
        }
    }
    (result, result_exponent)
}

fn product(a: &[f64], b: &[f64], m: usize) -> Vec<f64> {
    let mut out = vec![0.0; m * m];
    for (row, into) in a.chunks_exact(m).zip(out.chunks_exact_mut(m)) {
        for (factor, other) in row.iter().zip(b.chunks_exact(m)) {
            if *factor != 0.0 {
                for (sum, x) in into.iter_mut().zip(other) {
                    *sum += factor * x;
                }
            }
        }
    }
    out
}

/// P(Dₙ ≤ d) by four terms in 1/√n (Pelz, Good 1976, "Approximating the lower tail-areas of the Kolmogorov–Smirnov one-sample
/// statistic").
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn pelz_good(n: u64, d: f64) -> f64 {
    let root = real(n).sqrt();
    let z = root * d;
    let (z2, z3, z4, z6) = (z * z, z * z * z, z.powi(4), z.powi(6));
    let (pi2, pi4, pi6) = (PI * PI, PI.powi(4), PI.powi(6));
    let log_q = -pi2 / 8.0 / z2;
    if log_q < -708.0 {
        return 0.0;
    }
    let q = log_q.exp();
    let k1 = (-z2, pi2 / 4.0);
    let k2 = (6.0 * z6 + 2.0 * z4, (2.0 * z4 - 5.0 * z2) * pi2 / 4.0, pi4 * (1.0 - 2.0 * z2) / 16.0);
    let k3 = (
        -30.0 * z6 - 90.0 * z.powi(8),
        pi2 * (135.0 * z4 - 96.0 * z6) / 4.0,
        pi4 * (-60.0 * z2 + 212.0 * z4) / 16.0,
        pi6 * (5.0 - 30.0 * z2) / 64.0,
    );
    let terms = (16.0 * z / PI).ceil() as u32;
    let mut k = [0.0_f64; 4];
    for i in (1..=terms).rev() {
        let m2 = f64::from(2 * i - 1).powi(2);
        let power = (log_q * f64::from(8 * i)).exp();
        let add = [1.0, k1.0 + k1.1 * m2, k2.0 + k2.1 * m2 + k2.2 * m2 * m2, k3.0 + k3.1 * m2 + k3.2 * m2 * m2 + k3.3 * m2.powi(3)];
        for (sum, add) in k.iter_mut().zip(add) {
            *sum = *sum * power + add;
        }
    }
    let root_tau = std::f64::consts::TAU.sqrt();
    for (sum, divisor) in k.iter_mut().zip([z, 6.0 * z4, 72.0 * z.powi(7), 6480.0 * z.powi(10)]) {
        *sum *= q * root_tau / divisor;
    }
    let (mut second, mut third) = (0.0, 0.0);
    for i in (1..=terms).rev() {
        let i2 = f64::from(i).powi(2);
        let power = (-pi2 / 2.0 / z2 * i2).exp();
        second += i2 * power;
        third += (3.0 * z2 - pi2 * i2) * i2 * power;
    }
    k[2] += second * pi2 * root_tau / (-36.0 * z3);
    k[3] += third * pi2 * root_tau / (216.0 * z6);
    k[0] + k[1] / root + k[2] / (root * root) + k[3] / root.powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_as_scipy_in_every_part_of_the_plane() {
        // scipy 1.14.1: scipy.stats.kstwo.sf(d, n)
        let known: &[(u64, f64, f64)] = include!("kolmogorov.in");
        for &(n, d, p) in known {
            let found = survival(n, d);
            assert!((found - p).abs() <= 1e-9 * p.max(1e-300), "n {n} d {d}: {found:e}, scipy {p:e}");
        }
    }

    #[test]
    fn the_fast_one_is_as_near_as_it_says() {
        for n in [1, 31, 32, 33, 50, 97, 140, 141, 500, 5_000, 100_000] {
            for step in 1_u32..=400 {
                // Where the p-value runs from 1 to nothing.
                let d = f64::from(step) / 150.0 / real(n).sqrt();
                let (exact, fast) = (survival(n, d), survival_fast(n, d));
                assert!((fast - exact).abs() < 1e-4, "n {n} d {d}: {fast:e}, {exact:e}");
            }
        }
    }

    #[test]
    fn it_falls_from_one_to_zero_and_never_panics() {
        for n in [0, 1, 2, 3, 10, 139, 140, 141, 1000, 99_999, 1_000_001] {
            let mut last = 1.0;
            for step in 0_u32..=200 {
                let p = survival(n, f64::from(step) / 200.0);
                assert!((0.0..=1.0).contains(&p) && p <= last + 2e-6, "{n} {step}: {p} after {last}");
                last = p;
            }
        }
        assert!(survival(7, f64::NAN) >= 1.0);
    }
}
