//! The time of a recording: its beginning, its end and the pauses between. Unaware of what was measured.

use crate::statistics;
use crate::workouts::Workout;

/// Shortest time without a sample that counts as a gap, s.
const SHORTEST_GAP: f64 = 30.0;

/// A gap is also longer than so many usual steps, so that a slow rhythm is no gap.
const STEPS_OF_GAP: f64 = 5.0;

/// Stretches without a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gaps {
    /// How many there are.
    pub count: u64,
    /// The longest, in seconds without pauses.
    pub longest_s: f64,
    /// All of them, in seconds without pauses.
    pub total_s: f64,
}

/// When something was recorded; its times are seconds since its start.
pub struct Clock {
    /// The first instant of any series, unix seconds.
    pub start: f64,
    /// Seconds from the first instant to the last.
    pub duration: f64,
    /// Beginnings and ends of pauses, in order, apart from each other.
    pauses: Vec<[f64; 2]>,
}

impl Clock {
    /// The clock of a workout; none where it has no times.
    pub fn of(workout: &Workout) -> Option<Self> {
        let series = [&workout.time, &workout.heart_rate_time];
        let times = series.into_iter().flatten().flatten().copied().filter(|time| time.is_finite());
        let (start, end) = times.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), time| (a.min(time), b.max(time)));
        let duration = end - start;
        if !(duration >= 0.0 && duration.is_finite()) {
            return None;
        }
        let pair = |pair: &[f64]| [pair[0] - start, pair[1] - start].map(|time| time.clamp(0.0, duration));
        let pauses = workout.pauses.chunks_exact(2).map(pair).filter(|[from, to]| from < to).collect();
        Some(Self { start, duration, pauses: apart(pauses) })
    }

    /// Seconds of pauses.
    pub fn paused(&self) -> f64 {
        self.pauses.iter().map(|[from, to]| to - from).sum()
    }

    /// Seconds between two times without the pauses.
    pub fn active(&self, from: f64, to: f64) -> f64 {
        let first = self.pauses.partition_point(|pause| pause[1] <= from);
        let within = self.pauses[first..].iter().take_while(|pause| pause[0] < to);
        to - from - within.map(|pause| pause[1].min(to) - pause[0].max(from)).sum::<f64>()
    }

    /// Stretches without a sample, at the beginning and the end too. `covered` are the stretches that each sample
    /// stands for (an instant has no length), by their middles; `step` is the usual time between two.
    pub fn gaps(&self, covered: impl IntoIterator<Item = [f64; 2]>, step: f64) -> (Gaps, Vec<[f64; 2]>) {
        let limit = SHORTEST_GAP.max(STEPS_OF_GAP * step);
        let (mut gaps, mut stretches, mut until) = (Gaps::default(), Vec::new(), 0.0_f64);
        for [from, to] in covered.into_iter().chain([[self.duration; 2]]) {
            let length = if from - until > limit { self.active(until, from) } else { 0.0 };
            if length > limit {
                gaps.count += 1;
                gaps.longest_s = gaps.longest_s.max(length);
                gaps.total_s += length;
                stretches.push([until, from]);
            }
            until = until.max(to);
        }
        (gaps, stretches)
    }
}

/// The median time between samples, 0 for fewer than two.
pub fn usual_step(times: &[f64]) -> f64 {
    let steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0.0).collect();
    statistics::median(&steps).unwrap_or_default()
}

/// Stretches in order, those that overlap as one.
fn apart(mut stretches: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    stretches.sort_by(|a, b| a[0].total_cmp(&b[0]));
    let mut apart: Vec<[f64; 2]> = Vec::with_capacity(stretches.len());
    for [from, to] in stretches {
        match apart.last_mut().filter(|last| from <= last[1]) {
            Some(last) => last[1] = last[1].max(to),
            None => apart.push([from, to]),
        }
    }
    apart
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(pauses: &[f64]) -> Clock {
        let workout = Workout { time: Some(vec![100.0, 700.0]), pauses: pauses.to_vec(), ..Workout::default() };
        Clock::of(&workout).unwrap()
    }

    #[test]
    fn pauses_are_counted_once_and_only_within_the_recording() {
        let clock = clock(&[150.0, 200.0, 190.0, 220.0, 680.0, 900.0, 300.0, f64::NAN, 5.0]);
        assert_eq!(clock.paused(), 90.0);
        assert_eq!(clock.active(0.0, 600.0), 510.0);
        assert_eq!([clock.active(60.0, 110.0), clock.active(110.0, 140.0)], [0.0, 20.0]);
    }

    #[test]
    fn a_gap_is_long_beyond_the_rhythm_and_beyond_pauses() {
        let instants = |times: &[f64]| times.iter().map(|time| [*time; 2]).collect::<Vec<_>>();
        let seen = instants(&[0.0, 40.0, 241.0, 600.0]);
        let (gaps, stretches) = clock(&[150.0, 320.0]).gaps(seen.clone(), 1.0);
        assert_eq!(gaps, Gaps { count: 3, longest_s: 359.0, total_s: 430.0 });
        assert_eq!(stretches, [[0.0, 40.0], [40.0, 241.0], [241.0, 600.0]]);
        assert_eq!(clock(&[]).gaps(seen, 60.0).0, Gaps { count: 1, longest_s: 359.0, total_s: 359.0 });
        assert_eq!(clock(&[]).gaps([[0.0, 290.0], [300.0, 600.0]], 1.0).0, Gaps::default());
        assert_eq!(clock(&[]).gaps([], 0.0).0, Gaps { count: 1, longest_s: 600.0, total_s: 600.0 });
    }

    #[test]
    fn times_that_are_none_give_no_clock() {
        assert!(Clock::of(&Workout::default()).is_none());
        let times = |times: &[f64]| Workout { time: Some(times.to_vec()), ..Workout::default() };
        assert!(Clock::of(&times(&[f64::NAN])).is_none());
        assert!(Clock::of(&times(&[f64::MIN, f64::MAX])).is_none());
        assert_eq!(usual_step(&[0.0, 1.0, 1.0, 3.0, 9.0]), 2.0);
    }
}
