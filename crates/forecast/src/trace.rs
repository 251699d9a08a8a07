//! Reads recorded series from CSV.
//!
//! The format: a header; first column the time, `timestamp` (ISO 8601 with a zone or, where one is given, without; or seconds
//! or milliseconds); optionally a column `series`; then numeric columns, of which one is read, and others beside it if wanted.
//! Empty cells are missing values. Rows of one series must be in order of time. Every error says where it is (line and column)
//! and what to do about it. Unpacking gzip is the caller's business.

use std::collections::BTreeMap;
use std::io::Read;
use std::time::Duration;

use csv::ByteRecord;
use jiff::tz::TimeZone;

use self::clock::Reading;
use crate::timestamp::{Timestamp, TimestampError, excerpt};

mod clock;
mod error;
#[cfg(test)]
mod tests;
mod uneven;

pub use error::TraceError;
pub use uneven::Uneven;

/// Which part of a file to read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Name of the value column. `None`: the first one that is neither `timestamp` nor `series`.
    pub column: Option<String>,
    /// Name of the one series to read, for files with a `series` column. `None`: all.
    pub series: Option<String>,
    /// Whether values below zero are accepted. Default false: demand is never negative.
    pub allow_negative: bool,
    /// Whose wall clock timestamps without a zone are read on. Default `None`: they are refused.
    pub zone: Option<TimeZone>,
}

/// One column of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Name of the value column.
    pub column: String,
    /// Median spacing of the rows.
    pub step: Duration,
    /// The series in order of first appearance; exactly one without a name when the file has no `series` column.
    pub series: Vec<Series>,
}

/// One series, in order of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its name in the `series` column.
    pub name: Option<String>,
    /// When each step begins, and its value; `None` where the cell is empty.
    pub points: Vec<(Timestamp, Option<f64>)>,
}

impl Series {
    /// The points moved to the nearest beginning of a step, counted from the first point, so that a recorder's jitter does
    /// not matter. Points that fall into the same step become their mean. Gaps stay gaps.
    pub fn on_grid(&self, step: Duration) -> Vec<(Timestamp, Option<f64>)> {
        let step_ms = i128::try_from(step.as_millis()).unwrap_or(i128::MAX).max(1);
        let Some(&(origin, _)) = self.points.first() else { return Vec::new() };
        let origin = i128::from(origin.as_millis());
        let mut grid: Vec<(i128, f64, u32)> = Vec::with_capacity(self.points.len());
        for &(at, value) in &self.points {
            let slot = (i128::from(at.as_millis()) - origin + step_ms / 2).div_euclid(step_ms);
            match grid.last_mut() {
                Some(last) if last.0 == slot => add(last, value),
                Some(_) | None => {
                    let mut fresh = (slot, 0.0, 0);
                    add(&mut fresh, value);
                    grid.push(fresh);
                }
            }
        }
        grid.into_iter()
            .map(|(slot, sum, n)| {
                let millis = i64::try_from(origin + slot * step_ms).unwrap_or(i64::MAX);
                (Timestamp::from_millis(millis), (n > 0).then(|| sum / f64::from(n)))
            })
            .collect()
    }
}

fn add(slot: &mut (i128, f64, u32), value: Option<f64>) {
    if let Some(value) = value {
        slot.1 += value;
        slot.2 += 1;
    }
}

/// A trace, and what was recorded beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Accompanied {
    /// The series.
    pub trace: Trace,
    /// `beside[s][c][r]`: column `c` of those asked for, in row `r` of series `s`; NaN where the cell is empty. Rows are
    /// those of the series' points.
    pub beside: Vec<Vec<Vec<f32>>>,
}

/// Reads one column of a CSV file.
///
/// # Errors
/// [`TraceError`] names the line, the column and what to change.
pub fn parse(reader: impl Read, options: &Options) -> Result<Trace, TraceError> {
    parse_beside(reader, options, &[]).map(|read| read.trace)
}

