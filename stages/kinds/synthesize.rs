//! The kind `synthesize`: runners who do not exist, as files that look published. Unaware of the reader.

use std::fs::File;
use std::io::Write as _;

use anyhow::{Context as _, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{ArtifactType, InputPort, OutputPort};
use crate::kinds::synthesize::oracle::Oracle;
use crate::simulate::apple::view::AppleView;
use crate::simulate::fitrec::push_line;
use crate::simulate::recording::Recording;
use crate::simulate::{Failures, Population, history};
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::table::TableWriter;

pub mod apple;
pub mod oracle;

/// Simulates runners and writes their workouts as a raw FitRec file, or one runner's years as an Apple Health export,
/// to be read like a real one.
///
/// Each user has a body (rest, highest rate, gain, time constants, drift) and a history of workouts over months; the
/// heart answers running power with a lag. What devices keep of it matches the published statistics: irregular
/// points, heart rates in whole BPM, speed (km/h) in a few workouts only, other sports, broken records. Writes `raw`
/// (one Python dict a line, plain or gzipped; every `url` begins with `synthetic:`) and `oracle`, two heart rates
/// without noise at each point of each run. `heart_rate` is what a model could say at best if it knew user, course and
/// the day, whose offset (standard deviation 4 to 10 BPM) nothing but the heart rate itself betrays. `heart_rate_usual`
/// is what it could say if it knew user and course: the floor that a model can come near by the user's earlier runs. No
/// model can read them: it is a table, and `evaluate` sets its figures beside those of models. The seed alone decides
/// every draw.
///
/// With `view = "apple"`, `raw` is the zip of an export: `export.xml`, a route for each workout outdoors, and the
/// traps of real ones. Its heart rates get denser from year to year and become averages over spans as they grow old.
/// Every source in it begins with `synthetic:`. Then `apple` says what it holds, and the parameters of users do
/// nothing; a run is known by its first second. The oracle has the heart rates that the watch kept outside pauses.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Synthesize {
    /// What is written: `fitrec`, a file of many users, or `apple`, one runner's export.
    pub view: View,
    /// Number of users.
    pub users: u64,
    /// Mean number of runs of a user; each user's own number varies around it.
    pub runs_per_user: f64,
    /// Points of a workout.
    pub points: usize,
    /// Share of workouts that are no runs.
    pub share_other_sports: f64,
    /// Share of workouts without recorded speed.
    pub share_without_speed: f64,
    /// First day of every history, as `2012-01-31`, UTC.
    pub start: String,
    /// Days that a history covers; more where a user has more workouts than that.
    pub days: f64,
    /// Shares of workouts with something wrong in them, by what is wrong.
    pub failures: Failures,
    /// Whether the file is gzipped.
    pub gzip: bool,
    /// What the export holds, for the view `apple`.
    pub apple: AppleView,
}

/// Whose way of writing workouts is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// A FitRec file.
    #[default]
    Fitrec,
    /// An Apple Health export.
    Apple,
}

impl Default for Synthesize {
    fn default() -> Self {
        Self {
            view: View::Fitrec,
            users: 60,
            runs_per_user: 12.0,
            points: 500,
            share_other_sports: 0.58,
            share_without_speed: 0.84,
            start: "2012-01-01".to_owned(),
            days: 365.0,
            failures: Failures::default(),
            gzip: false,
            apple: AppleView::default(),
        }
    }
}

const RAW: OutputPort =
    OutputPort::fixed("raw", ArtifactType::File, "A FitRec file (a Python dict a line), or the zip of an export.");
const ORACLE: OutputPort = OutputPort::fixed(
    "oracle",
    ArtifactType::Table,
    "Heart rates without noise (BPM) at each point of each run, with the day known and on a usual day.",
);

/// Users simulated at a time; they decide where the oracle's row groups end.
const USERS_AT_A_TIME: u64 = 32;

