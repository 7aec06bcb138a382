//! The kind `correlate`: how heart rate goes with speed, slope and their past. Unaware of grids and models.

use std::path::Path;

use anyhow::Result;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::features::{self, Feature, Signal};
use crate::kinds::correlate::ladder::Ladder;
use crate::kinds::correlate::set::{LAGGED, Set, Stand};
use crate::kinds::correlate::tally::{Predictor, Tallies, WorkoutTally};
use crate::plot::Plot;
use crate::sequences::DataSource;
use crate::stage::{Blame, Context, Metrics, ParameterFault, Run, Stage};
use crate::statistics::rounded;
use crate::track::Track;
use crate::workouts::{SeriesName, Workout, WorkoutReader};

pub mod ladder;
pub mod set;
pub mod tally;

/// Correlates heart rate with features, raw against processed data side by side, and by lag.
///
/// Reads `processed` (workouts that passed the filters) and, where wired, `raw` (workouts as imported), each a table
/// of sources such as `{ endomondo = "filter", watch = "watch_filter" }`; writes `ladder` and its `picture`,
/// `table` and `figure`.
///
/// The ladder tells for each source why the correlation with speed is low at first sight: raw, then what cleaning
/// gives, what the slope gives (power in place of speed), what the best lag gives, and what an exponential average
/// gives (the heart's kinetics). Lag and time constant are the best of those that were looked at.
///
/// In the table, for each feature: Pearson's and Spearman's correlation over all samples, their means
/// over workouts, and the share of workouts in which heart rate falls as the feature rises. For speed and power
/// also against the heart rate of 0 to `max_lag_s` later, with the lag at which the mean over workouts is best,
/// and smoothed by an exponential average of each of `taus`. The figure holds the curve over lags.
///
/// Pearson's r uses every sample. Spearman's over all samples uses a subsample of `rank_limit` pairs, chosen
/// by a fixed generator from the workouts' numbers; within workouts it is exact. Workouts with fewer than 10
/// samples have no correlation of their own. In raw data, samples that are no finite number are left out and
/// other sports than `sports` are not looked at, so that only quality differs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Correlate {
    /// Features, as in the kind `resample`.
    #[serde(default = "usual_features")]
    pub features: Vec<String>,
    /// The source's words for sports that are looked at; empty for all.
    #[serde(default = "run")]
    pub sports: Vec<String>,
    /// Largest lag in seconds.
    #[serde(default = "three_minutes")]
    pub max_lag_s: f64,
    /// Seconds between lags.
    #[serde(default = "ten_seconds")]
    pub lag_step_s: f64,
    /// Time constants in seconds of the exponential averages of speed and power.
    #[serde(default = "usual_taus")]
    pub taus: Vec<f64>,
    /// Time in seconds over which altitude is smoothed before its slope is taken.
    #[serde(default = "half_a_minute")]
    pub smooth_altitude_s: f64,
    /// The most pairs that Spearman's correlation over all samples is computed from.
    #[serde(default = "hundred_thousand")]
    pub rank_limit: usize,
}

fn usual_features() -> Vec<String> {
    ["speed", "altitude", "altitude_gain", "grade", "power", "elapsed"].map(String::from).to_vec()
}

fn run() -> Vec<String> {
    vec!["run".into()]
}

const fn three_minutes() -> f64 {
    180.0
}

const fn ten_seconds() -> f64 {
    10.0
}

const fn half_a_minute() -> f64 {
    30.0
}

const fn hundred_thousand() -> usize {
    100_000
}

fn usual_taus() -> Vec<f64> {
    vec![20.0, 60.0, 180.0]
}

const LADDER: OutputPort =
    OutputPort::fixed("ladder", ArtifactType::Table, "what cleaning, slope, lag and kinetics give, step by step");
const TABLE: OutputPort =
    OutputPort::fixed("table", ArtifactType::Table, "correlations of heart rate with each feature");
const PICTURE: OutputPort = OutputPort::fixed("picture", ArtifactType::Picture, "the ladder, drawn");
const FIGURE: OutputPort = OutputPort::fixed("figure", ArtifactType::Figure, "the ladder, and correlation by lag");

impl Stage for Correlate {
    const NAME: &'static str = "correlate";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "raw",
            accepts: &[ArtifactType::Workouts],
            arity: Arity::NamedOptional,
            doc: "workouts as imported, by the name of their source",
        },
        InputPort {
            name: "processed",
            accepts: &[ArtifactType::Workouts],
            arity: Arity::Named,
            doc: "workouts that passed the filters, by the name of their source",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[LADDER, TABLE, FIGURE, PICTURE];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = features::parse_all("features", &self.features).err().unwrap_or_default();
        if !(1.0..=3600.0).contains(&self.lag_step_s) {
            faults.push(ParameterFault::new("lag_step_s", "must lie between 1 and 3600 seconds"));
        }
        if !(0.0..=3600.0).contains(&self.max_lag_s) {
            faults.push(ParameterFault::new("max_lag_s", "must lie between 0 and 3600 seconds"));
        }
        for (i, tau) in self.taus.iter().enumerate() {
            if !(tau.is_finite() && *tau > 0.0) {
                faults.push(ParameterFault::new(format!("taus[{i}]"), "must be a number of seconds above 0"));
            }
        }
        if !(self.smooth_altitude_s.is_finite() && self.smooth_altitude_s >= 0.0) {
            faults.push(ParameterFault::new("smooth_altitude_s", "must be a number of seconds, 0 or more"));
        }
        if self.rank_limit < 100 {
            faults.push(ParameterFault::new("rank_limit", "must be at least 100"));
        }
        faults
    }
}

