//! Runs jobs in worker processes: speaks the protocol of `pacer_stages::worker`, and keeps idle workers for the next
//! job, for one needs a third of a second to load LibTorch. Unaware of what the jobs are.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pacer_stages::job::Job;
use pacer_stages::worker::{Event, Failure, FailureClass, LOG, SERVE, STOP};
use rustix::process::{Pid, Signal, kill_process};

use crate::executor::{Output, Stop, Surroundings, plain_failure};

/// How often a watcher looks whether the run shall stop.
const WATCH_INTERVAL: Duration = Duration::from_millis(50);

/// An idle worker is let go after so long; one on a GPU holds memory there that others may want.
const IDLE: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(1)];

/// Lines of the log that a message about a crash quotes.
const QUOTED_LINES: usize = 5;

/// Workers that wait for a job. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Pool {
    idle: Mutex<Vec<Worker>>,
}

/// What all jobs of a worker have in common: it loaded a library for one device.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fit {
    program: PathBuf,
    gpu: Option<usize>,
}

/// A worker process.
#[derive(Debug)]
struct Worker {
    fit: Fit,
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    idle_since: Instant,
}

impl Pool {
    /// Takes a waiting worker that fits; one that has ended meanwhile is passed over.
    fn take(&self, fit: &Fit) -> Option<Worker> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(at) = idle.iter().position(|worker| worker.fit == *fit) {
            let mut worker = idle.swap_remove(at);
            match worker.child.try_wait() {
                Ok(None) => return Some(worker),
                _ => worker.end(),
            }
        }
        None
    }

    fn put(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Worker { idle_since: Instant::now(), ..worker });
    }

    /// Lets go of workers that have been idle for long.
    pub fn trim(&self) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_old = |worker: &mut Worker| worker.idle_since.elapsed() > IDLE[usize::from(worker.fit.gpu.is_some())];
        idle.extract_if(.., is_old).for_each(Worker::end);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        std::mem::take(self.idle.get_mut().unwrap_or_else(PoisonError::into_inner)).into_iter().for_each(Worker::end);
    }
}

impl Worker {
    /// Closes its stdin, at which it ends, and waits for that.
    fn end(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        // It may have been lost; nothing is left to do about it then.
        let _ = child.wait();
    }

    /// Hands a job over; whether the worker could be written to.
    fn give(&mut self, line: &str, log: &Path) -> bool {
        let log = log.to_str().map_or_else(String::new, |log| format!("{LOG}{log}\n"));
        self.stdin.write_all(format!("{log}{line}\n").as_bytes()).is_ok()
    }
}

/// Runs a job in a worker that waits in the pool, or else in a new one.
pub fn run(job: &Job, surroundings: &Surroundings<'_>) -> Result<Output, Failure> {
    let error = |error: anyhow::Error| plain_failure(FailureClass::Error, format!("{error:#}"));
    let line = serde_json::to_string(job).context("the job cannot be written as JSON").map_err(error)?;
    let fit = fit(surroundings).map_err(error)?;
    let log = std::path::absolute(surroundings.log).unwrap_or_else(|_| surroundings.log.to_owned());
    if let Some(mut worker) = surroundings.pool.and_then(|pool| pool.take(&fit)) {
        // What its last job left behind must be no reason for this one to fail: a worker that dies is not the job's
        // fault until a new one dies too.
        if make_log(surroundings).is_ok() && worker.give(&line, &log) {
            match attend(worker, surroundings) {
                Err(Lost(_)) if !surroundings.stop.requested() => {}
                Err(Lost(failure)) => return Err(failure),
                Ok(outcome) => return outcome,
            }
        } else {
            worker.end();
        }
    }
    let mut worker = spawn(fit, surroundings).map_err(error)?;
    // A worker that dies before it has read its job shows in its exit status, not here.
    let _ = worker.stdin.write_all(format!("{line}\n").as_bytes());
    attend(worker, surroundings).unwrap_or_else(|Lost(failure)| Err(failure))
}

/// The worker ended without a last word.
struct Lost(Failure);

