//! temporary
use super::Dialect;
/// max
pub const SUMMARY_MAX: usize = 255;
/// s
#[must_use]
pub fn summary(_statement: &str, _dialect: Dialect) -> String {
    String::new()
}
/// t
#[must_use]
pub fn tables(_statement: &str, _dialect: Dialect) -> Vec<String> {
    Vec::new()
}
