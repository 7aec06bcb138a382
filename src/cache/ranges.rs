//! A large blob of the remote comes in ranges, several at once. Unaware of results, and of whether the bytes are right.
//!
//! While it comes, its file is longer than the blob: behind the blob's bytes stands, for each range, how many of its
//! bytes have come. So a transfer that was killed goes on where every range stood. A file that is no longer than the
//! blob holds its first bytes, as one does that came in one piece; what is wrong in either is found by the digest.

use std::fs::File;
use std::io::{self, Read as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

use crate::cache::afar::{BUFFER, Broken, Looker, TRIES};
use crate::remote::{Remote, side_by_side};

/// The size of a range.
const RANGE: u64 = 16 << 20;

/// Blobs of this size and larger come in ranges.
pub(super) const LARGE: u64 = 2 * RANGE;

/// Ranges that are brought at once.
const AT_ONCE: usize = 4;

/// Bytes of a mark, which is the number of bytes of a range that have come.
const MARK: u64 = 8;

/// How a transfer in ranges ended.
pub(super) enum Came {
    /// The file holds the blob.
    Whole,
    /// The server gives no such ranges: the file holds the first bytes, if any.
    NotInRanges,
    /// It broke off; the file tells how far it came.
    Broken(Broken),
}

/// A file that takes a blob in ranges.
struct Ranges {
    file: File,
    wanted: u64,
}

impl Ranges {
    /// Opens a file that may hold some of the blob.
    fn open(path: &Path, wanted: u64) -> io::Result<Self> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let there = file.metadata()?.len();
        let ranges = Self { file, wanted };
        let length = wanted + MARK * ranges.count();
        if there == length {
            return Ok(ranges);
        }
        let first = if there <= wanted { there } else { 0 };
        ranges.file.set_len(first)?;
        ranges.file.set_len(length)?;
        for number in 0..ranges.count() {
            let Range { start, end } = ranges.range(number);
            ranges.mark(number, first.clamp(start, end) - start)?;
        }
        Ok(ranges)
    }

    fn count(&self) -> u64 {
        self.wanted.div_ceil(RANGE)
    }

    /// The bytes of a range.
    fn range(&self, number: u64) -> Range<u64> {
        number * RANGE..((number + 1) * RANGE).min(self.wanted)
    }

    /// The bytes of a range that have not come.
    fn rest(&self, number: u64) -> io::Result<Range<u64>> {
        let mut mark = [0; MARK as usize];
        self.file.read_exact_at(&mut mark, self.wanted + MARK * number)?;
        let Range { start, end } = self.range(number);
        Ok(start.saturating_add(u64::from_le_bytes(mark)).min(end)..end)
    }

    /// Notes how many bytes of a range have come.
    fn mark(&self, number: u64, come: u64) -> io::Result<()> {
        self.file.write_all_at(&come.to_le_bytes(), self.wanted + MARK * number)
    }

    /// Makes a file of what came without a gap from the start on.
    fn close(&self) -> io::Result<()> {
        for number in 0..self.count() {
            let rest = self.rest(number)?;
            if !rest.is_empty() {
                return self.file.set_len(rest.start);
            }
        }
        self.file.set_len(self.wanted)
    }

    /// Writes what is read of a range; how far it came.
    fn receive(&self, number: u64, body: impl io::Read, looker: &Looker<'_>) -> std::result::Result<u64, Broken> {
        let (start, mut rest) = (self.range(number).start, self.rest(number).map_err(Broken::Here)?);
        let mut body = body.take(rest.end - rest.start);
        let mut buffer = vec![0; BUFFER];
        loop {
            if (looker.stop)() {
                return Err(Broken::Stopped);
            }
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(rest.start),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Broken::There(error)),
            };
            self.file.write_all_at(&buffer[..read], rest.start).map_err(Broken::Here)?;
            rest.start += read as u64;
            self.mark(number, rest.start - start).map_err(Broken::Here)?;
            looker.meter.add(read as u64);
        }
    }

    /// Brings a range, going on where it breaks off.
    fn bring(&self, remote: &Remote, name: &str, number: u64, looker: &Looker<'_>) -> Result<Came> {
        let mut tries = TRIES;
        loop {
            let rest = match self.rest(number) {
                Ok(rest) if rest.is_empty() => return Ok(Came::Whole),
                Ok(rest) => rest,
                Err(error) => return Ok(Came::Broken(Broken::Here(error))),
            };
            let reading = remote.get_range(name, rest.clone())?.filter(|reading| reading.from == rest.start);
            let Some(reading) = reading else { return Ok(Came::NotInRanges) };
            match self.receive(number, reading.body, looker) {
                Ok(come) if come == rest.end => return Ok(Came::Whole),
                Ok(_) => return Ok(Came::NotInRanges),
                Err(Broken::There(_)) if tries > 1 => tries -= 1,
                Err(broken) => return Ok(Came::Broken(broken)),
            }
        }
    }
}

