//! A scanner of Python dict literals, which also reads JSON objects: it walks the bytes once and builds nothing
//! that its caller does not ask for. Unaware of workouts.

use std::borrow::Cow;

use crate::read::number::{Number, scan};

/// How deep lists and dicts may nest in fields that nobody asked for.
pub const DEPTH_LIMIT: usize = 64;

/// Where and why a literal cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The class, for counting.
    pub kind: FaultKind,
    /// Offset of the byte at which reading stopped.
    pub at: usize,
    /// What would have been right there.
    pub expected: &'static str,
}

/// Classes of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It does not begin with a brace.
    NoDict,
    /// It begins as a dict and breaks off or goes wrong.
    Malformed,
    /// Something follows the closing brace.
    Trailing,
    /// Lists and dicts nest deeper than [`DEPTH_LIMIT`].
    TooDeep,
}

/// A value that is not a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `None` or `null`.
    Absent,
    /// `True` or `false`.
    Flag(bool),
    /// A number written without point and exponent that fits.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(Cow<'a, str>),
    /// A list or a dict, passed over.
    Nested,
}

/// What a value that should be a list of numbers turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// `None` or `null`.
    Absent,
    /// A list of numbers alone.
    Clean,
    /// A list with something else in it, given as NaN, or no list at all.
    Unconvertible,
}

