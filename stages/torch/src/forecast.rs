//! Runs the kind `forecast`: heart rates continued from a warm-up, scored after it alone. Unaware of networks that are
//! told a speed.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use pacer_stages::kinds::forecast::Forecast;
use pacer_stages::model::Weights;
use pacer_stages::past::{LEAST_SPREAD, Ordered, Past, clock, quantile};
use pacer_stages::predictions::{Interval, Predicted, Writer};
use pacer_stages::score::{WorkoutScore, mae, score};
use pacer_stages::sequences::{Grid, Sequences};
use pacer_stages::split::Split;
use pacer_stages::stage::{Blame, Context, Metrics};
use rayon::iter::{IndexedParallelIterator as _, IntoParallelIterator as _, ParallelIterator as _};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tch::{Device, Tensor};

use crate::models::forecaster::{Forecaster, Plan};
use crate::models::weights::{flatten, to_device};
use crate::random::{Purpose, stream};
use crate::{device, evaluate};

/// What the figures are about; those of models that are given no heart rate are about something else.
const TASK: &str = "continues a warm-up of real heart rate";

/// Bits of a step within the count of random numbers.
const STEP_BITS: u32 = 20;

/// Numbers of workouts that a warning lists.
const NAMED: usize = 10;

/// Continues every workout and writes figures, predictions and errors by workout.
pub fn run(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let params: Forecast = serde_json::from_value(params.clone())?;
    let device = device::open(context.job.device)?;
    let weights = read(context.job.input("weights")?)?;
    let forecaster = Forecaster::published(&weights, params.stretch)?;
    warn_of_others(&weights, &forecaster, context);
    let theta = to_device(&flatten(forecaster.parameters(), &weights)?, device)?;
    let sequences = Sequences::read(context.job.input("sequences")?)?;
    let split = Split::read(context.job.input("split")?)?;
    let step_s = step_of(&sequences)?;
    let (starts, left_out) = starts(&params, forecaster.reach(), &sequences, &split, context)?;
    let scored = after_warm_up(&params, &sequences, &starts);
    let job = Work { params: &params, forecaster: &forecaster, sequences: &sequences, step_s, context };
    let forecasts = job.all(&theta, &starts)?;
    let places: Vec<usize> = starts.iter().map(|start| start.place).collect();
    let constant = evaluate::constant(&sequences, &split)?.predict_linear(&sequences)?;
    let constant_mae = mae(&constant, &scored, &places)?;
    let plain = |rate| Predicted { rate, interval: None };
    let persistence = persistence(&params, &sequences, &starts);
    let all = [("constant", plain(constant)), ("forecaster", forecasts), ("persistence", plain(persistence))];
    let mut predictions = Writer::create(&context.output(&Forecast::PREDICTIONS))?;
    let (mut metrics, mut rows) = (Metrics::new(), Vec::new());
    for (name, predicted) in &all {
        let (scores, by_workout) = score(&predicted.rate, &scored, &places, constant_mae)?;
        predictions.add(name, &scored, &places, predicted)?;
        let mut figures = serde_json::to_value(scores)?.as_object().cloned().unwrap_or_default();
        figures.extend(predicted.coverage(&scored, &places).map(|coverage| coverage.figures()).unwrap_or_default());
        figures.extend(job.basis(&split, left_out));
        metrics.insert((*name).to_owned(), figures.into());
        rows.extend(by_workout.into_iter().map(|row: WorkoutScore| (*name, row)));
    }
    predictions.finish()?;
    evaluate::per_workout(&rows)?.write(&context.output(&Forecast::PER_WORKOUT))?;
    let path = context.output(&Forecast::METRICS);
    let text = serde_json::to_string_pretty(&metrics)? + "\n";
    fs::write(&path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    Ok(metrics)
}

/// A workout that can be continued.
#[derive(Clone, Debug)]
struct Start {
    /// Its place among the sequences.
    place: usize,
    /// Its steps, without the padding at its end.
    length: usize,
    /// What the forecaster is given.
    past: Past,
}

/// The arrays of a safetensors file that the user gives, all of 32-bit floats. It is read whole and not mapped, since
/// nobody promised that it stays as it is.
fn read(path: &Path) -> Result<BTreeMap<String, Weights>> {
    let bytes = fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| {
        format!("`{}` is no safetensors file: make one with `scripts/convert_lag_llama.py`", path.display())
    })?;
    let mut weights = BTreeMap::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            bail!("`{}`: `{name}` holds {} where F32 belongs", path.display(), view.dtype());
        }
        let number = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("four bytes of a 32-bit float"));
        let values = view.data().chunks_exact(size_of::<f32>()).map(number).collect();
        weights.insert(name, Weights { shape: view.shape().to_vec(), values });
    }
    Ok(weights)
}

