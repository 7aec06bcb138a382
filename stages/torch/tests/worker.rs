//! The worker as a process: what it prints, and how it can be stopped.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use pacer_stages::fingerprint;
use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
use pacer_stages::split::{Part, Split, SplitBy};
use pacer_stages::worker::{Event, FailureClass, LOG, Probe, REBUILD, SERVE, STOP};
use serde_json::json;

/// A running worker that was given its job.
struct Worker {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Worker {
    fn start(job: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pacer-worker"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{job}").unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn event(&mut self) -> Option<Event> {
        self.lines.next().map(|line| serde_json::from_str(&line.unwrap()).unwrap())
    }

    /// Waits until the training is under way.
    fn training(job: &str) -> Self {
        let mut worker = Self::start(job);
        assert!(matches!(worker.event(), Some(Event::Notice(_))));
        worker
    }

    /// The last event, and the exit code.
    fn end(mut self) -> (Option<Event>, Option<i32>) {
        let mut last = None;
        while let Some(event) = self.event() {
            last = Some(event);
        }
        (last, self.child.wait().unwrap().code())
    }
}

/// A job of ten workouts whose training takes longer than any of these tests, unless `epochs` are few.
fn job(folder: &Path, epochs: usize) -> String {
    let header =
        Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 5.0 }, data: DataSource::Synthetic };
    let mut sequences = Sequences::empty(header);
    for workout in 0..10 {
        for step in 0..20 {
            sequences.features.push((step as f32 * 0.3 + workout as f32).sin());
            sequences.target.push(140.0 + step as f32);
            sequences.real.push(1);
            sequences.valid.push(1);
            sequences.time.push(5.0 * step as f32);
        }
        sequences.offsets.push(sequences.target.len() as i64);
        sequences.workout.push(workout);
        sequences.user.push(1);
        sequences.start.push(workout);
    }
    let part = |workout: &i64| if *workout < 8 { Part::Train } else { Part::Validation };
    let parts = sequences.workout.iter().map(|workout| (*workout, (part(workout), 1))).collect();
    let (data, split) = (folder.join("sequences.safetensors"), folder.join("split.parquet"));
    sequences.write(&data).unwrap();
    Split { by: SplitBy::Time, parts }.write(&split).unwrap();
    std::fs::create_dir_all(folder.join("out")).unwrap();
    json!({
        "v": 1, "kind": "pretrain", "code": fingerprint::of("pretrain").unwrap(),
        "params": { "layers": 1, "hidden": 4, "epochs": epochs, "batch_size": 4 },
        "inputs": { "sequences": data, "split": split },
        "out": folder.join("out"), "partial": folder.join("partial"),
        "seed": 1, "device": "cpu", "threads": 2,
    })
    .to_string()
}

fn class(event: Option<Event>) -> Option<FailureClass> {
    match event {
        Some(Event::Failed(failure)) => Some(failure.class),
        Some(Event::Done { .. } | Event::Notice(_)) | None => None,
    }
}

#[test]
fn a_job_ends_with_its_figures_and_the_memory_it_took() {
    let folder = tempfile::tempdir().unwrap();
    let (last, code) = Worker::start(&job(folder.path(), 2)).end();
    let Some(Event::Done { metrics, peak_rss }) = last else { panic!("{last:?}") };
    assert_eq!(metrics["epochs"], 2);
    assert!(peak_rss > 10_000_000, "{peak_rss}");
    assert_eq!(code, Some(0));
    assert!(folder.path().join("out/model.safetensors").exists());
}

#[test]
fn a_serving_worker_does_one_job_after_another_and_ends_with_its_stdin() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let mut child = Command::new(env!("CARGO_BIN_EXE_pacer-worker"))
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stdin = child.stdin.take().unwrap();
    let mut models = Vec::new();
    for folder in &folders {
        let log = folder.path().join("log");
        std::fs::write(&log, "").unwrap();
        let job = job(folder.path(), 2);
        match models.len() {
            0 => writeln!(stdin, "{job}").unwrap(),
            _ => writeln!(stdin, "{LOG}{}\n{job}", log.display()).unwrap(),
        }
        let last = lines.by_ref().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let last = last.into_iter().find(|event| !matches!(event, Event::Notice(_)));
        let Some(Event::Done { peak_rss, .. }) = last else { panic!("{last:?}") };
        assert!(peak_rss > 10_000_000, "{peak_rss}");
        models.push(std::fs::read(folder.path().join("out/model.safetensors")).unwrap());
    }
    assert_eq!(models[0], models[1], "the first job left something behind that the second felt");
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_job_of_other_code_is_refused_and_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), 2).replace(fingerprint::of("pretrain").unwrap(), "0123");
    let (last, code) = Worker::start(&job).end();
    let Some(Event::Failed(failure)) = last else { panic!("{last:?}") };
    assert!(failure.message.contains(REBUILD), "{}", failure.message);
    assert_eq!(code, Some(0));
}

#[test]
fn the_line_stop_and_a_signal_interrupt_and_leave_a_checkpoint() {
    for by_signal in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let mut worker = Worker::training(&job(folder.path(), 1_000_000));
        if by_signal {
            let id = worker.child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        } else {
            writeln!(worker.child.stdin.as_mut().unwrap(), "{STOP}").unwrap();
        }
        let (last, code) = worker.end();
        assert_eq!((class(last), code), (Some(FailureClass::Interrupted), Some(0)));
        let kept = std::fs::read_dir(folder.path().join("partial")).unwrap().next().unwrap().unwrap().file_name();
        assert!(kept.to_str().unwrap().ends_with(".safetensors"), "{kept:?}");
    }
}

#[test]
fn a_worker_ends_when_its_runner_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut worker = Worker::training(&job(folder.path(), 1_000_000));
    drop(worker.child.stdin.take());
    let (last, code) = worker.end();
    assert_eq!((class(last), code), (None, Some(1)));
}

#[test]
fn the_probe_says_what_is_computed_with() {
    let output = Command::new(env!("CARGO_BIN_EXE_pacer-worker")).arg("--probe").output().unwrap();
    let probe: Probe = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(probe.libtorch, "2.11.0");
    assert_eq!(probe.cuda.is_empty(), probe.without_cuda.is_some(), "{probe:?}");
    assert!(["AVX512", "AVX2", "DEFAULT"].contains(&probe.cpu.as_str()), "{probe:?}");
}
