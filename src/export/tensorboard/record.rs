//! Records of TensorBoard's event files, byte by byte. Unaware of runs.
//!
//! A record is its length (8 bytes, little-endian), the masked CRC-32C of these, its bytes, and the masked CRC-32C of
//! those (`tensorflow/core/lib/io/record_writer.h`). The messages are `Event` and `Summary` of `event.proto` and
//! `summary.proto`.

/// Writes events into memory.
pub struct Writer {
    /// The file so far.
    pub bytes: Vec<u8>,
    /// Numbers in it.
    pub scalars: usize,
    /// Unix seconds of all events.
    time: f64,
}

/// Numbers of the types of a field, `wire_type` in the encoding of protocol buffers.
const VARINT: u64 = 0;
const EIGHT_BYTES: u64 = 1;
const LENGTH: u64 = 2;
const FOUR_BYTES: u64 = 5;

/// `DT_STRING` of `types.proto`.
const STRING: u64 = 7;

impl Writer {
    /// Begins a file: its first event tells the version of the form.
    pub fn new(time: f64) -> Self {
        let mut writer = Self { bytes: Vec::new(), scalars: 0, time };
        let version = field(3, b"brain.Event:2");
        writer.event(0, &version);
        writer
    }

    /// Adds a number at a step.
    pub fn scalar(&mut self, tag: &str, step: i64, value: f64) {
        let mut content = field(1, tag.as_bytes());
        content.extend(key(2, FOUR_BYTES));
        content.extend((value as f32).to_le_bytes());
        self.value(step, &content);
        self.scalars += 1;
    }

    /// Adds a text, which is shown as Markdown.
    pub fn text(&mut self, tag: &str, text: &str) {
        let plugin = field(1, &field(1, b"text"));
        let shape = field(2, &[key(1, VARINT), varint(1)].concat());
        let tensor = [key(1, VARINT), varint(STRING), field(2, &shape), field(8, text.as_bytes())].concat();
        self.value(0, &[field(1, tag.as_bytes()), field(9, &plugin), field(8, &tensor)].concat());
    }

    fn value(&mut self, step: i64, value: &[u8]) {
        let summary = field(5, &field(1, value));
        self.event(step, &summary);
    }

    /// An `Event` of a time and a step, as a record.
    fn event(&mut self, step: i64, content: &[u8]) {
        let mut event = key(1, EIGHT_BYTES);
        event.extend(self.time.to_le_bytes());
        event.extend(key(2, VARINT));
        event.extend(varint(step.cast_unsigned()));
        event.extend(content);
        let length = (event.len() as u64).to_le_bytes();
        self.bytes.extend(length);
        self.bytes.extend(masked_crc(&length).to_le_bytes());
        self.bytes.extend(&event);
        self.bytes.extend(masked_crc(&event).to_le_bytes());
    }
}

/// The number and the type of a field.
fn key(number: u64, sort: u64) -> Vec<u8> {
    varint(number << 3 | sort)
}

/// A field of bytes: a text or a message.
fn field(number: u64, content: &[u8]) -> Vec<u8> {
    [key(number, LENGTH), varint(content.len() as u64), content.to_vec()].concat()
}

/// Seven bits a byte, the lowest first; the high bit says that more follow.
fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A sum over data that holds sums would be weak, so it is turned and shifted.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli), bit by bit: event files are small.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 })
    };
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of the catalogue of CRCs, and two of RFC 3720, appendix B.4.
    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn numbers_are_packed_as_the_encoding_says() {
        assert_eq!([varint(0), varint(150), varint(u64::MAX)].concat()[..3], [0, 0x96, 1]);
        assert_eq!(varint(u64::MAX).len(), 10);
    }

    #[test]
    fn a_file_with_one_number_is_known_byte_by_byte() {
        let mut writer = Writer::new(1.0);
        let first = writer.bytes.len();
        assert_eq!(first, 8 + 4 + 9 + 2 + 15 + 4);
        writer.scalar("a", 3, 0.5);
        let record = &writer.bytes[first + 12..writer.bytes.len() - 4];
        let time = [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f];
        let summary = [0x2a, 10, 10, 8, 10, 1, b'a', 0x15, 0, 0, 0, 0x3f];
        assert_eq!(record, [&time[..], &[0x10, 3], &summary].concat());
    }
}
