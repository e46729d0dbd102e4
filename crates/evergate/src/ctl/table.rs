//! Columns of text.

use super::screen::{Paint, Palette};

/// Space between two columns.
const GAP: &str = "  ";

/// Rows of cells under headings, as wide as their widest cell.
pub(crate) struct Table {
    indent: &'static str,
    heads: Vec<&'static str>,
    rows: Vec<Vec<(Paint, String)>>,
}

impl Table {
    /// A table without rows. A heading that begins with `>` stands over numbers.
    pub(crate) fn new(indent: &'static str, heads: &[&'static str]) -> Self {
        Self { indent, heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row of as many cells as there are headings.
    pub(crate) fn row<const N: usize>(&mut self, cells: [(Paint, String); N]) {
        debug_assert_eq!(N, self.heads.len());
        self.rows.push(cells.into());
    }

    /// The whole table, a line each; nothing if it has no rows.
    pub(crate) fn render(&self, palette: Palette) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let heads = self.heads.iter().map(|head| head.trim_start_matches('>').to_uppercase());
        let heads: Vec<(Paint, String)> = heads.map(|head| (Paint::Dim, head)).collect();
        let mut widths = vec![0; self.heads.len()];
        for row in self.rows.iter().chain([&heads]) {
            for (width, (_, text)) in widths.iter_mut().zip(row) {
                *width = text.chars().count().max(*width);
            }
        }
        [&heads].into_iter().chain(&self.rows).map(|row| self.line(palette, row, &widths)).collect()
    }

    fn line(&self, palette: Palette, row: &[(Paint, String)], widths: &[usize]) -> String {
        let mut line = String::from(self.indent);
        // Written before the next cell only, so that no line ends in spaces.
        let mut space = String::new();
        for (index, (paint, text)) in row.iter().enumerate() {
            let rest = " ".repeat(widths[index] - text.chars().count());
            let (before, after) = if self.heads[index].starts_with('>') {
                (rest, String::new())
            } else {
                (String::new(), rest)
            };
            if !text.is_empty() {
                line.push_str(&space);
                line.push_str(&before);
                line.push_str(&palette.paint(*paint, text));
                space.clear();
            } else {
                space.push_str(&before);
            }
            space.push_str(&after);
            space.push_str(GAP);
        }
        line.push('\n');
        line
    }
}

/// A cell without meaning.
pub(crate) fn plain(text: impl ToString) -> (Paint, String) {
    (Paint::Normal, text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let mut table = Table::new(" ", &["name", ">count", "why"]);
        table.row([plain("a"), plain(7), plain("")]);
        table.row([plain("longer"), (Paint::Bad, String::new()), plain("because")]);
        table.row([plain("ü"), plain(123_456), plain("x")]);
        assert_eq!(
            table.render(Palette::Plain),
            " NAME     COUNT  WHY\n \
             a            7\n \
             longer          because\n \
             ü       123456  x\n"
        );
        assert_eq!(Table::new("", &["name"]).render(Palette::Plain), "");
    }
}
