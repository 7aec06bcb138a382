//! What happens in a run, as data: shown live, written to the journal, printed with `--format json`. Unaware
//! of who is told.

use std::collections::BTreeMap;

use pacer_stages::stage::{Metrics, Notice};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::graph::Trial;

/// Version of the JSON form of events.
pub const EVENT_VERSION: u32 = 1;

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run began.
    Started {
        /// The run's id.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// Names of the stages that are needed, in order.
        stages: Vec<String>,
        /// Those of them that sweeps made: of which stage, and with which values.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        trials: BTreeMap<String, Trial>,
    },
    /// A stage's result was there already.
    Reused {
        /// The stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Whether the remote holds artifacts of it that are not here.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        afar: bool,
    },
    /// Inputs of a stage came from the remote.
    Brought {
        /// The stage that reads them.
        stage: String,
        /// Artifacts that came.
        artifacts: usize,
        /// Their bytes.
        bytes: u64,
        /// Seconds that it took.
        seconds: f64,
    },
    /// The stages are done, and what they made is still being put into the remote.
    Pushing {
        /// Results that are not there yet.
        results: usize,
        /// Bytes that were put so far.
        bytes: u64,
    },
    /// What the run made was put into the remote.
    Pushed {
        /// Results that were put.
        results: usize,
        /// Bytes of their artifacts that were put.
        bytes: u64,
        /// Results that were not put.
        left: usize,
    },
    /// A stage began to run.
    Running {
        /// The stage.
        stage: String,
        /// Its kind.
        kind: String,
        /// Its key.
        key: Digest,
        /// Why its result is not reused, in one line.
        reason: String,
        /// Where it computes.
        device: String,
    },
    /// A stage waits for another process that makes the same result.
    Waiting {
        /// The stage.
        stage: String,
        /// That process, where known.
        process: Option<u32>,
    },
    /// A running stage waits for its turn on a cluster.
    Queued {
        /// The stage.
        stage: String,
        /// Why, as the cluster says.
        because: String,
    },
    /// A node of a cluster began with a stage.
    Placed {
        /// The stage.
        stage: String,
        /// The node.
        node: String,
        /// The job, as the cluster counts.
        job: String,
    },
    /// A stage told something.
    Notice {
        /// The stage.
        stage: String,
        /// What it told.
        #[serde(flatten)]
        notice: Notice,
    },
    /// A stage finished and its result is committed.
    Finished {
        /// The stage.
        stage: String,
        /// Its key.
        key: Digest,
        /// Seconds that it took.
        seconds: f64,
        /// Its figures.
        metrics: Metrics,
    },
    /// A stage failed.
    Failed {
        /// The stage.
        stage: String,
        /// The sort of failure.
        class: String,
        /// What happened and what to change.
        message: String,
        /// Where the parameter at fault is written, `pipelines/x.toml:12`.
        place: Option<String>,
        /// Its log.
        log: Option<String>,
        /// The earlier run in which it failed, where it was not tried again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        earlier_run: Option<String>,
    },
    /// A stage was not run, for a stage that it reads from failed or the run was interrupted.
    Skipped {
        /// The stage.
        stage: String,
        /// Why, in a few words.
        because: String,
    },
    /// The run ended; always the last event.
    Done {
        /// The run's id.
        run: String,
        /// Stages that ran.
        ran: usize,
        /// Stages whose results were reused.
        reused: usize,
        /// Stages that failed.
        failed: usize,
        /// Trials that failed, or had failed before, while others of their sweep succeeded.
        #[serde(default)]
        passed_over: usize,
        /// Stages that were not run.
        skipped: usize,
        /// Whether it was interrupted.
        #[serde(default)]
        interrupted: bool,
        /// Seconds that it took.
        seconds: f64,
    },
}

/// An event with the version of its form.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Versioned {
    /// [`EVENT_VERSION`].
    pub v: u32,
    /// Seconds since the run began, in a journal.
    #[serde(default)]
    pub at: Option<f64>,
    /// The event.
    #[serde(flatten)]
    pub event: Event,
}

impl Event {
    /// The event as one line of JSON.
    pub fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            v: u32,
            #[serde(flatten)]
            event: &'a Event,
        }
        serde_json::to_string(&Line { v: EVENT_VERSION, event: self }).expect("events are plain data")
    }
}
