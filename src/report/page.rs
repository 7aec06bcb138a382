//! A report as one HTML file: no script, nothing fetched, a policy that forbids both. Unaware of what is reported.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pacer_stages::escape::escape;
use ring::digest::{self, SHA256};

use crate::report::style::STYLE;
use crate::report::{Block, Figure, Grid, Mark, Report, Section};

/// Tables of more columns are written small on paper.
const WIDE: usize = 7;

/// Cells longer than this may be broken into lines.
const LONG: usize = 44;

/// The page.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    let mut figures = 0;
    for section in &report.sections {
        body.push_str(&one(section, &mut figures));
    }
    let links: String =
        report.sections.iter().map(|section| format!("<a href=\"#{}\">{}</a>\n", section.id, section.title)).collect();
    let banner = match report.synthetic {
        true => "<p class=\"banner\">SYNTHETIC DATA: simulated runners, which say nothing about real hearts.</p>\n",
        false => "",
    };
    let title = escape(&report.title);
    let policy = format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        hash(STYLE)
    );
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n\
         <body>\n<div class=\"page\">\n<header>\n<h1>{title}</h1>\n{banner}<nav aria-label=\"Sections\">\n{links}</nav>\n\
         </header>\n<main>\n{body}</main>\n<footer>\nMade by pacer {version} from stored results alone. This file loads \
         nothing and runs nothing.\n</footer>\n</div>\n</body>\n</html>\n",
        version = env!("CARGO_PKG_VERSION"),
    )
}

fn hash(text: &str) -> String {
    STANDARD.encode(digest::digest(&SHA256, text.as_bytes()))
}

/// A section, whose figures are numbered on from those before it.
pub fn one(section: &Section, figures: &mut usize) -> String {
    let blocks: String = section.blocks.iter().map(|block| piece(block, figures)).collect();
    let Section { id, title, .. } = section;
    format!("<section id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{title}</h2>\n{blocks}</section>\n")
}

fn piece(block: &Block, figures: &mut usize) -> String {
    match block {
        Block::Heading { words } => format!("<h3>{}</h3>\n", escape(words)),
        Block::Words { words } => format!("<p>{}</p>\n", prose(words)),
        Block::Verdict { verdict, mark, words } => format!(
            "<div class=\"verdict {}\"><p><span class=\"sign\">{}</span><strong>{}</strong>: {}</p></div>\n",
            class(*mark),
            mark.sign(),
            escape(verdict),
            prose(words)
        ),
        Block::Check { mark, words } => format!(
            "<p class=\"check {}\"><span class=\"sign\">{}</span>{}</p>\n",
            class(*mark),
            mark.sign(),
            prose(words)
        ),
        Block::Table(grid) => table(grid),
        Block::Figure(figure) => drawn(figure, figures),
        // As an image and not as a part of the page: what a stage drew may hold anything.
        Block::Drawing { title, svg } => format!(
            "<figure>\n<figcaption><strong>{0}</strong></figcaption>\n<img class=\"drawing\" alt=\"{0}\" \
             src=\"data:image/svg+xml;base64,{1}\">\n</figure>\n",
            escape(title),
            STANDARD.encode(svg)
        ),
        Block::Fold { title, blocks } => format!(
            "<details class=\"fold\"><summary>{}</summary>\n{}</details>\n",
            escape(title),
            blocks.iter().map(|block| piece(block, figures)).collect::<String>()
        ),
        Block::Code { text } => format!("<pre tabindex=\"0\">{}</pre>\n", escape_lines(text)),
    }
}

const fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Good => "good",
        Mark::Bad => "bad",
        Mark::Open => "open",
    }
}

/// Words in which what stands between backticks is a name.
fn prose(text: &str) -> String {
    let mut pieces = text.split('`');
    let mut out = escape(pieces.next().unwrap_or_default());
    let mut rest = pieces.collect::<Vec<_>>().into_iter();
    while let Some(name) = rest.next() {
        match rest.next() {
            Some(after) => out.push_str(&format!("<code>{}</code>{}", escape(name), escape(after))),
            None => out.push_str(&format!("`{}", escape(name))),
        }
    }
    out
}

/// Text of several lines, which [`escape`] would join.
fn escape_lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}

/// A figure with its table.
pub fn drawn(figure: &Figure, figures: &mut usize) -> String {
    *figures += 1;
    let svg = figure.svg.replace(Figure::ID, &format!("f{figures}"));
    format!(
        "<figure>\n<figcaption><strong>{}</strong>{}</figcaption>\n<div class=\"scroll\" tabindex=\"0\">\n{svg}</div>\n\
         <details><summary>The figure as a table</summary>\n{}</details>\n</figure>\n",
        escape(&figure.title),
        prose(&figure.told),
        table(&figure.table)
    )
}

fn table(grid: &Grid) -> String {
    let class = |column: usize| if grid.is_numeric(column) { " class=\"number\"" } else { "" };
    let classes: Vec<&str> = (0..grid.header.len()).map(class).collect();
    let wide = if grid.header.len() > WIDE { " class=\"wide\"" } else { "" };
    let mut out = format!("<div class=\"scroll\" tabindex=\"0\"><table{wide}>\n<thead><tr>");
    for (name, class) in grid.header.iter().zip(&classes) {
        write!(out, "<th scope=\"col\"{class}>{}</th>", escape(name)).expect("a string takes it");
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in &grid.rows {
        out.push_str("<tr>");
        for (cell, class) in row.iter().zip(&classes) {
            let class = if cell.chars().count() > LONG { " class=\"long\"" } else { class };
            write!(out, "<td{class}>{}</td>", prose(cell)).expect("a string takes it");
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody>\n</table></div>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_between_backticks_are_code_and_nothing_is_markup() {
        assert_eq!(prose("of `a<b>`, twice"), "of <code>a&lt;b&gt;</code>, twice");
        assert_eq!(prose("one ` alone <i>"), "one ` alone &lt;i&gt;");
        assert_eq!(prose("`all`"), "<code>all</code>");
    }
}
