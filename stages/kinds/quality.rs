//! The kind `quality`: what is known of each workout's recording, and of all of them by year, source and device.
//! Unaware of models and of filters.

use anyhow::Result;
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::kinds::quality::groups::{Group, Groups};
use crate::kinds::quality::rows::Row;
use crate::quality::{Quality, Tier};
use crate::stage::{Blame, Context, Metrics, Run, Stage};
use crate::table::TableWriter;
use crate::workouts::{Workout, WorkoutReader};

pub mod groups;
pub mod median;
pub mod rows;

/// Looks at every recording: density, gaps, flat lines, spikes, suspected cadence lock, positions, and a score.
///
/// Reads `workouts`; writes `table`, one row for each workout, and `summary`, by year, source and device, with a
/// row for all. Nothing is removed: what to do about it is for a filter to say. Years are those where the workout
/// took place, dates are UTC. A density is heart rates a minute of recorded time without pauses: `good` from 5,
/// `medium` from 1, else `sparse`; medians of it are within 1 %. FitRec workouts were cut to 500 points before they were
/// published: their density says how long they took. The score goes from 0 to 1 (good) and orders
/// recordings; it measures nothing.
///
/// A gap is longer than 30 s and than five usual steps. A flat line is one value for 120 s. A spike is a change of
/// more than 20 BPM and faster than 8 BPM/s. Cadence lock is suspected where heart rate stays within 160 to 190 BPM
/// with a standard deviation below 3 BPM for 120 s, and leapt there or did not answer a change of demand.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QualityStage {
    /// The source's words for sports that are looked at; empty for all.
    #[serde(default = "run")]
    pub sports: Vec<String>,
}

fn run() -> Vec<String> {
    vec!["run".into()]
}

const TABLE: OutputPort = OutputPort::fixed("table", ArtifactType::Table, "the recording of each workout");
const SUMMARY: OutputPort = OutputPort::fixed("summary", ArtifactType::Table, "all by year, source and device");

impl Stage for QualityStage {
    const NAME: &'static str = "quality";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "workouts",
        accepts: &[ArtifactType::Workouts],
        arity: Arity::One,
        doc: "workouts, as imported or filtered",
    }];
    const OUTPUTS: &'static [OutputPort] = &[TABLE, SUMMARY];
}

impl Run for QualityStage {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        threads.install(|| self.look(context))
    }
}

/// The workout with the lowest score, the first of equals.
struct Worst {
    id: i64,
    score: f64,
}

impl QualityStage {
    fn look(&self, context: &Context<'_>) -> Result<Metrics> {
        let reader = WorkoutReader::open(context.job.input("workouts")?)?;
        let total = reader.total() as u64;
        let mut writer = TableWriter::create(&context.output(&TABLE), &rows::table(&[])?)?;
        let (mut seen, mut groups, mut worst) = (0, Groups::default(), None);
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            seen += batch.len() as u64;
            let asked: Vec<&Workout> = batch.iter().filter(|workout| self.asks_for(workout)).collect();
            let rows: Vec<Row<'_>> = asked.par_iter().map(|workout| (*workout, Quality::of(workout))).collect();
            for (workout, quality) in &rows {
                groups.take(workout, quality);
                let score = quality.score();
                worst = worst.filter(|worst: &Worst| worst.score <= score).or(Some(Worst { id: workout.id, score }));
            }
            if !rows.is_empty() {
                writer.write(&rows::table(&rows)?)?;
            }
            context.progress(seen, Some(total), "workouts", "");
        }
        writer.finish()?;
        groups.table()?.write(&context.output(&SUMMARY))?;
        let group = groups.total().ok_or_else(|| self.nothing(seen))?;
        Ok(metrics(group, seen, worst))
    }

    fn asks_for(&self, workout: &Workout) -> bool {
        self.sports.is_empty() || self.sports.contains(&workout.sport)
    }

    fn nothing(&self, seen: u64) -> Blame {
        let message = match seen {
            0 => "`workouts`: holds no workout".to_owned(),
            _ => format!("`workouts`: none of {seen} is of the sports asked for: {}", self.sports.join(", ")),
        };
        Blame { parameter: "sports".into(), message }
    }
}