/// Reads one column, and further columns of the same rows by name. Those may be below zero.
///
/// # Errors
/// [`TraceError`] names the line, the column and what to change.
pub fn parse_beside(
    reader: impl Read,
    options: &Options,
    columns: &[String],
) -> Result<Accompanied, TraceError> {
    let mut rows = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(reader);
    let mut record = ByteRecord::new();
    if !rows.read_byte_record(&mut record).map_err(TraceError::from_csv)? {
        return Err(TraceError::Empty);
    }
    let layout = Layout::read(&record, options, columns)?;
    let mut series: Vec<Series> = Vec::new();
    let mut beside: Vec<Vec<Vec<f32>>> = Vec::new();
    let mut before: Vec<Reading> = Vec::new();
    let mut index: BTreeMap<String, usize> = BTreeMap::new();
    let mut count = 0usize;
    while rows.read_byte_record(&mut record).map_err(TraceError::from_csv)? {
        let line = record.position().map_or(0, csv::Position::line);
        count += 1;
        if count > ROWS_MAX {
            return Err(TraceError::TooManyRows { rows_max: ROWS_MAX });
        }
        let Some(row) = layout.row(&record, line, options)? else { continue };
        let slot = match index.get(row.series) {
            Some(&slot) => slot,
            None => {
                index.insert(row.series.to_owned(), series.len());
                let name = layout.series.is_some().then(|| row.series.to_owned());
                series.push(Series { name, points: Vec::new() });
                beside.push(vec![Vec::new(); columns.len()]);
                before.push(Reading::default());
                series.len() - 1
            }
        };
        let written = text(&record, 0, line, "timestamp")?;
        let at = later(&series[slot], row.at, written, options);
        in_order(&series[slot], at, line)
            .map_err(|fault| clock::explained(fault, (line, written), &before[slot], options))?;
        before[slot].keep(line, written);
        series[slot].points.push((at, row.value));
        for (column, (&position, name)) in beside[slot].iter_mut().zip(layout.beside.iter().zip(columns)) {
            let value = number(text(&record, position, line, name)?, line, name, true)?;
            column.push(value.map_or(f32::NAN, |value| value as f32));
        }
    }
    if series.is_empty() {
        return Err(match &options.series {
            Some(name) if count > 0 => TraceError::UnknownSeries { name: name.clone() },
            Some(_) | None => TraceError::NoRows,
        });
    }
    not_too_small(&series, &layout.column)?;
    let step = median_spacing(&series).ok_or(TraceError::OnePoint)?;
    Ok(Accompanied { trace: Trace { column: layout.column, step, series }, beside })
}

/// Where the header says things are.
struct Layout {
    width: usize,
    series: Option<usize>,
    value: usize,
    column: String,
    /// Columns to be read beside it.
    beside: Vec<usize>,
}

/// One row's worth, borrowed from its record.
struct Row<'a> {
    at: Timestamp,
    series: &'a str,
    value: Option<f64>,
}

impl Layout {
    fn read(header: &ByteRecord, options: &Options, beside: &[String]) -> Result<Layout, TraceError> {
        let mut names = Vec::with_capacity(header.len());
        for (position, cell) in header.iter().enumerate() {
            let cell = if position == 0 { cell.strip_prefix(b"\xef\xbb\xbf").unwrap_or(cell) } else { cell };
            let name = std::str::from_utf8(cell)
                .map_err(|_| TraceError::NotText { line: 1, column: format!("number {}", position + 1) })?;
            names.push(name.trim().to_owned());
        }
        if !names.first().is_some_and(|name| is_time(name)) {
            let found = names.first().map_or("", String::as_str);
            return Err(if Timestamp::parse(found).is_ok() {
                TraceError::NoHeader { found: excerpt(found) }
            } else {
                TraceError::NoTimestampColumn { found: excerpt(found) }
            });
        }
        let series = names.iter().position(|name| name == "series");
        if options.series.is_some() && series.is_none() {
            return Err(TraceError::NoSeriesColumn);
        }
        let columns = || names.iter().enumerate().skip(1).filter(|&(position, _)| Some(position) != series);
        let unknown = |wanted: &str| TraceError::UnknownColumn {
            wanted: excerpt(wanted),
            present: columns().map(|(_, name)| excerpt(name)).collect::<Vec<_>>().join(", "),
        };
        let find = |wanted: &str| columns().find(|(_, name)| *name == wanted).ok_or_else(|| unknown(wanted));
        let (value, column) = match &options.column {
            Some(wanted) => find(wanted)?,
            None => columns().next().ok_or(TraceError::NoValueColumn)?,
        };
        let column = column.clone();
        let beside =
            beside.iter().map(|wanted| Ok(find(wanted)?.0)).collect::<Result<Vec<_>, TraceError>>()?;
        Ok(Layout { width: names.len(), series, value, column, beside })
    }

