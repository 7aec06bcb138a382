//! How lines fit a terminal of any width: names in a column, what follows cut at the edge. Unaware of what is told.

/// No column of names is wider.
const WIDEST: usize = 40;

/// Letters of the word that says how a stage stands.
const WORD: usize = 9;

/// Between columns.
const GAP: usize = 2;

/// The columns of the terminal on stderr; `None` where it is none.
pub fn of_terminal() -> Option<usize> {
    let (width, _) = terminal_size::terminal_size_of(std::io::stderr())?;
    Some(usize::from(width.0))
}

/// The width of the column of names, where the longest has so many letters.
pub fn for_names(longest: usize, columns: Option<usize>) -> usize {
    longest.min(columns.map_or(WIDEST, |columns| (columns / 3).min(WIDEST)))
}

/// A name in its column: filled up, or cut.
pub fn name(name: &str, width: usize) -> String {
    let cut = cut(name, width);
    format!("{cut:width$}")
}

/// The columns that are left for what follows a name and a word; `None` for as many as it takes.
pub fn for_details(names: usize, columns: Option<usize>) -> Option<usize> {
    columns.map(|columns| columns.saturating_sub(names + GAP + WORD + GAP))
}

/// The columns of the bar of a row, 0 where there is no room for one.
pub fn for_bar(columns: Option<usize>) -> usize {
    match columns {
        Some(0..60) => 0,
        Some(60..100) => 10,
        _ => 20,
    }
}

/// A line cut to a width, with `…` where something is left out. Colours take no room, and end where the line is cut.
pub fn cut(text: &str, width: usize) -> String {
    let mut visible = 0;
    let mut is_escape = false;
    let mut last = 0;
    for (at, letter) in text.char_indices() {
        if letter == '\u{1b}' {
            is_escape = true;
        } else if is_escape {
            is_escape = letter != 'm';
        } else {
            if visible + 1 == width {
                last = at;
            }
            visible += 1;
        }
    }
    if visible <= width {
        return text.to_owned();
    }
    let reset = if text.contains('\u{1b}') { "\u{1b}[0m" } else { "" };
    let dots = if width > 0 { "…" } else { "" };
    format!("{}{dots}{reset}", text[..last].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_at_the_edge_and_colours_take_no_room() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("shorter", 5), "shor…");
        assert_eq!(cut("a word", 3), "a…");
        assert_eq!(cut("\u{1b}[32mgreen\u{1b}[0m", 5), "\u{1b}[32mgreen\u{1b}[0m");
        assert_eq!(cut("\u{1b}[32mgreener\u{1b}[0m", 5), "\u{1b}[32mgree…\u{1b}[0m");
        assert_eq!(cut("ärger", 3), "är…");
        assert_eq!(cut("x", 0), "");
    }

    #[test]
    fn names_take_a_third_at_most() {
        assert_eq!([Some(60), Some(80), Some(120), None].map(|columns| for_names(50, columns)), [20, 26, 40, 40]);
        assert_eq!(name("lstm", 6), "lstm  ");
        assert_eq!(name("a_very_long_name", 6), "a_ver…");
    }
}
