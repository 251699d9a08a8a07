//! Where output goes and how it looks: stdout that may close early, tables that fit 80 columns, progress only for people.
//!
//! Machines read stdout, people read stderr: everything a command computes goes to stdout, everything it says about its work goes
//! to stderr. Progress bars appear only when stderr is a terminal.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table, TableStyle};
use indicatif::{ProgressBar, ProgressStyle};

/// Tables never become wider than this when the terminal's width is unknown.
const WIDTH_DEFAULT: u16 = 80;
/// One line under the header, nothing else.
const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
/// Progress bars are redrawn this often while nothing happens.
const TICK: Duration = Duration::from_millis(120);

/// Buffered stdout. Errors, a closed pipe among them, come back through `?` instead of a panic.
pub(crate) fn stdout() -> BufWriter<StdoutLock<'static>> {
    BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// Prints text on stdout and flushes.
pub(crate) fn print(text: &str) -> io::Result<()> {
    let mut out = stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whether this stands for standard output.
pub(crate) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes a file, or standard output for `-`.
pub(crate) fn write_file(path: &Path, content: &[u8]) -> io::Result<()> {
    if !is_stdout(path) {
        return std::fs::write(path, content);
    }
    let mut out = stdout();
    out.write_all(content)?;
    out.flush()
}

/// Says something to the person watching. A closed stderr is no reason to stop.
pub(crate) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether a person is watching stderr.
pub(crate) fn interactive() -> bool {
    io::stderr().is_terminal()
}

/// Whether log lines on stderr may be coloured: a person is watching and has not set `NO_COLOR` (no-color.org).
pub(crate) fn colourful() -> bool {
    interactive() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A bar with a length when a person is watching, hidden otherwise. `NO_COLOR` is respected by the styling library.
pub(crate) fn progress(length: u64, template: &str) -> ProgressBar {
    if !interactive() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// A spinner for work of unknown length when a person is watching, hidden otherwise.
pub(crate) fn spinner(message: &'static str) -> ProgressBar {
    if !interactive() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message);
    bar.enable_steady_tick(TICK);
    bar
}

/// An empty table with a header; the first column is text, all others are numbers and stand to the right.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
    if !io::stdout().is_terminal() {
        table.set_width(WIDTH_DEFAULT);
    }
    table.set_header(header.iter().enumerate().map(|(column, text)| aligned(column, text)));
    table
}

/// Adds a row in the alignment of [`table`].
pub(crate) fn row<S: AsRef<str>>(table: &mut Table, cells: &[S]) {
    table.add_row(cells.iter().enumerate().map(|(column, text)| aligned(column, text.as_ref())));
}

/// Breaks nothing, however wide that becomes: half a number is a wrong one.
pub(crate) fn keep_whole(table: &mut Table) {
    for column in table.column_iter_mut() {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
}

fn aligned(column: usize, text: &str) -> Cell {
    let cell = Cell::new(text);
    if column == 0 { cell } else { cell.set_alignment(CellAlignment::Right) }
}

/// A number for reading: about four digits that matter.
pub(crate) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Days as days: a month is not always as long as the last.
pub(crate) fn span(duration: Duration) -> String {
    let days = duration.as_secs() / 86_400;
    let rest = duration - Duration::from_secs(days * 86_400);
    match (days, rest.is_zero()) {
        (0, _) => humantime::format_duration(duration).to_string(),
        (_, true) => format!("{days}d"),
        (_, false) => format!("{days}d {}", humantime::format_duration(rest)),
    }
}

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(1234567), "1,234,567");
    }
}
