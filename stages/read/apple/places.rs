//! Where the text and the routes of an export lie: a file alone, a folder, or a zip archive. Unaware of what they say.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Take};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use flate2::bufread::MultiGzDecoder;
use memchr::memmem;

use crate::read::apple::Export;
use crate::read::apple::archive::{Archive, Entry, FREE_BYTES, guarded};
use crate::read::record::{Reason, SetAside};

/// Bytes at the start of a file by which an export is told.
pub const START_BYTES: u64 = 1 << 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// An export that was found.
pub struct Places {
    /// The path that was given, or that of the text within a folder.
    pub name: String,
    /// What is imported, relative to a folder; empty for a file alone.
    pub file: String,
    /// Parts of an archive that are not read.
    pub set_aside: Vec<SetAside>,
    /// Size of what [`Places::stream`] counts.
    pub total: u64,
    text: Text,
    /// The folder of the text within a folder or an archive, with a slash at its end, or empty.
    root: String,
    routes: Routes,
}

enum Text {
    File(PathBuf),
    Entry(Entry),
}

enum Routes {
    None,
    Folder(BTreeMap<String, PathBuf>),
    Zip(Archive),
}

/// What became of a route.
pub enum Route {
    /// Its text.
    Text(Vec<u8>),
    /// There is no such file.
    Missing,
    /// It is not read, for this reason.
    Refused(Reason, String),
}

impl Places {
    /// Finds the text of an export.
    pub fn find(export: &Export) -> Result<Self> {
        match export {
            Export::Xml(path) => Self::of_file(path, String::new(), String::new(), Routes::None),
            Export::Folder(files) => {
                let candidates = candidates(files.iter().map(|(name, path)| {
                    let size = path.metadata().map_or(0, |metadata| metadata.len());
                    (name, size, path)
                }));
                let found =
                    candidates.into_iter().find(|(_, path)| file_start(path).is_ok_and(|start| is_export(&start)));
                let (name, path) =
                    found.context("the folder holds no export of Apple Health: none of its XML files begins as one")?;
                Self::of_file(path, name.clone(), folder_of(name), Routes::Folder(files.clone()))
            }
            Export::Zip(path) => Self::in_zip(path),
        }
    }

    fn of_file(path: &Path, file: String, root: String, routes: Routes) -> Result<Self> {
        let name = path.display().to_string();
        let metadata = path.metadata().with_context(|| format!("`{name}` cannot be opened"))?;
        ensure!(!metadata.is_dir(), "`{name}` is a folder");
        let text = Text::File(path.to_owned());
        Ok(Self { name, file, set_aside: Vec::new(), total: metadata.len(), text, root, routes })
    }

    fn in_zip(path: &Path) -> Result<Self> {
        let (archive, set_aside) = Archive::open(path)?;
        let candidates = candidates(archive.entries().iter().map(|(name, entry)| (name, entry.size, *entry)));
        let (mut text, mut unreadable) = (None, String::new());
        for (name, entry) in candidates {
            match archive.with(entry, |input| start_of(input)) {
                Ok(start) if is_export(&start) => {
                    text = Some((name, entry));
                    break;
                }
                Ok(_) => (),
                Err(error) => unreadable = format!("; its entry `{}` cannot be read: {error}", name.escape_debug()),
            }
        }
        let Some((name, entry)) = text else {
            bail!(
                "`{}` holds no export of Apple Health: none of its XML files begins as one{unreadable}; give the \
                 archive that the Health app wrote",
                path.display()
            );
        };
        let root = folder_of(name);
        let (name, total) = (format!("{}: {name}", path.display()), entry.size);
        Ok(Self {
            name,
            file: String::new(),
            set_aside,
            total,
            text: Text::Entry(entry),
            root,
            routes: Routes::Zip(archive),
        })
    }

