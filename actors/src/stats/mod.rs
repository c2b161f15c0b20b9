//! Mathematics that several minds use, each with the paper it comes from.

pub mod mann_kendall;
pub mod theil_sen;

pub use mann_kendall::{Trend, mann_kendall};
pub use theil_sen::{Line, median, theil_sen};
