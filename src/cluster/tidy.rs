//! Finds what runs and pilots that are gone left in the spool. Removes nothing, and is unaware of results.
//!
//! An attempt is kept while the run that offered it or the pilot that took it gave a sign of life within the time of
//! grace, or anything was written in its folder within that time: a run that comes soon takes up what an earlier one
//! left. Should somebody come for it in the very moment in which it goes, its job is done again.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::cluster::spool::Claim;

/// For so long what is left in the spool may still be wanted.
pub const GRACE: Duration = Duration::from_secs(24 * 3600);

/// Who wants an attempt, of all that its job says.
#[derive(Deserialize)]
struct Owner {
    runner: String,
}

/// A spool that is looked through.
struct Search {
    root: PathBuf,
    /// The time of its file system.
    now: SystemTime,
    grace: Duration,
}

/// The files and folders in the spool of a store that are nobody's, those within others after them.
pub fn left_behind(store: &Path, grace: Duration) -> Vec<PathBuf> {
    let root = store.join("cluster");
    if !root.is_dir() {
        return Vec::new();
    }
    // What others wrote is compared with what is written now, so that no clock but that of the file system counts. Who
    // may not write here will not be able to remove anything either.
    let written = tempfile::tempfile_in(&root).and_then(|file| file.metadata()?.modified());
    let search = Search { root, now: written.unwrap_or_else(|_| SystemTime::now()), grace };
    [search.signs(), search.queue(), search.attempts(), search.logs(), search.outposts()].concat()
}

impl Search {
    /// Signs of life that are no more.
    fn signs(&self) -> Vec<PathBuf> {
        let signs = ["runners", "pilots"].map(|kind| entries(&self.root.join(kind))).concat();
        signs.into_iter().filter(|path| self.is_old(path)).collect()
    }

    /// What runners that are gone offered, and empty queues.
    fn queue(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for shape in entries(&self.root.join("queue")) {
            let runners = entries(&shape);
            found.extend(
                runners.iter().filter(|path| !self.lives("runners", &name(path)) && self.is_old(path)).cloned(),
            );
            found.extend((runners.is_empty() && self.is_old(&shape)).then_some(shape));
        }
        found
    }

    /// Attempts that nobody waits for and nobody is at, and keys without attempts.
    fn attempts(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for key in entries(&self.root.join("jobs")) {
            let attempts = entries(&key);
            found.extend(attempts.iter().filter(|attempt| !self.is_wanted(attempt) && self.is_old(attempt)).cloned());
            found.extend((attempts.is_empty() && self.is_old(&key)).then_some(key));
        }
        found
    }

    /// What Slurm wrote down of pilots; each log has the name of a job of Slurm, with which its pilot's begins.
    fn logs(&self) -> Vec<PathBuf> {
        let pilots = entries(&self.root.join("pilots"));
        let living: Vec<_> = pilots.iter().map(|path| name(path)).filter(|it| self.lives("pilots", it)).collect();
        let is_read = |log: &Path| {
            let sign = name(log).trim_end_matches(".log").to_owned() + "-";
            living.iter().any(|pilot| pilot.starts_with(&sign))
        };
        let logs = entries(&self.root.join("logs")).into_iter();
        logs.filter(|log| self.is_old(log) && !is_read(log)).collect()
    }

    /// Where pilots worked that do not see the store of their run, and did not come to their end.
    fn outposts(&self) -> Vec<PathBuf> {
        entries(&self.root.join("outposts")).into_iter().filter(|path| self.is_old(path)).collect()
    }

    fn is_wanted(&self, attempt: &Path) -> bool {
        let owner: Option<Owner> = read(&attempt.join("job.json"));
        let claim: Option<Claim> = read(&attempt.join("claim.json"));
        owner.is_some_and(|owner| self.lives("runners", &owner.runner))
            || claim.is_some_and(|claim| self.lives("pilots", &claim.pilot))
    }

    /// Whether somebody gave a sign of life within the time of grace.
    fn lives(&self, kind: &str, name: &str) -> bool {
        let sign = self.root.join(kind).join(name);
        sign.exists() && !self.is_old(&sign)
    }

