//! Small words of the terminal: sizes, times, colours, the one place that prints results.

use std::io::{ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use serde::Serialize;

/// Whether something that was to be printed could not be.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints a result on stdout; a reader that has gone away is no fault.
pub fn print(text: &str) {
    let mut stdout = anstream::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    let lost = printed.err().filter(|error| error.kind() != ErrorKind::BrokenPipe);
    if let Some(error) = lost.filter(|_| !LOST.swap(true, Ordering::Relaxed)) {
        say(&format!("stdout cannot be written: {error}"));
    }
}

/// Whether something that was to be printed could not be.
pub fn was_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints JSON on stdout.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    print(&text);
    Ok(())
}

/// Prints a message for a person on stderr.
pub fn say(text: &str) {
    let mut stderr = anstream::stderr().lock();
    let _ = writeln!(stderr, "{text}");
}

/// A whole number with a comma at every thousand.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let comma = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let spaced = digits.chars().enumerate().flat_map(|(at, digit)| comma(at).then_some(',').into_iter().chain([digit]));
    spaced.collect()
}

/// A number of things, of which one has no `s` at its end.
pub fn number(number: usize, thing: &str) -> String {
    format!("{} {thing}{}", count(number), if number == 1 { "" } else { "s" })
}

/// A number of bytes in words.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A time in words, as exact as a person needs it.
pub fn seconds(seconds: f64) -> String {
    if seconds < 0.1 {
        return format!("{:.0} ms", seconds * 1e3);
    }
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match whole / 3600 {
        0 => format!("{}m{:02}s", whole / 60, whole % 60),
        hours => format!("{hours}h{:02}m", whole % 3600 / 60),
    }
}

/// A word in a colour; colours are taken out again where the terminal does not want them.
pub fn paint(style: anstyle::Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// The style of what went well.
pub const GOOD: anstyle::Style = anstyle::AnsiColor::Green.on_default();
/// The style of what failed.
pub const BAD: anstyle::Style = anstyle::AnsiColor::Red.on_default().bold();
/// The style of what wants attention.
pub const ODD: anstyle::Style = anstyle::AnsiColor::Yellow.on_default();
/// The style of what matters less.
pub const FAINT: anstyle::Style = anstyle::Style::new().dimmed();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sizes_and_times_are_short() {
        assert_eq!([0, 999, 1_000, 9_998, 1_234_567].map(count), ["0", "999", "1,000", "9,998", "1,234,567"]);
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(seconds(0.004), "4 ms");
        assert_eq!(seconds(12.34), "12.3 s");
        assert_eq!(seconds(125.0), "2m05s");
        assert_eq!(seconds(3_700.0), "1h01m");
    }
}
