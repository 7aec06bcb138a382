//! The store: plain files under one folder. Knows how bytes get in whole or not at all; unaware of keys' meaning,
//! of stages and of runs.
//!
//! A result is committed by one rename, after everything it names has been synced. Whatever lies in `tmp/` was
//! never committed and means nothing.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::digest::Digest;
use crate::hash::hash_file;
use crate::lock;

/// The layout of the store; a store of a newer layout is refused.
const FORMAT: u32 = 1;

/// What to do about a full disk.
pub const DISK_FULL: &str =
    "the disk is full: free some space (`pacer gc` helps), then run again; nothing finished is lost";

/// What to do about a store that cannot be written to.
pub const READ_ONLY: &str = "the store is read-only for you: name another with --store or PACER_STORE";

/// What to do about a disk that fails without a reason.
pub const BAD_DISK: &str = "see whether the disk is in order, then run again; nothing finished is lost";

/// The folders of a store.
const FOLDERS: [&str; 10] =
    ["objects", "results", "afar", "refused", "incoming", "partial", "runs", "index", "locks", "tmp"];

/// The lock that keeps runs and collections out of each other's way.
const COLLECTION_LOCK: &str = "locks/collection.lock";

/// A store on disk.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens a store, making it when there is none, readable by its user alone.
    pub fn open(root: &Path) -> Result<Self> {
        let store = Self { root: std::path::absolute(root)? };
        if store.root.to_str().is_none() {
            bail!("the path of the store `{}` is not UTF-8: name another with --store", store.root.display());
        }
        let format = store.root.join("FORMAT");
        match fs::read_to_string(&format) {
            Ok(text) => {
                store.check_format(&text)?;
                store.refuse_links()?;
                store.mend_folders();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => store.create(&format)?,
            Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", format.display())),
        }
        Ok(store)
    }

    fn check_format(&self, text: &str) -> Result<()> {
        let format = text.trim().parse::<u32>();
        match format {
            Ok(FORMAT) => Ok(()),
            Ok(newer) if newer > FORMAT => bail!(
                "the store `{}` was written in format {newer}, by a newer pacer; this one knows format {FORMAT}: \
                 update pacer, or name another store with --store",
                self.root.display()
            ),
            _ => bail!(
                "`{}` does not say a format that this pacer knows: name another store with --store",
                self.root.join("FORMAT").display()
            ),
        }
    }

    /// A folder that is a link could make the store write, and collections delete, somewhere else.
    fn refuse_links(&self) -> Result<()> {
        let is_link = |name: &&&str| fs::symlink_metadata(self.root.join(name)).is_ok_and(|it| it.is_symlink());
        match FOLDERS.iter().find(is_link) {
            None => Ok(()),
            Some(name) => bail!(
                "`{}` is a symbolic link, which a store must not hold: put the whole store where it shall lie and name \
                 that with --store",
                self.root.join(name).display()
            ),
        }
    }

    /// Makes the folders that are gone or came with a newer pacer. Where that fails, whoever writes there tells.
    fn mend_folders(&self) {
        for folder in FOLDERS.map(|name| self.root.join(name)).iter().filter(|folder| !folder.exists()) {
            let _ = make_private(folder);
        }
    }

    fn create(&self, format: &Path) -> Result<()> {
        for name in FOLDERS {
            let folder = self.root.join(name);
            make_private(&folder).map_err(|error| self.cannot_write(error, &folder))?;
        }
        self.refuse_links()?;
        self.write_whole(format, format!("{FORMAT}\n").as_bytes())
    }

    /// The folder of the store.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of a folder or file of the store.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Where a blob lies.
    pub fn object_path(&self, digest: &Digest) -> PathBuf {
        let digest = digest.hex();
        let (first, rest) = digest.split_at(2);
        self.root.join(format!("objects/{first}/{rest}"))
    }

    /// Where the result of a key lies.
    pub fn result_path(&self, key: &Digest) -> PathBuf {
        let key = key.hex();
        // A result keeps its whole key as its name, so that people can search for it.
        self.root.join(format!("results/{}/{key}.json", &key[..2]))
    }

    /// Where a result lies whose artifacts a remote holds; the remote by its short name.
    pub fn afar_path(&self, remote: &str, key: &Digest) -> PathBuf {
        let key = key.hex();
        self.root.join(format!("afar/{remote}/{}/{key}.json", &key[..2]))
    }

    /// Where a blob lies until all of it has come from a remote.
    pub fn incoming_path(&self, digest: &Digest) -> PathBuf {
        self.path("incoming").join(digest.to_string())
    }

    /// The file that tells how the last try of a key failed.
    pub fn failure_path(&self, key: &Digest) -> PathBuf {
        let hex = key.hex();
        self.root.join("failures").join(&hex[..2]).join(format!("{hex}.json"))
    }

    /// Where training keeps its checkpoints for a key.
    pub fn partial_path(&self, key: &Digest) -> PathBuf {
        self.path("partial").join(key.to_string())
    }

    /// A fresh folder on the store's file system, removed when dropped; its name begins with its owner's.
    pub fn scratch(&self, owner: &str) -> Result<TempDir> {
        let tmp = self.path("tmp");
        tempfile::Builder::new()
            .prefix(&format!("{owner}-"))
            .tempdir_in(&tmp)
            .map_err(|error| self.cannot_write(error, &tmp))
    }

    /// Holds off collections: what is found or placed while this is held is not freed before it is released.
    pub fn hold_off_collections(&self) -> Result<File> {
        lock::share(&self.path(COLLECTION_LOCK))
    }

    /// Waits until nobody holds collections off, and keeps everybody else waiting.
    pub fn lock_for_collection(&self) -> Result<File> {
        lock::alone(&self.path(COLLECTION_LOCK))
    }

    /// The lock of a key, or of a course of training.
    pub fn lock_path(&self, key: &Digest) -> PathBuf {
        self.path("locks").join(format!("{key}.lock"))
    }

    /// The lock of somebody who is no run and keeps a scratch folder.
    pub fn owner_lock_path(&self, owner: &str) -> PathBuf {
        self.path("locks").join(format!("{owner}.lock"))
    }

    /// Whether a blob is there with the right size.
    pub fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::metadata(self.object_path(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
    }

    /// Takes a file in as a blob: hashed, made read-only and renamed into place.
    pub fn adopt(&self, path: &Path) -> Result<(Digest, u64)> {
        let metadata = fs::symlink_metadata(path).with_context(|| format!("`{}` was not written", path.display()))?;
        if !metadata.is_file() {
            bail!("`{}` is no plain file; a stage must write its outputs as plain files", path.display());
        }
        // A file with a second name could be changed through that name.
        let copy = (metadata.nlink() > 1).then(|| path.with_extension("copy"));
        let path = match &copy {
            Some(copy) => {
                fs::copy(path, copy).map_err(|error| self.cannot_write(error, copy))?;
                copy.as_path()
            }
            None => path,
        };
        let (digest, bytes) = hash_file(path)?;
        let target = self.object_path(&digest);
        // Hashed, for a damaged blob of the right size must not stay.
        if self.has(&digest, bytes) && hash_file(&target).is_ok_and(|(there, _)| there == digest) {
            return Ok((digest, bytes));
        }
        self.place(path, &target).map_err(|error| self.cannot_write(error, &target))?;
        Ok((digest, bytes))
    }

    /// Takes in what came from elsewhere as the blob that it is said to be, and makes it outlive a power cut; false
    /// where it is another.
    pub fn admit(&self, path: &Path, digest: &Digest) -> Result<bool> {
        if hash_file(path)?.0 != *digest {
            return Ok(false);
        }
        let target = self.object_path(digest);
        let admit = || -> io::Result<()> {
            File::open(path)?.sync_all()?;
            self.place(path, &target)?;
            File::open(target.parent().expect("blobs lie in folders"))?.sync_all()
        };
        admit().map(|()| true).map_err(|error| self.cannot_write(error, &target))
    }

    /// Makes a file read-only and renames it into its place.
    fn place(&self, path: &Path, target: &Path) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))?;
        make_folder(target.parent().expect("blobs lie in folders"))?;
        fs::rename(path, target)
    }

    /// Makes a blob outlive a power cut: its bytes and its name. Also one that was there before, for another process
    /// may have placed it a moment ago.
    pub fn sync_blob(&self, digest: &Digest) -> Result<()> {
        let path = self.object_path(digest);
        let sync = || -> io::Result<()> {
            File::open(&path)?.sync_all()?;
            File::open(path.parent().expect("blobs lie in folders"))?.sync_all()
        };
        sync().map_err(|error| self.cannot_write(error, &path))
    }

    /// Keeps something that only saves time: whole or not at all, but perhaps lost with the power. A store that
    /// cannot take it is warned of.
    pub fn remember(&self, path: &Path, value: &impl Serialize) {
        // A collection would take the half-written file for a dead one's.
        let _held_off = self.hold_off_collections();
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let bytes = postcard::to_stdvec(value).expect("what is remembered is plain data");
            let mut file = tempfile::NamedTempFile::new_in(self.path("tmp"))?;
            // Nothing else would notice a flipped bit.
            file.write_all(Digest::of(&bytes).bytes())?;
            file.write_all(&bytes)?;
            file.persist(path)?;
            Ok(())
        };
        if let Err(error) = write() {
            tracing::warn!("{:#}", self.cannot_write(error, path));
        }
    }

    /// What was kept by [`Store::remember`]; nothing where it is damaged.
    pub fn recall<T: DeserializeOwned>(&self, path: &Path) -> Option<T> {
        let bytes = fs::read(path).ok()?;
        let (sum, bytes) = bytes.split_first_chunk()?;
        (Digest::of(bytes).bytes() == sum).then(|| postcard::from_bytes(bytes).ok()).flatten()
    }

    /// Writes a JSON file whole or not at all.
    pub fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        self.write_whole(path, &text)
    }

    /// Writes a file whole or not at all.
    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            let folder = path.parent().expect("files of the store lie in folders");
            make_folder(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(self.path("tmp"))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|error| self.cannot_write(error, path))
    }

    /// Writes a file whole or not at all; it may be lost with the power.
    pub fn write_lightly(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        // A collection would take the half-written file for a dead one's.
        let _held_off = self.hold_off_collections();
        let write = || -> io::Result<()> {
            fs::create_dir_all(path.parent().expect("files of the store lie in folders"))?;
            let mut file = tempfile::NamedTempFile::new_in(self.path("tmp"))?;
            file.write_all(bytes)?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|error| self.cannot_write(error, path))
    }

    /// Says why the store cannot be written to, and what to do.
    pub fn cannot_write(&self, error: io::Error, path: &Path) -> anyhow::Error {
        let remedy = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DISK_FULL,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => READ_ONLY,
            _ => BAD_DISK,
        };
        anyhow::Error::new(error).context(format!("`{}` cannot be written; {remedy}", path.display()))
    }
}

/// Makes a folder for its user alone.
fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes a folder whose name outlives a power cut.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder)?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}
