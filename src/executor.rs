//! Runs jobs, on a thread or in a worker process, with the same description for both. Unaware of the graph,
//! the cache and the terminal.

pub mod machine;
pub mod memory;
mod worker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pacer_stages::job::Job;
use pacer_stages::kind::{Place, RunFn};
use pacer_stages::stage::{Blame, Context, Interrupted, Metrics, Notice};
use pacer_stages::worker::{Failure, FailureClass};

pub use crate::executor::worker::Pool;

/// Asks running jobs to stop: once to stop in order, twice to be killed.
#[derive(Debug, Default)]
pub struct Stop {
    requested: AtomicBool,
    kill: AtomicBool,
}

impl Stop {
    /// Asks once more.
    pub fn request(&self) {
        if self.requested.swap(true, Ordering::SeqCst) {
            self.kill.store(true, Ordering::SeqCst);
        }
    }

    /// Whether jobs shall stop.
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Whether workers shall be killed.
    pub fn kill(&self) -> bool {
        self.kill.load(Ordering::SeqCst)
    }
}

/// What a job gave.
#[derive(Debug)]
pub struct Output {
    /// Its figures.
    pub metrics: Metrics,
    /// The most memory that its process held, where it had one of its own.
    pub peak_bytes: Option<u64>,
    /// Seconds that it took, where it was not begun at once.
    pub seconds: Option<f64>,
}

/// All that a job needs beside its description.
pub struct Surroundings<'a> {
    /// The worker program, where it was found.
    pub worker: Option<&'a Path>,
    /// Workers that wait for a job; without it, a job's worker ends with it.
    pub pool: Option<&'a Pool>,
    /// The index of the GPU that the job may see.
    pub gpu: Option<usize>,
    /// Takes what a worker writes to its stderr.
    pub log: &'a Path,
    /// Asks the job to stop.
    pub stop: &'a Stop,
    /// Takes progress and warnings.
    pub sink: &'a (dyn Fn(Notice) + Sync),
}

/// Runs a job to its end.
pub fn execute(place: Place, job: &Job, surroundings: &Surroundings<'_>) -> Result<Output, Failure> {
    match place {
        Place::Here(run) => here(run, job, surroundings),
        Place::Worker => worker::run(job, surroundings),
    }
}

/// Runs a job on this thread; a panic is a failure of the job alone.
fn here(run: RunFn, job: &Job, surroundings: &Surroundings<'_>) -> Result<Output, Failure> {
    let context = Context { job, sink: surroundings.sink, cancelled: &surroundings.stop.requested };
    match catch_unwind(AssertUnwindSafe(|| run(&job.params, &context))) {
        Ok(Ok(metrics)) => Ok(Output { metrics, peak_bytes: None, seconds: None }),
        Ok(Err(error)) => Err(failure(&error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Err(plain_failure(FailureClass::Error, format!("the stage broke, which is a bug of pacer: {text}")))
        }
    }
}

/// Sorts an error of a stage.
pub fn failure(error: &anyhow::Error) -> Failure {
    if error.is::<Interrupted>() {
        return plain_failure(FailureClass::Interrupted, Interrupted.to_string());
    }
    let blame = error.downcast_ref::<Blame>();
    Failure {
        class: if blame.is_some() { FailureClass::Blame } else { FailureClass::Error },
        message: format!("{error:#}"),
        parameter: blame.map(|blame| blame.parameter.clone()),
    }
}

fn plain_failure(class: FailureClass, message: String) -> Failure {
    Failure { class, message, parameter: None }
}
