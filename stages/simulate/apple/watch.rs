//! Heart rates as a phone keeps them: instants where they are recent and dense, averages over spans where they were
//! condensed, and those of the hours without a workout. Unaware of files.

use rand_chacha::ChaCha8Rng;

use crate::simulate::apple::outing::Outing;
use crate::simulate::noise::{normal, uniform};
use crate::simulate::runner::Runner;

/// A heart rate of a workout, over seconds since its start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// First second.
    pub start: usize,
    /// Second after the last one of a span; the first one for an instant.
    pub end: usize,
    /// What the watch says, BPM: whole for an instant.
    pub rate: f64,
    /// The same without noise, BPM.
    pub clean: f64,
    /// The same on a day like any other, BPM.
    pub usual: f64,
    /// Whether the watch was paused.
    pub paused: bool,
}

/// Most seconds between instants; what is sparser is condensed to spans.
const INSTANTS: f64 = 60.0 / 7.0;
/// Steps between samples as multiples of the usual step, ever less likely: 4, 5, 6 and 7 s around 5.
const STEPS: [f64; 10] = [0.8, 0.8, 0.8, 0.8, 1.0, 1.0, 1.0, 1.2, 1.2, 1.4];

/// The heart rates of a workout at so many a minute.
pub fn samples(rng: &mut ChaCha8Rng, outing: &Outing, a_minute: f64) -> Vec<Sample> {
    let step = 60.0 / a_minute;
    if step <= INSTANTS { instants(rng, outing, step) } else { spans(rng, outing, step) }
}

fn instants(rng: &mut ChaCha8Rng, outing: &Outing, step: f64) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut at = uniform(rng, 0.0, step);
    while (at as usize) < outing.seconds() {
        let second = at as usize;
        samples.push(Sample {
            start: second,
            end: second,
            rate: outing.sensor[second].round(),
            clean: outing.clean[second],
            usual: outing.usual[second],
            paused: outing.is_paused(second),
        });
        at += (step * STEPS[uniform(rng, 0.0, 10.0) as usize]).max(1.0);
    }
    samples
}

/// Spans follow one another with gaps of some seconds and end where a pause begins or ends.
fn spans(rng: &mut ChaCha8Rng, outing: &Outing, step: f64) -> Vec<Sample> {
    let mut borders: Vec<usize> = outing.pauses.iter().flat_map(|pause| [pause.start, pause.end]).collect();
    borders.push(outing.seconds());
    let (mut samples, mut start) = (Vec::new(), 0);
    for border in borders {
        // Equal shares of the stretch, so that its last span is no crumb.
        let count = ((border - start) as f64 / step).round().max(1.0) as usize;
        let share = (border - start) as f64 / count as f64;
        for place in 0..count {
            let first = start + (place as f64 * share) as usize;
            let gap = (share * uniform(rng, 0.01, 0.2)) as usize;
            let end = (start + ((place + 1) as f64 * share) as usize - gap).max(first + 1);
            let paused = outing.is_paused(first.midpoint(end));
            let [rate, clean, usual] =
                [&outing.sensor, &outing.clean, &outing.usual].map(|series| mean(&series[first..end]));
            samples.push(Sample { start: first, end, rate, clean, usual, paused });
        }
        start = border;
    }
    samples
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Heart rates on a day with this many, as seconds of the day and BPM: low at night, livelier by day.
pub fn resting(rng: &mut ChaCha8Rng, runner: &Runner, count: usize) -> Vec<(i64, f64)> {
    let step = 86_400.0 / count as f64;
    let draw = |place: usize| {
        let second = ((place as f64 + uniform(rng, 0.0, 1.0)) * step) as i64;
        let awake = (7 * 3600..22 * 3600).contains(&second);
        let above = if awake { 16.0 + normal(rng, 0.0, 9.0).abs() } else { normal(rng, 1.0, 3.0) };
        (second, (runner.rest + above).round())
    };
    (0..count).map(draw).collect()
}
