//! Times training steps of a recurrent network as the training loop takes them, and whole epochs of the loop.
//!
//! `cargo bench --profile dev --workspace --bench step -- --cell lstm --batch 16 --threads 2 --steps 30` prints one line of
//! JSON; `benches/training.py` runs it beside PyTorch. Other options: `--warmup`, `--sequences`, `--length`, `--hidden`,
//! `--layers`, `--part` (workouts of a part of a batch), `--data FILE` and `--weights FILE` (see [`read`]), and
//! `--epoch yes`, which trains for an epoch with steps timed alone before and after it.

// What is measured is printed: that is what a benchmark is for.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use pacer_stages::head::Head;
use pacer_stages::job::{Checkpoints, Device, JOB_VERSION, Job};
use pacer_stages::model::{Architecture, ModelConfig, Scaler, Training, UserInput};
use pacer_stages::recipe::{Batches, Loss, Schedule};
use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use pacer_stages::split::{Part, Split, SplitBy};
use pacer_stages::stage::Context;
use pacer_torch::models::{Network, network, weights};
use pacer_torch::random::{Purpose, stream, uniform};
use pacer_torch::training::adam::{Adam, Step};
use pacer_torch::training::checkpoint::Keeper;
use pacer_torch::training::data::Set;
use pacer_torch::training::loss::Objective;
use pacer_torch::training::parts::Parts;
use pacer_torch::training::team::Team;
use pacer_torch::training::{Phase, Recipe, train};
use serde_json::json;
use tch::Tensor;

/// Features: speed, altitude, gender.
const INPUTS: usize = 3;

/// What is asked for on the command line.
struct Asked(HashMap<String, String>);

impl Asked {
    fn new() -> Result<Self> {
        // `cargo bench` adds `--bench`.
        let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
        ensure!(words.len().is_multiple_of(2), "options come in pairs: --name value");
        Ok(Self(words.chunks(2).map(|pair| (pair[0].trim_start_matches('-').into(), pair[1].clone())).collect()))
    }

    fn number(&self, name: &str, default: usize) -> Result<usize> {
        self.0.get(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("`--{name}` is no number")))
    }

    fn word(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

fn main() -> Result<()> {
    let asked = Asked::new()?;
    pacer_torch::device::settle();
    let cell = asked.word("cell").unwrap_or("lstm");
    let (sequences, length) = (asked.number("sequences", 512)?, asked.number("length", 500)?);
    let (batch, threads) = (asked.number("batch", 16)?, asked.number("threads", 2)?);
    let config = config(cell, asked.number("layers", 2)?, asked.number("hidden", 64)?);
    let network = network(&config)?;
    let data = match asked.word("data") {
        Some(path) => of(&read(Path::new(path))?, sequences, length),
        None => drawn(sequences, length),
    };
    let theta = match asked.word("weights") {
        Some(path) => read(Path::new(path))?,
        None => weights::initial(network.parameters(), 1),
    };
    let batches = Batches { part: asked.0.get("part").map(|part| part.parse()).transpose()?, ..Batches::default() };
    let recipe = recipe(batch, batches);
    let all: Vec<usize> = (0..sequences).collect();
    let set = Set::new(&data, &all, &config, tch::Device::Cpu)?;
    let mut steps = Steps {
        team: Team::new(&*network, recipe.objective.clone(), &recipe.batches, threads)?,
        set,
        theta: Tensor::f_from_slice(&theta)?,
        adam: Adam::new(theta.len() as i64, tch::Device::Cpu)?,
        batch,
        taken: 0,
    };
    let count = asked.number("steps", 20)?;
    let mut losses = steps.take(asked.number("warmup", 3)?)?.1;
    let (mut times, own) = steps.take(count)?;
    losses.extend(own);
    let mut told = json!({ "cell": cell, "batch": batch, "threads": threads, "losses": losses });
    if asked.word("epoch").is_some() {
        let wall = epoch(&*network, &theta, &data, &config, &recipe, threads)?;
        times.extend(steps.take(count)?.0);
        told["epoch_s"] = json!(wall);
        told["epoch_steps"] = json!(sequences.div_ceil(batch));
    }
    times.sort_by(f64::total_cmp);
    told["step_ms_median"] = json!(times[times.len() / 2] * 1e3);
    told["step_ms_min"] = json!(times[0] * 1e3);
    println!("{told}");
    Ok(())
}

/// A training that goes on from step to step, through batches in the order of the data.
struct Steps<'a> {
    team: Team<'a>,
    set: Set,
    theta: Tensor,
    adam: Adam,
    batch: usize,
    taken: usize,
}

