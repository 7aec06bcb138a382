//! Frees what is not needed: decides by age, size and what it would cost to make again, beside runs that go on.
//! Unaware of pipelines.
//!
//! Nothing is taken that a recent, a pinned or a living run has reached or begun to make. A run holds collections off
//! between finding a result and writing that into its journal, so that no result is in use without standing there.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::cache::{Cache, StageResult, read_result};
use crate::care::{files_below, remove, size};
use crate::cluster::tidy;
use crate::digest::Digest;
use crate::journal;
use crate::lock::{self, Lock};
use crate::store::Store;

/// States of trainings that nobody went on with for this long are given up, where no age is asked for.
const ABANDONED: Duration = Duration::from_secs(30 * 24 * 3600);

/// What a collection may free.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Recent runs whose results all stay.
    pub keep_runs: usize,
    /// Only what was finished longer ago than this goes.
    pub older_than: Option<Duration>,
    /// No more goes than is needed to bring the store down to this many bytes.
    pub max_bytes: Option<u64>,
    /// Only say what would be freed.
    pub dry_run: bool,
}

/// What a collection freed, or would free.
#[derive(Clone, Debug, Default)]
pub struct Freed {
    /// Results, what is cheapest to make again for its size first.
    pub results: Vec<Doomed>,
    /// Blobs that no other result names.
    pub blobs: usize,
    /// Scratch folders, states of trainings and runs left behind, and what a cluster's jobs and pilots left.
    pub leftovers: usize,
    /// Bytes of all that.
    pub bytes: u64,
    /// Results that stay.
    pub kept: usize,
    /// Bytes that stay.
    pub kept_bytes: u64,
}

/// A result that goes.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Its key.
    pub key: Digest,
    /// Its kind.
    pub kind: String,
    /// Bytes of its artifacts.
    pub bytes: u64,
    /// Seconds that it took, and would take again.
    pub seconds: f64,
    /// When it was finished, unix seconds.
    pub finished: u64,
    path: PathBuf,
    blobs: Vec<PathBuf>,
}

impl Doomed {
    fn new(path: PathBuf, result: StageResult, store: &Store) -> Self {
        Self {
            key: result.key,
            kind: result.record["kind"].as_str().unwrap_or("unknown").to_owned(),
            bytes: result.artifacts.iter().map(|artifact| artifact.bytes).sum(),
            seconds: result.seconds,
            finished: result.finished,
            blobs: result.artifacts.iter().map(|artifact| store.object_path(&artifact.digest)).collect(),
            path,
        }
    }

    /// Seconds of work that each byte holds: what is dear to make and small stays longest.
    fn worth(&self) -> f64 {
        self.seconds / self.bytes.max(1) as f64
    }
}

/// Frees the results that nobody needs, and the blobs that no result names.
pub fn collect(cache: &Cache, policy: Policy) -> Result<Freed> {
    let store = &cache.store;
    let _alone = store.lock_for_collection()?;
    let runs = Runs::look(store, policy.keep_runs);
    let mut stock = Stock::take(store, &runs.touched)?;
    stock.candidates.retain(|doomed| old_enough(doomed.finished, policy.older_than));
    stock.candidates.sort_by(|a, b| a.worth().total_cmp(&b.worth()).then(a.finished.cmp(&b.finished)));
    let mut freed = Freed { kept: stock.results, ..Freed::default() };
    let mut files = stock.orphans();
    files.extend(std::mem::take(&mut stock.garbage));
    let mut total = stock.named.keys().map(|path| size(path)).sum::<u64>();
    freed.blobs = files.len();
    for doomed in std::mem::take(&mut stock.candidates) {
        if policy.max_bytes.is_some_and(|limit| total <= limit) {
            break;
        }
        let blobs = stock.release(&doomed);
        total -= blobs.iter().map(|(_, bytes)| bytes).sum::<u64>();
        freed.blobs += blobs.len();
        freed.kept -= 1;
        // The result first: it never names a blob that is gone, should this be killed half-way.
        files.push(doomed.path.clone());
        files.extend(blobs.into_iter().map(|(path, _)| path));
        freed.results.push(doomed);
    }
    let mut taken = Vec::new();
    let leftovers = leftovers(store, &runs, policy.older_than.unwrap_or(ABANDONED), &mut taken);
    let spooled = tidy::left_behind(store.root(), tidy::GRACE);
    freed.leftovers = leftovers.len() + spooled.len();
    freed.bytes = files.iter().chain(&leftovers).chain(&spooled).map(|path| size(path)).sum();
    freed.kept_bytes = total;
    if !policy.dry_run {
        // Links are taken for what they are, not for what they lead to.
        let there = |path: &&PathBuf| path.symlink_metadata().is_ok();
        files.iter().chain(&leftovers).filter(there).try_for_each(|path| remove(store, path))?;
        // A run that begins tidies up too, and may be faster.
        spooled
            .iter()
            .try_for_each(|path| remove(store, path).or_else(|error| if there(&path) { Err(error) } else { Ok(()) }))?;
    }
    Ok(freed)
}

/// The runs of a store, sorted by what they mean for a collection.
struct Runs {
    /// Dead, neither recent nor pinned.
    old: Vec<String>,
    alive: Vec<String>,
    /// Keys that living, recent and pinned runs reached or began to make.
    touched: BTreeSet<Digest>,
}

