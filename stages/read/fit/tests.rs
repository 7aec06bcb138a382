//! Tests of the reader on FIT files written here byte by byte, among them what devices and accidents make of them.
//! Unaware of the reader's parts.

use super::*;
use crate::read::record::Record;

/// FIT's seconds of 2021-03-29T12:00:00Z, and the same moment in unix seconds.
const NOON: u32 = 985_953_600;
const UNIX_NOON: f64 = 1_617_019_200.0;

/// Types of values.
const ENUM: u8 = 0x00;
const U8: u8 = 0x02;
const U16: u8 = 0x84;
const I32: u8 = 0x85;
const U32: u8 = 0x86;
const STRING: u8 = 0x07;
const BYTE: u8 = 0x0d;

/// Numbers of messages.
const FILE_ID: u16 = 0;
const USER_PROFILE: u16 = 3;
const SESSION: u16 = 18;
const RECORD: u16 = 20;
const EVENT: u16 = 21;
const ACTIVITY: u16 = 34;
const DEVELOPER_FIELD: u16 = 206;

/// A file in the making: definitions and messages one after the other.
#[derive(Default)]
struct Fit(Vec<u8>);

impl Fit {
    /// Defines the messages of a local number: fields as number, size and type.
    fn define(&mut self, local: u8, message: u16, fields: &[[u8; 3]]) -> &mut Self {
        self.0.extend([0x40 | local, 0, 0]);
        self.0.extend(message.to_le_bytes());
        self.0.push(fields.len() as u8);
        self.0.extend(fields.concat());
        self
    }

    fn data(&mut self, local: u8, values: &[&[u8]]) -> &mut Self {
        self.0.push(local);
        self.0.extend(values.concat());
        self
    }

    /// One message with its definition.
    fn message(&mut self, number: u16, fields: &[([u8; 2], &[u8])]) -> &mut Self {
        let definition: Vec<[u8; 3]> =
            fields.iter().map(|([field, kind], value)| [*field, value.len() as u8, *kind]).collect();
        let values: Vec<&[u8]> = fields.iter().map(|(_, value)| *value).collect();
        self.define(15, number, &definition).data(15, &values)
    }

    fn file_id(&mut self, kind: u8) -> &mut Self {
        self.message(
            FILE_ID,
            &[([0, ENUM], &[kind]), ([1, U16], &1u16.to_le_bytes()), ([2, U16], &1967u16.to_le_bytes())],
        )
    }

    /// Defines local number 0 as records of a time and a heart rate.
    fn beats(&mut self) -> &mut Self {
        self.define(0, RECORD, &[[253, 4, U32], [3, 1, U8]])
    }

    fn beat(&mut self, second: u32, bpm: u8) -> &mut Self {
        self.data(0, &[&(NOON + second).to_le_bytes(), &[bpm]])
    }

    fn timer(&mut self, second: u32, kind: u8) -> &mut Self {
        let time = (NOON + second).to_le_bytes();
        self.message(EVENT, &[([253, U32], &time), ([0, ENUM], &[0]), ([1, ENUM], &[kind])])
    }

    fn session(&mut self, start: u32, sport: u8, sub_sport: u8) -> &mut Self {
        let start = (NOON + start).to_le_bytes();
        self.message(SESSION, &[([2, U32], &start), ([5, ENUM], &[sport]), ([6, ENUM], &[sub_sport])])
    }

    /// The file: header, messages, checksum.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![LONG_HEADER, 0x20, 0x54, 0x08];
        bytes.extend((self.0.len() as u32).to_le_bytes());
        bytes.extend(b".FIT");
        bytes.extend(sum(&bytes).to_le_bytes());
        bytes.extend(&self.0);
        bytes.extend(sum(&self.0).to_le_bytes());
        bytes
    }
}

/// A run of so many seconds with a heart rate that rises from 100 BPM.
fn run(seconds: u32) -> Fit {
    let mut fit = Fit::default();
    fit.file_id(4).beats();
    for second in 0..seconds {
        fit.beat(second, 100 + second as u8);
    }
    fit
}

fn only(bytes: &[u8]) -> Record {
    let mut found = read(bytes);
    assert_eq!((&found.set_aside, &found.warnings, found.records.len()), (&vec![], &vec![], 1));
    found.records.remove(0)
}

fn beats(record: &Record) -> &[f32] {
    record.workout.heart_rate.as_deref().unwrap_or_default()
}

