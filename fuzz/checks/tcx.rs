//! Arbitrary bytes as a TCX file: whatever is read holds together, however it is cut.

use pacer_stages::read::tcx;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    super::workouts::hold(&tcx::read(bytes));
}
