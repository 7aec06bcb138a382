//! Watches a run for leaks: what a stage reads is checked as soon as its files are there, also where the stage is reused.
//! Unaware of what leaks.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::cache::{Artifact, Cache};
use crate::cli::leaks::{Contents, tell};
use crate::digest::Digest;
use crate::event::Event;
use crate::executor::Stop;
use crate::graph::{Graph, Source, StageId};
use crate::leakage::evidence::{Content, Evidence, Findings};
use crate::leakage::{self, Check, Lack, Subject, Verdict};

/// Watches a run; a leak that is not meant asks it to stop.
pub struct Watch<'a> {
    graph: &'a Graph,
    cache: &'a Cache,
    contents: Contents<'a>,
    findings: Findings,
    stop: Arc<Stop>,
    ids: BTreeMap<&'a str, StageId>,
    keys: BTreeMap<StageId, Digest>,
    artifacts: RefCell<BTreeMap<StageId, Vec<Artifact>>>,
    gone: BTreeSet<StageId>,
    /// All that is to be checked, with what the checks are about.
    wanted: BTreeMap<Subject, String>,
    /// What is not checked yet, with the stages that it waits for.
    waiting: BTreeMap<Subject, BTreeSet<StageId>>,
    by_graph: Vec<Check>,
    by_data: BTreeMap<Subject, Vec<Check>>,
    /// Leaks that stopped the run.
    pub leaks: Vec<Check>,
}

impl<'a> Watch<'a> {
    /// Begins to watch, with the checks that the graph alone decided.
    pub fn new(graph: &'a Graph, cache: &'a Cache, stop: &Arc<Stop>, by_graph: Vec<Check>) -> Self {
        // Where nothing is divided there is nothing to watch, and of thousands of stages no list is needed.
        let watches = graph.order.iter().any(|id| !leakage::subjects(graph, *id).is_empty());
        let ids = graph.order.iter().filter(|_| watches).map(|id| (graph.stages[*id].name.as_str(), *id)).collect();
        Self {
            graph,
            cache,
            contents: Contents::of(cache),
            findings: if watches { Findings::load(&cache.store) } else { Findings::default() },
            stop: Arc::clone(stop),
            ids,
            keys: BTreeMap::new(),
            artifacts: RefCell::default(),
            gone: BTreeSet::new(),
            wanted: BTreeMap::new(),
            waiting: BTreeMap::new(),
            by_graph,
            by_data: BTreeMap::new(),
            leaks: Vec::new(),
        }
    }

    /// All checks so far.
    pub fn checks(&self) -> Vec<Check> {
        self.by_graph.iter().chain(self.by_data.values().flatten()).cloned().collect()
    }

    /// Takes note of an event.
    pub fn see(&mut self, event: &Event) {
        let stage = match event {
            Event::Done { .. } => return self.end(),
            Event::Running { stage, .. }
            | Event::Reused { stage, .. }
            | Event::Finished { stage, .. }
            | Event::Failed { stage, .. }
            | Event::Skipped { stage, .. }
            | Event::Brought { stage, .. } => stage,
            _ => return,
        };
        let Some(id) = self.ids.get(stage.as_str()).copied() else { return };
        match event {
            Event::Reused { key, .. } => {
                self.settle(id, Some(*key));
                self.want(id);
            }
            Event::Finished { key, .. } => self.settle(id, Some(*key)),
            Event::Failed { .. } | Event::Skipped { .. } => self.settle(id, None),
            Event::Brought { .. } => {
                let subjects = leakage::subjects(self.graph, id).into_iter().map(|(subject, _)| subject);
                subjects.collect::<Vec<_>>().into_iter().for_each(|subject| self.want_again(subject));
            }
            _ => self.want(id),
        }
        self.check_ready();
    }

    /// What came meanwhile can be told now; what never came is noted as not checked.
    fn end(&mut self) {
        let checked: Vec<Subject> = self.by_data.keys().cloned().collect();
        checked.into_iter().for_each(|subject| self.want_again(subject));
        self.waiting.values_mut().for_each(BTreeSet::clear);
        self.check_ready();
        self.findings.save(&self.cache.store);
    }

    /// Nothing waits any longer for a stage that has a result, or will have none.
    fn settle(&mut self, id: StageId, key: Option<Digest>) {
        match key {
            Some(key) => {
                self.keys.insert(id, key);
                // Of what was reused from the remote and then made here, as it is now.
                self.artifacts.get_mut().remove(&id);
            }
            None => _ = self.gone.insert(id),
        }
        self.waiting.values_mut().for_each(|waits| _ = waits.remove(&id));
    }

    /// What is wanted for a stage waits for the files that its checks read.
    fn want(&mut self, id: StageId) {
        for (subject, about) in leakage::subjects(self.graph, id) {
            if self.wanted.contains_key(&subject) {
                continue;
            }
            let mut waits = leakage::basis(self.graph, &subject, &self.gone);
            waits.retain(|id| !self.keys.contains_key(id));
            self.waiting.insert(subject.clone(), waits);
            self.wanted.insert(subject, about);
        }
    }

    /// What was checked without its files is checked again.
    fn want_again(&mut self, subject: Subject) {
        let lacks = |check: &Check| check.lacks == Some(Lack::Data);
        if self.by_data.get(&subject).is_some_and(|checks| checks.iter().any(lacks)) {
            self.waiting.insert(subject, BTreeSet::new());
        }
    }

