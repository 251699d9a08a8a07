//! Measures the classical models, each alone, on recorded traces: day-ahead loss beside the weekly naive forecast, coverage
//! of the 90 % interval, and processor time of a fit with one forecast.
//!
//! `cargo run --release -p forecast --example classical -- FOLDER_OF_TRACES [MODEL,..] [GROUP]`
//!
//! Every model is fitted afresh at seven moments of each series to at most four weeks before it, and forecasts a day (M4:
//! 48 hours). The loss is the weighted pinball loss over the quantiles 0.5, 0.9 and 0.95; the naive forecast's quantiles
//! are those of its own errors in the history.

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{Additive, Arima, Dsp, FitError, History, Model, Naive, Pace, Smoothing};
use forecast::score::WeightedPinball;
use forecast::trace;

const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];
const SCORED: [usize; 3] = [1, 2, 3];
const ORIGINS: usize = 7;
const DAYS_LEARNED: usize = 28;

type Fit = fn(&History<'_>, &mut Pace<'_>) -> Result<Box<dyn Model>, FitError>;

const MODELS: [(&str, Fit); 8] = [
    ("last", |h, p| Ok(Box::new(Naive::last(h, p)?))),
    ("drift", |h, p| Ok(Box::new(Naive::drift(h, p)?))),
    ("naive-day", |h, p| Ok(Box::new(Naive::day(h, p)?))),
    ("naive-week", |h, p| Ok(Box::new(Naive::week(h, p)?))),
    ("dsp", |h, p| Ok(Box::new(Dsp::fit(h, p)?))),
    ("additive", |h, p| Ok(Box::new(Additive::fit(h, p)?))),
    ("arima", |h, p| Ok(Box::new(Arima::fit(h, p)?))),
    ("smoothing", |h, p| Ok(Box::new(Smoothing::fit(h, p)?))),
];

/// Name, file, column, step in seconds, every which series of the file.
const GROUPS: [(&str, &str, &str, u64, usize); 8] = [
    ("nasa", "web_nasa_http/nasa_http_1995_5min.csv.gz", "requests_count_per_5min", 300, 1),
    ("clarknet", "web_clarknet_http/clarknet_http_1995_1min.csv.gz", "requests_count_per_1min", 300, 1),
    ("osrs", "game_osrs/osrs_players_online_2021_5min.csv.gz", "players_online_count", 300, 1),
    ("nab", "nab_aws/nab_cpu_utilization_asg_misconfiguration.csv.gz", "cpu_util_pct", 300, 1),
    ("servegen", "llm_servegen/servegen_m-mid_total_10min.csv.gz", "request_rate_per_s", 600, 1),
    ("clients", "llm_servegen/servegen_m-mid_clients_10min.csv.gz", "request_rate_per_s", 600, 12),
    ("vm", "vm_azure_2017/azure_v1_random100_part1_5min.csv.gz", "cpu_avg_pct", 300, 5),
    ("m4", "m4_hourly/m4_hourly.csv.gz", "value", 3600, 12),
];

#[derive(Clone, Default)]
struct Row {
    ratios: Vec<f64>,
    inside: (f64, f64),
    cpu_ns: u64,
    fits: u64,
    failures: u64,
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some(folder) = args.first() else {
        eprintln!("usage: classical FOLDER_OF_TRACES [MODEL,..] [GROUP]");
        return ExitCode::from(2);
    };
    let wanted: Vec<&str> = args.get(1).map(|names| names.split(',').collect()).unwrap_or_default();
    let models: Vec<(&str, Fit)> =
        MODELS.into_iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)).collect();
    let mut whole = vec![Row::default(); models.len()];
    for group in GROUPS.iter().filter(|group| args.get(2).is_none_or(|only| only == group.0)) {
        match series(&Path::new(folder).join(group.1), group.2, group.3, group.4) {
            Ok(all) => {
                let rows = measure(&all, Duration::from_secs(group.3), &models);
                print(&format!("{} ({})", group.0, all.len()), &models, &rows);
                for (whole, row) in whole.iter_mut().zip(rows).filter(|(_, row)| !row.ratios.is_empty()) {
                    // Each group counts once, however many series it has.
                    let n = row.ratios.len().max(1) as f64;
                    whole.ratios.push((row.ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / n).exp());
                    whole.inside.0 += row.inside.0 / row.inside.1.max(1.0);
                    whole.inside.1 += 1.0;
                    whole.cpu_ns += row.cpu_ns;
                    whole.fits += row.fits;
                    whole.failures += row.failures;
                }
            }
            Err(message) => eprintln!("{}: {message}", group.0),
        }
    }
    print("all groups", &models, &whole);
    ExitCode::SUCCESS
}

fn print(title: &str, models: &[(&str, Fit)], rows: &[Row]) {
    println!("{title}");
    for ((name, _), row) in models.iter().zip(rows) {
        let n = row.ratios.len().max(1) as f64;
        println!(
            "  {name:<12} loss {:.3} (best {:.3}, worst {:.3})  cover {:.3}  cpu {:.2} ms  not fitted {} of {}",
            (row.ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / n).exp(),
            row.ratios.iter().copied().fold(f64::INFINITY, f64::min),
            row.ratios.iter().copied().fold(0.0, f64::max),
            row.inside.0 / row.inside.1.max(1.0),
            row.cpu_ns as f64 / 1e6 / row.fits.max(1) as f64,
            row.failures,
            row.fits,
        );
    }
}

