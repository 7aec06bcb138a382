//! The lines of users, laid out as a network reads them. Unaware of how lines are fitted.

use anyhow::Result;
use pacer_stages::mixed::Mixed;
use pacer_stages::scaler::Scaler;
use pacer_stages::sequences::Sequences;
use tch::{Device, Tensor};

use crate::models::input::Line;
use crate::training::data::Span;

/// The line of each workout's user, as it was known when that began, in the units of a network's heart rates.
pub struct Lines {
    /// What they say at each step of the sequences.
    rates: Vec<f32>,
    /// Their weights, so many for each workout.
    weights: Vec<f32>,
    width: usize,
}

impl Lines {
    /// The lines of all workouts of some sequences.
    pub fn new(mixed: &Mixed, sequences: &Sequences, scaler: &Scaler) -> Result<Self> {
        let lines = mixed.lines(sequences)?;
        let bpm = mixed.along(&lines, sequences)?;
        let standardised = |rate: &f32| ((f64::from(*rate) - scaler.target_mean) / scaler.target_sd) as f32;
        let width = mixed.weights.len();
        let centre = mixed.scaler.target_mean - scaler.target_mean;
        let weight = |(at, weight): (usize, &f64)| {
            let level = if at % width + 1 == width { centre } else { 0.0 };
            ((weight + level) / scaler.target_sd) as f32
        };
        let weights = lines.iter().enumerate().map(weight).collect();
        Ok(Self { rates: bpm.iter().map(standardised).collect(), weights, width })
    }

    /// The weights of the workout at a place among the sequences.
    pub fn weights(&self, place: usize) -> &[f32] {
        &self.weights[place * self.width..(place + 1) * self.width]
    }

    /// The lines of some workouts, padded to `longest` steps.
    pub fn gather(&self, longest: usize, spans: &[Span], device: Device) -> Result<Line> {
        let at = |step: usize, span: &Span| if step < span.length { self.rates[span.first + step] } else { 0.0 };
        let rates = (0..longest).flat_map(|step| spans.iter().map(move |span| at(step, span)));
        let rates: Vec<f32> = rates.collect();
        let weights: Vec<f32> = spans.iter().flat_map(|span| self.weights(span.place)).copied().collect();
        let (workouts, width) = (spans.len() as i64, self.width as i64);
        Ok(Line {
            rates: Tensor::f_from_slice(&rates)?.f_to(device)?.f_view([longest as i64, workouts])?,
            weights: Tensor::f_from_slice(&weights)?.f_to(device)?.f_view([workouts, width])?,
        })
    }
}
