//! A report as Markdown: its words and tables; figures are told by their titles and tables. Unaware of what is reported.

use crate::report::{Block, Grid, Report};

/// The text.
pub fn text(report: &Report) -> String {
    let mut out = format!("# {}\n", plain(&report.title));
    if report.synthetic {
        out.push_str("\n**SYNTHETIC DATA: simulated runners, which say nothing about real hearts.**\n");
    }
    for section in &report.sections {
        out.push_str(&format!("\n## {}\n", section.title));
        section.blocks.iter().for_each(|block| out.push_str(&piece(block)));
    }
    out
}

fn piece(block: &Block) -> String {
    match block {
        Block::Heading { words } => format!("\n### {}\n", plain(words)),
        Block::Words { words } => format!("\n{}\n", plain(words)),
        Block::Verdict { verdict, mark, words } => {
            format!("\n{} **{}**: {}\n", mark.sign(), plain(verdict), plain(words))
        }
        Block::Check { mark, words } => format!("\n- {} {}", mark.sign(), plain(words)) + "\n",
        Block::Table(grid) => format!("\n{}", table(grid)),
        Block::Figure(figure) => {
            format!("\n**{}.** {}\n\n{}", plain(&figure.title), plain(&figure.told), table(&figure.table))
        }
        Block::Drawing { title, .. } => format!("\n*{}: a drawing, on the page alone*\n", plain(title)),
        Block::Fold { title, blocks } => {
            format!("\n**{}**\n", plain(title)) + &blocks.iter().map(piece).collect::<String>()
        }
        Block::Code { text } => format!("\n    {}\n", text.trim_end().replace('\n', "\n    ")),
    }
}

fn table(grid: &Grid) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let cells = |row: &[String]| row.iter().map(|cell| plain(cell).replace('|', "\\|")).collect();
    let rule = (0..grid.header.len()).map(|column| if grid.is_numeric(column) { "--:" } else { "---" }.to_owned());
    let rows: String = grid.rows.iter().map(|row| line(cells(row))).collect();
    line(cells(&grid.header)) + &line(rule.collect()) + &rows
}

/// Words that cannot begin markup of their own.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' | '\t' => out.push(' '),
            '<' => out.push_str("&lt;"),
            '*' | '_' | '[' | ']' | '`' | '\\' => out.extend(['\\', character]),
            other => out.push(other),
        }
    }
    out
}