/// A position in the text of one literal.
pub struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Walks a dict to the end of the text; `field` is called at each value and must read or skip it.
    pub fn dict<F>(mut self, mut field: F) -> Result<(), Fault>
    where
        F: FnMut(&mut Self, &str) -> Result<(), Fault>,
    {
        self.space();
        if !self.take(b'{') {
            return Err(self.fault(FaultKind::NoDict, "`{`"));
        }
        self.entries(|scanner| {
            let Scalar::Text(key) = scanner.scalar(1)? else {
                return scanner.colon().and_then(|()| scanner.skip(1));
            };
            scanner.colon()?;
            field(scanner, &key)
        })?;
        self.space();
        if self.at < self.bytes.len() {
            return Err(self.fault(FaultKind::Trailing, "the line's end"));
        }
        Ok(())
    }

    /// Reads a value that is not a series.
    pub fn value(&mut self) -> Result<Scalar<'a>, Fault> {
        self.scalar(1)
    }

    /// Passes over a value that nobody needs.
    pub fn pass(&mut self) -> Result<(), Fault> {
        self.skip(1)
    }

    /// Reads a list of numbers; each element reaches `push`, as NaN when it is no number.
    pub fn numbers(&mut self, mut push: impl FnMut(f64)) -> Result<Numbers, Fault> {
        self.space();
        let Some(close) = self.open_list() else {
            return Ok(match self.scalar(1)? {
                Scalar::Absent => Numbers::Absent,
                _ => Numbers::Unconvertible,
            });
        };
        let mut outcome = Numbers::Clean;
        loop {
            self.space();
            match self.peek() {
                Some(b'0'..=b'9' | b'-' | b'.' | b'+') => push(self.number()?.value),
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(outcome);
                }
                _ => match self.scalar(2)? {
                    Scalar::Float(value) => push(value),
                    Scalar::Flag(flag) => push(f64::from(u8::from(flag))),
                    _ => {
                        push(f64::NAN);
                        outcome = Numbers::Unconvertible;
                    }
                },
            }
            self.space();
            if !self.take(b',') && self.peek() != Some(close) {
                return Err(self.fault(FaultKind::Malformed, "`,` or the list's end"));
            }
        }
    }

    /// Reads one value, passing over what a list or a dict holds.
    fn scalar(&mut self, depth: usize) -> Result<Scalar<'a>, Fault> {
        self.space();
        match self.peek() {
            Some(b'\'' | b'"') => self.string().map(Scalar::Text),
            Some(b'u') if matches!(self.bytes.get(self.at + 1), Some(b'\'' | b'"')) => {
                self.at += 1;
                self.string().map(Scalar::Text)
            }
            Some(b'0'..=b'9' | b'-' | b'.' | b'+') => {
                let number = self.number()?;
                Ok(number.whole.map_or(Scalar::Float(number.value), Scalar::Int))
            }
            Some(b'[' | b'(' | b'{') => self.nested(depth).map(|()| Scalar::Nested),
            Some(_) => self.word(),
            None => Err(self.fault(FaultKind::Malformed, "a value")),
        }
    }

    fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        self.scalar(depth).map(drop)
    }

    fn nested(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= DEPTH_LIMIT {
            return Err(self.fault(FaultKind::TooDeep, "no deeper nesting"));
        }
        if self.take(b'{') {
            return self.entries(|scanner| {
                scanner.skip(depth + 1)?;
                scanner.colon()?;
                scanner.skip(depth + 1)
            });
        }
        let close = self.open_list().expect("the caller saw the opening bracket");
        self.items(close, |scanner| scanner.skip(depth + 1))
    }

    /// The entries of a dict whose brace is read already.
    fn entries(&mut self, entry: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        self.items(b'}', entry)
    }

    fn items(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), Fault>) -> Result<(), Fault> {
        loop {
            self.space();
            if self.take(close) {
                return Ok(());
            }
            item(self)?;
            self.space();
            if !self.take(b',') && self.peek() != Some(close) {
                return Err(self.fault(FaultKind::Malformed, "`,` or a closing bracket"));
            }
        }
    }

    fn open_list(&mut self) -> Option<u8> {
        let close = match self.peek()? {
            b'[' => b']',
            b'(' => b')',
            _ => return None,
        };
        self.at += 1;
        Some(close)
    }

    fn word(&mut self) -> Result<Scalar<'a>, Fault> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
        let scalar = match &rest[..length] {
            b"None" | b"null" => Scalar::Absent,
            b"True" | b"true" => Scalar::Flag(true),
            b"False" | b"false" => Scalar::Flag(false),
            b"nan" | b"NaN" => Scalar::Float(f64::NAN),
            b"inf" | b"Infinity" => Scalar::Float(f64::INFINITY),
            _ => return Err(self.fault(FaultKind::Malformed, "a value")),
        };
        self.at += length;
        Ok(scalar)
    }

    /// Reads a number, also `-inf` and the like.
    #[inline]
    fn number(&mut self) -> Result<Number, Fault> {
        let rest = &self.bytes[self.at..];
        if let [sign @ (b'-' | b'+'), letter, ..] = rest
            && letter.is_ascii_alphabetic()
        {
            self.at += 1;
            let Scalar::Float(size) = self.word()? else {
                return Err(self.fault(FaultKind::Malformed, "a number"));
            };
            return Ok(Number { value: if *sign == b'-' { -size } else { size }, whole: None });
        }
        let (number, length) = scan(rest).map_err(|length| {
            self.at += length;
            self.fault(FaultKind::Malformed, "a digit")
        })?;
        self.at += length;
        Ok(number)
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        let quote = self.bytes[self.at];
        let start = self.at + 1;
        let mut end = start;
        let mut escaped = false;
        while let Some(&byte) = self.bytes.get(end) {
            if byte == quote {
                self.at = end + 1;
                let text = String::from_utf8_lossy(&self.bytes[start..end]);
                return Ok(if escaped { Cow::Owned(unescape(&text)) } else { text });
            }
            escaped |= byte == b'\\';
            end += if byte == b'\\' { 2 } else { 1 };
        }
        self.at = self.bytes.len();
        Err(self.fault(FaultKind::Malformed, "a closing quote"))
    }

    fn colon(&mut self) -> Result<(), Fault> {
        self.space();
        if self.take(b':') { Ok(()) } else { Err(self.fault(FaultKind::Malformed, "`:`")) }
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn fault(&self, kind: FaultKind, expected: &'static str) -> Fault {
        Fault { kind, at: self.at, expected }
    }
}

