//! Stretches in which an optical sensor may have counted steps in place of beats. Unaware of files.
//!
//! Such a sensor locks on to the arm's rhythm, 160 to 190 steps a minute, which is steadier than any heart. A hard
//! and steady run looks the same, so a plateau alone is never suspected: it must also have been reached in a leap,
//! or stand still while the demand on the runner changes.

use crate::features::{Feature, Signal, Signals};
use crate::quality::clock::Clock;
use crate::quality::finding::{Finding, FindingKind};
use crate::quality::heart::{Beat, Heart};
use crate::track::Track;
use crate::workouts::Workout;

/// Steps a minute of runners; heart rates outside are no steps.
const CADENCE: [f64; 2] = [160.0, 190.0];

/// Steadier than this (standard deviation, BPM) for ...
const STEADY: f64 = 3.0;

/// ... at least so many seconds is a plateau.
const SHORTEST: f64 = 120.0;

/// Longer steps than this (s) end a plateau.
const LONGEST_STEP: f64 = 15.0;

/// A leap is this much (BPM) ...
const LEAP: f64 = 20.0;

/// ... within so many seconds before the plateau. A first-order answer with a time constant of 25 s, faster than
/// any published, is 7 BPM below its end at 20 s before it is 3 BPM below.
const LEAP_WITHIN: f64 = 20.0;

/// A leap this early (s) is as likely a sensor that found the pulse.
const WARMING_UP: f64 = 180.0;

/// Time constants (s) of the heart's answer to demand: a change must show in both, so that neither a quick heart
/// that has answered already nor a slow one that has not is suspected.
const ANSWERS: [f64; 2] = [20.0, 60.0];

/// A change of smoothed demand, as speed on the flat (m/s), to which any heart answers: by 15 BPM at the low end of
/// published gains (24 ± 8 BPM per m/s).
const CHANGE: f64 = 1.0;

/// As much where slopes are not known: slowing down this much uphill may be the same effort.
const CHANGE_WITHOUT_ALTITUDE: f64 = 1.5;

/// The last seconds of a plateau, in which a slow heart has not answered yet.
const UNANSWERED: f64 = 30.0;

/// Metabolic cost of running on the flat, J/kg/m.
const FLAT_COST: f64 = 3.6;

/// Suspected seconds; none for recordings without instants near enough to each other.
pub fn suspected(workout: &Workout, clock: &Clock, heart: &Heart, findings: &mut Vec<Finding>) -> Option<f64> {
    if heart.beats.len() < 2 || heart.step > LONGEST_STEP {
        return None;
    }
    let plateaus = plateaus(&heart.beats);
    let track = if plateaus.is_empty() { None } else { Track::new(workout).ok() };
    let demand = track.as_ref().map(|(track, _)| Demand::of(track, clock, &heart.beats));
    let mut seconds = 0.0;
    for [first, last] in plateaus {
        let first = first + approach(&heart.beats[first..=last]);
        let beats = &heart.beats[first..=last];
        let leap = leap(&heart.beats[..first], beats);
        let moved = || demand.as_ref().and_then(|demand| demand.change(first, beats));
        let Some(why) = leap.or_else(moved) else { continue };
        let (from, to) = (beats[0].at, beats[beats.len() - 1].at);
        seconds += to - from;
        let detail = format!("{:.0} BPM for {:.0} s {why}", mean(beats), to - from);
        findings.push(Finding { kind: FindingKind::CadenceLock, from, to, detail });
    }
    Some(seconds)
}

/// First and last places of plateaus, from the left, each as long as it stays steady.
fn plateaus(beats: &[Beat]) -> Vec<[usize; 2]> {
    let (mut plateaus, mut window) = (Vec::new(), Window::default());
    let long = |window: &Window| window.n > 0 && beats[window.end - 1].at - beats[window.first].at >= SHORTEST;
    for (i, beat) in beats.iter().enumerate() {
        let fits = (CADENCE[0]..=CADENCE[1]).contains(&beat.rate) && beat.span == 0.0;
        let follows = window.n == 0 || beat.at - beats[window.end - 1].at <= LONGEST_STEP;
        let mut next = window;
        next.add(beat.rate, i);
        if !(fits && follows && next.sd() < STEADY) && long(&window) {
            plateaus.push([window.first, window.end - 1]);
            window = Window::default();
        }
        if !fits {
            window = Window::default();
            continue;
        }
        if !follows {
            window = Window::default();
        }
        window.add(beat.rate, i);
        while window.sd() >= STEADY {
            window.drop_first(beats);
        }
    }
    if long(&window) {
        plateaus.push([window.first, window.end - 1]);
    }
    plateaus
}

