//! The figures of a report, each a function from data to a drawing with its table. Unaware of stores and pages.

pub mod agreement;
pub mod curves;
pub mod data;
pub mod forest;
pub mod graph;
pub mod sweep;
pub mod timeline;
pub mod traces;
pub mod zones;

/// A figure with two decimals; a minus that is one.
pub fn two(value: f64) -> String {
    format!("{value:.2}").replace('-', "−")
}