impl Run for Correlate {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.correlate(context))
    }
}

impl Correlate {
    fn correlate(&self, context: &Context<'_>) -> Result<Metrics> {
        let predictors = self.predictors()?;
        let mut sets = Vec::new();
        for stand in Stand::ALL {
            for (source, path) in context.job.named_inputs(stand.name()) {
                sets.push(self.read(context, source, stand, path, &predictors)?);
            }
        }
        let ladders = ladder::climb(&sets, &predictors);
        ladder::table(&ladders)?.write(&context.output(&LADDER))?;
        set::table(&sets, &predictors)?.write(&context.output(&TABLE))?;
        let figure = self.figure(&sets, &predictors, &ladders);
        std::fs::write(context.output(&PICTURE), Plot::of_figure(&figure["ladder"]).svg())?;
        std::fs::write(context.output(&FIGURE), serde_json::to_string_pretty(&figure)? + "\n")?;
        Ok(metrics(&sets, &predictors, &ladders))
    }

    /// The features themselves, the averages of the signals, then the signals by lag.
    fn predictors(&self) -> Result<Vec<Predictor>> {
        let features = features::parse_all("features", &self.features)
            .map_err(|faults| Blame { parameter: faults[0].path.clone(), message: faults[0].message.clone() })?;
        let average = |signal: Signal| self.taus.iter().map(move |tau| Feature::Ema(signal, *tau));
        let mut ranked: Vec<Feature> = features;
        for feature in LAGGED.into_iter().flat_map(average) {
            if !ranked.contains(&feature) {
                ranked.push(feature);
            }
        }
        let at_once = ranked.into_iter().map(|feature| Predictor { feature, lag: 0.0, ranked: true });
        let lags = (self.max_lag_s / self.lag_step_s).floor() as u32;
        let lagged = LAGGED.into_iter().flat_map(|signal| {
            (0..=lags).map(move |k| {
                let lag = f64::from(k) * self.lag_step_s;
                Predictor { feature: Feature::Signal(signal), lag, ranked: false }
            })
        });
        Ok(at_once.chain(lagged).collect())
    }

    fn read(
        &self,
        context: &Context<'_>,
        source: &str,
        stand: Stand,
        path: &Path,
        predictors: &[Predictor],
    ) -> Result<Set> {
        let reader = WorkoutReader::with_series(path, SeriesName::OF_TRACKS)?;
        let total = reader.total() as u64;
        let tallies = Tallies::new(predictors.len(), self.rank_limit);
        let source = source.to_owned();
        let mut set = Set { source, stand, workouts: 0, aside: 0, data: DataSource::Recorded, tallies };
        let name = format!("{} ({})", set.source, stand.name());
        let (mut seen, mut data) = (0, None);
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            seen += batch.len() as u64;
            let thresholds = set.tallies.thresholds();
            let asked = |workout: &&Workout| self.sports.is_empty() || self.sports.contains(&workout.sport);
            let asked: Vec<&Workout> = batch.iter().filter(asked).collect();
            let tally = |workout: &&Workout| {
                let (track, _) = Track::new(workout).ok()?;
                Some(WorkoutTally::new(workout.id, &track, self.smooth_altitude_s, predictors, &thresholds))
            };
            let tallied: Vec<Option<WorkoutTally>> = asked.par_iter().map(tally).collect();
            for (workout, tallied) in asked.iter().zip(tallied) {
                let Some(tallied) = tallied else {
                    set.aside += 1;
                    continue;
                };
                let its = if workout.synthetic { DataSource::Synthetic } else { DataSource::Recorded };
                data = Some(data.map_or(its, |before: DataSource| before.and(its)));
                set.workouts += 1;
                set.tallies.take(tallied);
            }
            context.progress(seen, Some(total), "workouts", name.as_str());
        }
        set.data = data.ok_or_else(|| Blame {
            parameter: "sports".into(),
            message: format!("`{name}`: none of {seen} workouts is of the sports asked for and has heart rate"),
        })?;
        Ok(set)
    }

    fn figure(&self, sets: &[Set], predictors: &[Predictor], ladders: &[Ladder]) -> Value {
        let mut series = Vec::new();
        for set in sets {
            for signal in LAGGED {
                let curve = set.curve(signal, predictors);
                let (x, y): (Vec<f64>, Vec<f64>) = curve.map(|(lag, r)| (rounded(lag), rounded(r))).unzip();
                let name = format!("{} ({}, {})", signal.name(), set.source, set.stand.name());
                series.push(json!({ "name": name, "x": x, "y": y }));
            }
        }
        let data = sets.iter().map(|set| set.data).reduce(DataSource::and);
        json!({
            "title": "Heart rate against earlier speed and power",
            "x": "lag (s)",
            "y": "mean over workouts of Pearson's r",
            "series": series,
            "ladder": ladder::figure(ladders, data),
            "data": data,
        })
    }
}

