//! Times the readers of recordings beside what their formats cost at least, and beside Python, all in one run:
//! `cargo bench --profile dev --workspace --bench readers` (or `python3 benches/data.py --only readers`).
//! Prints medians; a ratio above 1 is in favour of pacer.

// What is measured is printed: that is what a benchmark is for.
#![allow(clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use pacer_stages::features::Feature;
use pacer_stages::kinds::resample::{Clock, Resample};
use pacer_stages::read::apple::{self, Export};
use pacer_stages::read::fitrec::{Reader, parse};
use pacer_stages::read::lines::Limits;
use pacer_stages::simulate::fitrec::push_line;
use pacer_stages::simulate::{Failures, Population, history};
use pacer_stages::workouts::Workout;
use rayon::prelude::*;

/// Times each measure is taken.
const RUNS: usize = 5;

/// Text of a FitRec file in MB.
const FITREC_MB: usize = 400;

/// Text of an Apple export in MB.
const APPLE_MB: usize = 1_000;

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let text = fitrec_text(FITREC_MB << 20);
    fitrec(folder.path(), &text);
    resample(&text);
    drop(text);
    apple(folder.path());
}

/// The median of some runs, in seconds.
fn seconds(mut work: impl FnMut()) -> f64 {
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[RUNS / 2]
}

fn rate(name: &str, bytes: usize, seconds: f64, against: &[(&str, f64)]) {
    let mut line = format!("{name:44} {:8.0} MB/s", bytes as f64 / 1e6 / seconds);
    for (peer, other) in against {
        write!(line, "   {:5.2} × {peer}", other / seconds).expect("a string takes it");
    }
    println!("{line}");
}

fn population() -> Population {
    Population {
        runs_per_user: 12.0,
        points: 500,
        other_sports: 0.58,
        without_speed: 0.84,
        start: 1_325_376_000,
        days: 365.0,
        failures: Failures::default(),
    }
}

/// FitRec lines of simulated users, a little more than asked for.
fn fitrec_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + (1 << 24));
    for user in 0.. {
        history(&population(), 1, user).iter().for_each(|recording| push_line(&mut text, recording));
        if text.len() >= bytes {
            return text;
        }
    }
    unreachable!("users do not end")
}

fn fitrec(folder: &Path, text: &str) {
    let (plain, gzipped) = (folder.join("runs.json"), folder.join("runs.json.gz"));
    fs::write(&plain, text).expect("the disk takes it");
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(&gzipped).expect("the disk takes it"), flate2::Compression::new(6));
    encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish().map(drop)).expect("the disk takes it");
    let read = |path: &PathBuf| {
        for batch in Reader::open(path, Limits::default()).expect("it is a FitRec file") {
            black_box(batch.expect("the disk gives it"));
        }
    };
    println!("FitRec, {} MB of text, {} lines", text.len() >> 20, text.lines().count());
    let literal = python(folder, &plain, LITERAL_EVAL).map(|(bytes, seconds)| seconds * text.len() as f64 / bytes);
    let orjson = python(folder, &plain, ORJSON).map(|(bytes, seconds)| seconds * text.len() as f64 / bytes);
    let peers: Vec<(&str, f64)> = [("ast.literal_eval", literal), ("orjson", orjson)]
        .into_iter()
        .filter_map(|(name, s)| Some((name, s?)))
        .collect();
    let one = seconds(|| {
        text.lines().for_each(|line| drop(black_box(parse(line.as_bytes()))));
    });
    for (name, peer) in &peers {
        rate(&format!("  Python, {name}"), text.len(), *peer, &[]);
    }
    rate("  lines in memory, one thread", text.len(), one, &peers);
    rate("  plain file  (must 30 × and 1.2 ×, goal 2 ×)", text.len(), seconds(|| read(&plain)), &peers);
    let bare = seconds(|| {
        let mut decoder =
            flate2::bufread::MultiGzDecoder::new(BufReader::new(File::open(&gzipped).expect("it is there")));
        let mut buffer = vec![0; 1 << 18];
        while decoder.read(&mut buffer).expect("it is gzip") > 0 {}
    });
    rate("  the bare gzip decoder", text.len(), bare, &[]);
    rate("  gzipped file  (must 0.7 ×, goal 0.9 ×)", text.len(), seconds(|| read(&gzipped)), &[("the decoder", bare)]);
}

/// Reads every line as Python does, some 40 MB of it; prints bytes and seconds.
const LITERAL_EVAL: &str = "
import ast, sys, time
with open(sys.argv[1], 'rb') as file:
    text = file.read(40 << 20)
lines = text.decode().splitlines()[:-1]
began = time.perf_counter()
for line in lines[:300]:
    ast.literal_eval(line.replace('nan', 'None'))
print(sum(map(len, lines[:300])), time.perf_counter() - began)
";

/// The same with quotes replaced and orjson.
const ORJSON: &str = "
import orjson, sys, time
with open(sys.argv[1], 'rb') as file:
    lines = file.read(200 << 20).splitlines()[:-1]
lines = [line for line in lines if b'nan' not in line and b'None' not in line]
times = []
for _ in range(3):
    began = time.perf_counter()
    for line in lines:
        orjson.loads(line.replace(b\"'\", b'\"'))
    times.append(time.perf_counter() - began)
print(sum(map(len, lines)), sorted(times)[1])
";

/// Bytes and seconds that a Python program prints; none where it cannot run.
fn python(folder: &Path, file: &Path, program: &str) -> Option<(f64, f64)> {
    let script = folder.join("peer.py");
    fs::write(&script, program).expect("the disk takes it");
    let python = std::env::var("PEER_PYTHON").unwrap_or_else(|_| "python3".into());
    let done = Command::new(python).arg(script).arg(file).output().ok()?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr);
        println!("  (left out: {})", said.lines().last().unwrap_or("Python cannot be run"));
        return None;
    }
    let text = String::from_utf8_lossy(&done.stdout);
    let mut figures = text.split_whitespace().filter_map(|word| word.parse().ok());
    Some((figures.next()?, figures.next()?))
}

