//! The reader of Apple Health exports: one pass over the text, then one workout after the other.
//!
//! The text is gigabytes of records, of which few matter. [`blocks`] reads it ahead, [`scan`] jumps from tag to tag and
//! reads heart rates and distances by hand, [`samples`] keeps them small, [`gather`] puts the pieces together. Only
//! workouts are read as XML ([`workout`]). Then [`twice`] says which recordings are the same run, and [`assemble`]
//! gives each one kept its samples and the points of its routes. [`places`] and [`archive`] know where files lie.
//! A document type is neither checked nor expanded. Unaware of kinds and of Parquet.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use memchr::memmem;

use crate::read::apple::blocks::Blocks;
use crate::read::apple::gather::Gathered;
use crate::read::apple::places::Places;
use crate::read::record::Found;
use crate::read::utf8;

mod archive;
mod assemble;
mod blocks;
mod gather;
mod hand_over;
mod pauses;
mod places;
mod samples;
mod scan;
mod tags;
mod time;
mod twice;
mod units;
mod workout;

#[cfg(test)]
mod tests;

pub use crate::read::apple::places::is_export;

/// Where the parts of an export lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Export {
    /// The text alone, plain or gzip; its routes are not there.
    Xml(PathBuf),
    /// An unpacked export: the name of each file relative to the folder, with slashes, and its path.
    Folder(BTreeMap<String, PathBuf>),
    /// The archive that the Health app wrote.
    Zip(PathBuf),
}

/// How far reading is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes read of the text, compressed ones where it is a gzip file.
    pub bytes: u64,
    /// Bytes of the text.
    pub total: u64,
    /// What is done now.
    pub message: String,
}

/// What is told of progress; an error ends the reading.
pub type Tell<'a> = dyn FnMut(Progress) -> Result<()> + 'a;

/// What takes the workouts that are found; an error ends the reading.
pub type Give<'a> = dyn FnMut(Found) -> Result<()> + 'a;

/// Reads all workouts of one user. `give` is called with some at a time, in order of their beginnings; what is set
/// aside is given first and warnings last. Memory grows with the heart rates of the export, 12 bytes each.
///
/// Fails where there is no export, its encoding is not UTF-8, or a disk fails. An export that breaks off is read as
/// far as it goes, with a warning. Without a workout nothing is found but a warning.
pub fn read(export: &Export, user: i64, progress: &mut Tell<'_>, give: &mut Give<'_>) -> Result<()> {
    let places = Places::find(export)?;
    let (gathered, warnings) =
        gather_text(&places, progress).with_context(|| format!("`{}` cannot be read", places.name))?;
    hand_over::hand_over(&places, gathered, warnings, user, progress, give)
}

/// Reads the text to its end. Gives what it holds, and warnings.
fn gather_text(places: &Places, progress: &mut Tell<'_>) -> Result<(Gathered, Vec<String>)> {
    let count = Arc::new(AtomicU64::new(0));
    let (feeder, blocks) = blocks::queue();
    std::thread::scope(|scope| {
        let read_ahead = || {
            if let Err(error) = places.stream(&count, |input| feeder.feed(input)) {
                feeder.fail(error);
            }
            // Else the reader would wait for more.
            drop(feeder);
        };
        std::thread::Builder::new().name("read ahead".into()).spawn_scoped(scope, read_ahead)?;
        gather_blocks(blocks, || {
            let bytes = count.load(Ordering::Relaxed).min(places.total);
            progress(Progress { bytes, total: places.total, message: "reading records".to_owned() })
        })
    })
}

fn gather_blocks(mut blocks: Blocks, mut tell: impl FnMut() -> Result<()>) -> Result<(Gathered, Vec<String>)> {
    let (mut gathered, mut end) = (Gathered::default(), TextEnd::default());
    while let Some(block) = blocks.next() {
        let block = block?;
        if block.at == 0 {
            check_start(block.text())?;
        }
        gathered.take(block.text(), block.at);
        end.see(&block);
        blocks.give_back(block);
        tell()?;
    }
    gathered.finish();
    Ok((gathered, end.warning().into_iter().collect()))
}

/// Refuses what is no export or cannot be read as one.
fn check_start(text: &[u8]) -> Result<()> {
    let wide = [&[0xff, 0xfe][..], &[0xfe, 0xff], &[0, 0, 0xfe, 0xff]];
    if wide.iter().any(|mark| text.starts_with(mark)) || text.iter().take(4).any(|byte| *byte == 0) {
        bail!("it is not UTF-8 but another encoding, such as UTF-16; convert it, as with `iconv -f UTF-16 -t UTF-8`");
    }
    if let Some(other) = declared_encoding(text).filter(|name| !["utf-8", "us-ascii"].contains(&name.as_str())) {
        bail!(
            "it is not UTF-8 but `{other}`; convert it, as with `iconv -f {other} -t UTF-8`, and mend its first line"
        );
    }
    if !is_export(text) {
        bail!("it is no export of Apple Health, for there is no `<HealthData` at its start");
    }
    Ok(())
}

/// The encoding that the declaration at the start names, in lower case.
fn declared_encoding(text: &[u8]) -> Option<String> {
    let text = text.strip_prefix(utf8::MARK).unwrap_or(text).strip_prefix(b"<?xml")?;
    let declaration = String::from_utf8_lossy(&text[..memmem::find(text, b"?>")?.min(256)]).to_lowercase();
    let value = declaration.split_once("encoding")?.1.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|quote| ['"', '\''].contains(quote))?;
    value[1..].split_once(quote).map(|(name, _)| name.to_owned())
}

/// Whether the text came to its proper end.
#[derive(Default)]
struct TextEnd {
    closed: bool,
    at: u64,
    damage: Option<String>,
}

impl TextEnd {
    fn see(&mut self, block: &blocks::Block) {
        let text = block.text();
        let tail = &text[text.len().saturating_sub(4096)..];
        let empty = block.at == 0 && memmem::find(text, b"<HealthData").is_some_and(|at| closes_itself(&text[at..]));
        self.closed |= empty || memmem::find(tail, b"</HealthData").is_some();
        self.at = block.end();
        self.damage.clone_from(&block.damage);
    }

    fn warning(self) -> Option<String> {
        let why = match self.damage {
            Some(damage) => format!("is damaged ({damage})"),
            None if self.closed => return None,
            None => "breaks off".to_owned(),
        };
        Some(format!("the export {why} at byte {} of its text; what stands before is read", self.at))
    }
}

fn closes_itself(text: &[u8]) -> bool {
    let mut attributes = tags::Attributes::new(&text[b"<HealthData".len()..]);
    attributes.by_ref().for_each(drop);
    attributes.end() == tags::End::Closed
}
