//! Where artifacts come from: the records behind them, through all that they were made from. Two models are one
//! configuration where these differ in seeds of trainings alone. Unaware of predictions and of the terminal.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::str::FromStr as _;

use pacer_stages::artifact::ArtifactType;
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};
use serde_json::{Map, Value};

use crate::cache::{Cache, StageResult};
use crate::digest::Digest;
use crate::key::encode;

/// Entries of a record that tell how a result was made; its format tells nothing.
const TOLD: [&str; 5] = ["kind", "params", "code", "numeric", "environment"];

/// The results of a store, by key and by what they hold.
pub struct Provenance {
    results: BTreeMap<Digest, StageResult>,
    /// The key behind each artifact.
    made_by: HashMap<Digest, Digest>,
}

/// What a model is, whatever its seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    /// The same for all trainings of it.
    pub id: Digest,
    /// Every leaf of the records behind it, by its path: the slots that lead to a stage, and the parameter.
    pub leaves: BTreeMap<String, String>,
    /// The seed of the training; of several different ones, a number that stands for all of them.
    pub seed: Option<u64>,
}

impl Provenance {
    /// Reads all results of a store. Where several hold the same artifact, the one with a preferred key made it, else
    /// the one with the smallest key; none of those that read it and handed it on.
    pub fn of(cache: &Cache, preferred: &BTreeSet<Digest>) -> Self {
        let keys = keys(cache);
        let read = |key: &Digest| Some((*key, cache.result(key).ok()?));
        let results: BTreeMap<Digest, StageResult> = keys.par_iter().filter_map(read).collect();
        let mut made_by = HashMap::new();
        let (liked, others): (Vec<_>, Vec<_>) = results.values().partition(|result| preferred.contains(&result.key));
        for result in liked.into_iter().chain(others) {
            for artifact in result.artifacts.iter().filter(|artifact| result.made(&artifact.digest)) {
                made_by.entry(artifact.digest).or_insert(result.key);
            }
        }
        Self { results, made_by }
    }

    /// All results.
    pub fn results(&self) -> impl Iterator<Item = &StageResult> {
        self.results.values()
    }

    /// The result that made an artifact.
    pub fn origin(&self, artifact: &Digest) -> Option<&StageResult> {
        self.results.get(self.made_by.get(artifact)?)
    }

    /// What a model is; none where nobody knows how it was made.
    pub fn configuration(&self, model: &Digest) -> Option<Configuration> {
        Some(self.configuration_of(self.origin(model)?))
    }

    /// What the model is that a result holds, or the result itself where its model is not known.
    pub fn configuration_of(&self, result: &StageResult) -> Configuration {
        let mut seeds = Vec::new();
        let id = self.identity(result, &mut seeds, &mut HashMap::new());
        let mut leaves = BTreeMap::new();
        self.tell(result, "", &mut BTreeSet::new(), &mut leaves);
        seeds.sort_unstable();
        seeds.dedup();
        let seed = match seeds.as_slice() {
            [] => None,
            [one] => Some(*one),
            several => {
                let bytes: Vec<u8> = several.iter().flat_map(|seed| seed.to_le_bytes()).collect();
                Digest::of(&bytes).bytes().first_chunk::<4>().map(|first| u32::from_le_bytes(*first).into())
            }
        };
        Configuration { id, leaves, seed }
    }

    /// The digest of a result's record with, in place of the digests of its inputs, the identities of what made them,
    /// and without the seeds of trainings, which are gathered.
    fn identity(&self, result: &StageResult, seeds: &mut Vec<u64>, known: &mut HashMap<Digest, Digest>) -> Digest {
        if let Some(known) = known.get(&result.key) {
            return *known;
        }
        // An artifact that comes out of what is made from it would lead round in a circle.
        known.insert(result.key, result.key);
        let mut record = result.record.as_object().cloned().unwrap_or_default();
        if let Some(seed) = record.get("seed").and_then(Value::as_u64).filter(|_| is_training(result)) {
            seeds.push(seed);
            record.remove("seed");
        }
        if let Some(inputs) = record.get_mut("inputs") {
            replace(inputs, &mut |digest| match self.origin(digest) {
                Some(origin) if origin.key != result.key => Some(self.identity(origin, seeds, known)),
                _ => None,
            });
        }
        let id = Digest::of(&encode(&Value::Object(record)));
        known.insert(result.key, id);
        id
    }

