//! Results that the remote holds. Asked for a key, it gives a result file; its blobs come when they are wanted, and are
//! believed for their bytes alone. Unaware of stages.
//!
//! In the remote lies what lies in a store: `objects/ab/cdef…` and `results/ab/KEY.json`. A result of the remote is
//! kept in `afar/`, apart from those of the store, which have every blob here; it moves there when all of its own have
//! come.
//!
//! Files that belong to no result come and go as [`pieces`](crate::cache::pieces).

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};

use crate::cache::ranges::{self, Came};
use crate::cache::{
    Artifact, Cache, Found, Hit, RESULT_BYTES, RESULT_VERSION, StageResult, is_newer, parse_result, read_result,
};
use crate::digest::Digest;
use crate::lock::Lock;
use crate::remote::{Failed, Meter, Reading, Remote, side_by_side};
use crate::stat_cache::Stamp;

/// Results that are asked for at once.
const QUESTIONS: usize = 16;

/// Blobs that are brought at once.
const TRANSFERS: usize = 8;

/// How often a transfer that breaks off goes on.
pub(super) const TRIES: usize = 5;

/// Bytes that are moved at a time.
pub(super) const BUFFER: usize = 1 << 18;

/// What came of bringing blobs.
#[derive(Debug, Default)]
pub struct Brought {
    /// Blobs that came.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Blobs that did not come, and why.
    pub lacking: Vec<(Digest, String)>,
    /// Whether one of them may come another time, for only the remote was at fault.
    pub may_come: bool,
}

/// Who waits for a transfer.
pub struct Looker<'a> {
    /// Told of every byte.
    pub meter: &'a Meter,
    /// Asked again and again whether to end.
    pub stop: &'a (dyn Fn() -> bool + Sync),
}

/// The name of a blob in a remote.
pub fn blob_name(digest: &Digest) -> String {
    let digest = digest.hex();
    format!("objects/{}/{}", &digest[..2], &digest[2..])
}

/// The name of a result in a remote.
pub fn result_name(key: &Digest) -> String {
    let key = key.hex();
    format!("results/{}/{key}.json", &key[..2])
}

/// The result of a key that some bytes are, or why they are none.
pub fn checked(bytes: &[u8], key: &Digest) -> std::result::Result<StageResult, String> {
    match parse_result(bytes) {
        Ok(result) if result.key == *key && result.v == RESULT_VERSION => Ok(result),
        _ if is_newer(bytes) => Err("a newer pacer wrote it".into()),
        Ok(_) => Err("it belongs to another key or version".into()),
        Err(error) => Err(error.to_string()),
    }
}

impl Cache {
    /// Where a result of the remote is kept; none without a remote.
    pub(super) fn afar_path(&self, key: &Digest) -> Option<PathBuf> {
        Some(self.store.afar_path(&self.remote.as_ref()?.id(), key))
    }

    /// A result that the remote was found to hold.
    pub(super) fn find_afar(&self, key: &Digest) -> Option<Found> {
        let path = self.afar_path(key).filter(|_| self.is_believed(key))?;
        let stamp = Stamp::read(&path).ok();
        let result = read_result(&path).ok().filter(|result| result.v == RESULT_VERSION && result.key == *key)?;
        Some(match self.refused_one(&result.artifacts) {
            Some(artifact) => Found::Damaged(format!("the remote cannot give its artifact `{}`", artifact.name)),
            None => Found::Hit(Hit { afar: true, ..Hit::new(result, stamp) }),
        })
    }

    /// Whether nothing speaks against the remote's result of a key.
    pub(super) fn is_believed(&self, key: &Digest) -> bool {
        self.remote.as_ref().is_some_and(|remote| !remote.is_disowned(key))
    }

    /// Whether the remote could be asked for a key.
    pub fn could_ask(&self, key: &Digest) -> bool {
        self.remote.as_ref().is_some_and(|remote| !remote.was_asked(key) && !remote.is_down())
    }

    /// Asks the remote for the results of keys, many at once; how many it has. Each key is asked for once.
    pub fn ask(&self, keys: &[Digest]) -> usize {
        let Some(remote) = &self.remote else { return 0 };
        let keys: Vec<Digest> = keys.iter().filter(|key| remote.note_asked(**key)).copied().collect();
        let found = side_by_side(&keys, QUESTIONS, |key| {
            self.ask_one(remote, key).unwrap_or_else(|error| {
                remote.warn_once(&error);
                false
            })
        });
        found.into_iter().filter(|found| *found).count()
    }