/// Brings the bytes of a blob into a file, which may hold some of them.
pub(super) fn fetch(remote: &Remote, name: &str, part: &Path, wanted: u64, looker: &Looker<'_>) -> Result<Came> {
    let ranges = match Ranges::open(part, wanted) {
        Ok(ranges) => ranges,
        Err(error) => return Ok(Came::Broken(Broken::Here(error))),
    };
    let failed = AtomicBool::new(false);
    let looker = Looker { meter: looker.meter, stop: &|| (looker.stop)() || failed.load(Ordering::Relaxed) };
    let numbers: Vec<u64> = (0..ranges.count()).collect();
    let came = side_by_side(&numbers, AT_ONCE, |number| {
        if (looker.stop)() {
            return Ok(Came::Broken(Broken::Stopped));
        }
        let came = ranges.bring(remote, name, *number, &looker);
        // The others need not go on.
        failed.fetch_or(!matches!(came, Ok(Came::Whole)), Ordering::Relaxed);
        came
    });
    let came = came.into_iter().collect::<Result<Vec<_>>>()?;
    // Whoever was told to stop stopped because of another.
    let rank = |came: &Came| match came {
        Came::Whole => 0,
        Came::Broken(Broken::Stopped) => 1,
        Came::Broken(_) => 2,
        Came::NotInRanges => 3,
    };
    let worst = came.into_iter().max_by_key(rank).unwrap_or(Came::Whole);
    match worst {
        Came::Broken(_) => Ok(worst),
        Came::Whole | Came::NotInRanges => match ranges.close() {
            Ok(()) => Ok(worst),
            Err(error) => Ok(Came::Broken(Broken::Here(error))),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::remote::Meter;

    fn rests(ranges: &Ranges) -> Vec<Range<u64>> {
        (0..ranges.count()).map(|number| ranges.rest(number).unwrap()).collect()
    }

    #[test]
    fn the_first_bytes_that_came_in_one_piece_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let wanted = 2 * RANGE + 5;
        fs::write(&path, vec![7; RANGE as usize + 3]).unwrap();
        let ranges = Ranges::open(&path, wanted).unwrap();
        assert_eq!(rests(&ranges), [RANGE..RANGE, RANGE + 3..2 * RANGE, 2 * RANGE..wanted]);
        ranges.close().unwrap();
        assert_eq!(fs::read(&path).unwrap(), vec![7; RANGE as usize + 3]);
        fs::write(&path, vec![7; wanted as usize + 1]).unwrap();
        assert_eq!(rests(&Ranges::open(&path, wanted).unwrap())[0], 0..RANGE, "too long to be the beginning of it");
    }

    #[test]
    fn what_came_of_each_range_is_known_when_the_file_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part");
        let wanted = RANGE + 5;
        let meter = Meter::default();
        let looker = Looker { meter: &meter, stop: &|| false };
        let ranges = Ranges::open(&path, wanted).unwrap();
        assert_eq!(ranges.receive(1, &b"0123"[..], &looker).ok(), Some(RANGE + 4));
        let ranges = Ranges::open(&path, wanted).unwrap();
        assert_eq!(rests(&ranges), [0..RANGE, RANGE + 4..wanted]);
        // Of a range that is too long no more is taken than belongs to it.
        assert_eq!(ranges.receive(1, &b"4567"[..], &looker).ok(), Some(wanted));
        assert_eq!(ranges.receive(0, &vec![7; RANGE as usize][..], &looker).ok(), Some(RANGE));
        ranges.close().unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!((bytes.len() as u64, &bytes[RANGE as usize..], meter.moved()), (wanted, &b"01234"[..], wanted));
    }
}
