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
use tempfile::TempDir;

use crate::digest::Digest;

/// The layout of the store; a store of a newer layout is refused.
const FORMAT: u32 = 1;

/// Files larger than this are hashed on all threads.
const PARALLEL_HASH_BYTES: u64 = 1 << 20;

/// What to do about a full disk.
pub const DISK_FULL: &str =
    "the disk is full: free some space (`pacer gc` helps), then run again; nothing finished is lost";

/// What to do about a store that cannot be written to.
pub const READ_ONLY: &str = "the store is read-only for you: name another with --store or PACER_STORE";

/// What to do about a disk that fails without a reason.
pub const BAD_DISK: &str = "see whether the disk is in order, then run again; nothing finished is lost";

/// The folders of a store.
const FOLDERS: [&str; 6] = ["objects", "results", "partial", "runs", "locks", "tmp"];

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
            Ok(text) => store.check_format(&text)?,
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

    fn create(&self, format: &Path) -> Result<()> {
        let make = |folder: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        for name in FOLDERS {
            let folder = self.root.join(name);
            make(&folder).map_err(|error| self.cannot_write(error, &folder))?;
        }
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
        self.spread("objects", &digest.to_string(), "")
    }

    /// Where the result of a key lies.
    pub fn result_path(&self, key: &Digest) -> PathBuf {
        self.spread("results", &key.to_string(), ".json")
    }

    /// Where training keeps its checkpoints for a key.
    pub fn partial_path(&self, key: &Digest) -> PathBuf {
        self.path("partial").join(key.to_string())
    }

    fn spread(&self, folder: &str, digest: &str, extension: &str) -> PathBuf {
        let (first, rest) = digest.split_at(2);
        // A result keeps its whole key as its name, so that people can search for it.
        let name = if extension.is_empty() { rest.to_owned() } else { format!("{digest}{extension}") };
        self.root.join(folder).join(first).join(name)
    }

    /// A fresh folder on the store's file system, removed when dropped.
    pub fn scratch(&self) -> Result<TempDir> {
        let tmp = self.path("tmp");
        tempfile::Builder::new().prefix("job-").tempdir_in(&tmp).map_err(|error| self.cannot_write(error, &tmp))
    }

    /// Marks the store as in use; many may be at once. Held as long as the file lives.
    pub fn lock_shared(&self) -> Result<File> {
        let file = self.open_lock()?;
        file.lock_shared().with_context(|| format!("`{}` cannot be locked", self.root.display()))?;
        Ok(file)
    }

    /// Takes the store for one alone; refused while anybody uses it.
    pub fn lock_alone(&self) -> Result<File> {
        let file = self.open_lock()?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                bail!("a run uses the store `{}`: collect when it has ended", self.root.display())
            }
            Err(fs::TryLockError::Error(error)) => {
                Err(error).with_context(|| format!("`{}` cannot be locked", self.root.display()))
            }
        }
    }

    fn open_lock(&self) -> Result<File> {
        let path = self.path("locks").join("store.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        file.map_err(|error| self.cannot_write(error, &path))
    }

    /// Whether a blob is there with the right size.
    pub fn has(&self, digest: &Digest, bytes: u64) -> bool {
        fs::metadata(self.object_path(digest)).is_ok_and(|metadata| metadata.is_file() && metadata.len() == bytes)
    }

    /// Takes a file in as a blob: hashed, synced, made read-only and renamed into place.
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

    /// Makes a file durable and read-only, and renames it into its place.
    fn place(&self, path: &Path, target: &Path) -> io::Result<()> {
        let file = File::open(path)?;
        file.set_permissions(fs::Permissions::from_mode(0o444))?;
        file.sync_all()?;
        let folder = target.parent().expect("blobs lie in folders");
        fs::create_dir_all(folder)?;
        fs::rename(path, target)?;
        File::open(folder)?.sync_all()
    }

    /// Writes a JSON file whole or not at all.
    pub fn write_json(&self, path: &Path, value: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec_pretty(value)?;
        text.push(b'\n');
        self.write_whole(path, &text)
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let write = || -> io::Result<()> {
            let folder = path.parent().expect("files of the store lie in folders");
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(self.path("tmp"))?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(folder)?.sync_all()
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

/// The digest and the size of a file's content.
pub fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    let hash = || -> io::Result<(Digest, u64)> {
        let bytes = fs::metadata(path)?.len();
        let mut hasher = blake3::Hasher::new();
        if bytes > PARALLEL_HASH_BYTES {
            hasher.update_mmap_rayon(path)?;
        } else {
            hasher.update(&fs::read(path)?);
        }
        Ok((Digest::finish(&hasher), bytes))
    };
    hash().with_context(|| format!("`{}` cannot be read", path.display()))
}
