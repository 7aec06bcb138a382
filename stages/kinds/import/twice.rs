//! Finds workouts that were recorded twice: by a watch and an app, or in two files. Unaware of formats and files.

use std::collections::{BTreeMap, BTreeSet};

use crate::workouts::Workout;

/// Of two recordings, one is a double of the other where they share more than this part of the shorter.
const SHARED: f64 = 0.5;

/// A recording that seems to last longer, in seconds, has a broken clock or is no single run, and is compared with
/// nothing: it would swallow all that lies within.
const LONGEST_S: f64 = 24.0 * 3600.0;

/// What must be known of a workout to choose between two recordings of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// The workout's number.
    pub id: i64,
    start: f64,
    end: f64,
    worth: Worth,
}

/// How good a recording is, the more telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Worth {
    heart_rate: bool,
    watch: bool,
    heart_rates: usize,
    way: bool,
}

impl Stretch {
    /// The stretch of time of a workout; none where it has no user or no times.
    pub fn of(workout: &Workout) -> Option<(i64, Self)> {
        let times = workout.time.iter().chain(&workout.heart_rate_time).flatten().copied();
        let times = times.filter(|time| time.is_finite());
        let (start, end) = times.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), time| (a.min(time), b.max(time)));
        let heart_rates = workout.heart_rate.as_ref().map_or(0, Vec::len);
        let worth = Worth {
            heart_rate: heart_rates > 0,
            watch: workout.device.as_deref().is_some_and(|device| device.contains("Watch")),
            heart_rates,
            way: workout.speed.is_some() || workout.latitude.is_some(),
        };
        let whole = end > start && end - start <= LONGEST_S;
        workout.user.filter(|_| whole).map(|user| (user, Self { id: workout.id, start, end, worth }))
    }

    fn is_double_of(&self, other: &Self) -> bool {
        let shared = self.end.min(other.end) - self.start.max(other.start);
        shared > SHARED * (self.end - self.start).min(other.end - other.start)
    }
}

/// The workouts to leave out, each with the one that is kept in its place.
///
/// Of two recordings of one user the one with a heart rate stays, then a watch's, then the one with more heart
/// rates, then one with a way; the first of equals.
pub fn doubles(by_user: BTreeMap<i64, Vec<Stretch>>) -> BTreeMap<i64, i64> {
    let mut doubles: BTreeMap<i64, i64> = BTreeMap::new();
    for mut stretches in by_user.into_values() {
        stretches.sort_by(|a, b| a.start.total_cmp(&b.start));
        let longest = stretches.iter().map(|stretch| stretch.end - stretch.start).fold(0.0, f64::max);
        let mut order: Vec<usize> = (0..stretches.len()).collect();
        // Stable, so that the first of equals comes first.
        order.sort_by_key(|&at| std::cmp::Reverse(stretches[at].worth));
        let mut kept: BTreeSet<usize> = BTreeSet::new();
        for at in order {
            let own = stretches[at];
            // Whatever overlaps begins no earlier than the longest recording before this one's start.
            let first = stretches.partition_point(|other| other.start < own.start - longest);
            let end = stretches.partition_point(|other| other.start < own.end);
            let better = kept.range(first..end.max(first)).find(|&&other| own.is_double_of(&stretches[other]));
            match better {
                Some(&better) => {
                    doubles.insert(own.id, stretches[better].id);
                }
                None => {
                    kept.insert(at);
                }
            }
        }
    }
    doubles
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: i64, minutes: std::ops::Range<f64>, rates: usize, device: &str) -> Workout {
        Workout {
            id,
            user: Some(1),
            device: Some(device.into()),
            time: Some(vec![60.0 * minutes.start, 60.0 * minutes.end]),
            heart_rate: (rates > 0).then(|| vec![140.0; rates]),
            heart_rate_time: (rates > 0).then(|| vec![60.0 * minutes.start; rates]),
            ..Workout::default()
        }
    }

    fn found(workouts: &[Workout]) -> Vec<(i64, i64)> {
        let mut by_user: BTreeMap<i64, Vec<Stretch>> = BTreeMap::new();
        for (user, stretch) in workouts.iter().filter_map(Stretch::of) {
            by_user.entry(user).or_default().push(stretch);
        }
        doubles(by_user).into_iter().collect()
    }

    #[test]
    fn the_watch_stays_and_of_two_watches_the_denser() {
        let app = run(1, 0.0..60.0, 900, "Run App");
        let watch = run(2, 1.0..59.0, 700, "Apple Watch");
        let older = run(3, 0.0..61.0, 60, "Watch 2");
        assert_eq!(found(&[app.clone(), watch.clone(), older]), [(1, 2), (3, 2)]);
        let silent = run(4, 0.0..60.0, 0, "Apple Watch");
        assert_eq!(found(&[silent, app]), [(4, 1)], "a watch without a heart rate is of no use");
        assert_eq!(found(&[watch]), []);
    }

    #[test]
    fn runs_that_follow_each_other_or_are_another_users_are_no_doubles() {
        let (first, next) = (run(1, 0.0..60.0, 9, "a"), run(2, 45.0..90.0, 9, "a"));
        let stranger = Workout { user: Some(2), ..run(3, 0.0..60.0, 9, "a") };
        let nobody = Workout { user: None, ..run(4, 0.0..60.0, 9, "a") };
        assert_eq!(found(&[first, next, stranger, nobody]), []);
    }

    #[test]
    fn a_short_part_of_a_run_is_a_double_but_a_day_long_clock_fault_swallows_nothing() {
        let (run_, part) = (run(1, 0.0..120.0, 900, "a"), run(2, 50.0..60.0, 90, "b"));
        let broken = run(3, -3000.0..3000.0, 5000, "c");
        assert_eq!(found(&[part, broken, run_]), [(2, 1)]);
    }
}
