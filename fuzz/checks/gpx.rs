//! Arbitrary bytes as a GPX file: whatever is read holds together, however it is cut.

use pacer_stages::read::gpx;

/// Checks one input.
pub fn check(bytes: &[u8]) {
    let found = gpx::read(bytes);
    super::workouts::hold(&found);
    let Ok(gpx) = gpx::parse(bytes) else { return assert!(found.records.is_empty()) };
    for track in &gpx.tracks {
        assert!(track.points.is_sorted_by(|one, next| one.time < next.time));
        assert!(track.points.iter().all(|point| point.time.is_finite()));
    }
    assert!(found.records.len() <= gpx.tracks.len());
}
