//! What a file is, told by its content alone, and a whole file in memory, unpacked. Unaware of how formats are read.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use flate2::read::MultiGzDecoder;

use crate::read::csv::columns::Field;
use crate::read::csv::rows::Rows;
use crate::read::utf8;

/// Bytes of a file's start that are enough for [`tell`].
pub const START_BYTES: usize = 64 * 1024;

/// Bytes of one workout's file that are read, unpacked, unless told otherwise.
pub const LIMIT_BYTES: u64 = 256 * 1024 * 1024;

/// How often gzip may be packed in gzip.
const LAYERS: usize = 4;

/// The first bytes of every gzip file.
const GZIP: &[u8] = b"\x1f\x8b";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line begins with a brace, as a workout of FitRec does.
    FitRec,
    /// The `export.xml` of Apple Health.
    AppleXml,
    /// A zip archive.
    Zip,
    /// A FIT file.
    Fit,
    /// A TCX file.
    Tcx,
    /// A GPX file.
    Gpx,
    /// A text with a header of several columns, one of them for times or heart rates.
    Csv,
    /// Something packed with gzip.
    Gzip,
    /// Something else: what it seems to be.
    Unknown(&'static str),
}

/// A file in memory.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes, unpacked.
    pub bytes: Vec<u8>,
    /// Why what is packed was not read to its end; what could be is kept.
    pub damage: Option<String>,
}

/// First bytes of kinds of files that hold no workout.
const OTHERS: &[(&[u8], &str)] = &[
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"%PDF", "a PDF document"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "a Parquet file"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ\0", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"bplist00", "a binary property list"),
    (b"\x7fELF", "a program"),
];

/// Tells what a file is by its first bytes, of which [`START_BYTES`] are looked at.
pub fn tell(start: &[u8]) -> Format {
    let start = &start[..start.len().min(START_BYTES)];
    if start.starts_with(GZIP) {
        return Format::Gzip;
    }
    if [b"PK\x03\x04", b"PK\x05\x06"].iter().any(|mark| start.starts_with(*mark)) {
        return Format::Zip;
    }
    if start.get(8..12) == Some(b".FIT") && matches!(start[0], 12 | 14) {
        return Format::Fit;
    }
    if let Some((_, words)) = OTHERS.iter().find(|(mark, _)| start.starts_with(mark)) {
        return Format::Unknown(words);
    }
    let text = start.strip_prefix(utf8::MARK).unwrap_or(start).trim_ascii_start();
    match text.first() {
        None => Format::Unknown("an empty file"),
        Some(b'{') => Format::FitRec,
        Some(b'<') => tell_xml(text),
        Some(_) => tell_text(text),
    }
}

/// Tells XML by its outermost element.
fn tell_xml(text: &[u8]) -> Format {
    match outermost(text) {
        Some(b"HealthData") => Format::AppleXml,
        Some(b"gpx") => Format::Gpx,
        Some(b"TrainingCenterDatabase") => Format::Tcx,
        Some(b"html" | b"HTML") => Format::Unknown("an HTML page"),
        Some(b"svg") => Format::Unknown("an SVG picture"),
        Some(b"kml") => Format::Unknown("a KML file"),
        Some(b"ClinicalDocument") => Format::Unknown("a clinical document of Apple Health; give `export.xml`"),
        Some(_) => Format::Unknown("XML of another kind"),
        None => Format::Unknown("XML without an element near its beginning"),
    }
}

/// The local name of the outermost element: the first tag after declarations, comments and the document type, which
/// are not parsed, for some exports declare nonsense.
fn outermost(mut text: &[u8]) -> Option<&[u8]> {
    loop {
        text = &text[memchr::memchr(b'<', text)? + 1..];
        let end: &[u8] = match text {
            [b'!', b'-', b'-', ..] => b"-->",
            [b'?', ..] => b"?>",
            // The document type holds further declarations, each of which comes by here.
            [b'!', b'D', ..] => continue,
            [b'!', ..] => b">",
            [first, ..] if first.is_ascii_alphabetic() || *first == b'_' => break,
            _ => continue,
        };
        text = &text[memchr::memmem::find(text, end)? + end.len()..];
    }
    let name = text.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/')).next()?;
    name.rsplit(|byte| *byte == b':').next()
}

