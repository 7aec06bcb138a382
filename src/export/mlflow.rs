//! A run as runs of an MLflow server, over its REST API: one for the run with the figures of all stages, and below it
//! one for each training with its parameters and curves. Unaware of where results lie.

mod client;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::cache::{Cache, StageResult};
use crate::export::mlflow::client::Client;
use crate::export::reached::{self, Reached};
use crate::journal::RunState;

/// The most metrics, and the most parameters, that the server takes in one batch.
const METRICS_IN_BATCH: usize = 1000;
const PARAMS_IN_BATCH: usize = 100;

/// The longest value of a parameter that every version takes.
const VALUE_CHARS: usize = 500;

/// The tag by which a run is found again.
const TAG: &str = "pacer.run";

/// What was logged.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Logged {
    /// The server's id of the run.
    pub id: String,
    /// Runs of trainings below it.
    pub trainings: usize,
    /// Numbers.
    pub metrics: usize,
}

/// A number at a step.
struct Metric {
    key: String,
    value: f64,
    step: i64,
}

/// Logs a run in an experiment; one that is there already is refused.
pub fn log(cache: &Cache, run: &Reached, uri: &str, experiment: &str) -> Result<Logged> {
    let client = Client::new(uri)?;
    let experiment = experiment_id(&client, experiment)?;
    if let Some(there) = find(&client, &experiment, &run.summary.run)? {
        bail!("the run `{}` is there already, as `{there}`: delete it there to log it anew", run.summary.run);
    }
    let server = Server { client, experiment };
    let ended = run.stages.iter().map(|(_, result)| result.finished).max().unwrap_or(0);
    let began = run.stages.iter().map(|(_, result)| result.finished.saturating_sub(result.seconds as u64)).min();
    let tags = [
        (TAG, run.summary.run.clone()),
        ("pacer.pipeline", run.summary.pipeline.clone()),
        ("mlflow.source.name", run.summary.path.display().to_string()),
    ];
    let id = server.begin(&run.summary.run, began.unwrap_or(0), &tags)?;
    let mut logged = Logged { id, ..Logged::default() };
    for (stage, result) in &run.stages {
        let figures = Value::Object(result.metrics.clone().into_iter().collect());
        let numbers = reached::numbers(&figures).into_iter();
        let metrics: Vec<_> =
            numbers.map(|(name, value)| Metric { key: named(&format!("{stage}/{name}")), value, step: 0 }).collect();
        server.metrics(&logged.id, &metrics, result.finished)?;
        logged.metrics += metrics.len();
        if let Some(curves) = reached::curves(cache, result)? {
            logged.metrics += training(&server, run, &logged.id, stage, result, &curves)?;
            logged.trainings += 1;
        }
    }
    let state = if run.summary.state == RunState::Done { "FINISHED" } else { "FAILED" };
    server.end(&logged.id, state, ended)?;
    Ok(logged)
}

/// Logs a training as a run below another; returns how many numbers it has.
fn training(
    server: &Server,
    run: &Reached,
    parent: &str,
    stage: &str,
    result: &StageResult,
    curves: &reached::Curves,
) -> Result<usize> {
    let tags = [
        ("mlflow.parentRunId", parent.to_owned()),
        ("pacer.pipeline", run.summary.pipeline.clone()),
        ("pacer.stage", stage.to_owned()),
        ("pacer.key", result.key.to_string()),
    ];
    let id = server.begin(stage, result.finished.saturating_sub(result.seconds as u64), &tags)?;
    server.parameters(&id, &reached::parameters(result))?;
    let figures = Value::Object(result.metrics.clone().into_iter().collect());
    let figures = reached::numbers(&figures).into_iter();
    let mut metrics: Vec<_> = figures.map(|(name, value)| Metric { key: named(&name), value, step: 0 }).collect();
    for (epoch, values) in curves {
        // A figure may bear the name of a curve, of which it is one value.
        let key = |name: &str| named(&format!("epoch/{name}"));
        metrics.extend(values.iter().map(|(name, value)| Metric { key: key(name), value: *value, step: *epoch }));
    }
    server.metrics(&id, &metrics, result.finished)?;
    server.end(&id, "FINISHED", result.finished)?;
    Ok(metrics.len())
}

fn experiment_id(client: &Client, name: &str) -> Result<String> {
    let found = client.get("experiments/get-by-name", &[("experiment_name", name)])?;
    let answer = match found {
        Some(answer) => answer["experiment"].clone(),
        None => client.post("experiments/create", &json!({"name": name}))?,
    };
    if answer["lifecycle_stage"] == "deleted" {
        bail!("the experiment `{name}` was deleted on the server: restore it, or name another with --experiment");
    }
    Ok(answer["experiment_id"].as_str().context("the server gave no id of the experiment")?.to_owned())
}

fn find(client: &Client, experiment: &str, run: &str) -> Result<Option<String>> {
    let filter = format!("tags.`{TAG}` = '{}'", run.replace('\'', ""));
    let question = json!({"experiment_ids": [experiment], "filter": filter, "max_results": 1});
    let answer = client.post("runs/search", &question)?;
    Ok(answer["runs"][0]["info"]["run_id"].as_str().map(str::to_owned))
}

/// The server and the experiment that runs go to.
struct Server {
    client: Client,
    experiment: String,
}

impl Server {
    fn begin(&self, name: &str, seconds: u64, tags: &[(&str, String)]) -> Result<String> {
        let tags: Vec<_> = tags.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
        let (experiment, start) = (&self.experiment, seconds * 1000);
        let run = json!({"experiment_id": experiment, "run_name": name, "start_time": start, "tags": tags});
        let answer = self.client.post("runs/create", &run)?;
        let id = answer["run"]["info"]["run_id"].as_str();
        Ok(id.context("the server gave no id of the run")?.to_owned())
    }

    fn metrics(&self, run: &str, metrics: &[Metric], seconds: u64) -> Result<()> {
        for some in metrics.chunks(METRICS_IN_BATCH) {
            let row = |metric: &Metric| {
                let Metric { key, value, step } = metric;
                json!({"key": key, "value": value, "step": step, "timestamp": seconds * 1000})
            };
            let rows: Vec<_> = some.iter().map(row).collect();
            self.client.post("runs/log-batch", &json!({"run_id": run, "metrics": rows}))?;
        }
        Ok(())
    }

    fn parameters(&self, run: &str, parameters: &BTreeMap<String, String>) -> Result<()> {
        let parameters: Vec<_> = parameters.iter().collect();
        for some in parameters.chunks(PARAMS_IN_BATCH) {
            let row = |(name, value): &(&String, &String)| {
                let value: String = value.chars().take(VALUE_CHARS).collect();
                json!({"key": named(name), "value": value})
            };
            let rows: Vec<_> = some.iter().map(row).collect();
            self.client.post("runs/log-batch", &json!({"run_id": run, "params": rows}))?;
        }
        Ok(())
    }

    fn end(&self, run: &str, state: &str, seconds: u64) -> Result<()> {
        let end = json!({"run_id": run, "status": state, "end_time": seconds * 1000});
        self.client.post("runs/update", &end).map(drop)
    }
}

/// A name of the letters that the server takes.
fn named(name: &str) -> String {
    let takes = |c: char| c.is_ascii_alphanumeric() || "_-. /".contains(c);
    name.chars().map(|c| if takes(c) { c } else { '_' }).collect()
}
