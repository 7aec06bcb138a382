//! Gathers what the blocks of an export hold: its samples, its workouts, who recorded them. Puts together workouts
//! that lie across blocks. Unaware of routes and of which workouts are kept.

use memchr::{memmem, memrchr};
use rayon::prelude::{IntoParallelRefIterator as _, ParallelIterator as _};

use crate::read::apple::samples::{Sample, Sources, Store};
use crate::read::apple::scan::{self, Piece, WORKOUT_END};
use crate::read::apple::tags::Attributes;
use crate::read::apple::time::Clock;
use crate::read::apple::workout::{self, Draft};
use crate::read::record::{Reason, SetAside};

/// Bytes that one thread searches at a time.
const PIECE_BYTES: usize = 1 << 18;
/// Bytes of the longest workout: a day of laps has some 100 kB.
const WORKOUT_BYTES: usize = 16 << 20;
/// Bytes within which the runner is described.
const HEAD_BYTES: u64 = 16 << 20;

/// What was gathered so far.
#[derive(Default)]
pub struct Gathered {
    /// Heart rates.
    pub heart_rates: Store,
    /// Distances.
    pub distances: Store,
    /// Who measured.
    pub sources: Sources,
    /// Workouts in the order of the file.
    pub drafts: Vec<Draft>,
    /// Workouts that cannot be read.
    pub set_aside: Vec<SetAside>,
    /// Records that cannot be read.
    pub unreadable: u64,
    /// Where the first of them begins.
    pub first_unreadable: Option<u64>,
    /// `male`, `female` or `unknown`, where the export says.
    pub gender: Option<&'static str>,
    /// A workout whose end was not seen yet, and where it begins.
    open: Option<(u64, Vec<u8>)>,
}

/// A workout or why it is none.
type Parsed = Result<Draft, SetAside>;

impl Gathered {
    /// Takes the next block, which begins at a byte of the text.
    pub fn take(&mut self, block: &[u8], at: u64) {
        if self.gender.is_none() && at < HEAD_BYTES {
            self.gender = gender(block);
        }
        let pieces = pieces(block);
        let searched: Vec<(Piece, Vec<Option<Parsed>>)> =
            pieces.par_iter().map(|&(from, text)| search(text, at + from as u64)).collect();
        for (&(from, text), (piece, parsed)) in pieces.iter().zip(searched) {
            self.join(text, at + from as u64, piece, parsed);
        }
    }

    /// Ends the text: a workout that is still open has no end.
    pub fn finish(&mut self) {
        if let Some((at, text)) = self.open.take() {
            let place = place(&text, at);
            self.set_aside.push(SetAside::new(place, Reason::BrokenOff, "the file ends within it"));
        }
    }

    fn join(&mut self, text: &[u8], at: u64, piece: Piece, parsed: Vec<Option<Parsed>>) {
        let first = piece.workouts.first().map_or(text.len(), |(start, _)| *start);
        self.go_on(&text[..first], first < text.len());
        for (&(start, _), parsed) in piece.workouts.iter().zip(parsed) {
            match parsed {
                Some(parsed) => self.push(parsed),
                // Only the last one can have its end elsewhere.
                None => self.open = Some((at + start as u64, text[start..].to_vec())),
            }
        }
        let numbers: Vec<u16> = piece.sources.all().into_iter().map(|source| self.sources.number(source)).collect();
        let numbered = |sample: Sample| {
            let source = numbers.get(usize::from(sample.source)).copied().unwrap_or(u16::MAX);
            Sample { source, ..sample }
        };
        self.heart_rates.extend(piece.heart_rates.into_iter().map(numbered));
        self.distances.extend(piece.distances.into_iter().map(numbered));
        self.unreadable += piece.unreadable;
        self.first_unreadable = self.first_unreadable.or(piece.first_unreadable.map(|first| at + first as u64));
    }

    /// Goes on with the open workout in the text before the next one.
    fn go_on(&mut self, text: &[u8], another_follows: bool) {
        let Some((at, mut open)) = self.open.take() else { return };
        let end = memmem::find(text, WORKOUT_END);
        open.extend_from_slice(&text[..end.map_or(text.len(), |end| end + WORKOUT_END.len())]);
        if end.is_some() {
            self.push(parse(&open, at));
        } else if another_follows {
            self.set_aside.push(without_end(&open, at));
        } else if open.len() > WORKOUT_BYTES {
            let detail = format!("it has more than {} MiB", WORKOUT_BYTES >> 20);
            self.set_aside.push(SetAside::new(place(&open, at), Reason::TooLong, detail));
        } else {
            self.open = Some((at, open));
        }
    }

    fn push(&mut self, parsed: Parsed) {
        match parsed {
            Ok(draft) => self.drafts.push(draft),
            Err(note) => self.set_aside.push(note),
        }
    }
}

/// Cuts a block before tags; each piece with where it begins in the block.
fn pieces(block: &[u8]) -> Vec<(usize, &[u8])> {
    let mut pieces = Vec::new();
    let mut from = 0;
    while block.len() - from > PIECE_BYTES {
        let cut = memrchr(b'<', &block[from..from + PIECE_BYTES]).filter(|cut| *cut > 0);
        let Some(length) = cut.or_else(|| memchr::memchr(b'<', &block[from + 1..]).map(|cut| cut + 1)) else { break };
        pieces.push((from, &block[from..from + length]));
        from += length;
    }
    pieces.push((from, &block[from..]));
    pieces
}

