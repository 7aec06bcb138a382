//! Reads whatever files are given, each by the reader of its format, in an order that depends on their names alone.
//! Unaware of speeds, doubles and tables.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::read::apple::{self, Export};
use crate::read::csv;
use crate::read::csv::columns::Columns;
use crate::read::fitrec::Reader;
use crate::read::format::{self, Format};
use crate::read::lines::Limits;
use crate::read::record::{Found, Reason, SetAside};
use crate::read::{fit, gpx, instant, tcx};

/// Small files that are read side by side before their workouts are handed on.
const SIDE_BY_SIDE: usize = 32;

/// Bytes at a file's start that tell its format.
const START: usize = 1 << 16;

/// What is given to the taker at a time.
#[derive(Default)]
pub struct Portion {
    /// Workouts and notes.
    pub found: Found,
    /// FitRec lines among it.
    pub lines: u64,
    /// Files that were opened for it.
    pub files: u64,
    /// How far reading is.
    pub progress: Progress,
}

/// How far reading is, in the unit that fits the files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Done so far.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// What is counted.
    pub unit: &'static str,
}

/// What the readers need to know beside the files.
pub struct Reading<'a> {
    /// Lines of a FitRec file to read.
    pub lines: Option<u64>,
    /// The runner's number where a file does not say it.
    pub user: i64,
    /// The columns of CSV files.
    pub columns: &'a Columns,
}

/// The files to be read.
pub enum Sources {
    /// One file, whose size can be large.
    One(PathBuf),
    /// Files by their relative names.
    Many(BTreeMap<String, PathBuf>),
}

/// Takes portions in their order.
pub type Take<'a> = dyn FnMut(Portion) -> Result<()> + 'a;

impl Sources {
    /// Reads everything and hands it on, portion by portion.
    pub fn read(&self, reading: &Reading<'_>, take: &mut Take<'_>) -> Result<()> {
        match self {
            Self::One(path) => reading.file(path, "", None, take),
            Self::Many(files) => reading.files(files, take),
        }
    }
}

