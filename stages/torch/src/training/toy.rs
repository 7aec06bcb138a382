//! A small world for tests: workouts whose heart rate follows the speed late, a folder with their files, and
//! jobs on them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use pacer_stages::head::Head;
use pacer_stages::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
use pacer_stages::kinds::baseline::Baseline;
use pacer_stages::model::{Architecture, ModelConfig, Scaler, Training, UserInput};
use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use pacer_stages::split::{Part, Split, SplitBy};
use pacer_stages::stage::{Context, Metrics, Notice};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use tempfile::TempDir;

use crate::random::{Purpose, stream, uniform};
use crate::{evaluate, finetune, forecast, pretrain};

/// Workouts of `length` steps and a few more; every fifth step has no real sample. The heart rate is 80 BPM plus
/// 20 for each m/s of the speed smoothed over some six steps; the grade says nothing.
pub fn sequences(workouts: usize, length: usize) -> Sequences {
    let header = Header {
        features: vec!["speed".into(), "grade".into()],
        grid: Grid::Time { step_s: 5.0 },
        data: DataSource::Synthetic,
    };
    let mut all = Sequences::empty(header);
    for workout in 0..workouts {
        let mut generator = stream(99, Purpose::Order, workout as u64);
        add_workout(&mut all, workout, length + workout % 4, &mut generator);
    }
    all
}

fn add_workout(all: &mut Sequences, workout: usize, steps: usize, generator: &mut ChaCha8Rng) {
    let (mut speed, mut smooth) = (3.0, 3.0);
    for step in 0..steps {
        if step % 10 == 0 {
            speed = 3.0 + uniform(1.5, generator);
        }
        smooth += (speed - smooth) * 0.15;
        let real = step % 5 != 4;
        all.features.extend([speed, uniform(1.0, generator)]);
        all.target.push(if real { 80.0 + 20.0 * smooth } else { 0.0 });
        all.real.push(u8::from(real));
        all.valid.push(1);
        all.time.push(5.0 * step as f32);
    }
    all.offsets.push(all.target.len() as i64);
    all.workout.push(100 + workout as i64);
    all.user.push(1 + workout as i64 % 3);
    all.start.push(1_600_000_000 + 86_400 * workout as i64);
}

/// The same workouts with steps of padding after each, full of nonsense.
pub fn padded(plain: &Sequences, steps: usize) -> Sequences {
    let mut all = Sequences::empty(plain.header.clone());
    for workout in 0..plain.len() {
        let own = plain.steps(workout);
        all.features.extend(own.clone().flat_map(|step| plain.row(step)));
        all.features.extend(vec![-1e6; steps * plain.width()]);
        for (to, from) in [(&mut all.target, &plain.target), (&mut all.time, &plain.time)] {
            to.extend(&from[own.clone()]);
            to.extend(vec![0.0; steps]);
        }
        for (to, from) in [(&mut all.real, &plain.real), (&mut all.valid, &plain.valid)] {
            to.extend(&from[own.clone()]);
            to.extend(vec![0; steps]);
        }
        all.offsets.push(all.target.len() as i64);
    }
    all.workout.clone_from(&plain.workout);
    all.user.clone_from(&plain.user);
    all.start.clone_from(&plain.start);
    all
}

/// A split by time: of every five workouts, the fourth validates and the fifth tests.
pub fn split(sequences: &Sequences) -> Split {
    let part = |place| match place % 5 {
        3 => Part::Validation,
        4 => Part::Test,
        _ => Part::Train,
    };
    let rows = sequences.workout.iter().zip(&sequences.user).enumerate();
    let parts = rows.map(|(place, (workout, user))| (*workout, (part(place), *user)));
    Split { by: SplitBy::Time, parts: parts.collect() }
}

/// A network of two layers with three units over both features.
pub fn config(cell: &str, bidirectional: bool) -> ModelConfig {
    let sequences = sequences(3, 20);
    ModelConfig {
        architecture: Architecture::Recurrent {
            cell: cell.into(),
            layers: 2,
            hidden: 3,
            dropout: 0.0,
            bidirectional,
            start: false,
            backbone: false,
            user: UserInput::default(),
        },
        features: sequences.header.features.clone(),
        scaler: Scaler::fit(&sequences, &[0, 1], &[0, 1, 2]).unwrap(),
        training: Training { data: DataSource::Synthetic, split: SplitBy::Time, users: 3, workouts: 3, seed: Some(1) },
        head: Head::Point,
    }
}

/// A folder with sequences, a split and what stages wrote.
pub struct World {
    folder: TempDir,
    /// Warnings of all runs.
    pub warnings: Mutex<Vec<String>>,
    /// The messages of progress of all runs, but for those of single steps.
    pub news: Mutex<Vec<String>>,
    /// The lines for the log of all runs.
    pub log: Mutex<Vec<String>>,
    /// Steps taken since it was last asked.
    steps: AtomicUsize,
    /// How often checkpoints are written and how many are kept.
    pub checkpoints: Checkpoints,
}