/// Attends to a worker until the end of its job; one that can go on is put into the pool.
fn attend(worker: Worker, surroundings: &Surroundings<'_>) -> Result<Result<Output, Failure>, Lost> {
    let Worker { fit, mut child, stdin, mut stdout, idle_since } = worker;
    let ended = AtomicBool::new(false);
    let process = child.id();
    let (outcome, stdin) = std::thread::scope(|scope| {
        let (stop, ended) = (surroundings.stop, &ended);
        let watcher = scope.spawn(move || watch(stdin, process, stop, ended));
        let outcome = listen(&mut stdout, surroundings);
        let status = if outcome.is_none() { Some(child.wait()) } else { None };
        ended.store(true, Ordering::SeqCst);
        watcher.thread().unpark();
        let stdin = watcher.join().expect("a watcher does not panic");
        (outcome.ok_or_else(|| status.expect("it was waited for")), stdin)
    });
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(status) => return Err(Lost(crash(status, surroundings))),
    };
    let worker = Worker { fit, child, stdin, stdout, idle_since };
    match surroundings.pool.filter(|_| is_sound(&outcome) && !surroundings.stop.requested()) {
        Some(pool) => pool.put(worker),
        None => worker.end(),
    }
    Ok(outcome)
}

/// Whether a worker is as good as new after a job: not after memory ran out or something else broke.
fn is_sound(outcome: &Result<Output, Failure>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(failure) => matches!(failure.class, FailureClass::Nan | FailureClass::Blame),
    }
}

fn fit(surroundings: &Surroundings<'_>) -> Result<Fit> {
    let program = surroundings
        .worker
        .context("`pacer-worker` is not beside `pacer`; it computes with LibTorch: build it with `make build`")?;
    Ok(Fit { program: program.to_owned(), gpu: surroundings.gpu })
}

fn make_log(surroundings: &Surroundings<'_>) -> Result<File> {
    let log = File::options().create(true).append(true).open(surroundings.log);
    log.with_context(|| format!("`{}` cannot be written", surroundings.log.display()))
}

