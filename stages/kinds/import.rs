//! The kind `import`: raw recordings become workouts in SI units. Unaware of filters and of models.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::job::Slot;
use crate::kinds::import::counts::{Counts, KEPT_ASIDE};
use crate::kinds::import::sources::{Portion, Reading, Sources};
use crate::kinds::import::twice::{Stretch, doubles};
use crate::read::csv::columns::Columns;
use crate::read::record::{Reason, Record, SetAside};
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::workouts::speed::{from_distance, from_positions};
use crate::workouts::{Origin, Workout, WorkoutReader, WorkoutWriter};

pub mod counts;
pub mod sources;
pub mod twice;

/// Reads recordings of any known format into workouts in SI units.
///
/// Give a file, a folder or a glob: FitRec (Endomondo) lines; an Apple Health export as `export.zip`, as its folder
/// or as `export.xml`; FIT, TCX, GPX and CSV files; each plain or gzipped. Content tells the format, not the name.
///
/// Times are UTC, whatever offset the source writes; samples within pauses are left out, and the clock goes on. Where
/// speed is missing it is derived from positions, or else from distance; `speed_source` and `altitude_source` of each
/// workout say where they come from. Heart rates that are averages over a span keep its length.
///
/// Nothing but a broken disk stops the import. What cannot be read is in `set_aside` with its file, place and reason.
/// A run that was recorded twice (watch and app, or two files) is kept once, and the other is named there: the one
/// with a heart rate stays, then a watch's, then the one with more heart rates. Files are read as streams and in
/// parallel: what stays in memory is some hundred bytes of each workout, and 12 of each heart rate of an Apple export.
/// A FIT, TCX, GPX or CSV file above 256 MiB is refused.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// When speed is computed instead of read: `never`, `missing` (where the source has none) or `always`.
    #[serde(default)]
    pub derive_speed: DeriveSpeed,
    /// Seconds around a point over which derived speed is averaged; at least its two neighbours are used.
    #[serde(default = "default_smooth_s")]
    pub smooth_s: f64,
    /// Number of lines of a FitRec file to read from the start, for trials; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The runner's number, for formats that do not say it (all but FitRec).
    #[serde(default = "default_user")]
    pub user: i64,
    /// The runner's gender, `male` or `female`, where a file does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<String>,
    /// The sport, such as `run`, where a file does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<String>,
    /// Whether a run that was recorded twice is kept once (`remove`) or twice (`keep`).
    #[serde(default)]
    pub doubles: Doubles,
    /// The columns of CSV files, where their names are not usual ones.
    #[serde(default)]
    pub columns: Columns,
}

/// When speed is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DeriveSpeed {
    /// Recorded speed alone is used.
    Never,
    /// Where the source has none.
    #[default]
    Missing,
    /// Everywhere it can be; recorded speed stays where it cannot.
    Always,
}

/// What becomes of a run that was recorded twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Doubles {
    /// The better recording stays.
    #[default]
    Remove,
    /// Both stay, though a model may then be tested on what it was trained on.
    Keep,
}

fn default_smooth_s() -> f64 {
    15.0
}

const fn default_user() -> i64 {
    1
}

const WORKOUTS: OutputPort = OutputPort::fixed(
    "workouts",
    ArtifactType::Workouts,
    "Every workout that could be read, in the order of the files.",
);
const SET_ASIDE: OutputPort = OutputPort::fixed(
    "set_aside",
    ArtifactType::Table,
    "What gave no workout, with its file, place and reason; the first hundred thousand.",
);
const SUMMARY: OutputPort = OutputPort::fixed(
    "summary",
    ArtifactType::Table,
    "What was counted: files, workouts, sources, devices, sports, origins of speed and altitude.",
);

