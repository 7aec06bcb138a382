//! XML as formats of workouts need it: a walk over elements by their local names, never validated, no entity
//! expanded but the predefined ones. Unaware of any one format.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::read::record::{Found, Reason, SetAside};
use crate::read::utf8;

/// How deep elements may nest; real files stay below 20.
const DEPTH: usize = 100;

/// Bytes of an element's text that are kept; numbers, times and names are shorter.
const TEXT_BYTES: usize = 4096;

/// A walk over the elements of a text, which ends where the text does or is damaged.
pub struct Elements<'a> {
    reader: Reader<&'a [u8]>,
    /// Bytes before the reader's first.
    skipped: u64,
    names: &'static [&'static str],
    path: Vec<&'static str>,
    text: String,
    closed: bool,
    damage: Option<String>,
}

/// One step of the walk. Names are those that the walk was told of, and empty for any other.
#[derive(Debug)]
pub enum Step<'a> {
    /// An element begins.
    Opens {
        /// Its name without the prefix.
        name: &'static str,
        /// The tag with its attributes.
        tag: BytesStart<'a>,
    },
    /// An element ends; its text is [`Elements::text`].
    Closes {
        /// Its name without the prefix.
        name: &'static str,
        /// The name of the element around it; empty where there is none.
        parent: &'static str,
    },
}

impl<'a> Elements<'a> {
    /// Starts before the first element of a text that `bytes` hold; `names` are the local names to tell apart.
    ///
    /// Fails where the bytes are not UTF-8.
    pub fn new(bytes: &'a [u8], names: &'static [&'static str]) -> Result<Self, String> {
        let text = utf8::text(bytes)?;
        let mut reader = Reader::from_str(text);
        let config = reader.config_mut();
        config.expand_empty_elements = true;
        config.allow_dangling_amp = true;
        let skipped = if bytes.starts_with(utf8::MARK) { utf8::MARK.len() as u64 } else { 0 };
        Ok(Self { reader, skipped, names, path: Vec::new(), text: String::new(), closed: false, damage: None })
    }

    /// Starts as [`Self::new`] does and steps into the outermost element, which must have one of `roots` as its local
    /// name; gives its tag.
    pub fn within(
        bytes: &'a [u8],
        roots: &[&str],
        names: &'static [&'static str],
    ) -> Result<(Self, BytesStart<'a>), String> {
        let mut elements = Self::new(bytes, names)?;
        match elements.next() {
            Some(Step::Opens { tag, .. }) if roots.contains(&tag.local_name().into_inner()) => Ok((elements, tag)),
            Some(Step::Opens { tag, .. }) => {
                let name: String = tag.name().as_ref().chars().take(60).collect();
                Err(format!("its outermost element is `{name}`, not `{}`", roots.join("` or `")))
            }
            _ => Err(elements.damage.map_or("it holds no element".into(), |damage| format!("no XML: {damage}"))),
        }
    }

    /// Whether an element of this name is open; during [`Step::Closes`] the one that ends no longer is.
    pub fn inside(&self, name: &str) -> bool {
        self.path.contains(&name)
    }

    /// The text of the element that just ended, with no blanks around it.
    pub fn text(&self) -> &str {
        self.text.trim()
    }

    /// The text of the element that just ended, where it is not empty.
    pub fn words(&self) -> Option<String> {
        Some(self.text()).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// The text of the element that just ended as a finite number.
    pub fn number(&self) -> Option<f64> {
        number(self.text())
    }

    /// What ended the walk, where it was not the text's end, with the number of the byte.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    fn opens(&mut self, tag: BytesStart<'a>) -> Option<Step<'a>> {
        let local = tag.local_name();
        let known = self.names.iter().find(|name| **name == local.as_ref());
        let name = known.copied().unwrap_or_default();
        if self.path.len() == DEPTH {
            return self.damaged("elements nest too deeply");
        }
        self.path.push(name);
        self.text.clear();
        Some(Step::Opens { name, tag })
    }

