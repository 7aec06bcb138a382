//! Tables for the terminal, and the same rows as CSV and Markdown. Unaware of what the rows are.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

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
            column.set_padding((0, 2));
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
    fn the_same_rows_in_three_forms() {
        let mut rows = Rows::new(["model", "mae"]);
        rows.push(["constant".into(), "15.5".into()]);
        rows.push(["a, b".into(), "9".into()]);
        assert_eq!(rows.text(), "model      mae\nconstant  15.5\na, b         9\n");
        assert_eq!(rows.csv(), "model,mae\nconstant,15.5\n\"a, b\",9\n");
        assert_eq!(rows.markdown(), "| model | mae |\n|---|---|\n| constant | 15.5 |\n| a, b | 9 |\n");
    }
}