    /// Gathers the leaves of a result's record and of those behind its inputs, each result once.
    fn tell(
        &self,
        result: &StageResult,
        path: &str,
        seen: &mut BTreeSet<Digest>,
        leaves: &mut BTreeMap<String, String>,
    ) {
        if !seen.insert(result.key) {
            return;
        }
        let Some(record) = result.record.as_object() else { return };
        for (entry, value) in record.iter().filter(|(entry, _)| TOLD.contains(&entry.as_str())) {
            // A parameter is known by its own name.
            let entry = if entry == "params" { "" } else { entry.as_str() };
            gather(&joined(path, entry), value, leaves);
        }
        if let Some(seed) = record.get("seed").filter(|_| !is_training(result)) {
            leaves.insert(joined(path, "seed"), seed.to_string());
        }
        let mut inputs = Vec::new();
        record.get("inputs").into_iter().for_each(|value| digests(path, value, &mut inputs));
        for (path, digest) in inputs {
            match self.origin(&digest) {
                Some(origin) => self.tell(origin, &path, seen, leaves),
                None => {
                    leaves.insert(path, digest.short());
                }
            }
        }
    }
}

/// The keys of all results of a store, those that a remote holds among them.
fn keys(cache: &Cache) -> Vec<Digest> {
    let below = |path| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let afar = below(cache.store.path("afar")).flat_map(below).flat_map(below);
    let files = below(cache.store.path("results")).flat_map(below).chain(afar);
    let key = |path: std::path::PathBuf| Digest::from_str(path.file_name()?.to_str()?.strip_suffix(".json")?).ok();
    files.filter_map(key).collect()
}

/// The keys of a store that begin with some digits.
pub fn keys_beginning(cache: &Cache, digits: &str) -> Vec<Digest> {
    let mut keys = keys(cache);
    keys.retain(|key| key.hex().starts_with(digits));
    keys.sort();
    keys
}

/// Whether a result is a trained model, or predictions of one that nobody else made, so that its seed is one of several
/// that a configuration may have.
fn is_training(result: &StageResult) -> bool {
    let of_model = [ArtifactType::Model, ArtifactType::Predictions];
    result.artifacts.iter().any(|artifact| of_model.contains(&artifact.artifact))
}

/// Replaces digests within the inputs of a record.
fn replace(value: &mut Value, with: &mut impl FnMut(&Digest) -> Option<Digest>) {
    match value {
        Value::String(text) => {
            if let Some(new) = Digest::from_str(text).ok().and_then(|digest| with(&digest)) {
                *text = new.hex();
            }
        }
        Value::Object(entries) => entries.values_mut().for_each(|value| replace(value, with)),
        _ => {}
    }
}

/// The digests within the inputs of a record, by path.
fn digests(path: &str, value: &Value, found: &mut Vec<(String, Digest)>) {
    match value {
        Value::String(text) => found.extend(Digest::from_str(text).ok().map(|digest| (path.to_owned(), digest))),
        Value::Object(entries) => sorted(entries).for_each(|(key, value)| digests(&joined(path, key), value, found)),
        _ => {}
    }
}

/// The leaves of a value; a list of plain values is one.
fn gather(path: &str, value: &Value, leaves: &mut BTreeMap<String, String>) {
    let is_plain = |value: &Value| !value.is_object() && !value.is_array();
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, value)| gather(&joined(path, key), value, leaves)),
        Value::Array(items) if !items.iter().all(is_plain) => {
            items.iter().enumerate().for_each(|(at, value)| gather(&format!("{path}[{at}]"), value, leaves));
        }
        leaf => {
            leaves.insert(path.to_owned(), leaf.to_string());
        }
    }
}

fn sorted(entries: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    entries.iter().collect::<BTreeMap<_, _>>().into_iter()
}

fn joined(path: &str, name: &str) -> String {
    match (path.is_empty(), name.is_empty()) {
        (true, _) => name.to_owned(),
        (_, true) => path.to_owned(),
        (false, false) => format!("{path}.{name}"),
    }
}

#[cfg(test)]
mod tests {
    use pacer_stages::stage::Metrics;
    use serde_json::json;

    use super::*;
    use crate::cache::{Artifact, RESULT_VERSION};
    use crate::store::Store;

    /// Keeps a result whose one artifact is named by a word.
    fn keep(cache: &Cache, artifact: ArtifactType, content: &str, record: Value) -> Digest {
        let key = Digest::of(record.to_string().as_bytes());
        let artifact = Artifact {
            name: "it".into(),
            artifact,
            digest: Digest::of(content.as_bytes()),
            bytes: content.len() as u64,
        };
        let result = StageResult {
            v: RESULT_VERSION,
            key,
            record,
            artifacts: vec![artifact],
            metrics: Metrics::new(),
            warnings: Vec::new(),
            seconds: 0.0,
            peak_bytes: None,
            finished: 0,
            sum: None,
        };
        cache.store.write_json(&cache.store.result_path(&key), &result.summed()).unwrap();
        key
    }

