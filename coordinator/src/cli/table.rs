//! Tables for people in the manner of kubectl: upper-case headers, three spaces between columns, no lines.

use std::borrow::Cow;

/// Between two columns.
const GAP: &str = "   ";

/// So much of a sentence is shown beside other columns: enough to tell what it is about, and a row fits into 120 columns.
const SENTENCE: usize = 48;

/// Stands where there is nothing to show.
pub(super) const NONE: &str = "-";

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// Upper case, without spaces.
    pub header: &'static str,
    /// Whether it is shown only with `-o wide`.
    pub wide: bool,
    /// Whether it changes by itself as time goes by. A row in which nothing else changed counts as the same.
    pub restless: bool,
    /// Whether it is cut to [`SENTENCE`] letters, unless wide.
    pub sentence: bool,
}

/// A column that is always shown.
pub(super) const fn column(header: &'static str) -> Column {
    Column {
        header,
        wide: false,
        restless: false,
        sentence: false,
    }
}

/// A column of `-o wide`.
pub(super) const fn wide(header: &'static str) -> Column {
    Column {
        wide: true,
        ..column(header)
    }
}

/// A column that shows a time that goes by.
pub(super) const fn restless(header: &'static str) -> Column {
    Column {
        restless: true,
        ..column(header)
    }
}

/// A column that shows sentences.
pub(super) const fn sentence(header: &'static str) -> Column {
    Column {
        sentence: true,
        ..column(header)
    }
}

/// Writes rows under each other. It remembers the widths, so that rows which come later stand in the same columns.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    wide: bool,
    widths: Vec<usize>,
    begun: bool,
}

impl Table {
    /// An empty table.
    pub(super) fn new(columns: &[Column], wide: bool) -> Self {
        Self {
            columns: columns.to_vec(),
            wide,
            widths: columns.iter().map(|column| column.header.len()).collect(),
            begun: false,
        }
    }

    /// The text of rows, a cell for each column, under the headers if they are the first. Empty cells show as `-`.
    pub(super) fn rows(&mut self, rows: &[Vec<String>]) -> String {
        let headers: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.header.to_owned())
            .collect();
        for row in rows {
            let columns = self.columns.iter().zip(row);
            let cells = columns.map(|(column, cell)| self.cell(column, cell).chars().count());
            let cells: Vec<_> = cells.collect();
            for (width, cell) in self.widths.iter_mut().zip(cells) {
                *width = (*width).max(cell);
            }
        }
        let heading = (!self.begun).then_some(&headers);
        self.begun |= !rows.is_empty();
        let rows = rows.iter();
        match heading {
            Some(headers) if self.begun => std::iter::once(headers)
                .chain(rows)
                .map(|row| self.line(row))
                .collect(),
            _ => rows.map(|row| self.line(row)).collect(),
        }
    }

    fn line(&self, row: &[String]) -> String {
        let cells: Vec<String> = self
            .columns
            .iter()
            .zip(row)
            .zip(&self.widths)
            .filter(|((column, _), _)| self.wide || !column.wide)
            .map(|((column, cell), &width)| format!("{:width$}", self.cell(column, cell)))
            .collect();
        format!("{}\n", cells.join(GAP).trim_end())
    }

    /// The text of a cell.
    fn cell<'a>(&self, column: &Column, cell: &'a str) -> Cow<'a, str> {
        if cell.is_empty() {
            Cow::Borrowed(NONE)
        } else if column.sentence && !self.wide && cell.chars().count() > SENTENCE {
            let begin: String = cell.chars().take(SENTENCE - 1).collect();
            Cow::Owned(begin.trim_end().to_owned() + "…")
        } else {
            Cow::Borrowed(cell)
        }
    }

    /// The cells by which a row that changed is told from one that did not.
    pub(super) fn telling(&self, row: &[String]) -> Vec<String> {
        self.columns
            .iter()
            .zip(row)
            .filter(|(column, _)| !column.restless && (self.wide || !column.wide))
            .map(|(_, cell)| cell.clone())
            .collect()
    }
}

/// A time in one short word: `42s`, `7m`, `3h`, `2d`; each unit is used up to twice the next.
pub(super) fn age(seconds: f64) -> String {
    let units = [
        (120.0, 1.0, "s"),
        (7200.0, 60.0, "m"),
        (172_800.0, 3600.0, "h"),
    ];
    let (unit, name) = units
        .into_iter()
        .find(|(below, _, _)| seconds < *below)
        .map_or((86_400.0, "d"), |(_, unit, name)| (unit, name));
    format!("{:.0}{name}", (seconds.max(0.0) / unit).floor())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|&cell| cell.to_owned()).collect()
    }

    const COLUMNS: [Column; 3] = [column("NAME"), wide("MORE"), restless("AGE")];

    #[test]
    fn columns_stand_under_their_headers() {
        let rows = [row(&["a", "x", "1s"]), row(&["longer", "", ""])];
        assert_eq!(
            Table::new(&COLUMNS, false).rows(&rows),
            "NAME     AGE\na        1s\nlonger   -\n"
        );
        assert_eq!(
            Table::new(&COLUMNS, true).rows(&rows),
            "NAME     MORE   AGE\na        x      1s\nlonger   -      -\n"
        );
    }

    #[test]
    fn rows_that_come_later_have_no_headers_and_the_same_widths() {
        let mut table = Table::new(&COLUMNS, false);
        assert_eq!(table.rows(&[]), "", "headers wait for a row");
        assert_eq!(
            table.rows(&[row(&["longer", "", "1s"])]),
            "NAME     AGE\nlonger   1s\n"
        );
        assert_eq!(table.rows(&[row(&["b", "", "2s"])]), "b        2s\n");
    }

    #[test]
    fn only_what_is_shown_and_does_not_change_by_itself_tells() {
        let cells = row(&["a", "x", "1s"]);
        assert_eq!(Table::new(&COLUMNS, false).telling(&cells), row(&["a"]));
        assert_eq!(Table::new(&COLUMNS, true).telling(&cells), row(&["a", "x"]));
    }

    #[test]
    fn sentences_are_cut_unless_wide() {
        let columns = [sentence("WHY"), column("N")];
        let long = "a".repeat(SENTENCE - 2) + " bc";
        let rows = [row(&[&long, "1"]), row(&["short", "2"])];
        let cut = Table::new(&columns, false).rows(&rows);
        let width = cut.lines().map(|line| line.chars().count()).max();
        assert_eq!(width, Some(SENTENCE - 1 + GAP.len() + 1), "{cut}");
        assert!(cut.contains("a…   1\n") && cut.contains("short"), "{cut}");
        let whole = Table::new(&columns, true).rows(&rows);
        assert!(whole.contains(&long), "{whole}");
    }

    #[test]
    fn ages_are_short() {
        let ages = [-1.0, 0.4, 119.9, 120.0, 7199.0, 7200.0, 172_800.0];
        assert_eq!(
            ages.map(age),
            ["0s", "0s", "119s", "2m", "119m", "2h", "2d"]
        );
    }
}
