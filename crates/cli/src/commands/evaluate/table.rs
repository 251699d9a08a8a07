//! What `evaluate` prints for reading: a table with the mean of each model over all series.

use std::io::Write;
use std::time::Duration;

use forecast::evaluate::Scores;

use super::super::laid::others_of;
use super::{Evaluated, TOGETHER};
use crate::failure::Failure;
use crate::output;

/// Means over all series: ratios as geometric means, shares as plain ones.
pub(super) struct Mean<'a> {
    pub(super) model: &'a str,
    pub(super) ratio: f64,
    pub(super) worst: f64,
    pub(super) mase: f64,
    pub(super) mae: f64,
    pub(super) rmse: f64,
    pub(super) coverage: f64,
    pub(super) upper: f64,
    pub(super) fit: f64,
    pub(super) forecast: f64,
    pub(super) refused: usize,
}

impl Mean<'_> {
    /// A row of a table; times in milliseconds.
    pub(super) fn cells(&self, name: String) -> [String; 10] {
        [
            name,
            shown(self.ratio),
            shown(self.worst),
            shown(self.mase),
            shown(self.mae),
            shown(self.rmse),
            shown(self.coverage),
            shown(self.upper),
            format!("{:.1}", self.fit * 1e3),
            format!("{:.2}", self.forecast * 1e3),
        ]
    }
}

pub(super) fn means<'a>(evaluated: &[Evaluated], names: &[&'a str]) -> Vec<Mean<'a>> {
    let mean = |&model: &&'a str| {
        let of: Vec<&Scores> =
            evaluated.iter().flat_map(|one| &one.scores).filter(|s| s.model == model).collect();
        let scored: Vec<&&Scores> = of.iter().filter(|s| s.wpl.is_finite() && s.naive_wpl > 0.0).collect();
        let average = |number: &dyn Fn(&Scores) -> f64| mean_of(scored.iter().map(|s| number(s)));
        let of_all = |number: &dyn Fn(&Scores) -> f64| mean_of(of.iter().map(|s| number(s)));
        // Series without errors say nothing of intervals, unless there are no others.
        let share = |number: &dyn Fn(&Scores) -> f64| {
            Some(average(number)).filter(|mean| mean.is_finite()).unwrap_or_else(|| of_all(number))
        };
        let ratio = |s: &Scores| (s.wpl / s.naive_wpl).max(1e-3);
        let seconds = |time: &dyn Fn(&Scores) -> Duration| {
            of.iter().map(|s| time(s).as_secs_f64() / s.forecasts.len().max(1) as f64).sum::<f64>()
                / of.len() as f64
        };
        Mean {
            model,
            ratio: average(&|s| ratio(s).ln()).exp(),
            worst: scored.iter().map(|s| ratio(s)).fold(f64::NAN, f64::max),
            mase: average(&|s| s.mase),
            mae: of_all(&|s| s.mae),
            rmse: of_all(&|s| s.rmse),
            coverage: share(&|s| s.coverage),
            upper: share(&|s| s.upper_coverage),
            fit: seconds(&|s| s.fit_time),
            forecast: seconds(&|s| s.forecast_time),
            refused: of.iter().filter(|s| s.refused.is_some()).count(),
        }
    };
    let mut means: Vec<Mean<'_>> = names.iter().map(mean).collect();
    means.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    means
}

/// The mean of those that are known; NaN when none is.
fn mean_of(numbers: impl Iterator<Item = f64>) -> f64 {
    let known: Vec<f64> = numbers.filter(|number| number.is_finite()).collect();
    known.iter().sum::<f64>() / known.len() as f64
}

/// A score as people read it.
fn shown(score: f64) -> String {
    match score {
        _ if !score.is_finite() => "-".to_owned(),
        _ if score.abs() >= LONG => format!("{score:.2e}"),
        _ if score.abs() >= 100.0 => format!("{score:.1}"),
        _ => format!("{score:.3}"),
    }
}

/// What rows such as `boosted+others` are, where there are any.
pub(super) fn together(evaluated: &[Evaluated], names: &[&str]) -> Option<String> {
    names.iter().any(|name| name.ends_with(TOGETHER)).then(|| {
        format!(
            "{TOGETHER}: learned from each series and {} of the others together, as far as they were known at the same moment.",
            others_of(evaluated.len())
        )
    })
}

pub(super) fn print(evaluated: &[Evaluated], names: &[&str]) -> Result<(), Failure> {
    let mut out = output::stdout();
    let one = &evaluated[0];
    writeln!(
        out,
        "{} series, {} ahead, {} origins each. loss: pinball loss of that of the same time last week (or day), smaller is better. fit, ask: milliseconds.\n",
        evaluated.len(),
        output::span(one.laid.grid.step * u32::try_from(one.horizon).unwrap_or(u32::MAX)),
        one.scores.first().map_or(0, |scores| scores.forecasts.len()),
    )?;
    let header = ["model", "loss", "worst", "MASE", "MAE", "RMSE", "in 90%", "<0.95", "fit", "ask"];
    let mut table = output::table(&header);
    for mean in means(evaluated, names) {
        let name = match mean.refused {
            0 => mean.model.to_owned(),
            1 if evaluated.len() == 1 => format!("{} (refused)", mean.model),
            refused => format!("{} (refused on {refused} series)", mean.model),
        };
        output::row(&mut table, &mean.cells(name));
    }
    output::keep_whole(&mut table);
    writeln!(out, "{table}")?;
    if evaluated.iter().flat_map(|one| &one.scores).all(|scores| scores.naive_wpl == 0.0) {
        writeln!(out, "Loss and MASE are shares of the naive forecast's errors, and here it made none.")?;
    }
    if let Some(together) = together(evaluated, names) {
        writeln!(out, "{together}")?;
    }
    for one in evaluated {
        for scores in &one.scores {
            if let Some((times, why)) = &scores.refused {
                writeln!(out, "{} {}: no forecast at {times} origins, {why}", one.laid.name, scores.model)?;
            }
        }
    }
    Ok(out.flush()?)
}

/// Scores from here on are written with an exponent.
const LONG: f64 = 1e6;