/// The figures of the result: by source, what each set and each step of the ladder shows.
fn metrics(sets: &[Set], predictors: &[Predictor], ladders: &[Ladder]) -> Metrics {
    let mut metrics = Metrics::new();
    for set in sets {
        let of_source = metrics.entry(set.source.clone()).or_insert_with(|| json!({}));
        of_source[set.stand.name()] = set.metrics(predictors);
    }
    for ladder in ladders {
        metrics[ladder.source.as_str()]["ladder"] = ladder.metrics();
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::table::Table;
    use crate::workouts::WorkoutWriter;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;

    /// Heart rate follows the speed of 30 s before; raw data hold a bike ride and a broken sample besides.
    fn workout(id: i64, sport: &str) -> Workout {
        let time: Vec<f64> = (0..120).map(|i| 5.0 * f64::from(i)).collect();
        Workout {
            id,
            user: Some(1),
            sport: sport.into(),
            heart_rate: Some(time.iter().map(|t| 150.0 + 10.0 * ((t - 30.0) / 40.0).sin() as f32).collect()),
            speed: Some(time.iter().map(|t| 3.0 + (t / 40.0).sin() as f32).collect()),
            altitude: Some(vec![10.0; 120]),
            time: Some(time),
            synthetic: true,
            ..Workout::default()
        }
    }

    fn file(path: PathBuf, workouts: Vec<Workout>) -> Slot {
        let name = "watch".to_owned();
        let mut writer = WorkoutWriter::create(&path).unwrap();
        writer.write(workouts).unwrap();
        writer.finish().unwrap();
        Slot::Named([(name, path)].into())
    }

    #[test]
    fn raw_and_processed_stand_side_by_side_and_the_lag_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let mut broken = workout(2, "run");
        broken.heart_rate.as_mut().unwrap()[5] = f32::NAN;
        let nothing = Workout { sport: "run".into(), ..Workout::default() };
        let raw = vec![workout(1, "run"), broken, workout(3, "bike"), nothing];
        let job = Job {
            v: JOB_VERSION,
            kind: "correlate".into(),
            code: String::new(),
            params: Value::Null,
            inputs: [
                ("raw".to_owned(), file(folder.path().join("raw"), raw)),
                ("processed".to_owned(), file(folder.path().join("processed"), vec![workout(1, "run")])),
            ]
            .into(),
            out: folder.path().to_path_buf(),
            partial: folder.path().to_path_buf(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        let stage: Correlate = serde_json::from_str(r#"{ "features": ["speed", "ema(speed, 60)"] }"#).unwrap();
        assert_eq!(stage.check(), []);
        let context = Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) };
        let metrics = stage.run(&context).unwrap();
        assert_eq!(
            (&metrics["watch"]["raw"]["n_workouts"], &metrics["watch"]["raw"]["set_aside"]),
            (&json!(2), &json!(1))
        );
        assert_eq!(metrics["watch"]["processed"]["features"]["speed at its best lag"]["lag_s"], json!(30.0));
        let table = Table::read(&folder.path().join("table.parquet")).unwrap();
        // Two features, five further averages, two best lags, for each of two sets.
        assert_eq!(table.rows(), 18);
        assert_eq!(table.cells(0)[..7], ["watch", "raw", "synthetic", "speed", "0", "239", "2"]);
        let figure: Value = serde_json::from_slice(&std::fs::read(folder.path().join("figure.json")).unwrap()).unwrap();
        assert_eq!(figure["data"], "synthetic");
        assert_eq!(figure["series"].as_array().unwrap().len(), 4);
        assert_eq!(figure["series"][2]["name"], "speed (watch, processed)");
        assert_eq!(figure["series"][2]["x"][3], json!(30.0));
        assert!(figure["series"][2]["y"][3].as_f64().unwrap() > 0.999);
        let ladder = Table::read(&folder.path().join("ladder.parquet")).unwrap();
        let steps: Vec<String> = (0..ladder.rows()).map(|row| ladder.cells(row)[2..4].join(": ")).collect();
        assert_eq!(
            steps,
            ["raw: speed", "cleaned: speed", "slope: power", "lag: power 30 s before", "kinetics: ema(power, 60)"]
        );
    }

    #[test]
    fn heart_rate_is_not_correlated_with_itself() {
        let stage: Correlate = serde_json::from_str(r#"{ "features": ["ema(hr, 5)"], "taus": [0.0] }"#).unwrap();
        let paths: Vec<String> = stage.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["features[0]", "taus[0]"]);
    }
}
