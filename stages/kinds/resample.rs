//! The kind `resample`: workouts laid on a grid, with their features and their real heart rate marked.
//! Unaware of splits and models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{PoisonError, RwLock};

use anyhow::{Result, bail};
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::features::{self, Feature, Signals};
use crate::kinds::resample::grid::{GridChoice, Steps};
use crate::sequences::writer::{self, Writer};
use crate::sequences::{DataSource, Header};
use crate::stage::{Blame, Context, Metrics, ParameterFault, Run, Stage};
use crate::track::{Repairs, Track, Unusable};
use crate::workouts::{SeriesName, Workout, WorkoutReader};

pub mod grid;

/// Lays workouts on a grid of steps and computes the features of every step.
///
/// Reads `workouts`; writes `sequences`. Samples are first put in order: sorted by time, those of one instant
/// averaged, those with NaN left out, each counted in the metrics. Features are computed on the recording's own
/// timestamps and then read off at the steps by straight lines, so that a time constant means the same time in
/// every workout.
///
/// `grid = { by = "index", length = 500 }` is the original's way: one step for each recorded point, cut at
/// `length` or padded by repeating the last values; padding is neither real nor valid.
/// `grid = { by = "time", step_s = 10.0 }` is the better one: a step each `step_s` seconds from the start. Its
/// heart rate is that of the nearest sample where one lies within half a step, and only then is it real; heart
/// rate is never interpolated. Steps inside a gap longer than `gap_limit_s` with no sample near stay in the
/// sequence, so that time runs evenly, but their features rest on nothing recorded: they are not valid, and
/// neither fitted nor scored.
///
/// A workout that cannot be used (a series or the user is missing, lengths differ, its number is there already,
/// it seems to last over a day) is set aside, counted by reason and named in a warning. Sequences are written as
/// they come: memory holds some batches of workouts, and of every workout its number, its user and its start.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resample {
    /// How workouts are laid on steps.
    #[serde(default)]
    pub grid: GridChoice,
    /// Inputs of the models, in order: `speed`, `altitude`, `altitude_gain`, `grade`, `power` (W/kg, cost of the
    /// grade), `ema(signal, seconds)`, `elapsed`, `elapsed^2`, `decay(seconds)`, `gender_male`, `gender_female`.
    pub features: Vec<String>,
    /// Time in seconds over which altitude is smoothed before its slope is taken, for `grade` and `power`.
    #[serde(default = "half_a_minute")]
    pub smooth_altitude_s: f64,
}

const fn half_a_minute() -> f64 {
    30.0
}

const SEQUENCES: OutputPort =
    OutputPort::fixed("sequences", ArtifactType::Sequences, "features and heart rate on the grid");

impl Stage for Resample {
    const NAME: &'static str = "resample";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "workouts",
        accepts: &[ArtifactType::Workouts],
        arity: Arity::One,
        doc: "workouts that passed the filters",
    }];
    const OUTPUTS: &'static [OutputPort] = &[SEQUENCES];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = self.grid.check();
        faults.extend(features::parse_all("features", &self.features).err().unwrap_or_default());
        if !(self.smooth_altitude_s.is_finite() && self.smooth_altitude_s >= 0.0) {
            faults.push(ParameterFault::new("smooth_altitude_s", "must be a number of seconds, 0 or more"));
        }
        faults
    }
}

impl Run for Resample {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.resample(context))
    }
}

/// One workout on its steps.
pub struct Laid {
    steps: Steps,
    features: Vec<f32>,
    start: i64,
    user: i64,
    repairs: Repairs,
}

