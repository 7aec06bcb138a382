//! Writes the zip of an export, some days at a time. Unaware of how a day went and of the words of its files.
//!
//! An archive's entries are written one after the other, while each day has records, workouts and routes at once.
//! So routes go into the zip as they come, and the text of `export.xml`, of which the workouts stand last, waits in
//! two files without a name. The alternative, simulating every day a second time, costs more than writing 100 MB.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, Seek as _, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::ThreadPool;
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use serde_json::json;
use zip::write::{PreparedZipFile, SimpleFileOptions};
use zip::{CompressionMethod, DateTime, ZipWriter};

use crate::kinds::synthesize::oracle::Oracle;
use crate::simulate::apple::document::clinical;
use crate::simulate::apple::view::AppleView;
use crate::simulate::apple::{Counts, Day, History, Truth, USER};
use crate::stage::{Context, Metrics};
use crate::table::TableWriter;

/// Days simulated at a time; they bound the memory, and decide where the oracle's row groups end.
const DAYS_AT_A_TIME: u64 = 48;
/// The folder that everything in the zip lies in.
const FOLDER: &str = "apple_health_export";
/// Effort of compression, where twice the time would save a few percent.
const LEVEL: i64 = 5;
/// Bytes from which on the format needs wider numbers for an entry; some are left for the head.
const LARGE: u64 = u32::MAX as u64 - 100_000;

/// Simulates an export and writes it as `raw` with its `oracle`.
pub fn write(view: &AppleView, context: &Context<'_>, raw: &Path, oracle: &Path) -> Result<Metrics> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(context.job.threads.max(1)).build()?;
    let history = History::new(view, context.job.seed)?;
    let unwritable = || format!("`{}` cannot be written", raw.display());
    let mut archive = Archive::create(raw).with_context(unwritable)?;
    let mut table = TableWriter::create(oracle, &Oracle::default().table()?)?;
    let (mut counts, mut error) = (Counts::default(), (0.0, 0));
    let mut done = 0;
    while done < history.days() {
        context.check_cancelled()?;
        let days = done..(done + DAYS_AT_A_TIME).min(history.days());
        done = days.end;
        let mut rows = Oracle::default();
        for day in simulate(&threads, &history, days)? {
            counts.add(&day.counts);
            archive.add(day.records, day.workouts, day.routes).with_context(unwritable)?;
            if let Some(truth) = day.truth {
                error = (error.0 + truth.error, error.1 + truth.time.len());
                let points = truth.time.into_iter().zip(truth.heart_rate).zip(truth.usual);
                rows.push((truth.run, USER, truth.run), points.map(|((time, rate), usual)| [time, rate, usual]));
            }
        }
        table.write(&rows.table()?)?;
        context.progress(done, Some(history.days()), "days", format!("{} workouts", counts.workouts));
    }
    table.finish()?;
    archive.finish(&history).with_context(unwritable)?;
    Ok(metrics(&counts, error))
}

/// A day whose routes are compressed.
struct Packed {
    records: String,
    workouts: String,
    routes: Vec<PreparedZipFile>,
    truth: Option<Truth>,
    counts: Counts,
}

/// Simulates days and compresses their routes, each day on any thread, in the order of time.
fn simulate(threads: &ThreadPool, history: &History, days: Range<u64>) -> Result<Vec<Packed>> {
    let pack = |index| {
        let Day { records, workouts, routes, truth, counts } = history.day(index);
        let pack = |(name, text): (String, String)| {
            PreparedZipFile::from_data(format!("{FOLDER}/workout-routes/{name}"), options(), text.as_bytes())
        };
        let routes = routes.into_iter().map(pack).collect::<Result<_, _>>()?;
        Ok(Packed { records, workouts, routes, truth, counts })
    };
    threads.install(|| days.into_par_iter().map(pack).collect())
}

/// Fixed in all that the format lets vary: time, method, effort, rights.
fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .compression_level(Some(LEVEL))
        .last_modified_time(DateTime::DEFAULT)
        .unix_permissions(0o644)
}

