//! Runs a job in a worker process: speaks the protocol of `pacer_stages::worker`. Unaware of what the job is.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use pacer_stages::job::Job;
use pacer_stages::worker::{Event, Failure, FailureClass, STOP};
use rustix::process::{Pid, Signal, kill_process};

use crate::executor::{Output, Stop, Surroundings, plain_failure};

/// How often a watcher looks whether the run shall stop.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// Lines of the log that a message about a crash quotes.
const QUOTED_LINES: usize = 5;

/// Runs a job in a process of its own.
pub fn run(job: &Job, surroundings: &Surroundings<'_>) -> Result<Output, Failure> {
    let error = |error: anyhow::Error| plain_failure(FailureClass::Error, format!("{error:#}"));
    let line = serde_json::to_string(job).context("the job cannot be written as JSON").map_err(error)?;
    let mut child = spawn(job, surroundings).map_err(error)?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    // A worker that dies before it has read its job shows in its exit status, not here.
    let _ = writeln!(stdin, "{line}");
    let ended = AtomicBool::new(false);
    let process = child.id();
    std::thread::scope(|scope| {
        let ended = &ended;
        scope.spawn(move || watch(stdin, process, surroundings.stop, ended));
        let outcome = listen(stdout, surroundings);
        let status = child.wait();
        ended.store(true, Ordering::SeqCst);
        outcome.unwrap_or_else(|| Err(crash(status, surroundings)))
    })
}

fn spawn(job: &Job, surroundings: &Surroundings<'_>) -> Result<Child> {
    let worker = surroundings
        .worker
        .context("`pacer-worker` is not beside `pacer`; it computes with LibTorch: build it with `make build`")?;
    let log = File::options().create(true).append(true).open(surroundings.log);
    let log = log.with_context(|| format!("`{}` cannot be written", surroundings.log.display()))?;
    let threads = job.threads.to_string();
    let mut command = Command::new(worker);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Threads that wait by spinning stand in the way of the other trials.
        .env("OMP_WAIT_POLICY", "passive")
        .env("OMP_NUM_THREADS", &threads)
        .env("MKL_NUM_THREADS", &threads)
        .env("CUDA_VISIBLE_DEVICES", surroundings.gpu.map_or_else(String::new, driver_name));
    // Ctrl-C in a terminal goes to every process of the group; the engine alone decides what a worker does then.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().with_context(|| format!("`{}` cannot be started", worker.display()))
}

/// What the driver calls a GPU: its place in the user's own list of visible ones, where there is such a list.
fn driver_name(gpu: usize) -> String {
    let listed = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let name = listed.split(',').nth(gpu).map(str::trim).filter(|name| !name.is_empty());
    name.map_or_else(|| gpu.to_string(), str::to_owned)
}

/// Reads events until the last one; `None` when the worker ended without it.
fn listen(stdout: impl BufRead, surroundings: &Surroundings<'_>) -> Option<Result<Output, Failure>> {
    for line in stdout.lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Event::Notice(notice)) => (surroundings.sink)(notice),
            Ok(Event::Done { metrics, peak_rss }) => return Some(Ok(Output { metrics, peak_bytes: Some(peak_rss) })),
            Ok(Event::Failed(failure)) if failure.class == FailureClass::OutOfMemory => {
                return Some(Err(out_of_memory(&failure.message)));
            }
            Ok(Event::Failed(failure)) => return Some(Err(failure)),
            Err(error) => tracing::warn!("a worker wrote a line that is no event: {error}: {line}"),
        }
    }
    None
}

/// Hands a request to stop on to the worker. Holds its stdin open, whose end means that the runner died.
fn watch(mut stdin: ChildStdin, process: u32, stop: &Stop, ended: &AtomicBool) {
    let mut told = false;
    while !ended.load(Ordering::SeqCst) {
        if stop.requested() && !told {
            // A worker that is gone already needs no telling.
            let _ = writeln!(stdin, "{STOP}");
            told = true;
        }
        if stop.kill() {
            kill(process);
        }
        std::thread::sleep(WATCH_INTERVAL);
    }
}

fn kill(process: u32) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended this very moment, and then there is nothing to kill.
        let _ = kill_process(process, Signal::KILL);
    }
}

/// Says how a worker ended that did not say it itself.
fn crash(status: std::io::Result<ExitStatus>, surroundings: &Surroundings<'_>) -> Failure {
    if surroundings.stop.kill() {
        return plain_failure(FailureClass::Interrupted, "killed on request".into());
    }
    let tail = quote(surroundings);
    let status = match status {
        Ok(status) => status,
        Err(error) => return plain_failure(FailureClass::Error, format!("the worker was lost: {error}")),
    };
    match status.signal() {
        // Nobody else sends this signal unasked but the kernel when memory runs out.
        Some(9) => out_of_memory(&format!("the worker was killed by signal 9, if nobody did it, by the kernel{tail}")),
        // What Rust and C++ say before they give up.
        Some(6) if ["memory allocation of", "bad_alloc"].iter().any(|sign| tail.contains(sign)) => {
            out_of_memory(&format!("the worker could allocate no more{tail}"))
        }
        Some(signal) => plain_failure(FailureClass::Error, format!("the worker crashed with signal {signal}{tail}")),
        None => plain_failure(FailureClass::Error, format!("the worker ended with {status} and no result{tail}")),
    }
}

fn out_of_memory(what: &str) -> Failure {
    let message = format!("memory ran out: run fewer stages at once (--jobs) or make batches smaller; {what}");
    plain_failure(FailureClass::OutOfMemory, message)
}

fn quote(surroundings: &Surroundings<'_>) -> String {
    let text = std::fs::read_to_string(surroundings.log).unwrap_or_default();
    let mut last: VecDeque<&str> = VecDeque::new();
    for line in text.lines() {
        if last.len() == QUOTED_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }
    last.into_iter().map(|line| format!("\n    {line}")).collect()
}
