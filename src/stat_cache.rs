//! Digests of input files, remembered as long as their stat data tell the same. Unaware of who reads the files.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::hash::hash_file;
use crate::store::Store;

/// A file younger than this when it was hashed may change again without a new time stamp: the clocks of file
/// systems tick in milliseconds, some in seconds.
const YOUNG: Duration = Duration::from_secs(2);

/// Where a store keeps them.
const FILE: &str = "index/inputs";

/// Digests by what `stat` says of a file.
#[derive(Debug, Default)]
pub struct StatCache {
    entries: HashMap<FileId, Entry>,
    changed: bool,
}

/// A file by its device and inode.
type FileId = (u64, u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    stamp: Stamp,
    digest: Digest,
}

/// What must stay the same for a digest to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    inode: u64,
    bytes: u64,
    modified: i128,
    changed: i128,
}

impl Stamp {
    /// The stamp in what `stat` told.
    pub fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The stamp of a file as it is now.
    pub fn read(path: &Path) -> Result<Self> {
        Ok(Self::of(&stat(path)?))
    }

    /// Whether the file may change again without a new stamp.
    pub fn is_young(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as i128);
        // A stamp from the future is as doubtful as one from just now.
        self.modified.max(self.changed) + YOUNG.as_nanos() as i128 > now
    }
}

fn stat(path: &Path) -> Result<Metadata> {
    fs::metadata(path).with_context(|| format!("`{}` cannot be read", path.display()))
}

impl StatCache {
    /// Reads what a store remembers; a damaged file is forgotten.
    pub fn load(store: &Store) -> Self {
        let entries: Vec<_> = store.recall(&store.path(FILE)).unwrap_or_default();
        Self { entries: entries.into_iter().collect(), changed: false }
    }

    /// Keeps what was learnt. It only saves time, so a store that cannot be written to is no fault here.
    pub fn save(&self, store: &Store) {
        if !self.changed {
            return;
        }
        store.remember(&store.path(FILE), &self.entries.iter().collect::<Vec<_>>());
    }

    /// The digest of a file's content.
    pub fn digest(&mut self, path: &Path) -> Result<(Digest, Stamp)> {
        let metadata = stat(path)?;
        let stamp = Stamp::of(&metadata);
        // Asked before the hashing: a write right after this moment must find the stamp young.
        let is_young = stamp.is_young();
        let id = (metadata.dev(), metadata.ino());
        if let Some(entry) = self.entries.get(&id).filter(|entry| entry.stamp == stamp) {
            return Ok((entry.digest, stamp));
        }
        let (digest, _) = hash_file(path)?;
        if Stamp::read(path)? != stamp {
            bail!("`{}` changed while it was read: wait until it is written, then run again", path.display());
        }
        if !is_young {
            self.entries.insert(id, Entry { stamp, digest });
            self.changed = true;
        }
        Ok((digest, stamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_just_written_is_hashed_again_next_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, "one").unwrap();
        let mut cache = StatCache::default();
        assert_eq!(cache.digest(&path).unwrap().0, Digest::of(b"one"));
        assert!(cache.entries.is_empty());
    }

    #[test]
    fn an_old_file_is_remembered_until_its_stamp_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, "one").unwrap();
        let mut cache = StatCache::default();
        let metadata = fs::metadata(&path).unwrap();
        let id = (metadata.dev(), metadata.ino());
        // Planted, so that the digest tells whether it was believed.
        let planted = Digest::of(b"planted");
        cache.entries.insert(id, Entry { stamp: Stamp::of(&metadata), digest: planted });
        assert_eq!(cache.digest(&path).unwrap().0, planted);
        fs::write(&path, "three").unwrap();
        assert_eq!(cache.digest(&path).unwrap().0, Digest::of(b"three"));
    }
}
