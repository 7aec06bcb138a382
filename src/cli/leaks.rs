//! What `plan` and `run` do about leaks: they tell them, and one that is not meant stops the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use crate::cache::Cache;
use crate::digest::Digest;
use crate::engine::plan::Plan;
use crate::event::Event;
use crate::executor::Stop;
use crate::graph::{Graph, StageId};
use crate::leakage::{self, Check, Verdict};
use crate::ui::output::{self, BAD, FAINT, GOOD, ODD, paint};

/// What the checks of a plan come to, from the graph and from the data that is here.
pub fn of_plan(graph: &Graph, needed: &[bool], plan: &Plan, cache: &Cache) -> Vec<Check> {
    let locate = |id: StageId, artifact: &str| {
        let digest = plan.results.get(&id)?.artifact(artifact).ok()?.digest;
        // What the remote alone has was checked by whoever made it.
        Some(cache.store.object_path(&digest)).filter(|path| path.exists())
    };
    leakage::checks(graph, needed, &locate)
}

/// Tells on stdout what the checks of a plan came to: each that is not in order, and how many are.
pub fn tell_plan(checks: &[Check]) {
    if checks.is_empty() {
        return;
    }
    let count = |verdict: Verdict| checks.iter().filter(|check| check.verdict == verdict).count();
    let leaks: String =
        checks.iter().filter(|check| check.verdict == Verdict::Leak).map(|check| line(check) + "\n").collect();
    let later = match count(Verdict::NotChecked) {
        0 => String::new(),
        later => format!(", {later} when the data is there"),
    };
    let style = if count(Verdict::Leak) > 0 { BAD } else { GOOD };
    let sum = format!("{} tight, {} leak{later}", count(Verdict::Tight), count(Verdict::Leak));
    output::print(&format!("{leaks}{}: {sum}\n", paint(style, "leakage")));
}

/// Whether the graph alone shows a leak that is not meant, which is then told.
pub fn stopped_by_graph(graph: &Graph, needed: &[bool]) -> bool {
    let checks = leakage::of_graph(graph, needed);
    checks.iter().filter(|check| check.verdict == Verdict::Leak).for_each(tell);
    checks.iter().any(Check::stops)
}

fn tell(check: &Check) {
    output::say(&line(check));
    if check.stops() {
        let remedy =
            format!("where that is meant, say why: [pipeline] allow_leak = {{ {} = \"…\" }}", check.name.name());
        output::say(&format!("  {}", paint(FAINT, &remedy)));
    }
}

fn line(check: &Check) -> String {
    let (name, Check { about, words, .. }) = (check.name.name(), check);
    match &check.allowed {
        Some(reason) => format!("{} ({name}) in `{about}`: {words}; allowed: {reason}", paint(ODD, "! leak")),
        None => format!("{} ({name}) in `{about}`: {words}", paint(BAD, "✗ leak")),
    }
}

/// Watches a run: as soon as a stage reads a split, the split is checked; as soon as one scores, its models are.
pub struct Watch<'a> {
    graph: &'a Graph,
    cache: &'a Cache,
    stop: Arc<Stop>,
    ids: BTreeMap<&'a str, StageId>,
    keys: BTreeMap<StageId, Digest>,
    wanted: BTreeSet<StageId>,
    checked: BTreeSet<StageId>,
    /// All checks that were made.
    pub made: Vec<Check>,
    /// Leaks that stopped the run.
    pub leaks: Vec<Check>,
}

impl<'a> Watch<'a> {
    /// Begins to watch, with the checks that were made before; a leak asks the run to stop.
    pub fn new(graph: &'a Graph, cache: &'a Cache, stop: &Arc<Stop>, made: Vec<Check>) -> Self {
        // Without a split there is nothing to watch, and of thousands of stages no list is needed.
        let divides = graph.order.iter().any(|id| leakage::divides(graph, *id));
        let ids = graph.order.iter().filter(|_| divides).map(|id| (graph.stages[*id].name.as_str(), *id)).collect();
        let (keys, wanted, checked) = Default::default();
        Self { graph, cache, stop: Arc::clone(stop), ids, keys, wanted, checked, made, leaks: Vec::new() }
    }

    /// Takes note of an event.
    pub fn see(&mut self, event: &Event) {
        match event {
            Event::Reused { stage, key, .. } | Event::Finished { stage, key, .. } => {
                let Some(id) = self.ids.get(stage.as_str()) else { return };
                self.keys.insert(*id, *key);
            }
            Event::Running { stage, .. } => {
                let Some(id) = self.ids.get(stage.as_str()).copied() else { return };
                let splits = leakage::splits_of(self.graph, id);
                // A stage that reads no split has nothing to be watched for.
                if splits.is_empty() {
                    return;
                }
                self.wanted.extend(splits);
                self.wanted.extend(leakage::is_scoring(self.graph, id).then_some(id));
            }
            // Splits that were not here when the stage began can be checked now.
            Event::Brought { stage, .. } => {
                let Some(id) = self.ids.get(stage.as_str()).copied() else { return };
                let again: Vec<_> = leakage::splits_of(self.graph, id).into_iter().chain([id]).collect();
                self.checked.retain(|id| !again.contains(id));
            }
            // What never came is noted as not checked.
            Event::Done { .. } => {
                let rest: Vec<StageId> = self.wanted.difference(&self.checked).copied().collect();
                return self.check(&rest);
            }
            _ => return,
        }
        // A stage may be told to run before those are told to have finished that handed their files on to it.
        let has_basis = |id: &StageId| leakage::basis(self.graph, *id).iter().all(|id| self.keys.contains_key(id));
        let ready: Vec<StageId> = self.wanted.difference(&self.checked).copied().filter(has_basis).collect();
        self.check(&ready);
    }