/// The series of a file on an even grid; NaN where nothing is known.
fn series(path: &Path, column: &str, step_secs: u64, every: usize) -> Result<Vec<(Grid, Vec<f32>)>, String> {
    let file = File::open(path).map_err(|e| format!("failed to open {}: {e}", path.display()))?;
    let options =
        trace::Options { column: Some(column.into()), series: None, allow_negative: false, zone: None };
    let parsed = trace::parse(MultiGzDecoder::new(file), &options).map_err(|e| e.to_string())?;
    let step = Duration::from_secs(step_secs);
    let grids = parsed.series.iter().step_by(every).map(|series| {
        let points = series.on_grid(step);
        let grid = Grid { origin: points[0].0, step, zone: None };
        let mut values: Vec<f32> = Vec::new();
        for (at, value) in points {
            let slot = grid.step_of(at).unwrap_or(0) as usize;
            values.resize(slot, f32::NAN);
            values.push(value.map_or(f32::NAN, |value| value as f32));
        }
        (grid, values)
    });
    Ok(grids.collect())
}

fn measure(all: &[(Grid, Vec<f32>)], step: Duration, models: &[(&str, Fit)]) -> Vec<Row> {
    let mut rows = vec![Row::default(); models.len()];
    let day = (86_400 / step.as_secs()) as usize;
    let horizon = if day == 24 { 48 } else { day };
    let covariates = Covariates::default();
    for (grid, values) in all {
        let mut losses = vec![WeightedPinball::default(); models.len()];
        // The naive loss of the same moments: a model that cannot be fitted at one is not compared there.
        let mut naives = vec![WeightedPinball::default(); models.len()];
        let warm = if values.len() >= 22 * day { 15 * day } else { 8 * day };
        for k in 0..ORIGINS {
            let last = values.len().saturating_sub(horizon);
            let end = warm + last.saturating_sub(warm) * k / (ORIGINS - 1);
            let from = end.saturating_sub(DAYS_LEARNED * day);
            let known = &values[from..end];
            let seasons: Vec<usize> =
                [day, 7 * day].into_iter().filter(|&s| known.len() > s + s / 8).collect();
            let history = History {
                grid,
                first: from as u64,
                values: known,
                seasons: &seasons,
                covariates: &covariates,
                horizon,
                non_negative: true,
            };
            let future = &values[end..(end + horizon).min(values.len())];
            for (i, (_, fit)) in models.iter().enumerate() {
                if score(*fit, &history, future, &mut rows[i], &mut losses[i]) {
                    score_naive(known, future, 7 * day, &mut naives[i]);
                }
            }
        }
        for ((row, loss), naive) in rows.iter_mut().zip(losses).zip(naives) {
            let Some(naive) = naive.value().filter(|&value| value > 0.0) else { continue };
            row.ratios.extend(loss.value().map(|loss| loss.max(1e-6) / naive));
        }
    }
    rows
}

/// Fits and scores one model at one moment; whether it could be fitted.
fn score(fit: Fit, history: &History<'_>, future: &[f32], row: &mut Row, loss: &mut WeightedPinball) -> bool {
    let begin = cpu_time();
    row.fits += 1;
    let Ok(model) = fit(history, &mut Pace::free()) else {
        row.failures += 1;
        return false;
    };
    let said = model.forecast(history.horizon, &QUANTILES, history.covariates);
    row.cpu_ns += cpu_time() - begin;
    for (h, &actual) in future.iter().enumerate().filter(|(_, actual)| actual.is_finite()) {
        let actual = f64::from(actual);
        assert!(said[h].iter().all(|value| value.is_finite()), "{model:?}");
        row.inside.0 += f64::from(u8::from(said[h][0] <= actual && actual <= said[h][3]));
        row.inside.1 += 1.0;
        for q in SCORED {
            loss.add(QUANTILES[q], actual, said[h][q]);
        }
    }
    true
}

/// The value a week before, with the quantiles of all errors of that rule in the history.
fn score_naive(known: &[f32], future: &[f32], week: usize, loss: &mut WeightedPinball) {
    let mut errors: Vec<f64> = known
        .iter()
        .skip(week)
        .zip(known)
        .map(|(later, earlier)| f64::from(*later) - f64::from(*earlier))
        .filter(|error| error.is_finite())
        .collect();
    errors.sort_by(f64::total_cmp);
    let last = known.iter().rev().find(|value| value.is_finite()).copied().unwrap_or(0.0);
    for (h, &actual) in future.iter().enumerate().filter(|(_, actual)| actual.is_finite()) {
        let back = (known.len() + h).checked_sub(week).and_then(|place| known.get(place).copied());
        let base = f64::from(back.filter(|value| value.is_finite()).unwrap_or(last));
        for q in SCORED {
            let place = (QUANTILES[q] * errors.len() as f64) as usize;
            let offset = errors.get(place).copied().unwrap_or(0.0);
            loss.add(QUANTILES[q], f64::from(actual), (base + offset).max(0.0));
        }
    }
}

/// Nanoseconds this thread has computed, where the system tells (Linux); zero elsewhere.
fn cpu_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}
