//! The cache: a key record in, a result or the right to make it out. Only a ticket can commit, and a ticket
//! holds the key's lock. Unaware of graphs, of schedules and of the terminal.

pub mod afar;
mod distrust;
pub mod pieces;
pub mod push;
mod ranges;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use pacer_stages::artifact::{ArtifactType, OutputPort};
use pacer_stages::stage::Metrics;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::digest::Digest;
use crate::key::Record;
use crate::lock::Lock;
use crate::remote::Remote;
use crate::stat_cache::Stamp;
use crate::store::Store;

/// Version of the result file.
pub const RESULT_VERSION: u32 = 2;

/// Version of the file of a failure.
const FAILURE_VERSION: u32 = 1;

/// A result file larger than this is taken for damage.
pub const RESULT_BYTES: u64 = 64 << 20;

/// What a stage with some key produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// Version of this file.
    pub v: u32,
    /// The key.
    pub key: Digest,
    /// The record behind the key.
    pub record: Value,
    /// The artifacts, in the order of the kind's ports.
    pub artifacts: Vec<Artifact>,
    /// The figures that the stage reported.
    pub metrics: Metrics,
    /// What it warned of.
    pub warnings: Vec<String>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Most memory that its worker process held, in bytes.
    pub peak_bytes: Option<u64>,
    /// When it was finished, unix seconds.
    pub finished: u64,
    /// The digest of all of the above, so that no changed digit is believed.
    pub sum: Option<Digest>,
}

/// One artifact of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub artifact: ArtifactType,
    /// Digest of its content.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

/// What a whole result offers to those that build on it; the rest is read from its file when asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The key.
    pub key: Digest,
    /// The artifacts, in the order of the kind's ports.
    pub artifacts: Vec<Artifact>,
    /// Seconds that it took.
    pub seconds: f64,
    /// The stamp of its file when it was read; none where that file was so young that it could change unseen.
    pub stamp: Option<Stamp>,
    /// Whether the remote holds artifacts of it that are not here.
    pub afar: bool,
}

/// How the last try of a key failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFailure {
    /// Version of this file.
    pub v: u32,
    /// The key.
    pub key: Digest,
    /// The sort of failure.
    pub class: String,
    /// What happened.
    pub message: String,
    /// The run that tried.
    pub run: String,
}

/// Results by key.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The files beneath.
    pub store: Store,
    /// Where results are shared.
    pub remote: Option<Arc<Remote>>,
}

/// What the cache has for a key.
#[derive(Debug)]
pub enum Found {
    /// A whole result.
    Hit(Hit),
    /// Nothing.
    Absent,
    /// A result that cannot be served, with the reason.
    Damaged(String),
}

/// The right to make the result of one key; its locks are released when it is dropped.
pub struct Ticket<'a> {
    cache: &'a Cache,
    key: Digest,
    record: Record,
    partial: PathBuf,
    scratch: TempDir,
    _locks: Vec<Lock>,
}

/// What comes of asking for the right to make a result.
pub enum Claim<'a> {
    /// Somebody else has made it meanwhile.
    Hit(Hit),
    /// It is ours to make.
    Ticket(Ticket<'a>),
}

/// Who asks for a result, and how.
pub struct Claimant<'a> {
    /// The run, by its id.
    pub run: &'a str,
    /// Makes a ticket even of a hit.
    pub forced: bool,
    /// The course of training that the result goes along, of which one at a time is under way.
    pub course: Option<Digest>,
    /// Told for whom it waits, and asked again and again whether to go on waiting.
    pub waiting: &'a dyn Fn(Option<u32>) -> Result<()>,
}

/// What a run of a stage gave, to be committed.
pub struct Produced {
    /// Its figures.
    pub metrics: Metrics,
    /// Its warnings.
    pub warnings: Vec<String>,
    /// Seconds that it took.
    pub seconds: f64,
    /// Most memory held by a worker.
    pub peak_bytes: Option<u64>,
}

/// A result whose artifacts are in the store and which nobody else can find yet.
pub struct Pending<'a> {
    ticket: Ticket<'a>,
    result: StageResult,
    /// The result that was there before, where a stage was made to run again.
    first: Option<Hit>,
    _held_off: File,
}

/// A committed result, and whether it contradicts an earlier one.
pub struct Committed {
    /// The result that counts: the first one.
    pub hit: Hit,
    /// Artifacts whose bytes differ from those of the first result.
    pub diverged: Vec<String>,
}

impl StageResult {
    /// The result with its sum set right.
    #[must_use]
    pub fn summed(self) -> Self {
        Self { sum: Some(self.sum_of_all()), ..self }
    }

    /// Whether its stage made the bytes of an artifact, rather than handed on what it had read.
    pub fn made(&self, artifact: &Digest) -> bool {
        !names(&self.record["inputs"], &artifact.hex())
    }