    /// Makes the checks of some stages, as far as their files are there.
    fn check(&mut self, stages: &[StageId]) {
        for &id in stages {
            let locate = |id: StageId, artifact: &str| self.locate(id, artifact);
            let checks = match leakage::divides(self.graph, id) {
                true => leakage::of_split(self.graph, id, &locate),
                false => leakage::of_scoring(self.graph, id, &locate),
            };
            self.checked.insert(id);
            // What the graph shows was told before.
            let told =
                |check: &&Check| check.name == leakage::Name::Users && self.graph.stages[id].params["by"] == "workout";
            let is_news = |check: &&Check| check.verdict == Verdict::Leak && !told(check);
            checks.iter().filter(is_news).for_each(tell);
            self.made.extend(checks.iter().cloned());
            let stopping: Vec<Check> = checks.into_iter().filter(Check::stops).collect();
            if !stopping.is_empty() && self.leaks.is_empty() {
                self.stop.request();
            }
            self.leaks.extend(stopping);
        }
    }

    fn locate(&self, id: StageId, artifact: &str) -> Option<PathBuf> {
        let result = self.cache.result(self.keys.get(&id)?).ok()?;
        let artifact = result.artifacts.iter().find(|found| found.name == artifact)?;
        Some(self.cache.store.object_path(&artifact.digest)).filter(|path| path.exists())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use pacer_stages::artifact::ArtifactType;
    use pacer_stages::sequences::{DataSource, Grid, Header, Sequences};
    use pacer_stages::split::{Part, Split, SplitBy};

    use super::*;
    use crate::cache::{Artifact, RESULT_VERSION, StageResult};
    use crate::resolve::{Overrides, resolve};
    use crate::store::Store;

    const PIPELINE: &str = r#"
[pipeline]
[stages.sequences]
kind = "command"
run = ["make", "{outputs.it}"]
outputs = { it = "sequences" }
[stages.split]
kind = "command"
inputs.files = { of = "sequences" }
run = ["make", "{outputs.it}"]
outputs = { it = "split" }
[stages.mean]
kind = "baseline"
inputs = { sequences = "sequences", split = "split" }
model = "constant"
"#;

    /// Keeps the result of a stage whose one artifact is called `it`.
    fn keep(cache: &Cache, stage: &str, artifact: ArtifactType, file: &Path) -> Event {
        let key = Digest::of(stage.as_bytes());
        let (digest, bytes) = cache.store.adopt(file).unwrap();
        let result = StageResult {
            v: RESULT_VERSION,
            key,
            record: serde_json::json!({}),
            artifacts: vec![Artifact { name: "it".into(), artifact, digest, bytes }],
            metrics: Default::default(),
            warnings: Vec::new(),
            seconds: 1.0,
            peak_bytes: None,
            finished: 0,
            sum: None,
        };
        cache.store.write_json(&cache.store.result_path(&key), &result.summed()).unwrap();
        Event::Finished { stage: stage.into(), key, seconds: 1.0, metrics: Default::default() }
    }

    /// Two workouts whose speed is their heart rate.
    fn leaking(folder: &Path) -> (Cache, [Event; 3]) {
        let cache = Cache::of(Store::open(&folder.join("store")).unwrap());
        let header =
            Header { features: vec!["speed".into()], grid: Grid::Time { step_s: 1.0 }, data: DataSource::Recorded };
        let rates = vec![110.0, 120.0, 140.0, 150.0];
        let sequences = Sequences {
            workout: vec![1, 2],
            user: vec![1, 2],
            start: vec![0, 0],
            offsets: vec![0, 2, 4],
            real: vec![1; 4].into(),
            valid: vec![1; 4].into(),
            time: vec![0.0, 1.0, 0.0, 1.0].into(),
            features: rates.clone().into(),
            target: rates.into(),
            ..Sequences::empty(header)
        };
        sequences.write(&folder.join("sequences")).unwrap();
        let parts = BTreeMap::from([(1, (Part::Train, 1)), (2, (Part::Test, 2))]);
        Split { by: SplitBy::User, parts }.write(&folder.join("split")).unwrap();
        let running = Event::Running {
            stage: "mean".into(),
            kind: "baseline".into(),
            key: Digest::of(b"mean"),
            reason: String::new(),
            device: "cpu".into(),
        };
        let sequences = keep(&cache, "sequences", ArtifactType::Sequences, &folder.join("sequences"));
        let split = keep(&cache, "split", ArtifactType::Split, &folder.join("split"));
        (cache, [sequences, split, running])
    }

    #[test]
    fn a_leak_stops_the_run_in_whatever_order_its_stages_are_told_to_have_finished() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, events) = leaking(folder.path());
        let graph = resolve(&folder.path().join("pipeline.toml"), PIPELINE, &Overrides::default()).unwrap();
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let stop = Arc::new(Stop::default());
            let mut watch = Watch::new(&graph, &cache, &stop, Vec::new());
            order.iter().for_each(|at| watch.see(&events[*at]));
            let found: Vec<_> = watch.leaks.iter().map(|leak| leak.name).collect();
            assert_eq!((found, stop.requested()), (vec![leakage::Name::Target], true), "{order:?}");
        }
    }
}
