//! Tables of text that fit into a width: columns that do not fit are left out, from the right.

/// A column: its heading, its width in characters, and where its text stands.
pub(crate) struct Column {
    heading: &'static str,
    width: usize,
    is_number: bool,
}

impl Column {
    /// Text, to the left.
    pub(crate) const fn text(heading: &'static str, width: usize) -> Self {
        Self { heading, width, is_number: false }
    }

    /// A number, to the right.
    pub(crate) const fn number(heading: &'static str, width: usize) -> Self {
        Self { heading, width, is_number: true }
    }

    fn cell(&self, text: &str) -> String {
        let text = cut(text, self.width);
        if self.is_number {
            format!("{text:>width$}", width = self.width)
        } else {
            format!("{text:<width$}", width = self.width)
        }
    }
}

/// The heading and the rows in lines of at most `width` characters.
pub(crate) fn lines(columns: &[Column], rows: &[Vec<String>], width: usize) -> Vec<String> {
    let fitting = columns
        .iter()
        .scan(0, |end, column| {
            *end += column.width;
            (*end <= width).then_some(column)
        })
        .count();
    let columns = &columns[..fitting];
    let line = |cell: &dyn Fn(usize) -> String| -> String {
        let cells = columns.iter().enumerate().map(|(index, column)| column.cell(&cell(index)));
        cells.collect::<String>().trim_end().to_owned()
    };
    let heading = line(&|index| columns[index].heading.to_owned());
    let rows = rows.iter().map(|row| line(&|index| row.get(index).cloned().unwrap_or_default()));
    std::iter::once(heading).chain(rows).collect()
}

/// The first `width` characters of a text.
pub(crate) fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_do_not_fit_are_left_out() {
        let columns = [Column::text("name", 6), Column::number("°C", 8), Column::number("V", 8)];
        let rows = [vec!["SAT-01".into(), "21.5".into(), "8.123".into()], vec!["SAT-1000".into()]];
        assert_eq!(
            lines(&columns, &rows, 22),
            ["name        °C       V", "SAT-01    21.5   8.123", "SAT-10"]
        );
        assert_eq!(lines(&columns, &rows, 21), ["name        °C", "SAT-01    21.5", "SAT-10"]);
        assert_eq!(lines(&columns, &rows, 5), ["", "", ""]);
    }
}
