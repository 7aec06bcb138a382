//! A run as a row. Unaware of where it is shown.

use crate::history::{self, Best, Past, Stands};
use crate::ui::output;

/// Names of the columns.
pub const HEADER: [&str; 12] =
    ["run", "date (UTC)", "pipeline", "state", "took", "reused", "ran", "failed", "best mae", "data", "split", "of"];

/// The row of a run.
pub fn row(past: &Past) -> [String; 12] {
    let summary = &past.summary;
    let ended = !matches!(past.stands, Stands::Running | Stands::Killed);
    let number = |number: usize| if ended { output::count(number) } else { String::new() };
    let pinned = if past.pinned { ", pinned" } else { "" };
    let best = past.best.as_ref();
    let basis = |of: fn(&Best) -> &Option<String>| {
        best.map_or_else(String::new, |best| of(best).clone().unwrap_or_else(|| "unknown".to_owned()))
    };
    let of = best.map_or_else(String::new, |best| {
        let model = best.model.as_ref().map_or_else(String::new, |model| format!(":{model}"));
        format!("{} {}{model}", best.part, best.stage)
    });
    [
        summary.run.clone(),
        history::date(&summary.run),
        summary.pipeline.clone(),
        format!("{}{pinned}", past.stands.name()),
        if ended { output::seconds(summary.seconds) } else { String::new() },
        number(summary.reused),
        number(summary.ran),
        number(summary.failed),
        best.map_or_else(String::new, |best| format!("{:.2}", best.mae)),
        basis(|best| &best.data),
        basis(|best| &best.split),
        of,
    ]
}