    fn ask_one(&self, remote: &Remote, key: &Digest) -> Result<bool> {
        let name = result_name(key);
        let Some(bytes) = remote.read(&name, RESULT_BYTES)? else { return Ok(false) };
        if let Err(why) = checked(&bytes, key) {
            if !is_newer(&bytes) {
                remote.refuse(&name);
            }
            tracing::warn!("`{name}` of the remote `{}` is refused: {why}", remote.url());
            return Ok(false);
        }
        // Should it be lost, it is asked for once more.
        self.store.write_lightly(&self.store.afar_path(&remote.id(), key), &bytes)?;
        Ok(true)
    }

    /// Takes back that the remote has a result, for its blobs could not be had.
    pub fn disown(&self, key: &Digest) {
        let (Some(remote), Some(path)) = (&self.remote, self.afar_path(key)) else { return };
        remote.disown(*key);
        if !remote.is_down() {
            let _ = fs::remove_file(path);
        }
    }

    /// Brings the blobs of artifacts that are not here, several at once.
    pub fn bring(&self, artifacts: &[Artifact], looker: &Looker<'_>) -> Brought {
        let mut wanted: Vec<&Artifact> = self.absent(artifacts);
        // The largest first, so that the last to end is not the longest.
        wanted.sort_by_key(|artifact| (std::cmp::Reverse(artifact.bytes), artifact.digest));
        wanted.dedup_by_key(|artifact| artifact.digest);
        let outcomes = side_by_side(&wanted, TRANSFERS, |artifact| self.bring_one(artifact, looker));
        let mut brought = Brought::default();
        for (artifact, outcome) in wanted.iter().zip(outcomes) {
            match outcome {
                Ok(()) => {
                    brought.blobs += 1;
                    brought.bytes += artifact.bytes;
                }
                Err(error) => {
                    brought.may_come |= Failed::is(&error);
                    brought.lacking.push((artifact.digest, format!("{error:#}")));
                }
            }
        }
        brought
    }

    /// Those artifacts whose blobs are not here.
    pub fn absent<'a>(&self, artifacts: &'a [Artifact]) -> Vec<&'a Artifact> {
        artifacts.iter().filter(|artifact| !self.store.has(&artifact.digest, artifact.bytes)).collect()
    }

    fn bring_one(&self, artifact: &Artifact, looker: &Looker<'_>) -> Result<()> {
        let Some(remote) = &self.remote else { bail!("there is no remote to bring it from") };
        let waiting = |_| if (looker.stop)() { Err(anyhow!("it was interrupted")) } else { Ok(()) };
        let _lock = Lock::take(&self.store.lock_path(&artifact.digest), waiting)?;
        if self.store.has(&artifact.digest, artifact.bytes) {
            return Ok(());
        }
        let part = self.store.incoming_path(&artifact.digest);
        let was_begun = part.exists();
        self.fetch(remote, artifact, &part, looker)?;
        if self.store.admit(&part, &artifact.digest)? {
            return Ok(());
        }
        // What was begun another time may be what is wrong.
        fs::remove_file(&part)?;
        if was_begun {
            self.fetch(remote, artifact, &part, looker)?;
            if self.store.admit(&part, &artifact.digest)? {
                return Ok(());
            }
            fs::remove_file(&part)?;
        }
        Err(self.refused(remote, &artifact.digest, "its bytes are not those of its name"))
    }

    /// Brings the bytes of a blob into a file, which may hold the first of them.
    fn fetch(&self, remote: &Remote, artifact: &Artifact, part: &Path, looker: &Looker<'_>) -> Result<()> {
        let (name, wanted) = (blob_name(&artifact.digest), artifact.bytes);
        if wanted >= ranges::LARGE && remote.gives_ranges() {
            match ranges::fetch(remote, &name, part, wanted, looker)? {
                Came::Whole => return Ok(()),
                Came::NotInRanges => {}
                Came::Broken(broken) => return Err(self.broken_off(broken, &name, part)),
            }
        }
        let mut tries = TRIES;
        loop {
            let there = fs::metadata(part).map_or(0, |metadata| metadata.len());
            if there == wanted && part.exists() {
                return Ok(());
            }
            let from = if there < wanted { there } else { 0 };
            let reading = remote.get(&name, from)?;
            let reading = reading.ok_or_else(|| self.refused(remote, &artifact.digest, "it is not there"))?;
            match receive(reading, part, wanted, looker) {
                Ok(length) if length == wanted => return Ok(()),
                Ok(length) => {
                    let _ = fs::remove_file(part);
                    let has = if length > wanted { "more".to_owned() } else { length.to_string() };
                    return Err(self.refused(remote, &artifact.digest, &format!("it has {has} of {wanted} bytes")));
                }
                Err(Broken::There(_)) if tries > 1 => tries -= 1,
                Err(broken) => return Err(self.broken_off(broken, &name, part)),
            }
        }
    }

    fn broken_off(&self, broken: Broken, name: &str, part: &Path) -> anyhow::Error {
        match broken {
            Broken::Here(error) => self.store.cannot_write(error, part),
            Broken::Stopped => anyhow!("it was interrupted; what came is kept"),
            Broken::There(error) => Failed::told(format!("`{name}` breaks off again and again: {error}")).into(),
        }
    }

    /// Moves a result of the remote among those of the store, if all of its blobs have come.
    pub fn keep(&self, key: &Digest) -> Result<bool> {
        let Some(path) = self.afar_path(key).filter(|path| path.exists()) else { return Ok(false) };
        let result = self.result(key)?;
        if !self.absent(&result.artifacts).is_empty() {
            return Ok(false);
        }
        if !self.store.result_path(key).exists() {
            self.store.write_json(&self.store.result_path(key), &result)?;
        }
        let _ = fs::remove_file(path);
        Ok(true)
    }

    /// The file behind an artifact, which is brought from the remote where it is not here.
    pub fn blob(&self, artifact: &Artifact) -> Result<PathBuf> {
        let path = self.store.object_path(&artifact.digest);
        if self.remote.is_some() && !self.store.has(&artifact.digest, artifact.bytes) {
            let looker = Looker { meter: &Meter::default(), stop: &|| false };
            if let Some((_, why)) = self.bring(std::slice::from_ref(artifact), &looker).lacking.first() {
                bail!("artifact `{}` is not here and could not be brought: {why}", artifact.name);
            }
        }
        Ok(path)
    }
}

