//! The kind `choose`: the best of many models by their figures on the validation part. Unaware of how models were
//! made and of how they were scored.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::artifact::{Arity, ArtifactType, InputPort, OutputPort};
use crate::ranking::{Better, Configuration, Noise, Tried, rank};
use crate::stage::{Context, Metrics, ParameterFault, Run, Stage};
use crate::statistics::rounded;
use crate::table::{Column, Table};

/// Chooses among models by figures of the validation part, so that the test part is touched once, by the chosen one.
///
/// Reads models by name and the metrics of one or more `evaluate` stages on the validation part, in which each model
/// stands under the same name. Trials of a sweep that differ in their seed alone are one configuration; the one with
/// the best mean is chosen, and of its trials the one in the middle (or the best, which is then also chosen for luck).
///
/// Writes the chosen model and the ranking of all configurations. Times are no part of it: they would differ from run
/// to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Choose {
    /// The figure to choose by.
    pub metric: String,
    /// `lowest` or `highest`; when left out, `highest` for `r2` and `skill` and `lowest` for all others.
    pub better: Option<Better>,
    /// Swept parameters over which trials are repeated rather than chosen.
    pub over: Vec<String>,
    /// Which trial of the best configuration: the one in the middle (of two, the better), or the best.
    pub pick: Pick,
}

/// Which trial of a configuration stands for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// The one in the middle: as good as the configuration usually is.
    #[default]
    Median,
    /// The best one.
    Best,
}

impl Default for Choose {
    fn default() -> Self {
        Self { metric: "mae".into(), better: None, over: vec!["seed".into()], pick: Pick::Median }
    }
}

impl Choose {
    /// The chosen model.
    pub const MODEL: OutputPort = OutputPort::fixed("model", ArtifactType::Model, "the chosen model, byte for byte");
    /// The ranking.
    pub const RANKING: OutputPort = OutputPort::fixed(
        "ranking",
        ArtifactType::Table,
        "one row for each configuration, the best first: trials, mean and standard deviation of the figure",
    );
}

impl Stage for Choose {
    const NAME: &'static str = "choose";
    const INPUTS: &'static [InputPort] = &[
        InputPort {
            name: "models",
            accepts: &[ArtifactType::Model],
            arity: Arity::Named,
            doc: "the models to choose from; the name of a swept stage gathers all its trials",
        },
        InputPort {
            name: "metrics",
            accepts: &[ArtifactType::Metrics],
            arity: Arity::Named,
            doc: "figures of these models by the same names, from `evaluate` with `part = \"validation\"`",
        },
    ];
    const OUTPUTS: &'static [OutputPort] = &[Self::MODEL, Self::RANKING];

    fn check(&self) -> Vec<ParameterFault> {
        let empty = self.metric.is_empty().then(|| ParameterFault::new("metric", "no figure is named"));
        empty.into_iter().collect()
    }
}

impl Run for Choose {
    fn run(&self, context: &Context<'_>) -> Result<Metrics> {
        let figures = self.figures(context)?;
        let better = self.better.unwrap_or_else(|| Better::of(&self.metric));
        let trials: Vec<_> = figures.iter().map(|(name, value)| Tried::new(name, &self.over, *value)).collect();
        let ranked = rank(&trials, better);
        let best = ranked.first().context("no model has a figure to choose by")?;
        let chosen = match self.pick {
            Pick::Median => best.median(),
            Pick::Best => best.trials[0],
        };
        let (name, value) = &figures[chosen];
        let path = context.job.named_inputs("models").find(|(model, _)| model == name).map(|(_, path)| path);
        let path = path.expect("figures were looked up by the models' names");
        let out = context.output(&Self::MODEL);
        let written = std::fs::read(path).and_then(|bytes| std::fs::write(&out, bytes));
        written.with_context(|| format!("the model `{name}` cannot be copied"))?;
        table(&ranked)?.write(&context.output(&Self::RANKING))?;
        let noise = Noise::of(&ranked);
        context.log(noise.sentence());
        Ok(told(name, *value, best, &ranked, &noise))
    }
}

impl Choose {
    /// The figure of each model, in the order of their names.
    fn figures(&self, context: &Context<'_>) -> Result<Vec<(String, f64)>> {
        let mut known: BTreeMap<String, Value> = BTreeMap::new();
        for (source, path) in context.job.named_inputs("metrics") {
            let text = std::fs::read(path).with_context(|| format!("`{}` cannot be read", path.display()))?;
            let metrics: BTreeMap<String, Value> = serde_json::from_slice(&text)
                .with_context(|| format!("`metrics.{source}` holds no figures by name"))?;
            for (name, figures) in metrics {
                refuse_other_parts(&name, &figures, source)?;
                // The constant stands beside every evaluation.
                known.entry(name).or_insert(figures);
            }
        }
        let mut found = Vec::new();
        for (name, _) in context.job.named_inputs("models") {
            let figures = known.get(name).with_context(|| {
                format!("the model `{name}` has no figures in `metrics`: evaluate it there under this name")
            })?;
            match figures.get(&self.metric) {
                None => bail!("the figures of `{name}` have no `{}`: {}", self.metric, names(figures)),
                Some(value) => match value.as_f64().filter(|value| value.is_finite()) {
                    Some(value) => found.push((name.to_owned(), value)),
                    None => context.warn(format!("`{}` of `{name}` is no number: it is left out", self.metric)),
                },
            }
        }
        Ok(found)
    }
}

