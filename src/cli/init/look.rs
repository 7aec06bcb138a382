//! Looks at recordings to tell what sort they are: by what stands in the files, as `import` does. Unaware of pipelines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use pacer_stages::read::format::{self, Format};

use crate::resolve::files::{self, Files};
use crate::ui::output;

/// Files of a folder that are looked into; the others are counted.
const LOOKED_INTO: usize = 200;

/// Sorts of recordings that have a pipeline of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A file of FitRec lines, of many runners.
    FitRec,
    /// An export of Apple Health.
    Apple,
    /// Files of single workouts.
    Files,
}

/// What was found.
#[derive(Debug)]
pub struct Found {
    /// Its sort.
    pub sort: Sort,
    /// What it is, for people.
    pub words: String,
}

/// Tells what lies at a path: a file, a folder or a glob.
pub fn at(path: &Path) -> Result<Found> {
    let files = files::several(path)
        .map_err(|refusal| anyhow::anyhow!("{}: {}; say where your recordings are", refusal.message, refusal.label))?;
    match files {
        Files::One(file) => one(&file),
        Files::Many(files) => many(path, &files),
    }
}

fn one(path: &Path) -> Result<Found> {
    let found = |sort, what: &str| Ok(Found { sort, words: format!("{what}: {}", path.display()) });
    match tell(path)? {
        Format::FitRec => found(Sort::FitRec, "a file of FitRec lines"),
        Format::AppleXml => found(Sort::Apple, "the export.xml of Apple Health"),
        Format::Zip => found(Sort::Apple, "a zip archive, taken for an Apple Health export"),
        Format::Fit | Format::Tcx | Format::Gpx | Format::Csv => {
            found(Sort::Files, "a single recording (give the folder to use all)")
        }
        Format::Gzip => bail!("`{}` is packed several times: unpack it first", path.display()),
        Format::Unknown(what) => bail!("`{}` is {what}, not a recording", path.display()),
    }
}

fn many(path: &Path, files: &[(String, PathBuf)]) -> Result<Found> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut sort = None;
    for (name, file) in files.iter().filter(|(name, _)| is_export(name)).chain(files).take(LOOKED_INTO) {
        let (word, means) = match tell(file)? {
            Format::AppleXml => ("Apple Health export", Some(Sort::Apple)),
            Format::FitRec => ("FitRec", Some(Sort::FitRec)),
            Format::Fit => ("FIT", Some(Sort::Files)),
            Format::Tcx => ("TCX", Some(Sort::Files)),
            Format::Gpx => ("GPX", Some(Sort::Files)),
            Format::Csv => ("CSV", Some(Sort::Files)),
            Format::Zip | Format::Gzip | Format::Unknown(_) => ("other", None),
        };
        if means == Some(Sort::Apple) {
            return Ok(Found {
                sort: Sort::Apple,
                words: format!("an Apple Health export: {name} in {}", path.display()),
            });
        }
        *counts.entry(word).or_default() += 1;
        sort = sort.or(means);
    }
    let counted: Vec<_> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    let among = match files.len() > LOOKED_INTO {
        true => format!("{} files, among the first {LOOKED_INTO} of them", output::count(files.len())),
        false => format!("{} files", files.len()),
    };
    let words = format!("{among}: {} in {}", counted.join(", "), path.display());
    match sort {
        Some(sort) => Ok(Found { sort, words }),
        None => bail!("`{}` holds no recording: {words}", path.display()),
    }
}

fn is_export(name: &str) -> bool {
    name.rsplit('/').next() == Some("export.xml")
}

/// The format of a file, also of one that is gzipped.
fn tell(path: &Path) -> Result<Format> {
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(format::START_BYTES as u64).read_to_end(&mut start));
    read.with_context(|| format!("`{}` cannot be read", path.display()))?;
    Ok(match format::tell(&start) {
        Format::Gzip => format::tell(&format::unpacked(start, format::LIMIT_BYTES)?.bytes),
        format => format,
    })
}
