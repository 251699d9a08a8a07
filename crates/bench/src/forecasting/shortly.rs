//! One step to an hour ahead, at every observation: what an autoscaler uses most. Beside the best of three naive forecasts,
//! chosen for each series and distance with hindsight.

use anyhow::Result;

use crate::corpus::Recorded;
use crate::rows::{Better, Rows, geometric_mean};

/// Steps ahead that are scored.
const AHEADS: usize = 12;

pub(super) fn measure(corpus: &[Recorded], rows: &mut Rows) -> Result<()> {
    let mut by_trace: Vec<(String, Vec<f64>)> = Vec::new();
    for series in corpus {
        let Some(ratio) = ratio(series)? else { continue };
        match by_trace.iter_mut().find(|(trace, _)| *trace == series.trace) {
            Some((_, ratios)) => ratios.push(ratio),
            None => by_trace.push((series.trace.clone(), vec![ratio])),
        }
    }
    let means: Vec<f64> = by_trace.iter().map(|(_, ratios)| geometric_mean(ratios)).collect();
    for ((trace, _), mean) in by_trace.iter().zip(&means) {
        rows.note(&format!("short: {trace}, error of the best naive's"), *mean, "ratio", Better::Lower, None);
    }
    rows.at_most(
        "short: 1 to 12 steps ahead at every observation, error of the best of last, day and week",
        geometric_mean(&means),
        "ratio",
        0.82,
        None,
    );
    Ok(())
}

/// Mean absolute error of the median over that of the best naive forecast, averaged over the distances; `None` when nothing
/// could be scored.
fn ratio(series: &Recorded) -> Result<Option<f64>> {
    let (values, day) = (&series.values, series.day());
    let warm = (8 * day).min(values.len() / 2);
    // Every observation, thinned evenly where there are very many.
    let stride = (values.len() / 20_000).max(1);
    let mut forecaster = series.forecaster()?;
    let mut errors = vec![[0.0_f64; 4]; AHEADS];
    for (t, &value) in values.iter().enumerate() {
        forecaster.observe(series.grid.begins_at(t as u64), Some(f64::from(value)))?;
        if t < warm || t % stride != 0 || !value.is_finite() {
            continue;
        }
        let said = forecaster.forecast(AHEADS, &[0.5]);
        for (h, errors) in errors.iter_mut().enumerate() {
            let at = t + 1 + h;
            let past = |lag: usize| at.checked_sub(lag).map_or(f32::NAN, |u| values[u]);
            let Some(&actual) = values.get(at) else { continue };
            let naive = [value, past(day), past(7 * day)];
            if !actual.is_finite() || naive.iter().any(|value| !value.is_finite()) {
                continue;
            }
            errors[0] += (f64::from(actual) - said.values[h][0]).abs();
            for (error, naive) in errors[1..].iter_mut().zip(naive) {
                *error += f64::from((actual - naive).abs());
            }
        }
    }
    let ratios: Vec<f64> = errors
        .iter()
        .map(|errors| errors[0] / errors[1..].iter().copied().fold(f64::INFINITY, f64::min))
        .filter(|ratio| ratio.is_finite() && *ratio > 0.0)
        .collect();
    Ok((!ratios.is_empty()).then(|| geometric_mean(&ratios)))
}
