//! Parts of an answer, each a title, rows and lines, as text and as Markdown. Unaware of what is told.

use crate::ui::tables::Rows;

/// A part of what is shown.
#[derive(Default)]
pub struct Section {
    /// Its title, which may be empty.
    pub title: String,
    /// Rows with a header.
    pub rows: Rows,
    /// Lines below them.
    pub lines: Vec<String>,
    /// Lines whose places across mean something, such as those of a chart.
    pub drawn: Vec<String>,
}

/// Sections for people, an empty line between them.
pub fn text(sections: &[Section]) -> String {
    let part = |section: &Section| {
        let title = if section.title.is_empty() { String::new() } else { format!("{}\n", section.title) };
        let rows = if section.rows.header.is_empty() { String::new() } else { section.rows.text() };
        let lines: String = section.lines.iter().map(|line| format!("{line}\n")).collect();
        let drawn: String = section.drawn.iter().map(|line| format!("{line}\n")).collect();
        title + &rows + &lines + &drawn
    };
    sections.iter().map(part).collect::<Vec<_>>().join("\n")
}

/// Sections for documents.
pub fn markdown(sections: &[Section]) -> String {
    let part = |section: &Section| {
        let title = if section.title.is_empty() { String::new() } else { format!("**{}**\n\n", section.title) };
        let rows = if section.rows.header.is_empty() { String::new() } else { section.rows.markdown() };
        let lines = section.lines.iter().map(|line| format!("- {line}\n")).collect::<String>();
        let gap = if rows.is_empty() || lines.is_empty() { "" } else { "\n" };
        let drawn = match section.drawn.as_slice() {
            [] => String::new(),
            drawn => format!("\n```text\n{}\n```\n", drawn.join("\n")),
        };
        title + &rows + gap + &lines + &drawn
    };
    sections.iter().map(part).collect::<Vec<_>>().join("\n")
}

/// A cell that may be empty.
pub fn optional<T>(value: Option<T>, text: impl Fn(T) -> String) -> String {
    value.map_or_else(String::new, text)
}
