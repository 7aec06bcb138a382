//! The reader of FIT files: each session of each part of a file is a workout. Unaware of courses and settings.
//!
//! Read are messages `record` (time, heart rate, speed, altitude, position, distance), `session` and `sport`, `event`
//! (the timer), `file_id` and `device_info`, `user_profile` (gender), `activity` (local time). All else is passed over:
//! unknown messages and fields, developer fields, and values that say that there is none.

use rustyfit::profile::typedef::File;
use rustyfit::{Decoder, DecoderError, DecoderEvent, StreamingIterator as _};

use crate::read::fit::activity::Activity;
use crate::read::record::{Found, Reason, SetAside};

pub mod activity;
pub mod values;

/// Bytes of the checksum that ends each part of a file.
const CHECKSUM: usize = 2;

/// Bytes of a header that has a checksum of its own.
const LONG_HEADER: u8 = 14;

/// Bytes of a header at which the size of what follows stands.
const SIZE: std::ops::Range<usize> = 4..8;

/// One part of a file, which may hold several joined.
struct Part {
    activity: Activity,
    /// Messages that were decoded.
    messages: u64,
    /// Why it was not read to its end.
    damage: Option<String>,
    /// Whether its checksum is another one.
    altered: bool,
}

/// Reads a FIT file into workouts, one for each session.
///
/// A wrong checksum is told and the part is read all the same; a part that breaks off keeps what stands before.
pub fn read(bytes: &[u8]) -> Found {
    let mut found = Found::default();
    let mended = ended(bytes);
    if mended.is_some() {
        found.warnings.push("the header says that the recording was never ended; it was read to the file's end".into());
    }
    let bytes = mended.as_deref().unwrap_or(bytes);
    let (mut rest, mut number) = (bytes, 0);
    loop {
        number += 1;
        let part = Part::decode(&mut rest);
        let end = part.damage.is_some() || rest.is_empty();
        let place = if number == 1 && end { String::new() } else { format!("part {number}") };
        part.put_into(&mut found, &place, bytes.len() - rest.len());
        if end {
            return found;
        }
    }
}

/// The file with its size put into its header, where the device never came to write it there.
fn ended(bytes: &[u8]) -> Option<Vec<u8>> {
    let follow = bytes.len().checked_sub(usize::from(*bytes.first()?) + CHECKSUM).filter(|follow| *follow > 0)?;
    let unended = bytes.get(SIZE)? == [0; 4] && bytes.get(8..12)? == b".FIT";
    let mut ended = unended.then(|| bytes.to_vec())?;
    ended[SIZE].copy_from_slice(&u32::try_from(follow).ok()?.to_le_bytes());
    Some(ended)
}

impl Part {
    /// Decodes the part that `rest` begins with and leaves what follows it.
    fn decode(rest: &mut &[u8]) -> Self {
        let whole = *rest;
        // Checksums are computed here, so that a wrong one stops nothing. Components are taken apart in `activity`:
        // the decoder's own sums overflow on a distance that says that there is none.
        let mut decoder = Decoder::builder().checksum(false).expand_components(false).build();
        let mut part = Self { activity: Activity::default(), messages: 0, damage: None, altered: false };
        let mut checksum = None;
        let mut stream = decoder.stream(&mut *rest);
        while checksum.is_none() && part.damage.is_none() {
            match stream.next() {
                Some(Ok(DecoderEvent::Message(message))) => {
                    part.messages += 1;
                    part.activity.take(message);
                }
                Some(Ok(DecoderEvent::Crc(found))) => checksum = Some(found),
                Some(Ok(_)) => {}
                Some(Err(error)) => part.damage = Some(words(&error)),
                None => part.damage = Some("there is nothing in it".into()),
            }
        }
        let summed = &whole[..(whole.len() - rest.len()).saturating_sub(CHECKSUM)];
        // Devices that leave the header's own checksum out, zero, sum the header too; some programs never do.
        let sums = [summed, summed.strip_prefix(own_sum(whole)).unwrap_or(summed)].map(sum);
        part.altered = checksum.is_some_and(|found| !sums.contains(&found));
        part
    }

    /// Adds its workouts, or the note of why there is none; `end` is the byte that was read last.
    fn put_into(self, found: &mut Found, place: &str, end: usize) {
        let before = if place.is_empty() { String::new() } else { format!("`{place}`: ") };
        if self.altered {
            found.warnings.push(format!("{before}the checksum is not that of the bytes; they were read all the same"));
        }
        if let Some(damage) = self.damage {
            let detail = format!("{damage} at byte {end}");
            if self.messages == 0 {
                return found.set_aside.push(SetAside::new(place, Reason::Malformed, detail));
            }
            found.warnings.push(format!("{before}{detail}; what stands before is kept"));
            found.set_aside.push(SetAside::new(place, Reason::BrokenOff, detail));
        }
        if let Some(kind) = self.activity.kind.filter(|kind| *kind != File::ACTIVITY) {
            let detail = format!("the FIT file is of the type `{kind}`, not `activity`");
            return found.set_aside.push(SetAside::new(place, Reason::NoSamples, detail));
        }
        let recordings = self.activity.recordings();
        let several = recordings.len() > 1;
        for (i, recording) in recordings.into_iter().enumerate() {
            let session = if several { format!("session {}", i + 1) } else { String::new() };
            let gap = if place.is_empty() || session.is_empty() { "" } else { ", " };
            recording.put_into(found, &format!("{place}{gap}{session}"));
        }
    }
}

/// What stopped a decoder, in words to be followed by a place.
fn words<E>(error: &DecoderError<E>) -> String {
    match error {
        DecoderError::UnexpectedEof | DecoderError::Io { .. } => "the file breaks off".into(),
        DecoderError::NotFITFile => "there is no FIT header".into(),
        DecoderError::ChecksumMismatch { .. } => "the checksum is wrong".into(),
        DecoderError::MissingMessageDefinition { local_mesg_num } => {
            format!("a message of the undefined sort {local_mesg_num} stands")
        }
    }
}

/// The header where it has room for a checksum of its own, so that the file's may leave it out.
fn own_sum(part: &[u8]) -> &[u8] {
    if part.first() == Some(&LONG_HEADER) { &part[..part.len().min(LONG_HEADER.into())] } else { &[] }
}

/// The checksum of FIT: CRC-16 with the reversed polynomial 0xA001, zero at first.
fn sum(bytes: &[u8]) -> u16 {
    let bit = |sum: u16, _| if sum & 1 == 1 { (sum >> 1) ^ 0xa001 } else { sum >> 1 };
    bytes.iter().fold(0, |sum, &byte| (0..8).fold(sum ^ u16::from(byte), bit))
}

#[cfg(test)]
mod tests;
