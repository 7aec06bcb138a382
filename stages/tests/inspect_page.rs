//! The page of the kind `inspect` as a browser shows it: charts have a size, no text covers another, colours are
//! there. Where no browser is found it says so and passes. Knows the kind, not the engine.

// What was skipped is printed for people to read.
#![allow(clippy::print_stdout)]

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::time::Duration;

use pacer_stages::job::{Checkpoints, Device, JOB_VERSION, Job, Slot};
use pacer_stages::kinds::inspect::Inspect;
use pacer_stages::read::fitrec;
use pacer_stages::simulate::fitrec::push_line;
use pacer_stages::simulate::{Failures, Population, history};
use pacer_stages::stage::{Context, Metrics, Run, Stage as _};
use pacer_stages::table::{Table, Values};
use pacer_stages::workouts::{Origin, Workout, WorkoutWriter};
use serde_json::{Value, json};

/// Runs of three simulated people as an import would give them.
fn simulated() -> Vec<Workout> {
    let none =
        Failures { missing: 0.0, unconvertible: 0.0, short: 0.0, unequal: 0.0, not_finite: 0.0, out_of_range: 0.1 };
    let population = Population {
        runs_per_user: 4.0,
        points: 500,
        other_sports: 0.0,
        without_speed: 0.5,
        start: 1_325_376_000,
        days: 300.0,
        failures: none,
    };
    let mut text = String::new();
    (0..3).for_each(|user| history(&population, 7, user).iter().for_each(|run| push_line(&mut text, run)));
    let mut workouts: Vec<Workout> = text.lines().map(|line| fitrec::parse(line.as_bytes()).unwrap().workout).collect();
    workouts.iter_mut().for_each(|workout| workout.synthetic = true);
    workouts
}

/// A watch's run with everything that shall be seen: averages, instants, a pause, gaps, spikes, a clock gone wrong.
fn eventful() -> Workout {
    let seconds: Vec<f64> =
        (0..3000).filter(|i| !(900..1000).contains(i) && !(2000..2300).contains(i)).map(f64::from).collect();
    let wave = |t: f64| (t / 200.0).sin();
    let mut heart_time: Vec<f64> = (0..20).map(|i| 37.5 + 75.0 * f64::from(i)).collect();
    let spans = heart_time.iter().map(|_| 75.0).chain(std::iter::repeat(0.0)).take(20 + 280).collect();
    heart_time.extend((0..280).map(|i| 1505.0 + 5.0 * f64::from(i)).map(|t| if t < 2300.0 { t } else { t + 90.0 }));
    let mut rates: Vec<f32> = heart_time.iter().map(|t| (150.0 + 12.0 * wave(*t)) as f32).collect();
    rates[40] = 215.0;
    rates[60..100].fill(171.0);
    rates[200] = 0.0;
    Workout {
        id: 99,
        sport: "run".into(),
        source: "apple".into(),
        device: Some("Watch of <b>A & B</b>".into()),
        time_zone: Some("Europe/Paris".into()),
        latitude: Some(seconds.iter().map(|t| 48.8 + 3.0 * t / 111_195.0).collect()),
        longitude: Some(vec![2.3; seconds.len()]),
        speed: Some(
            seconds.iter().map(|t| if *t == 700.0 { 40.0 } else { 3.0 + 0.3 * wave(3.0 * t) as f32 }).collect(),
        ),
        altitude: Some(seconds.iter().map(|t| 60.0 + 15.0 * wave(2.0 * t) as f32).collect()),
        heart_rate: Some(rates),
        heart_rate_time: Some(heart_time.iter().map(|t| 1.76389e9 + t).collect()),
        heart_rate_span: Some(spans),
        pauses: vec![1.76389e9 + 901.0, 1.76389e9 + 999.0],
        speed_source: Origin::Recorded,
        altitude_source: Origin::Positions,
        time: Some(seconds.iter().map(|t| 1.76389e9 + t).collect()),
        ..Workout::default()
    }
}

/// Runs the kind and gives its folder.
fn inspect(folder: &Path, params: Value, workouts: Vec<Workout>) -> anyhow::Result<Metrics> {
    let input = folder.join("in.parquet");
    let mut writer = WorkoutWriter::create(&input).unwrap();
    writer.write(workouts).unwrap();
    writer.finish().unwrap();
    let kind: Inspect = serde_json::from_value(params.clone()).unwrap();
    assert_eq!(kind.check(), []);
    let job = Job {
        v: JOB_VERSION,
        kind: Inspect::NAME.into(),
        code: String::new(),
        params,
        inputs: [("workouts".to_owned(), Slot::One(input))].into(),
        out: folder.to_path_buf(),
        partial: folder.to_path_buf(),
        checkpoints: Checkpoints::default(),
        seed: 0,
        device: Device::Cpu,
        threads: 2,
    };
    kind.run(&Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) })
}