#[test]
fn a_record_gives_all_its_values_in_si_units() {
    let mut fit = Fit::default();
    fit.file_id(4);
    let place = (1i32 << 30).to_le_bytes();
    let west = i32::MIN.to_le_bytes();
    for second in 0..2 {
        fit.message(
            RECORD,
            &[
                ([253, U32], &(NOON + second).to_le_bytes()),
                ([0, I32], &place),
                ([1, I32], &west),
                ([78, U32], &2750u32.to_le_bytes()),
                ([2, U16], &9u16.to_le_bytes()),
                ([73, U32], &3250u32.to_le_bytes()),
                ([6, U16], &9u16.to_le_bytes()),
                ([5, U32], &(325 * second).to_le_bytes()),
                ([3, U8], &[140]),
            ],
        );
    }
    let record = only(&fit.bytes());
    let workout = &record.workout;
    assert_eq!(
        (workout.time.as_deref(), workout.id),
        (Some([UNIX_NOON, UNIX_NOON + 1.0].as_slice()), UNIX_NOON as i64)
    );
    assert_eq!((&workout.latitude, &workout.longitude), (&Some(vec![90.0; 2]), &Some(vec![-180.0; 2])));
    assert_eq!((&workout.altitude, &workout.speed), (&Some(vec![50.0; 2]), &Some(vec![3.25; 2])));
    assert_eq!((&record.distance, beats(&record)), (&Some(vec![0.0, 3.25]), [140.0; 2].as_slice()));
    assert_eq!(workout.device.as_deref(), Some("garmin fenix2"));
}

#[test]
fn session_user_and_activity_say_sport_place_gender_and_zone() {
    let mut fit = run(3);
    fit.session(0, 1, 1).message(USER_PROFILE, &[([1, ENUM], &[0])]);
    let (time, local) = ((NOON + 3).to_le_bytes(), (NOON + 3 + 10_800).to_le_bytes());
    fit.message(ACTIVITY, &[([253, U32], &time), ([5, U32], &local)]);
    let workout = only(&fit.bytes()).workout;
    assert_eq!(
        (workout.sport.as_str(), workout.indoor, workout.gender.as_deref()),
        ("run", Some(true), Some("female"))
    );
    assert_eq!((workout.time_zone.as_deref(), workout.source.as_str()), (Some("+03:00"), "fit"));
}

#[test]
fn a_wrong_checksum_is_told_and_stops_nothing() {
    let mut bytes = run(5).bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 0xff;
    let found = read(&bytes);
    assert_eq!(beats(&found.records[0]), [100.0, 101.0, 102.0, 103.0, 104.0]);
    assert_eq!(found.warnings, ["the checksum is not that of the bytes; they were read all the same"]);
    let mut zero_in_header = run(5).bytes();
    zero_in_header[12..14].fill(0);
    assert_eq!(read(&zero_in_header).warnings, [""; 0], "a header need not have one");
    let end = zero_in_header.len() - CHECKSUM;
    let with_header = sum(&zero_in_header[..end]).to_le_bytes();
    zero_in_header[end..].copy_from_slice(&with_header);
    assert_eq!(read(&zero_in_header).warnings, [""; 0], "and then the file's may hold the header");
}

#[test]
fn a_file_that_is_cut_keeps_the_records_before() {
    let bytes = run(5).bytes();
    for cut in 0..bytes.len() {
        let found = read(&bytes[..cut]);
        let kept = found.records.first().map_or(0, |record| beats(record).len());
        assert!(kept <= 5 && !found.set_aside.is_empty(), "cut at {cut}");
        assert!(kept >= (cut.saturating_sub(14 + 18 + 7 + 12)) / 6, "{kept} cut at {cut}");
    }
    assert_eq!(read(&bytes[..bytes.len() - 1]).set_aside[0].reason, Reason::BrokenOff);
}

#[test]
fn unknown_messages_and_fields_are_passed_over() {
    let mut fit = Fit::default();
    fit.file_id(4).message(0xff12, &[([1, STRING], b"odd\0"), ([2, 0x99], &[1, 2, 3])]).message(233, &[([0, U8], &[])]);
    fit.define(0, RECORD, &[[253, 4, U32], [200, 3, BYTE], [3, 1, U8], [201, 0, U16]]);
    fit.data(0, &[&NOON.to_le_bytes(), &[9, 9, 9], &[120]]).data(0, &[&(NOON + 1).to_le_bytes(), &[9, 9, 9], &[121]]);
    assert_eq!(beats(&only(&fit.bytes())), [120.0, 121.0]);
}

#[test]
fn developer_fields_are_passed_over_described_or_not() {
    let mut fit = Fit::default();
    fit.file_id(4);
    fit.message(DEVELOPER_FIELD, &[([0, U8], &[0]), ([1, U8], &[7]), ([2, U8], &[U16]), ([3, STRING], b"power\0")]);
    fit.0.extend([0x60, 0, 0, 20, 0, 2, 253, 4, U32, 3, 1, U8]);
    fit.0.extend([2, 7, 2, 0, 9, 3, 5]);
    for second in 0..3u8 {
        let time = (NOON + u32::from(second)).to_le_bytes();
        fit.data(0, &[&time, &[130 + second], &[1, 2], &[3, 4, 5]]);
    }
    assert_eq!(beats(&only(&fit.bytes())), [130.0, 131.0, 132.0]);
}