impl Reading<'_> {
    /// Exports first, each with the files below its folder, then the others in the order of their names.
    fn files(&self, files: &BTreeMap<String, PathBuf>, take: &mut Take<'_>) -> Result<()> {
        let mut left: BTreeMap<&str, (&Path, Format)> = BTreeMap::new();
        for (name, path) in files {
            left.insert(name, (path, tell(path)?));
        }
        let total = files.len() as u64;
        for (name, path) in files.iter().filter(|(_, path)| apple_root(path)) {
            let root = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            let inside =
                |other: &str| root.is_empty() || other.strip_prefix(root).is_some_and(|rest| rest.starts_with('/'));
            if !matches!(left.get(name.as_str()), Some((_, Format::AppleXml))) {
                continue;
            }
            let parts: BTreeMap<String, PathBuf> = files
                .iter()
                .filter(|(other, _)| inside(other))
                .map(|(name, path)| (name.clone(), path.clone()))
                .collect();
            // Recordings beside an export are recordings too: only what belongs to it is gone.
            left.retain(|other, _| *other != name && !(inside(other) && belongs_to_export(other)));
            self.apple(&Export::Folder(parts), name, path, take)?;
        }
        let mut progress = Progress { done: total - left.len() as u64, total, unit: "files" };
        let left: Vec<(&str, &Path, Format)> =
            left.into_iter().map(|(name, (path, format))| (name, path, format)).collect();
        for group in left.chunk_by(|a, b| is_small(&a.2) && is_small(&b.2)) {
            for some in group.chunks(SIDE_BY_SIDE) {
                progress.done += some.len() as u64;
                if let [(name, path, format)] = some
                    && !is_small(format)
                {
                    self.file(path, name, Some(progress), take)?;
                    continue;
                }
                let read: Vec<Found> =
                    some.par_iter().map(|(name, path, format)| self.small(name, path, format)).collect();
                for found in read {
                    take(Portion { found, files: 1, progress, lines: 0 })?;
                }
            }
        }
        Ok(())
    }

    /// Reads one file of any format; its own progress is told where none is given.
    fn file(&self, path: &Path, name: &str, progress: Option<Progress>, take: &mut Take<'_>) -> Result<()> {
        let mut take = |portion: Portion| take(Portion { progress: progress.unwrap_or(portion.progress), ..portion });
        match tell(path)? {
            Format::FitRec => self.fitrec(path, name, &mut take),
            Format::AppleXml => self.apple(&Export::Xml(path.to_owned()), name, path, &mut take),
            Format::Zip => self.apple(&Export::Zip(path.to_owned()), name, path, &mut take),
            format => {
                let found = self.small(name, path, &format);
                take(Portion { found, files: 1, lines: 0, progress: Progress { done: 1, total: 1, unit: "files" } })
            }
        }
    }

    fn fitrec(&self, path: &Path, name: &str, take: &mut Take<'_>) -> Result<()> {
        let limits = Limits { lines: self.lines, ..Limits::default() };
        let reader = Reader::open(path, limits)?;
        let size = megabytes(reader.file_size());
        let mut files = 1;
        for batch in reader {
            let batch = batch?;
            let found = Found {
                records: batch.records,
                set_aside: batch.set_aside,
                warnings: batch.warning.into_iter().collect(),
            };
            let progress = Progress { done: megabytes(batch.file_bytes), total: size, unit: "MB" };
            take(Portion { found: within(name, found), lines: batch.lines, files, progress })?;
            files = 0;
        }
        Ok(())
    }

    /// Reads an export. Among other files one that cannot be read is a note, alone it is an error.
    fn apple(&self, export: &Export, name: &str, path: &Path, take: &mut Take<'_>) -> Result<()> {
        let progress = Cell::new(Progress { done: 0, total: 0, unit: "MB" });
        let refused = Cell::new(false);
        let files = Cell::new(1);
        // Both closures hand on through one taker, one after the other.
        let take = RefCell::new(take);
        let hand_on = |found: Found| {
            let files = if found == Found::default() { 0 } else { files.take() };
            let taken =
                take.borrow_mut()(Portion { found: within(name, found), lines: 0, files, progress: progress.get() });
            refused.set(taken.is_err());
            taken
        };
        let mut tell = |step: apple::Progress| {
            progress.set(Progress { done: megabytes(step.bytes), total: megabytes(step.total), unit: "MB" });
            hand_on(Found::default())
        };
        let read = apple::read(export, self.user, &mut tell, &mut |found| hand_on(found));
        match read {
            Err(error) if !name.is_empty() && !refused.get() => {
                hand_on(aside(Reason::Malformed, &format!("{error:#}")))
            }
            read => read.with_context(|| format!("`{}` cannot be read as an Apple Health export", path.display())),
        }
    }

    /// Reads a file that fits into memory; whatever is wrong with it is a note.
    fn small(&self, name: &str, path: &Path, format: &Format) -> Found {
        let found = match format {
            Format::Unknown(what) if !self.has_columns() => unknown(what),
            _ => match format::whole(path, format::LIMIT_BYTES) {
                Err(error) => aside(Reason::Malformed, &format!("{error:#}")),
                Ok(whole) => {
                    let mut found = self.parse(name, path, &whole.bytes);
                    found.warnings.extend(whole.damage.map(|damage| format!("`{}`: {damage}", path.display())));
                    found
                }
            },
        };
        within(name, self.attributed(found))
    }

    fn parse(&self, name: &str, path: &Path, bytes: &[u8]) -> Found {
        match format::tell(bytes) {
            Format::Gpx => gpx::read(bytes),
            Format::Tcx => tcx::read(bytes),
            Format::Fit => fit::read(bytes),
            Format::Csv => self.csv(name, path, bytes),
            // A header that says nothing by itself can be what a map of columns is for.
            Format::Unknown(_) if self.has_columns() => self.csv(name, path, bytes),
            Format::Unknown(what) => unknown(what),
            Format::FitRec | Format::AppleXml | Format::Zip | Format::Gzip => unknown("packed twice; unpack it"),
        }
    }

    fn csv(&self, name: &str, path: &Path, bytes: &[u8]) -> Found {
        let file = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        csv::read(bytes, self.columns, instant::start_in_name(if name.is_empty() { file } else { name }))
    }

    fn has_columns(&self) -> bool {
        *self.columns != Columns::default()
    }

    /// Gives workouts whose file names no runner the one of the parameters.
    fn attributed(&self, mut found: Found) -> Found {
        found.records.iter_mut().for_each(|record| {
            record.workout.user.get_or_insert(self.user);
        });
        found
    }
}

/// A whole file that gave no workout.
fn aside(reason: Reason, detail: &str) -> Found {
    Found { set_aside: vec![SetAside::new("", reason, detail)], ..Found::default() }
}

fn unknown(what: &str) -> Found {
    aside(Reason::UnknownFormat, &format!("it seems to be {what}"))
}

/// Notes of a file among several bear its name.
fn within(name: &str, mut found: Found) -> Found {
    found.set_aside.iter_mut().filter(|note| note.file.is_empty()).for_each(|note| note.file = name.to_owned());
    found
}

/// Whether a file may be the root of an export: not worth opening where its name says otherwise.
fn apple_root(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("xml"))
}

/// What an Apple Health export holds beside its root.
fn belongs_to_export(name: &str) -> bool {
    let parts = ["workout-routes/", "electrocardiograms/", "clinical-records/", "export_cda.xml"];
    parts.iter().any(|part| name.contains(part))
}

fn is_small(format: &Format) -> bool {
    !matches!(format, Format::FitRec | Format::AppleXml | Format::Zip)
}

/// The format of a file by its first bytes, also of those that are compressed.
fn tell(path: &Path) -> Result<Format> {
    let unreadable = || format!("`{}` cannot be read", path.display());
    let mut start = Vec::with_capacity(START);
    File::open(path).and_then(|file| file.take(START as u64).read_to_end(&mut start)).with_context(unreadable)?;
    let mut format = format::tell(&start);
    if matches!(format, Format::Gzip) {
        let mut inner = Vec::new();
        // A stream that breaks off is told of when it is read; its start is what is wanted here.
        let _ = flate2::read::MultiGzDecoder::new(&start[..]).take(START as u64).read_to_end(&mut inner);
        format = format::tell(&inner);
    }
    Ok(format)
}

fn megabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