/// Names weights that no part of the forecaster uses: they may belong to another one.
fn warn_of_others(weights: &BTreeMap<String, Weights>, forecaster: &Forecaster, context: &Context<'_>) {
    let used: BTreeSet<&str> = forecaster.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let others: Vec<String> =
        weights.keys().filter(|name| !used.contains(name.as_str())).map(|name| format!("`{name}`")).collect();
    if !others.is_empty() {
        context.warn(format!("not used, since no part of the forecaster has these weights: {}", others.join(", ")));
    }
}

/// Seconds between steps, which must be even.
fn step_of(sequences: &Sequences) -> Result<f64> {
    let Grid::Time { step_s } = sequences.header.grid else {
        bail!(
            "the sequences have a step for each recorded point, and a forecaster needs even times: use `resample` with \
               `grid = {{ by = \"time\" }}`"
        );
    };
    for place in 0..sequences.len() {
        let time = &sequences.time[sequences.steps(place)];
        let length = valid_length(sequences, place);
        let even =
            |step: usize| (f64::from(time[step]) - f64::from(time[0]) - step as f64 * step_s).abs() < 0.01 * step_s;
        if let Some(step) = (0..length).find(|step| !even(*step)) {
            let number = sequences.workout[place];
            bail!("workout {number}: step {step} is at {} s where steps are {step_s} s apart", time[step]);
        }
    }
    Ok(step_s)
}

/// The steps of a workout up to the last one that rests on its recording.
fn valid_length(sequences: &Sequences, place: usize) -> usize {
    sequences.valid[sequences.steps(place)].iter().rposition(|valid| *valid == 1).map_or(0, |last| last + 1)
}

/// The workouts of the part that can be continued and scored, and how many cannot.
fn starts(
    params: &Forecast,
    reach: usize,
    sequences: &Sequences,
    split: &Split,
    context: &Context<'_>,
) -> Result<(Vec<Start>, usize)> {
    let places = split.workouts(sequences, params.part)?;
    let (mut starts, mut left_out, mut still) = (Vec::new(), Vec::new(), Vec::new());
    for place in places.iter().copied() {
        let Some(start) = start_of(params, reach, sequences, place) else {
            left_out.push(sequences.workout[place]);
            continue;
        };
        if Ordered::new(&start.past).scale().spread <= LEAST_SPREAD {
            still.push(sequences.workout[place]);
        }
        starts.push(start);
    }
    if starts.is_empty() {
        let (all, part) = (places.len(), params.part.name());
        let message = format!(
            "none of the {all} workouts of part `{part}` holds a real heart rate in {} steps and another after them",
            params.warm_up
        );
        return Err(Blame { parameter: "warm_up".into(), message }.into());
    }
    let warn = |numbers: &[i64], why: &str| {
        if !numbers.is_empty() {
            context.warn(format!("{}: {why}", listed(numbers, places.len())));
        }
    };
    warn(&left_out, "no real heart rate in the warm-up or none after it");
    warn(&still, "the middle half of the warm-up is one value, which leaves no spread to scale by");
    Ok((starts, left_out.len()))
}

/// A workout with its warm-up; none where that or what follows holds no real sample. The past is the end of the
/// warm-up that the forecaster can be told of: what is before must not decide the scale either.
fn start_of(params: &Forecast, reach: usize, sequences: &Sequences, place: usize) -> Option<Start> {
    let (first, valid, warm_up) = (sequences.steps(place).start, valid_length(sequences, place), params.warm_up);
    let length = valid.min(warm_up.saturating_add(params.horizon));
    if length <= warm_up || !sequences.real[first + warm_up..first + length].contains(&1) {
        return None;
    }
    let told = first + warm_up.saturating_sub(params.context + reach)..first + warm_up;
    let past = Past::new(&sequences.target[told.clone()], &sequences.real[told])?;
    Some(Start { place, length, past })
}

/// So many of all workouts, the first of them by number.
fn listed(numbers: &[i64], all: usize) -> String {
    let first: Vec<String> = numbers.iter().take(NAMED).map(ToString::to_string).collect();
    let more = if numbers.len() > NAMED { ", …" } else { "" };
    format!("{} of {all} workouts ({}{more})", numbers.len(), first.join(", "))
}

/// The sequences with no real sample but those after the warm-ups, within the horizon.
fn after_warm_up(params: &Forecast, sequences: &Sequences, starts: &[Start]) -> Sequences {
    let mut real = vec![0; sequences.real.len()];
    for start in starts {
        let first = sequences.steps(start.place).start;
        let scored = first + params.warm_up..first + start.length;
        real[scored.clone()].copy_from_slice(&sequences.real[scored]);
    }
    Sequences { real: real.into(), ..sequences.clone() }
}

