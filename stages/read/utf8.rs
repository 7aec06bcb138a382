//! A file's bytes as text. Unaware of formats.

use crate::read::record::{Reason, SetAside};

/// The byte order mark that some programs put before a text.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// The text that bytes hold: without a byte order mark, and up to a last character that is cut in two.
///
/// Fails where they are not UTF-8, with the number of the byte and what to do about it.
pub fn text(bytes: &[u8]) -> Result<&str, String> {
    let mark = bytes.len() - bytes.strip_prefix(MARK).unwrap_or(bytes).len();
    let bytes = &bytes[mark..];
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if error.error_len().is_none() => {
            Ok(std::str::from_utf8(&bytes[..error.valid_up_to()]).expect("it is valid up to there"))
        }
        Err(error) => Err(format!("byte {} is no UTF-8; save the file as UTF-8", mark + error.valid_up_to() + 1)),
    }
}

/// The note of a whole file that a reader refused: it is not UTF-8, or else malformed for the reason given.
pub fn refusal(bytes: &[u8], why: String) -> SetAside {
    let reason = if text(bytes).is_err() { Reason::Encoding } else { Reason::Malformed };
    SetAside::new("", reason, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_utf_8_without_its_mark_and_without_half_a_character_at_its_end() {
        assert_eq!(text(b"\xef\xbb\xbfcaf\xc3\xa9\xe2\x82"), Ok("café"));
        assert_eq!(text(b"\xef\xbb\xbfcaf\xe9!"), Err("byte 7 is no UTF-8; save the file as UTF-8".into()));
        assert_eq!(refusal(b"caf\xe9!", String::new()).reason, Reason::Encoding);
        assert_eq!(refusal(b"cafe", String::new()).reason, Reason::Malformed);
    }
}
