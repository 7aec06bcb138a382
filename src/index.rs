//! What a pipeline's recent runs found, stage by stage, so that the next look needs no result file to be read, and
//! so that an explanation knows what to compare with. It decides nothing: a store without it reuses and reruns the
//! same, but explains less.
//! Unaware of graphs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Found, Hit};
use crate::digest::Digest;
use crate::journal;
use crate::store::Store;

/// Version of the file; one of another version is left aside.
const VERSION: u32 = 2;

/// Results of a stage that are remembered, newest first.
const REMEMBERED: usize = 8;

/// Results of which so few are looked at one by one.
const FEW: usize = 200;

/// The memory of one pipeline.
#[derive(Debug, Default)]
pub struct Index {
    path: PathBuf,
    place: PathBuf,
    file: IndexFile,
    /// Keys of runs that were killed, once somebody has asked for them.
    lost: Option<BTreeMap<String, Vec<Digest>>>,
    /// Keys whose results were seen to hold a moment ago.
    looked: HashSet<Digest>,
    changed: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct IndexFile {
    v: u32,
    /// The run that wrote it.
    run: String,
    stages: HashMap<String, Vec<Hit>>,
}

impl Index {
    /// Where a store keeps the index of the pipeline of this name and place.
    pub fn path_of(store: &Store, pipeline: &str, place: &Path) -> PathBuf {
        let name = Digest::of(format!("{pipeline}\n{}", place.display()).as_bytes()).hex();
        store.path("index").join(&name[..16])
    }

    /// Reads what a store remembers of the pipeline of this name and place.
    pub fn load(store: &Store, pipeline: &str, place: &Path) -> Self {
        let place = std::path::absolute(place).unwrap_or_else(|_| place.to_owned());
        let path = Self::path_of(store, pipeline, &place);
        let known = store.recall(&path).filter(|file: &IndexFile| file.v == VERSION);
        let file = known.unwrap_or_default();
        Self { path, place, file, lost: None, looked: HashSet::new(), changed: false }
    }

    /// Looks a key up, in memory first; the same answer as [`Cache::find`], which it learns from.
    pub fn find(&mut self, stage: &str, key: &Digest, cache: &Cache) -> Found {
        let known = self.file.stages.get(stage).into_iter().flatten().find(|hit| hit.key == *key);
        if let Some(hit) = known.filter(|hit| self.looked.contains(key) || cache.still_holds(hit)) {
            return Found::Hit(hit.clone());
        }
        let found = cache.find(key);
        if let Found::Hit(hit) = &found {
            self.learn(stage, hit);
        }
        found
    }

    /// Looks on all threads whether the newest results still hold, for those who are about to ask for most of them.
    pub fn look_ahead(&mut self, cache: &Cache) {
        let newest: Vec<_> = self.file.stages.values().filter_map(|hits| hits.first()).collect();
        if newest.len() > FEW {
            self.looked = newest.par_iter().filter(|hit| cache.still_holds(hit)).map(|hit| hit.key).collect();
        }
    }

    /// Forgets what was looked at ahead: from now on time passes between one question and the next.
    pub fn look_again(&mut self) {
        self.looked.clear();
    }

    /// Remembers the newest result of a stage.
    pub fn learn(&mut self, stage: &str, hit: &Hit) {
        let known = self.file.stages.entry(stage.to_owned()).or_default();
        if known.first() == Some(hit) {
            return;
        }
        known.retain(|other| other.key != hit.key);
        known.insert(0, hit.clone());
        known.truncate(REMEMBERED);
        self.changed = true;
    }

    /// Keys that a stage had, newest first; also those of runs that were killed.
    pub fn earlier(&mut self, stage: &str, store: &Store) -> Vec<Digest> {
        let (place, run) = (&self.place, &self.file.run);
        let lost = self.lost.get_or_insert_with(|| journal::unwritten_keys(store, place, run));
        let lost = lost.get(stage).into_iter().flatten().copied();
        let known = self.file.stages.get(stage).into_iter().flatten().map(|hit| hit.key);
        lost.chain(known).collect()
    }

    /// Seconds that a stage took when it last ran.
    pub fn seconds(&self, stage: &str) -> Option<f64> {
        self.file.stages.get(stage)?.first().map(|hit| hit.seconds)
    }

    /// Writes down what was learnt; `run` is the one that did.
    pub fn save(mut self, run: Option<&str>, store: &Store) {
        if !self.changed {
            return;
        }
        // Another run may have learnt something meanwhile.
        let theirs: Option<IndexFile> = store.recall(&self.path);
        for (stage, hits) in
            theirs.filter(|theirs| theirs.v == VERSION).map(|theirs| theirs.stages).into_iter().flatten()
        {
            let known = self.file.stages.entry(stage).or_default();
            for hit in
                hits.into_iter().filter(|hit| !known.iter().any(|known| known.key == hit.key)).collect::<Vec<_>>()
            {
                known.push(hit);
            }
            known.truncate(REMEMBERED);
        }
        self.file.v = VERSION;
        if let Some(run) = run {
            run.clone_into(&mut self.file.run);
        }
        store.remember(&self.path, &self.file);
    }
}
