//! What the engine and a worker process say to each other: one JSON value on each line.
//! Unaware of processes, of kinds and of LibTorch.
//!
//! The engine writes the [`Job`](crate::job::Job) as the first line of the worker's stdin and keeps stdin open:
//! its end means that the engine died, and the worker ends with it. The line [`STOP`] asks the worker to write a
//! checkpoint and stop. A worker that was started with [`SERVE`] takes further jobs, one line each after the end of the
//! one before; a line that begins with [`LOG`] goes before each and names the file that its stderr goes to from then
//! on. When its stdin ends while it is idle, it ends in order. The worker writes [`Event`]s to stdout, the last of which is `done` or `failed`; its exit
//! code is 0 in both cases, so any other code is a crash. Logs go to stderr.

use serde::{Deserialize, Serialize};

use crate::stage::{Metrics, Notice};

/// The line on a worker's stdin that asks it to stop at a point from which it can be resumed.
pub const STOP: &str = "stop";

/// The option of a worker that takes one job after another.
pub const SERVE: &str = "--serve";

/// The beginning of a line on a serving worker's stdin that names the next job's log.
pub const LOG: &str = "log ";

/// The word in the message of a worker that was built from other code than the job's sender.
pub const REBUILD: &str = "rebuild";

/// One line of a worker's stdout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// Progress or a warning.
    Notice(Notice),
    /// The stage wrote all its outputs.
    Done {
        /// The stage's figures.
        metrics: Metrics,
        /// The most memory that the process held, in bytes.
        peak_rss: u64,
    },
    /// The stage ended without its outputs.
    Failed(Failure),
}

/// Why a stage ended without its outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a caller decides by, such as whether to try again.
    pub class: FailureClass,
    /// What happened and what to change.
    pub message: String,
    /// Path of the parameter at fault, so that its line can be shown.
    pub parameter: Option<String>,
}

/// The sorts of failure that a caller treats differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// It was asked to stop; a checkpoint lies in the job's `partial` folder where there was anything to keep.
    Interrupted,
    /// A parameter does not fit the data; the same job fails again.
    Blame,
    /// The loss or a weight became NaN or infinite; the same job fails again.
    Nan,
    /// The device's or the host's memory did not suffice; a free device may do.
    OutOfMemory,
    /// Anything else.
    Error,
}

/// What a worker computes with, as `pacer-worker --probe` prints it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// Version of LibTorch, such as `2.11.0`.
    pub libtorch: String,
    /// The GPUs that LibTorch can use, by index.
    pub cuda: Vec<CudaDevice>,
    /// Why there is none, where a GPU seems to be there that cannot be used.
    pub without_cuda: Option<String>,
    /// The instruction set that LibTorch's CPU kernels choose by: `AVX512`, `AVX2`, `DEFAULT`.
    pub cpu: String,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CudaDevice {
    /// Its index as the driver counts.
    pub index: usize,
    /// Its name, such as `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its architecture, such as `sm_90`.
    pub architecture: String,
    /// Its memory in bytes.
    pub memory: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_flat_objects_with_the_event_first() {
        let notice = Event::Notice(Notice::Warning { message: "slow".into() });
        let failed =
            Event::Failed(Failure { class: FailureClass::OutOfMemory, message: "too large".into(), parameter: None });
        let done = Event::Done { metrics: Metrics::new(), peak_rss: 3 };
        let lines = [
            (notice, r#"{"event":"notice","notice":"warning","message":"slow"}"#),
            (failed, r#"{"event":"failed","class":"out_of_memory","message":"too large","parameter":null}"#),
            (done, r#"{"event":"done","metrics":{},"peak_rss":3}"#),
        ];
        for (event, line) in lines {
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
            assert_eq!(serde_json::from_str::<Event>(line).unwrap(), event);
        }
    }
}