/// A zip whose routes are in it already while the text of `export.xml` is gathered beside it.
struct Archive {
    zip: ZipWriter<BufWriter<File>>,
    records: BufWriter<File>,
    workouts: BufWriter<File>,
}

impl Archive {
    fn create(path: &Path) -> Result<Self> {
        let zip = ZipWriter::new(BufWriter::new(File::create(path)?));
        let records = BufWriter::new(nameless(&path.with_extension("records"))?);
        Ok(Self { zip, records, workouts: BufWriter::new(nameless(&path.with_extension("workouts"))?) })
    }

    fn add(&mut self, records: String, workouts: String, routes: Vec<PreparedZipFile>) -> Result<()> {
        self.records.write_all(records.as_bytes())?;
        self.workouts.write_all(workouts.as_bytes())?;
        routes.into_iter().try_for_each(|route| self.zip.add_prepared_file(route))?;
        Ok(())
    }

    fn finish(mut self, history: &History) -> Result<()> {
        let (mut records, mut workouts) = (self.records.into_inner()?, self.workouts.into_inner()?);
        let size = records.stream_position()? + workouts.stream_position()?;
        let (mut head, mut end) = (String::new(), String::new());
        let writer = history.writer();
        writer.push_head(&mut head, history.exported(), history.runner.gender);
        writer.push_end(&mut end);
        self.zip.start_file(format!("{FOLDER}/export.xml"), options().large_file(size > LARGE))?;
        self.zip.write_all(head.as_bytes())?;
        for part in [&mut records, &mut workouts] {
            part.rewind()?;
            std::io::copy(&mut BufReader::with_capacity(1 << 18, part), &mut self.zip)?;
        }
        self.zip.write_all(end.as_bytes())?;
        self.zip.start_file(format!("{FOLDER}/export_cda.xml"), options())?;
        self.zip.write_all(clinical(history.exported()).as_bytes())?;
        self.zip.finish()?.flush()?;
        Ok(())
    }
}

