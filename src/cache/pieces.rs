//! Files that are no artifacts of a result on their way through the remote, each named by its content. Unaware of what
//! they are for.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pacer_stages::artifact::ArtifactType;
use serde::{Deserialize, Serialize};

use crate::cache::afar::{Looker, blob_name};
use crate::cache::{Artifact, Cache};
use crate::digest::Digest;
use crate::hash::hash_file;
use crate::remote::{Failed, Remote, side_by_side};

/// Files that are moved at once.
const TRANSFERS: usize = 4;

/// A file in the remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Piece {
    /// What its sender calls it.
    pub name: String,
    /// Its content.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
}

impl Piece {
    /// As something that the remote can be asked for.
    pub fn artifact(&self) -> Artifact {
        let Self { name, digest, bytes } = self.clone();
        Artifact { name, artifact: ArtifactType::File, digest, bytes }
    }

    /// Whether a file holds the same already.
    fn is_at(&self, path: &Path) -> bool {
        let is_as_large = fs::metadata(path).is_ok_and(|metadata| metadata.len() == self.bytes);
        is_as_large && hash_file(path).is_ok_and(|(digest, _)| digest == self.digest)
    }
}

impl Cache {
    /// Puts files into the remote, each under a name for whoever gets it.
    pub fn send(&self, files: &[(String, PathBuf)], looker: &Looker<'_>) -> Result<Vec<Piece>> {
        let remote = self.remote.as_ref().context("there is no remote")?;
        let sent = side_by_side(files, TRANSFERS, |(name, path)| self.send_one(remote, name, path, looker));
        sent.into_iter().collect()
    }

    fn send_one(&self, remote: &Remote, name: &str, path: &Path, looker: &Looker<'_>) -> Result<Piece> {
        if (looker.stop)() {
            bail!("it was interrupted");
        }
        let (digest, bytes) = self.digest_of(path)?;
        self.put_unless_kept(remote, remote.look(&blob_name(&digest))?, (digest, bytes), path, looker)?;
        Ok(Piece { name: name.to_owned(), digest, bytes })
    }

    /// What a file holds; a blob of the store says it by its name.
    fn digest_of(&self, path: &Path) -> Result<(Digest, u64)> {
        let is_blob = |digest: &Digest| self.store.object_path(digest) == path;
        let name = || Some(format!("{}{}", path.parent()?.file_name()?.to_str()?, path.file_name()?.to_str()?));
        match name().and_then(|name| name.parse().ok()).filter(is_blob) {
            Some(digest) => Ok((digest, fs::metadata(path)?.len())),
            None => hash_file(path).with_context(|| format!("`{}` cannot be read", path.display())),
        }
    }

    /// Brings pieces from the remote to where they are wanted; they come into the store and are copied from there. A
    /// file that is as wanted stays as it is: by its age it is told whether a training got on.
    pub fn receive(&self, pieces: &[(Piece, PathBuf)], looker: &Looker<'_>) -> Result<()> {
        // No result names them: a collection would take what has come before it is copied.
        let _held_off = self.store.hold_off_collections();
        let pieces: Vec<_> = pieces.iter().filter(|(piece, path)| !piece.is_at(path)).collect();
        let artifacts: Vec<Artifact> = pieces.iter().map(|(piece, _)| piece.artifact()).collect();
        let brought = self.bring(&artifacts, looker);
        match brought.lacking.into_iter().next() {
            Some((_, why)) if brought.may_come => return Err(Failed::told(why).into()),
            Some((_, why)) => bail!("{why}"),
            None => {}
        }
        for (piece, path) in pieces {
            let copy = || -> std::io::Result<()> {
                fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
                // Beside it first, so that it is never there by half.
                let mut whole = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
                std::io::copy(&mut fs::File::open(self.store.object_path(&piece.digest))?, whole.as_file_mut())?;
                whole.persist(path).map(drop).map_err(|error| error.error)
            };
            copy().map_err(|error| self.store.cannot_write(error, path))?;
        }
        Ok(())
    }
}

