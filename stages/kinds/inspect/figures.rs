//! Plain figures of a workout beside those of its quality: how far, and how fast the heart. Unaware of charts and
//! of findings.

use crate::kinds::inspect::traces::Traces;
use crate::physiology;
use crate::quality::heart::PLAUSIBLE;
use crate::scale::Point;

/// Figures of one workout; none where the series for it is missing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Metres: speed over time, gaps and pauses left out.
    pub distance: Option<f64>,
    /// Mean heart rate in BPM of the plausible samples, every one alike.
    pub heart_mean: Option<f64>,
    /// Highest plausible heart rate in BPM.
    pub heart_max: Option<f64>,
}

impl Figures {
    /// Takes the figures from the series.
    pub fn of(traces: &Traces) -> Self {
        let speed = if traces.device.is_empty() { &traces.positions } else { &traces.device };
        let stretches = traces.unbroken(speed);
        let plausible = |rate: &f64| (PLAUSIBLE[0]..=PLAUSIBLE[1]).contains(rate);
        let rates: Vec<f64> = traces.heart.iter().map(|point| point[1]).filter(plausible).collect();
        Self {
            distance: (speed.len() > 1).then(|| stretches.iter().map(|line| distance(line)).sum()),
            heart_mean: (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64),
            heart_max: rates.into_iter().reduce(f64::max),
        }
    }
}

fn distance(line: &[Point]) -> f64 {
    let (time, speed): (Vec<f64>, Vec<f64>) = line.iter().map(|point| (60.0 * point[0], point[1])).unzip();
    physiology::distance(&time, &speed).last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workouts::Workout;

    #[test]
    fn a_gap_is_no_way_and_a_lost_beat_no_heart_rate() {
        let time: Vec<f64> = (0..300).filter(|i| !(100..200).contains(i)).map(f64::from).collect();
        let speed = time.iter().map(|time| if *time < 250.0 { 3.0 } else { 0.0 }).collect();
        let mut heart_rate: Vec<f32> = (0..200).map(|i| 100.0 + (i / 2) as f32).collect();
        (heart_rate[7], heart_rate[8]) = (0.0, 240.0);
        let run = Workout { time: Some(time), speed: Some(speed), heart_rate: Some(heart_rate), ..Workout::default() };
        let figures = Figures::of(&Traces::of(&run).unwrap());
        let distance = figures.distance.unwrap();
        assert!((distance - 3.0 * 148.5).abs() < 1e-6, "half of the step in which it stops: {distance}");
        let mean = (29_900.0 - 103.0 - 104.0) / 198.0;
        assert!((figures.heart_mean.unwrap() - mean).abs() < 1e-9 && figures.heart_max == Some(199.0), "{figures:?}");
        let empty = Workout { time: Some(vec![5.0]), ..Workout::default() };
        assert_eq!(Figures::of(&Traces::of(&empty).unwrap()), Figures::default());
    }
}
