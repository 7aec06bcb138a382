//! When the next checkpoint is due. Unaware of what is in one and of the clock: it is told what time passed.

use std::time::Duration;

use pacer_stages::job::Checkpoints;

/// How many times as long as the writing of a checkpoint took, nothing is written after it: writing then takes less
/// than a hundredth of the time, whatever else was asked for.
const REST: u32 = 100;

/// The rhythm of checkpoints.
pub struct Cadence {
    asked: Checkpoints,
    /// What the latest one took; nothing before the first.
    cost: Duration,
}

impl Cadence {
    /// The rhythm that a job asks for.
    pub fn new(asked: &Checkpoints) -> Self {
        Self { asked: asked.clone(), cost: Duration::ZERO }
    }

    /// Whether to write one, so much time and so many steps after the latest, or after the start.
    pub fn is_due(&self, passed: Duration, steps: u64) -> bool {
        let by_steps = self.asked.steps.is_some_and(|limit| steps >= limit);
        let by_time = passed.as_secs_f64() >= self.asked.seconds;
        (by_steps || by_time) && passed >= self.cost * REST
    }

    /// Learns what the writing of one took.
    pub fn took(&mut self, cost: Duration) {
        self.cost = cost;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Steps of a training that takes one as often as it may, and the time spent on them and on checkpoints.
    fn simulated(asked: Checkpoints, step: Duration, costs: &[Duration]) -> Vec<u64> {
        let mut cadence = Cadence::new(&asked);
        let (mut passed, mut since, mut written) = (Duration::ZERO, 0, Vec::new());
        for taken in 1..=1_000_000 {
            passed += step;
            since += 1;
            if cadence.is_due(passed, since) {
                let Some(cost) = costs.get(written.len()) else { break };
                cadence.took(*cost);
                written.push(taken);
                (passed, since) = (Duration::ZERO, 0);
            }
        }
        written
    }

    #[test]
    fn what_comes_first_of_seconds_and_steps_makes_one_due() {
        let step = Duration::from_millis(500);
        let free = [Duration::ZERO; 3];
        let asked = Checkpoints { seconds: 5.0, ..Checkpoints::default() };
        assert_eq!(simulated(asked.clone(), step, &free), [10, 20, 30]);
        assert_eq!(simulated(Checkpoints { steps: Some(4), ..asked.clone() }, step, &free), [4, 8, 12]);
        assert_eq!(simulated(Checkpoints { steps: Some(40), ..asked }, step, &free), [10, 20, 30]);
    }

    #[test]
    fn writing_takes_at_most_a_hundredth_of_the_time_however_slow_it_is() {
        let asked = Checkpoints { steps: Some(1), ..Checkpoints::default() };
        let step = Duration::from_millis(10);
        let costs: Vec<Duration> = (0..50).map(|k| Duration::from_millis(1 + k * k * 37 % 90)).collect();
        let written = simulated(asked, step, &costs);
        assert_eq!((written.len(), written[0]), (50, 1));
        for (place, taken) in written.iter().enumerate() {
            let training = step * *taken as u32;
            let writing: Duration = costs[..place].iter().sum();
            assert!(training >= writing * 100, "{writing:?} of {training:?}");
        }
    }
}
