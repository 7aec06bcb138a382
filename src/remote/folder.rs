//! A folder as a remote: on a shared file system, or a disk that is carried. Knows files; unaware of what they mean.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::remote::{Content, Existing, Fault, Listed, Reading, Seen};

/// Where files lie before they are whole.
const UNFINISHED: &str = "tmp";

/// A folder that holds objects by their names.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// A remote in a folder, which a first put makes.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A folder whose file system is not mounted must not look like one that holds nothing.
    pub fn reach(&self) -> Result<(), Fault> {
        let nearest = if self.root.exists() { Some(self.root.as_path()) } else { self.root.parent() };
        match nearest.filter(|folder| folder.is_dir()) {
            Some(_) => Ok(()),
            None => Err(Fault::Unreachable(format!("there is no folder `{}`", self.root.display()))),
        }
    }

    /// Opens an object from some byte on.
    pub fn get(&self, name: &str, from: u64) -> Result<Option<Reading>, Fault> {
        let open = || -> io::Result<Reading> {
            let mut file = File::open(self.path(name))?;
            let from = file.seek(SeekFrom::Start(from))?;
            Ok(Reading { from, body: Box::new(file) })
        };
        self.unless_absent(open())
    }

    /// What is told of an object.
    pub fn look(&self, name: &str) -> Result<Option<Seen>, Fault> {
        let seen = fs::metadata(self.path(name)).map(|metadata| seen(&metadata));
        self.unless_absent(seen)
    }

    /// Puts an object, whole or not at all; whether one that was there was left.
    pub fn put(&self, name: &str, content: Content<'_>, existing: Existing) -> Result<bool, Fault> {
        self.reach()?;
        let put = || -> io::Result<bool> {
            let target = self.path(name);
            let unfinished = self.root.join(UNFINISHED);
            fs::create_dir_all(&unfinished)?;
            fs::create_dir_all(target.parent().unwrap_or(&self.root))?;
            let permissions = fs::Permissions::from_mode(0o644);
            let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(&unfinished)?;
            match content {
                Content::Bytes(bytes) => file.write_all(bytes)?,
                Content::File { path, .. } => {
                    io::copy(&mut File::open(path)?, file.as_file_mut())?;
                }
            }
            file.as_file().sync_all()?;
            match existing {
                Existing::Replace => file.persist(&target).map(|_| false).map_err(|error| error.error),
                Existing::Keep => match file.persist_noclobber(&target) {
                    Ok(_) => Ok(false),
                    Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
                    Err(error) => Err(error.error),
                },
            }
        };
        put().map_err(|error| self.fault(&error))
    }

    /// Makes an object young again.
    pub fn touch(&self, name: &str) -> Result<bool, Fault> {
        let touched = File::options().append(true).open(self.path(name));
        Ok(touched.and_then(|file| file.set_modified(SystemTime::now())).is_ok())
    }

    /// Every object below a prefix, which ends in a slash. Links are followed, as they are when an object is read.
    pub fn list(&self, prefix: &str) -> Result<Vec<Listed>, Fault> {
        self.reach()?;
        let mut listed = Vec::new();
        for entry in walkdir::WalkDir::new(self.path(prefix)).follow_links(true) {
            let (path, metadata) = match entry.and_then(|entry| Ok((entry.path().to_owned(), entry.metadata()?))) {
                Ok(told) => told,
                // Nobody has put anything there, or somebody was faster to remove it.
                Err(error) if error.io_error().is_some_and(|it| it.kind() == io::ErrorKind::NotFound) => continue,
                // Taken for empty, it would free all that the results in it name.
                Err(error) => return Err(self.fault(&error.into())),
            };
            let Ok(name) = path.strip_prefix(&self.root) else { continue };
            if metadata.is_file() {
                listed.push(Listed { name: name.to_string_lossy().into_owned(), seen: seen(&metadata) });
            }
        }
        Ok(listed)
    }

    /// Removes an object; one that is gone is no fault.
    pub fn delete(&self, name: &str) -> Result<(), Fault> {
        self.unless_absent(fs::remove_file(self.path(name))).map(drop)
    }

    /// Removes what was begun longer ago than some age and never finished; how many.
    pub fn give_up_unfinished(&self, age: Duration, only_count: bool) -> Result<usize, Fault> {
        let old = self.list(&format!("{UNFINISHED}/"))?.into_iter().filter(|listed| listed.seen.age >= age);
        let old: Vec<_> = old.collect();
        if !only_count {
            old.iter().try_for_each(|listed| self.delete(&listed.name))?;
        }
        Ok(old.len())
    }

    fn unless_absent<T>(&self, outcome: io::Result<T>) -> Result<Option<T>, Fault> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.reach().map(|()| None),
            Err(error) => Err(self.fault(&error)),
        }
    }

    fn fault(&self, error: &io::Error) -> Fault {
        let told = format!("`{}`: {error}", self.root.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Fault::Refused(told),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Refused(told),
            _ => Fault::Passing(told),
        }
    }
}

fn seen(metadata: &fs::Metadata) -> Seen {
    let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
    Seen { bytes: metadata.len(), age }
}

/// Lets a reader of an object be handed on.
pub type Body = Box<dyn Read + Send>;