impl Stage for Import {
    const NAME: &'static str = "import";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "source",
        accepts: &[ArtifactType::File],
        arity: Arity::Files,
        doc: "Recordings: a file, a folder or a glob.",
    }];
    const OUTPUTS: &'static [OutputPort] = &[WORKOUTS, SET_ASIDE, SUMMARY];

    fn check(&self) -> Vec<ParameterFault> {
        let mut faults = Vec::new();
        if !(0.0..=600.0).contains(&self.smooth_s) {
            faults.push(ParameterFault::new("smooth_s", "must lie between 0 and 600 seconds"));
        }
        if self.limit == Some(0) {
            faults.push(ParameterFault::new("limit", "must be at least 1; leave it out to read every line"));
        }
        if let Some((name, message)) = self.columns.fault() {
            faults.push(ParameterFault::new(format!("columns.{name}"), message));
        }
        faults
    }
}

impl Run for Import {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        let mut intake = Intake::new(self, context)?;
        let reading = Reading { lines: self.limit, user: self.user, columns: &self.columns };
        threads.install(|| sources(context)?.read(&reading, &mut |portion| intake.take(portion)))?;
        let counts = intake.finish()?;
        if counts.workouts() == 0 {
            bail!("`source` holds no workout: {}", counts.why_none());
        }
        if counts.aside() > KEPT_ASIDE as u64 {
            context.warn(format!("{} were set aside; the first {KEPT_ASIDE} are listed", counts.aside()));
        }
        counts.set_aside_table()?.write(&context.output(&SET_ASIDE))?;
        counts.summary()?.write(&context.output(&SUMMARY))?;
        Ok(counts.metrics())
    }
}

fn sources(context: &Context<'_>) -> Result<Sources> {
    match context.job.inputs.get("source") {
        Some(Slot::One(path)) => Ok(Sources::One(path.clone())),
        Some(Slot::Named(files)) => Ok(Sources::Many(files.clone())),
        None => bail!("input `source` is not wired"),
    }
}

/// What takes the workouts in: numbers are made unique, speeds derived, all of it written and counted.
struct Intake<'a> {
    kind: &'a Import,
    context: &'a Context<'a>,
    path: PathBuf,
    writer: WorkoutWriter,
    counts: Counts,
    numbers: BTreeSet<i64>,
    stretches: BTreeMap<i64, Vec<Stretch>>,
}

impl<'a> Intake<'a> {
    fn new(kind: &'a Import, context: &'a Context<'a>) -> Result<Self> {
        let path = context.output(&WORKOUTS);
        let writer = WorkoutWriter::create(&path)?;
        let (numbers, stretches) = (BTreeSet::new(), BTreeMap::new());
        Ok(Self { kind, context, path, writer, counts: Counts::default(), numbers, stretches })
    }

    fn take(&mut self, portion: Portion) -> Result<()> {
        self.context.check_cancelled()?;
        let Portion { found, lines, files, progress } = portion;
        self.counts.lines += lines;
        self.counts.files += files;
        found.warnings.iter().for_each(|warning| self.context.warn(warning));
        found.set_aside.into_iter().for_each(|note| self.counts.put_aside(note));
        let finished: Vec<Workout> = found.records.into_par_iter().map(|record| self.kind.finished(record)).collect();
        for mut workout in finished {
            if !self.number(&mut workout) {
                continue;
            }
            if let Some((user, stretch)) = Stretch::of(&workout).filter(|_| self.kind.doubles == Doubles::Remove) {
                self.stretches.entry(user).or_default().push(stretch);
            }
            self.counts.count(&workout);
            self.writer.write([workout])?;
        }
        let message = format!("{} workouts, {} set aside", self.counts.workouts(), self.counts.aside());
        self.context.progress(progress.done, Some(progress.total), progress.unit, message);
        Ok(())
    }

    /// Makes the number of a workout its own; a FitRec number that is there already is another's, and sets it aside.
    fn number(&mut self, workout: &mut Workout) -> bool {
        while !self.numbers.insert(workout.id) {
            if workout.source == "fitrec" {
                let detail = format!("workout {} stands in an earlier file", workout.id);
                self.counts.put_aside(SetAside::new("", Reason::Duplicate, detail));
                return false;
            }
            workout.id += 1;
        }
        true
    }