    fn closes(&mut self) -> Option<Step<'a>> {
        let name = self.path.pop()?;
        self.closed = true;
        Some(Step::Closes { name, parent: self.path.last().copied().unwrap_or_default() })
    }

    fn gather(&mut self, text: &str) {
        if self.text.len() + text.len() <= TEXT_BYTES {
            self.text.push_str(text);
        }
    }

    fn damaged(&mut self, words: &str) -> Option<Step<'a>> {
        let byte = self.skipped + self.reader.error_position().max(self.reader.buffer_position());
        self.damage = Some(format!("{words} at byte {byte}"));
        None
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Step<'a>;

    fn next(&mut self) -> Option<Step<'a>> {
        if self.damage.is_some() {
            return None;
        }
        if std::mem::take(&mut self.closed) {
            self.text.clear();
        }
        loop {
            match self.reader.read_event() {
                Ok(Event::Start(tag)) => return self.opens(tag),
                Ok(Event::End(_)) => return self.closes(),
                Ok(Event::Text(text)) => self.gather(&text),
                Ok(Event::CData(text)) => self.gather(&text),
                Ok(Event::GeneralRef(reference)) => {
                    if let Ok(Some(character)) = reference.resolve_char_ref() {
                        self.gather(character.encode_utf8(&mut [0; 4]));
                    } else if let Some(text) = quick_xml::escape::resolve_predefined_entity(&reference) {
                        self.gather(text);
                    }
                }
                Ok(Event::Eof) if self.path.is_empty() => return None,
                Ok(Event::Eof) => return self.damaged("the text breaks off"),
                Ok(_) => {}
                Err(error) => return self.damaged(&format!("the text is damaged ({error})")),
            }
        }
    }
}

/// Tells that a text was read up to where it is damaged.
pub fn note_damage(damage: String, found: &mut Found) {
    found.warnings.push(format!("{damage}; what stands before is kept"));
    found.set_aside.push(SetAside::new("", Reason::BrokenOff, damage));
}

/// The value of an attribute by its local name.
pub fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let mut attributes = tag.attributes();
    let found = attributes.with_checks(false).flatten().find(|one| one.key.local_name().as_ref() == name)?;
    let value = quick_xml::escape::unescape(&found.value).unwrap_or_else(|_| found.value.clone());
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// A text as a finite number.
pub fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["a", "b", "c"];

    /// Names, parents and texts of the elements that end, and the damage.
    fn walk(bytes: &[u8]) -> (Vec<(&'static str, &'static str, String)>, Option<String>) {
        let mut elements = Elements::new(bytes, NAMES).unwrap();
        let mut ended = Vec::new();
        while let Some(step) = elements.next() {
            if let Step::Closes { name, parent } = step {
                ended.push((name, parent, elements.text().to_owned()));
            }
        }
        (ended, elements.damage().map(str::to_owned))
    }

    fn texts(text: &str) -> Vec<String> {
        walk(text.as_bytes()).0.into_iter().map(|(_, _, text)| text).collect()
    }

    #[test]
    fn elements_are_known_by_local_name_and_give_their_own_text() {
        let (ended, damage) = walk(b"\xef\xbb\xbf<x:a><b q='1'/><y:c> 1 <d>2</d></y:c></x:a>");
        let found: Vec<_> = ended.iter().map(|(name, parent, text)| (*name, *parent, text.as_str())).collect();
        assert_eq!(found, [("b", "a", ""), ("", "c", "2"), ("c", "a", ""), ("a", "", "")]);
        assert_eq!(damage, None);
    }

    #[test]
    fn no_entity_is_expanded_but_the_predefined_ones() {
        let bomb = "<!DOCTYPE a [<!ENTITY x 'xxxxxxxxxx'><!ENTITY y '&x;&x;&x;'>]><a>&y;1&lt;&#65;&#x42;&y;</a>";
        assert_eq!(texts(bomb), ["1<AB"]);
        assert_eq!(texts("<a>Run & Bike<![CDATA[ <b> ]]></a>"), ["Run & Bike <b>"]);
        let tag = Elements::within(b"<a t='&lt;&y;' u=' 1&#50;' />", &["a"], NAMES).unwrap().1;
        assert_eq!((attribute(&tag, "t"), attribute(&tag, "u")), (Some("&lt;&y;".into()), Some("12".into())));
    }

    #[test]
    fn a_damaged_text_says_at_which_byte() {
        let damage = |text: &str| walk(text.as_bytes()).1.unwrap_or_default();
        assert_eq!(damage("<a><b>1</b>"), "the text breaks off at byte 11");
        assert!(damage("<a><b>1</c></a>").starts_with("the text is damaged ("));
        assert!(damage("<a><b>1</b><c x=").contains("at byte "));
        assert!(damage(&"<a>".repeat(200)).starts_with("elements nest too deeply at byte "));
        assert_eq!(damage("<a><b>1\u{b}</b></a>"), "");
        assert_eq!(walk(b"<a>\xc3\xa9\xc3").1.unwrap(), "the text breaks off at byte 5");
    }

    #[test]
    fn what_is_not_asked_for_is_refused_in_words() {
        let refusal = |bytes: &[u8]| Elements::within(bytes, &["gpx"], NAMES).err().unwrap();
        assert_eq!(refusal(b"<kml/>"), "its outermost element is `kml`, not `gpx`");
        assert_eq!(refusal(b""), "it holds no element");
        assert_eq!(refusal(b"<gpx name='caf\xe9'/>"), "byte 15 is no UTF-8; save the file as UTF-8");
        assert!(refusal(b"<").starts_with("no XML: "));
    }
}
