//! Tables: aligned columns under a line of headings, as Docker prints them.

pub use crate::model::size::human_bytes as bytes;

use crate::cli::output::{Tone, paint};

/// One cell, and the tone that it is painted in after the widths are known.
#[derive(Clone, Debug)]
pub struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl Cell {
    pub fn toned(text: impl Into<String>, tone: Tone) -> Self {
        Self { text: text.into(), tone: Some(tone) }
    }

    pub fn text(&self) -> &str {
        &self.text
    }
}

impl<S: Into<String>> From<S> for Cell {
    fn from(text: S) -> Self {
        // A line break within a cell would break the table.
        Self { text: text.into().replace(['\n', '\r', '\t'], " "), tone: None }
    }
}

const GAP: usize = 3;

/// Headings and rows, each line ended. The last column is as long as it is.
pub fn render<const N: usize>(headings: [&str; N], rows: &[[Cell; N]], colour: bool) -> String {
    render_all(&headings, rows, colour)
}

/// The same for columns that are chosen at run time. A row that has more cells than there are headings keeps them.
pub fn render_all<R: AsRef<[Cell]>>(headings: &[&str], rows: &[R], colour: bool) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.chars().count()).collect();
    for row in rows {
        let row = row.as_ref();
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let mut text = String::new();
    let head: Vec<Cell> = headings.iter().map(|heading| Cell { text: (*heading).to_owned(), tone: None }).collect();
    for row in std::iter::once(head.as_slice()).chain(rows.iter().map(AsRef::as_ref)) {
        let mut line = String::new();
        let mut owed = 0;
        for (cell, width) in row.iter().zip(&widths) {
            line.extend(std::iter::repeat_n(' ', owed));
            match cell.tone {
                Some(tone) => line.push_str(&paint(colour, tone, &cell.text)),
                None => line.push_str(&cell.text),
            }
            owed = width - cell.text.chars().count() + GAP;
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// At most `max` characters, the last of them `…` where something was cut off.
pub fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_clean() {
        let rows = [["a".into(), Cell::toned("long cell", Tone::Good), "".into()], ["bb".into(), "x\ny".into(), "z".into()]];
        assert_eq!(render(["N", "WHAT", "LAST"], &rows, false), "N    WHAT        LAST\na    long cell\nbb   x y         z\n");
        assert!(render(["N", "WHAT", "LAST"], &rows, true).contains("\u{1b}[32mlong cell"));
    }

    #[test]
    fn sizes_and_lengths() {
        for (size, text) in
            [(0, "0B"), (999, "999B"), (1000, "1.0kB"), (13_240_000, "13.2MB"), (187_000_000, "187MB"), (2_500_000_000, "2.5GB")]
        {
            assert_eq!(bytes(size), text);
        }
        assert_eq!(shorten("abcdef", 4), "abc…");
        assert_eq!(shorten("abcd", 4), "abcd");
    }
}