    /// Ends the file; where runs were recorded twice it is written again without the doubles.
    fn finish(self) -> Result<Counts> {
        let Self { context, path, writer, mut counts, stretches, .. } = self;
        writer.finish().context("the workouts cannot be written")?;
        let doubles = doubles(stretches);
        if doubles.is_empty() {
            return Ok(counts);
        }
        counts.forget_workouts();
        let all = path.with_extension("all");
        std::fs::rename(&path, &all)?;
        let reader = WorkoutReader::open(&all)?;
        let mut writer = WorkoutWriter::create(&path)?;
        for batch in reader {
            context.check_cancelled()?;
            for workout in batch? {
                match doubles.get(&workout.id) {
                    Some(kept) => counts.put_aside(recorded_twice(&workout, *kept)),
                    None => {
                        counts.count(&workout);
                        writer.write([workout])?;
                    }
                }
            }
        }
        writer.finish().context("the workouts cannot be written")?;
        std::fs::remove_file(&all)?;
        Ok(counts)
    }
}

fn recorded_twice(workout: &Workout, kept: i64) -> SetAside {
    let device = workout.device.as_deref().unwrap_or("an unnamed device");
    let rates = workout.heart_rate.as_ref().map_or(0, Vec::len);
    let detail = format!("workout {kept} covers the same time; this one is by {device}, with {rates} heart rates");
    SetAside::new(format!("workout {}", workout.id), Reason::RecordedTwice, detail)
}

impl Import {
    /// Fills in what the file does not say and derives speed.
    fn finished(&self, record: Record) -> Workout {
        let Record { mut workout, distance } = record;
        if workout.source != "fitrec" {
            workout.gender =
                workout.gender.or_else(|| Some(self.gender.clone().unwrap_or_else(|| "unknown".to_owned())));
            if workout.sport.is_empty() {
                workout.sport = self.sport.clone().unwrap_or_default();
            }
        }
        let wanted = match self.derive_speed {
            DeriveSpeed::Never => false,
            DeriveSpeed::Missing => workout.speed.is_none(),
            DeriveSpeed::Always => true,
        };
        if let Some((speed, source)) = wanted.then(|| derived(&workout, distance.as_deref(), self.smooth_s)).flatten() {
            workout.speed = Some(speed);
            workout.speed_source = source;
        }
        workout
    }
}

/// Speed from positions, else from distance.
fn derived(workout: &Workout, distance: Option<&[f64]>, window: f64) -> Option<(Vec<f32>, Origin)> {
    let time = workout.time.as_deref()?;
    let positions = workout.latitude.as_deref().zip(workout.longitude.as_deref());
    if let Some(speed) = positions.and_then(|(lat, lon)| from_positions(time, lat, lon, window)) {
        return Some((speed, Origin::Positions));
    }
    Some((from_distance(time, distance?, window)?, Origin::Distance))
}

#[cfg(test)]
mod tests {
    use super::{DeriveSpeed, Import, KEPT_ASIDE};
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::stage::{Context, Interrupted, Metrics, Notice, Run as _, Stage as _};
    use crate::table::Table;
    use crate::workouts::{Origin, read_all};
    use std::path::Path;
    use std::sync::atomic::AtomicBool;
    use std::sync::{LazyLock, Mutex};

    static PLAIN: LazyLock<Import> = LazyLock::new(|| serde_json::from_str("{}").unwrap());

