//! The sequences of one part on the device, standardised and end to end, and padded batches gathered from them.
//! Unaware of models and of the order in which batches are taken.

use anyhow::Result;
use pacer_stages::model::Scaler;
use pacer_stages::sequences::Sequences;
use tch::{Device, Kind, Tensor};

use crate::models::recurrent::{Padded, to_host};
use crate::training::checkpoint::file::checksum;

/// Some workouts of a set of sequences, end to end, standardised, on a device.
pub struct Set {
    /// Standardised features, shape `[steps + 1, features]`; the last row is 0 and stands for padding.
    features: Tensor,
    /// Standardised heart rate, shape `[steps + 1]`; 0 where there is no real sample.
    target: Tensor,
    /// 1 at real samples, else 0, shape `[steps + 1]`.
    weight: Tensor,
    steps: usize,
    spans: Vec<Span>,
    device: Device,
}

/// One workout within a [`Set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its place among the sequences that the set was made of.
    pub place: usize,
    /// Its first step within the set.
    pub offset: usize,
    /// Its steps, without the padding at its end.
    pub length: usize,
    /// Real samples among them.
    pub real: usize,
}

/// Some workouts of a [`Set`], padded to the longest of them.
pub struct Batch {
    /// The features.
    pub padded: Padded,
    /// Standardised heart rate, shape `[longest, workouts]`.
    pub target: Tensor,
    /// 1 at real samples, 0 elsewhere and in padding, shape `[longest, workouts]`.
    pub weight: Tensor,
    /// Real samples in the batch.
    pub real: usize,
    /// The step within the set of each step of the batch; the number of steps of the set for padding.
    pub index: Vec<i64>,
}

impl Batch {
    /// The sum over real samples of the distance of predictions `[longest, workouts]` to the truth, both standardised.
    pub fn absolute_error(&self, predictions: &Tensor) -> Result<f64> {
        let error = predictions.f_sub(&self.target)?.f_abs()?.f_mul(&self.weight)?;
        Ok(error.f_sum(Kind::Double)?.f_double_value(&[])?)
    }
}

impl Set {
    /// Takes the workouts at `places` with the features at `columns`. What follows a workout's last recorded
    /// step is padding and is left behind here, so that nothing further on can read it.
    pub fn new(
        sequences: &Sequences,
        places: &[usize],
        columns: &[usize],
        scaler: &Scaler,
        device: Device,
    ) -> Result<Self> {
        let (mut features, mut target, mut weight) = (Vec::new(), Vec::new(), Vec::new());
        let mut spans = Vec::with_capacity(places.len());
        for &place in places {
            let steps = sequences.steps(place);
            let length =
                steps.clone().rev().find(|step| sequences.valid[*step] == 1).map_or(0, |last| last + 1 - steps.start);
            let mut span = Span { place, offset: target.len(), length, real: 0 };
            for step in steps.take(length) {
                let row = sequences.row(step);
                let scaled =
                    columns.iter().enumerate().map(|(k, column)| scaled(row[*column], scaler.mean[k], scaler.sd[k]));
                features.extend(scaled);
                let real = sequences.real[step] == 1;
                target.push(if real { scaled_target(sequences.target[step], scaler) } else { 0.0 });
                weight.push(f32::from(u8::from(real)));
                span.real += usize::from(real);
            }
            if length > 0 {
                spans.push(span);
            }
        }
        let steps = target.len();
        features.extend(vec![0.0; columns.len()]);
        target.push(0.0);
        weight.push(0.0);
        let shape = [target.len() as i64, columns.len() as i64];
        let place = |values: &[f32]| Tensor::f_from_slice(values)?.f_to(device);
        Ok(Self {
            features: place(&features)?.f_view(shape)?,
            target: place(&target)?,
            weight: place(&weight)?,
            steps,
            spans,
            device,
        })
    }

    /// The workouts that have any step.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Number of workouts that have any step.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no workout.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Number of steps in all.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// A checksum of all numbers of the set.
    pub fn checksum(&self) -> Result<u64> {
        let tensors = [&self.features, &self.target, &self.weight].map(to_host);
        Ok(checksum(tensors.into_iter().collect::<Result<Vec<_>>>()?.iter().map(Vec::as_slice)))
    }

    /// Where the tensors lie.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Real samples in all.
    pub fn real(&self) -> usize {
        self.spans.iter().map(|span| span.real).sum()
    }

    /// Keeps the workouts that have a real sample; the others can teach nothing. Returns how many went.
    pub fn drop_unmeasured(&mut self) -> usize {
        let before = self.spans.len();
        self.spans.retain(|span| span.real > 0);
        before - self.spans.len()
    }

    /// Gathers the workouts at these places among [`Self::spans`].
    pub fn batch(&self, members: &[usize]) -> Result<Batch> {
        let spans: Vec<Span> = members.iter().map(|member| self.spans[*member]).collect();
        let longest = spans.iter().map(|span| span.length).max().unwrap_or(0);
        let place = |step: usize, span: &Span| if step < span.length { span.offset + step } else { self.steps };
        let index = (0..longest).flat_map(|step| spans.iter().map(move |span| place(step, span) as i64));
        let index: Vec<i64> = index.collect();
        let places = Tensor::f_from_slice(&index)?.f_to(self.device)?;
        let shape = [longest as i64, spans.len() as i64];
        let steps = self.features.f_index_select(0, &places)?.f_view([shape[0], shape[1], -1])?;
        Ok(Batch {
            padded: Padded { steps, lengths: spans.iter().map(|span| span.length).collect() },
            target: self.target.f_index_select(0, &places)?.f_view(shape)?,
            weight: self.weight.f_index_select(0, &places)?.f_view(shape)?,
            real: spans.iter().map(|span| span.real).sum(),
            index,
        })
    }

    /// All workouts, cut into batches of similar length, for predictions.
    pub fn by_length(&self, size: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|member| self.spans[*member].length);
        order.chunks(size).map(<[usize]>::to_vec).collect()
    }
}

fn scaled(value: f32, mean: f64, sd: f64) -> f32 {
    ((f64::from(value) - mean) / sd) as f32
}

fn scaled_target(bpm: f32, scaler: &Scaler) -> f32 {
    scaled(bpm, scaler.target_mean, scaler.target_sd)
}