/// Resolves the escapes that Python and JSON write; an unknown one keeps its backslash, as in Python.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        let digits = match rest.next() {
            Some('n') => push_and(&mut plain, '\n'),
            Some('t') => push_and(&mut plain, '\t'),
            Some('r') => push_and(&mut plain, '\r'),
            Some(same @ ('\\' | '\'' | '"' | '/')) => push_and(&mut plain, same),
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some(other) => {
                plain.push('\\');
                push_and(&mut plain, other)
            }
            None => push_and(&mut plain, '\\'),
        };
        if digits > 0 {
            let code: String = rest.by_ref().take(digits).collect();
            let decoded = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
            plain.push(decoded.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
    plain
}

fn push_and(plain: &mut String, character: char) -> usize {
    plain.push(character);
    0
}

#[cfg(test)]
mod tests {
    use super::{DEPTH_LIMIT, Fault, FaultKind, Numbers, Scalar, Scanner};

    fn numbers(text: &str) -> (Result<Numbers, Fault>, Vec<f64>) {
        let mut values = Vec::new();
        let outcome = Scanner::new(text.as_bytes()).numbers(|value| values.push(value));
        (outcome, values)
    }

    fn fault(text: &str) -> (FaultKind, usize) {
        let fault = Scanner::new(text.as_bytes()).dict(|scanner, _| scanner.pass()).unwrap_err();
        (fault.kind, fault.at)
    }

    #[test]
    fn words_and_strings_in_a_list_become_nan_and_are_told() {
        let (outcome, values) = numbers("[1, nan, -inf, True, 2.5,]");
        assert_eq!(outcome, Ok(Numbers::Clean));
        assert!(values[1].is_nan() && values[2] == f64::NEG_INFINITY && values[3] == 1.0 && values.len() == 5);
        for text in ["[1, None]", "[1, '2']", "[1, [2, 3]]", "[1, {'a': 2}]", "'words'", "12"] {
            assert_eq!(numbers(text).0, Ok(Numbers::Unconvertible), "{text}");
        }
        assert_eq!(numbers("None"), (Ok(Numbers::Absent), vec![]));
        assert_eq!(numbers("[]"), (Ok(Numbers::Clean), vec![]));
    }

    #[test]
    fn python_and_json_spell_the_same_dict() {
        let python = r#"{'a': None, "b": True, 'c': -3, u'd': 'it\'s \xe9 \u00e9', 5: 'x', 'e': ({'n': [1]}, 2L)}"#;
        let json = r#" {"a":null,"b":true,"c":-3,"d":"it's \u00e9 \u00e9","e":[{"n":[1]},2]} "#;
        let read = |text: &str| {
            let mut fields = Vec::new();
            let field = |scanner: &mut Scanner<'_>, key: &str| {
                fields.push((key.to_owned(), format!("{:?}", scanner.value()?)));
                Ok(())
            };
            Scanner::new(text.as_bytes()).dict(field).unwrap();
            fields
        };
        assert_eq!(read(python), read(json));
        assert_eq!(read(python)[3].1, format!("{:?}", Scalar::Text("it's é é".into())));
    }

    #[test]
    fn faults_name_their_class_and_place() {
        assert_eq!(fault("[1, 2]"), (FaultKind::NoDict, 0));
        assert_eq!(fault("{'a': 1} x"), (FaultKind::Trailing, 9));
        assert_eq!(fault("{'a': 1"), (FaultKind::Malformed, 7));
        assert_eq!(fault("{'a' 1}"), (FaultKind::Malformed, 5));
        assert_eq!(fault("{'a': [1, 2"), (FaultKind::Malformed, 11));
        assert_eq!(fault("{'a': [1 2]}"), (FaultKind::Malformed, 9));
        assert_eq!(fault("{'a': 'open"), (FaultKind::Malformed, 11));
        assert_eq!(fault(r"{'a': 'x\"), (FaultKind::Malformed, 9));
        assert_eq!(fault("{'a': datetime(1)}"), (FaultKind::Malformed, 6));
        assert_eq!(fault("{'a': 1e}"), (FaultKind::Malformed, 8));
    }

    #[test]
    fn nesting_is_limited_and_the_limit_itself_is_fine() {
        let nested = |depth: usize| format!("{{'a': {}{}}}", "[".repeat(depth), "]".repeat(depth));
        let fine = nested(DEPTH_LIMIT - 1);
        assert!(Scanner::new(fine.as_bytes()).dict(|scanner, _| scanner.pass()).is_ok());
        assert_eq!(fault(&nested(DEPTH_LIMIT)).0, FaultKind::TooDeep);
        assert_eq!(fault(&nested(1_000_000)).0, FaultKind::TooDeep);
    }
}