/// All files below a folder, each with its path from there; none where there is no folder.
pub fn files_below(folder: &Path) -> Vec<(String, PathBuf)> {
    let entries = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    let files = entries.filter(|entry| entry.file_type().is_file());
    let named = files.filter_map(|entry| {
        let name = entry.path().strip_prefix(folder).ok()?.to_str()?.to_owned();
        Some((name, entry.into_path()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::profile::RemoteSettings;
    use crate::remote::Meter;
    use crate::store::Store;

    fn cache(folder: &Path, name: &str) -> Cache {
        let url = folder.join("remote").display().to_string();
        let remote = Remote::open(&RemoteSettings { url, ..RemoteSettings::default() }).unwrap();
        Cache { store: Store::open(&folder.join(name)).unwrap(), remote: Some(Arc::new(remote)) }
    }

    #[test]
    fn files_of_a_folder_come_out_elsewhere_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (cache(folder.path(), "here"), cache(folder.path(), "there"));
        let (meter, from, to) = (Meter::default(), folder.path().join("from"), folder.path().join("to"));
        let looker = Looker { meter: &meter, stop: &|| false };
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/a"), "1").unwrap();
        fs::write(from.join("b"), "2").unwrap();
        let sent = here.send(&files_below(&from), &looker).unwrap();
        let wanted: Vec<_> = sent.iter().map(|piece| (piece.clone(), to.join(&piece.name))).collect();
        there.receive(&wanted, &looker).unwrap();
        assert_eq!(fs::read_to_string(to.join("deep/a")).unwrap(), "1");
        assert_eq!(fs::read_to_string(to.join("b")).unwrap(), "2");
        assert_eq!(files_below(&folder.path().join("nowhere")), []);
        let moved = meter.moved();
        here.send(&files_below(&from), &looker).unwrap();
        assert_eq!(meter.moved(), moved, "what is there is not sent again");
    }

    #[test]
    fn a_file_that_comes_back_as_it_was_sent_looks_no_younger() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path(), "here");
        let (meter, path, other) = (Meter::default(), folder.path().join("state"), folder.path().join("other"));
        let looker = Looker { meter: &meter, stop: &|| false };
        fs::write(&path, "a").unwrap();
        fs::write(&other, "b").unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let written = || fs::metadata(&path).unwrap().modified().unwrap();
        let sent = cache.send(&[("same".into(), path.clone()), ("other".into(), other)], &looker).unwrap();
        cache.receive(&[(sent[0].clone(), path.clone())], &looker).unwrap();
        assert_eq!(written(), old);
        cache.receive(&[(sent[1].clone(), path.clone())], &looker).unwrap();
        assert!(written() > old, "that one got on");
        assert_eq!(fs::read_to_string(&path).unwrap(), "b");
    }

    #[test]
    fn a_blob_is_not_read_to_be_named_and_a_damaged_one_does_not_arrive() {
        let folder = tempfile::tempdir().unwrap();
        let (here, there) = (cache(folder.path(), "here"), cache(folder.path(), "there"));
        let (meter, path) = (Meter::default(), here.store.path("tmp").join("x"));
        let looker = Looker { meter: &meter, stop: &|| false };
        fs::write(&path, "blob").unwrap();
        let (digest, _) = here.store.adopt(&path).unwrap();
        let blob = here.store.object_path(&digest);
        assert_eq!(here.digest_of(&blob).unwrap(), (digest, 4));
        let sent = here.send(&[("x".into(), blob)], &looker).unwrap();
        let other = here.store.path("tmp").join("y");
        fs::write(&other, "whole").unwrap();
        let damaged = here.store.object_path(&here.store.adopt(&other).unwrap().0);
        fs::remove_file(&damaged).unwrap();
        fs::write(&damaged, "spoil").unwrap();
        let error = here.send(&[("y".into(), damaged)], &looker).unwrap_err();
        assert!(error.to_string().contains("is damaged and was not put"), "{error}");
        fs::write(folder.path().join("remote").join(blob_name(&digest)), "blub").unwrap();
        let error = there.receive(&[(sent[0].clone(), folder.path().join("y"))], &looker).unwrap_err();
        assert!(error.to_string().contains("is refused"), "{error}");
        assert!(!folder.path().join("y").exists());
    }
}