    /// Gives the text, unpacked, to a function, and counts what was read of it.
    pub fn stream(&self, count: &Arc<AtomicU64>, take: impl FnOnce(&mut dyn Read) -> Result<()>) -> Result<()> {
        let path = match (&self.text, &self.routes) {
            (Text::Entry(entry), Routes::Zip(archive)) => {
                return archive.with(*entry, |input| take(&mut Counted { input, count: count.clone() }));
            }
            (Text::Entry(_), _) => unreachable!("an entry lies in an archive"),
            (Text::File(path), _) => path,
        };
        let mut file = Counted { input: File::open(path)?, count: count.clone() };
        if !is_gzip(path)? {
            return take(&mut file);
        }
        let unpacked = MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file));
        take(&mut guarded(unpacked, || count.load(Ordering::Relaxed)))
    }

    /// Reads a route by its path, whose leading slash is the folder of the text.
    pub fn route(&self, path: &str) -> Route {
        let relative = path.strip_prefix('/').unwrap_or(path);
        if relative.contains('\\') || relative.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Route::Refused(Reason::Unsafe, format!("`{}` leads elsewhere", path.escape_debug()));
        }
        let name = format!("{}{relative}", self.root);
        let text = match &self.routes {
            Routes::None => return Route::Missing,
            Routes::Folder(files) => match files.get(&name) {
                Some(path) => File::open(path).map_err(Into::into).and_then(|mut file| whole(&mut file)),
                None => return Route::Missing,
            },
            Routes::Zip(archive) => match archive.entries().get(&name) {
                Some(entry) if entry.size > FREE_BYTES => Ok(None),
                Some(entry) => archive.with(*entry, whole),
                None => return Route::Missing,
            },
        };
        match text {
            Ok(Some(text)) => Route::Text(text),
            Ok(None) => Route::Refused(Reason::TooLong, format!("`{name}` has more than {} MiB", FREE_BYTES >> 20)),
            Err(error) => Route::Refused(Reason::BrokenOff, format!("`{name}` cannot be read ({error:#})")),
        }
    }
}

/// The XML files among the first two levels, the largest first, as the text of an export is.
fn candidates<'a, T>(files: impl Iterator<Item = (&'a String, u64, T)>) -> Vec<(&'a String, T)> {
    let is_candidate = |name: &str| {
        let name = name.to_lowercase();
        name.matches('/').count() <= 1 && (name.ends_with(".xml") || name.ends_with(".xml.gz"))
    };
    let mut found: Vec<_> = files.filter(|(name, ..)| is_candidate(name)).collect();
    found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    found.into_iter().map(|(name, _, file)| (name, file)).collect()
}

fn folder_of(name: &str) -> String {
    name.rfind('/').map_or_else(String::new, |slash| name[..=slash].to_owned())
}

/// Reads what is not too large to be a route.
fn whole(input: &mut dyn Read) -> Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    let mut limited: Take<_> = input.take(FREE_BYTES + 1);
    limited.read_to_end(&mut text)?;
    Ok((text.len() as u64 <= FREE_BYTES).then_some(text))
}

fn file_start(path: &Path) -> Result<Vec<u8>> {
    start_of(&mut File::open(path)?)
}

fn is_gzip(path: &Path) -> Result<bool> {
    let mut start = Vec::new();
    File::open(path)?.take(2).read_to_end(&mut start)?;
    Ok(start == GZIP)
}

/// The first bytes of a text, as many as can be read.
fn start_of(input: &mut dyn Read) -> Result<Vec<u8>> {
    let mut start = Vec::new();
    // Damage that comes later is told when the text is read.
    let outcome = input.take(START_BYTES).read_to_end(&mut start);
    if start.is_empty() {
        outcome?;
    }
    Ok(start)
}

/// Whether a file that starts like this is the text of an export, whatever it is called; it may be gzipped.
/// An encoding that cannot be read does not hide it.
pub fn is_export(start: &[u8]) -> bool {
    if start.starts_with(&GZIP) {
        return start_of(&mut MultiGzDecoder::new(start))
            .is_ok_and(|start| !start.starts_with(&GZIP) && is_export(&start));
    }
    let start = &start[..start.len().min(START_BYTES as usize)];
    let narrow: Vec<u8>;
    let start = if start.iter().take(4).any(|byte| *byte == 0) {
        narrow = start.iter().copied().filter(|byte| *byte != 0).collect();
        &narrow[..]
    } else {
        start
    };
    memmem::find(start, b"<HealthData").is_some()
}

/// Counts bytes as they are read.
struct Counted<R> {
    input: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::is_export;
    use std::io::Write as _;

    #[test]
    fn an_export_is_known_by_its_content_in_any_wrapping() {
        let text =
            "<?xml version=\"1.0\"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData (x)>\n]>\n<HealthData locale=\"x\">";
        assert!(is_export(text.as_bytes()));
        assert!(is_export(format!("\u{feff}{text}").as_bytes()));
        let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        assert!(is_export(&wide));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let mut gzip = gzip.finish().unwrap();
        assert!(is_export(&gzip));
        gzip.truncate(gzip.len() - 8);
        assert!(is_export(&gzip), "cut short as the start of a file is");
    }

    #[test]
    fn other_files_are_no_exports() {
        let late = format!("{}<HealthData>", " ".repeat(1 << 16));
        for text in ["", "<ClinicalDocument>", "<!DOCTYPE HealthData [", "\x1f\u{8b}", late.as_str()] {
            assert!(!is_export(text.as_bytes()), "{:.30}", text);
        }
    }
}
