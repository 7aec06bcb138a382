//! The process of a job, or of one job after another: reads it, refuses what it was not built for, runs the kind, and
//! tells what happened. Unaware of what the kinds compute.

use std::ffi::{CString, c_char, c_int};
use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use pacer_stages::fingerprint;
use pacer_stages::job::{JOB_VERSION, Job};
use pacer_stages::kind::RunFn;
use pacer_stages::stage::{Blame, Context, Interrupted, Metrics, Notice};
use pacer_stages::worker::{Event, Failure, FailureClass, LOG, REBUILD, SERVE, STOP};

use crate::training::NotFinite;
use crate::{device, evaluate, finetune, forecast, pretrain};

/// The kinds that this program runs.
const RUNS: [(&str, RunFn); 4] = [
    ("pretrain", pretrain::run),
    ("finetune", finetune::run),
    ("evaluate", evaluate::run),
    ("forecast", forecast::run),
];

/// Set by `stop` on stdin and by SIGTERM and SIGINT; the run ends at the next point it can be resumed from.
static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Set while a job runs: a runner that goes away then ends the process at once.
static BUSY: AtomicBool = AtomicBool::new(false);

/// How often an idle worker looks whether a signal asked it to end.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Resets the system's mark of the most memory held, by the word that `proc(5)` gives for it.
const RESET_PEAK: (&str, &str) = ("/proc/self/clear_refs", "5");

const O_WRONLY: c_int = 1;
const O_APPEND: c_int = 0o2000;
const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;

unsafe extern "C" {
    /// Of the C library, declared here because this is all that is needed of it.
    fn signal(number: i32, handler: extern "C" fn(i32)) -> usize;
    /// Opens a file as a descriptor.
    fn open(path: *const c_char, flags: c_int) -> c_int;
    /// Lets one descriptor stand for the file of another.
    fn dup2(from: c_int, to: c_int) -> c_int;
    /// Gives a descriptor back.
    fn close(descriptor: c_int) -> c_int;
    /// Of the GNU C library, which LibTorch's builds need anyway: hands freed memory back to the system.
    fn malloc_trim(pad: usize) -> c_int;
    /// Ends the process without running destructors, which may wait for a thread that computes.
    fn _exit(code: i32) -> !;
}