#[test]
fn compressed_timestamps_count_on_from_the_last_whole_one() {
    let mut fit = Fit::default();
    fit.file_id(4).define(1, RECORD, &[[3, 1, U8]]).beats().beat(30, 100);
    // Bits 5 and 6 are the local number; the low five bits are those of the time, which roll over once here.
    for second in [31u32, 40, 63, 70] {
        fit.0.extend([0x80 | 1 << 5 | ((NOON + second) & 0x1f) as u8, 100 + second as u8]);
    }
    let record = only(&fit.bytes());
    let times: Vec<f64> = record.workout.time.as_deref().unwrap().iter().map(|time| time - UNIX_NOON).collect();
    assert_eq!(times, [30.0, 31.0, 40.0, 63.0, 70.0]);
    assert_eq!(beats(&record), [100.0, 131.0, 140.0, 163.0, 170.0]);
}

#[test]
fn values_that_say_none_are_none_and_never_overflow() {
    let mut fit = Fit::default();
    fit.file_id(4);
    let packed = |bytes: [u8; 3], bpm: u8, second: u32, fit: &mut Fit| {
        fit.message(
            RECORD,
            &[
                ([253, U32], &(NOON + second).to_le_bytes()),
                ([3, U8], &[bpm]),
                ([5, U32], &u32::MAX.to_le_bytes()),
                ([8, BYTE], &bytes),
            ],
        );
    };
    packed([0xff; 3], 0, 0, &mut fit);
    packed([100, 0, 1], 255, 1, &mut fit);
    packed([0xff; 3], 120, 2, &mut fit);
    packed([200, 0, 3], 121, 3, &mut fit);
    let record = only(&fit.bytes());
    assert_eq!(beats(&record), [120.0, 121.0]);
    assert_eq!(record.workout.heart_rate_time, Some(vec![UNIX_NOON + 2.0, UNIX_NOON + 3.0]));
    assert_eq!(record.workout.speed, Some(vec![1.0, 1.0, 1.5, 2.0]));
    let distance = record.distance.unwrap();
    assert_eq!((distance[1], distance[3], distance[0].is_nan()), (1.0, 3.0, true));
}

#[test]
fn the_timer_makes_pauses_and_what_lies_within_is_left_out() {
    let mut fit = run(20);
    fit.timer(0, 0).timer(5, 4).timer(6, 1).timer(10, 0).timer(19, 4);
    let record = only(&fit.bytes());
    assert_eq!(record.workout.pauses, [UNIX_NOON + 5.0, UNIX_NOON + 10.0]);
    assert_eq!(beats(&record).len(), 16);
}

#[test]
fn sessions_part_a_file_and_joined_files_are_all_read() {
    let mut fit = run(20);
    fit.session(10, 2, 0).session(0, 1, 0);
    let parts = |found: &Found| -> Vec<(String, usize)> {
        found.records.iter().map(|record| (record.workout.sport.clone(), beats(record).len())).collect()
    };
    assert_eq!(parts(&read(&fit.bytes())), [("run".into(), 10), ("bike".into(), 10)]);
    let mut joined = [run(3).bytes(), run(4).bytes()].concat();
    assert_eq!(parts(&read(&joined)), [(String::new(), 3), (String::new(), 4)]);
    joined.extend([0; 9]);
    let found = read(&joined);
    assert_eq!((found.records.len(), found.set_aside[0].place.as_str()), (2, "part 3"));
}

#[test]
fn what_is_no_activity_is_set_aside_in_words() {
    let mut course = Fit::default();
    course.file_id(6).beats().beat(0, 100);
    let note = |bytes: &[u8]| read(bytes).set_aside.remove(0);
    assert_eq!(note(&course.bytes()).detail, "the FIT file is of the type `course`, not `activity`");
    assert_eq!(note(&Fit::default().file_id(4).bytes()).reason, Reason::NoSamples);
    assert_eq!(note(b"\x89PNG\r\n\x1a\n and a picture").reason, Reason::Malformed);
    assert_eq!(note(b"").reason, Reason::Malformed);
}

#[test]
fn a_recording_that_was_never_ended_is_read_to_the_files_end() {
    let mut bytes = run(5).bytes();
    bytes[SIZE].fill(0);
    let found = read(&bytes);
    assert_eq!((beats(&found.records[0]).len(), found.warnings.len()), (5, 1));
}

#[test]
fn no_byte_can_be_changed_so_that_the_reader_panics() {
    let mut fit = run(4);
    fit.session(0, 1, 0).timer(2, 4).message(DEVELOPER_FIELD, &[([0, U8], &[0]), ([1, U8], &[7]), ([2, U8], &[U16])]);
    let bytes = fit.bytes();
    for at in 0..bytes.len() {
        for value in [0, 1, 3, 13, 0x40, 0x60, 0x7f, 0x80, 0x86, 0xe0, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            let found = read(&changed);
            assert!(found.records.iter().all(|record| beats(record).len() <= 5));
        }
    }
}
