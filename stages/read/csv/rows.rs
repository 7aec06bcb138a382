//! Rows of a CSV text (RFC 4180) with the separator that its first line shows. Unaware of what cells mean.

use std::borrow::Cow;

/// What stands between cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// `,`
    Comma,
    /// `;`, where decimals may have a comma.
    Semicolon,
    /// A tabulator.
    Tab,
}

/// One row that is not blank.
#[derive(Debug, PartialEq)]
pub struct Row<'a> {
    /// The line that it begins in, from 1.
    pub line: usize,
    /// Its cells, without their quotes.
    pub cells: Vec<Cow<'a, str>>,
}

/// The rows of a text, one after the other.
pub struct Rows<'a> {
    rest: &'a str,
    line: usize,
    separator: Separator,
    open_quote: Option<usize>,
}

impl Separator {
    /// The one that stands most often outside of quotes; the comma where none does.
    pub fn of(line: &str) -> Self {
        let mut counts = [0usize; 3];
        let mut quoted = false;
        for byte in line.bytes() {
            quoted ^= byte == b'"';
            match byte {
                b',' if !quoted => counts[0] += 1,
                b';' if !quoted => counts[1] += 1,
                b'\t' if !quoted => counts[2] += 1,
                _ => {}
            }
        }
        match counts {
            [comma, semicolon, tab] if semicolon > comma && semicolon >= tab => Self::Semicolon,
            [comma, _, tab] if tab > comma => Self::Tab,
            _ => Self::Comma,
        }
    }

    const fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
        }
    }
}

impl<'a> Rows<'a> {
    /// Starts before the first row.
    pub fn new(text: &'a str) -> Self {
        let header = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self { rest: text, line: 1, separator: Separator::of(header), open_quote: None }
    }

    /// What stands between cells.
    pub fn separator(&self) -> Separator {
        self.separator
    }

    /// The line in which a quote opens that never closes.
    pub fn open_quote(&self) -> Option<usize> {
        self.open_quote
    }

    /// Takes one cell; gives it and whether the row goes on.
    fn cell(&mut self) -> (Cow<'a, str>, bool) {
        if let Some(inner) = self.rest.strip_prefix('"') {
            return self.quoted(inner);
        }
        let end = self.rest.bytes().position(|byte| byte == self.separator.byte() || byte == b'\n');
        let (cell, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let cell = if rest.starts_with('\n') { cell.strip_suffix('\r').unwrap_or(cell) } else { cell };
        (Cow::Borrowed(cell), self.goes_on())
    }

    /// Takes a cell whose quote has opened.
    fn quoted(&mut self, mut inner: &'a str) -> (Cow<'a, str>, bool) {
        let begun = self.line;
        let mut text = Cow::Borrowed("");
        loop {
            let end = inner.find('"').unwrap_or(inner.len());
            let (part, after) = inner.split_at(end);
            self.line += part.bytes().filter(|byte| *byte == b'\n').count();
            text += part;
            let Some(after) = after.strip_prefix('"') else {
                self.open_quote = self.open_quote.or(Some(begun));
                self.rest = after;
                return (text, false);
            };
            inner = after;
            match after.strip_prefix('"') {
                Some(next) => {
                    text += "\"";
                    inner = next;
                }
                None => break,
            }
        }
        // What follows a closing quote within its cell belongs to no one; real files have blanks there at most.
        let end = inner.bytes().position(|byte| byte == self.separator.byte() || byte == b'\n');
        self.rest = &inner[end.unwrap_or(inner.len())..];
        (text, self.goes_on())
    }

    /// Steps over the separator or the end of line.
    fn goes_on(&mut self) -> bool {
        let next = self.rest.as_bytes().first().copied();
        self.rest = self.rest.get(1..).unwrap_or_default();
        self.line += usize::from(next == Some(b'\n'));
        next == Some(self.separator.byte())
    }
}

impl<'a> Iterator for Rows<'a> {
    type Item = Row<'a>;

    fn next(&mut self) -> Option<Row<'a>> {
        while !self.rest.is_empty() {
            let line = self.line;
            let mut cells = Vec::new();
            loop {
                let (cell, goes_on) = self.cell();
                cells.push(cell);
                if !goes_on {
                    break;
                }
            }
            if cells.iter().any(|cell| !cell.trim().is_empty()) {
                return Some(Row { line, cells });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str) -> Vec<(usize, Vec<String>)> {
        Rows::new(text).map(|row| (row.line, row.cells.into_iter().map(Cow::into_owned).collect())).collect()
    }

    #[test]
    fn quotes_hold_separators_ends_of_line_and_quotes() {
        let found = rows("a,b,c\r\n\"1,5\",\"x\ny\",\"say \"\"no\"\"\"\r\n\r\n,,\n4,,\n5");
        let expected: [(usize, &[&str]); 4] =
            [(1, &["a", "b", "c"]), (2, &["1,5", "x\ny", "say \"no\""]), (6, &["4", "", ""]), (7, &["5"])];
        for ((line, cells), (at, right)) in found.iter().zip(expected) {
            assert_eq!(
                (*line, cells.as_slice()),
                (at, right.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>().as_slice())
            );
        }
        assert_eq!(found.len(), 4);
    }

    #[test]
    fn the_header_shows_the_separator() {
        assert_eq!(Separator::of("a,b;c,d"), Separator::Comma);
        assert_eq!(Separator::of("\"a,b,c\";d"), Separator::Semicolon);
        assert_eq!(Separator::of("a\tb\tc, d"), Separator::Tab);
        assert_eq!(Separator::of("alone"), Separator::Comma);
    }

    #[test]
    fn a_quote_that_never_closes_is_told() {
        let mut found = Rows::new("a,b\n1,\"2\n3,4\n");
        assert_eq!(found.by_ref().count(), 2);
        assert_eq!(found.open_quote(), Some(2));
    }
}
