//! The sequences of one part, standardised and end to end, and padded batches gathered from them.
//! Unaware of models and of the order in which batches are taken.

use anyhow::Result;
use pacer_stages::about::About;
use pacer_stages::history;
use pacer_stages::model::{ModelConfig, Scaler, UserInput};
use pacer_stages::sequences::Sequences;
use pacer_stages::tensors::column::Column;
use tch::{Device, Tensor};

use crate::models::input::{History, Input};
use crate::training::checkpoint::file::checksum_of;

/// Some workouts of a set of sequences, end to end and standardised: on the device where that is a GPU, else
/// computed from the sequences for each batch anew, so that memory holds no second copy of them.
pub struct Set {
    rows: Rows,
    resident: Option<Resident>,
    steps: usize,
    spans: Vec<Span>,
    /// The place of each workout's user among the known ones, by its place among the sequences.
    users: Vec<i64>,
    about: About,
    history: history::History,
    device: Device,
}

/// The numbers of a set where they lie: in the file of the sequences, where they were read from one.
struct Rows {
    features: Column<f32>,
    width: usize,
    target: Column<f32>,
    real: Column<u8>,
    time: Column<f32>,
    /// The places of the features that are used.
    columns: Vec<usize>,
    scaler: Scaler,
}

/// A set on a device.
struct Resident {
    /// Standardised features, shape `[steps + 1, features]`; the last row is 0 and stands for padding.
    features: Tensor,
    /// Standardised heart rate, shape `[steps + 1]`; 0 where there is no real sample.
    target: Tensor,
    /// 1 at real samples, else 0, shape `[steps + 1]`.
    weight: Tensor,
    /// Seconds since the step before, shape `[steps + 1]`.
    seconds: Tensor,
}

// SAFETY: LibTorch counts references to its tensors atomically and lets several threads read one; nothing writes to
// these after they are made.
unsafe impl Sync for Resident {}

/// One workout within a [`Set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its place among the sequences that the set was made of.
    pub place: usize,
    /// Its first step among the sequences.
    pub first: usize,
    /// Its first step within the set.
    pub offset: usize,
    /// Its steps, without the padding at its end.
    pub length: usize,
    /// Real samples among them.
    pub real: usize,
}

/// Some workouts of a [`Set`], padded to the longest of them.
pub struct Batch {
    /// What a network reads.
    pub input: Input,
    /// Standardised heart rate, shape `[longest, workouts]`.
    pub target: Tensor,
    /// 1 at real samples, 0 elsewhere and in padding, shape `[longest, workouts]`.
    pub weight: Tensor,
    /// Real samples in the batch.
    pub real: usize,
    /// The step within the set of each step of the batch; the number of steps of the set for padding.
    pub index: Vec<i64>,
}