    /// The digest of all but itself.
    fn sum_of_all(&self) -> Digest {
        let plain = serde_json::to_vec(&Self { sum: None, ..self.clone() }).expect("a result is plain data");
        Digest::of(&plain)
    }
}

/// Whether a text stands among the inputs of a record.
fn names(inputs: &Value, wanted: &str) -> bool {
    match inputs {
        Value::String(text) => text == wanted,
        Value::Object(entries) => entries.values().any(|value| names(value, wanted)),
        _ => false,
    }
}

impl Hit {
    fn new(result: StageResult, stamp: Option<Stamp>) -> Self {
        let StageResult { key, artifacts, seconds, .. } = result;
        Self { key, artifacts, seconds, stamp: stamp.filter(|stamp| !stamp.is_young()), afar: false }
    }

    /// An artifact by its name.
    pub fn artifact(&self, name: &str) -> Result<&Artifact> {
        let found = self.artifacts.iter().find(|artifact| artifact.name == name);
        found.ok_or_else(|| anyhow!("no artifact `{name}`"))
    }
}

impl Cache {
    /// The results of a store that are shared with nobody.
    pub const fn of(store: Store) -> Self {
        Self { store, remote: None }
    }

    /// Looks a key up without taking its lock, among the results that are here and those that the remote was found to
    /// hold; it is not asked. A hit has every blob, each of the right size, here or, where it says so, in the remote.
    pub fn find(&self, key: &Digest) -> Found {
        match self.find_here(key) {
            hit @ Found::Hit(_) => hit,
            other => self.find_afar(key).unwrap_or(other),
        }
    }

    /// Looks a key up among the results that are here.
    pub fn find_here(&self, key: &Digest) -> Found {
        let path = self.store.result_path(key);
        // Before the file is read: should it change meanwhile, the stamp is the old one and is not believed.
        let stamp = Stamp::read(&path).ok();
        match read_result(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Absent,
            Err(error) => Found::Damaged(format!("its result cannot be read: {error}")),
            Ok(result) if result.v != RESULT_VERSION || result.key != *key => {
                Found::Damaged("its result belongs to another key or version".into())
            }
            Ok(result) => match self.missing(&result.artifacts) {
                Some(artifact) => Found::Damaged(format!("its artifact `{}` is missing or cut short", artifact.name)),
                None => Found::Hit(Hit::new(result, stamp)),
            },
        }
    }

    /// Whether a hit from an earlier look still holds: its file is the same, and every blob is there.
    pub fn still_holds(&self, hit: &Hit) -> bool {
        let path = match (hit.afar, self.afar_path(&hit.key)) {
            (false, _) => self.store.result_path(&hit.key),
            (true, Some(path)) if self.is_believed(&hit.key) && self.refused_one(&hit.artifacts).is_none() => path,
            (true, _) => return false,
        };
        let now = hit.stamp.and_then(|_| Stamp::read(&path).ok());
        now.is_some() && now == hit.stamp && (hit.afar || self.missing(&hit.artifacts).is_none())
    }

    /// The whole result of a key that was found.
    pub fn result(&self, key: &Digest) -> Result<StageResult> {
        let path = self.store.result_path(key);
        let afar = self.afar_path(key).filter(|_| !path.exists());
        let path = afar.filter(|afar| afar.exists()).unwrap_or(path);
        read_result(&path).map_err(|error| anyhow!("`{}` cannot be read: {error}", path.display()))
    }

    /// The record behind a key, even when its artifacts are gone.
    pub fn record(&self, key: &Digest) -> Option<Record> {
        Record::from_json(self.result(key).ok()?.record)
    }

    /// How the last try of a key failed, where that was written down.
    pub fn failure(&self, key: &Digest) -> Option<KnownFailure> {
        let text = fs::read(self.store.failure_path(key)).ok()?;
        let known: KnownFailure = serde_json::from_slice(&text).ok()?;
        (known.v == FAILURE_VERSION && known.key == *key).then_some(known)
    }

    /// Writes down that a key failed; a store that cannot take it is warned of, and the next run tries again.
    pub fn record_failure(&self, key: Digest, class: String, message: String, run: &str) {
        let known = KnownFailure { v: FAILURE_VERSION, key, class, message, run: run.to_owned() };
        if let Err(error) = self.store.write_json(&self.store.failure_path(&key), &known) {
            tracing::warn!("{error:#}");
        }
    }

    /// Forgets that a key failed.
    pub fn forget_failure(&self, key: &Digest) {
        // Mostly there is nothing to forget, and a result outweighs what stays.
        let _ = fs::remove_file(self.store.failure_path(key));
    }

