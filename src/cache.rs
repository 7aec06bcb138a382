//! The cache: a key record in, a result or the right to make it out. Only a ticket can commit, and a ticket
//! holds the key's lock. Unaware of graphs, of schedules and of the terminal.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use pacer_stages::artifact::{ArtifactType, OutputPort};
use pacer_stages::stage::Metrics;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tempfile::TempDir;

use crate::digest::Digest;
use crate::key;
use crate::store::Store;

/// Version of the result file.
pub const RESULT_VERSION: u32 = 1;

/// How often a held lock is tried again; the kernel could wake us, but then nothing could stop the waiting.
const LOCK_INTERVAL: Duration = Duration::from_millis(20);

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

/// Results by key.
#[derive(Clone, Debug)]
pub struct Cache {
    /// The files beneath.
    pub store: Store,
}

/// What the cache has for a key.
#[derive(Debug)]
pub enum Found {
    /// A whole result.
    Hit(Box<StageResult>),
    /// Nothing.
    Absent,
    /// A result that cannot be served, with the reason.
    Damaged(String),
}

/// The right to make the result of one key; the lock is released when it is dropped.
pub struct Ticket<'a> {
    cache: &'a Cache,
    key: Digest,
    record: Value,
    scratch: TempDir,
    _lock: File,
}

/// What comes of asking for the right to make a result.
pub enum Claim<'a> {
    /// Somebody else has made it meanwhile.
    Hit(Box<StageResult>),
    /// It is ours to make.
    Ticket(Ticket<'a>),
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

/// A committed result, and whether it contradicts an earlier one.
pub struct Committed {
    /// The result that counts: the first one.
    pub result: StageResult,
    /// Artifacts whose bytes differ from those of the first result.
    pub diverged: Vec<String>,
}

impl Cache {
    /// Looks a key up without taking its lock. A hit has every blob, each of the right size.
    pub fn find(&self, key: &Digest) -> Found {
        let path = self.store.result_path(key);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Found::Absent,
            Err(error) => return Found::Damaged(format!("its result cannot be read: {error}")),
        };
        let result: StageResult = match serde_json::from_slice(&text) {
            Ok(result) => result,
            Err(error) => return Found::Damaged(format!("its result is damaged: {error}")),
        };
        if result.v != RESULT_VERSION || result.key != *key {
            return Found::Damaged("its result belongs to another key or version".into());
        }
        match result.artifacts.iter().find(|artifact| !self.store.has(&artifact.digest, artifact.bytes)) {
            Some(artifact) => Found::Damaged(format!("its artifact `{}` is missing or cut short", artifact.name)),
            None => Found::Hit(Box::new(result)),
        }
    }

    /// Takes the lock of a key and looks the key up again under it. Where another process holds the lock,
    /// `waiting` is told which, and asked again and again whether to go on waiting. `forced` makes a ticket even
    /// of a hit.
    pub fn claim(&self, record: Value, forced: bool, waiting: impl Fn(Option<u32>) -> Result<()>) -> Result<Claim<'_>> {
        let key = key::digest(&record);
        let lock = self.lock(&key, waiting)?;
        if let (Found::Hit(result), false) = (self.find(&key), forced) {
            return Ok(Claim::Hit(result));
        }
        let scratch = self.store.scratch()?;
        Ok(Claim::Ticket(Ticket { cache: self, key, record, scratch, _lock: lock }))
    }

    fn lock(&self, key: &Digest, waiting: impl Fn(Option<u32>) -> Result<()>) -> Result<File> {
        let path = self.store.path("locks").join(format!("{key}.lock"));
        let open = File::options().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = open.map_err(|error| self.store.cannot_write(error, &path))?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    file.rewind()?;
                    waiting(file.read_to_string(&mut holder).ok().and_then(|_| holder.trim().parse().ok()))?;
                    std::thread::sleep(LOCK_INTERVAL);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("`{}` cannot be locked", path.display()));
                }
            }
        }
        // Who holds the lock is news for people only; the kernel's lock is what counts, also where nothing can be
        // written down.
        let _ = file.rewind().and_then(|()| file.set_len(0)).and_then(|()| write!(file, "{}", std::process::id()));
        Ok(file)
    }
}

impl Ticket<'_> {
    /// The folder that takes the stage's outputs.
    pub fn out(&self) -> &Path {
        self.scratch.path()
    }

    /// The folder that keeps the stage's checkpoints.
    pub fn partial(&self) -> PathBuf {
        self.cache.store.partial_path(&self.key)
    }

    /// Takes the outputs into the store and publishes the result last.
    pub fn commit(self, outputs: &[OutputPort], produced: Produced) -> Result<Committed> {
        let store = &self.cache.store;
        let mut artifacts = Vec::new();
        for port in outputs {
            let (digest, bytes) = store
                .adopt(&self.scratch.path().join(port.file_name()))
                .with_context(|| format!("output `{}`", port.name))?;
            artifacts.push(Artifact { name: port.name.to_string(), artifact: port.artifact, digest, bytes });
        }
        let result = StageResult {
            v: RESULT_VERSION,
            key: self.key,
            record: self.record,
            artifacts,
            metrics: produced.metrics,
            warnings: produced.warnings,
            seconds: produced.seconds,
            peak_bytes: produced.peak_bytes,
            finished: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        let path = store.result_path(&self.key);
        if let Found::Hit(first) = self.cache.find(&self.key) {
            let diverged = diverging(&first, &result);
            if !diverged.is_empty() {
                // The first result stays, for others may have built on it; the second is kept as evidence.
                store.write_json(&path.with_extension("diverged.json"), &result)?;
            }
            return Ok(Committed { result: *first, diverged });
        }
        store.write_json(&path, &result)?;
        // Best effort: a checkpoint that stays behind only takes room, and `gc` finds it.
        let _ = fs::remove_dir_all(store.partial_path(&self.key));
        Ok(Committed { result, diverged: Vec::new() })
    }
}

fn diverging(first: &StageResult, second: &StageResult) -> Vec<String> {
    let pairs = first.artifacts.iter().zip(&second.artifacts);
    pairs.filter(|(one, other)| one.digest != other.digest).map(|(one, _)| one.name.clone()).collect()
}