/// How many beats at the beginning still lead up to the plateau.
fn approach(plateau: &[Beat]) -> usize {
    let mean = mean(plateau);
    plateau.iter().position(|beat| (beat.rate - mean).abs() <= STEADY).unwrap_or_default()
}

/// Neighbouring beats and their spread.
#[derive(Clone, Copy, Default)]
struct Window {
    first: usize,
    end: usize,
    n: usize,
    sum: f64,
    squares: f64,
}

impl Window {
    /// Sums are taken about the middle of the band, so that nothing is lost to rounding.
    fn about(rate: f64) -> f64 {
        rate - 0.5 * (CADENCE[0] + CADENCE[1])
    }

    fn add(&mut self, rate: f64, place: usize) {
        if self.n == 0 {
            *self = Self { first: place, ..Self::default() };
        }
        self.n += 1;
        self.end = place + 1;
        self.sum += Self::about(rate);
        self.squares += Self::about(rate).powi(2);
    }

    fn drop_first(&mut self, beats: &[Beat]) {
        let value = Self::about(beats[self.first].rate);
        self.sum -= value;
        self.squares -= value * value;
        self.first += 1;
        self.n -= 1;
    }

    fn sd(&self) -> f64 {
        let n = self.n.max(1) as f64;
        (self.squares / n - (self.sum / n).powi(2)).max(0.0).sqrt()
    }
}

fn mean(beats: &[Beat]) -> f64 {
    beats.iter().map(|beat| beat.rate).sum::<f64>() / beats.len() as f64
}

/// Whether the plateau was reached in a leap, in words.
fn leap(before: &[Beat], plateau: &[Beat]) -> Option<String> {
    let from = plateau[0].at;
    let near = before.iter().rev().take_while(|beat| beat.at >= from - LEAP_WITHIN);
    let low = near.min_by(|a, b| a.rate.total_cmp(&b.rate))?;
    let leapt = from >= WARMING_UP && mean(plateau) - low.rate > LEAP;
    leapt.then(|| format!("after a leap from {:.0} BPM in {:.0} s", low.rate, from - low.at))
}

/// The demand on the runner at each beat, in m/s, smoothed by each of [`ANSWERS`].
struct Demand {
    speed: [Option<Vec<f64>>; 2],
    /// Power as the speed on the flat that takes as much.
    power: [Option<Vec<f64>>; 2],
}

impl Demand {
    fn of(track: &Track, clock: &Clock, beats: &[Beat]) -> Self {
        let at: Vec<f64> = beats.iter().map(|beat| beat.at + clock.start - track.start).collect();
        let signals = Signals::new(track, 30.0);
        let smooth = |signal| ANSWERS.map(|tau| signals.sample(&Feature::Ema(signal, tau), &at).ok());
        Self { speed: smooth(Signal::Speed), power: smooth(Signal::Power) }
    }

    /// Whether demand changes within the plateau, in words. Where altitude is known both speed and power must
    /// change: speed alone may follow the hills, power alone an altitude that is noisy.
    fn change(&self, first: usize, plateau: &[Beat]) -> Option<String> {
        let until = plateau[plateau.len() - 1].at - UNANSWERED;
        let n = plateau.iter().take_while(|beat| beat.at <= until).count();
        let range = |series: &Vec<f64>| {
            let within = series[first..first + n].iter();
            within.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], x| [low.min(*x), high.max(*x)])
        };
        let limit = if self.power[0].is_some() { CHANGE } else { CHANGE_WITHOUT_ALTITUDE };
        let beyond = |series: &[Option<Vec<f64>>; 2], limit: f64| {
            series.iter().flatten().map(range).all(|[low, high]| high - low > limit)
        };
        let [low, high] = range(self.speed[0].as_ref()?);
        let changed = beyond(&self.speed, limit) && beyond(&self.power, CHANGE * FLAT_COST);
        changed.then(|| format!("while speed went between {low:.1} and {high:.1} m/s"))
    }
}
