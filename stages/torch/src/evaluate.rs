//! Runs the kind `evaluate`: every model on the same held-out workouts, scored at real samples alone. Unaware
//! of how models came about.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result, bail};
use pacer_stages::floor::{Floor, ORACLE_USER};
use pacer_stages::head::Head;
use pacer_stages::kinds::evaluate::Evaluate;
use pacer_stages::mixed::Mixed;
use pacer_stages::model::{Architecture, Model, ModelConfig, Scaler, Training, Weights};
use pacer_stages::predictions::{Interval, Predicted, Writer};
use pacer_stages::recipe::{Batches, Loss};
use pacer_stages::score::{Scores, WorkoutScore, mae, score};
use pacer_stages::sequences::Sequences;
use pacer_stages::split::{Part, Split};
use pacer_stages::stage::{Context, Metrics};
use pacer_stages::table::{Column, Table};
use serde_json::{Value, json};

use crate::device;
use crate::models;
use crate::models::weights::{self, to_device};
use crate::training::data::Set;
use crate::training::loss::Objective;
use crate::training::team::Team;

/// The name of the constant that is added where no model is one.
const CONSTANT: &str = "constant";

/// Scores every model and writes figures, predictions and errors by workout.
pub fn run(params: &Value, context: &Context<'_>) -> Result<Metrics> {
    let params: Evaluate = serde_json::from_value(params.clone())?;
    let device = device::open(context.job.device)?;
    let sequences = Sequences::read(context.job.input("sequences")?)?;
    let split = Split::read(context.job.input("split")?)?;
    let places = split.workouts(&sequences, params.part)?;
    if places.is_empty() {
        bail!("part `{}` of the split holds none of the {} workouts", params.part.name(), sequences.len());
    }
    let models = models(&sequences, &split, context)?;
    let constant = models.values().find(|model| model.config.architecture == Architecture::Constant);
    let constant = constant.expect("`models` adds one").predict_linear(&sequences)?;
    let constant_mae = mae(&constant, &sequences, &places)?;
    let mut predictions = Writer::create(&context.output(&Evaluate::PREDICTIONS))?;
    let (mut metrics, mut rows) = (Metrics::new(), Vec::new());
    for (done, (name, model)) in models.iter().enumerate() {
        context.check_cancelled()?;
        context.progress(done as u64, Some(models.len() as u64), "models", name.as_str());
        let named = || format!("model `{name}` cannot be scored");
        let predicted = predict_steps(model, &sequences, &places, device, context.job.threads).with_context(named)?;
        let (scores, by_workout) = score(&predicted.rate, &sequences, &places, constant_mae).with_context(named)?;
        predictions.add(name, &sequences, &places, &predicted)?;
        let mut figures = figures(&scores, model, &sequences, &split, params.part)?;
        figures.extend(predicted.coverage(&sequences, &places).map(|coverage| coverage.figures()).unwrap_or_default());
        metrics.insert(name.clone(), figures.into());
        rows.extend(by_workout.into_iter().map(|row| (name.as_str(), row)));
    }
    if let Some(path) = context.job.optional_input("oracle") {
        let floor = Floor::read(path, &sequences, &places)?;
        let basis = [("split", split.by.label()), ("part", params.part.name().to_owned())];
        for (name, rates, told) in floor.oracles() {
            let (scores, _) = score(rates, &sequences, &places, constant_mae)?;
            let mut figures = oracle_figures(&scores, &sequences, told)?;
            figures.extend(basis.clone().map(|(name, value)| (name.to_owned(), json!(value))));
            if metrics.insert(name.to_owned(), figures.into()).is_some() {
                bail!("model `{name}` bears the name of an oracle: choose another");
            }
        }
        compare_with_floor(&mut metrics);
    }
    predictions.finish()?;
    per_workout(&rows)?.write(&context.output(&Evaluate::PER_WORKOUT))?;
    let path = context.output(&Evaluate::METRICS);
    let text = serde_json::to_string_pretty(&metrics)? + "\n";
    fs::write(&path, text).with_context(|| format!("`{}` cannot be written", path.display()))?;
    Ok(metrics)
}

/// An oracle's figures and what it knows.
fn oracle_figures(scores: &Scores, sequences: &Sequences, told: &str) -> Result<Metrics> {
    let mut figures = serde_json::to_value(scores)?;
    let basis = [("architecture", "no model"), ("data", sequences.header.data.name()), ("told", told)];
    let object = figures.as_object_mut().expect("a struct is an object");
    object.extend(basis.map(|(name, value)| (name.to_owned(), json!(value))));
    Ok(std::mem::take(object))
}

/// Adds to all figures how many times the error is that of the oracle of the user.
fn compare_with_floor(metrics: &mut Metrics) {
    let mae = |figures: &Value| figures["mae"].as_f64().unwrap_or(f64::NAN);
    let floor = metrics.get(ORACLE_USER).map_or(f64::NAN, mae);
    for figures in metrics.values_mut() {
        let over = json!(mae(figures) / floor);
        if let Some(figures) = figures.as_object_mut() {
            figures.insert("over_floor".to_owned(), over);
        }
    }
}

/// The models by name, a constant among them.
fn models(sequences: &Sequences, split: &Split, context: &Context<'_>) -> Result<BTreeMap<String, Model>> {
    let mut models = BTreeMap::new();
    for (name, path) in context.job.named_inputs("models") {
        let model = Model::read(path).with_context(|| format!("model `{name}` cannot be read"))?;
        warn_of_differences(name, &model.config.training, sequences, split, context);
        models.insert(name.to_owned(), model);
    }
    if !models.values().any(|model| model.config.architecture == Architecture::Constant) {
        let constant = constant(sequences, split)?;
        if models.insert(CONSTANT.to_owned(), constant).is_some() {
            bail!("model `{CONSTANT}` is no constant: that name is kept for the baseline, choose another");
        }
    }
    Ok(models)
}

