//! A start tag read by hand: its attributes as slices of the text, and the few entities that a value may hold.
//! Unaware of what elements mean.

use memchr::memchr;

/// Bytes of the longest reference that is resolved, such as `#x10FFFF`.
const LONGEST_ENTITY: usize = 10;

/// The attributes of a start tag, from behind its name on; ends at the tag's end or where it breaks off.
pub struct Attributes<'a> {
    rest: &'a [u8],
    end: End,
}

/// How a start tag ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With `>`: content follows.
    Open,
    /// With `/>`: there is no content.
    Closed,
    /// It breaks off, or is no tag.
    Broken,
}

impl<'a> Attributes<'a> {
    /// Starts behind the element's name.
    #[inline]
    pub fn new(rest: &'a [u8]) -> Self {
        Self { rest, end: End::Broken }
    }

    /// What was not taken yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How the tag ends, once every attribute was taken.
    pub fn end(&self) -> End {
        self.end
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let text = skip_space(self.rest);
        match text.first()? {
            b'>' => {
                self.end = End::Open;
                return None;
            }
            b'/' => {
                self.end = if text.get(1) == Some(&b'>') { End::Closed } else { End::Broken };
                return None;
            }
            _ => (),
        }
        let length = text.iter().position(|byte| matches!(byte, b'=' | b'>' | b'<') || byte.is_ascii_whitespace())?;
        let (name, text) = text.split_at(length);
        let text = skip_space(skip_space(text).strip_prefix(b"=")?);
        let (quote, text) = text.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\''))?;
        let length = memchr(*quote, text)?;
        self.rest = &text[length + 1..];
        Some((name, &text[..length]))
    }
}

#[inline]
fn skip_space(text: &[u8]) -> &[u8] {
    match text {
        // One space is what nearly always stands there.
        [b' ', rest @ ..] if !rest.first().is_some_and(u8::is_ascii_whitespace) => rest,
        _ => text.trim_ascii_start(),
    }
}

/// A value as text: the five predefined entities and numeric references are resolved, any other stays as written,
/// whatever a document type says of it; bytes that are no UTF-8 are replaced.
pub fn plain(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    let mut plain = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some((before, from)) = rest.split_once('&') {
        plain.push_str(before);
        let end = from.bytes().take(LONGEST_ENTITY + 1).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&from[..end])?, &from[end + 1..]))) {
            Some((character, after)) => {
                plain.push(character);
                rest = after;
            }
            None => {
                plain.push('&');
                rest = from;
            }
        }
    }
    plain + rest
}

fn entity(name: &str) -> Option<char> {
    match name {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            code.ok().and_then(char::from_u32)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Attributes, End, plain};

    fn read(tag: &str) -> (Vec<(String, String)>, End) {
        let mut attributes = Attributes::new(tag.as_bytes());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = attributes.by_ref().map(|(name, value)| (text(name), text(value))).collect();
        (found, attributes.end())
    }

    #[test]
    fn attributes_are_found_however_they_are_spaced_and_quoted() {
        let (found, end) = read(" a=\"1\"\n\t b = 'say \"x > y\"'  c=\"\"/><Next d=\"2\"/>");
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(found, [("a", "1"), ("b", "say \"x > y\""), ("c", "")]);
        assert_eq!(end, End::Closed);
        assert_eq!(read(" a=\"1\">text").1, End::Open);
    }

    #[test]
    fn a_tag_that_breaks_off_is_told_from_one_that_ends() {
        for tag in ["", " a", " a=", " a=\"1", " a=\"1\"", " a=1>", " a=\"1\" /", " / >", " a b=\"1\"/>"] {
            assert_eq!(read(tag).1, End::Broken, "{tag}");
        }
    }

    #[test]
    fn only_the_five_entities_and_numbers_are_resolved() {
        assert_eq!(plain(b"&lt;&lt;HKDevice&gt; &amp;amp; &quot;&apos;&#8217;&#x2019;"), "<<HKDevice> &amp; \"'’’");
        assert_eq!(
            plain(b"&lol9; &; & &#xD800; &#99999999999; &#x; x\x0b\xff"),
            "&lol9; &; & &#xD800; &#99999999999; &#x; x\x0b\u{fffd}"
        );
    }
}