impl Set {
    /// Takes the workouts at `places` as a model reads them. What follows a workout's last recorded step is padding
    /// and is left behind here, so that nothing further on can read it.
    pub fn new(sequences: &Sequences, places: &[usize], config: &ModelConfig, device: Device) -> Result<Self> {
        let columns = sequences.select(&config.features)?;
        let UserInput { about, users } = config.architecture.user().cloned().unwrap_or_default();
        let known = |user: &i64| users.binary_search(user).map_or(0, |place| place as i64 + 1);
        let history = match about.history {
            0 => history::History::default(),
            most => history::History::new(sequences, &columns, &config.scaler, most),
        };
        let mut spans = Vec::with_capacity(places.len());
        let mut offset = 0;
        for &place in places {
            let own = sequences.steps(place);
            let last = sequences.valid[own.clone()].iter().rposition(|valid| *valid == 1);
            let length = last.map_or(0, |last| last + 1);
            let real = sequences.real[own.start..own.start + length].iter().filter(|real| **real == 1).count();
            if length > 0 {
                spans.push(Span { place, first: own.start, offset, length, real });
            }
            offset += length;
        }
        let rows = Rows {
            features: sequences.features.clone(),
            width: sequences.width(),
            target: sequences.target.clone(),
            real: sequences.real.clone(),
            time: sequences.time.clone(),
            columns,
            scaler: config.scaler.clone(),
        };
        let resident = if device == Device::Cpu { None } else { Some(rows.to_device(&spans, device)?) };
        let users = sequences.user.iter().map(known).collect();
        Ok(Self { rows, resident, steps: offset, spans, users, about, history, device })
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
    pub fn checksum(&self) -> u64 {
        let rows = &self.rows;
        let numbers = rows.features(&self.spans).chain(rows.target(&self.spans)).chain(rows.weight(&self.spans));
        let users = self.spans.iter().flat_map(|span| {
            let earlier =
                if self.about.history > 0 { self.history.of(span.place).flatten().collect() } else { Vec::new() };
            earlier.into_iter().chain([self.users[span.place] as f32])
        });
        checksum_of(numbers.chain(users))
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
        let shape = [longest as i64, spans.len() as i64];
        let Gathered { features, target, weight, seconds } = match &self.resident {
            Some(resident) => resident.gather(&index, self.device)?,
            None => self.rows.gather(longest, &spans)?,
        };
        let users: Vec<i64> = spans.iter().map(|span| self.users[span.place]).collect();
        Ok(Batch {
            input: Input {
                steps: features.f_view([shape[0], shape[1], -1])?,
                seconds: seconds.f_view(shape)?,
                lengths: spans.iter().map(|span| span.length).collect(),
                users: Tensor::f_from_slice(&users)?.f_to(self.device)?,
                history: (self.about.history > 0).then(|| self.history(&spans)).transpose()?,
            },
            target: target.f_view(shape)?,
            weight: weight.f_view(shape)?,
            real: spans.iter().map(|span| span.real).sum(),
            index,
        })
    }

    /// The earlier workouts of the users of some workouts.
    fn history(&self, spans: &[Span]) -> Result<History> {
        let (most, width) = (self.about.history, history::History::width(self.rows.columns.len()));
        let (mut rows, mut there) = (Vec::new(), Vec::new());
        for (at, span) in spans.iter().enumerate() {
            rows.extend(self.history.of(span.place).flatten());
            there.resize(there.len() + self.history.of(span.place).len(), 1.0f32);
            rows.resize((at + 1) * most * width, 0.0);
            there.resize((at + 1) * most, 0.0);
        }
        let shape = [spans.len() as i64, most as i64, width as i64];
        Ok(History {
            rows: Tensor::f_from_slice(&rows)?.f_to(self.device)?.f_view(shape)?,
            there: Tensor::f_from_slice(&there)?.f_to(self.device)?.f_view([shape[0], shape[1]])?,
        })
    }

    /// All workouts, cut into batches of similar length, for predictions.
    pub fn by_length(&self, size: usize) -> Vec<Vec<usize>> {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|member| self.spans[*member].length);
        order.chunks(size).map(<[usize]>::to_vec).collect()
    }
}

