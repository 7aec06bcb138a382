//! A zip archive read without unpacking it: its entries by name, those that are not safe told apart, and a guard
//! against entries that unpack to more than they should. Unaware of what the entries hold.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use zip::ZipArchive;

use crate::read::record::{Reason, SetAside};

/// What every entry may unpack to, however well it is compressed. A route of a whole day has some 25 MB.
pub const FREE_BYTES: u64 = 64 << 20;
/// How many times its compressed size a larger entry may unpack to. Exports compress 10 to 40 times; deflate ends
/// at 1,032 times, where a text says nothing.
pub const MOST_TIMES: u64 = 200;

/// An archive whose copies read the same file, each at its own place.
#[derive(Clone)]
pub struct Archive {
    zip: ZipArchive<SharedFile>,
    entries: Arc<BTreeMap<String, Entry>>,
}

/// An entry that is safe to read.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    number: usize,
    /// Bytes once unpacked, as the archive says.
    pub size: u64,
    packed: u64,
}

impl Archive {
    /// Opens an archive; what is not safe in it is set aside.
    pub fn open(path: &Path) -> Result<(Self, Vec<SetAside>)> {
        let name = path.display();
        let file = File::open(path).with_context(|| format!("`{name}` cannot be opened"))?;
        let length = file.metadata().with_context(|| format!("`{name}` cannot be opened"))?.len();
        let zip = ZipArchive::new(SharedFile { file: Arc::new(file), length, at: 0 }).with_context(|| {
            format!(
                "`{name}` cannot be read as a zip archive, as when it was copied or downloaded in part; copy it \
                 again, or export again from the Health app"
            )
        })?;
        let (mut entries, mut set_aside) = (BTreeMap::new(), Vec::new());
        for number in 0..zip.len() {
            let entry = zip.by_index_data(number).with_context(|| format!("`{name}` has an unreadable entry"))?;
            let written = entry
                .name()
                .map_or_else(|_| String::from_utf8_lossy(entry.name_raw()).into_owned(), std::borrow::Cow::into_owned);
            if entry.is_dir() {
                continue;
            }
            match fault(&written, entry.is_symlink(), entry.encrypted()) {
                Some(why) => {
                    set_aside.push(SetAside::new(format!("entry `{}`", written.escape_debug()), Reason::Unsafe, why));
                }
                None => {
                    let (size, packed) = (entry.size(), entry.compressed_size());
                    entries.insert(written, Entry { number, size, packed });
                }
            }
        }
        Ok((Self { zip, entries: Arc::new(entries) }, set_aside))
    }

    /// The entries by name.
    pub fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// Gives what an entry holds to a function, through a guard.
    pub fn with<T>(&self, entry: Entry, take: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
        let mut zip = self.zip.clone();
        let packed = zip.by_index(entry.number)?;
        // It must not hold more than it says, nor say more than is likely.
        let most = entry.size.min(most(entry.packed));
        take(&mut Guard { input: packed, given: 0, most: || most })
    }
}

/// Bytes that so many compressed ones may unpack to.
fn most(packed: u64) -> u64 {
    FREE_BYTES.max(packed.saturating_mul(MOST_TIMES))
}

/// Why an entry is not to be read.
fn fault(name: &str, is_link: bool, encrypted: bool) -> Option<&'static str> {
    let drive = name.as_bytes().get(1) == Some(&b':');
    if name.starts_with('/') || drive {
        Some("its name is absolute")
    } else if name.contains('\\') {
        Some("its name holds a backslash")
    } else if name.contains('\0') || name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("its name leads elsewhere")
    } else if is_link {
        Some("it is a link")
    } else {
        encrypted.then_some("it is encrypted")
    }
}

/// A file that many read, each from a place of its own.
#[derive(Clone)]
struct SharedFile {
    file: Arc<File>,
    length: u64,
    at: u64,
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| Error::new(std::io::ErrorKind::InvalidInput, "a place before the file's start"))?;
        Ok(self.at)
    }
}

/// Passes bytes on until there are more than there may be, which can change while it reads.
struct Guard<R, M> {
    input: R,
    given: u64,
    most: M,
}

impl<R: Read, M: Fn() -> u64> Read for Guard<R, M> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.given += count as u64;
        if self.given > (self.most)() {
            return Err(Error::other(
                "it unpacks to more than an export would, as files do that are made to fill a disk; it is not read",
            ));
        }
        Ok(count)
    }
}

/// A reader of what is unpacked that fails once it is more than `packed` bytes, counted while they are read, are
/// likely to give.
pub fn guarded<'a>(input: impl Read + 'a, packed: impl Fn() -> u64 + 'a) -> impl Read + 'a {
    Guard { input, given: 0, most: move || most(packed()) }
}

#[cfg(test)]
mod tests {
    use super::{FREE_BYTES, fault, guarded};
    use std::io::Read as _;

    #[test]
    fn names_that_lead_out_of_an_archive_are_not_safe() {
        for name in ["/etc/passwd", "C:x", "a\\b", "../x", "a/../b", "a//b", "./a", "a\0b", ""] {
            assert!(fault(name, false, false).is_some(), "{name}");
        }
        assert_eq!(fault("apple_health_export/workout-routes/route_1.gpx", false, false), None);
        assert_eq!(fault("a..b/..c", false, false), None);
        assert_eq!((fault("a", true, false), fault("a", false, true)), (Some("it is a link"), Some("it is encrypted")));
    }

    #[test]
    fn what_unpacks_to_far_more_than_it_was_is_not_read_on() {
        let read = |bytes: u64, packed: u64| {
            std::io::copy(&mut guarded(std::io::repeat(0).take(bytes), move || packed), &mut std::io::sink())
        };
        assert_eq!(read(FREE_BYTES, 1).unwrap(), FREE_BYTES);
        assert!(read(FREE_BYTES + 1, 1).unwrap_err().to_string().contains("unpacks to more"));
        assert_eq!(read(FREE_BYTES + 1, FREE_BYTES / 100).unwrap(), FREE_BYTES + 1);
    }
}
