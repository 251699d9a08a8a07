//! Recorded start times: a CSV file of latencies, one start a row, to draw cold starts from.
//!
//! The column is the first whose name says its unit: `ms` or `.._ms`, `seconds`, `s` or `.._s`. A `kind` column may tell kinds
//! of starts apart.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use sim::world::ColdStart;

/// `FILE` or `FILE:KIND`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ColdFrom {
    path: PathBuf,
    kind: Option<String>,
}

impl FromStr for ColdFrom {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<ColdFrom, Self::Err> {
        // A path may itself contain a colon.
        let split = text.rsplit_once(':').filter(|_| !Path::new(text).exists());
        Ok(match split {
            Some((path, kind)) => ColdFrom { path: path.into(), kind: Some(kind.to_owned()) },
            None => ColdFrom { path: text.into(), kind: None },
        })
    }
}

impl ColdFrom {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(&self) -> anyhow::Result<ColdStart> {
        let shown = self.path.display();
        let file = File::open(&self.path).with_context(|| format!("cannot read {shown}"))?;
        parse(BufReader::new(file), self.kind.as_deref()).with_context(|| format!("start times in {shown}"))
    }
}

fn parse(mut input: impl BufRead, kind: Option<&str>) -> anyhow::Result<ColdStart> {
    let packed = input.fill_buf()?.starts_with(&GZIP_MAGIC);
    let text: Box<dyn Read + '_> =
        if packed { Box::new(MultiGzDecoder::new(input)) } else { Box::new(input) };
    let mut reader = csv::Reader::from_reader(text.take(TEXT_BYTES_MAX));
    let header = reader.headers()?.clone();
    let (column, seconds) = header
        .iter()
        .enumerate()
        .find_map(|(column, name)| Some((column, unit(name.trim())?)))
        .ok_or_else(|| anyhow!("no column is named by its unit, such as `latency_ms` or `seconds`"))?;
    let kind_column = header.iter().position(|name| name.trim() == "kind");
    if kind.is_some() && kind_column.is_none() {
        bail!("there is no column `kind`");
    }
    let (mut times, mut kinds) = (Vec::new(), BTreeSet::new());
    for (number, record) in reader.records().enumerate() {
        let record = record?;
        let of_row = kind_column.and_then(|column| record.get(column)).unwrap_or_default();
        if kind.is_some_and(|kind| kind != of_row) {
            if kinds.len() < KINDS_SHOWN {
                kinds.insert(of_row.to_owned());
            }
            continue;
        }
        let cell = record.get(column).unwrap_or_default().trim();
        let time = cell.parse::<f64>().ok().filter(|time| (0.0..=TIME_MAX_S).contains(&(time * seconds)));
        let time =
            time.ok_or_else(|| anyhow!("row {}: `{cell}` is not a start time up to one day", number + 2))?;
        times.push(Duration::from_secs_f64(time * seconds));
    }
    match (times.is_empty(), kind) {
        (true, Some(kind)) => {
            let known: Vec<_> = kinds.into_iter().collect();
            bail!("no start is of kind `{kind}`; there are {}", known.join(", "))
        }
        (true, None) => bail!("it has no rows"),
        (false, _) => Ok(ColdStart::recorded(times)),
    }
}

/// Seconds per unit of a column with this name.
fn unit(name: &str) -> Option<f64> {
    match name {
        "ms" => Some(1e-3),
        "s" | "seconds" => Some(1.0),
        _ if name.ends_with("_ms") => Some(1e-3),
        _ if name.ends_with("_s") || name.ends_with("_seconds") => Some(1.0),
        _ => None,
    }
}

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// No file of start times is larger.
const TEXT_BYTES_MAX: u64 = 1 << 30;
const TIME_MAX_S: f64 = 86_400.0;
const KINDS_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"timestamp,kind,pod,latency_ms\n1,base,a,20000\n2,adapter,a,4000\n3,base,b,30000\n";

    #[test]
    fn a_kind_is_picked_and_an_unknown_one_is_answered_with_the_known() {
        assert_eq!(parse(TEXT, Some("base")).unwrap().typical(), Duration::from_secs(25));
        assert_eq!(parse(TEXT, None).unwrap().typical(), Duration::from_secs(20));
        let error = parse(TEXT, Some("bass")).unwrap_err().to_string();
        assert!(error.contains("bass") && error.contains("adapter, base"), "{error}");
    }

    #[test]
    fn what_is_no_start_time_is_named_with_its_row() {
        let error = parse(&b"seconds\n3\n-1\n"[..], None).unwrap_err().to_string();
        assert!(error.contains("row 3") && error.contains("-1"), "{error}");
        assert!(parse(&b"seconds\n"[..], None).is_err());
        assert!(parse(&b"latency\n3\n"[..], None).unwrap_err().to_string().contains("unit"));
    }

    #[test]
    fn a_colon_separates_the_kind() {
        let from: ColdFrom = "loads.csv.gz:base".parse().unwrap();
        assert_eq!(from, ColdFrom { path: "loads.csv.gz".into(), kind: Some("base".into()) });
        let from: ColdFrom = "loads.csv".parse().unwrap();
        assert_eq!(from.kind, None);
    }
}