/// The last value of each warm-up at every step after it, shape `[S]`.
fn persistence(params: &Forecast, sequences: &Sequences, starts: &[Start]) -> Vec<f32> {
    let mut rate = vec![f32::NAN; sequences.target.len()];
    for start in starts {
        let first = sequences.steps(start.place).start;
        rate[first + params.warm_up..first + start.length].fill(start.past.last() as f32);
    }
    rate
}

/// All that continuing a workout needs.
struct Work<'a> {
    params: &'a Forecast,
    forecaster: &'a Forecaster,
    sequences: &'a Sequences,
    step_s: f64,
    context: &'a Context<'a>,
}

impl Work<'_> {
    /// Continues workouts, side by side on a processor and one by one on a GPU; no number of threads changes a bit.
    fn all(&self, theta: &Tensor, starts: &[Start]) -> Result<Predicted> {
        let nowhere = || vec![f32::NAN; self.sequences.target.len()];
        let interval = Interval { share: self.params.interval, low: nowhere(), high: nowhere() };
        let mut predicted = Predicted { rate: nowhere(), interval: Some(interval) };
        let side_by_side = if theta.device() == Device::Cpu { self.context.job.threads.max(1) } else { 1 };
        let pool = device::pool(side_by_side)?;
        for (done, some) in starts.chunks(side_by_side).enumerate() {
            self.context.check_cancelled()?;
            let done = (done * side_by_side) as u64;
            let message = format!("workout {}", self.sequences.workout[some[0].place]);
            self.context.progress(done, Some(starts.len() as u64), "workouts", message);
            let jobs: Vec<_> = some.iter().map(|start| (start, theta.shallow_clone())).collect();
            let one = |(start, theta): (&Start, Tensor)| self.one(&theta, start);
            let drawn: Vec<_> = if side_by_side > 1 {
                pool.install(|| jobs.into_par_iter().with_max_len(1).map(one).collect::<Result<_>>())?
            } else {
                jobs.into_iter().map(one).collect::<Result<_>>()?
            };
            for (start, drawn) in some.iter().zip(drawn) {
                self.place(&mut predicted, start, drawn);
            }
        }
        Ok(predicted)
    }

    /// The futures of one workout.
    fn one(&self, theta: &Tensor, start: &Start) -> Result<Vec<Vec<f64>>> {
        let _guard = tch::no_grad_guard();
        let Forecast { warm_up, context, samples, .. } = *self.params;
        let cut = warm_up - start.past.values.len();
        let plan = Plan { context, horizon: start.length - warm_up, samples };
        let begin = self.sequences.start[start.place] as f64;
        let time = |step: usize| clock(begin + (cut + step) as f64 * self.step_s);
        let random = |step: usize| {
            let count = ((start.place as u64) << STEP_BITS) | step as u64;
            stream(self.context.job.seed, Purpose::Future, count)
        };
        let drawn = self.forecaster.draw(theta, &start.past, plan, time, random);
        drawn.with_context(|| format!("workout {} cannot be continued", self.sequences.workout[start.place]))
    }

    /// Puts the median and the interval of futures to their steps.
    fn place(&self, predicted: &mut Predicted, start: &Start, drawn: Vec<Vec<f64>>) {
        let first = self.sequences.steps(start.place).start + self.params.warm_up;
        let tail = (1.0 - self.params.interval) / 2.0;
        for (step, mut values) in (first..).zip(drawn) {
            values.sort_by(f64::total_cmp);
            predicted.rate[step] = quantile(&values, 0.5) as f32;
            if let Some(interval) = &mut predicted.interval {
                interval.low[step] = quantile(&values, tail) as f32;
                interval.high[step] = quantile(&values, 1.0 - tail) as f32;
            }
        }
    }

    /// What the figures rest on.
    fn basis(&self, split: &Split, left_out: usize) -> Metrics {
        let Forecast { part, warm_up, horizon, samples, .. } = *self.params;
        let basis = [
            ("task", json!(TASK)),
            ("warm_up_s", json!(warm_up as f64 * self.step_s)),
            ("horizon_s", json!(horizon as f64 * self.step_s)),
            ("samples", json!(samples)),
            ("left_out", json!(left_out)),
            ("data", json!(self.sequences.header.data.name())),
            ("split", json!(split.by.label())),
            ("part", json!(part.name())),
            ("seed", json!(self.context.job.seed)),
        ];
        basis.map(|(name, value)| (name.to_owned(), value)).into_iter().collect()
    }
}
