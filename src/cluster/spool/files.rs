//! Files and folders of the spool: each comes into its place by a rename, and what cannot be read is not there. Unaware
//! of what they mean.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::fresh::open;

/// How often an offer is put into a heap that is removed at that moment.
const OFFER_TRIES: u32 = 1000;

/// The names in a folder, sorted; none where there is no folder.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort();
    names
}

/// What lies in a folder, sorted.
pub(super) fn folders(folder: &Path) -> Vec<PathBuf> {
    names(folder).into_iter().map(|name| folder.join(name)).collect()
}

/// The text of a file.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn age(path: &Path, now: SystemTime) -> Option<Duration> {
    let written = open(path).and_then(|file| file.metadata()?.modified()).ok()?;
    Some(now.duration_since(written).unwrap_or_default())
}

/// Writes a file anew; when that was, by the clock of its file system.
pub(super) fn beat(path: &Path, content: &[u8]) -> io::Result<SystemTime> {
    write_whole(path, content)?;
    open(path)?.metadata()?.modified()
}

pub(super) fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Puts an offer into a heap, which is made where it is missing.
pub(super) fn into_heap(heap: &Path, put: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let mut tries = OFFER_TRIES;
    loop {
        match make_private(heap).and_then(|()| put()) {
            // A pilot that found the heap empty has removed it, before the file was there or in the midst of putting it.
            Err(error)
                if tries > 0 && [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists].contains(&error.kind()) =>
            {
                tries -= 1;
            }
            done => return done,
        }
    }
}

pub(super) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_whole(path, &serde_json::to_vec(value)?)
}

pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().expect("files of the spool lie in folders");
    let mut file = tempfile::Builder::new().prefix(".").tempfile_in(folder)?;
    file.write_all(content)?;
    file.persist(path)?;
    Ok(())
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_str(&read(path).ok()?).ok()
}
