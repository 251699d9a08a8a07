//! Forecasters from elsewhere, run beside ours: Python packages in a virtual environment of their own, which is made on
//! first use under `$HOME/.cache` and kept. Where it cannot be made, the rows that need it say so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow, bail};
use forecast::Values;

use crate::corpus::Recorded;

const PACKAGES: &[&str] =
    &["lightgbm==4.7.0", "pandas==2.3.3", "prophet==1.5.0", "scikit-learn==1.9.1", "statsforecast==2.1.1"];
const SCRIPTS: &str = "crates/bench/peers";

/// The interpreter that has the peers, or why there is none.
pub(super) struct Peers(Result<PathBuf>);

/// What a peer said, and what it cost.
pub(super) struct Said {
    pub(super) forecasts: Vec<(usize, Values)>,
    pub(super) cpu_seconds: f64,
}

impl Peers {
    /// Makes the environment unless it is there.
    pub(super) fn prepare() -> Peers {
        Peers(prepared())
    }

    /// No peers, because nothing that is measured needs one.
    pub(super) fn left_out() -> Peers {
        Peers(Err(anyhow!("peers are left out of this run")))
    }

    /// Why no peer can be run, if that is so.
    pub(super) fn missing(&self) -> Option<String> {
        self.0.as_ref().err().map(|error| format!("{error:#}"))
    }

    /// Lets a peer forecast a series from some origins.
    pub(super) fn run(
        &self,
        script: &str,
        series: &Recorded,
        origins: &[usize],
        horizon: usize,
        quantiles: &[f64],
    ) -> Result<Said> {
        let python = self.0.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let folder = tempfile::tempdir()?;
        let (input, output) = (folder.path().join("series.csv"), folder.path().join("out.csv"));
        fs::write(&input, csv_of(series))?;
        let join = |numbers: Vec<String>| numbers.join(",");
        let result = Command::new(python)
            .arg(Path::new(SCRIPTS).join(format!("{script}.py")))
            .arg(&input)
            .arg(join(origins.iter().map(usize::to_string).collect()))
            .arg(horizon.to_string())
            .arg(join(quantiles.iter().map(f64::to_string).collect()))
            .arg(&output)
            // One thread, as ours.
            .envs(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"].map(|name| (name, "1")))
            .output()
            .with_context(|| format!("failed to start {}", python.display()))?;
        let text = String::from_utf8_lossy(&result.stdout);
        if !result.status.success() {
            let why = String::from_utf8_lossy(&result.stderr);
            bail!("{script} failed: {}", why.lines().last().unwrap_or_default());
        }
        let cpu_seconds = text
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("cpu_seconds ")?.trim().parse().ok())
            .with_context(|| format!("{script} did not tell its processor time"))?;
        Ok(Said { forecasts: read(&output, origins, horizon, quantiles.len())?, cpu_seconds })
    }
}

fn prepared() -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let folder = Path::new(&home).join(".cache/foreshadow/peers");
    let python = folder.join("bin/python");
    let mark = folder.join("complete");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|known| known == wanted) {
        return Ok(python);
    }
    eprintln!("making a virtual environment for the Python peers (about a minute)");
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PACKAGES))?;
    fs::write(mark, wanted)?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

fn csv_of(series: &Recorded) -> String {
    let mut text = String::from("timestamp,value\n");
    for (i, value) in series.values.iter().enumerate() {
        let at = series.grid.begins_at(i as u64);
        let value = if value.is_finite() { value.to_string() } else { String::new() };
        text.push_str(&format!("{at},{value}\n"));
    }
    text
}

/// Rows `origin,h,<quantile>...` back into a table for each origin.
fn read(file: &Path, origins: &[usize], horizon: usize, width: usize) -> Result<Vec<(usize, Values)>> {
    let mut forecasts: Vec<(usize, Values)> =
        origins.iter().map(|&origin| (origin, Values::zeros(horizon, width))).collect();
    for line in fs::read_to_string(file)?.lines().skip(1) {
        let cells: Vec<f64> = line.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let [origin, ahead, row @ ..] = cells.as_slice() else { bail!("a short row: {line}") };
        let place = forecasts.iter_mut().find(|(known, _)| *known as f64 == *origin);
        let (_, values) = place.with_context(|| format!("an origin that was not asked for: {line}"))?;
        values.row_mut(*ahead as usize - 1).copy_from_slice(row);
    }
    Ok(forecasts)
}
