//! When the next checkpoint is due. Unaware of what is in one and of the clock: it is told what time passed.

use std::time::Duration;

use pacer_stages::job::Checkpoints;

/// The training is at least so many times as long as the writing of its checkpoints, whatever else was asked for.
const SHARE: u32 = 100;

/// What the first one is taken to cost before anything was measured: a synced file, and bytes in a second.
const FILE: Duration = Duration::from_millis(10);
const BYTES_PER_SECOND: f64 = 2e8;

/// The rhythm of checkpoints.
pub struct Cadence {
    asked: Checkpoints,
    /// What the latest one took, which is what the next one is expected to take.
    cost: Duration,
    /// What all of them took.
    pub spent: Duration,
}

/// What passed since a training began and since its latest checkpoint, or since its begin where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passed {
    /// The time since the begin.
    pub training: Duration,
    /// The time since the latest checkpoint.
    pub time: Duration,
    /// The steps since the latest checkpoint.
    pub steps: u64,
}

impl Cadence {
    /// The rhythm that a job asks for, with checkpoints of so many bytes.
    pub fn new(asked: &Checkpoints, bytes: usize) -> Self {
        let cost = FILE + Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
        Self { asked: asked.clone(), cost, spent: Duration::ZERO }
    }

    /// Whether to write one now. Should the training end right after, which costs another, both are paid for.
    pub fn is_due(&self, passed: Passed) -> bool {
        let by_steps = self.asked.steps.is_some_and(|limit| passed.steps >= limit);
        let by_time = passed.time.as_secs_f64() >= self.asked.seconds;
        let rested = passed.time >= self.cost * SHARE;
        let paid = passed.training >= (self.spent + self.cost * 2) * SHARE;
        (by_steps || by_time) && rested && paid
    }

    /// Learns what the writing of one took.
    pub fn took(&mut self, cost: Duration) {
        self.cost = cost;
        self.spent += cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The times at which a training writes its checkpoints, each of which takes its cost.
    fn simulated(mut cadence: Cadence, step: Duration, costs: &[Duration]) -> Vec<Duration> {
        let (mut passed, mut written) = (Passed::default(), Vec::new());
        while written.len() < costs.len() {
            passed.training += step;
            passed.time += step;
            passed.steps += 1;
            if cadence.is_due(passed) {
                let cost = costs[written.len()];
                cadence.took(cost);
                written.push(passed.training);
                passed = Passed { training: passed.training + cost, ..Passed::default() };
            }
        }
        written
    }

    #[test]
    fn what_comes_first_of_seconds_and_steps_makes_one_due() {
        let step = Duration::from_millis(500);
        let asked = Checkpoints { seconds: 5.0, ..Checkpoints::default() };
        for (steps, expected) in [(None, [5.0, 10.0, 15.0]), (Some(4), [2.0, 4.0, 6.0]), (Some(40), [5.0, 10.0, 15.0])]
        {
            let cadence = Cadence::new(&Checkpoints { steps, ..asked.clone() }, 0);
            let written = simulated(cadence, step, &[Duration::ZERO; 3]);
            assert_eq!(written, expected.map(Duration::from_secs_f64), "steps {steps:?}");
        }
    }

    #[test]
    fn writing_takes_at_most_a_hundredth_of_the_time_however_dear_it_is_and_however_often_it_is_asked_for() {
        let asked = Checkpoints { steps: Some(1), ..Checkpoints::default() };
        for (bytes, cost) in [(0, 10), (0, 5), (20_000_000, 100), (2_000_000_000, 9_000)] {
            let costs = [Duration::from_millis(cost); 40];
            let written = simulated(Cadence::new(&asked, bytes), Duration::from_millis(7), &costs);
            for (place, training) in written.iter().enumerate() {
                // The end of the training comes right after this one.
                let spent = costs[0] * (place as u32 + 2);
                assert!(*training >= spent * 100, "{spent:?} of {training:?}");
            }
            assert!(written[39] < costs[0] * 110 * 42, "not much less often either: {:?}", written[39]);
        }
    }

    #[test]
    fn one_that_took_long_is_followed_by_a_long_rest() {
        let asked = Checkpoints { seconds: 1.0, ..Checkpoints::default() };
        let costs = [1, 3_000, 1, 1].map(Duration::from_millis);
        let written = simulated(Cadence::new(&asked, 0), Duration::from_millis(100), &costs);
        assert!(written[1] < Duration::from_secs(4), "{written:?}");
        assert!(written[2] - written[1] >= Duration::from_secs(300), "{written:?}");
        assert!(written[3] - written[2] < Duration::from_secs(2), "{written:?}");
    }
}
