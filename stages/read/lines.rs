//! Lines of a plain or gzipped text file in batches, read ahead on a thread of its own.
//! Unaware of what the lines hold.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context as _, Result, ensure};
use flate2::bufread::MultiGzDecoder;

/// Bytes asked of the file or the decompressor at a time.
const CHUNK: usize = 1 << 18;
/// Lines after which a batch is full.
const BATCH_LINES: usize = 256;
/// Bytes after which a batch is full.
const BATCH_BYTES: usize = 16 << 20;
/// Bytes kept of a line that is too long.
const KEPT_OF_LONG_LINE: usize = 256;

/// How much of a file is read.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of the longest line that is held in memory.
    pub line_bytes: usize,
    /// Lines after which reading ends.
    pub lines: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { line_bytes: 64 << 20, lines: None }
    }
}

/// Some lines in their order.
#[derive(Debug, Default)]
pub struct Batch {
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Why the file ends here, when it does so before its proper end.
    pub damage: Option<String>,
    /// Bytes of the file that were read so far, compressed ones where it is compressed.
    pub file_bytes: u64,
}

/// One line of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, the first is 1.
    pub number: u64,
    /// What was found.
    pub state: State,
    range: Range<usize>,
}

/// Whether the text of a line is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is.
    Whole,
    /// The line exceeds the limit; its first bytes are kept.
    TooLong,
    /// The file breaks off within or before the line.
    BrokenOff,
}

impl Batch {
    /// Each line with its text, without the end of line.
    pub fn lines(&self) -> Vec<(&Line, &[u8])> {
        self.lines.iter().map(|line| (line, &self.text[line.range.clone()])).collect()
    }
}

/// The batches of a file, in order.
pub struct Batches {
    batches: Receiver<Result<Batch>>,
    /// Size of the file in bytes.
    pub file_size: u64,
}

impl Batches {
    /// Opens a file and begins to read; gzip is told by its first bytes, whatever the name says.
    pub fn open(path: &Path, limits: Limits) -> Result<Self> {
        let name = path.display().to_string();
        let file = File::open(path).with_context(|| format!("`{name}` cannot be opened"))?;
        let metadata = file.metadata().with_context(|| format!("`{name}` cannot be opened"))?;
        ensure!(!metadata.is_dir(), "`{name}` is a folder; give the path of a file within it");
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Counted { file, bytes_read: bytes_read.clone() };
        let mut plain = BufReader::with_capacity(CHUNK, counted);
        let start = plain.fill_buf().with_context(|| format!("`{name}` cannot be read"))?;
        let input: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(CHUNK, MultiGzDecoder::new(plain)))
        } else {
            Box::new(plain)
        };
        let mut cutter = Cutter { input, limits, number: 0, bytes_read, usual: CHUNK, ended: false };
        let (sender, batches) = sync_channel(2);
        let read_ahead = move || {
            while let Some(batch) = cutter.next_batch().transpose() {
                let batch = batch.with_context(|| format!("`{name}` cannot be read"));
                let failed = batch.is_err();
                // The receiver hangs up when its owner stops early.
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("read ahead".into()).spawn(read_ahead)?;
        Ok(Self { batches, file_size: metadata.len() })
    }
}

impl Iterator for Batches {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.recv().ok()
    }
}

struct Counted {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

/// Cuts the input into lines and those into batches.
struct Cutter {
    input: Box<dyn BufRead + Send>,
    limits: Limits,
    number: u64,
    bytes_read: Arc<AtomicU64>,
    /// Bytes that the next batch is likely to hold.
    usual: usize,
    ended: bool,
}

impl Cutter {
    fn next_batch(&mut self) -> Result<Option<Batch>> {
        // Room as for the batch before: text that grows step by step would be copied at each.
        let mut batch = Batch { text: Vec::with_capacity(self.usual), ..Batch::default() };
        while !self.ended && batch.lines.len() < BATCH_LINES && batch.text.len() < BATCH_BYTES {
            if self.limits.lines.is_some_and(|lines| self.number >= lines) {
                self.ended = true;
            } else if let Err(error) = self.next_line(&mut batch) {
                self.break_off(&mut batch, error)?;
            }
        }
        batch.file_bytes = self.bytes_read.load(Ordering::Relaxed);
        self.usual = batch.text.len() + batch.text.len() / 8;
        let empty = batch.lines.is_empty();
        Ok((!empty).then_some(batch))
    }

    /// Appends the next line to the batch; on an error the bytes read before it are there.
    fn next_line(&mut self, batch: &mut Batch) -> std::io::Result<()> {
        let start = batch.text.len();
        self.number += 1;
        batch.lines.push(Line { number: self.number, state: State::Whole, range: start..start });
        let most = self.limits.line_bytes as u64 + 1;
        let count = (&mut self.input).take(most).read_until(b'\n', &mut batch.text)?;
        let line = batch.lines.last_mut().expect("pushed above");
        if count == 0 {
            self.ended = true;
            batch.lines.pop();
            return Ok(());
        }
        let mut end = batch.text.len();
        if batch.text.ends_with(b"\n") {
            end -= 1;
        } else if count as u64 == most {
            batch.text.truncate(start + KEPT_OF_LONG_LINE.min(count));
            end = batch.text.len();
            line.state = State::TooLong;
            line.range = start..end;
            self.input.skip_until(b'\n')?;
        }
        line.range = start..end;
        Ok(())
    }

