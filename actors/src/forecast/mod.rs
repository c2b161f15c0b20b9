//! Forecast: what a series will be, what it should have been, and when it runs out.

mod anomalies;
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
mod rls;
mod sar;
mod scale;
mod series;
mod tail;
mod theta;
mod watch;

pub use anomalies::{Anomalies, MONTH_MS, anomalies, quiet, threshold};
pub use member::Member;
pub use portfolio::{Ahead, HISTORY_MAX, HORIZON_MAX, KNOWN_MIN, NoOutlook, Outlook, PERIOD_MAX, Trial, Wish, forecast};
pub use series::{CELLS_MAX, Series};
pub use watch::{Incident, Sight, Turn, Watch, WatchModel};

#[cfg(test)]
mod tests;
