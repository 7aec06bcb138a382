//! The kind `import`: raw recordings become workouts in SI units. Unaware of filters and of models.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::read::fitrec::{Batch, Reader};
use crate::read::lines::Limits;
use crate::read::record::{Reason, Record, SetAside};
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::table::{Column, Table};
use crate::workouts::speed::{from_distance, from_positions};
use crate::workouts::{Origin, Workout, WorkoutWriter};

/// Reads FitRec (Endomondo) files, plain or gzipped, into workouts in SI units.
///
/// The file holds one workout a line, as a Python dict literal or a JSON object. Speed becomes m/s. A line that
/// cannot be read, has no id or repeats one is set aside with its number and reason; nothing else stops the import.
/// Where speed is missing it is derived from positions, or else from a field `distance` (metres since the start);
/// `speed_source` of each workout says where its speed comes from. Writes `workouts`, the lines `set_aside`, and a
/// `summary` of counts. The file is read as a stream: memory does not grow with it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// When speed is computed instead of read: `never`, `missing` (where the source has none) or `always`.
    #[serde(default)]
    pub derive_speed: DeriveSpeed,
    /// Seconds around a point over which derived speed is averaged; at least its two neighbours are used.
    #[serde(default = "default_smooth_s")]
    pub smooth_s: f64,
    /// Number of lines to read from the start, for trials; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
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

fn default_smooth_s() -> f64 {
    15.0
}

/// Lines set aside that are kept with their words; all are counted. A file of nothing else must not fill the memory.
const KEPT_ASIDE: usize = 100_000;

const WORKOUTS: OutputPort = OutputPort::fixed(
    "workouts",
    ArtifactType::Workouts,
    "Every workout that could be read, in the order of the file.",
);
const SET_ASIDE: OutputPort = OutputPort::fixed(
    "set_aside",
    ArtifactType::Table,
    "Each line that could not be read, with its number and reason; the first hundred thousand of them.",
);
const SUMMARY: OutputPort =
    OutputPort::fixed("summary", ArtifactType::Table, "What was counted: lines, workouts, sports, sources of speed.");

impl Stage for Import {
    const NAME: &'static str = "import";
    const PARALLEL: bool = true;
    const INPUTS: &'static [InputPort] = &[InputPort {
        name: "source",
        accepts: &[ArtifactType::File],
        arity: Arity::One,
        doc: "A FitRec file, one workout a line, plain or gzipped.",
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
        faults
    }
}

impl Run for Import {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let source = context.job.input("source")?;
        let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
        let counts = threads.install(|| self.import(source, context))?;
        if counts.workouts == 0 {
            bail!("`{}` holds no workout: {}", source.display(), counts.why_none());
        }
        if counts.aside() > KEPT_ASIDE as u64 {
            context.warn(format!("{} lines were set aside; the first {KEPT_ASIDE} are listed", counts.aside()));
        }
        counts.set_aside_table()?.write(&context.output(&SET_ASIDE))?;
        counts.summary()?.write(&context.output(&SUMMARY))?;
        Ok(counts.metrics())
    }
}

impl Import {
    fn import(&self, source: &Path, context: &Context<'_>) -> Result<Counts> {
        let limits = Limits { lines: self.limit, ..Limits::default() };
        let reader = Reader::open(source, limits)?;
        let size = reader.file_size();
        let mut writer = WorkoutWriter::create(&context.output(&WORKOUTS))?;
        let mut counts = Counts::default();
        for batch in reader {
            context.check_cancelled()?;
            let batch = batch?;
            if let Some(warning) = &batch.warning {
                context.warn(warning);
            }
            let file_bytes = batch.file_bytes;
            writer.write(self.take(batch, &mut counts))?;
            let message = format!("{} workouts, {} lines set aside", counts.workouts, counts.aside());
            context.progress(megabytes(file_bytes), Some(megabytes(size)), "MB", message);
        }
        writer.finish().context("the workouts cannot be written")?;
        Ok(counts)
    }

    fn take(&self, batch: Batch, counts: &mut Counts) -> Vec<Workout> {
        counts.lines += batch.lines;
        batch.set_aside.into_iter().for_each(|note| counts.put_aside(note));
        let workouts: Vec<Workout> = batch.records.into_iter().map(|record| self.with_speed(record)).collect();
        workouts.iter().for_each(|workout| counts.count(workout));
        workouts
    }

