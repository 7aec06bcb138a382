//! Kernel locks on files of the store. A kernel lock ends with its process, so nothing is left for a person to
//! delete. Unaware of what the locks guard.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How often a held lock is tried again; the kernel could wake us, but then nothing could stop the waiting.
const INTERVAL: Duration = Duration::from_millis(20);

/// A file that this process alone has locked; it goes away with the lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    // Closed after the file was removed: whoever waits for it then sees that it waits for a file that is gone.
    file: File,
}

impl Lock {
    /// Takes a lock. Where another process holds it, `waiting` is told which, and asked again and again whether to
    /// go on waiting.
    pub fn take(path: &Path, waiting: impl Fn(Option<u32>) -> Result<()>) -> Result<Self> {
        loop {
            let mut file = open(path)?;
            match file.try_lock() {
                Ok(()) if is_at(&file, path) => {
                    // Who holds the lock is news for people only; a full disk does not make it less held.
                    let _ = name_holder(&mut file);
                    return Ok(Self { path: path.to_owned(), file });
                }
                // Its last holder removed it between our opening and our locking.
                Ok(()) => std::thread::yield_now(),
                Err(TryLockError::WouldBlock) => {
                    waiting(holder(&mut file))?;
                    std::thread::sleep(INTERVAL);
                }
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("`{}` cannot be locked", path.display()));
                }
            }
        }
    }

    /// Takes a lock that nobody holds; `None` when somebody does.
    pub fn try_take(path: &Path) -> Result<Option<Self>> {
        let tries = Cell::new(0);
        // Whoever asks whether it is held shares it for a moment.
        let taken = Self::take(path, |_| match tries.replace(tries.get() + 1) {
            0 => Ok(()),
            _ => Err(Held.into()),
        });
        match taken {
            Err(error) if error.is::<Held>() => Ok(None),
            other => other.map(Some),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // A lock file that stays means nothing; that of another holder, should somebody have removed ours, must stay.
        if is_at(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes a lock that many may hold at once, beside which nobody holds it alone. The file stays.
pub fn share(path: &Path) -> Result<File> {
    let file = open(path)?;
    file.lock_shared().with_context(|| format!("`{}` cannot be locked", path.display()))?;
    Ok(file)
}

/// Waits until nobody shares a lock and takes it alone. The file stays.
pub fn alone(path: &Path) -> Result<File> {
    let file = open(path)?;
    file.lock().with_context(|| format!("`{}` cannot be locked", path.display()))?;
    Ok(file)
}

/// Whether a process holds a lock on a file.
pub fn is_held(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Why a lock was not taken.
#[derive(Debug)]
struct Held;

impl std::fmt::Display for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("another process holds the lock")
    }
}

impl std::error::Error for Held {}

fn open(path: &Path) -> Result<File> {
    let file = File::options().create(true).truncate(false).read(true).write(true).open(path);
    file.with_context(|| format!("`{}` cannot be opened", path.display()))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(ours), Ok(there)) = (file.metadata(), fs::metadata(path)) else { return false };
    (ours.dev(), ours.ino()) == (there.dev(), there.ino())
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    write!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_by_one_and_gone_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let lock = Lock::try_take(&path).unwrap().unwrap();
        assert!(Lock::try_take(&path).unwrap().is_none());
        assert!(is_held(&path));
        drop(lock);
        assert!(!path.exists() && !is_held(&path));
        assert!(Lock::try_take(&path).unwrap().is_some());
    }

    #[test]
    fn those_who_wait_get_the_lock_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let inside = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let lock = Lock::take(&path, |_| Ok(())).unwrap();
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
    }
}
