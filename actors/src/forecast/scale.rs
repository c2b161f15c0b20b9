//! Between the units of a series and those a model is fitted in: centred, of unit spread, in logarithms or not.

/// An invertible change of units.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scale {
    log: bool,
    centre: f64,
    spread: f64,
    low: f64,
    high: f64,
}

/// How far beyond what was ever seen, in ranges of what was seen, a forecast may go. No series of a service goes further within
/// a horizon, and an unstable model does.
const BEYOND: f64 = 2.0;

impl Scale {
    /// For these values (those that are not numbers are passed over); `log` is asked for and had only when every value is
    /// positive. A series without any spread has spread 1.
    pub(crate) fn of(values: &[f64], log: bool) -> Scale {
        let log = log && positive(values);
        let eased = |v: f64| if log { v.ln() } else { v };
        let (mut n, mut sum, mut low, mut high) = (0.0_f64, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for v in values.iter().copied().filter(|v| v.is_finite()).map(eased) {
            n += 1.0;
            // A running mean: the sum of large values may not be a number.
            sum += (v - sum) / n;
            low = low.min(v);
            high = high.max(v);
        }
        let centre = sum;
        let range = (high - low).min(f64::MAX / 8.0);
        let mut square = 0.0;
        if range > 0.0 {
            for v in values.iter().copied().filter(|v| v.is_finite()).map(eased) {
                let d = (v - centre) / range;
                square += d * d;
            }
        }
        let spread = range * (square / n.max(1.0)).sqrt();
        // What is smaller than the last digits of the values is rounding, not spread.
        let spread = if spread > centre.abs() * 1e-14 && spread.is_finite() { spread } else { 1.0 };
        Scale { log, centre, spread, low: (low - centre) / spread, high: (high - centre) / spread }
    }

    /// Is it in logarithms?
    pub(crate) fn is_log(&self) -> bool {
        self.log
    }

    /// What is subtracted, and what is divided by then.
    pub(crate) fn parts(&self) -> (f64, f64) {
        (self.centre, self.spread)
    }

    /// A value in the units of models.
    pub(crate) fn inside(&self, value: f64) -> f64 {
        ((if self.log { value.ln() } else { value }) - self.centre) / self.spread
    }

    /// A value back in the units of the series, kept near what was ever seen.
    pub(crate) fn outside(&self, value: f64) -> f64 {
        let reach = BEYOND * (self.high - self.low).max(1e-9);
        self.free(value.clamp(self.low - reach, self.high + reach))
    }

    /// The same without keeping it near.
    pub(crate) fn free(&self, value: f64) -> f64 {
        let value = value * self.spread + self.centre;
        if self.log { value.min(700.0).exp() } else { value }
    }

    /// A whole series in the units of models.
    pub(crate) fn all_inside(&self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|v| self.inside(*v)).collect()
    }
}

/// Is every known value above zero, so that it has a logarithm?
pub(crate) fn positive(values: &[f64]) -> bool {
    let mut known = values.iter().filter(|v| v.is_finite()).peekable();
    known.peek().is_some() && known.all(|v| *v > f64::MIN_POSITIVE)
}