impl Resample {
    fn resample(&self, context: &Context<'_>) -> Result<Metrics> {
        let parsed = features::parse_all("features", &self.features)
            .map_err(|faults| Blame { parameter: faults[0].path.clone(), message: faults[0].message.clone() })?;
        let reader = WorkoutReader::with_series(context.job.input("workouts")?, SeriesName::OF_TRACKS)?;
        let total = reader.total() as u64;
        let clock = Clock::new(&self.grid, &parsed);
        let mut gathered = Gathered::new(self, &parsed, &context.output(&SEQUENCES))?;
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            let laid: Vec<_> = batch.par_iter().map(|workout| self.lay(&parsed, &clock, workout)).collect();
            for (laid, workout) in laid.into_iter().zip(&batch) {
                gathered.take(workout, laid)?;
            }
            context.progress(gathered.seen, Some(total), "workouts", "");
        }
        for (reason, aside) in &gathered.aside {
            context.warn(format!("{} workouts set aside, such as {}: it {reason}", aside.count, aside.example));
        }
        let Some(source) = gathered.source else {
            bail!("`workouts`: none of {} can be laid on a grid: {}", gathered.seen, gathered.reasons());
        };
        let metrics = gathered.metrics(source);
        gathered.writer.finish(source)?;
        Ok(metrics)
    }

    /// Lays one workout on the grid; the error is the reason it is set aside, to follow its number.
    pub fn lay(&self, features: &[Feature], clock: &Clock, workout: &Workout) -> Result<Laid, String> {
        let user = workout.user.ok_or("has no user")?;
        let (track, repairs) = Track::new(workout).map_err(Unusable::reason)?;
        let steps = self.grid.lay(&track)?;
        let signals = Signals::new(&track, self.smooth_altitude_s).expecting(features);
        let places = signals.places(&steps.time);
        let width = features.len();
        let mut rows = vec![0.0; width * steps.time.len()];
        for (column, feature) in features.iter().enumerate() {
            let cells = rows[column..].chunks_mut(width).map(|row| &mut row[0]);
            if clock.fill(column, feature, &steps.time, cells) {
                continue;
            }
            let values = signals.sample_at(feature, &steps.time, &places);
            let values = values.map_err(|series| format!("has no {series}, which `{feature}` is made of"))?;
            let cells = rows[column..].chunks_mut(width).map(|row| &mut row[0]);
            cells.zip(values).for_each(|(cell, value)| *cell = value as f32);
        }
        if !rows.iter().fold(true, |all, value| all & value.is_finite()) {
            return Err("gives a feature that is no finite number".into());
        }
        Ok(Laid { features: rows, start: track.start.floor() as i64, user, repairs, steps })
    }
}

/// Features of time alone. On a grid of time the steps of all workouts begin alike, so that these are computed once,
/// for the longest workout so far.
pub struct Clock(Vec<Option<RwLock<Vec<f32>>>>);

impl Clock {
    /// A clock that has computed nothing yet.
    pub fn new(grid: &GridChoice, features: &[Feature]) -> Self {
        let by_time = matches!(grid, GridChoice::Time { .. });
        let known = |feature: &Feature| (by_time && feature.of_time(&[]).is_some()).then(RwLock::default);
        Self(features.iter().map(known).collect())
    }

    /// Fills a column where its feature is one of time alone.
    fn fill<'a>(
        &self,
        column: usize,
        feature: &Feature,
        time: &[f64],
        cells: impl Iterator<Item = &'a mut f32>,
    ) -> bool {
        let Some(known) = &self.0[column] else { return false };
        if known.read().unwrap_or_else(PoisonError::into_inner).len() < time.len() {
            let mut known = known.write().unwrap_or_else(PoisonError::into_inner);
            let rest = feature.of_time(&time[known.len().min(time.len())..]).unwrap_or_default();
            known.extend(rest.into_iter().map(|value| value as f32));
        }
        let known = known.read().unwrap_or_else(PoisonError::into_inner);
        cells.zip(known.iter()).for_each(|(cell, value)| *cell = *value);
        true
    }
}

/// What has been laid so far, in the order of the workouts.
struct Gathered {
    writer: Writer,
    /// None before the first workout.
    source: Option<DataSource>,
    numbers: BTreeSet<i64>,
    users: BTreeSet<i64>,
    seen: u64,
    real: u64,
    valid: u64,
    repairs: Repairs,
    aside: BTreeMap<String, Aside>,
}

struct Aside {
    count: u64,
    example: i64,
}

impl Gathered {
    fn new(stage: &Resample, features: &[Feature], path: &Path) -> Result<Self> {
        let header = Header {
            features: features.iter().map(ToString::to_string).collect(),
            grid: stage.grid.header(),
            data: DataSource::Recorded,
        };
        Ok(Self {
            writer: Writer::create(path, header)?,
            source: None,
            numbers: BTreeSet::new(),
            users: BTreeSet::new(),
            seen: 0,
            real: 0,
            valid: 0,
            repairs: Repairs::default(),
            aside: BTreeMap::new(),
        })
    }

    fn take(&mut self, workout: &Workout, laid: Result<Laid, String>) -> Result<()> {
        self.seen += 1;
        let twice = || Err("bears a number that another workout has already".into());
        let laid = laid.and_then(|laid| if self.numbers.insert(workout.id) { Ok(laid) } else { twice() });
        match laid {
            Ok(laid) => self.append(workout, &laid),
            Err(reason) => {
                let aside = self.aside.entry(reason).or_insert(Aside { count: 0, example: workout.id });
                aside.count += 1;
                Ok(())
            }
        }
    }