    fn missing<'a>(&self, artifacts: &'a [Artifact]) -> Option<&'a Artifact> {
        artifacts.iter().find(|artifact| !self.store.has(&artifact.digest, artifact.bytes))
    }

    /// Takes the lock of a key and looks the key up again under it.
    pub fn claim(&self, record: Record, claimant: &Claimant<'_>) -> Result<Claim<'_>> {
        let key = record.key();
        let lock = |of: &Digest| Lock::take(&self.store.lock_path(of), claimant.waiting);
        let mut locks = vec![lock(&key)?];
        if let (Found::Hit(hit), false) = (self.find_here(&key), claimant.forced) {
            return Ok(Claim::Hit(hit));
        }
        if let Some(course) = &claimant.course {
            locks.push(lock(course)?);
        }
        let scratch = self.store.scratch(claimant.run)?;
        let partial = match claimant.forced {
            // To run again means from the start, not from where it ended.
            true => scratch.path().join("partial"),
            false => self.store.partial_path(claimant.course.as_ref().unwrap_or(&key)),
        };
        Ok(Claim::Ticket(Ticket { cache: self, key, record, partial, scratch, _locks: locks }))
    }
}

/// Reads a result file; one that is no result is an error of the data.
pub fn read_result(path: &Path) -> io::Result<StageResult> {
    let bytes = fs::metadata(path)?.len();
    if bytes > RESULT_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{bytes} bytes are too many for a result")));
    }
    parse_result(&fs::read(path)?)
}

/// The result that some bytes are; where they are none, an error of the data.
pub fn parse_result(bytes: &[u8]) -> io::Result<StageResult> {
    let result: StageResult = serde_json::from_slice(bytes)?;
    if result.sum != Some(result.sum_of_all()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its sum is wrong"));
    }
    Ok(result)
}

/// Whether some bytes are a result of a newer pacer, which this one must not take for damaged.
pub fn is_newer(bytes: &[u8]) -> bool {
    // All that a newer one is sure to have.
    #[derive(Deserialize)]
    struct Versioned {
        v: u64,
    }
    serde_json::from_slice::<Versioned>(bytes).is_ok_and(|it| it.v > u64::from(RESULT_VERSION))
}

impl<'a> Ticket<'a> {
    /// The folder that takes the stage's outputs.
    pub fn out(&self) -> &Path {
        self.scratch.path()
    }

    /// The folder for the states of a training, which may not be there yet.
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// Takes the outputs in as blobs. From then on they can be read by their digests; only the publication makes
    /// them a result, and proof against a power cut.
    pub fn take_in(self, outputs: &[OutputPort], produced: Produced) -> Result<Pending<'a>> {
        let store = &self.cache.store;
        let held_off = store.hold_off_collections()?;
        let mut artifacts = Vec::new();
        for port in outputs {
            let (digest, bytes) = store
                .adopt(&self.scratch.path().join(port.file_name()))
                .map_err(|error| error.context(format!("output `{}`", port.name)))?;
            artifacts.push(Artifact { name: port.name.to_string(), artifact: port.artifact, digest, bytes });
        }
        let result = StageResult {
            v: RESULT_VERSION,
            key: self.key,
            record: self.record.json(),
            artifacts,
            metrics: produced.metrics,
            warnings: produced.warnings,
            seconds: produced.seconds,
            peak_bytes: produced.peak_bytes,
            finished: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            sum: None,
        };
        let result = result.summed();
        let first = match self.cache.find_here(&self.key) {
            Found::Hit(first) => Some(first),
            Found::Absent | Found::Damaged(_) => None,
        };
        Ok(Pending { ticket: self, result, first, _held_off: held_off })
    }
}

impl Pending<'_> {
    /// What it offers to those that build on it: the first result's artifacts where there is one already.
    pub fn hit(&self) -> Hit {
        self.first.clone().unwrap_or_else(|| Hit::new(self.result.clone(), None))
    }

    /// Syncs all that the result names, and then puts the result in its place.
    pub fn publish(self) -> Result<Committed> {
        let store = &self.ticket.cache.store;
        let path = store.result_path(&self.ticket.key);
        if let Some(first) = self.first {
            let diverged = diverging(&first, &self.result);
            if !diverged.is_empty() {
                // The first result stays, for others may have built on it; the second is kept as evidence.
                store.write_json(&path.with_extension("diverged.json"), &self.result)?;
            }
            return Ok(Committed { hit: first, diverged });
        }
        self.result.artifacts.iter().try_for_each(|artifact| store.sync_blob(&artifact.digest))?;
        store.write_json(&path, &self.result)?;
        Ok(Committed { hit: Hit::new(self.result, Stamp::read(&path).ok()), diverged: Vec::new() })
    }
}

fn diverging(first: &Hit, second: &StageResult) -> Vec<String> {
    let pairs = first.artifacts.iter().zip(&second.artifacts);
    pairs.filter(|(one, other)| one.digest != other.digest).map(|(one, _)| one.name.clone()).collect()
}
