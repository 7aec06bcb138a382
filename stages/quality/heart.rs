//! The heart rates of a recording: how many there are, and which of them no heart made. Unaware of speed and place.

use crate::quality::clock::{Clock, Gaps, usual_step};
use crate::quality::finding::{Finding, FindingKind, join};
use crate::workouts::Workout;

/// Heart rates outside these limits (BPM) are the sensor's fault, not the runner's.
pub const PLAUSIBLE: [f64; 2] = [30.0, 230.0];

/// Steps longer than this (s) say nothing about the time between two equal values.
const LONGEST_STEP_OF_A_LINE: f64 = 20.0;

/// One value for this long (s) is a flat line. In 57 real runs at 1 Hz the longest natural one took 71 s.
const SHORTEST_LINE: f64 = 120.0;

/// A change is looked for between samples up to so many seconds apart, or between neighbours.
const SPIKE_WINDOW: f64 = 3.0;

/// A spike is a change of more than this, BPM ...
const SPIKE_CHANGE: f64 = 20.0;

/// ... and faster than this, BPM/s. At the onset of exercise, when it is fastest, heart rate peaks after some 10 s
/// and then drops by 10 to 20 BPM within 7 s (Fagraeus and Linnarsson, J Appl Physiol 40, 1976, 679), about
/// 3 BPM/s; the later answer to a step of 4 m/s, with a gain of 24 BPM per m/s and a time constant of 58 s, begins
/// at 1.7 BPM/s. More than twice the fastest of these is taken for impossible.
const SPIKE_RATE: f64 = 8.0;

/// The most samples that one is compared with, whatever their times.
const SPIKE_NEIGHBOURS: usize = 32;

/// One heart rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beat {
    /// Seconds since the start; the middle of its span.
    pub at: f64,
    /// BPM.
    pub rate: f64,
    /// Seconds that it is an average over, 0 for an instant.
    pub span: f64,
}

/// The heart rates of a workout in order of time, one an instant.
pub struct Heart {
    /// Those that a heart can have.
    pub beats: Vec<Beat>,
    /// Samples that are no finite number or have no time.
    pub unusable: u64,
    /// Samples outside [`PLAUSIBLE`].
    pub out_of_range: u64,
    /// The usual time between two, s.
    pub step: f64,
}

impl Heart {
    /// Puts the heart rates in order; none where the workout has none. Implausible ones are told and left out.
    pub fn of(workout: &Workout, clock: &Clock, findings: &mut Vec<Finding>) -> Option<Self> {
        let (rates, times) = (workout.heart_rate.as_deref()?, workout.heart_rate_times()?);
        let spans = workout.heart_rate_span.as_deref().unwrap_or_default();
        let beat = |(i, (rate, time)): (usize, (&f32, &f64))| {
            let span = spans.get(i).copied().filter(|span| span.is_finite() && *span > 0.0).unwrap_or_default();
            Beat { at: time - clock.start, rate: f64::from(*rate), span: f64::from(span) }
        };
        let beats = rates.iter().zip(times).enumerate().map(beat);
        let mut beats: Vec<Beat> = beats.filter(|beat| beat.at.is_finite() && beat.rate.is_finite()).collect();
        let unusable = (rates.len() - beats.len()) as u64;
        beats.sort_by(|a, b| a.at.total_cmp(&b.at));
        beats.dedup_by(|next, kept| {
            let same = next.at == kept.at;
            if same {
                kept.rate = 0.5 * (kept.rate + next.rate);
            }
            same
        });
        let all = beats.len();
        beats.retain(|beat| {
            let plausible = (PLAUSIBLE[0]..=PLAUSIBLE[1]).contains(&beat.rate);
            if !plausible {
                join(findings, FindingKind::OutOfRange, [beat.at; 2], format!("{:.0} BPM", beat.rate));
            }
            plausible
        });
        let step = usual_step(&beats.iter().map(|beat| beat.at).collect::<Vec<f64>>());
        Some(Self { unusable, out_of_range: (all - beats.len()) as u64, beats, step })
    }

    /// Stretches without a heart rate. An average stands for its whole span.
    pub fn gaps(&self, clock: &Clock, findings: &mut Vec<Finding>) -> Gaps {
        let covered = self.beats.iter().map(|beat| [beat.at - 0.5 * beat.span, beat.at + 0.5 * beat.span]);
        let (gaps, stretches) = clock.gaps(covered, self.step);
        for [from, to] in stretches {
            let detail = format!("no heart rate for {:.0} s", clock.active(from, to));
            findings.push(Finding { kind: FindingKind::Gap, from, to, detail });
        }
        gaps
    }

    /// The longest time of one value and the time of all flat lines, in seconds.
    ///
    /// None where samples are usually more than 20 s apart: whole beats once a minute are equal by chance, and
    /// equal values a minute apart do not say that nothing happened between them. Averages are left out, as
    /// they are smooth by their making.
    pub fn flat_lines(&self, findings: &mut Vec<Finding>) -> Option<[f64; 2]> {
        if self.beats.len() < 2 || self.step > LONGEST_STEP_OF_A_LINE {
            return None;
        }
        let instant = |beat: &Beat| beat.span == 0.0;
        let same =
            |a: &Beat, b: &Beat| a.rate == b.rate && b.at - a.at <= LONGEST_STEP_OF_A_LINE && instant(a) && instant(b);
        let (mut longest, mut total) = (0.0_f64, 0.0);
        for line in self.beats.chunk_by(same) {
            let (from, to) = (line[0].at, line[line.len() - 1].at);
            longest = longest.max(to - from);
            if to - from >= SHORTEST_LINE {
                total += to - from;
                let detail = format!("{:.0} BPM for {:.0} s", line[0].rate, to - from);
                findings.push(Finding { kind: FindingKind::FlatLine, from, to, detail });
            }
        }
        Some([longest, total])
    }

    /// Changes faster than a heart can: by more than 20 BPM and faster than 8 BPM/s, between samples at most 3 s
    /// apart or between neighbours. A change that goes on counts again every time it has gone so far.
    pub fn spikes(&self, findings: &mut Vec<Finding>) -> u64 {
        let (mut count, mut first) = (0, 0);
        for (i, beat) in self.beats.iter().enumerate() {
            first = first.max(i.saturating_sub(SPIKE_NEIGHBOURS));
            while first + 1 < i && beat.at - self.beats[first].at > SPIKE_WINDOW {
                first += 1;
            }
            let too_fast = |before: &&Beat| {
                let (change, seconds) = ((beat.rate - before.rate).abs(), beat.at - before.at);
                change > SPIKE_CHANGE && change > SPIKE_RATE * seconds
            };
            if let Some(before) = self.beats[first..i].iter().rev().find(too_fast) {
                let seconds = beat.at - before.at;
                let detail = format!("from {:.0} to {:.0} BPM in {seconds:.1} s", before.rate, beat.rate);
                join(findings, FindingKind::Spike, [before.at, beat.at], detail);
                count += 1;
                first = i;
            }
        }
        count
    }

    /// The mean heart rate, the share of averages over a span, and the longest span in seconds.
    pub fn averages(&self) -> Option<[f64; 3]> {
        let n = self.beats.len() as f64;
        let averages = self.beats.iter().filter(|beat| beat.span > 0.0).count();
        let longest = self.beats.iter().map(|beat| beat.span).fold(0.0, f64::max);
        let mean = self.beats.iter().map(|beat| beat.rate).sum::<f64>() / n;
        (!self.beats.is_empty()).then(|| [mean, averages as f64 / n, longest])
    }
}