impl Rows {
    /// The standardised features of a step.
    fn row(&self, step: usize) -> impl Iterator<Item = f32> + '_ {
        let row = &self.features[step * self.width..(step + 1) * self.width];
        let Scaler { mean, sd, .. } = &self.scaler;
        self.columns.iter().zip(mean.iter().zip(sd)).map(|(column, (mean, sd))| scaled(row[*column], *mean, *sd))
    }

    /// The standardised heart rate of a step and its weight, both 0 where it has no real sample.
    fn truth(&self, step: usize) -> (f32, f32) {
        match self.real[step] {
            1 => (scaled(self.target[step], self.scaler.target_mean, self.scaler.target_sd), 1.0),
            _ => (0.0, 0.0),
        }
    }

    /// The features of some workouts end to end and a row of zeros, which stands for padding.
    fn features<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = f32> + 'a {
        steps(spans).flat_map(|step| self.row(step)).chain(self.columns.iter().map(|_| 0.0))
    }

    /// The heart rates of some workouts end to end and a zero.
    fn target<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = f32> + 'a {
        steps(spans).map(|step| self.truth(step).0).chain([0.0])
    }

    /// The weights of some workouts end to end and a zero.
    fn weight<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = f32> + 'a {
        steps(spans).map(|step| self.truth(step).1).chain([0.0])
    }

    /// Brings some workouts to a device.
    fn to_device(&self, spans: &[Span], device: Device) -> Result<Resident> {
        let steps = steps(spans).count() + 1;
        let place = |values: &mut dyn Iterator<Item = f32>, count: usize| -> Result<Tensor> {
            let mut all = Vec::with_capacity(count);
            all.extend(values);
            Ok(Tensor::f_from_slice(&all)?.f_to(device)?)
        };
        let shape = [steps as i64, self.columns.len() as i64];
        Ok(Resident {
            features: place(&mut self.features(spans), steps * self.columns.len())?.f_view(shape)?,
            target: place(&mut self.target(spans), steps)?,
            weight: place(&mut self.weight(spans), steps)?,
            seconds: place(&mut self.seconds(spans), steps)?,
        })
    }

    /// Seconds since the step before of some workouts end to end and a zero.
    fn seconds<'a>(&'a self, spans: &'a [Span]) -> impl Iterator<Item = f32> + 'a {
        spans.iter().flat_map(|span| (0..span.length).map(|step| self.seconds_at(span, step))).chain([0.0])
    }

    /// Seconds since the step before; 0 at the first.
    fn seconds_at(&self, span: &Span, step: usize) -> f32 {
        if step == 0 { 0.0 } else { self.time[span.first + step] - self.time[span.first + step - 1] }
    }

    /// The numbers of a batch in the memory of the processor, step by step over all workouts.
    fn gather(&self, longest: usize, spans: &[Span]) -> Result<Gathered> {
        let places = longest * spans.len();
        let mut features = Vec::with_capacity(places * self.columns.len());
        let [mut target, mut weight, mut seconds] = [(); 3].map(|()| Vec::with_capacity(places));
        for step in 0..longest {
            for span in spans {
                if step < span.length {
                    let (truth, weighs) = self.truth(span.first + step);
                    features.extend(self.row(span.first + step));
                    target.push(truth);
                    weight.push(weighs);
                    seconds.push(self.seconds_at(span, step));
                } else {
                    features.resize(features.len() + self.columns.len(), 0.0);
                    for numbers in [&mut target, &mut weight, &mut seconds] {
                        numbers.push(0.0);
                    }
                }
            }
        }
        let tensor = |values: &[f32]| Tensor::f_from_slice(values);
        Ok(Gathered {
            features: tensor(&features)?,
            target: tensor(&target)?,
            weight: tensor(&weight)?,
            seconds: tensor(&seconds)?,
        })
    }
}

/// The numbers of a batch, flat.
struct Gathered {
    features: Tensor,
    target: Tensor,
    weight: Tensor,
    seconds: Tensor,
}

impl Resident {
    fn gather(&self, index: &[i64], device: Device) -> Result<Gathered> {
        let places = Tensor::f_from_slice(index)?.f_to(device)?;
        let select = |from: &Tensor| from.f_index_select(0, &places);
        Ok(Gathered {
            features: select(&self.features)?,
            target: select(&self.target)?,
            weight: select(&self.weight)?,
            seconds: select(&self.seconds)?,
        })
    }
}

/// The steps of workouts among the sequences.
fn steps(spans: &[Span]) -> impl Iterator<Item = usize> + '_ {
    spans.iter().flat_map(|span| span.first..span.first + span.length)
}

fn scaled(value: f32, mean: f64, sd: f64) -> f32 {
    ((f64::from(value) - mean) / sd) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::weights::to_host;
    use crate::training::toy::{config, padded, sequences};

    #[test]
    fn a_batch_gathered_from_the_sequences_is_the_one_gathered_on_a_device() {
        let sequences = padded(&sequences(6, 8), 3);
        let set = Set::new(&sequences, &[4, 1, 3], &config("lstm", false), Device::Cpu).unwrap();
        let resident = Some(set.rows.to_device(&set.spans, Device::Cpu).unwrap());
        let numbers = |batch: &Batch| {
            let tensors = [&batch.input.steps, &batch.target, &batch.weight, &batch.input.seconds];
            tensors.map(|tensor| (tensor.size(), to_host(tensor).unwrap()))
        };
        let here = set.batch(&[2, 0]).unwrap();
        let there = Set { resident, ..set }.batch(&[2, 0]).unwrap();
        assert_eq!(numbers(&here), numbers(&there));
        assert_eq!((here.index, here.real), (there.index, there.real));
    }
}
