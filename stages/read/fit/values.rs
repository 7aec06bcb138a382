//! Values of FIT fields as numbers and words, without those that say that there is none. Unaware of messages.

use rustyfit::proto::{Message, Value};

/// Unix seconds of FIT's first moment, 1989-12-31T00:00:00Z.
pub const EPOCH: f64 = 631_065_600.0;

/// Degrees of one semicircle, in which positions are counted.
pub const SEMICIRCLE: f64 = 180.0 / 2_147_483_648.0;

/// The value of a message's field as it is stored, by the field's number.
pub fn number(message: &Message, field: u8) -> Option<f64> {
    message.fields.iter().filter(|one| one.num == field).find_map(|one| plain(&one.value))
}

/// As [`number`], for a field that holds a moment: unix seconds.
pub fn moment(message: &Message, field: u8) -> Option<f64> {
    number(message, field).map(|seconds| seconds + EPOCH)
}

/// As [`number`], for a field whose values are names.
pub fn choice(message: &Message, field: u8) -> Option<u16> {
    number(message, field).filter(|value| (0.0..65_535.0).contains(value)).map(|value| value as u16)
}

/// The text of a message's field, by the field's number.
pub fn text(message: &Message, field: u8) -> Option<String> {
    let text = message.fields.iter().filter(|one| one.num == field).find_map(|one| match &one.value {
        Value::String(text) => Some(text.trim()),
        Value::ArrayString(texts) => texts.first().map(|text| text.trim()),
        _ => None,
    });
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The bytes of a message's field, by the field's number.
pub fn bytes(message: &Message, field: u8) -> Option<&[u8]> {
    message.fields.iter().filter(|one| one.num == field).find_map(|one| match &one.value {
        Value::ArrayUint8(bytes) => Some(bytes.as_ref()),
        _ => None,
    })
}

/// A single number; the greatest of its type says that there is none.
fn plain(value: &Value) -> Option<f64> {
    match *value {
        Value::Uint8(value) => (value != u8::MAX).then(|| value.into()),
        Value::Int8(value) => (value != i8::MAX).then(|| value.into()),
        Value::Uint16(value) => (value != u16::MAX).then(|| value.into()),
        Value::Int16(value) => (value != i16::MAX).then(|| value.into()),
        Value::Uint32(value) => (value != u32::MAX).then(|| value.into()),
        Value::Int32(value) => (value != i32::MAX).then(|| value.into()),
        Value::Float32(value) => value.is_finite().then(|| value.into()),
        Value::Float64(value) => value.is_finite().then_some(value),
        _ => None,
    }
}
