//! Output of commands: tables for people, lines of JSON for programs.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

/// A table for people.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows
            .push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// The table, with a bold head where that can be shown.
    pub(crate) fn render(&self, bold: bool) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
                widest.max(self.headings[column].len())
            })
            .collect();
        let line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded = cells
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(&mut self.headings.iter().copied());
        let mut text = if bold {
            format!("\u{1b}[1m{head}\u{1b}[0m\n")
        } else {
            format!("{head}\n")
        };
        for row in &self.rows {
            text += &line(&mut row.iter().map(String::as_str));
            text.push('\n');
        }
        text
    }
}

/// A text without what controls a terminal: nodes may say anything of themselves.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Returns whether colours and cursor movements are wanted: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn is_styled() -> bool {
    let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_unwanted && io::stdout().is_terminal()
}

/// One line of JSON: a record behind the node that it is of.
pub(crate) fn json_line(node: &impl Serialize, record: &impl Serialize) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Line<'l, N, R> {
        node: &'l N,
        #[serde(flatten)]
        record: &'l R,
    }
    let line = serde_json::to_string(&Line { node, record })?;
    Ok(format!("{line}\n"))
}

/// Writes data to standard output. A reader that has gone is no error: `false`, and there is no use in
/// going on.
pub(crate) fn print(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["name", "n"]);
        table.row(["a long one".to_owned(), "1".to_owned()]);
        table.row(["b\u{1b}[2J".to_owned(), "22".to_owned()]);
        let expected = "name        n\na long one  1\nb[2J        22\n";
        assert_eq!(table.render(false), expected);
        assert!(table.render(true).starts_with("\u{1b}[1mname"));
    }

    #[test]
    fn lines_name_the_node_first() {
        let record = std::collections::BTreeMap::from([("b", 1)]);
        let line = json_line(&"z", &record).unwrap();
        assert_eq!(line, "{\"node\":\"z\",\"b\":1}\n");
    }
}
