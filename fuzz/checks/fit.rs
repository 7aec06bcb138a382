//! Arbitrary bytes as a FIT file: whatever is read holds together. A fuzzer will not guess a header, so the bytes are
//! read as they are and behind one.

use pacer_stages::read::fit;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    super::workouts::hold(&fit::read(bytes));
    let mut file = vec![12, 0x20, 0, 0];
    file.extend((bytes.len() as u32).to_le_bytes());
    file.extend(b".FIT");
    file.extend(bytes);
    file.extend([0, 0]);
    super::workouts::hold(&fit::read(&file));
}
