//! What a run reached: its stages with their results, in the run's order. Unaware of where they are exported to.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use pacer_stages::artifact::ArtifactType;
use pacer_stages::table::{Table, Values};
use serde_json::Value;

use crate::cache::{Cache, StageResult};
use crate::event::Event;
use crate::journal::{self, Summary};

/// The word for the newest run.
const LATEST: &str = "latest";

/// A run with all that it reached.
pub struct Reached {
    /// What it came to.
    pub summary: Summary,
    /// Its stages that ended well, in the order of the run, with their results.
    pub stages: Vec<(String, StageResult)>,
    /// Stages whose results are not in the store any more.
    pub gone: Vec<String>,
}

/// The curves of a training: for each epoch, numbers by name.
pub type Curves = Vec<(i64, Vec<(String, f64)>)>;

/// Finds a run: by its id, by the beginning of one, or the newest by `latest`.
pub fn find(cache: &Cache, name: &str) -> Result<Reached> {
    let runs = journal::runs(&cache.store);
    let meant: Vec<&String> = match name {
        LATEST => runs.iter().take(1).collect(),
        _ => runs.iter().filter(|run| run.starts_with(name)).collect(),
    };
    let run = match meant.as_slice() {
        [one] => one.as_str(),
        [] if runs.is_empty() => bail!("the store `{}` holds no run", cache.store.root().display()),
        [] => bail!("there is no run `{name}`: `pacer pin` lists the runs, and `{LATEST}` is the newest"),
        many => bail!("`{name}` begins {} runs: write more of the name", many.len()),
    };
    read(cache, run)
}

fn read(cache: &Cache, run: &str) -> Result<Reached> {
    let summary = journal::summary(&cache.store, run).with_context(|| format!("the summary of `{run}` is gone"))?;
    let keys = journal::keys(&cache.store, run);
    let order = journal::events(&cache.store, run)?.into_iter().find_map(|event| match event {
        Event::Started { stages, .. } => Some(stages),
        _ => None,
    });
    let (mut stages, mut gone) = (Vec::new(), Vec::new());
    for stage in order.unwrap_or_else(|| keys.keys().cloned().collect()) {
        match keys.get(&stage).map(|key| cache.result(key)) {
            Some(Ok(result)) => stages.push((stage, result)),
            Some(Err(_)) => gone.push(stage),
            // It failed or was not run.
            None => {}
        }
    }
    Ok(Reached { summary, stages, gone })
}

/// The numbers of a tree of figures, by their paths with `/` between the parts; figures that are no numbers are left.
pub fn numbers(figures: &Value) -> BTreeMap<String, f64> {
    let mut found = BTreeMap::new();
    gather("", figures, &mut |path, leaf| {
        if let Some(number) = leaf.as_f64().filter(|number| number.is_finite()) {
            found.insert(path, number);
        }
    });
    found
}

/// The parameters of a result as texts, by their paths with `.` between the parts.
pub fn parameters(result: &StageResult) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    gather("", &result.record["params"], &mut |path, leaf| {
        let text = leaf.as_str().map_or_else(|| leaf.to_string(), str::to_owned);
        found.insert(path.replace('/', "."), text);
    });
    if let Some(seed) = result.record.get("seed").filter(|seed| !seed.is_null()) {
        found.insert("seed".into(), seed.to_string());
    }
    found
}

/// Calls for each leaf; lists are leaves.
fn gather(path: &str, value: &Value, take: &mut dyn FnMut(String, &Value)) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            gather(&path, value, take);
        }),
        Value::Null => {}
        leaf => take(path.to_owned(), leaf),
    }
}

/// The curves of a training, where the result is one: its table with a column `epoch`.
pub fn curves(cache: &Cache, result: &StageResult) -> Result<Option<Curves>> {
    for artifact in result.artifacts.iter().filter(|artifact| artifact.artifact == ArtifactType::Table) {
        let table = Table::read(&cache.blob(artifact)?)?;
        let Ok(Values::Int(epochs)) = table.column("epoch") else { continue };
        let of_row = |row: usize| {
            let numbers = table.columns().iter().filter_map(move |column| match &column.values {
                Values::Float(values) => Some((column.name.clone(), values[row]?)),
                Values::Int(_) | Values::Text(_) | Values::Flag(_) => None,
            });
            numbers.filter(|(_, number)| number.is_finite()).collect()
        };
        let rows = epochs.iter().enumerate().filter_map(|(row, epoch)| Some(((*epoch)?, of_row(row))));
        return Ok(Some(rows.collect()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn figures_become_numbers_by_their_paths() {
        let found = numbers(&json!({"lstm": {"mae": 4.5, "split": "user"}, "n": 3, "none": null}));
        assert_eq!(found, BTreeMap::from([("lstm/mae".into(), 4.5), ("n".into(), 3.0)]));
    }
}
