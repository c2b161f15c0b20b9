//! Pólya's urn: evidence against "nothing has changed" that may be looked at after every value.
//!
//! Before a change, the next value is one of the values seen so far, drawn from an urn that holds the baseline and everything
//! since: that is exchangeability, and it needs no knowledge of the true shares. A likelihood ratio of what a changed world
//! would have drawn over what the urn draws is an *e-value*: without a change its mean is at most 1 whenever one stops to look,
//! so it ever reaches 1/α with a chance of α at most (Ville 1939; Ramdas, Grünwald, Vovk, Shafer 2023, "Game-theoretic statistics
//! and safe anytime-valid inference").
//!
//! The trap is to take the baseline's shares for the truth: then the chance error of the baseline is taken for drift, and a
//! watch that goes on long enough alarms always. Here bin b has (N_b + 1 + c_b)/(N + 1 + t) after N baseline values and t since:
//! with one more ball in *every* bin these sum to more than 1, and for every stopping time that looks at what came since,
//! Σ over sequences of P(baseline)·P(sequence)·q(sequence)/Π urn ≤ Σ q(sequence) = 1, because P(baseline)·P(sequence)/Π urn is the
//! chance of one outcome of the pooled counts. So it holds for every fixed set of bins and any shares, with the price of a factor
//! of ((N + 1 + t)/(N + 1))^(B − 1) at most.

use super::real;
use statrs::function::gamma::ln_gamma;

/// How many values the changed world is taken to know beforehand: few for large changes, many for small ones. The e-value is the
/// mean of the three.
pub const CONCENTRATIONS: [f64; 3] = [5.0, 50.0, 500.0];

/// ln of the e-value of counts `now` after counts `before`, bin by bin, in natural logarithms; 0 when there is nothing new.
///
/// The changed world draws from Dirichlet–multinomials round `centre` (shares that sum to 1) with each of [`CONCENTRATIONS`].
#[must_use]
pub fn ln_e_value(before: &[u64], now: &[u64], centre: &[f64]) -> f64 {
    let m: u64 = now.iter().sum();
    if m == 0 {
        return 0.0;
    }
    let n: u64 = before.iter().sum();
    let urn: f64 = before.iter().zip(now).map(|(b, c)| rising(real(*b) + 1.0, *c)).sum::<f64>() - rising(real(n) + 1.0, m);
    let mut logs = CONCENTRATIONS.map(|concentration| {
        // A bin that the centre calls impossible is still given something.
        let floor = 0.5;
        let weights = centre.iter().map(|share| share * concentration + floor);
        let total = concentration + floor * real(centre.len() as u64);
        weights.zip(now).map(|(weight, c)| rising(weight, *c)).sum::<f64>() - rising(total, m) - urn
    });
    logs.sort_by(f64::total_cmp);
    let [low, middle, high] = logs;
    high + ((low - high).exp() + (middle - high).exp() + 1.0).ln() - 3.0_f64.ln()
}

/// ln(a·(a+1)·…·(a+k−1)).
fn rising(a: f64, k: u64) -> f64 {
    match k {
        0 => 0.0,
        1..=8 => (0..k).map(|i| a + real(i)).product::<f64>().ln(),
        _ => ln_gamma(a + real(k)) - ln_gamma(a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::seeded::Seeded;

    fn draw(seeded: &mut Seeded, shares: &[f64]) -> usize {
        let mut unit = seeded.unit();
        shares
            .iter()
            .position(|share| {
                unit -= share;
                unit < 0.0
            })
            .unwrap_or(shares.len() - 1)
    }

    #[test]
    fn without_a_change_it_ever_reaches_twenty_in_less_than_one_of_twenty_watches() {
        let mut seeded = Seeded::new(17);
        for shares in [vec![0.1; 10], vec![0.6, 0.3, 0.09, 0.01], vec![0.5, 0.5]] {
            let centre = vec![1.0 / real(shares.len() as u64); shares.len()];
            let mut alarms = 0;
            for _ in 0..300 {
                let (mut before, mut now) = (vec![0_u64; shares.len()], vec![0_u64; shares.len()]);
                (0..300).for_each(|_| before[draw(&mut seeded, &shares)] += 1);
                alarms += u32::from((0..600).any(|step| {
                    now[draw(&mut seeded, &shares)] += 1;
                    step % 5 == 0 && ln_e_value(&before, &now, &centre) >= 20_f64.ln()
                }));
            }
            assert!(alarms <= 22, "{alarms} of 300 with {shares:?}");
        }
    }

    #[test]
    fn the_mean_of_the_e_value_is_at_most_one() {
        // Two bins, three values before, two since: every outcome, weighed.
        for share in [0.1, 0.5, 0.93] {
            let chance = |n: u64, k: u64| {
                let ways =
                    [[1, 0, 0, 0], [1, 1, 0, 0], [1, 2, 1, 0], [1, 3, 3, 1]][usize::try_from(n).unwrap()][usize::try_from(k).unwrap()];
                f64::from(ways) * f64::powi(share, i32::try_from(k).unwrap()) * f64::powi(1.0 - share, i32::try_from(n - k).unwrap())
            };
            let mut mean = 0.0;
            for k in 0..=3 {
                for j in 0..=2 {
                    mean += chance(3, k) * chance(2, j) * ln_e_value(&[k, 3 - k], &[j, 2 - j], &[0.5, 0.5]).exp();
                }
            }
            assert!(mean <= 1.0 + 1e-12, "{mean} at {share}");
        }
    }

    #[test]
    fn a_change_is_evident() {
        let before = [1000_u64; 10];
        let same = [100_u64; 10];
        let changed = [60_u64, 70, 80, 90, 100, 100, 110, 120, 130, 140];
        let centre = [0.1; 10];
        assert!(ln_e_value(&before, &same, &centre) < 0.0);
        assert!(ln_e_value(&before, &changed, &centre) > 8.0);
        assert!(ln_e_value(&[0; 3], &[0; 3], &[0.3; 3]).abs() < 1e-12);
    }
}