/// The page of the simulated runs and the eventful one.
fn page(folder: &Path) -> PathBuf {
    let mut workouts = simulated();
    workouts.push(eventful());
    let bare = Workout { id: 100, speed: None, latitude: None, altitude: None, ..eventful() };
    workouts.push(bare);
    let metrics = inspect(folder, json!({ "ids": [99, 100], "worst": 5, "best": 1 }), workouts).unwrap();
    assert_eq!((&metrics["shown"], &metrics["synthetic"]), (&json!(6), &json!(4)));
    folder.join("page.html")
}

#[test]
fn the_kind_writes_a_page_a_picture_and_a_row_a_workout_the_same_each_time() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    page(one.path());
    page(two.path());
    for file in ["page.html", "picture.svg", "summary.parquet"] {
        let read = |folder: &Path| std::fs::read(folder.join(file)).unwrap();
        assert!(read(one.path()) == read(two.path()), "{file}");
    }
    let summary = Table::read(&one.path().join("summary.parquet")).unwrap();
    let Values::Int(ids) = summary.column("workout").unwrap() else { panic!("numbers of workouts are whole") };
    assert_eq!((summary.rows(), &ids[..2]), (6, &[Some(99), Some(100)][..]));
    let Values::Float(scores) = summary.column("score").unwrap() else { panic!("scores are numbers") };
    assert!(scores[2] <= scores[3] && scores[3] <= scores[4] && scores[4] < scores[5], "{scores:?}");
    assert!(std::fs::read_to_string(one.path().join("picture.svg")).unwrap().contains("Workout 99, run"));
}

#[test]
fn a_number_that_is_not_there_fails_with_its_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let error = inspect(folder.path(), json!({ "ids": [98] }), vec![eventful()]).unwrap_err();
    assert_eq!(error.to_string(), "`ids`: workout 98 is not there (nearest: 99)");
    let error = inspect(folder.path(), json!({ "dates": ["2025-11-20"] }), vec![eventful()]).unwrap_err();
    assert_eq!(error.to_string(), "`dates`: a workout (run) of 2025-11-20 is not there (nearest: 2025-11-23)");
}

/// The first browser on the path.
fn browser() -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = std::env::split_paths(&folders)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        println!("skipped: there is no chromium, chromium-browser or google-chrome");
    }
    found
}

/// Lets the browser open a file and gives what it prints; it is ended after a minute.
fn open(browser: &Path, folder: &Path, file: &Path, action: &str) -> String {
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let mut child = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--window-size=1100,1700", "--virtual-time-budget=5000", action, &profile])
        .arg(format!("file://{}", file.display()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let (done, printed) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let read = stdout.read_to_string(&mut text);
        let _ = done.send(read.map(|_| text));
    });
    let text = printed.recv_timeout(Duration::from_secs(60));
    if text.is_err() {
        let _ = child.kill();
    }
    child.wait().unwrap();
    text.expect("the browser ends within a minute").expect("the browser prints UTF-8")
}

/// A page that shows the page in frames of several widths and measures what each of them shows.
const MEASURE: &str = r#"<!DOCTYPE html><meta charset="utf-8"><body><script>
const page = PAGE, widths = WIDTHS, measured = {};
function visible(element) { const box = element.getBoundingClientRect(); return box.width > 0 && box.height > 0; }
function covered(svg) {
  const boxes = [...svg.querySelectorAll("text")].map(t => [t.textContent, t.getBoundingClientRect()]);
  const pairs = [];
  boxes.forEach(([text, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
    if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3)
      pairs.push(text + " | " + other);
  }));
  const edge = svg.getBoundingClientRect();
  boxes.forEach(([text, a]) => { if (a.left < edge.left - 1 || a.right > edge.right + 1) pairs.push(text + " | edge"); });
  return pairs;
}
function measure(frame, width) {
  const inner = frame.contentDocument;
  measured[width] = {
    overflow: inner.documentElement.scrollWidth - width,
    sections: [...inner.querySelectorAll("section.workout")].map(section => {
      const charts = [...section.querySelectorAll("svg")].filter(visible);
      return {
        charts: charts.map(svg => Math.round(svg.getBoundingClientRect().height)),
        letters: Math.min(...charts.flatMap(svg => [...svg.querySelectorAll("text")].map(t => t.getBoundingClientRect().height))),
        missing: section.querySelectorAll(".missing").length,
        covered: charts.flatMap(covered),
      };
    }),
  };
  if (Object.keys(measured).length == widths.length) {
    document.body.innerHTML = "";
    const out = document.createElement("pre");
    out.textContent = "MEASURED" + encodeURIComponent(JSON.stringify(measured)) + "END";
    document.body.append(out);
  }
}
for (const width of widths) {
  const frame = document.createElement("iframe");
  frame.style.cssText = "border:0;height:3000px;width:" + width + "px";
  frame.onload = () => measure(frame, width);
  frame.srcdoc = page;
  document.body.append(frame);
}
</script>"#;

