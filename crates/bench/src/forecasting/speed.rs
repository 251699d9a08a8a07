//! What the online core costs: a four-week pass with a day-ahead forecast beside peers that refit, one update, one forecast,
//! the bytes of a series, and a fleet of a hundred thousand.

use std::hint::black_box;

use anyhow::Result;
use augurs::ets::AutoETS;
use augurs::mstl::MSTLModel;
use augurs::prelude::*;
use forecast::Forecaster;

use super::peers::Peers;
use super::{QUANTILES, cpu_time};
use crate::Setting;
use crate::corpus::Recorded;
use crate::rows::{Better, Rows, median};

const FOUR_WEEKS: usize = 28 * 288;
const DAY: usize = 288;
const BATCH: u32 = 10;
const ASKED: u32 = 5_000;

pub(super) fn measure(setting: &Setting, peers: &Peers, rows: &mut Rows) -> Result<()> {
    let shipped = Setting { foreshadow: setting.foreshadow.clone(), quick: true, traces: None, only: None };
    let mut series = crate::corpus::load(&shipped)?.swap_remove(0);
    series.values.truncate(FOUR_WEEKS);
    let repeats = if setting.quick { 3 } else { 9 };
    // The machine's speed changes while it works: what is compared was measured one right after the other.
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats {
        let (own, peer) = (pass(&series)?, augurs_mstl(&series)?);
        ours.push(own);
        theirs.push(peer);
        ratios.push(peer / own);
    }
    let ours = median(&ours);
    let shown = |seconds: f64| Some(format!("{:.3} s against {:.4} s", seconds, ours));
    let name = |peer: &str| format!("speed: four weeks of 5 min and a day ahead, times faster than {peer}");
    rows.at_least(&name("augurs MSTL and ETS"), median(&ratios), "x", 8.0, shown(median(&theirs)));
    for (script, peer, bar) in [
        ("lightgbm_quantile", "LightGBM quantile", 25.0),
        ("prophet_quantile", "Prophet", 40.0),
        ("statsforecast_mstl", "statsforecast MSTL", 500.0),
    ] {
        match peers.run(script, &series, &[FOUR_WEEKS], DAY, &QUANTILES) {
            Ok(said) => {
                rows.at_least(&name(peer), said.cpu_seconds / ours, "x", bar, shown(said.cpu_seconds));
            }
            Err(error) => eprintln!("could not run {peer}: {error:#}"),
        }
    }
    single(&series, repeats, rows)?;
    fleet(&series, setting.quick, rows)
}

/// Processor seconds of the whole pass: the mean of several, for the system counts in ticks of some milliseconds.
fn pass(series: &Recorded) -> Result<f64> {
    let begin = cpu_time();
    for _ in 0..BATCH {
        let forecaster = fed(series, series.values.len())?;
        black_box(forecaster.forecast(DAY, &QUANTILES));
    }
    Ok((cpu_time() - begin).as_secs_f64() / f64::from(BATCH))
}

fn fed(series: &Recorded, steps: usize) -> Result<Forecaster> {
    let mut forecaster = series.forecaster()?;
    for (i, &value) in series.values[..steps].iter().enumerate() {
        forecaster.observe(series.grid.begins_at(i as u64), Some(f64::from(value)))?;
    }
    Ok(forecaster)
}

fn augurs_mstl(series: &Recorded) -> Result<f64> {
    let values: Vec<f64> =
        series.values.iter().map(|value| if value.is_finite() { f64::from(*value) } else { 0.0 }).collect();
    let begin = cpu_time();
    let model = MSTLModel::new(vec![DAY, 7 * DAY], AutoETS::non_seasonal().into_trend_model());
    let fitted = model.fit(&values)?;
    // Two levels give the four quantiles.
    black_box(fitted.predict(DAY, 0.9)?);
    black_box(fitted.predict(DAY, 0.8)?);
    Ok((cpu_time() - begin).as_secs_f64())
}

/// One update, one forecast, and what a series holds.
fn single(series: &Recorded, repeats: usize, rows: &mut Rows) -> Result<()> {
    let (mut updates, mut asks, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..repeats {
        let forecaster = fed(series, series.values.len())?;
        let begin = cpu_time();
        for _ in 0..BATCH {
            black_box(fed(series, series.values.len())?);
        }
        let count = f64::from(BATCH) * series.values.len() as f64;
        updates.push((cpu_time() - begin).as_secs_f64() * 1e6 / count);
        let begin = cpu_time();
        for _ in 0..ASKED {
            black_box(forecaster.forecast(DAY, &QUANTILES));
        }
        asks.push((cpu_time() - begin).as_secs_f64() * 1e6 / f64::from(ASKED));
        bytes = forecaster.bytes();
    }
    rows.at_most("speed: one update, searches for seasons included", median(&updates), "us", 2.0, None);
    rows.at_most("speed: one forecast of 288 steps at 4 quantiles", median(&asks), "us", 12.0, None);
    rows.at_most("speed: memory of a series", bytes as f64 / 1024.0, "KiB", 32.0, None);
    Ok(())
}

/// A hundred thousand series, each updated and forecast once in a minute; with `quick` a tenth of them, scaled up.
fn fleet(series: &Recorded, quick: bool, rows: &mut Rows) -> Result<()> {
    let size = if quick { 10_000 } else { 100_000 };
    let warm: Vec<Forecaster> =
        (0..16).map(|k| fed(series, series.values.len() - 64 - 7 * k)).collect::<Result<_>>()?;
    let mut fleet: Vec<Forecaster> = (0..size).map(|i| warm[i % warm.len()].clone()).collect();
    let mut rounds = Vec::new();
    for round in 0..3 {
        let begin = cpu_time();
        for (i, forecaster) in fleet.iter_mut().enumerate() {
            let step = series.values.len() - 64 - 7 * (i % warm.len()) + round;
            forecaster.observe(series.grid.begins_at(step as u64), Some(f64::from(series.values[step])))?;
            black_box(forecaster.forecast(DAY, &QUANTILES));
        }
        rounds.push((cpu_time() - begin).as_secs_f64() * 100_000.0 / size as f64);
    }
    let share = median(&rounds) / 60.0;
    rows.at_most(
        "speed: 100,000 series updated and forecast each minute, cores busy",
        share,
        "cores",
        1.0,
        None,
    );
    rows.note(
        "speed: 100,000 series, memory",
        fleet.iter().map(Forecaster::bytes).sum::<usize>() as f64 / size as f64 * 100_000.0 / 1e9,
        "GB",
        Better::Lower,
        None,
    );
    Ok(())
}