/// A file to write and read again that no failure can leave behind: its name goes at once.
fn nameless(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn metrics(counts: &Counts, (error, points): (f64, usize)) -> Metrics {
    let figures = [
        ("workouts", counts.workouts),
        ("runs", counts.runs),
        ("duplicates", counts.duplicates),
        ("records", counts.records),
        ("heart_rates", counts.heart_rates),
        ("heart_rates_of_runs", counts.heart_rates_of_runs),
        ("routes", counts.routes),
    ];
    let mut metrics: Metrics = figures.into_iter().map(|(name, count)| (name.to_owned(), json!(count))).collect();
    if points > 0 {
        metrics.insert("oracle_mae".to_owned(), json!(error / points as f64));
    }
    metrics
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Checkpoints, Device, JOB_VERSION, Job};
    use crate::simulate::apple::clock::Clock;
    use crate::stage::Interrupted;
    use crate::table::{Table, Values};
    use jiff::Timestamp;
    use quick_xml::XmlVersion;
    use quick_xml::events::{BytesStart, Event};
    use std::collections::{BTreeMap, BTreeSet};
    use std::io::Read as _;
    use std::sync::LazyLock;
    use std::sync::atomic::AtomicBool;

    fn small() -> AppleView {
        let shares =
            AppleView { pauses: 0.25, duplicates: 0.25, indoor: 0.17, cadence_lock: 0.1, ..AppleView::default() };
        AppleView { runs: 12, resting_days: 0.02, ..shares }
    }

    fn run(view: &AppleView, seed: u64, threads: usize, out: &Path, cancelled: bool) -> Result<Metrics> {
        let job = Job {
            v: JOB_VERSION,
            kind: "synthesize".into(),
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
        let context = Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(cancelled) };
        write(view, &context, &out.join("raw.bin"), &out.join("oracle.parquet"))
    }

    /// An element of `export.xml` with the one that it stands in.
    struct Element {
        name: String,
        parent: String,
        attributes: BTreeMap<String, String>,
    }

    impl Element {
        fn second(&self, attribute: &str) -> i64 {
            Timestamp::strptime("%Y-%m-%d %H:%M:%S %z", &self.attributes[attribute]).unwrap().as_second()
        }

        fn is(&self, name: &str, attribute: &str, value: &str) -> bool {
            self.name == name && self.attributes[attribute] == value
        }

        fn is_heart_rate_of_watch(&self) -> bool {
            self.is("Record", "type", "HKQuantityTypeIdentifierHeartRate")
                && self.attributes["sourceName"] == "synthetic: Apple Watch"
        }

        fn is_run_of_watch(&self) -> bool {
            self.is("Workout", "workoutActivityType", "HKWorkoutActivityTypeRunning")
                && self.attributes["sourceName"] == "synthetic: Apple Watch"
        }
    }

    struct Export {
        elements: Vec<Element>,
        files: BTreeMap<String, String>,
        metrics: Metrics,
        oracle: Table,
    }

    impl Export {
        fn make(view: &AppleView) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let metrics = run(view, 1, 2, folder.path(), false).unwrap();
            let mut left: Vec<_> =
                fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            left.sort();
            assert_eq!(left, ["oracle.parquet", "raw.bin"]);
            let oracle = Table::read(&folder.path().join("oracle.parquet")).unwrap();
            let mut zip = zip::ZipArchive::new(File::open(folder.path().join("raw.bin")).unwrap()).unwrap();
            let mut files = BTreeMap::new();
            for index in 0..zip.len() {
                let mut file = zip.by_index(index).unwrap();
                let mut text = String::new();
                file.read_to_string(&mut text).unwrap();
                let name = file.name().unwrap().strip_prefix("apple_health_export/").unwrap().to_owned();
                assert!(files.insert(name, text).is_none());
            }
            Self { elements: elements(&files["export.xml"]), files, metrics, oracle }
        }

        fn count(&self, holds: impl Fn(&Element) -> bool) -> usize {
            self.elements.iter().filter(|element| holds(element)).count()
        }

        fn all<'a>(&'a self, holds: impl Fn(&Element) -> bool + 'a) -> impl Iterator<Item = &'a Element> {
            self.elements.iter().filter(move |element| holds(element))
        }
    }

    static EXPORT: LazyLock<Export> = LazyLock::new(|| Export::make(&small()));

    /// Every element of a document; fails where it is not well-formed.
    fn elements(text: &str) -> Vec<Element> {
        let mut reader = quick_xml::Reader::from_str(text);
        let (mut open, mut elements) = (vec![String::new()], Vec::new());
        let element = |tag: &BytesStart<'_>, open: &[String]| {
            let attributes = tag.attributes().map(|attribute| {
                let attribute = attribute.unwrap();
                let value = attribute.normalized_value(XmlVersion::Implicit1_0).unwrap().into_owned();
                (attribute.key.as_ref().to_owned(), value)
            });
            let name = tag.name().as_ref().to_owned();
            Element { name, parent: open[open.len() - 1].clone(), attributes: attributes.collect() }
        };
        loop {
            match reader.read_event().unwrap() {
                Event::Start(tag) => {
                    elements.push(element(&tag, &open));
                    open.push(elements[elements.len() - 1].name.clone());
                }
                Event::Empty(tag) => elements.push(element(&tag, &open)),
                Event::End(_) => assert!(open.pop().is_some()),
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(open.len(), 1, "all are closed");
        elements
    }

    #[test]
    fn the_seed_alone_decides_every_byte_on_any_number_of_threads() {
        let view = AppleView { runs: 5, years: 2, ..small() };
        let [one, two, other] = [(1, 1), (1, 3), (2, 1)].map(|(seed, threads)| {
            let folder = tempfile::tempdir().unwrap();
            run(&view, seed, threads, folder.path(), false).unwrap();
            ["raw.bin", "oracle.parquet"].map(|name| fs::read(folder.path().join(name)).unwrap())
        });
        assert!(one == two, "bytes differ");
        assert!(one[0] != other[0] && one[1] != other[1]);
    }

    #[test]
    fn the_document_is_well_formed_and_says_of_every_source_that_it_is_made_up() {
        let sources: BTreeSet<&str> =
            EXPORT.elements.iter().filter_map(|it| it.attributes.get("sourceName")).map(String::as_str).collect();
        assert_eq!(sources, ["synthetic: Apple Watch", "synthetic: Run App", "synthetic: iPhone"].into());
        assert_eq!(EXPORT.elements[0].name, "HealthData");
        let order: Vec<&str> = EXPORT.all(|it| it.parent == "HealthData").map(|it| it.name.as_str()).collect();
        let first = order.iter().position(|name| *name == "Workout").unwrap();
        assert!(order[2..first].iter().all(|name| *name == "Record"));
        assert!(order[first..].iter().all(|name| *name == "Workout"));
        assert_eq!(EXPORT.metrics["records"], first - 2);
        assert_eq!(elements(&EXPORT.files["export_cda.xml"])[0].name, "ClinicalDocument");
    }

    #[test]
    fn every_route_named_is_there_and_named_by_the_local_time_of_its_end() {
        let references = EXPORT.all(|it| it.name == "FileReference");
        let named: BTreeSet<&str> = references.map(|it| it.attributes["path"].trim_start_matches('/')).collect();
        let there = EXPORT.files.keys().map(String::as_str).filter(|name| name.ends_with(".gpx"));
        assert_eq!(named, there.collect());
        assert!(named.iter().any(|name| name.ends_with(" 2.gpx")), "two ended in one minute: {named:?}");
        let clock = Clock::new("+0100").unwrap();
        for name in named {
            let text = &EXPORT.files[name];
            assert_eq!(elements(text)[0].attributes["xmlns"], "http://www.topografix.com/GPX/1/1");
            let last = text.split("<time>").last().unwrap();
            let end: Timestamp = last[..20].parse().unwrap();
            let stem = format!("workout-routes/route_{}", clock.route(end.as_second()));
            assert!(name.trim_end_matches(".gpx").trim_end_matches(" 2") == stem, "{name} {stem}");
        }
    }

    #[test]
    fn what_is_special_occurs_as_often_as_asked() {
        let pausing = EXPORT.all(|it| it.name == "Workout" || it.name == "WorkoutEvent" && it.parent == "Workout");
        let pausing: Vec<&str> = pausing.map(|it| it.name.as_str()).collect();
        let paused = pausing.windows(2).filter(|pair| *pair == ["Workout", "WorkoutEvent"]).count();
        let indoor = |it: &Element| it.parent == "Workout" && it.is("MetadataEntry", "key", "HKIndoorWorkout");
        let indoor = EXPORT.count(|it| indoor(it) && it.attributes["value"] == "1");
        let twice = EXPORT.count(|it| it.name == "Workout" && it.attributes["sourceName"].ends_with("Run App"));
        let others =
            EXPORT.count(|it| it.name == "Workout" && !it.attributes["workoutActivityType"].ends_with("Running"));
        assert_eq!((paused, twice, others), (3, 3, 2));
        assert!((2..=4).contains(&indoor), "two runs, some of them twice: {indoor}");
        assert_eq!(EXPORT.count(Element::is_run_of_watch), 12);
    }

    #[test]
    fn totals_move_from_attributes_to_elements_with_the_years() {
        for workout in EXPORT.all(|it| it.name == "Workout") {
            let early = workout.attributes["startDate"].as_str() < "2022";
            assert_eq!(workout.attributes.contains_key("totalDistance"), early);
        }
        let statistics = EXPORT.all(|it| it.name == "WorkoutStatistics" && it.parent == "Workout");
        assert!(statistics.map(|it| it.attributes["startDate"].as_str()).all(|date| date > "2022"));
    }

    #[test]
    fn heart_rates_get_seventeen_times_denser_and_the_old_ones_are_spans() {
        let density = |year: &str| {
            let (mut count, mut minutes) = (0, 0.0);
            for workout in EXPORT.all(|it| it.is_run_of_watch() && it.attributes["startDate"].starts_with(year)) {
                let (start, end) = (workout.second("startDate"), workout.second("endDate"));
                let within = |it: &Element| (start..end).contains(&it.second("startDate"));
                count += EXPORT.count(|it| it.is_heart_rate_of_watch() && within(it));
                minutes += (end - start) as f64 / 60.0;
            }
            f64::from(count as u32) / minutes
        };
        let (first, last) = (density("2019"), density("2025"));
        assert!((0.65..0.8).contains(&first) && (13.0..21.0).contains(&(last / first)), "{first} {last}");
        let of_runs = |it: &Element| it.is_heart_rate_of_watch() && it.second("endDate") > it.second("startDate");
        let spans: Vec<&Element> = EXPORT.all(of_runs).collect();
        assert!(spans.len() > 100 && spans.iter().all(|it| it.attributes["startDate"].as_str() < "2024"));
    }

    #[test]
    fn the_oracle_knows_the_samples_of_each_run_outside_its_pauses() {
        let Values::Int(ids) = EXPORT.oracle.column("workout").unwrap() else { panic!("ids are whole") };
        let Values::Float(times) = EXPORT.oracle.column("time_s").unwrap() else { panic!("times are numbers") };
        let events: Vec<i64> =
            EXPORT.all(|it| it.name == "WorkoutEvent" && it.parent == "Workout").map(|it| it.second("date")).collect();
        let paused = |middle: f64| events.chunks(2).any(|pause| (pause[0] as f64) < middle && middle < pause[1] as f64);
        let mut runs = 0;
        for run in EXPORT.all(Element::is_run_of_watch) {
            let (start, end) = (run.second("startDate"), run.second("endDate"));
            let of_run = EXPORT.all(|it| it.is_heart_rate_of_watch() && (start..end).contains(&it.second("startDate")));
            let middles = of_run.map(|it| (it.second("startDate") + it.second("endDate")) as f64 / 2.0);
            let kept: Vec<f64> =
                middles.filter(|&middle| !paused(middle)).map(|middle| middle - start as f64).collect();
            let rows = ids.iter().zip(times).filter(|(id, _)| **id == Some(start));
            let told: Vec<f64> = rows.map(|(_, time)| time.unwrap()).collect();
            assert!(!told.is_empty() && told == kept, "the run of {start}");
            runs += 1;
        }
        assert_eq!((runs, &EXPORT.metrics["runs"]), (12, &json!(12)));
        let error = EXPORT.metrics["oracle_mae"].as_f64().unwrap();
        assert!((3.0..6.0).contains(&error), "{error}");
    }

    #[test]
    fn another_region_has_other_units_and_one_offset_serves_all_seasons() {
        let units = crate::simulate::apple::view::Units::Imperial;
        let view = AppleView { runs: 3, years: 1, units, offset_at_export: "-0700".into(), ..small() };
        let export = Export::make(&view);
        let dates = export.elements.iter().filter_map(|it| it.attributes.get("startDate"));
        assert!(dates.map(|date| &date[20..]).all(|offset| offset == "-0700"));
        let units: BTreeSet<&str> =
            export.all(|it| it.name == "Record").map(|it| it.attributes["unit"].as_str()).collect();
        assert_eq!(units, ["Cal", "count", "count/min", "mi"].into());
    }

    #[test]
    fn a_request_to_stop_is_heard_and_leaves_no_file_beside_the_outputs() {
        let folder = tempfile::tempdir().unwrap();
        assert!(run(&small(), 1, 1, folder.path(), true).unwrap_err().is::<Interrupted>());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }
}