impl Stage for Synthesize {
    const NAME: &'static str = "synthesize";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[];
    const OUTPUTS: &'static [OutputPort] = &[RAW, ORACLE];
    const SEEDED: bool = true;

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        let mut demand = |holds: bool, path: &str, message: &str| {
            if !holds {
                faults.push(ParameterFault::new(path, message));
            }
        };
        demand((1..=1_000_000).contains(&self.users), "users", "must lie between 1 and 1000000");
        demand((1.0..=5000.0).contains(&self.runs_per_user), "runs_per_user", "must lie between 1 and 5000");
        demand((2..=100_000).contains(&self.points), "points", "must lie between 2 and 100000");
        let others = &self.share_other_sports;
        demand((0.0..=0.99).contains(others), "share_other_sports", "must lie between 0 and 0.99");
        let without = &self.share_without_speed;
        demand((0.0..=1.0).contains(without), "share_without_speed", "must lie between 0 and 1");
        demand(first_second(&self.start).is_some(), "start", "must be a day such as `2012-01-31`");
        demand((1.0..=36_525.0).contains(&self.days), "days", "must lie between 1 and 36525");
        let shares = self.failures.shares();
        for (name, share) in shares {
            demand((0.0..=1.0).contains(&share), &format!("failures.{name}"), "must lie between 0 and 1");
        }
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        demand(total <= 1.0, "failures", "must not exceed 1 together");
        faults.extend(self.apple.faults());
        faults
    }
}

impl Run for Synthesize {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        match self.view {
            View::Fitrec => self.write_users(context),
            View::Apple => apple::write(&self.apple, context, &context.output(&RAW), &context.output(&ORACLE)),
        }
    }
}

impl Synthesize {
    fn write_users(&self, context: &Context<'_>) -> Result<Metrics> {
        let population = self.population()?;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        let path = context.output(&RAW);
        let unwritable = || format!("`{}` cannot be written", path.display());
        let mut raw = File::create(&path).with_context(unwritable)?;
        let mut oracle = TableWriter::create(&context.output(&ORACLE), &Oracle::default().table()?)?;
        let mut counts = Counts::default();
        let mut done = 0;
        while done < self.users {
            context.check_cancelled()?;
            let users = done..(done + USERS_AT_A_TIME).min(self.users);
            done = users.end;
            let simulate = |user| self.simulate(&population, context.job.seed, user);
            let parts: Vec<Part> = threads.install(|| users.into_par_iter().map(simulate).collect());
            let mut rows = Oracle::default();
            for part in parts {
                raw.write_all(&part.bytes).with_context(unwritable)?;
                rows.append(part.oracle);
                counts.add(&part.counts);
            }
            oracle.write(&rows.table()?)?;
            context.progress(done, Some(self.users), "users", format!("{} workouts", counts.workouts));
        }
        oracle.finish()?;
        Ok(counts.metrics(self.users))
    }

    fn population(&self) -> Result<Population> {
        let start = first_second(&self.start).with_context(|| format!("`{}` is no day", self.start))?;
        Ok(Population {
            runs_per_user: self.runs_per_user,
            points: self.points,
            other_sports: self.share_other_sports,
            without_speed: self.share_without_speed,
            start,
            days: self.days,
            failures: self.failures.clone(),
        })
    }

    fn simulate(&self, population: &Population, seed: u64, user: u64) -> Part {
        let mut text = String::new();
        let (mut oracle, mut counts) = (Oracle::default(), Counts::default());
        for recording in history(population, seed, user) {
            push_line(&mut text, &recording);
            counts.count(&recording);
            if recording.sport == "run" {
                let start = recording.time.first().copied().unwrap_or_default();
                let rates = recording.oracle.iter().zip(&recording.usual);
                let points = recording.time.iter().zip(rates);
                let points = points.map(|(&time, (&rate, &usual))| [(time - start) as f64, rate, usual]);
                oracle.push((recording.id, recording.user, start), points);
            }
        }
        let bytes = if self.gzip { gzip(text.as_bytes()) } else { text.into_bytes() };
        Part { bytes, oracle, counts }
    }
}

/// One user's share of the outputs.
struct Part {
    bytes: Vec<u8>,
    oracle: Oracle,
    counts: Counts,
}

/// A gzip stream of its own, without time and name; joined ones are one file.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let written = encoder.write_all(text).and_then(|()| encoder.finish());
    written.expect("writing to memory cannot fail")
}

