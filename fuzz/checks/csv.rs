//! Arbitrary bytes as a CSV file, and as any file at all: whatever is read holds together, and a format is told.

use pacer_stages::read::csv::columns::Columns;
use pacer_stages::read::csv::{self, start_in_name};
use pacer_stages::read::format::{Format, tell, unpacked};

/// The most bytes that a gzip file may hold.
const LIMIT_BYTES: u64 = 1 << 20;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let found = csv::read(bytes, &Columns::default(), Some(1_617_019_200.0));
    super::workouts::hold(&found);
    let without = csv::read(bytes, &Columns::default(), None);
    super::workouts::hold(&without);
    assert!(without.records.len() <= found.records.len());
    if let Ok(name) = std::str::from_utf8(bytes) {
        assert!(start_in_name(name).is_none_or(|start| start >= 0.0));
    }
    let gzipped = tell(bytes) == Format::Gzip;
    if let Ok(whole) = unpacked(bytes.to_vec(), LIMIT_BYTES) {
        assert!(gzipped || whole.bytes == bytes);
        assert!(tell(&whole.bytes) != Format::Gzip);
    }
}