    /// Imports a file of this text; gives what was returned and what was told.
    fn import(kind: &Import, text: &str, folder: &Path, cancelled: bool) -> (anyhow::Result<Metrics>, Vec<Notice>) {
        let source = folder.join("source");
        std::fs::write(&source, text).unwrap();
        let job = Job {
            v: JOB_VERSION,
            kind: Import::NAME.into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: [("source".to_owned(), Slot::One(source))].into(),
            out: folder.to_owned(),
            partial: folder.to_owned(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 2,
        };
        let notices = Mutex::new(Vec::new());
        let sink = |notice| notices.lock().unwrap().push(notice);
        let context = Context { job: &job, sink: &sink, cancelled: &AtomicBool::new(cancelled) };
        let result = kind.run(&context);
        (result, notices.into_inner().unwrap())
    }

    /// A run of 50 points at 3 m/s northwards whose record says 9 km/h, without some of its fields.
    fn run(id: u32, without: &[&str]) -> String {
        let list = |value: &dyn Fn(u32) -> String| (0..50).map(value).collect::<Vec<_>>().join(", ");
        let fields = [
            ("sport", "'run'".to_owned()),
            ("timestamp", format!("[{}]", list(&|step| (1_400_000_000 + step * 7).to_string()))),
            ("latitude", format!("[{}]", list(&|step| (48.0 + f64::from(step * 21) / 111_195.08).to_string()))),
            ("longitude", format!("[{}]", list(&|_| "2.35".to_owned()))),
            ("distance", format!("[{}]", list(&|step| (step * 28).to_string()))),
            ("speed", format!("[{}]", list(&|_| "9".to_owned()))),
        ];
        let kept = fields.iter().filter(|field| !without.contains(&field.0));
        format!("{{'id': {id}{}}}\n", kept.map(|(name, value)| format!(", '{name}': {value}")).collect::<String>())
    }

    fn mean_speeds(folder: &Path) -> Vec<(Origin, Option<f64>)> {
        let mean = |speed: Vec<f32>| f64::from(speed.iter().sum::<f32>()) / speed.len() as f64;
        let workouts = read_all(&folder.join("workouts.parquet")).unwrap();
        workouts.into_iter().map(|w| (w.speed_source, w.speed.map(mean))).collect()
    }

    fn round(speeds: Vec<(Origin, Option<f64>)>) -> Vec<(Origin, Option<f64>)> {
        speeds.into_iter().map(|(source, mean)| (source, mean.map(|mean| (mean * 1000.0).round() / 1000.0))).collect()
    }

    #[test]
    fn speed_is_derived_where_it_is_missing_unless_told_otherwise() {
        use Origin::{Distance, Missing, Positions, Recorded};
        let text = [
            run(1, &[]),
            run(2, &["speed"]),
            run(3, &["speed", "latitude"]),
            run(4, &["speed", "latitude", "distance"]),
        ]
        .concat();
        let folder = tempfile::tempdir().unwrap();
        let metrics = import(&PLAIN, &text, folder.path(), false).0.unwrap();
        let expected = [(Recorded, Some(2.5)), (Positions, Some(3.0)), (Distance, Some(4.0)), (Missing, None)];
        assert_eq!(round(mean_speeds(folder.path())), expected);
        assert_eq!((&metrics["speed_recorded"], &metrics["speed_derived"]), (&1.into(), &2.into()));

        import(&Import { derive_speed: DeriveSpeed::Always, ..PLAIN.clone() }, &text, folder.path(), false).0.unwrap();
        let expected = [(Positions, Some(3.0)), (Positions, Some(3.0)), (Distance, Some(4.0)), (Missing, None)];
        assert_eq!(round(mean_speeds(folder.path())), expected);

        import(&Import { derive_speed: DeriveSpeed::Never, ..PLAIN.clone() }, &text, folder.path(), false).0.unwrap();
        let expected = [(Recorded, Some(2.5)), (Missing, None), (Missing, None), (Missing, None)];
        assert_eq!(round(mean_speeds(folder.path())), expected);
    }

    #[test]
    fn bad_lines_are_counted_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let text = ["no dict\n", &run(1, &[]), &run(1, &[]), &run(2, &["speed"])].concat();
        let (metrics, notices) = import(&PLAIN, &text, folder.path(), false);
        let metrics = metrics.unwrap();
        assert_eq!((&metrics["lines"], &metrics["workouts"], &metrics["set_aside"]), (&4.into(), &2.into(), &2.into()));
        let set_aside = Table::read(&folder.path().join("set_aside.parquet")).unwrap();
        assert_eq!(set_aside.cells(0), ["", "line 1", "no dict", "`{` expected at byte 1", "no dict"]);
        assert_eq!(set_aside.cells(1)[1..3], ["line 3", "duplicate id"]);
        let summary = Table::read(&folder.path().join("summary.parquet")).unwrap().csv();
        let expected = "what,count\nfiles,1\nlines,4\nworkouts,2\nset aside,2\nset aside: no dict,1\n\
            set aside: duplicate id,1\nspeed: missing,0\nspeed: recorded,1\nspeed: positions,1\nspeed: distance,0\n\
            altitude: missing,2\naltitude: recorded,0\naltitude: positions,0\naltitude: distance,0\n\
            heart rate averaged over spans,0\nwith pauses,0\nindoor,0\nsynthetic,0\nsource: fitrec,2\n\
            device: not given,2\nsport: run,2\n";
        assert_eq!(summary, expected);
        assert!(matches!(notices.last(), Some(Notice::Progress { done: 1, total: Some(1), .. })));
    }