/// Figures of any part but the validation part must not choose.
fn refuse_other_parts(name: &str, figures: &Value, source: &str) -> Result<()> {
    match figures.get("part").and_then(Value::as_str) {
        None | Some("validation") => Ok(()),
        Some(part) => bail!(
            "the figures of `{name}` in `metrics.{source}` are of the {part} part, by which nothing may be chosen: \
             wire an `evaluate` with `part = \"validation\"`"
        ),
    }
}

fn names(figures: &Value) -> String {
    let names = figures.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
    format!("it has {}", names.collect::<Vec<_>>().join(", "))
}

fn table(ranked: &[Configuration]) -> Result<Table> {
    Table::new(vec![
        Column::int("rank", (1..=ranked.len()).map(|rank| rank as i64)),
        Column::text("configuration", ranked.iter().map(|it| it.name.as_str())),
        Column::int("n", ranked.iter().map(|it| it.trials.len() as i64)),
        Column::float("mean", ranked.iter().map(|it| rounded(it.mean))),
        Column::float("sd", ranked.iter().map(|it| it.sd.map(rounded))),
    ])
}

fn told(name: &str, value: f64, best: &Configuration, ranked: &[Configuration], noise: &Noise) -> Metrics {
    let figures = [
        ("chosen", json!(name)),
        ("configuration", json!(best.name)),
        ("figure", json!(rounded(value))),
        ("mean", json!(rounded(best.mean))),
        ("sd", json!(best.sd.map(rounded))),
        ("n", json!(best.trials.len())),
        ("configurations", json!(ranked.len())),
        ("second", json!(ranked.get(1).map(|second| second.name.as_str()))),
        ("margin", json!(noise.margin.map(rounded))),
        ("standard_error", json!(noise.standard_error.map(rounded))),
        ("least", json!(noise.least.map(rounded))),
        ("alike", json!(noise.alike)),
        ("noise", json!(noise.sentence())),
    ];
    figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Device, JOB_VERSION, Job, Slot};
    use std::sync::atomic::AtomicBool;

    fn choose(stage: &Choose, metrics: &Value) -> (Result<Metrics>, String) {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let names = ["m[b=8,seed=1]", "m[b=8,seed=2]", "m[b=8,seed=3]", "m[b=16,seed=1]", "m[b=16,seed=2]"];
        let models = names.into_iter().enumerate().map(|(at, name)| (name.to_owned(), file(&at.to_string(), name)));
        let inputs = BTreeMap::from([
            ("models".to_owned(), Slot::Named(models.collect())),
            ("metrics".to_owned(), Slot::Named([("v".to_owned(), file("metrics", &metrics.to_string()))].into())),
        ]);
        let job = Job {
            v: JOB_VERSION,
            kind: "choose".into(),
            code: String::new(),
            params: Value::Null,
            inputs,
            out: folder.path().to_owned(),
            partial: folder.path().join("partial"),
            checkpoints: crate::job::Checkpoints::default(),
            seed: 0,
            device: Device::Cpu,
            threads: 1,
        };
        let context = Context { job: &job, sink: &|_| {}, cancelled: &AtomicBool::new(false) };
        let told = stage.run(&context);
        (told, std::fs::read_to_string(folder.path().join("model.safetensors")).unwrap_or_default())
    }

    fn metrics(part: &str) -> Value {
        let figures =
            [("b=8,seed=1", 5.0), ("b=8,seed=2", 4.0), ("b=8,seed=3", 6.0), ("b=16,seed=1", 3.0), ("b=16,seed=2", 8.0)];
        let row = |(name, mae): (&str, f64)| (format!("m[{name}]"), json!({"mae": mae, "r2": -mae, "part": part}));
        Value::Object(figures.map(row).into_iter().collect())
    }

    #[test]
    fn the_best_mean_over_seeds_is_chosen_and_its_middle_trial_written() {
        let (told, model) = choose(&Choose::default(), &metrics("validation"));
        let told = told.unwrap();
        assert_eq!((told["configuration"].as_str(), told["chosen"].as_str()), (Some("m[b=8]"), Some("m[b=8,seed=1]")));
        assert_eq!((model.as_str(), told["configurations"].as_u64()), ("m[b=8,seed=1]", Some(2)));
        let best = Choose { pick: Pick::Best, metric: "r2".into(), ..Choose::default() };
        assert_eq!(choose(&best, &metrics("validation")).1, "m[b=8,seed=2]");
        let single = Choose { over: Vec::new(), ..Choose::default() };
        assert_eq!(choose(&single, &metrics("validation")).1, "m[b=16,seed=1]");
    }

    #[test]
    fn figures_of_the_test_part_and_models_without_figures_are_refused() {
        let (told, _) = choose(&Choose::default(), &metrics("test"));
        assert!(told.unwrap_err().to_string().contains("by which nothing may be chosen"));
        let (told, _) = choose(&Choose::default(), &json!({"m[b=8,seed=1]": {"mae": 1.0}}));
        assert!(told.unwrap_err().to_string().contains("has no figures in `metrics`"));
        let other = Choose { metric: "speed".into(), ..Choose::default() };
        assert!(
            choose(&other, &metrics("validation")).0.unwrap_err().to_string().contains("have no `speed`: it has mae")
        );
    }
}