/// Tells text that is no XML: a table, or FitRec with something before its first workout.
fn tell_text(text: &[u8]) -> Format {
    let header = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let readable = utf8::text(text).is_ok() && !text.contains(&0);
    if utf8::text(header).is_ok_and(is_header) {
        return Format::Csv;
    }
    if text.split(|byte| *byte == b'\n').any(|line| line.trim_ascii_start().starts_with(b"{")) && readable {
        return Format::FitRec;
    }
    match readable {
        true => Format::Unknown("text without a header that names a column of times or heart rates"),
        false => Format::Unknown("binary data of no known kind"),
    }
}

/// Whether a line names at least two columns, one of them of times or heart rates.
fn is_header(line: &str) -> bool {
    let cells = Rows::new(line).next().map(|row| row.cells).unwrap_or_default();
    let words = ["time", "heart", "bpm", "pulse", "seconds", "date"];
    let fits = |cell: &str| {
        let lower = cell.to_lowercase();
        let known = [Field::Time, Field::HeartRate].iter().any(|field| field.is_called(cell));
        known || (lower.len() <= 40 && words.iter().any(|word| lower.contains(word)))
    };
    cells.len() >= 2 && cells.iter().any(|cell| fits(cell))
}

/// Reads a file into memory, plain or gzipped, also more than once; refuses one of more than `limit_bytes`.
///
/// A gzip stream that is cut or damaged gives what stands before, with the damage.
pub fn whole(path: &Path, limit_bytes: u64) -> Result<Whole> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("`{name}` cannot be opened"))?;
    let mut whole = Whole::default();
    let read = file.take(limit_bytes.saturating_add(1)).read_to_end(&mut whole.bytes);
    read.with_context(|| format!("`{name}` cannot be read"))?;
    unpacked(whole.bytes, limit_bytes).with_context(|| format!("`{name}` is not read"))
}

