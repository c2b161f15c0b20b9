//! Ridge regression by normal equations: small, dense, in a fixed order, so that the same numbers come out every time.

/// Sums of products over the rows of a regression: `XᵀX` and `Xᵀy`.
///
/// Feed it columns of comparable size (standardised series); the condition of the normal equations is the square of the
/// design's, and nothing here rescales.
#[derive(Debug, Clone)]
pub(crate) struct Normal {
    columns: usize,
    gram: Vec<f64>,
    moment: Vec<f64>,
    rows: usize,
}

impl Normal {
    /// No rows yet.
    pub(crate) fn new(columns: usize) -> Normal {
        Normal { columns, gram: vec![0.0; columns * columns], moment: vec![0.0; columns], rows: 0 }
    }

    /// Rows so far.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// One row: `x` has as many values as there are columns.
    pub(crate) fn add(&mut self, x: &[f64], y: f64, weight: f64) {
        let p = self.columns;
        for (i, (&xi, row)) in x.iter().zip(self.gram.chunks_exact_mut(p)).enumerate() {
            let a = xi * weight;
            self.moment[i] += a * y;
            // Only the lower triangle is kept.
            for (cell, &xj) in row[..=i].iter_mut().zip(x) {
                *cell += a * xj;
            }
        }
        self.rows += 1;
    }

    /// Coefficients that minimise `Σ w (y − xβ)² + Σ penalty_j β_j²` (Hoerl and Kennard 1970), by Cholesky factors.
    ///
    /// `None` when the matrix is not positive definite even so: columns that are not numbers, or no penalty on equal ones.
    pub(crate) fn solve(&self, penalty: &[f64]) -> Option<Vec<f64>> {
        let l = self.factor(penalty)?;
        let mut beta = self.moment.clone();
        back(&l, &mut beta);
        beta.iter().all(|b| b.is_finite()).then_some(beta)
    }

    /// The inverse of `XᵀX` with the penalties on its diagonal, by rows.
    pub(crate) fn inverse(&self, penalty: &[f64]) -> Option<Vec<f64>> {
        let l = self.factor(penalty)?;
        let p = self.columns;
        let mut inverse = Vec::with_capacity(p * p);
        for j in 0..p {
            let mut unit = vec![0.0; p];
            unit[j] = 1.0;
            back(&l, &mut unit);
            inverse.extend(unit);
        }
        inverse.iter().all(|v| v.is_finite()).then_some(inverse)
    }

    /// The Cholesky factor, lower triangle by rows.
    fn factor(&self, penalty: &[f64]) -> Option<Vec<f64>> {
        let p = self.columns;
        let mut l = self.gram.clone();
        for (j, &extra) in penalty.iter().enumerate() {
            l[j * p + j] += extra;
        }
        for j in 0..p {
            let (before, rest) = l.split_at_mut(j * p);
            let row = &mut rest[..p];
            for k in 0..j {
                let other = &before[k * p..k * p + k + 1];
                let mut sum = row[k];
                for (a, b) in row[..k].iter().zip(other) {
                    sum -= a * b;
                }
                row[k] = sum / other[k];
            }
            let diagonal = row[j];
            let mut sum = diagonal;
            for a in &row[..j] {
                sum -= a * a;
            }
            // What is left of a column that the ones before it explain is rounding.
            if !(sum > diagonal.abs() * 1e-13 && sum.is_finite()) {
                return None;
            }
            row[j] = sum.sqrt();
        }
        Some(l)
    }
}

/// Solves `L Lᵀ x = b` in place.
fn back(l: &[f64], b: &mut [f64]) {
    let p = b.len();
    for j in 0..p {
        let mut sum = b[j];
        for k in 0..j {
            sum -= l[j * p + k] * b[k];
        }
        b[j] = sum / l[j * p + j];
    }
    for j in (0..p).rev() {
        let mut sum = b[j];
        for k in j + 1..p {
            sum -= l[k * p + j] * b[k];
        }
        b[j] = sum / l[j * p + j];
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_penalty_shrinks_it() {
        let mut normal = Normal::new(2);
        for t in 0..20 {
            let t = f64::from(t) / 10.0;
            normal.add(&[1.0, t], 3.0 - 2.0 * t, 1.0);
        }
        let beta = normal.solve(&[0.0, 0.0]).unwrap();
        assert!((beta[0] - 3.0).abs() < 1e-12 && (beta[1] + 2.0).abs() < 1e-12, "{beta:?}");
        assert!(normal.solve(&[0.0, 10.0]).unwrap()[1].abs() < 1.0);
    }

    #[test]
    fn what_cannot_be_solved_is_said() {
        let mut normal = Normal::new(2);
        for t in 0..20 {
            normal.add(&[1.0, 1.0], f64::from(t), 1.0);
        }
        assert_eq!(normal.solve(&[0.0, 0.0]), None);
        assert!(normal.solve(&[1e-3, 1e-3]).is_some());
        normal.add(&[f64::NAN, 1.0], 0.0, 1.0);
        assert_eq!(normal.solve(&[1e-3, 1e-3]), None);
    }
}