fn resample(text: &str) {
    let read = text.lines().take(4_000).filter_map(|line| Some(parse(line.as_bytes()).ok()?.workout));
    let workouts: Vec<Workout> = read.map(|workout| Workout { speed: workout.altitude.clone(), ..workout }).collect();
    let stage: Resample = serde_json::from_str(
        r#"{ "grid": { "by": "time", "step_s": 10.0, "max_minutes": 90.0 }, "features": ["speed", "altitude", "grade",
        "ema(power, 20)", "ema(power, 60)", "ema(power, 180)", "ema(speed, 60)", "elapsed", "elapsed^2", "decay(60)",
        "decay(180)"] }"#,
    )
    .expect("the parameters fit");
    let features: Vec<Feature> = stage.features.iter().map(|text| text.parse().expect("it is a feature")).collect();
    let taken = seconds(|| {
        let clock = Clock::new(&stage.grid, &features);
        let laid =
            workouts.par_iter().filter(|workout| black_box(stage.lay(&features, &clock, workout)).is_ok()).count();
        assert!(laid > workouts.len() / 2, "{laid} of {} could be laid", workouts.len());
    });
    let rate = workouts.len() as f64 / taken;
    println!("resample with 11 features                    {rate:8.0} workouts/s   (must 20,000, goal 60,000)");
}

/// An export of mostly heart-rate records, as years of wearing a watch give.
fn apple_text(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 4096);
    text.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData (Me,(Record|Workout)*)>\n]>\n<HealthData locale=\"en_GB\">\n <Me HKCharacteristicTypeIdentifierBiologicalSex=\"HKBiologicalSexFemale\"/>\n");
    let types = ["HeartRate", "HeartRate", "HeartRate", "StepCount", "ActiveEnergyBurned", "DistanceWalkingRunning"];
    let mut second = 0_u64;
    while text.len() < bytes {
        let kind = types[(second / 5 % 6) as usize];
        let unit = if kind == "HeartRate" { "count/min" } else { "count" };
        let (day, rest) = (second / 86_400, second % 86_400);
        let date = format!(
            "{}-{:02}-{:02} {:02}:{:02}:{:02} +0100",
            2019 + day / 336,
            day / 28 % 12 + 1,
            day % 28 + 1,
            rest / 3600,
            rest / 60 % 60,
            rest % 60
        );
        writeln!(
            text,
            " <Record type=\"HKQuantityTypeIdentifier{kind}\" sourceName=\"synthetic: Apple Watch\" sourceVersion=\"11.1\" device=\"&lt;&lt;HKDevice: 0x1&gt;, name:Apple Watch, manufacturer:Apple Inc.&gt;\" unit=\"{unit}\" creationDate=\"{date}\" startDate=\"{date}\" endDate=\"{date}\" value=\"{}\"/>",
            100 + second % 80
        )
        .expect("a string takes it");
        second += 5;
    }
    for day in 0..second / 86_400 {
        let date = |minute: u64| {
            format!("{}-{:02}-{:02} 07:{minute:02}:00 +0100", 2019 + day / 336, day / 28 % 12 + 1, day % 28 + 1)
        };
        writeln!(
            text,
            " <Workout workoutActivityType=\"HKWorkoutActivityTypeRunning\" duration=\"45\" durationUnit=\"min\" sourceName=\"synthetic: Apple Watch\" startDate=\"{}\" endDate=\"{}\">\n  <MetadataEntry key=\"HKIndoorWorkout\" value=\"1\"/>\n </Workout>",
            date(0),
            date(45)
        )
        .expect("a string takes it");
    }
    text.push_str("</HealthData>\n");
    text
}

fn apple(folder: &Path) {
    let path = folder.join("export.xml");
    let text = apple_text(APPLE_MB * 1_000_000);
    fs::write(&path, &text).expect("the disk takes it");
    let bytes = text.len();
    drop(text);
    println!("Apple export.xml, {} MB", bytes / 1_000_000);
    let scan = seconds(|| {
        let mut reader = quick_xml::Reader::from_file(&path).expect("it is there");
        let mut buffer = Vec::new();
        loop {
            match reader.read_event_into(&mut buffer).expect("it is XML") {
                quick_xml::events::Event::Eof => break,
                event => drop(black_box(event)),
            }
            buffer.clear();
        }
    });
    rate("  a bare quick-xml event scan", bytes, scan, &[]);
    forget_peak();
    let before = memory("VmHWM");
    let mut workouts = 0;
    let taken = seconds(|| {
        workouts = 0;
        let mut give = |found: pacer_stages::read::record::Found| {
            workouts += found.records.len();
            Ok(())
        };
        apple::read(&Export::Xml(path.clone()), 1, &mut |_| Ok(()), &mut give).expect("it is an export");
    });
    rate("  to workouts  (must 0.6 ×, goal 2 ×)", bytes, taken, &[("the scan", scan)]);
    let peak = memory("VmHWM").saturating_sub(before.min(memory("VmRSS")));
    println!("  {workouts} workouts, peak memory {} MB above what the bench holds  (must: 300 MB)", peak / 1024);
}

/// Makes the kernel count the peak of this process anew.
fn forget_peak() {
    // Where it is not allowed the peak is that of the whole bench, which is no less.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// A figure of this process in kB.
fn memory(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().ok()).unwrap_or_default()
}
