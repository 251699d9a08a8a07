//! The traces that accuracy and decisions are measured on: those shipped in `data`, and any in a folder the user names.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::read::{GzDecoder, MultiGzDecoder};
use forecast::Timestamp;
use forecast::trace::{self, Options, Trace};

use crate::Setting;

/// Shipped traces: file, step to measure at.
const SHIPPED: &[(&str, Duration)] = &[
    ("data/nasa_http_1995_10s.csv.gz", Duration::from_secs(300)),
    ("data/clarknet_http_1995_1min.csv.gz", Duration::from_secs(60)),
];
/// Series with fewer steps than this say little about seasons and are left out.
const STEPS_MIN: usize = 2_000;

/// One series, ready to be measured on.
pub(crate) struct Demand {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
    pub(crate) step: Duration,
    pub(crate) points: Vec<(Timestamp, Option<f64>)>,
}

/// The shipped traces, then those in the folder of `setting`. Files that are not one series of demand are named and left out.
pub(crate) fn load(setting: &Setting) -> Result<Vec<Demand>> {
    let mut demands = Vec::new();
    for (file, step) in SHIPPED {
        let trace = read(Path::new(file))?;
        demands.push(demand(Path::new(file), &trace, *step));
    }
    for file in setting.traces.iter().flat_map(|folder| files_below(folder)) {
        if SHIPPED.iter().any(|(shipped, _)| Path::new(shipped).file_name() == file.file_name()) {
            continue;
        }
        match read(&file) {
            Ok(trace) if trace.series.len() == 1 && trace.series[0].points.len() >= STEPS_MIN => {
                demands.push(demand(&file, &trace, trace.step));
            }
            Ok(trace) => eprintln!(
                "left out {}: {} series, the first of {} rows",
                file.display(),
                trace.series.len(),
                trace.series[0].points.len()
            ),
            Err(error) => eprintln!("left out {}: {error:#}", file.display()),
        }
    }
    Ok(demands)
}

fn read(file: &Path) -> Result<Trace> {
    let opened = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    trace::parse(GzDecoder::new(opened), &Options::default()).with_context(|| format!("{}", file.display()))
}

/// The trace's series as a rate per second, on a grid of `step`.
fn demand(file: &Path, trace: &Trace, step: Duration) -> Demand {
    let name = file.file_name().map(|name| name.to_string_lossy().replace(".csv.gz", "")).unwrap_or_default();
    Demand { name, file: file.to_path_buf(), step, points: trace.series[0].on_grid(step) }
}

/// The packed CSV files in a folder, one level deep, sorted.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = list(folder)
        .into_iter()
        .flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(".csv.gz"))
        .collect();
    files.sort();
    files
}

/// The file of this name in the folder of `setting`. Without it, says which rows cannot be measured.
pub(crate) fn find(setting: &Setting, file: &str, rows: &str) -> Option<PathBuf> {
    let Some(folder) = &setting.traces else {
        eprintln!("not measured: {rows}: needs {file}, and no folder of traces is named (--traces)");
        return None;
    };
    let found = files_below(folder)
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy() == file));
    if found.is_none() {
        eprintln!("not measured: {rows}: there is no {file} in {}", folder.display());
    }
    found
}

/// A packed table with named columns.
pub(crate) struct Packed {
    file: PathBuf,
    header: csv::StringRecord,
    rows: csv::Reader<MultiGzDecoder<File>>,
}

impl Packed {
    pub(crate) fn open(file: &Path) -> Result<Packed> {
        let opened = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
        let mut rows = csv::Reader::from_reader(MultiGzDecoder::new(opened));
        let header = rows.headers().with_context(|| format!("{}", file.display()))?.clone();
        Ok(Packed { file: file.to_path_buf(), header, rows })
    }

    /// Place of a column.
    pub(crate) fn column(&self, name: &str) -> Result<usize> {
        let place = self.header.iter().position(|known| known == name);
        place.with_context(|| format!("{}: no column `{name}`", self.file.display()))
    }

    /// All rows; each has as many cells as the header.
    pub(crate) fn rows(self) -> Result<Vec<csv::StringRecord>> {
        let file = self.file;
        self.rows.into_records().collect::<Result<_, _>>().with_context(|| format!("{}", file.display()))
    }
}

fn list(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default()
}