    /// The row, or `None` when it belongs to a series that was not asked for.
    fn row<'a>(
        &self,
        record: &'a ByteRecord,
        line: u64,
        options: &Options,
    ) -> Result<Option<Row<'a>>, TraceError> {
        if record.len() != self.width {
            return Err(TraceError::Width { line, found: record.len(), expected: self.width });
        }
        let series = match self.series {
            Some(position) => text(record, position, line, "series")?,
            None => "",
        };
        if options.series.as_deref().is_some_and(|wanted| wanted != series) {
            return Ok(None);
        }
        let at = Timestamp::parse_in(text(record, 0, line, "timestamp")?, options.zone.as_ref())
            .map_err(|source: TimestampError| TraceError::Timestamp { line, source })?;
        let cell = text(record, self.value, line, &self.column)?;
        let value = number(cell, line, &self.column, options.allow_negative)?;
        Ok(Some(Row { at, series, value }))
    }
}

/// Whether a column of this name holds the time: names that other tools write are as good as ours.
fn is_time(name: &str) -> bool {
    ["timestamp", "time", "datetime", "date", "ds"].iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn text<'a>(record: &'a ByteRecord, position: usize, line: u64, column: &str) -> Result<&'a str, TraceError> {
    let cell = record.get(position).unwrap_or_default();
    std::str::from_utf8(cell)
        .map(str::trim)
        .map_err(|_| TraceError::NotText { line, column: column.to_owned() })
}

fn number(cell: &str, line: u64, column: &str, allow_negative: bool) -> Result<Option<f64>, TraceError> {
    if cell.is_empty() {
        return Ok(None);
    }
    let column = || column.to_owned();
    match cell.parse::<f64>() {
        Ok(value) if !value.is_finite() => {
            Err(TraceError::NotFinite { line, column: column(), text: excerpt(cell) })
        }
        Ok(value) if value.abs() > VALUE_MAX => {
            Err(TraceError::TooLarge { line, column: column(), text: excerpt(cell) })
        }
        Ok(value) if value < 0.0 && !allow_negative => {
            Err(TraceError::Negative { line, column: column(), value })
        }
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(TraceError::NotANumber { line, column: column(), text: excerpt(cell) }),
    }
}

/// When a row is that seems to come too early: in the hour that comes twice when clocks are set back, the second time.
fn later(series: &Series, at: Timestamp, text: &str, options: &Options) -> Timestamp {
    let Some(&(last, _)) = series.points.last().filter(|(last, _)| at <= *last) else { return at };
    let second = options.zone.as_ref().and_then(|zone| Timestamp::second_reading(text, zone));
    second.filter(|second| *second > last).unwrap_or(at)
}

fn in_order(series: &Series, at: Timestamp, line: u64) -> Result<(), TraceError> {
    match series.points.last() {
        Some(&(last, _)) if last == at => {
            Err(TraceError::Duplicate { line, at, series: series.name.clone().unwrap_or_default() })
        }
        Some(&(last, _)) if last > at => {
            Err(TraceError::Unsorted { line, at, last, series: series.name.clone().unwrap_or_default() })
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a series that is not zero, and so near to it that no forecast tells them apart.
fn not_too_small(series: &[Series], column: &str) -> Result<(), TraceError> {
    for one in series {
        let sizes = one.points.iter().filter_map(|point| point.1).map(f64::abs);
        let largest = sizes.fold(0.0, f64::max);
        if largest > 0.0 && largest < LARGEST_MIN {
            let (column, series) = (column.to_owned(), one.name.clone().unwrap_or_default());
            return Err(TraceError::TooSmall { column, series, largest });
        }
    }
    Ok(())
}

/// Median distance of neighbouring rows over all series; `None` when no series has two.
fn median_spacing(series: &[Series]) -> Option<Duration> {
    let mut spacings: Vec<Duration> = series
        .iter()
        .flat_map(|series| series.points.windows(2).map(|pair| pair[1].0.since(pair[0].0)))
        .take(SPACINGS_MAX)
        .collect();
    if spacings.is_empty() {
        return None;
    }
    let middle = spacings.len() / 2;
    Some(*spacings.select_nth_unstable(middle).1)
}

/// More rows than this are not a trace but a mistake (or an attack on memory).
const ROWS_MAX: usize = 50_000_000;
/// Models take larger values for this one.
const VALUE_MAX: f64 = 1e30;
/// Models keep errors with about this precision, whatever the size of the values.
const LARGEST_MIN: f64 = 1e-9;
/// The median spacing is known long before this many.
const SPACINGS_MAX: usize = 1_000_000;
