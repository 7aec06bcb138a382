//! Tables for the terminal, and the same rows as CSV and Markdown. Unaware of what the rows are.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Spaces between columns.
const GAP: usize = 2;

/// Rows with a header.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Names of the columns.
    pub header: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

impl Rows {
    /// Begins a table.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { header: header.map(str::to_owned).to_vec(), rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.to_vec());
    }

    /// Leaves out columns, in this order, until the rest fits the terminal; returns their names. A pipe has room for all.
    pub fn fit(&mut self, spare: &[&str]) -> Vec<String> {
        terminal_width().map_or_else(Vec::new, |width| self.fit_into(usize::from(width), spare))
    }

    fn fit_into(&mut self, width: usize, spare: &[&str]) -> Vec<String> {
        let mut left_out = Vec::new();
        for name in spare {
            let Some(at) = self.header.iter().position(|column| column == name).filter(|_| self.width() > width) else {
                continue;
            };
            left_out.push(self.header.remove(at));
            self.rows.iter_mut().for_each(|row| drop(row.remove(at)));
        }
        left_out
    }

    /// Letters of a line that holds the longest cell of each column, with the space behind each.
    fn width(&self) -> usize {
        let longest = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).chain([&self.header[at]]);
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..self.header.len()).map(|at| longest(at) + GAP).sum()
    }

    /// Aligned columns without borders, as wide as the terminal allows.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
        if let Some(width) = terminal_width() {
            table.set_width(width);
        }
        table.set_header(&self.header);
        table.add_rows(&self.rows);
        for (at, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP as u16));
            if self.is_numeric(at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table.trim_fmt() + "\n"
    }

    fn is_numeric(&self, column: usize) -> bool {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
        !self.rows.is_empty() && cells.clone().count() > 0 && cells.into_iter().all(|cell| cell.parse::<f64>().is_ok())
    }

    /// The rows as a Markdown table.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let rule = format!("|{}\n", "---|".repeat(self.header.len()));
        let rows: String = self.rows.iter().map(|row| line(row)).collect();
        line(&self.header) + &rule + &rows
    }

    /// The rows as CSV.
    pub fn csv(&self) -> String {
        let quote = |cell: &String| match cell.contains([',', '"', '\n']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.clone(),
        };
        let line = |cells: &Vec<String>| cells.iter().map(quote).collect::<Vec<_>>().join(",") + "\n";
        line(&self.header) + &self.rows.iter().map(line).collect::<String>()
    }
}

fn terminal_width() -> Option<u16> {
    use std::io::IsTerminal;
    let (width, _) = std::io::stdout().is_terminal().then(terminal_size::terminal_size).flatten()?;
    Some(width.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_left_out_in_their_order_until_the_rest_fits() {
        let rows = || {
            let mut rows = Rows::new(["run", "date", "took", "of"]);
            rows.push(["20261126".into(), "2026-11-26".into(), "2 s".into(), "test".into()]);
            rows
        };
        let fitted = |width: usize| {
            let mut rows = rows();
            let left_out = rows.fit_into(width, &["date", "of", "took"]);
            (left_out.join(" "), rows.header.join(" "), rows.rows.concat().join(" "))
        };
        let told = |left: &str, header: &str, row: &str| (left.to_owned(), header.to_owned(), row.to_owned());
        assert_eq!(fitted(34), told("", "run date took of", "20261126 2026-11-26 2 s test"));
        assert_eq!(fitted(33), told("date", "run took of", "20261126 2 s test"));
        assert_eq!(fitted(16), told("date of", "run took", "20261126 2 s"));
        assert_eq!(fitted(1), told("date of took", "run", "20261126"));
    }

    #[test]
    fn the_same_rows_in_three_forms() {
        let mut rows = Rows::new(["model", "mae"]);
        rows.push(["constant".into(), "15.5".into()]);
        rows.push(["a, b".into(), "9".into()]);
        assert_eq!(rows.text(), "model      mae\nconstant  15.5\na, b         9\n");
        assert_eq!(rows.csv(), "model,mae\nconstant,15.5\n\"a, b\",9\n");
        assert_eq!(rows.markdown(), "| model | mae |\n|---|---|\n| constant | 15.5 |\n| a, b | 9 |\n");
    }
}