    fn digest(content: &str) -> Digest {
        Digest::of(content.as_bytes())
    }

    fn model(cache: &Cache, content: &str, seed: u64, hidden: u64, sequences: &str) {
        let inputs = json!({"sequences": digest(sequences).hex()});
        let params = json!({"hidden": hidden, "features": ["speed", "grade"], "phases": [{"epochs": 3}]});
        let record = json!({"kind": "pretrain", "params": params, "seed": seed, "inputs": inputs});
        keep(cache, ArtifactType::Model, content, record);
    }

    #[test]
    fn a_configuration_is_all_but_the_seeds_of_its_trainings() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(Store::open(folder.path()).unwrap());
        for (content, step) in [("fine", 5.0), ("coarse", 30.0)] {
            let record = json!({"kind": "resample", "params": {"step_s": step}, "seed": 1, "inputs": {}});
            keep(&cache, ArtifactType::Sequences, content, record);
        }
        model(&cache, "a1", 1, 8, "fine");
        model(&cache, "a2", 2, 8, "fine");
        model(&cache, "b1", 1, 16, "fine");
        model(&cache, "c1", 1, 8, "coarse");
        let tune = json!({"kind": "finetune", "params": {}, "seed": 1, "inputs": {"model": digest("a2").hex()}});
        keep(&cache, ArtifactType::Model, "tuned", tune);
        let provenance = Provenance::of(&cache, &BTreeSet::new());
        let of = |content: &str| provenance.configuration(&digest(content)).unwrap();
        assert_eq!(of("a1").id, of("a2").id);
        assert_eq!((of("a1").seed, of("a2").seed), (Some(1), Some(2)));
        assert_eq!(of("a1").leaves, of("a2").leaves);
        assert_eq!(BTreeSet::from(["a1", "b1", "c1", "tuned"].map(|content| of(content).id)).len(), 4);
        let leaves: Vec<_> = of("c1").leaves.into_iter().map(|(path, value)| format!("{path}={value}")).collect();
        let expected = [
            "features=[\"speed\",\"grade\"]",
            "hidden=8",
            "kind=\"pretrain\"",
            "phases[0].epochs=3",
            "sequences.kind=\"resample\"",
            "sequences.seed=1",
            "sequences.step_s=30.0",
        ];
        assert_eq!(leaves, expected);
        assert_eq!(of("tuned").leaves["model.hidden"], "8");
        assert!(of("tuned").seed.is_some_and(|seed| seed > 2), "two seeds are neither of them");
        assert_eq!(provenance.configuration(&digest("unknown")), None);
    }

    #[test]
    fn an_artifact_of_several_results_comes_from_the_preferred_one() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::of(Store::open(folder.path()).unwrap());
        let make = |n: u64| keep(&cache, ArtifactType::File, "same", json!({"kind": "command", "params": {"n": n}}));
        let keys = [make(1), make(2), make(3)];
        for key in keys {
            let provenance = Provenance::of(&cache, &BTreeSet::from([key]));
            assert_eq!(provenance.origin(&digest("same")).unwrap().key, key);
        }
        let smallest = keys.into_iter().min().unwrap();
        assert_eq!(Provenance::of(&cache, &BTreeSet::new()).origin(&digest("same")).unwrap().key, smallest);
        assert_eq!(keys_beginning(&cache, &smallest.hex()[..10]), [smallest]);
    }

    #[test]
    fn who_hands_on_what_it_read_did_not_make_it_whichever_key_is_the_smaller() {
        let mut smaller = BTreeSet::new();
        for n in 0..16 {
            let folder = tempfile::tempdir().unwrap();
            let cache = Cache::of(Store::open(folder.path()).unwrap());
            model(&cache, "best", n, 8, "fine");
            model(&cache, "other", n + 100, 8, "fine");
            let maker = Provenance::of(&cache, &BTreeSet::new()).origin(&digest("best")).unwrap().key;
            let inputs = json!({"models": {"a": digest("best").hex(), "b": digest("other").hex()}});
            let record = json!({"kind": "choose", "params": {"n": n}, "inputs": inputs});
            let copier = keep(&cache, ArtifactType::Model, "best", record);
            let provenance = Provenance::of(&cache, &BTreeSet::from([maker, copier]));
            assert_eq!(provenance.origin(&digest("best")).unwrap().key, maker);
            let of = |content: &str| provenance.configuration(&digest(content)).unwrap().id;
            assert_eq!(of("best"), of("other"), "they differ in their seeds alone");
            smaller.insert(copier < maker);
        }
        assert_eq!(smaller.len(), 2, "both orders of the keys were tried");
    }
}
