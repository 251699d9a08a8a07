//! The series that forecasts are measured on: the shipped traces, and every trace in the folder the user names. Files with
//! many series give a few of them, spread evenly; traces that are too short for a day ahead are named and left out.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::History;
use forecast::trace::{self, Options};
use forecast::{Config, Forecaster};
use jiff::tz::TimeZone;

use crate::Setting;
use crate::traces::files_below;

/// Traces shipped with the repository: file, step to measure at in seconds.
const SHIPPED: &[(&str, u64)] =
    &[("data/nasa_http_1995_10s.csv.gz", 300), ("data/clarknet_http_1995_1min.csv.gz", 60)];
/// The same recordings in other files are not counted twice, and the competition has rows of its own.
const COUNTED_ELSEWHERE: &[&str] = &["nasa_http_1995", "clarknet_http_1995", "m4_hourly"];
/// Series of one file that are measured.
const SERIES_MAX: usize = 6;
const SERIES_MAX_QUICK: usize = 2;
/// Shorter traces say nothing about a day ahead.
const DAYS_MIN: usize = 12;

/// One series on its grid.
pub(crate) struct Recorded {
    /// File it comes from, without its ending.
    pub(crate) trace: String,
    pub(crate) name: String,
    pub(crate) grid: Grid,
    pub(crate) values: Vec<f32>,
    pub(crate) seasons: Vec<usize>,
    covariates: Covariates,
}

impl Recorded {
    /// Steps in a day.
    pub(crate) fn day(&self) -> usize {
        self.grid.steps_in(Duration::from_secs(86_400)).unwrap_or(1)
    }

    /// The whole series as models see it.
    pub(crate) fn history(&self, horizon: usize) -> History<'_> {
        History {
            grid: &self.grid,
            first: 0,
            values: &self.values,
            seasons: &self.seasons,
            covariates: &self.covariates,
            horizon,
            non_negative: true,
        }
    }

    /// A forecaster of this series that has seen nothing.
    pub(crate) fn forecaster(&self) -> Result<Forecaster> {
        let mut config = Config::new(self.grid.step);
        config.time_zone = self.grid.zone.clone();
        config.horizon_max = self.grid.step * self.day().max(12) as u32;
        Ok(Forecaster::new(config)?)
    }
}

/// Reads everything.
pub(crate) fn load(setting: &Setting) -> Result<Vec<Recorded>> {
    let mut corpus = Vec::new();
    for (file, step) in SHIPPED {
        read(Path::new(file), Some(Duration::from_secs(*step)), 1, &mut corpus)?;
    }
    let most = if setting.quick { SERIES_MAX_QUICK } else { SERIES_MAX };
    let files: Vec<PathBuf> = setting.traces.iter().flat_map(|folder| files_below(folder)).collect();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        if COUNTED_ELSEWHERE.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        let before = corpus.len();
        match read(&file, None, most, &mut corpus) {
            Ok(()) if corpus.len() == before => {
                eprintln!("left out {}: shorter than {DAYS_MIN} days", file.display())
            }
            Ok(()) => {}
            Err(error) => eprintln!("left out {}: {error:#}", file.display()),
        }
    }
    Ok(corpus)
}

fn read(file: &Path, step: Option<Duration>, most: usize, corpus: &mut Vec<Recorded>) -> Result<()> {
    let opened = File::open(file).with_context(|| format!("failed to open {}", file.display()))?;
    let trace = trace::parse(GzDecoder::new(opened), &Options::default())?;
    let step = step.unwrap_or(trace.step);
    let name = file.file_name().map(|name| name.to_string_lossy().replace(".csv.gz", "")).unwrap_or_default();
    let every = trace.series.len().div_ceil(most).max(1);
    for series in trace.series.iter().step_by(every) {
        let points = series.on_grid(step);
        let Some(&(origin, _)) = points.first() else { continue };
        let grid = Grid { origin, step, zone: Some(TimeZone::UTC) };
        let mut values = Vec::new();
        for (at, value) in points {
            let slot = grid.step_of(at).unwrap_or(0) as usize;
            values.resize(slot.max(values.len()), f32::NAN);
            values.push(value.map_or(f32::NAN, |value| value as f32));
        }
        let mut recorded = Recorded {
            trace: name.clone(),
            name: series.name.clone().unwrap_or_default(),
            grid,
            values,
            seasons: Vec::new(),
            covariates: Covariates::default(),
        };
        if recorded.values.len() >= DAYS_MIN * recorded.day() && recorded.day() > 1 {
            recorded.seasons = seasons(&recorded)?;
            corpus.push(recorded);
        }
    }
    Ok(())
}

/// Seasons as they are known at half of the series.
fn seasons(recorded: &Recorded) -> Result<Vec<usize>> {
    let mut forecaster = recorded.forecaster()?;
    for (i, &value) in recorded.values[..recorded.values.len() / 2].iter().enumerate() {
        forecaster.observe(recorded.grid.begins_at(i as u64), Some(f64::from(value)))?;
    }
    Ok(forecaster.seasons().iter().map(|season| season.period).collect())
}