/// Why a transfer broke off.
pub(super) enum Broken {
    /// This machine cannot keep it.
    Here(io::Error),
    /// The remote ended it.
    There(io::Error),
    /// It was asked to end.
    Stopped,
}

/// Writes what is read after what is there; the length of the file in the end, which is not more than one byte beyond
/// the wanted one.
fn receive(reading: Reading, part: &Path, wanted: u64, looker: &Looker<'_>) -> std::result::Result<u64, Broken> {
    let open = || -> io::Result<File> {
        let mut file = File::options().create(true).truncate(false).write(true).open(part)?;
        file.set_len(reading.from)?;
        file.seek(SeekFrom::Start(reading.from))?;
        Ok(file)
    };
    let mut file = open().map_err(Broken::Here)?;
    let mut body = reading.body.take(wanted + 1 - reading.from.min(wanted));
    let mut length = reading.from;
    let mut buffer = vec![0; BUFFER];
    loop {
        if (looker.stop)() {
            return Err(Broken::Stopped);
        }
        let read = match body.read(&mut buffer) {
            Ok(0) => return Ok(length),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::There(error)),
        };
        file.write_all(&buffer[..read]).map_err(Broken::Here)?;
        length += read as u64;
        looker.meter.add(read as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use pacer_stages::artifact::ArtifactType;
    use serde_json::json;

    use super::*;
    use crate::cache::push::Trust;
    use crate::key::{Record, RecordParts};
    use crate::profile::RemoteSettings;
    use crate::store::Store;

    /// A store in a folder that shares its results in another.
    fn cache(folder: &Path, name: &str) -> Cache {
        let url = folder.join("remote").display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        Cache { store: Store::open(&folder.join(name)).unwrap(), remote: Some(Arc::new(remote)) }
    }

    /// Makes the result of a stage that wrote some bytes.
    fn make(cache: &Cache, kind: &'static str, bytes: &[u8]) -> (Digest, Artifact) {
        let parts = RecordParts {
            kind,
            code: &[],
            params: Arc::new(json!({})),
            inputs: json!({}),
            seed: None,
            numeric: None,
            environment: None,
        };
        let record = Record::new(parts);
        let path = cache.store.path("tmp").join(kind);
        fs::write(&path, bytes).unwrap();
        let (digest, bytes) = cache.store.adopt(&path).unwrap();
        let artifact = Artifact { name: "data".into(), artifact: ArtifactType::File, digest, bytes };
        let result = StageResult {
            v: RESULT_VERSION,
            key: record.key(),
            record: record.json(),
            artifacts: vec![artifact.clone()],
            metrics: serde_json::Map::new(),
            warnings: Vec::new(),
            seconds: 1.0,
            peak_bytes: None,
            finished: 0,
            sum: None,
        };
        cache.store.write_json(&cache.store.result_path(&record.key()), &result.summed()).unwrap();
        (record.key(), artifact)
    }

    #[test]
    fn a_machine_that_shares_no_file_system_gets_inputs_and_gives_results() {
        let folder = tempfile::tempdir().unwrap();
        let (head, node) = (cache(folder.path(), "head"), cache(folder.path(), "node"));
        let meter = Meter::default();
        let looker = Looker { meter: &meter, stop: &|| false };
        let (input_key, input) = make(&head, "first", b"input");
        assert_eq!(head.push(&input_key, Trust::Result, &looker).unwrap().bytes, 5);
        // The node knows the artifact that its job reads, not the result that it is of.
        let brought = node.bring(&[input.clone(), input.clone()], &looker);
        assert_eq!((brought.blobs, brought.bytes, brought.lacking.len()), (1, 5, 0));
        assert_eq!(fs::read(node.blob(&input).unwrap()).unwrap(), b"input");
        let (key, output) = make(&node, "second", b"output");
        node.push(&key, Trust::Result, &looker).unwrap();
        assert!(head.could_ask(&key));
        assert_eq!(head.ask(&[key, Digest::of(b"another")]), 1);
        let crate::cache::Found::Hit(hit) = head.find(&key) else { panic!("it was found") };
        assert!(hit.afar && !head.could_ask(&key));
        assert!(!head.keep(&key).unwrap(), "its blob is not here");
        assert_eq!(head.bring(&hit.artifacts, &looker).blobs, 1);
        assert!(head.keep(&key).unwrap() && !head.still_holds(&hit));
        assert_eq!(fs::read(head.store.object_path(&output.digest)).unwrap(), b"output");
        let crate::cache::Found::Hit(hit) = head.find_here(&key) else { panic!("it is here") };
        assert!(!hit.afar);
    }

    #[test]
    fn what_was_begun_is_gone_on_with_and_what_is_wrong_is_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (head, node) = (cache(folder.path(), "head"), cache(folder.path(), "node"));
        let meter = Meter::default();
        let looker = Looker { meter: &meter, stop: &|| false };
        let (key, artifact) = make(&head, "first", b"0123456789");
        head.push(&key, Trust::Result, &Looker { meter: &Meter::default(), stop: &|| false }).unwrap();
        let part = node.store.incoming_path(&artifact.digest);
        fs::write(&part, b"0123456").unwrap();
        assert_eq!((node.bring(std::slice::from_ref(&artifact), &looker).lacking.len(), meter.moved()), (0, 3));
        fs::remove_file(node.store.object_path(&artifact.digest)).unwrap();
        // A wrong beginning is found out in the end.
        fs::write(&part, b"xxxxxxx").unwrap();
        assert_eq!((node.bring(&[artifact], &looker).lacking.len(), meter.moved()), (0, 3 + 3 + 10));
    }

    #[test]
    fn a_transfer_that_is_interrupted_keeps_what_came() {
        let folder = tempfile::tempdir().unwrap();
        let (head, node) = (cache(folder.path(), "head"), cache(folder.path(), "node"));
        let meter = Meter::default();
        let (key, artifact) = make(&head, "first", &vec![7; 3 * BUFFER]);
        head.push(&key, Trust::Result, &Looker { meter: &Meter::default(), stop: &|| false }).unwrap();
        let brought =
            node.bring(std::slice::from_ref(&artifact), &Looker { meter: &meter, stop: &|| meter.moved() > 0 });
        assert_eq!((brought.blobs, brought.lacking.len()), (0, 1));
        let there = fs::metadata(node.store.incoming_path(&artifact.digest)).unwrap().len();
        assert!(there > 0 && there < artifact.bytes);
    }
}
