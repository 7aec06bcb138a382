//! Puts results into the remote: the blobs first, the result last, so that whoever finds a result finds its blobs.
//! Unaware of stages.
//!
//! Two who put the same do no harm: what they put is named by its content. No server has to promise that it keeps the
//! first of two.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cache::afar::{Looker, blob_name, checked, result_name};
use crate::cache::{Artifact, Cache, RESULT_BYTES, StageResult, is_newer};
use crate::digest::Digest;
use crate::hash::hash_file;
use crate::remote::{Content, Existing, Remote, Seen, side_by_side};

/// Blobs that are put at once.
const TRANSFERS: usize = 4;

/// Fewer results than this are asked for one by one.
const FEW: usize = 8;

/// For each result that is to be put, so many objects are listed at most: a server tells of 1,000 in an answer, and is
/// asked twice for each result otherwise.
const LISTED: usize = 200;

/// A blob that was put longer ago is made young again before a result names it anew, so that no collection takes it
/// meanwhile.
pub const YOUNG: Duration = Duration::from_secs(3600);

/// What was put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Results that were put.
    pub results: usize,
    /// Results that were there.
    pub there: usize,
    /// Blobs that were put.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Results of which the remote has one with other bytes, which stays.
    pub diverged: Vec<Digest>,
}

impl Pushed {
    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.results += other.results;
        self.there += other.there;
        self.blobs += other.blobs;
        self.bytes += other.bytes;
        self.diverged.extend(other.diverged);
    }
}

/// How far a result of the remote is looked at.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Where a result is, its blobs are.
    Result,
    /// Each blob is looked for.
    Nothing,
    /// Each blob is looked for in a list that was made before.
    Lists(&'a Lists),
}

/// What a remote held a moment ago, and what was put since. What others put since is put once more, which does no harm.
#[derive(Debug)]
pub struct Lists {
    results: BTreeSet<String>,
    blobs: Mutex<BTreeMap<String, Seen>>,
    made: Instant,
}

impl Lists {
    /// What is told of a blob, which has grown older since.
    fn blob(&self, name: &str) -> Option<Seen> {
        let seen = *self.blobs.lock().expect("nothing panics with it").get(name)?;
        Some(Seen { age: seen.age + self.made.elapsed(), ..seen })
    }

    /// Notes that a blob was put, so that the next result that names it need not put it.
    fn note(&self, name: String, bytes: u64) {
        let seen = Seen { bytes, age: Duration::ZERO };
        self.blobs.lock().expect("nothing panics with it").insert(name, seen);
    }
}

impl Cache {
    /// Asks a remote for all that it holds, where that costs less than to ask for each of some results.
    pub fn look_over(&self, results: usize) -> Option<Lists> {
        let remote = self.remote.as_ref().filter(|_| results >= FEW)?;
        let made = Instant::now();
        let list = |prefix| match remote.list_few(prefix, results * LISTED) {
            Ok(listed) => listed,
            // Who may put and get may not be allowed to list.
            Err(error) => {
                tracing::debug!("{error:#}");
                None
            }
        };
        let blobs = list("objects/")?.into_iter().map(|listed| (listed.name, listed.seen)).collect();
        let results = list("results/")?.into_iter().map(|listed| listed.name).collect();
        Some(Lists { results, blobs: Mutex::new(blobs), made })
    }

    /// Puts a result of this store into the remote. One that has no blobs here is not put.
    pub fn push(&self, key: &Digest, trust: Trust<'_>, looker: &Looker<'_>) -> Result<Pushed> {
        let remote = self.remote.as_ref().context("there is no remote")?;
        // Best effort: on a read-only store nobody collects.
        let _held_off = self.store.hold_off_collections();
        let result = self.result(key)?;
        let there = match trust {
            Trust::Lists(lists) if !lists.results.contains(&result_name(key)) => None,
            _ => theirs(remote, key)?,
        };
        let is_there = there.is_some();
        let mut pushed = Pushed { there: usize::from(is_there), ..Pushed::default() };
        if there.is_some_and(|theirs| differ(&theirs, &result)) {
            pushed.diverged.push(*key);
            return Ok(pushed);
        }
        let is_sound = !result.artifacts.iter().any(|artifact| remote.is_refused(&blob_name(&artifact.digest)));
        if is_there && is_sound && matches!(trust, Trust::Result) {
            return Ok(pushed);
        }
        let put =
            side_by_side(&result.artifacts, TRANSFERS, |artifact| self.push_blob(remote, artifact, trust, looker));
        for bytes in put {
            let bytes = bytes?;
            pushed.blobs += usize::from(bytes.is_some());
            pushed.bytes += bytes.unwrap_or(0);
        }
        if !is_there {
            let mut text = serde_json::to_vec_pretty(&result)?;
            text.push(b'\n');
            let left = remote.put(&result_name(key), Content::Bytes(&text), Existing::Keep)?;
            pushed.results += usize::from(!left);
            // Somebody was faster.
            if left && theirs(remote, key)?.is_some_and(|theirs| differ(&theirs, &result)) {
                pushed.diverged.push(*key);
            }
        }
        Ok(pushed)
    }

    /// Puts a blob where it is not there with the right size; its bytes where it was put.
    fn push_blob(
        &self,
        remote: &Remote,
        artifact: &Artifact,
        trust: Trust<'_>,
        looker: &Looker<'_>,
    ) -> Result<Option<u64>> {
        if (looker.stop)() {
            bail!("it was interrupted");
        }
        let name = blob_name(&artifact.digest);
        let seen = match trust {
            Trust::Lists(lists) => lists.blob(&name),
            Trust::Result | Trust::Nothing => remote.look(&name)?,
        };
        let path = self.store.object_path(&artifact.digest);
        let Artifact { digest, bytes, .. } = *artifact;
        if !self.put_unless_kept(remote, seen, (digest, bytes), &path, looker)? {
            return Ok(None);
        }
        if let Trust::Lists(lists) = trust {
            lists.note(name, bytes);
        }
        Ok(Some(bytes))
    }

    /// Puts a file as the blob of its digest, unless what was seen there is as good and stays; whether it was put.
    pub(super) fn put_unless_kept(
        &self,
        remote: &Remote,
        seen: Option<Seen>,
        (digest, bytes): (Digest, u64),
        path: &Path,
        looker: &Looker<'_>,
    ) -> Result<bool> {
        let name = blob_name(&digest);
        match seen.filter(|seen| seen.bytes == bytes && !remote.is_refused(&name)) {
            Some(seen) if seen.age < YOUNG || remote.touch(&name)? => return Ok(false),
            _ => {}
        }
        let (found, bytes) = hash_file(path)?;
        if found != digest {
            bail!("`{}` is damaged and was not put into the remote: `pacer verify` takes it out", path.display());
        }
        remote.put(&name, Content::File { path, bytes, meter: looker.meter }, Existing::Replace)?;
        self.put_right(remote, &digest);
        Ok(true)
    }
}

/// The result of a key in the remote. A damaged one counts as none, and is replaced; one of a newer pacer too, but it
/// stays where the server keeps the first.
fn theirs(remote: &Remote, key: &Digest) -> Result<Option<StageResult>> {
    let name = result_name(key);
    let Some(bytes) = remote.read(&name, RESULT_BYTES)? else { return Ok(None) };
    let result = checked(&bytes, key);
    if result.is_err() && !is_newer(&bytes) {
        remote.refuse(&name);
    }
    Ok(result.ok())
}

fn differ(one: &StageResult, other: &StageResult) -> bool {
    one.artifacts.iter().map(|it| it.digest).ne(other.artifacts.iter().map(|it| it.digest))
}