/// The first second of a day written as `2012-01-31`, in unix seconds.
///
/// Days since 1970 by H. Hinnant's `days_from_civil`: years begin in March, so that a leap day ends one.
fn first_second(day: &str) -> Option<i64> {
    let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok().filter(|_| !part.starts_with('+')));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1970..=2200).contains(&year) || !(1..=12).contains(&month) || !(1..=longest).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    Some(days * 86_400)
}

/// What was counted on the way; errors of the oracle over the runs without a flaw.
#[derive(Default)]
struct Counts {
    workouts: u64,
    runs: u64,
    with_speed: u64,
    flawed: u64,
    points: u64,
    oracle_error: f64,
}

impl Counts {
    fn count(&mut self, recording: &Recording) {
        self.workouts += 1;
        self.with_speed += u64::from(recording.speed.is_some());
        self.flawed += u64::from(recording.flaw.is_some());
        if recording.sport != "run" {
            return;
        }
        self.runs += 1;
        if recording.flaw.is_none() {
            let beats = recording.heart_rate.iter().zip(&recording.oracle);
            self.points += recording.heart_rate.len() as u64;
            self.oracle_error += beats.map(|(&rate, oracle)| (rate as f64 - oracle).abs()).sum::<f64>();
        }
    }

    fn add(&mut self, other: &Self) {
        self.workouts += other.workouts;
        self.runs += other.runs;
        self.with_speed += other.with_speed;
        self.flawed += other.flawed;
        self.points += other.points;
        self.oracle_error += other.oracle_error;
    }

    fn metrics(&self, users: u64) -> Metrics {
        let counts = [
            ("users", users),
            ("workouts", self.workouts),
            ("runs", self.runs),
            ("with_speed", self.with_speed),
            ("flawed", self.flawed),
        ];
        let mut metrics: Metrics = counts.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
        if self.points > 0 {
            metrics.insert("oracle_mae".to_owned(), json!(self.oracle_error / self.points as f64));
        }
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::{Synthesize, View, first_second};
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job};
    use crate::read::fitrec::Reader;
    use crate::read::lines::Limits;
    use crate::simulate::Failures;
    use crate::simulate::apple::view::AppleView;
    use crate::stage::{Context, Interrupted, Metrics, Run as _, Stage as _};
    use crate::table::{Table, Values};
    use crate::workouts::Workout;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    fn small() -> Synthesize {
        Synthesize { users: 40, runs_per_user: 2.0, points: 60, ..Synthesize::default() }
    }

    fn synthesize(kind: &Synthesize, seed: u64, threads: usize, out: &Path) -> anyhow::Result<Metrics> {
        run(kind, seed, threads, out, false)
    }