fn metrics(group: &Group, seen: u64, worst: Option<Worst>) -> Metrics {
    let mut metrics = Metrics::new();
    let mut put = |name: &str, value: serde_json::Value| metrics.insert(name.to_owned(), value);
    put("data", json!(group.data));
    put("workouts", json!(group.workouts));
    put("other_sports", json!(seen - group.workouts));
    put("without_heart_rate", json!(group.no_heart_rate));
    put("without_time", json!(group.no_time));
    put("hours", json!(group.seconds / 3600.0));
    put("median_heart_rates_a_minute", json!(group.median_density()));
    for tier in Tier::ALL {
        put(tier.name(), json!(group.tier_share(tier)));
    }
    for (name, share) in group.shares() {
        put(&format!("with {name}").replace(' ', "_"), json!(share));
    }
    put("mean_score", json!(group.mean_score()));
    put("worst", json!(worst.map(|worst| json!({ "id": worst.id, "score": worst.score }))));
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::table::{Table, Values};
    use crate::workouts::{Origin, WorkoutWriter};
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    /// 2024-12-31T23:30:00Z.
    const LATE: f64 = 1_735_687_800.0;

    /// Ten minutes with a heart rate every so many seconds.
    fn workout(id: i64, step: usize) -> Workout {
        let heart_time: Vec<f64> = (0..=600).step_by(step).map(|t| LATE + f64::from(t)).collect();
        Workout {
            id,
            user: Some(1),
            sport: "run".into(),
            source: "apple".into(),
            time: Some((0..=600).map(|t| LATE + f64::from(t)).collect()),
            heart_rate: Some(heart_time.iter().map(|t| 150.0 + 9.0 * (t / 50.0).sin() as f32).collect()),
            heart_rate_time: Some(heart_time),
            speed: Some(vec![3.0; 601]),
            speed_source: Origin::Positions,
            ..Workout::default()
        }
    }

    fn run(folder: &Path, sports: &[&str], workouts: Vec<Workout>) -> Result<Metrics> {
        let input = folder.join("in.parquet");
        let mut writer = WorkoutWriter::create(&input).unwrap();
        writer.write(workouts).unwrap();
        writer.finish().unwrap();
        let job = Job {
            v: JOB_VERSION,
            kind: "quality".into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: [("workouts".to_owned(), Slot::One(input))].into(),
            out: folder.to_path_buf(),
            partial: folder.to_path_buf(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 2,
        };
        let stage: QualityStage = serde_json::from_value(json!({ "sports": sports })).unwrap();
        stage.run(&Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) })
    }

    fn some() -> Vec<Workout> {
        let paris = Some("Europe/Paris".to_owned());
        vec![
            workout(1, 5),
            Workout { time_zone: paris, device: Some("Watch".into()), indoor: Some(true), ..workout(2, 300) },
            Workout { sport: "bike".into(), ..workout(3, 5) },
            Workout { heart_rate: None, heart_rate_time: None, ..workout(4, 5) },
            Workout { heart_rate_time: None, time: None, ..workout(5, 5) },
        ]
    }

    #[test]
    fn every_workout_has_its_row_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = run(folder.path(), &["run"], some()).unwrap();
        let table = Table::read(&folder.path().join("table.parquet")).unwrap();
        let text = |name: &str| match table.column(name).unwrap() {
            Values::Text(values) => values.iter().map(|value| value.clone().unwrap_or_default()).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert_eq!(table.column("id").unwrap(), &Values::Int([1, 2, 4, 5].map(Some).to_vec()));
        assert_eq!(text("date"), ["2024-12-31T23:30:00Z", "2024-12-31T23:30:00Z", "2024-12-31T23:30:00Z", ""]);
        assert_eq!(text("tier"), ["good", "sparse", "", ""]);
        assert_eq!(text("findings"), ["", "", "no heart rate", "no times"]);
        assert_eq!(
            table.column("heart rates a minute").unwrap(),
            &Values::Float(vec![Some(12.1), Some(0.3), None, None])
        );
        assert_eq!(text("data"), ["recorded"; 4]);
        assert_eq!(metrics["worst"], json!({ "id": 4, "score": 0.0 }));
        assert_eq!((&metrics["workouts"], &metrics["other_sports"]), (&json!(4), &json!(1)));
        assert_eq!((&metrics["without_heart_rate"], &metrics["without_time"]), (&json!(1), &json!(1)));
    }

    #[test]
    fn the_summary_counts_by_year_where_it_was_run_by_source_and_by_device() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = run(folder.path(), &[], some()).unwrap();
        let summary = Table::read(&folder.path().join("summary.parquet")).unwrap();
        let rows: Vec<String> = (0..summary.rows()).map(|row| summary.cells(row)[..11].join("|")).collect();
        assert_eq!(
            rows,
            [
                "year|2024|recorded|3|1|0|0.5|12.1|1|0|0",
                "year|2025|recorded|1|0|0|0.166667|0.3|0|0|1",
                "year|unknown|recorded|1|0|1|0||||",
                "source|apple|recorded|5|1|1|0.666667|12.1|0.666667|0|0.333333",
                "device|Watch|recorded|1|0|0|0.166667|0.3|0|0|1",
                "device|unknown|recorded|4|1|1|0.5|12.1|1|0|0",
                "total|all|recorded|5|1|1|0.666667|12.1|0.666667|0|0.333333",
            ]
        );
        assert_eq!((&metrics["with_indoor"], &metrics["with_speed_derived"]), (&json!(0.2), &json!(1.0)));
        assert_eq!((&metrics["with_gaps"], &metrics["good"]), (&json!(0.0), &json!(2.0 / 3.0)));
    }

    #[test]
    fn nothing_to_look_at_is_told_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let error = |workouts| run(folder.path(), &["swim", "row"], workouts).unwrap_err().to_string();
        assert_eq!(error(vec![]), "`workouts`: holds no workout");
        assert_eq!(error(some()), "`workouts`: none of 5 is of the sports asked for: swim, row");
    }
}