impl World {
    /// Forty workouts of some thirty steps.
    pub fn usual() -> Self {
        Self::of(&sequences(40, 30))
    }

    /// A world of these workouts.
    pub fn of(sequences: &Sequences) -> Self {
        let world = Self {
            folder: tempfile::tempdir().unwrap(),
            warnings: Mutex::default(),
            news: Mutex::default(),
            log: Mutex::default(),
            steps: AtomicUsize::new(0),
            checkpoints: Checkpoints::default(),
        };
        sequences.write(&world.path("sequences.safetensors")).unwrap();
        split(sequences).write(&world.path("split.parquet")).unwrap();
        world
    }

    /// A path within the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The bytes of a file that a stage wrote.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The steps that trainings took since the last call.
    pub fn steps(&self) -> usize {
        self.steps.swap(0, Ordering::Relaxed)
    }

    /// The names of the checkpoints of the stage `name`, sorted.
    pub fn kept(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name).join("partial")).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a kind whose outputs and checkpoints go to the folder `name`.
    pub fn run(&self, kind: &str, name: &str, params: Value) -> Result<Metrics> {
        self.run_until(kind, name, params, |_| false)
    }

    /// Runs a kind that is asked to stop when news arrives that `stop` waits for.
    pub fn run_until(
        &self,
        kind: &str,
        name: &str,
        params: Value,
        stop: impl Fn(&str) -> bool + Sync,
    ) -> Result<Metrics> {
        self.start(kind, name, params, &AtomicBool::new(false), stop)
    }

    /// Runs a kind that is asked to stop after so many steps; at the end of an epoch it takes one more.
    pub fn run_steps(&self, kind: &str, name: &str, params: Value, steps: usize) -> Result<Metrics> {
        let taken = AtomicUsize::new(0);
        let stop = |news: &str| news.starts_with("epoch") && taken.fetch_add(1, Ordering::Relaxed) + 1 == steps;
        self.run_until(kind, name, params, stop)
    }

    /// Runs a kind that is asked to stop before it begins, so that it takes one step.
    pub fn run_one_step(&self, kind: &str, name: &str, params: Value) -> Result<Metrics> {
        self.start(kind, name, params, &AtomicBool::new(true), |_| false)
    }

    fn start(
        &self,
        kind: &str,
        name: &str,
        params: Value,
        cancelled: &AtomicBool,
        stop: impl Fn(&str) -> bool + Sync,
    ) -> Result<Metrics> {
        let job = self.job(kind, name, params);
        std::fs::create_dir_all(&job.out).unwrap();
        let sink = |notice| match notice {
            Notice::Warning { message } => self.warnings.lock().unwrap().push(message),
            Notice::Log { message } => self.log.lock().unwrap().push(message),
            Notice::Progress { message, .. } => {
                if stop(&message) {
                    cancelled.store(true, Ordering::Relaxed);
                }
                self.steps.fetch_add(usize::from(message.starts_with("epoch")), Ordering::Relaxed);
                if !message.contains(": batch ") {
                    self.news.lock().unwrap().push(message);
                }
            }
        };
        let context = Context { job: &job, sink: &sink, cancelled };
        crate::device::settle();
        // Dropout draws from LibTorch's one generator, which a worker's process has for itself.
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        match kind {
            "pretrain" => pretrain::run(&job.params, &context),
            "pretrain over ridge" => pretrain::run(&job.params, &context),
            "finetune" => finetune::run(&job.params, &context),
            "forecast" => forecast::run(&job.params, &context),
            "baseline" => pacer_stages::kind::run::<Baseline>(&job.params, &context),
            _ => evaluate::run(&job.params, &context),
        }
    }

    /// A job; `finetune` and `evaluate` take the model that the stage `first` wrote, `pretrain over ridge` the one of
    /// the stage `ridge`, `forecast` weights.
    pub fn job(&self, kind: &str, name: &str, params: Value) -> Job {
        let one = |name: &str| Slot::One(self.path(name));
        let mut inputs = BTreeMap::from([
            ("sequences".to_owned(), one("sequences.safetensors")),
            ("split".to_owned(), one("split.parquet")),
        ]);
        let model = "first/model.safetensors";
        match kind {
            "finetune" => inputs.insert("model".into(), one(model)),
            "forecast" => inputs.insert("weights".into(), one("weights.safetensors")),
            "pretrain over ridge" => inputs.insert("backbone".into(), one("ridge/model.safetensors")),
            "evaluate" => inputs.insert("models".into(), Slot::Named([("lstm".into(), self.path(model))].into())),
            _ => None,
        };
        Job {
            v: JOB_VERSION,
            kind: kind.into(),
            code: String::new(),
            params,
            inputs,
            out: self.path(name),
            partial: self.path(name).join("partial"),
            checkpoints: self.checkpoints.clone(),
            seed: 7,
            device: Device::Cpu,
            threads: 1,
        }
    }
}

/// Whether two files hold the same bytes.
pub fn same_bytes(a: &Path, b: &Path) -> bool {
    std::fs::read(a).unwrap() == std::fs::read(b).unwrap()
}