    /// Checks what waits for nothing. A stage may be told to run before those are told to have finished that handed their
    /// files on to it.
    fn check_ready(&mut self) {
        let ready = self.waiting.iter().filter(|(_, waits)| waits.is_empty());
        for subject in ready.map(|(subject, _)| subject.clone()).collect::<Vec<_>>() {
            self.waiting.remove(&subject);
            self.check(subject);
        }
    }

    fn check(&mut self, subject: Subject) {
        let find = |source: &Source| self.find(source);
        let evidence = Evidence { find: &find, gone: &self.gone, findings: &self.findings };
        let checks = leakage::of_subject(self.graph, &subject, &self.wanted[&subject], &evidence);
        let before = self.by_data.insert(subject, checks.clone()).unwrap_or_default();
        let leaks = checks.into_iter().filter(|check| check.verdict == Verdict::Leak && !before.contains(check));
        for leak in leaks {
            // What the graph shows was told before.
            let is_same = |known: &Check| (known.name, &known.about) == (leak.name, &leak.about);
            if !self.by_graph.iter().any(|known| known.verdict == Verdict::Leak && is_same(known)) {
                tell(&leak);
            }
            if leak.stops() {
                // To ask twice would kill what shall stop in order.
                if self.leaks.is_empty() {
                    self.stop.request();
                }
                self.leaks.push(leak);
            }
        }
    }

    fn find(&self, source: &Source) -> Option<Content> {
        let (id, name) = match source {
            Source::File(path) => return self.contents.file(path),
            Source::Output(id, name) => (id, name),
        };
        let mut known = self.artifacts.borrow_mut();
        if !known.contains_key(id) {
            known.insert(*id, self.cache.result(self.keys.get(id)?).ok()?.artifacts);
        }
        let artifact = known[id].iter().find(|artifact| artifact.name == *name)?;
        Some(self.contents.artifact(artifact))
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

    #[test]
    fn what_was_found_is_known_without_reading_it_again() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, events) = leaking(folder.path());
        let graph = resolve(&folder.path().join("pipeline.toml"), PIPELINE, &Overrides::default()).unwrap();
        let done = Event::Done {
            run: "run".into(),
            ran: 3,
            reused: 0,
            failed: 0,
            passed_over: 0,
            skipped: 0,
            interrupted: false,
            seconds: 1.0,
        };
        let verdicts = || {
            let mut watch = Watch::new(&graph, &cache, &Arc::new(Stop::default()), Vec::new());
            events.iter().chain([&done]).for_each(|event| watch.see(event));
            watch.checks()
        };
        let found = verdicts();
        std::fs::remove_dir_all(cache.store.path("objects")).unwrap();
        assert_eq!(verdicts(), found);
        std::fs::remove_file(cache.store.path("index/leaks")).unwrap();
        assert!(verdicts().iter().all(|check| check.lacks == Some(Lack::Data)));
    }

    /// Models trained under two splits of a sweep, scored together under a third.
    const GATHERING: &str = r#"
[stages.other]
kind = "command"
inputs.files = { of = "sequences" }
outputs = { it = "split" }
[stages.other.sweep]
run = [["make", "{outputs.it}", "1"], ["make", "{outputs.it}", "2"]]
[stages.evaluate]
kind = "evaluate"
inputs = { sequences = "sequences", split = "split", models = { mean = "mean" } }
"#;

    #[test]
    fn what_gathers_trials_is_checked_without_those_that_failed() {
        let folder = tempfile::tempdir().unwrap();
        let (cache, [sequences, split, _]) = leaking(folder.path());
        let text = PIPELINE.replace("split = \"split\" }", "split = \"other\" }") + GATHERING;
        let graph = resolve(&folder.path().join("pipeline.toml"), &text, &Overrides::default()).unwrap();
        let name = |group: &str, at: usize| graph.stages[graph.named(group)[at]].name.clone();
        let parts = BTreeMap::from([(2, (Part::Train, 2))]);
        Split { by: SplitBy::User, parts }.write(&folder.path().join("other")).unwrap();
        let other = keep(&cache, &name("other", 0), ArtifactType::Split, &folder.path().join("other"));
        let skipped = |stage: String| Event::Skipped { stage, because: "it failed".into() };
        let running = Event::Running {
            stage: "evaluate".into(),
            kind: "evaluate".into(),
            key: Digest::of(b"evaluate"),
            reason: String::new(),
            device: "cpu".into(),
        };
        let gone = [skipped(name("other", 1)), skipped(name("mean", 1))];
        let mut watch = Watch::new(&graph, &cache, &Arc::new(Stop::default()), Vec::new());
        for event in [sequences, split, other].into_iter().chain(gone).chain([running]) {
            watch.see(&event);
        }
        let seen: Vec<_> = watch.checks().into_iter().filter(|check| check.name == leakage::Name::Seen).collect();
        let about =
            format!("evaluate:{}", graph.stages[graph.find("evaluate").unwrap()].inputs[0].name.as_ref().unwrap());
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert_eq!((seen[0].verdict, &seen[0].about), (Verdict::Leak, &about));
    }
}
