//! A folder as a remote: on a shared file system, or a disk that is carried. Knows files; unaware of what they mean.

use std::fs::{self, File};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::fresh;
use crate::remote::{Content, Existing, Fault, INTERRUPTED, Listed, Meter, Reading, Seen, Unfinished};

/// Where files lie before they are whole.
const UNFINISHED: &str = "tmp";

/// How their names begin; so many letters and digits follow.
const OWN: (&str, usize) = ("pacer-", 6);

/// Bytes that are copied at a time, between a look at whether to end and the next.
const CHUNK: u64 = 4 << 20;

/// What folders that are made get of the root's mode: with its group, all who share it can write there.
const FOLDER_BITS: u32 = 0o2777;

/// What files get of it.
const FILE_BITS: u32 = 0o666;

/// A folder that holds objects by their names.
#[derive(Clone, Debug)]
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
            let mut file = fresh::open(&self.path(name))?;
            let from = file.seek(SeekFrom::Start(from))?;
            Ok(Reading { from, body: Box::new(file) })
        };
        self.unless_absent(open())
    }

    /// What is told of an object.
    pub fn look(&self, name: &str) -> Result<Option<Seen>, Fault> {
        let seen = fresh::look(&self.path(name), |path| fs::metadata(path)).map(|metadata| seen(&metadata));
        self.unless_absent(seen)
    }

    /// Puts an object, whole or not at all; whether one that was there was left.
    pub fn put(&self, name: &str, content: Content<'_>, existing: Existing) -> Result<bool, Fault> {
        self.reach()?;
        let put = || -> io::Result<bool> {
            let target = self.path(name);
            self.make_folders(Path::new(UNFINISHED))?;
            self.make_folders(Path::new(name).parent().unwrap_or(Path::new("")))?;
            let mut file =
                tempfile::Builder::new().prefix(OWN.0).rand_bytes(OWN.1).tempfile_in(self.path(UNFINISHED))?;
            match content {
                Content::Bytes(bytes) => file.write_all(bytes)?,
                Content::File { path, meter, .. } => copy(&File::open(path)?, file.as_file_mut(), meter)?,
            }
            file.as_file().set_permissions(self.permissions(FILE_BITS)?)?;
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
        put().map_err(|error| match content {
            Content::File { meter, .. } if meter.is_ended() => Fault::Passing(INTERRUPTED.into()),
            _ => self.fault(&error),
        })
    }

    /// Makes the folders of a path below the root that are not there.
    fn make_folders(&self, below: &Path) -> io::Result<()> {
        if self.root.join(below).is_dir() {
            return Ok(());
        }
        let make = |folder: &Path| match fs::create_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            made => made.map(|()| true),
        };
        let mut folder = self.root.clone();
        make(&folder)?;
        for part in below {
            folder.push(part);
            if make(&folder)? {
                // Whatever the umask of who was first, the others can put something there too.
                fs::set_permissions(&folder, self.permissions(FOLDER_BITS)?)?;
            }
        }
        Ok(())
    }

    /// The mode of the root, as far as what lies in it gets it.
    fn permissions(&self, bits: u32) -> io::Result<fs::Permissions> {
        Ok(fs::Permissions::from_mode(fs::metadata(&self.root)?.permissions().mode() & bits))
    }

    /// Makes an object young again; false where that cannot be done.
    pub fn touch(&self, name: &str) -> Result<bool, Fault> {
        // A file of somebody else may be given this time by who may write to it, and no other.
        let now = || Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let now = Timestamps { last_access: now(), last_modification: now() };
        Ok(utimensat(CWD, self.path(name), &now, AtFlags::empty()).is_ok())
    }

    /// Every object below a prefix, which ends in a slash; each counts as one on the meter. Links are followed, as they
    /// are when an object is read.
    pub fn list(&self, prefix: &str, meter: &Meter) -> Result<Vec<Listed>, Fault> {
        self.reach()?;
        let mut listed = Vec::new();
        for entry in walkdir::WalkDir::new(self.path(prefix)).follow_links(true) {
            meter.add(1);
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

    /// Removes what was begun here longer ago than some age and never finished.
    pub fn give_up_unfinished(&self, age: Duration, only_count: bool, meter: &Meter) -> Result<Unfinished, Fault> {
        let all = self.list(&format!("{UNFINISHED}/"), meter)?;
        let (own, foreign): (Vec<_>, Vec<_>) = all.into_iter().partition(|listed| is_unfinished(&listed.name));
        let old: Vec<_> = own.iter().filter(|listed| listed.seen.age >= age).collect();
        if !only_count {
            old.iter().inspect(|_| meter.add(1)).try_for_each(|listed| self.delete(&listed.name))?;
        }
        Ok(Unfinished { given_up: old.len(), foreign: foreign.len() })
    }

    fn unless_absent<T>(&self, outcome: io::Result<T>) -> Result<Option<T>, Fault> {
        match outcome {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.reach().map(|()| None),
            // Somebody keeps it from others, by a mode that an administrator or another program gave it.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && fs::read_dir(&self.root).is_ok() => {
                Err(Fault::Hidden(format!("`{}`: {error}", self.root.display())))
            }
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

/// Whether a file has a name as they have before they are whole.
fn is_unfinished(name: &str) -> bool {
    let rest = name.strip_prefix(UNFINISHED).and_then(|name| name.strip_prefix('/')?.strip_prefix(OWN.0));
    rest.is_some_and(|rest| rest.len() == OWN.1 && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// Copies a file as fast as the file system can by itself, and tells how far it is.
fn copy(from: &File, to: &mut File, meter: &Meter) -> io::Result<()> {
    loop {
        if meter.is_ended() {
            return Err(io::Error::other(INTERRUPTED));
        }
        match io::copy(&mut from.take(CHUNK), to)? {
            0 => return Ok(()),
            copied => meter.add(copied),
        }
    }
}

fn seen(metadata: &fs::Metadata) -> Seen {
    let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
    Seen { bytes: metadata.len(), age }
}

/// Lets a reader of an object be handed on.
pub type Body = Box<dyn Read + Send>;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn all_that_is_put_is_open_to_those_to_whom_the_folder_is() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        let modes = || ["tmp", "objects", "objects/ab", "objects/ab/x"].map(|name| mode(&root.path().join(name)));
        for (root_mode, file_mode) in [(0o2775, 0o664), (0o755, 0o644), (0o700, 0o600)] {
            fs::set_permissions(root.path(), fs::Permissions::from_mode(root_mode)).unwrap();
            assert_eq!(folder.put("objects/ab/x", Content::Bytes(b"1"), Existing::Keep), Ok(false));
            assert_eq!(modes(), [root_mode, root_mode, root_mode, file_mode]);
            // What somebody else made is left as it is.
            fs::set_permissions(root.path().join("objects"), fs::Permissions::from_mode(0o711)).unwrap();
            assert_eq!(folder.put("objects/ab/x", Content::Bytes(b"2"), Existing::Replace), Ok(false));
            assert_eq!(modes(), [root_mode, 0o711, root_mode, file_mode]);
            ["tmp", "objects"].iter().for_each(|name| fs::remove_dir_all(root.path().join(name)).unwrap());
        }
    }

    #[test]
    fn only_files_that_were_begun_here_are_given_up() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::new(root.path());
        folder.put("x", Content::Bytes(b"1"), Existing::Keep).unwrap();
        let begun = tempfile::Builder::new().prefix(OWN.0).tempfile_in(root.path().join(UNFINISHED)).unwrap();
        for name in ["begun", ".tmpabcdef", "pacer-abc_ef", "pacer-longer7", "pacer-"] {
            fs::write(root.path().join(UNFINISHED).join(name), "of somebody").unwrap();
        }
        let [day, none] = [Duration::from_secs(86_400), Duration::ZERO];
        for (age, only_count, given_up) in [(day, false, 0), (none, true, 1), (none, false, 1), (none, false, 0)] {
            assert_eq!(
                folder.give_up_unfinished(age, only_count, &Meter::default()),
                Ok(Unfinished { given_up, foreign: 5 })
            );
        }
        assert!(!begun.path().exists());
    }

    #[test]
    fn a_file_that_is_put_is_counted_and_can_be_broken_off() {
        let root = tempfile::tempdir().unwrap();
        let (folder, path) = (Folder::new(&root.path().join("remote")), root.path().join("file"));
        let bytes = 2 * CHUNK + 7;
        File::create(&path).unwrap().set_len(bytes).unwrap();
        let meter = Meter::default();
        let content = Content::File { path: &path, bytes, meter: &meter };
        assert_eq!((folder.put("x", content, Existing::Keep), meter.moved()), (Ok(false), bytes));
        assert_eq!(folder.look("x").unwrap().map(|seen| seen.bytes), Some(bytes));
        meter.end();
        let interrupted = Err(Fault::Passing(INTERRUPTED.to_owned()));
        assert_eq!((folder.put("y", content, Existing::Keep), meter.moved()), (interrupted, bytes));
        assert_eq!(folder.look("y"), Ok(None));
        assert_eq!(folder.list("tmp/", &meter), Ok(Vec::new()), "nothing of it stays");
    }

    #[test]
    fn an_object_that_may_not_be_written_is_made_young_again() {
        let root = tempfile::tempdir().unwrap();
        let (folder, path) = (Folder::new(root.path()), root.path().join("x"));
        fs::write(&path, "1").unwrap();
        let long_ago = std::time::SystemTime::now() - Duration::from_secs(1000);
        File::options().append(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
        assert!(folder.look("x").unwrap().unwrap().age > Duration::from_secs(900));
        assert_eq!((folder.touch("x"), folder.touch("nothing")), (Ok(true), Ok(false)));
        assert!(folder.look("x").unwrap().unwrap().age < Duration::from_secs(900));
    }

    #[test]
    fn an_object_that_may_not_be_read_says_nothing_of_the_others() {
        let root = tempfile::tempdir().unwrap();
        let denied = |folder: &Folder| folder.unless_absent::<()>(Err(io::ErrorKind::PermissionDenied.into()));
        assert!(matches!(denied(&Folder::new(root.path())), Err(Fault::Hidden(_))));
        assert!(matches!(denied(&Folder::new(&root.path().join("closed"))), Err(Fault::Refused(_))));
    }
}
