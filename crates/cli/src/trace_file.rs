//! Opens a trace file from disk: plain or gzip (told apart by its first bytes, not by its name), standard input for `-`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use forecast::Timestamp;
use forecast::TimestampError;
use forecast::trace::{self, Accompanied, Options, Trace, TraceError, Uneven};

use crate::failure::{Failure, OrFail};
use crate::output;

/// The first bytes of every gzip file (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// The most text a trace file unpacks to. A gzip file of a megabyte can hold a gigabyte of zeros.
const TEXT_BYTES_MAX: u64 = 4 << 30;

/// A trace, and how its timestamps were written, so that answers can be written the same way.
#[derive(Debug)]
pub(crate) struct TraceFile {
    pub(crate) trace: Trace,
    pub(crate) clock: Clock,
    /// Further columns by series, in the order asked for.
    pub(crate) beside: Vec<Vec<Vec<f32>>>,
}

/// How a file writes its timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// ISO 8601 with a zone.
    Iso,
    /// Seconds, since 1970 or since the start of the trace: nobody knows, so there is no calendar.
    Seconds,
}

impl Clock {
    /// A timestamp in the file's own way of writing.
    pub(crate) fn write(self, at: Timestamp) -> String {
        match self {
            Clock::Iso => at.to_string(),
            Clock::Seconds => {
                let millis = at.as_millis();
                match millis % 1000 {
                    0 => (millis / 1000).to_string(),
                    _ => format!("{}", millis as f64 / 1000.0),
                }
            }
        }
    }
}

/// Reads one column of the file.
///
/// # Errors
/// A usage failure that names the file, and inside it the line and column.
pub(crate) fn read(path: &Path, options: &Options) -> Result<TraceFile, Failure> {
    read_beside(path, options, &[])
}

/// Reads one column of the file, and others beside it.
///
/// # Errors
/// As of [`read`].
pub(crate) fn read_beside(path: &Path, options: &Options, columns: &[String]) -> Result<TraceFile, Failure> {
    let name = path.display();
    let input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(path).or_usage(format!("cannot open {name}"))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::usage(format!("{name} is a folder; give a CSV file")));
        }
        Box::new(file)
    };
    let read = parse_beside(BufReader::new(input), options, columns).map_err(|error| {
        let hint = match error.downcast_ref::<TraceError>() {
            Some(TraceError::Timestamp { source: TimestampError::NoZone(_), .. }) => {
                "; if its times are those of a place, name it with --time-zone, such as --time-zone Europe/Berlin"
            }
            Some(TraceError::Negative { .. }) => {
                "; `forecast` and `evaluate` take values below zero with --allow-negative"
            }
            Some(TraceError::NotANumber { .. }) if options.column.is_none() => {
                "; if another column is meant, name it with --column"
            }
            Some(_) | None => "",
        };
        Failure::Usage(error.context(format!("cannot use {name}{hint}")))
    })?;
    if let Some(uneven) = read.trace.uneven() {
        say_uneven(&name.to_string(), &read, &uneven);
    }
    Ok(read)
}

fn say_uneven(name: &str, read: &TraceFile, Uneven { series, from, spacing }: &Uneven) {
    let (step, apart) = (read.trace.step, humantime::format_duration(*spacing));
    let what = if *spacing < step { "their means are taken" } else { "what is between them is missing" };
    let series = series.as_ref().map_or(String::new(), |series| format!(", series {series}"));
    output::say(&format!(
        "note: {name}{series}: from {} on rows are {apart} apart, most are {}: {what}",
        read.clock.write(*from),
        humantime::format_duration(step)
    ));
}

/// Reads one column of packed or plain text.
pub(crate) fn parse(input: impl BufRead + 'static, options: &Options) -> anyhow::Result<TraceFile> {
    parse_beside(input, options, &[])
}

fn parse_beside(
    mut input: impl BufRead + 'static,
    options: &Options,
    columns: &[String],
) -> anyhow::Result<TraceFile> {
    let packed = input.fill_buf()?.starts_with(&GZIP_MAGIC);
    let text: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut head = Vec::new();
    let mut text = text.take(TEXT_BYTES_MAX);
    text.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
    let clock = clock(&head);
    let Accompanied { trace, beside } =
        trace::parse_beside(io::Cursor::new(head).chain(text), options, columns)?;
    Ok(TraceFile { trace, clock, beside })
}

/// Enough for the header and the first row.
const HEAD_BYTES: u64 = 64 * 1024;

/// Looks at the first cell of the first row. What is neither is for the parser to refuse.
fn clock(head: &[u8]) -> Clock {
    let first_cell =
        head.split(|byte| *byte == b'\n').nth(1).and_then(|row| row.split(|byte| *byte == b',').next());
    let number = first_cell
        .and_then(|cell| std::str::from_utf8(cell).ok())
        .is_some_and(|cell| cell.trim().trim_matches('"').parse::<f64>().is_ok());
    if number { Clock::Seconds } else { Clock::Iso }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const PLAIN: &[u8] = b"timestamp,value\n10,1\n20,2\n30.5,3\n";

    #[test]
    fn gzip_is_recognised_by_its_bytes() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(PLAIN).unwrap();
        let packed = packed.finish().unwrap();
        let plain = parse(PLAIN, &Options::default()).unwrap().trace;
        assert_eq!(parse(io::Cursor::new(packed), &Options::default()).unwrap().trace, plain);
    }

    #[test]
    fn timestamps_are_written_back_as_they_were_read() {
        let file = parse(PLAIN, &Options::default()).unwrap();
        let written: Vec<_> =
            file.trace.series[0].points.iter().map(|(at, _)| file.clock.write(*at)).collect();
        assert_eq!(written, ["10", "20", "30.5"]);
        let iso =
            parse(&b"timestamp,v\n2020-01-01T00:00:00Z,1\n2020-01-01T00:00:01Z,1\n"[..], &Options::default())
                .unwrap();
        assert_eq!(iso.clock.write(iso.trace.series[0].points[0].0), "2020-01-01T00:00:00Z");
    }

    #[test]
    fn a_truncated_gzip_file_is_an_error() {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(PLAIN).unwrap();
        let mut packed = packed.finish().unwrap();
        packed.truncate(packed.len() - 9);
        assert!(parse(io::Cursor::new(packed), &Options::default()).is_err());
    }
}
