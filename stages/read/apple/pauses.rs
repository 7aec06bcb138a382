//! The pauses of a workout, from what was noted at instants. Unaware of samples.

use crate::read::apple::workout::Change;

/// Pauses in order, none of which touch; a pause that is not ended lasts to the workout's end.
///
/// A pause that the runner began only the runner ends; one that the watch noticed ends with either.
pub fn pauses(events: &[(i64, Change)], start: i64, end: i64) -> Vec<(i64, i64)> {
    let mut events = events.to_vec();
    events.sort_by_key(|(at, _)| *at);
    let (mut manual, mut motion) = (None, None);
    let mut found = Vec::new();
    for (at, change) in events {
        match change {
            Change::Pause => manual = manual.or(Some(at)),
            Change::MotionPause => motion = motion.or(Some(at)),
            Change::MotionResume => found.extend(motion.take().map(|from| (from, at))),
            Change::Resume => found.extend([manual.take(), motion.take()].into_iter().flatten().map(|from| (from, at))),
        }
    }
    found.extend([manual, motion].into_iter().flatten().map(|from| (from, end)));
    let within = found.into_iter().map(|(from, to)| (from.clamp(start, end), to.clamp(start, end)));
    let mut within: Vec<_> = within.filter(|(from, to)| from < to).collect();
    within.sort_unstable();
    let mut pauses: Vec<(i64, i64)> = Vec::new();
    for (from, to) in within {
        match pauses.last_mut().filter(|last| from <= last.1) {
            Some(last) => last.1 = last.1.max(to),
            None => pauses.push((from, to)),
        }
    }
    pauses
}

/// The pause that a time lies within, its ends not included.
pub fn around(pauses: &[(i64, i64)], time: f64) -> Option<(i64, i64)> {
    let next = pauses.partition_point(|(_, to)| *to as f64 <= time);
    pauses.get(next).copied().filter(|(from, _)| (*from as f64) < time)
}

/// Seconds of all pauses.
pub fn total(pauses: &[(i64, i64)]) -> i64 {
    pauses.iter().map(|(from, to)| to - from).sum()
}

#[cfg(test)]
mod tests {
    use super::{around, pauses, total};
    use crate::read::apple::workout::Change::{MotionPause, MotionResume, Pause, Resume};

    #[test]
    fn pauses_are_cut_to_the_workout_and_joined_where_they_overlap() {
        let events = [(10, Pause), (20, Resume), (40, MotionPause), (50, MotionResume), (45, Pause), (60, Resume)];
        assert_eq!(pauses(&events, 0, 100), [(10, 20), (40, 60)]);
        assert_eq!(pauses(&events, 15, 55), [(15, 20), (40, 55)]);
        assert_eq!(total(&pauses(&events, 0, 100)), 30);
        assert_eq!(pauses(&events, 70, 100), []);
    }

    #[test]
    fn a_pause_without_end_lasts_to_the_end() {
        assert_eq!(pauses(&[(90, Pause)], 0, 100), [(90, 100)]);
        assert_eq!(pauses(&[(90, Pause), (95, MotionResume)], 0, 100), [(90, 100)]);
        assert_eq!(pauses(&[(80, MotionPause), (85, Resume)], 0, 100), [(80, 85)]);
    }

    #[test]
    fn what_ends_no_pause_and_what_is_said_twice_changes_nothing() {
        assert_eq!(pauses(&[(5, Resume), (6, MotionResume)], 0, 100), []);
        assert_eq!(pauses(&[(10, Pause), (12, Pause), (20, Resume), (20, Resume)], 0, 100), [(10, 20)]);
    }

    #[test]
    fn the_ends_of_a_pause_are_not_within_it() {
        let found = [(10, 20), (40, 60)];
        let within = |time: f64| around(&found, time).is_some();
        assert_eq!(
            [9.0, 10.0, 10.5, 20.0, 30.0, 59.9, 60.0].map(within),
            [false, false, true, false, false, true, false]
        );
    }
}
