//! Every model on every trace of a folder, a day ahead: loss as a share of the naive forecast's.
//!
//! `cargo run --release -p forecast --example models -- FOLDER [MODEL,..] [ORIGINS] [SERIES_MAX]`

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::covariates::Covariates;
use forecast::evaluate::{Plan, evaluate, origins};
use forecast::grid::Grid;
use forecast::models::{History, Kind};
use forecast::{Config, Forecaster, trace};
use jiff::tz::TimeZone;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let folder = args.first().map_or(".", String::as_str);
    let kinds: Vec<Kind> = match args.get(1).filter(|text| !text.is_empty()) {
        Some(names) => names.split(',').map(|name| name.parse().expect("a model")).collect(),
        None => Kind::ALL.to_vec(),
    };
    let count = args.get(2).map_or(7, |text| text.parse().expect("a number of origins"));
    let most = args.get(3).map_or(4, |text| text.parse().expect("a number of series"));
    println!("{:<34}{}", "", kinds.iter().map(|kind| format!("{:>11}", kind.name())).collect::<String>());
    let mut totals = vec![(0.0, 0.0, 0.0, 0.0); kinds.len()];
    let mut spent = vec![Duration::ZERO; kinds.len()];
    for file in files(Path::new(folder)) {
        let mut logs = vec![(0.0, 0.0); kinds.len()];
        for (name, grid, values) in load(&file, most) {
            print!("{:<34}", name.chars().take(33).collect::<String>());
            let horizon = grid.steps_in(Duration::from_secs(86_400)).unwrap_or(1);
            let plan = Plan {
                origins: origins(values.len(), values.len() / 2, horizon, count),
                horizon,
                quantiles: vec![0.05, 0.5, 0.9, 0.95],
            };
            let seasons = seasons(&grid, &values);
            let covariates = Covariates::default();
            let history = History {
                grid: &grid,
                first: 0,
                values: &values,
                seasons: &seasons,
                covariates: &covariates,
                horizon,
                non_negative: true,
            };
            for (k, &kind) in kinds.iter().enumerate() {
                let scores = evaluate(kind, &history, &plan, &mut cpu_time);
                spent[k] += scores.fit_time + scores.forecast_time;
                let ratio =
                    if scores.wpl.is_finite() { (scores.wpl / scores.naive_wpl).max(0.01) } else { f64::NAN };
                print!("{ratio:>11.3}");
                if ratio.is_finite() {
                    logs[k].0 += ratio.ln();
                    logs[k].1 += 1.0;
                    totals[k].2 += scores.coverage;
                    totals[k].3 += 1.0;
                }
            }
            println!();
        }
        for (total, log) in totals.iter_mut().zip(&logs).filter(|(_, log)| log.1 > 0.0) {
            total.0 += log.0 / log.1;
            total.1 += 1.0;
        }
    }
    println!(
        "{:<34}{}",
        "geometric mean over traces",
        totals.iter().map(|t| format!("{:>11.3}", (t.0 / t.1).exp())).collect::<String>()
    );
    println!(
        "{:<34}{}",
        "coverage of 90 %",
        totals.iter().map(|t| format!("{:>11.3}", t.2 / t.3)).collect::<String>()
    );
    println!(
        "{:<34}{}",
        "seconds of processor time",
        spent.iter().map(|time| format!("{:>11.1}", time.as_secs_f64())).collect::<String>()
    );
}

fn seasons(grid: &Grid, values: &[f32]) -> Vec<usize> {
    let mut config = Config::new(grid.step);
    config.time_zone = grid.zone.clone();
    let mut forecaster = Forecaster::new(config).expect("a step that works");
    for (i, &value) in values[..values.len() / 2].iter().enumerate() {
        forecaster.observe(grid.begins_at(i as u64), Some(f64::from(value))).expect("in order");
    }
    forecaster.seasons().iter().map(|season| season.period).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("a folder")
        .flatten()
        .map(|entry| entry.path())
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.to_string_lossy().ends_with(".csv.gz"))
        .collect();
    files.sort();
    files
}

fn load(file: &Path, most: usize) -> Vec<(String, Grid, Vec<f32>)> {
    let mut text = Vec::new();
    let opened = File::open(file).expect("a file");
    MultiGzDecoder::new(opened).read_to_end(&mut text).expect("gzip");
    let Ok(trace) = trace::parse(&text[..], &trace::Options::default()) else { return Vec::new() };
    let step = trace.step.max(Duration::from_secs(300));
    let every = trace.series.len().div_ceil(most).max(1);
    let name = file.file_name().unwrap_or_default().to_string_lossy().replace(".csv.gz", "");
    let mut all = Vec::new();
    for series in trace.series.iter().step_by(every) {
        let points = series.on_grid(step);
        let Some(&(origin, _)) = points.first() else { continue };
        let grid = Grid { origin, step, zone: Some(TimeZone::UTC) };
        let mut values = Vec::new();
        for (at, value) in points {
            values.resize((grid.step_of(at).unwrap_or(0) as usize).max(values.len()), f32::NAN);
            values.push(value.map_or(f32::NAN, |value| value as f32));
        }
        let day = grid.steps_in(Duration::from_secs(86_400)).unwrap_or(1);
        if day > 1 && values.len() >= 12 * day {
            let tail: String = name.chars().take(22).collect();
            all.push((format!("{tail} {}", series.name.clone().unwrap_or_default()), grid, values));
        }
    }
    all
}

/// What this thread has computed so far, where the system tells (Linux); zero elsewhere.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}