/// Searches a piece and reads its workouts; none for one whose end is not there.
fn search(text: &[u8], at: u64) -> (Piece, Vec<Option<Parsed>>) {
    let piece = scan::scan(text);
    let last = piece.workouts.len().saturating_sub(1);
    let parsed = piece.workouts.iter().enumerate().map(|(i, &(start, end))| match end {
        Some(end) => Some(parse(&text[start..end], at + start as u64)),
        None => (i < last).then(|| Err(without_end(&text[start..], at + start as u64))),
    });
    let parsed = parsed.collect();
    (piece, parsed)
}

fn parse(text: &[u8], at: u64) -> Parsed {
    workout::parse(text).map_err(|why| SetAside::new(place(text, at), Reason::Malformed, why))
}

fn without_end(text: &[u8], at: u64) -> SetAside {
    SetAside::new(place(text, at), Reason::Malformed, "it has no end before the next workout begins")
}

/// Where a workout stands, for people: its beginning, or the byte where its element begins.
fn place(text: &[u8], at: u64) -> String {
    let start = Attributes::new(&text[b"<Workout".len()..]).find(|(name, _)| *name == b"startDate");
    match start.and_then(|(_, date)| Clock::default().seconds(date)) {
        Some(start) => place_of(start),
        None => format!("workout at byte {at}"),
    }
}

/// A workout by its beginning, for people.
pub fn place_of(start: i64) -> String {
    match jiff::Timestamp::from_second(start) {
        Ok(time) => format!("workout of {time}"),
        Err(_) => format!("workout of unix second {start}"),
    }
}

/// What the export says of the runner, where it is in this text.
fn gender(text: &[u8]) -> Option<&'static str> {
    let mut starts = memmem::find_iter(text, b"<Me");
    let me = starts.find(|at| text.get(at + 3).is_some_and(u8::is_ascii_whitespace))?;
    let sex = Attributes::new(&text[me + 3..])
        .find(|(name, _)| *name == b"HKCharacteristicTypeIdentifierBiologicalSex")
        .map(|(_, value)| value);
    Some(match sex {
        Some(b"HKBiologicalSexMale") => "male",
        Some(b"HKBiologicalSexFemale") => "female",
        _ => "unknown",
    })
}

#[cfg(test)]
mod tests {
    use super::{Gathered, PIECE_BYTES, gender, pieces};

    fn workout(minute: usize, content: &str) -> String {
        format!(
            "<Workout workoutActivityType=\"HKWorkoutActivityTypeRunning\" startDate=\"2024-01-01 10:{minute:02}:00 +0000\" \
             endDate=\"2024-01-01 10:{minute:02}:30 +0000\">{content}</Workout>"
        )
    }

    fn gather(text: &str, block: usize) -> Gathered {
        let mut gathered = Gathered::default();
        let mut from = 0;
        while from < text.len() {
            let rest = &text.as_bytes()[from..];
            let end = rest.iter().skip(block).position(|byte| *byte == b'<').map_or(rest.len(), |end| end + block);
            gathered.take(&rest[..end], from as u64);
            from += end;
        }
        gathered.finish();
        gathered
    }

    #[test]
    fn workouts_across_blocks_are_the_same_however_the_text_is_cut() {
        let content = "<WorkoutEvent type=\"x\" date=\"y\"/>\n".repeat(20);
        let text: String = (0..9).map(|minute| workout(minute, &content)).collect();
        let whole = gather(&text, text.len());
        assert_eq!(whole.drafts.len(), 9);
        for block in [1, 7, 300, 1000] {
            assert_eq!(gather(&text, block).drafts, whole.drafts, "{block}");
        }
    }

    #[test]
    fn a_workout_without_end_is_set_aside_and_the_next_one_is_read() {
        let text = [
            workout(1, ""),
            workout(2, "").replace("</Workout>", ""),
            workout(3, ""),
            workout(4, "").replace("</Workout>", ""),
        ];
        let text = text.concat();
        for block in [1, 50, text.len()] {
            let gathered = gather(&text, block);
            assert_eq!(gathered.drafts.len(), 2, "{block}");
            let notes: Vec<_> =
                gathered.set_aside.iter().map(|note| (note.place.as_str(), note.reason.words())).collect();
            assert_eq!(
                notes,
                [
                    ("workout of 2024-01-01T10:02:00Z", "malformed"),
                    ("workout of 2024-01-01T10:04:00Z", "file breaks off")
                ],
                "{block}"
            );
        }
    }

    #[test]
    fn pieces_are_all_of_a_block() {
        for text in [
            "<a>".repeat(PIECE_BYTES),
            "x".repeat(3 * PIECE_BYTES),
            format!("{}<a>{}", "x".repeat(PIECE_BYTES + 1), "y".repeat(PIECE_BYTES)),
        ] {
            let pieces = pieces(text.as_bytes());
            assert!(pieces.iter().all(|(from, piece)| &text.as_bytes()[*from..from + piece.len()] == *piece));
            assert_eq!(pieces.iter().map(|(_, piece)| piece.len()).sum::<usize>(), text.len());
            assert!(pieces.iter().skip(1).all(|(_, piece)| piece.starts_with(b"<")));
        }
    }

    #[test]
    fn the_runner_is_read_from_the_head() {
        let me = |sex: &str| {
            format!("<MetadataEntry/><Me\n a=\"1\" HKCharacteristicTypeIdentifierBiologicalSex=\"{sex}\"/>")
        };
        let read = |sex: &str| gender(me(sex).as_bytes());
        assert_eq!(read("HKBiologicalSexFemale"), Some("female"));
        assert_eq!(read("HKBiologicalSexMale"), Some("male"));
        assert_eq!(read("HKBiologicalSexNotSet"), Some("unknown"));
        assert_eq!(gender(b"<MetadataEntry key=\"1\"/>"), None);
    }
}
