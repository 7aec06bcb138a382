//! Text as HTML and SVG can hold it. Unaware of pages and pictures.

/// Text made safe to stand in HTML and SVG, in elements and in quoted attributes.
///
/// Characters that XML forbids become U+FFFD, as one of them would make a picture unreadable.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\t' | '\n' => safe.push(' '),
            '\u{fffe}' | '\u{ffff}' => safe.push('\u{fffd}'),
            other if other.is_control() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_stands_in_a_file_is_text_and_no_markup() {
        assert_eq!(escape("<b a=\"x\" c='y'>&amp;"), "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;amp;");
        assert_eq!(escape("a\u{0}b\u{b}c\nd\u{ffff}é"), "a\u{fffd}b\u{fffd}c d\u{fffd}é");
    }
}