/// Runs the program: `--probe`, one job from stdin, or with `--serve` one after the other. The exit code is 0 when the outcome was told, good or bad.
pub fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    match std::env::args().nth(1).as_deref() {
        Some("--probe") => tell(&device::probe()),
        None => tell_end(&one()),
        Some(SERVE) => serve(),
        Some(other) => {
            tracing::error!("`{other}` is no option; `pacer` starts this program and writes a job to its stdin");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}

/// Reads the job and runs it; the answer is the last event.
fn one() -> Event {
    answer(read_job().and_then(|job| {
        BUSY.store(true, Ordering::SeqCst);
        std::thread::spawn(|| watch_stdin(None));
        execute(&job)
    }))
}

/// Runs jobs until stdin ends. LibTorch is loaded once for all of them, and the first one's device is that of all.
fn serve() {
    let first = read_job();
    let (sender, jobs) = channel();
    BUSY.store(true, Ordering::SeqCst);
    std::thread::spawn(|| watch_stdin(Some(sender)));
    let mut job = first;
    loop {
        tell_end(&answer(job.and_then(|job| execute(&job))));
        match next(&jobs) {
            Some(line) => job = parse(&line),
            None => return,
        }
        // SAFETY: a call without pointers; it gives back what the last job freed.
        unsafe { malloc_trim(0) };
        // Where the system does not let it, the mark is that of all jobs so far.
        let _ = std::fs::write(RESET_PEAK.0, RESET_PEAK.1);
    }
}

/// Tells the end of a job; from then on the runner may go away.
fn tell_end(event: &Event) {
    BUSY.store(false, Ordering::SeqCst);
    tell(event);
}

/// Waits for the next job; none when stdin ended or a signal came.
fn next(jobs: &Receiver<String>) -> Option<String> {
    loop {
        match jobs.recv_timeout(LOOK_INTERVAL) {
            Ok(line) => return Some(line),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if CANCELLED.load(Ordering::Relaxed) => return None,
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn execute(job: &Job) -> Result<Metrics> {
    device::settle();
    run(job, &|notice| tell(&Event::Notice(notice)))
}

/// What the outcome of a job is to the one who gave it.
fn answer(outcome: Result<Metrics>) -> Event {
    match outcome {
        Ok(metrics) => Event::Done { metrics, peak_rss: peak_rss() },
        Err(error) => Event::Failed(failure(&error)),
    }
}

/// The job on the first line of stdin; from then on signals can stop the run.
fn read_job() -> Result<Job> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("stdin cannot be read")?;
    let job = parse(&line)?;
    // Before any thread: opening the GPU's library sets environment variables.
    device::open(job.device)?;
    // SAFETY: the handler only stores to an atomic, which is allowed in a signal handler.
    unsafe {
        signal(SIGINT, cancel);
        signal(SIGTERM, cancel);
    }
    Ok(job)
}

/// Decodes a job, looking at its version first: another version may have other fields.
fn parse(line: &str) -> Result<Job> {
    let value: serde_json::Value = serde_json::from_str(line).context("the first line of stdin is no job")?;
    let version = value.get("v").and_then(serde_json::Value::as_u64);
    ensure!(
        version == Some(u64::from(JOB_VERSION)),
        "`pacer-worker` reads jobs of version {JOB_VERSION} and was given {}: {REBUILD} both programs together",
        version.map_or("none".into(), |version| version.to_string()),
    );
    serde_json::from_value(value).context("the first line of stdin is no job")
}

extern "C" fn cancel(_signal: i32) {
    CANCELLED.store(true, Ordering::Relaxed);
}

/// Heeds what comes from the runner while jobs run, and hands further jobs on.
fn watch_stdin(jobs: Option<Sender<String>>) {
    for line in std::io::stdin().lock().lines() {
        match line {
            Ok(line) if line.trim() == STOP => CANCELLED.store(true, Ordering::Relaxed),
            Ok(line) => match (&jobs, line.strip_prefix(LOG)) {
                (Some(_), Some(path)) => log_to(path),
                (Some(jobs), None) => {
                    BUSY.store(true, Ordering::SeqCst);
                    // The other end waits as long as this process lives.
                    let _ = jobs.send(line);
                }
                (None, _) => {}
            },
            Err(_) => break,
        }
    }
    if !BUSY.load(Ordering::SeqCst) {
        return;
    }
    tracing::error!("stdin was closed: the program that started this worker is gone");
    // SAFETY: nothing of this process is waited for; files are complete by their renames alone.
    unsafe { _exit(1) }
}

/// Lets what is written to stderr go to the log of the next job.
fn log_to(path: &str) {
    let Ok(path) = CString::new(path) else { return };
    // SAFETY: plain system calls on a path that ends with a zero, and on descriptors that are this process's own; the
    // file was made by the runner.
    unsafe {
        let file = open(path.as_ptr(), O_WRONLY | O_APPEND);
        if file >= 0 {
            dup2(file, 2);
            close(file);
        }
    }
}

/// Runs a job of this build's own code.
fn run(job: &Job, sink: &(dyn Fn(Notice) + Sync)) -> Result<Metrics> {
    let (_, run) = RUNS
        .iter()
        .find(|(name, _)| *name == job.kind)
        .with_context(|| format!("`{}` is no kind that `pacer-worker` runs: {REBUILD} it", job.kind))?;
    ensure!(
        fingerprint::of(&job.kind) == Some(job.code.as_str()),
        "`pacer-worker` was built from other code of `{}` than `pacer`: {REBUILD} both together",
        job.kind
    );
    run(&job.params, &Context { job, sink, cancelled: &CANCELLED })
}

/// What an error means to the caller.
fn failure(error: &anyhow::Error) -> Failure {
    let message = without_frames(&format!("{error:#}"));
    let blame = error.downcast_ref::<Blame>();
    let class = if error.is::<Interrupted>() {
        FailureClass::Interrupted
    } else if error.is::<NotFinite>() {
        FailureClass::Nan
    } else if blame.is_some() {
        FailureClass::Blame
    } else if ["out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc"]
        .iter()
        .any(|words| message.contains(words))
    {
        FailureClass::OutOfMemory
    } else {
        FailureClass::Error
    };
    let message = blame.map_or(message, |blame| blame.message.clone());
    Failure { class, message, parameter: blame.map(|blame| blame.parameter.clone()) }
}

/// A message without the C++ calls that LibTorch lists below it, dozens of lines that say nothing to a user.
fn without_frames(message: &str) -> String {
    let lines = message.lines().filter(|line| !line.starts_with("frame #"));
    lines.collect::<Vec<_>>().join("\n").trim_end().to_owned()
}

/// Writes a line to stdout. A reader that is gone is noticed by the end of stdin.
fn tell(value: &impl serde::Serialize) {
    let mut line = serde_json::to_vec(value).expect("events are plain data");
    line.push(b'\n');
    let mut out = std::io::stdout().lock();
    if out.write_all(&line).and_then(|()| out.flush()).is_err() {
        tracing::warn!("nobody reads stdout");
    }
}

/// The most memory that this process held, in bytes; 0 where the system does not tell.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(kind: &str, code: &str) -> Job {
        let text = format!(
            r#"{{"v":1,"kind":"{kind}","code":"{code}","params":{{}},"inputs":{{}},"out":"o","partial":"p",
                "seed":1,"device":"cpu","threads":1}}"#
        );
        parse(&text).unwrap()
    }

    #[test]
    fn memory_that_ran_out_is_told_without_the_calls_of_libtorch() {
        let error =
            anyhow::anyhow!("DefaultCPUAllocator: can't allocate memory: 5 bytes\nframe #0: a()\nframe #1: b()\n");
        let told = failure(&error);
        assert_eq!(told.class, FailureClass::OutOfMemory);
        assert_eq!(told.message, "DefaultCPUAllocator: can't allocate memory: 5 bytes");
    }

    #[test]
    fn a_job_of_other_code_or_of_another_version_is_answered_with_rebuild() {
        let other_code = run(&job("pretrain", "0000"), &|_| {}).unwrap_err();
        let no_such_kind = run(&job("transmute", ""), &|_| {}).unwrap_err();
        let other_version = parse(r#"{"v":7,"kind":"pretrain","unheard_of":1}"#).unwrap_err();
        for error in [other_code, no_such_kind, other_version] {
            let failure = failure(&error);
            assert_eq!(failure.class, FailureClass::Error);
            assert!(failure.message.contains(REBUILD), "{}", failure.message);
        }
    }

    #[test]
    fn errors_become_the_classes_that_a_caller_decides_by() {
        let blame = Blame { parameter: "batch_size".into(), message: "too large".into() };
        let nan = anyhow::Error::from(blame.clone()).context(NotFinite);
        let memory = anyhow::anyhow!("CUDA out of memory. Tried to allocate 2 GiB");
        let cases = [
            (anyhow::Error::from(blame), FailureClass::Blame, Some("batch_size")),
            (nan, FailureClass::Nan, Some("batch_size")),
            (Interrupted.into(), FailureClass::Interrupted, None),
            (memory, FailureClass::OutOfMemory, None),
            (anyhow::anyhow!("Internal torch error: std::bad_alloc"), FailureClass::OutOfMemory, None),
            (anyhow::anyhow!("`x` is gone"), FailureClass::Error, None),
        ];
        for (error, class, parameter) in cases {
            let failure = failure(&error);
            assert_eq!((failure.class, failure.parameter.as_deref()), (class, parameter));
        }
    }

    #[test]
    fn the_memory_that_was_held_is_told_in_bytes() {
        assert!(peak_rss() > 1024 * 1024);
    }
}