    fn with_speed(&self, record: Record) -> Workout {
        let Record { mut workout, distance } = record;
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

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// What was counted on the way.
#[derive(Default)]
struct Counts {
    lines: u64,
    workouts: u64,
    synthetic: u64,
    sports: BTreeMap<String, u64>,
    speed: BTreeMap<Origin, u64>,
    reasons: BTreeMap<Reason, u64>,
    set_aside: Vec<SetAside>,
}

/// Sports that the summary names.
const SPORTS_NAMED: usize = 10;

impl Counts {
    fn count(&mut self, workout: &Workout) {
        self.workouts += 1;
        self.synthetic += u64::from(workout.synthetic);
        let sport = if workout.sport.is_empty() { "not given" } else { &workout.sport };
        *self.sports.entry(sport.to_owned()).or_default() += 1;
        *self.speed.entry(workout.speed_source).or_default() += 1;
    }

    fn with_speed(&self, source: Origin) -> u64 {
        self.speed.get(&source).copied().unwrap_or_default()
    }

    fn put_aside(&mut self, note: SetAside) {
        *self.reasons.entry(note.reason).or_default() += 1;
        if self.set_aside.len() < KEPT_ASIDE {
            self.set_aside.push(note);
        }
    }

    /// Lines that were set aside, kept or not.
    fn aside(&self) -> u64 {
        self.reasons.values().sum()
    }

    /// Why there is no workout, with the first line that was set aside.
    fn why_none(&self) -> String {
        match self.set_aside.first() {
            None => "it has no line with text; give a FitRec file with one dict a line".to_owned(),
            Some(first) => format!(
                "all {} lines were set aside, {} because of `{}` ({}): `{}`; give a FitRec file with one dict a line",
                self.lines,
                first.place,
                first.reason.words(),
                first.detail,
                first.excerpt
            ),
        }
    }

    fn set_aside_table(&self) -> Result<Table> {
        Table::new(vec![
            Column::text("place", self.set_aside.iter().map(|note| note.place.as_str())),
            Column::text("reason", self.set_aside.iter().map(|note| note.reason.words())),
            Column::text("detail", self.set_aside.iter().map(|note| note.detail.as_str())),
            Column::text("excerpt", self.set_aside.iter().map(|note| note.excerpt.as_str())),
        ])
    }

    fn summary(&self) -> Result<Table> {
        let mut rows = vec![("lines".to_owned(), self.lines), ("workouts".to_owned(), self.workouts)];
        rows.push(("set aside".to_owned(), self.aside()));
        rows.extend(self.reasons.iter().map(|(reason, n)| (format!("set aside: {}", reason.words()), *n)));
        rows.extend(Origin::ALL.map(|source| (format!("speed: {}", source.name()), self.with_speed(source))));
        rows.push(("synthetic".to_owned(), self.synthetic));
        let mut sports: Vec<(&String, &u64)> = self.sports.iter().collect();
        sports.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let others: u64 = sports.iter().skip(SPORTS_NAMED).map(|(_, count)| **count).sum();
        rows.extend(sports.iter().take(SPORTS_NAMED).map(|(sport, count)| (format!("sport: {sport}"), **count)));
        if others > 0 {
            rows.push(("sport: any other".to_owned(), others));
        }
        Table::new(vec![
            Column::text("what", rows.iter().map(|row| row.0.as_str())),
            Column::int("count", rows.iter().map(|row| row.1 as i64)),
        ])
    }

    fn metrics(&self) -> Metrics {
        let derived = self.with_speed(Origin::Positions) + self.with_speed(Origin::Distance);
        let figures = [
            ("lines", self.lines),
            ("workouts", self.workouts),
            ("set_aside", self.aside()),
            ("speed_recorded", self.with_speed(Origin::Recorded)),
            ("speed_derived", derived),
            ("speed_missing", self.with_speed(Origin::Missing)),
            ("synthetic", self.synthetic),
        ];
        figures.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{DeriveSpeed, Import, KEPT_ASIDE};
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
    use crate::stage::{Context, Interrupted, Metrics, Notice, Run as _, Stage as _};
    use crate::table::Table;
    use crate::workouts::{Origin, read_all};
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    const PLAIN: Import = Import { derive_speed: DeriveSpeed::Missing, smooth_s: 15.0, limit: None };

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

        import(&Import { derive_speed: DeriveSpeed::Always, ..PLAIN }, &text, folder.path(), false).0.unwrap();
        let expected = [(Positions, Some(3.0)), (Positions, Some(3.0)), (Distance, Some(4.0)), (Missing, None)];
        assert_eq!(round(mean_speeds(folder.path())), expected);

        import(&Import { derive_speed: DeriveSpeed::Never, ..PLAIN }, &text, folder.path(), false).0.unwrap();
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
        assert_eq!(set_aside.cells(0), ["line 1", "no dict", "`{` expected at byte 1", "no dict"]);
        assert_eq!(set_aside.cells(1)[..2], ["line 3", "duplicate id"]);
        let summary = Table::read(&folder.path().join("summary.parquet")).unwrap().csv();
        let expected = "what,count\nlines,4\nworkouts,2\nset aside,2\nset aside: no dict,1\nset aside: duplicate id,1\n\
            speed: missing,0\nspeed: recorded,1\nspeed: positions,1\nspeed: distance,0\nsynthetic,0\nsport: run,2\n";
        assert_eq!(summary, expected);
        assert!(matches!(notices.last(), Some(Notice::Progress { done: 1, total: Some(1), .. })));
    }

    #[test]
    fn a_file_without_any_workout_is_an_error_that_says_why() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in [
            ("", "holds no workout: it is empty"),
            ("\n \n", "holds no workout: it has no line with text"),
            ("a,b\n1,2\n", "holds no workout: all 2 lines were set aside, line 1 because of `no dict`"),
        ] {
            let error = format!("{:#}", import(&PLAIN, text, folder.path(), false).0.unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn of_very_many_bad_lines_all_are_counted_and_the_first_kept() {
        let folder = tempfile::tempdir().unwrap();
        let text = ["x\n".repeat(KEPT_ASIDE + 50), run(1, &[])].concat();
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
        let metrics = import(&Import { limit: Some(4), ..PLAIN }, &text, folder.path(), false).0.unwrap();
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
        let kind = Import { smooth_s: f64::NAN, limit: Some(0), ..PLAIN };
        let paths: Vec<String> = kind.check().into_iter().map(|fault| fault.path).collect();
        assert_eq!(paths, ["smooth_s", "limit"]);
        assert!(PLAIN.check().is_empty());
    }
}
