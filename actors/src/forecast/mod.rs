//! Forecast: what a series will be, what it should have been, and when it runs out.

mod damped;
mod fill;
mod fourier;
mod interval;
mod linear;
mod member;
mod mstl;
mod naive;
mod period;
mod portfolio;
mod sar;
mod scale;
mod series;
mod theta;

pub use member::Member;
pub use portfolio::{Ahead, HISTORY_MAX, HORIZON_MAX, KNOWN_MIN, NoOutlook, Outlook, PERIOD_MAX, Trial, Wish, forecast};
pub use series::{CELLS_MAX, Series};

#[cfg(test)]
mod tests;