impl Steps<'_> {
    /// Takes so many steps; the seconds and the loss of each.
    fn take(&mut self, count: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let (mut times, mut losses) = (Vec::new(), Vec::new());
        let batches = (self.set.len() / self.batch).max(1);
        for _ in 0..count {
            let first = (self.taken % batches) * self.batch;
            let members: Vec<usize> = (first..(first + self.batch).min(self.set.len())).collect();
            let began = Instant::now();
            let slope = self.team.slope(&self.theta, &self.set, &members, 1, self.taken as u64)?;
            let step = Step { rate: 1e-3, clip_norm: None, weight_decay: 0.0, mask: None };
            self.adam.step(&mut self.theta, &slope.gradient, &step)?;
            losses.push(slope.loss.f_double_value(&[])?);
            times.push(began.elapsed().as_secs_f64());
            self.taken += 1;
        }
        Ok((times, losses))
    }
}

/// Trains for one epoch as a stage would; the seconds that it took.
fn epoch(
    network: &dyn Network,
    theta: &[f32],
    data: &Sequences,
    config: &ModelConfig,
    recipe: &Recipe,
    threads: usize,
) -> Result<f64> {
    let folder = std::env::temp_dir().join(format!("pacer-step-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let job = Job {
        v: JOB_VERSION,
        kind: "pretrain".into(),
        code: String::new(),
        params: json!({}),
        inputs: BTreeMap::new(),
        out: folder.clone(),
        partial: folder.join("partial"),
        checkpoints: Checkpoints::default(),
        seed: 1,
        device: Device::Cpu,
        threads,
    };
    let context = Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) };
    let parts = data.workout.iter().map(|workout| (*workout, (Part::Train, 0)));
    let split = Split { by: SplitBy::Time, parts: parts.collect() };
    let parts = Parts::new(data, &split, config, tch::Device::Cpu, &context)?;
    let mut keeper = Keeper::new(&context, "an epoch".into(), theta.len() as i64);
    let began = Instant::now();
    train(network, theta, &parts, recipe, &mut keeper, &context)?;
    let wall = began.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&folder)?;
    Ok(wall)
}

fn recipe(batch_size: usize, batches: Batches) -> Recipe {
    Recipe {
        objective: Objective { head: Head::Point, loss: Loss::L1 },
        batch_size,
        batches,
        schedule: Schedule::default(),
        clip_norm: None,
        patience: None,
        weight_decay: 0.0,
        phases: vec![Phase { epochs: 1, rate: 1e-3, mask: None, rate_parameter: "learning_rate".into() }],
    }
}

/// A network on features and heart rates as they are.
fn config(cell: &str, layers: usize, hidden: usize) -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Recurrent {
            cell: cell.into(),
            layers,
            hidden,
            dropout: 0.0,
            bidirectional: false,
            start: false,
            backbone: false,
            user: UserInput::default(),
        },
        features: header().features,
        scaler: Scaler { mean: vec![0.0; INPUTS], sd: vec![1.0; INPUTS], target_mean: 0.0, target_sd: 1.0 },
        training: Training { data: DataSource::Synthetic, split: SplitBy::Time, users: 1, workouts: 0, seed: Some(1) },
        head: Head::Point,
    }
}

fn header() -> Header {
    let features = ["speed", "altitude", "gender"].map(str::to_owned).to_vec();
    Header { features, grid: Grid::Time { step_s: 1.0 }, data: DataSource::Synthetic }
}

/// 32-bit floats, little end first: all features `[sequences, length, 3]` and then all heart rates
/// `[sequences, length]`, or the weights in the order of PyTorch's state dict.
fn read(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

fn of(numbers: &[f32], sequences: usize, length: usize) -> Sequences {
    let steps = sequences * length;
    let mut all = Sequences::empty(header());
    all.features.extend(numbers[..steps * INPUTS].iter().copied());
    all.target.extend(numbers[steps * INPUTS..][..steps].iter().copied());
    all.real.extend(vec![1u8; steps]);
    all.valid.extend(vec![1u8; steps]);
    for sequence in 0..sequences {
        all.time.extend((0..length).map(|step| step as f32));
        all.offsets.push(((sequence + 1) * length) as i64);
        all.workout.push(sequence as i64);
        all.user.push(0);
        all.start.push(0);
    }
    all
}

/// Speed and altitude at random, a gender for each sequence, and a heart rate that follows the speed's sum.
fn drawn(sequences: usize, length: usize) -> Sequences {
    let mut generator = stream(1, Purpose::Order, 1);
    let (mut features, mut target) = (Vec::new(), Vec::new());
    for sequence in 0..sequences {
        let (gender, mut sum) = ((sequence % 2) as f32, 0.0);
        for _ in 0..length {
            let (speed, altitude) = (uniform(1.7, &mut generator), uniform(1.7, &mut generator));
            sum += speed;
            features.extend([speed, altitude, gender]);
            target.push(140.0 + 15.0 * (sum / (length as f32).sqrt()).tanh());
        }
    }
    features.extend(target);
    of(&features, sequences, length)
}
