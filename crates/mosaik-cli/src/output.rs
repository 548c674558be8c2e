//! Output of commands: tables for people, lines of JSON for programs.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use mosaik::status::printable;
use serde::Serialize;

/// Longest cell of a table, in characters; the rest is cut off.
const MAX_CELL_CHARS: usize = 64;

/// A table for people.
#[derive(Debug, Clone, Default)]
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
            .push(cells.into_iter().map(|text| cell(&text)).collect());
    }

    /// The table with the rows that have a text in one of their cells.
    pub(crate) fn matching(mut self, text: &str) -> Self {
        let text = text.to_lowercase();
        let has_text =
            |row: &Vec<String>| row.iter().any(|cell| cell.to_lowercase().contains(&text));
        self.rows.retain(has_text);
        self
    }

    pub(crate) fn headings(&self) -> &[&'static str] {
        &self.headings
    }

    pub(crate) fn rows(&self) -> &[Vec<String>] {
        &self.rows
    }

    /// Width of each column, in characters.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let widest = |(column, heading): (usize, &&str)| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(heading.len())
        };
        self.headings.iter().enumerate().map(widest).collect()
    }

    /// The table, with a bold head where that can be shown.
    pub(crate) fn render(&self, bold: bool) -> String {
        let widths = self.widths();
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

/// A cell: what nodes say of themselves can be as long as they like.
fn cell(text: &str) -> String {
    let text = printable(text);
    match text.char_indices().nth(MAX_CELL_CHARS) {
        Some(_) => text.chars().take(MAX_CELL_CHARS - 1).chain(['…']).collect(),
        None => text,
    }
}

/// So many of something.
pub(crate) fn counted(count: usize, one: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

/// Returns whether colours and cursor movements are wanted: on a terminal, unless `NO_COLOR` is set.
pub(crate) fn is_styled() -> bool {
    wants_colours() && io::stdout().is_terminal()
}

/// Returns whether colours are wanted on standard error.
pub(crate) fn is_stderr_styled() -> bool {
    wants_colours() && io::stderr().is_terminal()
}

fn wants_colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One line of JSON: a record behind the node that it is of.
pub(crate) fn json_of(node: &impl Serialize, record: &impl Serialize) -> anyhow::Result<String> {
    #[derive(Serialize)]
    struct Line<'l, N, R> {
        node: &'l N,
        #[serde(flatten)]
        record: &'l R,
    }
    json(&Line { node, record })
}

/// One line of JSON. All JSON is written here: JSON does not escape everything that a terminal obeys.
pub(crate) fn json(record: &impl Serialize) -> anyhow::Result<String> {
    let mut line = String::new();
    for c in serde_json::to_string(record)?.chars() {
        if printable(c.encode_utf8(&mut [0; 4])).is_empty() {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(line, "\\u{unit:04x}");
            }
        } else {
            line.push(c);
        }
    }
    line.push('\n');
    Ok(line)
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

/// Writes a line to standard error, which need not be there.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", printable(text));
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
    fn a_cell_is_cut() {
        let mut table = Table::new(&["name"]);
        table.row(["é".repeat(70_000)]);
        table.row(["x".repeat(MAX_CELL_CHARS)]);
        let expected = format!("name\n{}…\n{}\n", "é".repeat(63), "x".repeat(64));
        assert_eq!(table.render(false), expected);
    }

    #[test]
    fn lines_name_the_node_first_and_move_no_cursor() {
        let record = std::collections::BTreeMap::from([("b", "\u{1b}[2J\u{9b}2J\u{202e}é")]);
        let line = json_of(&"z", &record).unwrap();
        let expected = "{\"node\":\"z\",\"b\":\"\\u001b[2J\\u009b2J\\u202eé\"}\n";
        assert_eq!(line, expected);
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["b"], record["b"]);
    }
}
