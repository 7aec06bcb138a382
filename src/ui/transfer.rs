//! Shows how bytes move: a row with bytes and their rate on a terminal, nothing in a pipe, where the end is told in
//! one line. Unaware of where they come from.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::ui::output;

/// How often the row is drawn.
const TICK: Duration = Duration::from_millis(100);

/// Does some work and shows how many bytes it moved; the seconds that it took.
pub fn watch<T: Send>(
    what: &str,
    total: Option<u64>,
    moved: &(dyn Fn() -> u64 + Sync),
    work: impl FnOnce() -> T + Send,
) -> (T, f64) {
    let began = Instant::now();
    let outcome = std::thread::scope(|scope| {
        let working = scope.spawn(work);
        let row = std::io::stderr().is_terminal().then(|| row(what, total));
        while !working.is_finished() {
            let moved = moved();
            row.iter().for_each(|row| row.set_position(moved));
            std::thread::sleep(if row.is_some() { TICK } else { Duration::from_millis(2) });
        }
        row.iter().for_each(ProgressBar::finish_and_clear);
        working.join()
    });
    (outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic)), began.elapsed().as_secs_f64())
}

fn row(what: &str, total: Option<u64>) -> ProgressBar {
    let row = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
    let template = match total {
        Some(_) => "{prefix}  {bar:30} {decimal_bytes}/{decimal_total_bytes}  {decimal_bytes_per_sec}  {eta} left",
        None => "{prefix}  {spinner} {elapsed}  {decimal_bytes}  {decimal_bytes_per_sec}",
    };
    row.set_style(ProgressStyle::with_template(template).expect("the template is right").progress_chars("━╸─"));
    row.set_prefix(what.to_owned());
    row
}

/// Bytes with the time that they took, and their rate.
pub fn in_words(bytes: u64, seconds: f64) -> String {
    let rate = output::bytes((bytes as f64 / seconds.max(1e-3)) as u64);
    format!("{} in {} ({rate}/s)", output::bytes(bytes), output::seconds(seconds))
}