impl Runs {
    fn look(store: &Store, keep_runs: usize) -> Self {
        let mut runs = Self { old: Vec::new(), alive: Vec::new(), touched: BTreeSet::new() };
        for (place, run) in journal::runs(store).into_iter().enumerate() {
            if journal::is_alive(store, &run) {
                runs.touched.extend(journal::touched(store, &run));
                runs.alive.push(run);
            } else if place < keep_runs || journal::is_pinned(store, &run) {
                runs.touched.extend(journal::touched(store, &run));
            } else {
                runs.old.push(run);
            }
        }
        runs
    }
}

/// What the store holds.
struct Stock {
    /// Results that could be read.
    results: usize,
    /// Those that may go.
    candidates: Vec<Doomed>,
    /// How many results name each blob.
    named: HashMap<PathBuf, usize>,
    /// Every blob that is there.
    blobs: Vec<PathBuf>,
    /// Files among the results that are none.
    garbage: Vec<PathBuf>,
}

impl Stock {
    fn take(store: &Store, needed: &BTreeSet<Digest>) -> Result<Self> {
        let blobs = files_below(&store.path("objects"));
        let mut stock = Self { results: 0, candidates: Vec::new(), named: HashMap::new(), blobs, garbage: Vec::new() };
        for path in [files_below(&store.path("results")), files_below(&store.path("afar"))].concat() {
            let result = match read_result(&path) {
                Ok(result) => result,
                Err(error) if is_garbage(&error) => {
                    stock.garbage.push(path);
                    continue;
                }
                // It may well be whole, and then it needs its blobs.
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("`{}` cannot be read; nothing was freed", path.display()));
                }
            };
            stock.results += 1;
            for artifact in &result.artifacts {
                *stock.named.entry(store.object_path(&artifact.digest)).or_default() += 1;
            }
            // What contradicts a result has its key and stays as long as it does.
            if !needed.contains(&result.key) {
                stock.candidates.push(Doomed::new(path, result, store));
            }
        }
        Ok(stock)
    }

    /// Blobs that no result names.
    fn orphans(&self) -> Vec<PathBuf> {
        self.blobs.iter().filter(|path| !self.named.contains_key(*path)).cloned().collect()
    }

    /// Takes a result out and returns the blobs that it alone named.
    fn release(&mut self, doomed: &Doomed) -> Vec<(PathBuf, u64)> {
        let mut free = Vec::new();
        for path in &doomed.blobs {
            if let Some(names) = self.named.get_mut(path) {
                *names -= 1;
                // Its real size: a damaged one has not the size that its result names.
                free.extend((*names == 0).then(|| (path.clone(), size(path))));
            }
        }
        free
    }
}

fn old_enough(finished: u64, older_than: Option<Duration>) -> bool {
    let finished = UNIX_EPOCH + Duration::from_secs(finished);
    let age = SystemTime::now().duration_since(finished).unwrap_or_default();
    older_than.is_none_or(|limit| age > limit)
}

/// Whether a file is no result, rather than a result that could not be read this time.
fn is_garbage(error: &io::Error) -> bool {
    let trouble = [libc::EIO, libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES, libc::EPERM, libc::ESTALE];
    !error.raw_os_error().is_some_and(|number| trouble.contains(&number))
}

/// What dead runs left behind: scratch folders, locks that nobody holds, states of trainings that were given up, old
/// runs, and what was noted of failed trials and of searches long ago. The locks of what goes are taken, so that nobody begins to use it meanwhile.
fn leftovers(store: &Store, runs: &Runs, given_up: Duration, taken: &mut Vec<Lock>) -> Vec<PathBuf> {
    let entries =
        |folder: &str| fs::read_dir(store.path(folder)).into_iter().flatten().flatten().map(|entry| entry.path());
    let scratch = entries("tmp").filter(|path| !is_of_the_living(path, store, runs));
    let mut found: Vec<PathBuf> = scratch.chain(runs.old.iter().map(|run| store.path("runs").join(run))).collect();
    for path in entries("partial").filter(|path| is_older(path, given_up)) {
        let course = path.file_name().and_then(|name| name.to_string_lossy().parse::<Digest>().ok());
        match course.map(|course| Lock::try_take(&store.lock_path(&course))) {
            None => found.push(path),
            Some(Ok(Some(lock))) => {
                taken.push(lock);
                found.push(path);
            }
            // Somebody trains there.
            Some(_) => {}
        }
    }
    // A failure that is forgotten is tried again, and a search decides again from the same figures.
    let notes = ["failures", "searches"].into_iter().flat_map(|folder| files_below(&store.path(folder)));
    found.extend(notes.filter(|path| is_older(path, given_up)));
    for path in entries("incoming").filter(|path| is_older(path, given_up)) {
        let digest = path.file_name().and_then(|name| name.to_string_lossy().parse::<Digest>().ok());
        let lock = digest.and_then(|digest| Lock::try_take(&store.lock_path(&digest)).ok().flatten());
        found.extend(lock.is_some().then(|| path.clone()));
        taken.extend(lock);
    }
    // A lock that can be taken is nobody's, and goes when it is let go of.
    for path in entries("locks").filter(|path| is_key_lock(path)) {
        taken.extend(Lock::try_take(&path).ok().flatten());
    }
    found
}

/// Whether a scratch folder belongs to a living run, or to somebody who holds the lock of its name.
fn is_of_the_living(path: &Path, store: &Store, runs: &Runs) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let owner = name.rsplit_once('-').map_or("", |(owner, _)| owner);
    runs.alive.iter().any(|run| run == owner) || lock::is_held(&store.owner_lock_path(owner))
}

fn is_key_lock(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().parse::<Digest>().is_ok())
}

fn is_older(path: &Path, limit: Duration) -> bool {
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| SystemTime::now().duration_since(time).is_ok_and(|age| age > limit))
}