    /// Whether nothing was written here within the time of grace. What cannot be looked at may be young.
    fn is_old(&self, path: &Path) -> bool {
        walkdir::WalkDir::new(path).into_iter().all(|entry| {
            let written = entry.ok().and_then(|entry| entry.metadata().ok()?.modified().ok());
            written.is_some_and(|written| self.now.duration_since(written).is_ok_and(|age| age > self.grace))
        })
    }
}

/// All that lies in a folder; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.sort();
    entries
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::cluster::spool::Spool;

    /// Writes a file of a spool.
    fn write(store: &Path, path: &str, text: &str) {
        let path = store.join("cluster").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Lets something, and all below it, have been written two days ago.
    fn age(store: &Path, path: &str) {
        let then = SystemTime::now() - 2 * GRACE;
        for entry in walkdir::WalkDir::new(store.join("cluster").join(path)) {
            File::open(entry.unwrap().path()).unwrap().set_modified(then).unwrap();
        }
    }

    #[test]
    fn what_a_distant_pilot_left_goes_when_it_is_old() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "outposts/old/x", "x");
        write(folder.path(), "outposts/young/x", "x");
        age(folder.path(), "outposts/old");
        assert_eq!(found(folder.path()), ["outposts/old"]);
    }

    fn found(store: &Path) -> Vec<String> {
        let root = store.join("cluster");
        let found = left_behind(store, GRACE);
        found.iter().map(|path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned()).collect()
    }

    fn claim(pilot: &str) -> String {
        format!(r#"{{"pilot":"{pilot}","slurm":"1_0","node":"n"}}"#)
    }

    #[test]
    fn what_is_of_the_living_stays_however_old_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        Spool::open(store).unwrap();
        for (owner, pilot, attempt) in [("run", "9_0-1", "aa/1"), ("gone", "1_0-7", "bb/1"), ("gone", "9_0-1", "cc/1")]
        {
            write(store, &format!("jobs/{attempt}/job.json"), &format!(r#"{{"runner":"{owner}"}}"#));
            write(store, &format!("jobs/{attempt}/claim.json"), &claim(pilot));
            write(store, &format!("jobs/{attempt}/out/data"), "x");
        }
        for path in ["queue/s/run/0-aa.1", "queue/s/gone/0-cc.1", "queue/t/gone/0-dd.1", "logs/1_0.log", "logs/9_0.log"]
        {
            write(store, path, "");
        }
        for (path, text) in [("runners/gone", ""), ("pilots/9_0-1", "{}"), ("jobs/dd/1/job.json", "half of")] {
            write(store, path, text);
        }
        assert_eq!(found(store), [""; 0], "all is young");
        age(store, "");
        for (path, text) in [("runners/run", ""), ("pilots/1_0-7", "{}")] {
            write(store, path, text);
        }
        let gone =
            ["runners/gone", "pilots/9_0-1", "queue/s/gone", "queue/t/gone", "jobs/cc/1", "jobs/dd/1", "logs/9_0.log"];
        assert_eq!(found(store), gone);
    }

    #[test]
    fn an_attempt_in_which_something_was_written_lately_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path();
        write(store, "jobs/aa/1/job.json", r#"{"runner":"gone"}"#);
        write(store, "jobs/aa/1/out/deep/data", "x");
        fs::create_dir_all(store.join("cluster/jobs/bb")).unwrap();
        fs::create_dir_all(store.join("cluster/queue/s")).unwrap();
        age(store, "");
        assert_eq!(found(store), ["queue/s", "jobs/aa/1", "jobs/bb"]);
        write(store, "jobs/aa/1/out/deep/more", "x");
        assert_eq!(found(store), ["queue/s", "jobs/bb"]);
    }

    #[test]
    fn a_store_that_no_cluster_saw_has_no_spool_and_gets_none() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(left_behind(folder.path(), GRACE), Vec::<PathBuf>::new());
        assert!(!folder.path().join("cluster").exists());
    }
}
