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

/// A value of JSON as a person would write it.
pub fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Array(values) if values.is_empty() => "none".to_owned(),
        serde_json::Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        serde_json::Value::Null => "none".to_owned(),
        other => other.to_string(),
    }
}