fn spawn(fit: Fit, surroundings: &Surroundings<'_>) -> Result<Worker> {
    let log = make_log(surroundings)?;
    let mut command = Command::new(&fit.program);
    command
        .arg(SERVE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Threads that wait by spinning stand in the way of the other trials.
        .env("OMP_WAIT_POLICY", "passive")
        // The worker's threads compute side by side, each by itself: what divides a sum changes its bits.
        .env("OMP_NUM_THREADS", "1")
        .env("MKL_NUM_THREADS", "1")
        .env("CUDA_VISIBLE_DEVICES", fit.gpu.map_or_else(String::new, driver_name));
    // Ctrl-C in a terminal goes to every process of the group; the engine alone decides what a worker does then.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn().with_context(|| format!("`{}` cannot be started", fit.program.display()))?;
    let stdin = child.stdin.take().expect("it is piped");
    let stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    Ok(Worker { fit, child, stdin, stdout, idle_since: Instant::now() })
}

/// What the driver calls a GPU: its place in the user's own list of visible ones, where there is such a list.
fn driver_name(gpu: usize) -> String {
    let listed = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let name = listed.split(',').nth(gpu).map(str::trim).filter(|name| !name.is_empty());
    name.map_or_else(|| gpu.to_string(), str::to_owned)
}

/// Reads events until the last one; `None` when the worker ended without it.
fn listen(stdout: &mut impl BufRead, surroundings: &Surroundings<'_>) -> Option<Result<Output, Failure>> {
    for line in stdout.lines().map_while(Result::ok) {
        match serde_json::from_str(&line) {
            Ok(Event::Notice(notice)) => (surroundings.sink)(notice),
            Ok(Event::Done { metrics, peak_rss }) => {
                return Some(Ok(Output { metrics, peak_bytes: Some(peak_rss), seconds: None }));
            }
            Ok(Event::Failed(failure)) if failure.class == FailureClass::OutOfMemory => {
                return Some(Err(out_of_memory(&failure.message)));
            }
            Ok(Event::Failed(failure)) => return Some(Err(failure)),
            Err(error) => tracing::warn!("a worker wrote a line that is no event: {error}: {line}"),
        }
    }
    None
}

/// Hands a request to stop on to the worker. Holds its stdin open, whose end means that the runner died; gives it back
/// when the job has ended.
fn watch(mut stdin: ChildStdin, process: u32, stop: &Stop, ended: &AtomicBool) -> ChildStdin {
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
        std::thread::park_timeout(WATCH_INTERVAL);
    }
    stdin
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

#[cfg(test)]
mod tests {
    use super::*;
    use pacer_stages::job::{Checkpoints, Device, JOB_VERSION};
    use tempfile::TempDir;

    /// A folder with a program that speaks the protocol: it notes each start, and does this with each job.
    fn program(with_each: &str) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "#!/bin/sh\necho start >> {0}/starts\njobs=0\nwhile read -r line; do case \"$line\" in log*|stop) continue;; esac\n\
             jobs=$((jobs + 1))\n{with_each}\ndone\n",
            folder.path().display()
        );
        // Another process writes it: while a file is open for writing here, a worker that another test starts at this
        // moment inherits it, and the system refuses to start what is being written.
        let write = format!("cat > {0}/worker && chmod 755 {0}/worker", folder.path().display());
        let mut shell = Command::new("sh").args(["-c", &write]).stdin(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
        folder
    }

    fn starts(folder: &TempDir) -> usize {
        std::fs::read_to_string(folder.path().join("starts")).unwrap_or_default().lines().count()
    }

    /// Runs a job; its figures, or how it failed.
    fn work(folder: &TempDir, pool: Option<&Pool>, gpu: Option<usize>) -> Result<Output, Failure> {
        let job = Job {
            v: JOB_VERSION,
            kind: "pretrain".into(),
            code: String::new(),
            params: serde_json::Value::Null,
            inputs: std::collections::BTreeMap::new(),
            out: folder.path().to_owned(),
            partial: folder.path().to_owned(),
            checkpoints: Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        let (worker, log) = (folder.path().join("worker"), folder.path().join("log"));
        let stop = Stop::default();
        run(&job, &Surroundings { worker: Some(&worker), pool, gpu, log: &log, stop: &stop, sink: &|_| {} })
    }

    const DONE: &str = r#"echo '{"event":"done","metrics":{},"peak_rss":1}'"#;

    #[test]
    fn one_worker_does_many_jobs_but_not_those_of_another_device() {
        let folder = program(DONE);
        let pool = Pool::default();
        (0..5).for_each(|_| assert!(work(&folder, Some(&pool), None).is_ok()));
        assert_eq!(starts(&folder), 1);
        assert!(work(&folder, Some(&pool), Some(0)).is_ok());
        assert_eq!(starts(&folder), 2);
        assert!(work(&folder, None, None).is_ok());
        assert_eq!(starts(&folder), 3);
    }

    #[test]
    fn a_worker_that_dies_in_a_later_job_is_replaced_and_the_job_done() {
        let folder = program(&format!("test $jobs -gt 1 && kill -9 $$\n{DONE}"));
        let pool = Pool::default();
        (0..3).for_each(|_| assert!(work(&folder, Some(&pool), None).is_ok()));
        assert_eq!(starts(&folder), 3);
    }

    #[test]
    fn a_job_that_kills_every_worker_fails_and_a_worker_whose_job_broke_is_let_go() {
        let folder = program("kill -9 $$");
        let pool = Pool::default();
        assert_eq!(work(&folder, Some(&pool), None).unwrap_err().class, FailureClass::OutOfMemory);
        assert_eq!(starts(&folder), 1);
        let failed =
            |class: &str| format!(r#"echo '{{"event":"failed","class":"{class}","message":"m","parameter":null}}'"#);
        for (class, expected) in [("error", 2), ("out_of_memory", 2), ("nan", 1), ("blame", 1)] {
            let folder = program(&failed(class));
            (0..2).for_each(|_| assert!(work(&folder, Some(&pool), None).is_err()));
            assert_eq!(starts(&folder), expected, "{class}");
        }
    }
}
