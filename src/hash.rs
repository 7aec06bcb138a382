//! Digests of files, as fast as the memory gives them. Unaware of stores.
//!
//! A large file is mapped, and a very large one hashed on all threads. A file that is cut short meanwhile would end the process with
//! SIGBUS where its pages are gone; here such pages read as zeros instead, and the digest is refused.

use std::fs::{self, File};
use std::io::{self, Seek as _, SeekFrom};
use std::path::Path;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result};
use memmap2::{Mmap, MmapOptions};

use crate::digest::Digest;

/// Files larger than this are mapped.
const MAPPED_BYTES: u64 = 1 << 20;

/// Files larger than this are hashed on all threads. Below, which takes 10 ms, those who hash many files side by side
/// would wait for each other's threads.
const SHARED_BYTES: u64 = 32 << 20;

/// Bytes that are mapped at a time, a multiple of the page: all pages that a process has mapped and read count as its
/// memory, so that a file of many gigabytes would seem to need as much.
const WINDOW: u64 = 256 << 20;

/// Files that can be mapped at once; more are read instead.
const MAPS: usize = 64;

/// A unit of memory that the handler can replace: a page on x86-64.
const PAGE: usize = 4096;

/// A map that is being hashed; all 0 where there is none.
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Pages of it that were gone.
    replaced: AtomicUsize,
}

static SLOTS: [Slot; MAPS] =
    [const { Slot { start: AtomicUsize::new(0), end: AtomicUsize::new(0), replaced: AtomicUsize::new(0) } }; MAPS];

/// The digest and the size of a file's content.
pub fn hash_file(path: &Path) -> Result<(Digest, u64)> {
    let hash = || -> io::Result<(Digest, u64)> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        let mut hasher = blake3::Hasher::new();
        if bytes > MAPPED_BYTES {
            hash_large(&file, bytes, &mut hasher)?;
        } else {
            hasher.update(&fs::read(path)?);
        }
        Ok((Digest::finish(&hasher), bytes))
    };
    hash().with_context(|| format!("`{}` cannot be read", path.display()))
}

fn hash_large(file: &File, bytes: u64, hasher: &mut blake3::Hasher) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(WINDOW);
        let mut window = MmapOptions::new();
        window.offset(at).len(length as usize);
        // SAFETY: the bytes may change while they are read, and then the digest is that of no content that ever was,
        // which stamps before and after tell; pages that are gone are replaced by the guard's handler, which counts
        // them.
        let map = unsafe { window.map(file)? };
        let Some(guard) = Guard::over(&map) else {
            let mut rest = file;
            rest.seek(SeekFrom::Start(at))?;
            io::copy(&mut rest, hasher)?;
            return Ok(());
        };
        if bytes > SHARED_BYTES {
            hasher.update_rayon(&map)
        } else {
            hasher.update(&map)
        };
        if guard.replaced() > 0 {
            return Err(io::Error::other("it was cut short, or its disk failed, while it was read"));
        }
        at += length;
    }
    Ok(())
}

/// Keeps the pages of a map readable as long as it lives.
struct Guard(&'static Slot);

impl Guard {
    fn over(map: &Mmap) -> Option<Self> {
        static HANDLER: Once = Once::new();
        HANDLER.call_once(install);
        let start = map.as_ptr() as usize;
        let take = |slot: &&Slot| slot.start.compare_exchange(0, start, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        let slot = SLOTS.iter().find(take)?;
        // The last page may reach beyond the file.
        slot.end.store(start + map.len().next_multiple_of(PAGE), Ordering::SeqCst);
        Some(Self(slot))
    }

    fn replaced(&self) -> usize {
        self.0.replaced.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end.store(0, Ordering::SeqCst);
        self.0.replaced.store(0, Ordering::SeqCst);
        // Last, for from now on the slot can be taken.
        self.0.start.store(0, Ordering::SeqCst);
    }
}

fn install() {
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = replace_page;
    // SAFETY: an all-zero `sigaction` is a valid value, and the handler does only what is allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

/// Puts a page of zeros where a guarded one is gone; any other fault ends the process as it would have.
extern "C" fn replace_page(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid `info`.
    let at = unsafe { (*info).si_addr() as usize };
    let holds = |slot: &&Slot| (slot.start.load(Ordering::SeqCst)..slot.end.load(Ordering::SeqCst)).contains(&at);
    // SAFETY: `mmap` replaces one page of a map that a guard keeps, and `signal` only restores the default; neither
    // takes a lock nor allocates.
    unsafe {
        let page = (at & !(PAGE - 1)) as *mut libc::c_void;
        let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        match SLOTS.iter().find(holds) {
            Some(slot) if libc::mmap(page, PAGE, libc::PROT_READ, flags, -1, 0) != libc::MAP_FAILED => {
                slot.replaced.fetch_add(1, Ordering::SeqCst);
            }
            _ => {
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_file_has_the_digest_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|at| (at % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(hash_file(&path).unwrap(), (Digest::of(&bytes), 3_000_001));
    }

    #[test]
    fn pages_that_are_gone_are_read_as_zeros_and_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fs::write(&path, vec![7_u8; 4 << 20]).unwrap();
        let file = File::options().read(true).write(true).open(&path).unwrap();
        // SAFETY: the guard below replaces the pages that are cut off.
        let map = unsafe { Mmap::map(&file).unwrap() };
        let guard = Guard::over(&map).unwrap();
        file.set_len(PAGE as u64).unwrap();
        assert_eq!((map[0], map[PAGE], map[(4 << 20) - 1]), (7, 0, 0));
        assert_eq!(guard.replaced(), 2);
    }
}
