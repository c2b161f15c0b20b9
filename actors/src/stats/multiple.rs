//! Many tests at once.

use super::real;

/// Which of the p-values are rejected so that at most a share `q` of the rejections is false on average: the largest k with
/// p₍ₖ₎ ≤ q·k/n (Benjamini, Hochberg 1995; valid under positive dependence, Benjamini, Yekutieli 2001). Where nothing is true, the
/// chance of any rejection is at most `q`. A p-value that is not a number is never rejected.
#[must_use]
pub fn benjamini_hochberg(p: &[f64], q: f64) -> Vec<bool> {
    step_up(p.iter().copied(), |rank, all, value| value <= q * real(rank) / real(all))
}

/// The same for e-values: the largest k with e₍ₖ₎ ≥ n/(q·k) (Wang, Ramdas 2022, "False discovery rate control with e-values"),
/// valid however they depend on each other.
#[must_use]
pub fn e_benjamini_hochberg(e: &[f64], q: f64) -> Vec<bool> {
    step_up(e.iter().map(|e| -e), |rank, all, value| -value >= real(all) / (q * real(rank)))
}

fn step_up(values: impl ExactSizeIterator<Item = f64>, passes: impl Fn(u64, u64, f64) -> bool) -> Vec<bool> {
    let all = values.len();
    let mut order: Vec<(f64, usize)> = values.enumerate().map(|(i, value)| (value, i)).filter(|(value, _)| !value.is_nan()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last = order.iter().enumerate().rev().find(|(k, (value, _))| passes(*k as u64 + 1, all as u64, *value)).map(|(k, _)| k);
    let mut rejected = vec![false; all];
    for (_, i) in order.iter().take(last.map_or(0, |k| k + 1)) {
        rejected[*i] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_paper() {
        // Benjamini, Hochberg 1995, section 3.2: four of fifteen at 0.05.
        let p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0];
        assert_eq!(benjamini_hochberg(&p, 0.05).iter().filter(|r| **r).count(), 4);
    }

    #[test]
    fn order_does_not_matter_and_nonsense_is_never_rejected() {
        assert_eq!(benjamini_hochberg(&[0.9, 0.001, f64::NAN, 0.02], 0.05), [false, true, false, true]);
        assert_eq!(e_benjamini_hochberg(&[1.0, 500.0, f64::NAN, 90.0], 0.05), [false, true, false, true]);
        assert_eq!(benjamini_hochberg(&[], 0.05), [false; 0]);
    }
}