    #[test]
    fn a_file_without_any_workout_is_an_error_that_says_why() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in [
            (
                "",
                "holds no workout: all of it was set aside (1), it because of `no known format` (it seems to be an empty file)",
            ),
            ("\n \n", "it because of `no known format` (it seems to be "),
            ("{'id'\n{}\n", "all of it was set aside (2), line 1 because of `malformed`"),
        ] {
            let error = format!("{:#}", import(&PLAIN, text, folder.path(), false).0.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn of_very_many_bad_lines_all_are_counted_and_the_first_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = [run(1, &[]), "x\n".repeat(KEPT_ASIDE + 50)].concat();
        let metrics = import(&PLAIN, &text, folder.path(), false).0.unwrap();
        assert_eq!((&metrics["workouts"], &metrics["set_aside"]), (&1.into(), &(KEPT_ASIDE + 50).into()));
        let set_aside = Table::read(&folder.path().join("set_aside.parquet")).unwrap();
        assert_eq!(set_aside.rows(), KEPT_ASIDE);
        let summary = Table::read(&folder.path().join("summary.parquet")).unwrap().csv();
        assert!(summary.contains("set aside: no dict,100050\n"), "{summary}");
    }

    #[test]
    fn a_limit_reads_the_first_lines_alone() {
        let folder = tempfile::tempdir().unwrap();
        let text: String = (1..=9).map(|id| run(id, &[])).collect();
        let metrics = import(&Import { limit: Some(4), ..PLAIN.clone() }, &text, folder.path(), false).0.unwrap();
        assert_eq!(metrics["workouts"], 4);
    }

    #[test]
    fn the_same_file_gives_the_same_bytes() {
        let text: String = (1..=40).map(|id| run(id, if id % 2 == 0 { &[] } else { &["speed"] })).collect();
        let bytes = || {
            let folder = tempfile::tempdir().unwrap();
            import(&PLAIN, &text, folder.path(), false).0.unwrap();
            ["workouts", "set_aside", "summary"]
                .map(|name| std::fs::read(folder.path().join(name).with_extension("parquet")).unwrap())
        };
        assert_eq!(bytes(), bytes());
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let folder = tempfile::tempdir().unwrap();
        let error = import(&PLAIN, &run(1, &[]), folder.path(), true).0.unwrap_err();
        assert!(error.is::<Interrupted>());
    }

    #[test]
    fn faults_of_values_are_all_told() {
        let kind = Import { smooth_s: f64::NAN, limit: Some(0), ..PLAIN.clone() };
        let paths: Vec<String> = kind.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["smooth_s", "limit"]);
        assert!(PLAIN.check().is_empty());
    }
}
