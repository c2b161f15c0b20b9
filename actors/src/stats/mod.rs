//! Statistics that minds share: pure functions, fixed order of operations, every formula with its source.
//!
//! | module | what |
//! |---|---|
//! | [`ks`] | the two-sample Kolmogorov–Smirnov test, exact where feasible |
//! | [`kolmogorov`] | the distribution of the one-sample statistic, which is its limit |
//! | [`psi`] | quantiles, bins, the population stability index and its null distribution |
//! | [`chi2`] | the chi-square test of two rows of counts |
//! | [`counts`] | tails of counts: rare things that become frequent |
//! | [`multiple`] | many tests at once: Benjamini–Hochberg for p-values and for e-values |
//! | [`urn`] | e-values of Pólya's urn: evidence that may be looked at as often as one likes |
//! | [`seeded`] | a generator whose numbers are a function of its seed |
//! | [`mann_kendall`](mod@mann_kendall) | is there a trend |
//! | [`theil_sen`](mod@theil_sen) | how steep is it |

pub mod chi2;
pub mod counts;
pub mod kolmogorov;
pub mod ks;
pub mod mann_kendall;
pub mod multiple;
pub mod psi;
pub mod seeded;
pub mod theil_sen;
pub mod urn;

pub use mann_kendall::{Trend, mann_kendall};
pub use theil_sen::{Line, median, theil_sen};

/// A count as a number. Exact below 2⁵³, which no count of events reaches.
#[must_use]
#[allow(clippy::cast_precision_loss)]
pub const fn real(count: u64) -> f64 {
    count as f64
}
