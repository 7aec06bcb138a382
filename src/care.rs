//! Keeps a store healthy: verifies every byte, frees what is not needed. Unaware of pipelines.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Result, bail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::cache::{Cache, RESULT_VERSION, StageResult};
use crate::digest::Digest;
use crate::journal;
use crate::store::{Store, hash_file};

/// Checkpoints of trainings that nobody went on with for this long are given up.
const ABANDONED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Damage that was found; what could not be served was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A blob's bytes are not those of its name; it was removed.
    Blob(PathBuf),
    /// A blob could not be read; it stays.
    Unreadable(String),
    /// A result is no result; it was removed.
    Result(PathBuf),
    /// A result names a blob that is not there.
    Missing {
        /// The result's key.
        key: Digest,
        /// The artifact.
        artifact: String,
    },
}

/// What a verification came to.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Results read.
    pub results: usize,
    /// Blobs hashed.
    pub blobs: usize,
    /// Bytes hashed.
    pub bytes: u64,
    /// What was wrong.
    pub damage: Vec<Damage>,
}

/// Hashes every blob again and reads every result.
pub fn verify(cache: &Cache) -> Result<Verified> {
    let store = &cache.store;
    // Best effort: on a read-only store nobody collects.
    let _in_use = store.lock_shared();
    let mut verified = Verified::default();
    let blobs = files_below(&store.path("objects"));
    let hashed: Vec<_> = blobs.into_par_iter().map(|path| (hash_file(&path), path)).collect();
    for (hash, path) in hashed {
        verified.blobs += 1;
        match hash {
            Ok((digest, bytes)) if store.object_path(&digest) == path => verified.bytes += bytes,
            Ok(_) => {
                remove(store, &path)?;
                verified.damage.push(Damage::Blob(path));
            }
            // It may well be whole: a disk that stumbles is no reason to delete.
            Err(error) => verified.damage.push(Damage::Unreadable(format!("{error:#}"))),
        }
    }
    for path in files_below(&store.path("results")) {
        verified.results += 1;
        let Some(result) = read_result(&path) else {
            remove(store, &path)?;
            verified.damage.push(Damage::Result(path));
            continue;
        };
        let missing = result.artifacts.iter().filter(|artifact| !store.has(&artifact.digest, artifact.bytes));
        verified
            .damage
            .extend(missing.map(|artifact| Damage::Missing { key: result.key, artifact: artifact.name.clone() }));
    }
    Ok(verified)
}

/// What a collection freed, or would free.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Results.
    pub results: usize,
    /// Blobs.
    pub blobs: usize,
    /// Scratch folders, checkpoints and runs left behind.
    pub leftovers: usize,
    /// Bytes.
    pub bytes: u64,
    /// Results that stay.
    pub kept: usize,
}

/// What a collection may free.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Recent runs whose results all stay.
    pub keep_runs: usize,
    /// Only say what would be freed.
    pub dry_run: bool,
}

/// Frees the results that no recent run reached, and the blobs that no result names.
pub fn collect(cache: &Cache, policy: Policy) -> Result<Freed> {
    let store = &cache.store;
    let _alone = store.lock_alone()?;
    let runs = journal::runs(store);
    let recent = runs.iter().take(policy.keep_runs);
    let reached: BTreeSet<Digest> = recent.flat_map(|run| journal::keys(store, run).into_values()).collect();
    let mut freed = Freed::default();
    let mut named = BTreeSet::new();
    let mut doomed = Vec::new();
    for path in files_below(&store.path("results")) {
        match read_result(&path).filter(|result| reached.contains(&result.key)) {
            Some(result) => {
                freed.kept += 1;
                named.extend(result.artifacts.into_iter().map(|artifact| store.object_path(&artifact.digest)));
            }
            None => {
                freed.results += 1;
                doomed.push(path);
            }
        }
    }
    for path in files_below(&store.path("objects")).into_iter().filter(|path| !named.contains(path)) {
        freed.blobs += 1;
        doomed.push(path);
    }
    let leftovers = leftovers(store, &runs, policy.keep_runs);
    freed.leftovers = leftovers.len();
    freed.bytes = doomed.iter().chain(&leftovers).map(|path| size(path)).sum();
    if !policy.dry_run {
        // Results first: a result never names a blob that is gone, should this be killed half-way.
        doomed.iter().chain(&leftovers).try_for_each(|path| remove(store, path))?;
    }
    Ok(freed)
}

/// What dead runs left behind: scratch folders and locks, for nobody else uses the store now; checkpoints that
/// have been given up; old runs.
fn leftovers(store: &Store, runs: &[String], keep_runs: usize) -> Vec<PathBuf> {
    let given_up = |path: &PathBuf| {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > ABANDONED))
    };
    let entries =
        |folder: &str| fs::read_dir(store.path(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
    let locks = entries("locks").filter(|path| !path.ends_with("store.lock"));
    let old_runs = runs.iter().skip(keep_runs).map(|run| store.path("runs").join(run));
    entries("tmp").chain(locks).chain(entries("partial").filter(given_up)).chain(old_runs).collect()
}

/// The result in a file; `None` where the cache would never serve it.
fn read_result(path: &Path) -> Option<StageResult> {
    let result: StageResult = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let is_named = path.file_name()?.to_str()?.starts_with(&result.key.to_string());
    (is_named && result.v == RESULT_VERSION).then_some(result)
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut queue = vec![folder.to_owned()];
    while let Some(folder) = queue.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => queue.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort();
    files
}

fn size(path: &Path) -> u64 {
    if path.is_dir() {
        return files_below(path).iter().map(|path| size(path)).sum();
    }
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn remove(store: &Store, path: &Path) -> Result<()> {
    if !path.starts_with(store.root()) {
        bail!("`{}` is not of this store", path.display());
    }
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| store.cannot_write(error, path))
}