    fn append(&mut self, workout: &Workout, laid: &Laid) -> Result<()> {
        let source = if workout.synthetic { DataSource::Synthetic } else { DataSource::Recorded };
        self.source = Some(self.source.map_or(source, |before| before.and(source)));
        self.repairs.moved += laid.repairs.moved;
        self.repairs.averaged += laid.repairs.averaged;
        self.repairs.dropped += laid.repairs.dropped;
        let ones = |mask: &[u8]| mask.iter().map(|one| u64::from(*one)).sum::<u64>();
        self.real += ones(&laid.steps.real);
        self.valid += ones(&laid.steps.valid);
        self.users.insert(laid.user);
        let time: Vec<f32> = laid.steps.time.iter().map(|seconds| *seconds as f32).collect();
        self.writer.add(writer::Laid {
            workout: workout.id,
            user: laid.user,
            start: laid.start,
            features: &laid.features,
            target: &laid.steps.target,
            time: &time,
            real: &laid.steps.real,
            valid: &laid.steps.valid,
        })
    }

    fn reasons(&self) -> String {
        let reason = |(reason, aside): (&String, &Aside)| {
            format!("{} as workout {}, which {reason}", aside.count, aside.example)
        };
        let reasons: Vec<String> = self.aside.iter().map(reason).collect();
        if reasons.is_empty() { "none came in".into() } else { reasons.join("; ") }
    }

