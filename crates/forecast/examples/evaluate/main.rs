//! Measures the online core on recorded traces, beside naive forecasts.
//!
//! `cargo run --release -p forecast --example evaluate -- [--windows] FOLDER_OR_FILE.csv[.gz] ...`
//!
//! Every forecast is made with what was known at its moment. The first part of each series is for learning and is not
//! scored: eight days, or a third of shorter traces. Of a file with many series ten are taken, evenly spread. One line a
//! series, then the means over files (so that a file with many series counts once).
//!
//! Columns: `wpl` and `p99` are the weighted pinball loss a day ahead (quantiles 0.5, 0.9, 0.95, and 0.99) in units of the
//! naive forecast of last week with its empirical error quantiles; `best` is in units of the best of four simple models
//! chosen in hindsight; `mae` is the error 1 to 12 steps ahead in units of the best of last value, day and week; `c90` is the
//! coverage of the 90 % interval at each horizon, then at peak hours near and far; `u95` that of the upper quantile.

mod naive;
mod score;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::{Timestamp, trace};

use score::{HORIZONS, Score, evaluate};

fn main() -> ExitCode {
    let (flags, paths): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    if paths.is_empty() {
        eprintln!("usage: evaluate [--windows] FOLDER_OR_FILE.csv[.gz] ...");
        return ExitCode::from(2);
    }
    let windows = flags.iter().any(|flag| flag == "--windows");
    let mut files: Vec<PathBuf> = paths.iter().flat_map(|path| files_below(Path::new(path))).collect();
    files.sort();
    let horizons = HORIZONS.map(|h| format!("{h:>4}")).join(" ");
    println!(
        "{:<28} {:>6}   wpl   p99  best   mae | c90 {horizons}  near  far | u95 {horizons}  near  far |  us  us288  bytes",
        "series", "n"
    );
    let mut all: Vec<Score> = Vec::new();
    for file in files {
        match read(&file) {
            Ok(trace) => all.extend(measure(&file, &trace, windows)),
            Err(message) => eprintln!("left out: {message}"),
        }
    }
    summarise("ALL FILES", &all);
    ExitCode::SUCCESS
}

/// Scores of a file's series, and their mean, which is returned.
fn measure(file: &Path, trace: &trace::Trace, windows: bool) -> Option<Score> {
    let every = trace.series.len().div_ceil(SERIES_MAX);
    let mut scores = Vec::new();
    for series in trace.series.iter().step_by(every) {
        let file_name = file.file_name().map(|name| name.to_string_lossy().replace(".csv.gz", ""));
        let name = series.name.clone().or(file_name).unwrap_or_default();
        let values = dense(&series.on_grid(trace.step), trace.step);
        if values.iter().flatten().count() < POINTS_MIN {
            continue;
        }
        let Some(score) = evaluate(series.points[0].0, &values, trace.step, windows) else { continue };
        println!("{}", score.line(&name));
        scores.push(score);
    }
    if scores.len() > 1 {
        summarise(&format!("= {}", trace.column), &scores);
    }
    Score::mean(&scores)
}

fn summarise(name: &str, scores: &[Score]) {
    if let Some(mean) = Score::mean(scores) {
        println!("{}", mean.line(name));
        let (inside, cells) = scores.iter().fold((0, 0), |(inside, cells), score| {
            let (a, b) = score.cells();
            (inside + a, cells + b)
        });
        println!("{:<28} {inside} of {cells} coverages inside their band", "");
    }
}

fn files_below(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(path) else { return vec![path.to_path_buf()] };
    entries.flatten().flat_map(|entry| files_below(&entry.path())).collect()
}

fn read(path: &Path) -> Result<trace::Trace, String> {
    let shown = path.display();
    let file = File::open(path).map_err(|e| format!("failed to open {shown}: {e}"))?;
    let reader: Box<dyn Read> = if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let options = trace::Options::default();
    trace::parse(reader, &options).map_err(|e| format!("{shown}: {e}"))
}

fn dense(points: &[(Timestamp, Option<f64>)], step: Duration) -> Vec<Option<f64>> {
    let origin = points[0].0;
    let mut values = Vec::new();
    for &(at, value) in points {
        let slot = (at.since(origin).as_millis() / step.as_millis().max(1)) as usize;
        values.resize(slot, None);
        values.push(value);
    }
    values
}

/// Series of one file that are measured.
const SERIES_MAX: usize = 10;
/// Fewer values say nothing about a day ahead.
const POINTS_MIN: usize = 1000;