/// What is between `%` signs, decoded.
fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

#[test]
fn in_a_browser_every_chart_has_a_size_and_no_text_covers_another() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(page(folder.path())).unwrap();
    let quoted = json!(text).to_string().replace("</", "<\\/");
    let harness = folder.path().join("measure.html");
    std::fs::write(&harness, MEASURE.replace("WIDTHS", "[1200, 800, 390]").replace("PAGE", &quoted)).unwrap();
    let printed = open(&browser, folder.path(), &harness, "--dump-dom");
    let measured = printed.split("<pre>MEASURED").nth(1).and_then(|rest| rest.split("END").next());
    let measured: Value = serde_json::from_str(&percent_decoded(measured.expect("the frames were measured"))).unwrap();
    for width in ["1200", "800", "390"] {
        let seen = &measured[width];
        assert_eq!(seen["overflow"], 0, "{width}: the page is as wide as the window");
        let sections = seen["sections"].as_array().unwrap();
        assert_eq!(sections.len(), 6, "{width}");
        for section in sections {
            let charts = section["charts"].as_array().unwrap();
            let missing = section["missing"].as_u64().unwrap();
            assert_eq!(charts.len() as u64 + missing, 3, "{width}: {section}");
            assert!(charts.iter().all(|height| height.as_f64().unwrap() > 120.0), "{width}: {section}");
            assert!(section["letters"].as_f64().unwrap() > 10.0, "{width}: {section}");
            assert_eq!(section["covered"], json!([]), "{width}");
        }
    }
    let missing = |section: usize| &measured["1200"]["sections"][section]["missing"];
    assert_eq!((missing(0), missing(1)), (&json!(0), &json!(2)));
}

/// Pixels of a PNG with 8 bits a channel, as the browser writes them.
fn pixels(png: &[u8]) -> Vec<[u8; 3]> {
    let (mut at, mut packed, mut head) = (8, Vec::new(), Vec::new());
    while at + 8 <= png.len() {
        let length = u32::from_be_bytes(png[at..at + 4].try_into().unwrap()) as usize;
        let data = &png[at + 8..at + 8 + length];
        match &png[at + 4..at + 8] {
            b"IHDR" => head = data.to_vec(),
            b"IDAT" => packed.extend_from_slice(data),
            _ => {}
        }
        at += length + 12;
    }
    let width = u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
    let channels = match (head[8], head[9]) {
        (8, 2) => 3,
        (8, 6) => 4,
        other => panic!("a PNG of depth and colour {other:?}"),
    };
    let mut raw = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut raw).unwrap();
    let stride = width * channels;
    let mut above = vec![0; stride];
    let mut pixels = Vec::new();
    for row in raw.chunks_exact(stride + 1) {
        let mut line = row[1..].to_vec();
        unfilter(row[0], &mut line, &above, channels);
        pixels.extend(line.chunks_exact(channels).map(|pixel| [pixel[0], pixel[1], pixel[2]]));
        above = line;
    }
    pixels
}

/// Undoes the filter of a line (PNG, third edition, section 9).
fn unfilter(filter: u8, line: &mut [u8], above: &[u8], channels: usize) {
    for i in 0..line.len() {
        let (left, corner) = if i < channels { (0, 0) } else { (line[i - channels], above[i - channels]) };
        let (a, b, c) = (i16::from(left), i16::from(above[i]), i16::from(corner));
        let guess = a + b - c;
        let nearest = [a, b, c].into_iter().min_by_key(|value| (guess - value).abs()).unwrap();
        let added = match filter {
            0 => 0,
            1 => a,
            2 => b,
            3 => (a + b) / 2,
            _ => nearest,
        };
        line[i] = line[i].wrapping_add(added as u8);
    }
}

#[test]
fn in_a_browser_the_page_and_the_picture_show_their_colours() {
    let Some(browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    page(folder.path());
    for file in ["page.html", "picture.svg"] {
        let shot = folder.path().join("shot.png");
        let action = format!("--screenshot={}", shot.display());
        open(&browser, folder.path(), &folder.path().join(file), &action);
        let pixels = pixels(&std::fs::read(&shot).unwrap());
        let count = |colour: [u8; 3]| pixels.iter().filter(|pixel| **pixel == colour).count();
        let [heart, positions, altitude] = [[0xd5, 0x5e, 0x00], [0x00, 0x72, 0xb2], [0x00, 0x9e, 0x73]].map(count);
        assert!(heart > 500 && positions > 100 && altitude > 100, "{file}: {heart} {positions} {altitude}");
        std::fs::remove_file(shot).unwrap();
    }
}