    fn metrics(&self, source: DataSource) -> Metrics {
        let aside: BTreeMap<&str, u64> = self.aside.iter().map(|(why, aside)| (why.as_str(), aside.count)).collect();
        let Repairs { moved, averaged, dropped } = self.repairs;
        let value = json!({
            "data": source,
            "n_workouts": self.writer.len(),
            "n_users": self.users.len(),
            "steps": self.writer.steps(),
            "steps_real": self.real,
            "steps_valid": self.valid,
            "samples_moved": moved,
            "samples_averaged": averaged,
            "samples_dropped": dropped,
            "set_aside": aside,
        });
        value.as_object().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::sequences::{Grid, Sequences};
    use crate::stage::Notice;
    use crate::workouts::WorkoutWriter;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    fn workout(id: i64, time: &[f64]) -> Workout {
        Workout {
            id,
            user: Some(7),
            sport: "run".into(),
            gender: Some("male".into()),
            time: Some(time.iter().map(|t| 1e9 + t).collect()),
            heart_rate: Some(time.iter().map(|t| 100.0 + *t as f32).collect()),
            speed: Some(vec![3.0; time.len()]),
            altitude: Some(time.iter().map(|t| 50.0 + 0.5 * *t as f32).collect()),
            ..Workout::default()
        }
    }

    fn run(folder: &Path, params: &str, workouts: Vec<Workout>) -> (Result<(Sequences, Metrics)>, Vec<String>) {
        let input = folder.join("in.parquet");
        let mut writer = WorkoutWriter::create(&input).unwrap();
        writer.write(workouts).unwrap();
        writer.finish().unwrap();
        let job = Job {
            v: JOB_VERSION,
            kind: "resample".into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: [("workouts".to_owned(), Slot::One(input))].into(),
            out: folder.to_path_buf(),
            partial: folder.to_path_buf(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        let warnings = Mutex::new(Vec::new());
        let sink = |notice| {
            if let Notice::Warning { message } = notice {
                warnings.lock().unwrap().push(message);
            }
        };
        let stage: Resample = serde_json::from_str(params).unwrap();
        let metrics = stage.run(&Context { job: &job, sink: &sink, cancelled: &AtomicBool::new(false) });
        let read = |metrics| Ok((Sequences::read(&folder.join("sequences.safetensors"))?, metrics));
        (metrics.and_then(read), warnings.into_inner().unwrap())
    }

    const BY_TIME: &str = r#"{
        "grid": { "by": "time", "step_s": 10.0, "gap_limit_s": 60.0 },
        "features": ["speed", "ema( altitude,20)", "gender_male"]
    }"#;

    #[test]
    fn a_time_grid_marks_what_was_recorded_and_what_was_not() {
        let folder = tempfile::tempdir().unwrap();
        // A sample near each of 0, 10, 20; a gap of 100 s; the end.
        let (done, _) = run(folder.path(), BY_TIME, vec![workout(1, &[0.0, 9.0, 21.0, 121.0, 130.0])]);
        let (sequences, metrics) = done.unwrap();
        assert_eq!(sequences.header.features, ["speed", "ema(altitude, 20)", "gender_male"]);
        assert_eq!(sequences.header.grid, Grid::Time { step_s: 10.0 });
        assert_eq!(sequences.time, (0..14).map(|k| 10.0 * k as f32).collect::<Vec<_>>());
        assert_eq!(sequences.real, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(sequences.valid, sequences.real);
        assert_eq!(sequences.target[..4], [100.0, 109.0, 121.0, 0.0]);
        assert_eq!(sequences.target[12..], [221.0, 230.0]);
        assert_eq!(sequences.row(0), [3.0, 50.0, 1.0]);
        assert_eq!(metrics["steps_real"], 5);
        assert_eq!((sequences.user[0], sequences.start[0]), (7, 1_000_000_000));
    }

    #[test]
    fn within_the_gap_limit_features_are_valid_though_no_heart_rate_is_real() {
        let folder = tempfile::tempdir().unwrap();
        let (done, _) = run(folder.path(), BY_TIME, vec![workout(1, &[0.0, 40.0])]);
        let (sequences, _) = done.unwrap();
        assert_eq!(sequences.real, [1, 0, 0, 0, 1]);
        assert_eq!(sequences.valid, [1; 5]);
    }

    #[test]
    fn features_of_time_are_those_of_each_workout_whatever_came_before() {
        let folder = tempfile::tempdir().unwrap();
        let params = BY_TIME.replace("\"speed\"", "\"decay(60)\", \"elapsed^2\", \"elapsed\"");
        let lasting = |id, seconds: u32| workout(id, &[0.0, f64::from(seconds)]);
        let (done, _) = run(folder.path(), &params, vec![lasting(1, 20), lasting(2, 50), lasting(3, 30)]);
        let (sequences, _) = done.unwrap();
        for place in 0..3 {
            for (k, step) in sequences.steps(place).enumerate() {
                let t = 10.0 * k as f64;
                assert_eq!(sequences.row(step)[..3], [(-t / 60.0).exp() as f32, (t * t) as f32, t as f32]);
            }
        }
        assert_eq!(sequences.offsets, [0, 3, 9, 13]);
    }

    #[test]
    fn an_index_grid_pads_by_repeating_and_cuts_at_its_length() {
        let folder = tempfile::tempdir().unwrap();
        let params = r#"{ "grid": { "by": "index", "length": 4 }, "features": ["altitude"] }"#;
        let (long, short) = (workout(1, &[0.0, 2.0, 4.0, 6.0, 8.0, 10.0]), workout(2, &[0.0, 2.0, 6.0]));
        let (done, _) = run(folder.path(), params, vec![long, short]);
        let (sequences, _) = done.unwrap();
        assert_eq!(sequences.offsets, [0, 4, 8]);
        assert_eq!(sequences.features, [50.0, 51.0, 52.0, 53.0, 50.0, 51.0, 53.0, 53.0]);
        assert_eq!(sequences.target, [100.0, 102.0, 104.0, 106.0, 100.0, 102.0, 106.0, 0.0]);
        assert_eq!(sequences.real, [1, 1, 1, 1, 1, 1, 1, 0]);
        assert_eq!(sequences.valid, sequences.real);
        assert_eq!(sequences.time[4..], [0.0, 2.0, 6.0, 6.0]);
    }

    #[test]
    fn a_workout_that_cannot_be_used_is_set_aside_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let nameless = Workout { user: None, ..workout(2, &[0.0, 10.0]) };
        let slow = Workout { speed: None, ..workout(3, &[0.0, 10.0]) };
        let endless = workout(4, &[0.0, 1e9]);
        let synthetic = Workout { synthetic: true, ..workout(5, &[0.0, 10.0]) };
        let again = workout(1, &[5.0, 20.0]);
        let (done, warnings) =
            run(folder.path(), BY_TIME, vec![workout(1, &[0.0, 10.0]), nameless, slow, endless, synthetic, again]);
        let (sequences, metrics) = done.unwrap();
        assert_eq!(sequences.workout, [1, 5]);
        assert_eq!(sequences.header.data, DataSource::Mixed);
        assert_eq!(metrics["set_aside"].as_object().unwrap().len(), 4);
        assert_eq!(warnings.len(), 4);
        assert!(warnings.iter().any(|text| text.contains("such as 3: it has no speed")), "{warnings:?}");
        let (none, _) = run(folder.path(), BY_TIME, vec![workout(4, &[0.0, 1e9])]);
        assert!(none.unwrap_err().to_string().contains("as workout 4, which"));
    }

    #[test]
    fn faulty_parameters_are_all_found() {
        let stage: Resample = serde_json::from_str(
            r#"{ "grid": { "by": "time", "step_s": 0.0, "gap_limit_s": -1.0 }, "features": ["hr"],
                 "smooth_altitude_s": -1.0 }"#,
        )
        .unwrap();
        let paths: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["grid.step_s", "grid.gap_limit_s", "features[0]", "smooth_altitude_s"]);
        let endless: Resample =
            serde_json::from_str(r#"{ "grid": { "by": "index", "length": 1000001 }, "features": ["speed"] }"#).unwrap();
        assert_eq!(endless.check()[0].path, "grid.length");
        assert!(serde_json::from_str::<Resample>(r#"{ "grid": { "by": "time", "stp": 1 }, "features": [] }"#).is_err());
    }
}