/// Says what makes a model's figures another sort of figure than the split that they stand under suggests.
fn warn_of_differences(name: &str, training: &Training, sequences: &Sequences, split: &Split, context: &Context<'_>) {
    let (before, now) = (training.split.name(), split.by.name());
    if before != now {
        context.warn(format!(
            "model `{name}` was trained under a split by {before} and is scored under one by {now}: \
             make sure that it has not seen these workouts"
        ));
    }
    let (before, now) = (training.data.name(), sequences.header.data.name());
    if before != now {
        context.warn(format!("model `{name}` was trained on {before} data and is scored on {now} data"));
    }
}

/// The mean heart rate of the split's training part.
pub fn constant(sequences: &Sequences, split: &Split) -> Result<Model> {
    let train = split.workouts(sequences, Part::Train)?;
    let scaler = Scaler::fit(sequences, &[], &train)
        .context("the constant to compare with cannot be computed: wire a `baseline` model of it")?;
    let mut users: Vec<i64> = train.iter().map(|place| sequences.user[*place]).collect();
    users.sort_unstable();
    users.dedup();
    let training = Training {
        data: sequences.header.data,
        split: split.by,
        users: users.len(),
        workouts: train.len(),
        seed: None,
    };
    let value = Weights { shape: vec![1], values: vec![scaler.target_mean as f32] };
    let config =
        ModelConfig { architecture: Architecture::Constant, features: Vec::new(), scaler, training, head: Head::Point };
    Ok(Model { config, tensors: BTreeMap::from([("value".to_owned(), value)]) })
}

/// What a model says at every step, shape `[S]`, BPM; NaN outside the workouts at `places` and in padding where the
/// model is a network.
pub fn predict_steps(
    model: &Model,
    sequences: &Sequences,
    places: &[usize],
    device: tch::Device,
    threads: usize,
) -> Result<Predicted> {
    if model.config.architecture.user().is_none() {
        return Ok(Predicted { rate: model.predict_linear(sequences)?, interval: None });
    }
    let ModelConfig { scaler, head, .. } = &model.config;
    let network = models::network(&model.config)?;
    let theta = to_device(&weights::pack(network.parameters(), model)?, device)?;
    let set = Set::new(sequences, places, &model.config, device)?;
    // Nothing is learnt here, so the loss does not matter.
    let objective = Objective { head: head.clone(), loss: Loss::L1 };
    let standardised = Team::new(&*network, objective, &Batches::default(), threads)?.outputs(&theta, &set)?;
    let nowhere = || vec![f32::NAN; sequences.target.len()];
    let mut predicted = Predicted {
        rate: nowhere(),
        interval: head.share().map(|share| Interval { share, low: nowhere(), high: nowhere() }),
    };
    let bpm = |value: f32| (f64::from(value) * scaler.target_sd + scaler.target_mean) as f32;
    for span in set.spans() {
        let first = sequences.steps(span.place).start;
        let steps = standardised.chunks(head.outputs()).skip(span.offset).take(span.length);
        for (step, outputs) in (first..).zip(steps) {
            predicted.rate[step] = bpm(outputs[head.point()]);
            if let (Some(interval), Some([low, high])) = (&mut predicted.interval, head.interval(outputs)) {
                (interval.low[step], interval.high[step]) = (bpm(low), bpm(high));
            }
        }
    }
    Ok(predicted)
}

/// A model's figures and what they rest on.
fn figures(scores: &Scores, model: &Model, sequences: &Sequences, split: &Split, part: Part) -> Result<Metrics> {
    let mut figures = serde_json::to_value(scores)?;
    let training = &model.config.training;
    let basis = [
        ("architecture", json!(model.config.architecture.name())),
        ("data", json!(sequences.header.data.and(training.data).name())),
        ("split", json!(split.by.label())),
        ("part", json!(part.name())),
        ("seed", json!(training.seed)),
        ("told", json!(told(model))),
    ];
    let object = figures.as_object_mut().expect("a struct is an object");
    object.extend(basis.map(|(name, value)| (name.to_owned(), value)));
    Ok(std::mem::take(object))
}

/// What a model is told beside the features: with the history of a stranger its question is an easier one.
fn told(model: &Model) -> String {
    let line = |line: &Mixed| format!("a line through {} earlier workouts", line.history);
    let Some(user) = model.config.architecture.user() else {
        return match &model.config.architecture {
            Architecture::Mixed { line: own } => line(own),
            _ => String::new(),
        };
    };
    let embedding = (user.about.embedding > 0).then_some("user".to_owned());
    let history = (user.about.history > 0).then(|| format!("{} earlier workouts", user.about.history));
    embedding.into_iter().chain(history).chain(user.line.as_ref().map(line)).collect::<Vec<_>>().join(", ")
}

/// One row for each model and workout.
pub fn per_workout(rows: &[(&str, WorkoutScore)]) -> Result<Table> {
    let scores = || rows.iter().map(|(_, row)| row);
    Table::new(vec![
        Column::text("model", rows.iter().map(|(name, _)| *name)),
        Column::int("workout", scores().map(|row| row.workout)),
        Column::int("user", scores().map(|row| row.user)),
        Column::int("start", scores().map(|row| row.start)),
        Column::int("n_points", scores().map(|row| row.n_points as i64)),
        Column::float("mae", scores().map(|row| row.mae)),
        Column::float("rmse", scores().map(|row| row.rmse)),
        Column::float("bias", scores().map(|row| row.bias)),
        Column::float("truth_mean", scores().map(|row| row.truth_mean)),
    ])
}
