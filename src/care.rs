//! Keeps a store healthy: verifies every byte, and in `collect` frees what is not needed. Unaware of pipelines.

pub mod collect;
pub mod remote;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::cache::{Cache, RESULT_VERSION, StageResult, read_result};
use crate::digest::Digest;
use crate::hash::hash_file;
use crate::store::Store;

/// Damage that was found; what could not be served was taken out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A blob's bytes are not those of its name; it was removed.
    Blob(PathBuf),
    /// A blob could not be read; it stays.
    Unreadable(String),
    /// A result is no result; it was removed.
    Result(PathBuf),
    /// A result names a blob that is not there; it was removed.
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
    let _held_off = store.hold_off_collections();
    let mut verified = Verified::default();
    let blobs = files_below(&store.path("objects"));
    let hashed: Vec<_> = blobs.into_par_iter().map(|path| (hash_file(&path), path)).collect();
    for (hash, path) in hashed {
        verified.blobs += 1;
        match hash {
            Ok((digest, bytes)) if store.object_path(&digest) == path => verified.bytes += bytes,
            Ok(_) => {
                // A run may have healed it since.
                if hash_file(&path).is_ok_and(|(digest, _)| store.object_path(&digest) != path) {
                    remove(store, &path)?;
                }
                verified.damage.push(Damage::Blob(path));
            }
            // It may well be whole: a disk that stumbles is no reason to delete.
            Err(error) => verified.damage.push(Damage::Unreadable(format!("{error:#}"))),
        }
    }
    for path in files_below(&store.path("results")) {
        verified.results += 1;
        let Some(result) = sound_result(&path) else {
            remove(store, &path)?;
            verified.damage.push(Damage::Result(path));
            continue;
        };
        let missing = result.artifacts.iter().find(|artifact| !store.has(&artifact.digest, artifact.bytes));
        if let Some(artifact) = missing {
            remove(store, &path)?;
            verified.damage.push(Damage::Missing { key: result.key, artifact: artifact.name.clone() });
        }
    }
    Ok(verified)
}

/// The result in a file; `None` where the cache would never serve it.
fn sound_result(path: &Path) -> Option<StageResult> {
    let result = read_result(path).ok()?;
    let is_named = path.file_name()?.to_str()?.starts_with(&result.key.hex());
    (is_named && result.v == RESULT_VERSION).then_some(result)
}

/// Every file below a folder, sorted.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
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

/// The bytes of a file, or of all below a folder; links are not followed.
pub fn size(path: &Path) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => files_below(path).iter().map(|path| size(path)).sum(),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    }
}

/// Removes a file or a folder of a store; a link, not what it leads to.
pub fn remove(store: &Store, path: &Path) -> Result<()> {
    if !path.starts_with(store.root()) {
        bail!("`{}` is not of this store", path.display());
    }
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(|error| store.cannot_write(error, path))
}