/// Unpacks bytes as long as they are gzip; the same limit and the same damage as [`whole`].
pub fn unpacked(bytes: Vec<u8>, limit_bytes: u64) -> Result<Whole> {
    let mut whole = Whole { bytes, damage: None };
    for layer in 0.. {
        if whole.bytes.len() as u64 > limit_bytes {
            let limit = limit_bytes / (1024 * 1024);
            bail!("it holds more than {limit} MiB, which no recording of one workout does; leave it out");
        }
        if !whole.bytes.starts_with(GZIP) {
            break;
        }
        if layer == LAYERS {
            bail!("gzip is packed in gzip more than {LAYERS} times; unpack it first");
        }
        let mut inner = Vec::new();
        let mut decoder = MultiGzDecoder::new(whole.bytes.as_slice()).take(limit_bytes.saturating_add(1));
        if let Err(error) = decoder.read_to_end(&mut inner) {
            let kind = if error.kind() == ErrorKind::UnexpectedEof { "breaks off" } else { "is damaged" };
            whole.damage = Some(format!("the gzip stream {kind} after {} bytes of content", inner.len()));
        }
        whole.bytes = inner;
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_format_is_told_by_content_alone() {
        let told: [(&[u8], Format); 16] = [
            (b"{'id': 1}", Format::FitRec),
            (b"\xef\xbb\xbf\n {\"id\": 1}", Format::FitRec),
            (b"a stray line\n{'id': 1}", Format::FitRec),
            (b"PK\x03\x04\x14\0", Format::Zip),
            (b"PK\x05\x06\0\0", Format::Zip),
            (b"\x1f\x8b\x08\0", Format::Gzip),
            (b"\x0e\x10\x54\x08\0\0\0\0.FIT\0\0", Format::Fit),
            (b"\x0c\x10\x54\x08\0\0\0\0.FIT", Format::Fit),
            (b"<?xml version='1.0'?>\n<gpx version='1.1'>", Format::Gpx),
            (b"\xef\xbb\xbf<!-- <kml> --><x:gpx>", Format::Gpx),
            (b"  <TrainingCenterDatabase/>", Format::Tcx),
            (
                b"<!DOCTYPE HealthData [<!ELEMENT HealthData (a|b)><!-- <gpx> --><!ATTLIST <>]><HealthData locale='x'>",
                Format::AppleXml,
            ),
            (b"t_s,speed_mps,hr_bpm\n", Format::Csv),
            (b"\"Zeit, Datum\";\"Pulse\"\n", Format::Csv),
            (b"when\tHeart rate\n", Format::Csv),
            (b"Start Time,x\r\n1,2\r\n", Format::Csv),
        ];
        for (start, format) in told {
            assert_eq!(tell(start), format, "{}", String::from_utf8_lossy(start));
        }
    }

    #[test]
    fn what_is_no_workout_is_called_by_its_name() {
        let told: [(&[u8], &str); 12] = [
            (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
            (b"\xff\xd8\xff\xe0", "a JPEG picture"),
            (b"%PDF-1.7", "a PDF document"),
            (b"SQLite format 3\0", "an SQLite database"),
            (b"\xff\xfe<\0g\0", "UTF-16 text; save it as UTF-8"),
            (b"", "an empty file"),
            (b"\xef\xbb\xbf \r\n", "an empty file"),
            (b"<!doctype html><html>", "an HTML page"),
            (b"<rss/>", "XML of another kind"),
            (b"<?xml version='1.0'?>", "XML without an element near its beginning"),
            (b"a,b,c\n1,2,3\n", "text without a header that names a column of times or heart rates"),
            (b"\0\x01\x02{", "binary data of no known kind"),
        ];
        for (start, words) in told {
            assert_eq!(tell(start), Format::Unknown(words), "{}", String::from_utf8_lossy(start));
        }
        let long = [b"time,hr\n".as_slice(), &b"0,100\n".repeat(20_000)].concat();
        assert_eq!(tell(&long), Format::Csv);
    }

    #[test]
    fn gzip_in_gzip_is_read_and_a_cut_one_keeps_what_it_gave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.csv");
        let text: Vec<u8> = (0..50_000u32).flat_map(|i| format!("{},{}\n", i, i * 7919).into_bytes()).collect();
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            whole(&path, LIMIT_BYTES).unwrap()
        };
        for bytes in [text.clone(), gzip(&text), gzip(&gzip(&text))] {
            assert_eq!(read(&bytes), Whole { bytes: text.clone(), damage: None });
        }
        let packed = gzip(&text);
        let cut = read(&packed[..packed.len() / 2]);
        assert!(cut.bytes.len() > 1000 && text.starts_with(&cut.bytes));
        assert_eq!(cut.damage, Some(format!("the gzip stream breaks off after {} bytes of content", cut.bytes.len())));
        assert_eq!(read(b"\x1f\x8b").bytes, b"");
    }

    #[test]
    fn what_is_too_large_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bomb");
        let refusal = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            format!("{:#}", whole(&path, 1024 * 1024).unwrap_err())
        };
        let zeros = vec![0; 2 * 1024 * 1024];
        let words = "is not read: it holds more than 1 MiB, which no recording of one workout does; leave it out";
        for bytes in [zeros.clone(), gzip(&zeros), gzip(&gzip(&zeros))] {
            let refusal = refusal(&bytes);
            assert!(refusal.ends_with(words) && refusal.starts_with('`'), "{refusal}");
        }
        let onion = (0..6).fold(b"seed".to_vec(), |inner, _| gzip(&inner));
        assert!(refusal(&onion).contains("gzip is packed in gzip more than 4 times"));
        assert!(format!("{:#}", whole(&folder.path().join("none"), 1).unwrap_err()).contains("cannot be opened"));
    }
}