    /// Ends the file at a fault of the data; a fault of the disk is an error.
    fn break_off(&mut self, batch: &mut Batch, error: std::io::Error) -> Result<()> {
        let damaged = [ErrorKind::UnexpectedEof, ErrorKind::InvalidData, ErrorKind::InvalidInput];
        if !damaged.contains(&error.kind()) {
            return Err(error.into());
        }
        self.ended = true;
        let line = batch.lines.last_mut().expect("a line was begun");
        if line.state == State::Whole {
            line.state = State::BrokenOff;
            line.range.end = batch.text.len();
        }
        batch.damage = Some(match error.kind() {
            ErrorKind::UnexpectedEof => format!("the gzip stream breaks off in line {}", line.number),
            _ => format!("the gzip stream is damaged in line {} ({error})", line.number),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Batches, Limits, State};
    use std::io::Write as _;
    use std::path::Path;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn lines(bytes: &[u8], limits: Limits) -> (Vec<(u64, State, String)>, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, bytes).unwrap();
        let (mut lines, mut damage) = (Vec::new(), None);
        for batch in Batches::open(&path, limits).unwrap() {
            let batch = batch.unwrap();
            for (line, text) in batch.lines() {
                lines.push((line.number, line.state, String::from_utf8_lossy(text).into_owned()));
            }
            damage = damage.or(batch.damage);
        }
        (lines, damage)
    }

    fn numbered(count: usize) -> String {
        (1..=count).map(|number| format!("{number} {}\n", number * 7919)).collect()
    }

    #[test]
    fn plain_and_gzip_and_joined_gzip_hold_the_same_lines() {
        let text = numbered(1000);
        let (plain, damage) = lines(text.as_bytes(), Limits::default());
        assert_eq!((plain.len(), damage), (1000, None));
        assert_eq!(plain[999], (1000, State::Whole, format!("1000 {}", 1000 * 7919)));
        assert_eq!(lines(&gzip(text.as_bytes()), Limits::default()).0, plain);
        let (first, second) = text.as_bytes().split_at(777);
        assert_eq!(lines(&[gzip(first), gzip(second)].concat(), Limits::default()).0, plain);
    }

    #[test]
    fn the_last_line_needs_no_end_of_line() {
        let (found, _) = lines(b"a\n\nb", Limits::default());
        let texts: Vec<_> = found.iter().map(|line| line.2.as_str()).collect();
        assert_eq!(texts, ["a", "", "b"]);
    }

    #[test]
    fn a_truncated_gzip_keeps_what_was_read() {
        let text = numbered(5000);
        let bytes = gzip(text.as_bytes());
        let (kept, damage) = lines(&bytes[..bytes.len() / 2], Limits::default());
        let (last, whole) = kept.split_last().unwrap();
        assert!(whole.len() > 1000, "{}", whole.len());
        assert!(whole.iter().all(|line| line.1 == State::Whole));
        assert_eq!(last.1, State::BrokenOff);
        assert_eq!(damage.unwrap(), format!("the gzip stream breaks off in line {}", whole.len() + 1));
    }

    #[test]
    fn a_damaged_gzip_keeps_what_was_read() {
        let text = numbered(50_000);
        let mut bytes = gzip(text.as_bytes());
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xff);
        let (kept, damage) = lines(&bytes, Limits::default());
        assert_eq!(kept.last().unwrap().1, State::BrokenOff);
        assert!(kept.len() > 1000 && damage.unwrap().contains("damaged in line"));
    }

    #[test]
    fn a_line_above_the_limit_is_cut_and_the_next_one_is_whole() {
        let text = format!("short\n{}\nlast\n", "x".repeat(5000));
        let (found, damage) = lines(text.as_bytes(), Limits { line_bytes: 1000, lines: None });
        assert_eq!(damage, None);
        assert_eq!(found[1], (2, State::TooLong, "x".repeat(256)));
        assert_eq!(found[2], (3, State::Whole, "last".into()));
        let exact = format!("{}\n", "x".repeat(1000));
        assert_eq!(lines(exact.as_bytes(), Limits { line_bytes: 1000, lines: None }).0[0].1, State::Whole);
    }

    #[test]
    fn reading_ends_after_the_lines_asked_for() {
        let (found, _) = lines(numbered(1000).as_bytes(), Limits { lines: Some(300), ..Limits::default() });
        assert_eq!(found.len(), 300);
    }

    #[test]
    fn a_folder_and_a_missing_file_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Batches::open(folder.path(), Limits::default()).err().unwrap().to_string();
        assert!(error.ends_with("is a folder; give the path of a file within it"), "{error}");
        let error = Batches::open(Path::new("/nowhere/f"), Limits::default()).err().unwrap();
        assert!(format!("{error:#}").starts_with("`/nowhere/f` cannot be opened: "), "{error:#}");
    }
}