    fn run(kind: &Synthesize, seed: u64, threads: usize, out: &Path, cancelled: bool) -> anyhow::Result<Metrics> {
        let job = Job {
            v: JOB_VERSION,
            kind: Synthesize::NAME.into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: [].into(),
            out: out.to_owned(),
            partial: out.to_owned(),
            checkpoints: Checkpoints::default(),
            seed,
            device: Device::Cpu,
            threads,
        };
        kind.run(&Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(cancelled) })
    }

    fn workouts(out: &Path) -> Vec<Workout> {
        let reader = Reader::open(&out.join("raw.bin"), Limits::default()).unwrap();
        let batches = reader.map(|batch| batch.unwrap());
        let read = batches.inspect(|batch| assert_eq!(batch.set_aside, []));
        read.flat_map(|batch| batch.records).map(|record| record.workout).collect()
    }

    fn bytes(out: &Path) -> [Vec<u8>; 2] {
        ["raw.bin", "oracle.parquet"].map(|name| std::fs::read(out.join(name)).unwrap())
    }

    #[test]
    fn the_seed_alone_decides_every_byte_on_any_number_of_threads() {
        let [one, two, other] = [(1, 1), (1, 3), (2, 1)].map(|(seed, threads)| {
            let folder = tempfile::tempdir().unwrap();
            synthesize(&small(), seed, threads, folder.path()).unwrap();
            bytes(folder.path())
        });
        assert_eq!(one, two);
        assert_ne!(one[0], other[0]);
    }

    #[test]
    fn a_gzipped_file_holds_the_same_workouts() {
        let (plain, gzipped) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        synthesize(&small(), 1, 2, plain.path()).unwrap();
        synthesize(&Synthesize { gzip: true, ..small() }, 1, 2, gzipped.path()).unwrap();
        let (plain_bytes, gzipped_bytes) = (bytes(plain.path()), bytes(gzipped.path()));
        assert_eq!(gzipped_bytes[0][..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "no time in the header");
        assert!(gzipped_bytes[0].len() * 2 < plain_bytes[0].len());
        let text = |out: &Path| format!("{:?}", workouts(out));
        assert_eq!(text(plain.path()), text(gzipped.path()));
    }

    #[test]
    fn shares_are_those_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let kind = Synthesize { users: 150, runs_per_user: 4.0, ..small() };
        let metrics = synthesize(&kind, 3, 2, folder.path()).unwrap();
        let workouts = workouts(folder.path());
        assert_eq!(metrics["workouts"], workouts.len());
        let share = |holds: fn(&Workout) -> bool| {
            workouts.iter().filter(|workout| holds(workout)).count() as f64 / workouts.len() as f64
        };
        assert!((share(|workout| workout.sport != "run") - 0.58).abs() < 0.04);
        assert!((share(|workout| workout.speed.is_none()) - 0.84).abs() < 0.04);
        assert_eq!(share(|workout| workout.synthetic), 1.0);
    }

    #[test]
    fn the_oracle_has_every_point_of_every_run_and_no_noise() {
        let folder = tempfile::tempdir().unwrap();
        let metrics = synthesize(&small(), 1, 2, folder.path()).unwrap();
        let oracle = Table::read(&folder.path().join("oracle.parquet")).unwrap();
        let names: Vec<&str> = oracle.columns().iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["workout", "user", "start", "time_s", "heart_rate", "heart_rate_usual"]);
        let runs: Vec<Workout> = workouts(folder.path()).into_iter().filter(|workout| workout.sport == "run").collect();
        let points: usize = runs.iter().map(|run| run.time.as_ref().map_or(0, Vec::len)).sum();
        assert_eq!((oracle.rows(), metrics["runs"].as_u64()), (points, Some(runs.len() as u64)));
        let Values::Int(ids) = oracle.column("workout").unwrap() else { panic!("ids are whole") };
        assert_eq!(ids[0], Some(runs[0].id));
        let error = metrics["oracle_mae"].as_f64().unwrap();
        assert!((3.0..5.0).contains(&error), "{error}");
    }

    #[test]
    fn defaults_decode_from_nothing_and_faults_are_all_told() {
        let kind: Synthesize = serde_json::from_str("{}").unwrap();
        assert!(kind.check().is_empty());
        let failures = Failures { missing: 0.7, short: 0.7, ..Failures::default() };
        let apple = AppleView { years: 0, ..kind.apple };
        let wrong =
            Synthesize { users: 0, share_other_sports: 1.0, start: "2011-02-29".into(), failures, apple, ..kind };
        let paths: Vec<String> = wrong.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["users", "share_other_sports", "start", "failures", "apple.years"]);
    }

    #[test]
    fn the_view_decides_which_file_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let apple = AppleView { runs: 1, years: 1, resting_days: 0.0, ..AppleView::default() };
        let metrics = synthesize(&Synthesize { view: View::Apple, apple, ..small() }, 1, 1, folder.path()).unwrap();
        assert_eq!(metrics["runs"], 1);
        assert_eq!(bytes(folder.path())[0][..4], *b"PK\x03\x04");
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        assert_eq!(first_second("1970-01-01"), Some(0));
        assert_eq!(first_second("2012-01-01"), Some(1_325_376_000));
        assert_eq!(first_second("2000-02-29"), Some(951_782_400));
        assert_eq!(first_second("2025-11-23"), Some(1_763_856_000));
        for text in ["2100-02-29", "2012-13-01", "2012-1", "yesterday", "", "2012-01-01-01"] {
            assert_eq!(first_second(text), None, "{text}");
        }
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(&small(), 1, 1, folder.path(), true).unwrap_err().is::<Interrupted>());
    }
}
