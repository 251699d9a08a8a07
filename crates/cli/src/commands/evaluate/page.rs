//! The page of `foreshadow evaluate --plot`: which model is best, by how much, and whether its intervals hold.

use forecast::evaluate::Scores;
use plotly::common::{Fill, Line, Marker, Mode, Orientation};
use plotly::{Bar, Plot, Scatter};

use super::Evaluated;
use super::table::{Mean, means, together};
use crate::page::{Page, axis, colour, configuration, layout};

/// Builds the page.
pub(super) fn build(column: &str, evaluated: &[Evaluated], names: &[&str]) -> Page {
    let mut page = Page::new(&format!("Forecasts of {column}, evaluated"));
    let means = means(evaluated, names);
    if let Some(best) = means.iter().find(|mean| mean.ratio.is_finite()) {
        page.lead(&format!(
            "{} is the most accurate: its loss is {:.0} % of that of repeating the same time last week, and {:.0} % of what \
             came lay inside its 90 % interval.",
            best.model,
            best.ratio * 100.0,
            best.coverage * 100.0
        ));
    }
    page.text(
        "Every model forecast from the same moments, knowing only what came before them. The loss is the weighted pinball loss, \
         which is small when all quantiles are close to what came; 1 is what the same time last week (or the day before, on \
         short records) reaches with the errors of its past as interval.",
    );
    page.plot(
        &losses(&means),
        120 + 34 * means.len(),
        "Loss of each model, shorter is better. The line at 1 is the naive forecast.",
    );
    page.heading("All numbers");
    page.table(
        &[
            "model",
            "loss",
            "worst series",
            "MASE",
            "MAE",
            "RMSE",
            "inside 90 %",
            "below 0.95",
            "fit, ms",
            "forecast, ms",
        ],
        &means.iter().map(|mean| mean.cells(mean.model.to_owned())).collect::<Vec<_>>(),
    );
    if let Some(together) = together(evaluated, names) {
        page.text(&together);
    }
    page.heading("Do the intervals hold?");
    page.plot(
        &coverage(evaluated, names),
        400,
        "Share of values inside the 90 % interval by distance ahead. A model that keeps its word stays near 0.9.",
    );
    if let (Some(best), Some(one)) = (means.first(), evaluated.first())
        && let Some(scores) = one.scores.iter().find(|scores| scores.model == best.model)
    {
        page.heading("What it looked like");
        page.plot(
            &sample(one, scores),
            440,
            &format!("The last forecast of {} beside what came.", best.model),
        );
    }
    page
}

fn losses(means: &[Mean<'_>]) -> Plot {
    let shown: Vec<&Mean<'_>> = means.iter().rev().filter(|mean| mean.ratio.is_finite()).collect();
    let mut plot = Plot::new();
    plot.add_trace(
        Bar::new(
            shown.iter().map(|mean| mean.ratio).collect::<Vec<f64>>(),
            shown.iter().map(|mean| mean.model.to_owned()).collect::<Vec<String>>(),
        )
        .orientation(Orientation::Horizontal)
        .text_array(shown.iter().map(|mean| format!("{:.3}", mean.ratio)).collect())
        .marker(Marker::new().color(colour::FORESHADOW))
        .show_legend(false),
    );
    let names: Vec<String> = shown.iter().map(|mean| mean.model.to_owned()).collect();
    plot.add_trace(
        Scatter::new(vec![1.0; names.len()], names)
            .mode(Mode::Lines)
            .name("same time last week")
            .line(Line::new().color(colour::BOUND).dash(plotly::common::DashType::Dash)),
    );
    plot.set_layout(layout("", "loss, as a share of the naive forecast's", "").y_axis(axis("")));
    plot.set_configuration(configuration());
    plot
}

/// Coverage by distance ahead, averaged over the series.
fn coverage(evaluated: &[Evaluated], names: &[&str]) -> Plot {
    let mut plot = Plot::new();
    let step = evaluated.first().map_or(0.0, |one| one.laid.grid.step.as_secs_f64() / 3600.0);
    for &name in names {
        let of: Vec<&Scores> =
            evaluated.iter().flat_map(|one| &one.scores).filter(|scores| scores.model == name).collect();
        let aheads: Vec<usize> = of
            .first()
            .map(|scores| scores.coverage_by_ahead.iter().map(|(ahead, _)| *ahead).collect())
            .unwrap_or_default();
        let mean = |ahead: usize| {
            let shares: Vec<f64> = of
                .iter()
                .filter_map(|scores| scores.coverage_by_ahead.iter().find(|(known, _)| *known == ahead))
                .map(|(_, share)| *share)
                .collect();
            shares.iter().sum::<f64>() / shares.len() as f64
        };
        plot.add_trace(
            Scatter::new(
                aheads.iter().map(|&ahead| ahead as f64 * step).collect::<Vec<f64>>(),
                aheads.iter().map(|&ahead| mean(ahead)).collect::<Vec<f64>>(),
            )
            .mode(Mode::LinesMarkers)
            .name(name),
        );
    }
    plot.set_layout(
        layout("", "hours ahead", "share inside").y_axis(axis("share inside").range(vec![0.0, 1.02])),
    );
    plot.set_configuration(configuration());
    plot
}

/// The last forecast of a model on a series, and the record before and under it.
fn sample(one: &Evaluated, scores: &Scores) -> Plot {
    let mut plot = Plot::new();
    let shown = &scores.forecasts[scores.forecasts.len().saturating_sub(1)..];
    let place = |tau: f64| one.quantiles.iter().position(|&q| q == tau).unwrap_or(0);
    let (low, middle, high) = (place(0.05), place(0.5), place(0.95));
    let time = |step: usize| one.laid.grid.begins_at(step as u64).to_string();
    for (k, (origin, values)) in shown.iter().enumerate() {
        let times: Vec<String> = (0..values.len()).map(|h| time(origin + h)).collect();
        let column = |q: usize| values.iter().map(|row| row[q]).collect::<Vec<f64>>();
        plot.add_trace(
            Scatter::new(times.clone(), column(high))
                .mode(Mode::Lines)
                .show_legend(false)
                .line(Line::new().color(colour::BAND).width(0.5)),
        );
        plot.add_trace(
            Scatter::new(times.clone(), column(low))
                .mode(Mode::Lines)
                .fill(Fill::ToNextY)
                .fill_color(colour::BAND)
                .name("90 % interval")
                .show_legend(k == 0)
                .line(Line::new().color(colour::BAND).width(0.5)),
        );
        plot.add_trace(
            Scatter::new(times, column(middle))
                .mode(Mode::Lines)
                .name("median")
                .show_legend(k == 0)
                .line(Line::new().color(colour::FORECAST).dash(plotly::common::DashType::Dash)),
        );
    }
    let from = shown.first().map_or(0, |(origin, _)| origin.saturating_sub(PAST_HORIZONS * one.horizon));
    let until = shown.last().map_or(0, |(origin, _)| (origin + one.horizon).min(one.laid.values.len()));
    plot.add_trace(
        Scatter::new(
            (from..until).map(time).collect(),
            (from..until).map(|step| Some(one.laid.values[step]).filter(|value| value.is_finite())).collect(),
        )
        .mode(Mode::Lines)
        .name("recorded")
        .connect_gaps(false)
        .line(Line::new().color(colour::DEMAND).width(1.2)),
    );
    plot.set_layout(layout(&one.laid.name, "", ""));
    plot.set_configuration(configuration());
    plot
}

/// Past shown before a forecast, in multiples of its horizon.
const PAST_HORIZONS: usize = 3;
