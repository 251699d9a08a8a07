//! The hourly part of the M4 competition: the pooled autoregression beside the published scores of its methods.
//!
//! Only the train parts are given to the models, and the test parts are used for nothing but the scores.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::{History, Model, Pace, Pool, PoolSettings};
use forecast::{Timestamp, score};

use super::cpu_time;
use crate::Setting;
use crate::rows::{Better, Rows};
use crate::traces::{self, Packed};

const SERIES: &str = "m4_hourly.csv.gz";
const PUBLISHED: &str = "m4_hourly_published_scores.csv.gz";
const HOURS: usize = 48;
const SEASONS: [usize; 2] = [24, 168];

/// A series cut in two.
struct Series {
    train: Vec<f32>,
    test: Vec<f64>,
}

/// Sums over the series.
#[derive(Default)]
struct Sums {
    smape: f64,
    mase: f64,
    inside: f64,
}

pub(super) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let Some(file) = traces::find(setting, SERIES, "competition (M4 hourly)") else { return Ok(()) };
    let published = traces::find(setting, PUBLISHED, "the peers of the competition");
    let published = published.map(|file| read_published(&file)).transpose()?.unwrap_or_default();
    let series = read(&file)?;
    let begun = cpu_time();
    let sums = run(&series)?;
    let seconds = (cpu_time() - begun).as_secs_f64();
    let n = series.len() as f64;
    let place = |ours: f64, score: fn(&(String, f64, f64)) -> f64| {
        let best = published.iter().min_by(|a, b| score(a).total_cmp(&score(b)))?;
        let place = 1 + published.iter().filter(|row| score(row) < ours).count();
        Some(format!("{} {:.3}; place {place} beside {}", best.0, score(best), published.len()))
    };
    let (smape, mase) = (sums.smape / n, sums.mase / n);
    rows.at_most("competition: M4 hourly, sMAPE", smape, "%", 9.33, place(smape, |row| row.1));
    rows.at_most("competition: M4 hourly, MASE", mase, "ratio", 0.89, place(mase, |row| row.2));
    let inside = sums.inside / n;
    rows.note("competition: coverage of the 90 % interval", inside, "share", Better::Higher, None);
    let name = format!("competition: fit and forecasts of all {} series, CPU time", series.len());
    rows.note(&name, seconds, "s", Better::Lower, None);
    Ok(())
}

fn run(series: &[Series]) -> Result<Sums> {
    let grid = Grid { origin: Timestamp::from_secs(0), step: Duration::from_secs(3600), zone: None };
    let covariates = Covariates::beginning(0);
    let histories: Vec<History<'_>> = series
        .iter()
        .map(|series| History {
            grid: &grid,
            first: 0,
            values: &series.train,
            seasons: &SEASONS,
            covariates: &covariates,
            horizon: HOURS,
            non_negative: true,
        })
        .collect();
    let pool = Pool::fit(&histories, &PoolSettings::new(&SEASONS, HOURS), &mut Pace::free())?;
    let mut sums = Sums::default();
    for (history, series) in histories.iter().zip(series) {
        let said = pool.attach(history, &mut Pace::free())?.forecast(HOURS, &[0.05, 0.5, 0.95], &covariates);
        let pairs = || series.test.iter().zip(said.iter()).map(|(&actual, row)| (actual, row));
        let train: Vec<f64> = series.train.iter().map(|&value| f64::from(value)).collect();
        sums.smape += pairs()
            .map(|(actual, row)| 200.0 * (actual - row[1]).abs() / (actual.abs() + row[1].abs()))
            .sum::<f64>()
            / HOURS as f64;
        sums.mase += score::mase(pairs().map(|(actual, row)| (actual, row[1])), &train, SEASONS[0])
            .context("a series never changes from day to day")?;
        sums.inside += score::coverage(pairs().map(|(actual, row)| (actual, row[0], row[2]))).unwrap_or(0.0);
    }
    Ok(sums)
}

fn read(file: &Path) -> Result<Vec<Series>> {
    let table = Packed::open(file)?;
    let (name, value, split) = (table.column("series")?, table.column("value")?, table.column("split")?);
    let mut all: Vec<(String, Series)> = Vec::new();
    for row in table.rows()? {
        let number: f64 = row[value].parse().with_context(|| format!("not a number: {}", &row[value]))?;
        if all.last().is_none_or(|(last, _)| *last != row[name]) {
            all.push((row[name].to_owned(), Series { train: Vec::new(), test: Vec::new() }));
        }
        if let Some((_, series)) = all.last_mut() {
            match &row[split] {
                "train" => series.train.push(number as f32),
                _ => series.test.push(number),
            }
        }
    }
    Ok(all.into_iter().map(|(_, series)| series).collect())
}

/// Method, sMAPE, MASE.
fn read_published(file: &Path) -> Result<Vec<(String, f64, f64)>> {
    let table = Packed::open(file)?;
    let (method, smape, mase) =
        (table.column("method")?, table.column("smape_hourly")?, table.column("mase_hourly")?);
    let rows = table.rows()?;
    let scores = rows
        .iter()
        .filter_map(|row| Some((row[method].to_owned(), row[smape].parse().ok()?, row[mase].parse().ok()?)));
    Ok(scores.collect())
}
