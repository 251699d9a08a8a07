//! The page of `foreshadow forecast --format html` and `--plot`: the recent past, and the bands ahead of it.

use forecast::trace::Trace;
use forecast::{Forecast, Timestamp, TrustAhead};
use plotly::common::{Fill, Line, Mode};
use plotly::{Plot, Scatter};

use crate::page::{Page, colour, configuration, layout};

/// Past shown before the first forecast, in multiples of the horizon.
const PAST_HORIZONS: u32 = 6;
/// More series than this on one page would help nobody.
const PLOTS_MAX: usize = 24;

/// A forecast to be shown.
#[derive(Clone, Copy)]
pub(super) struct Shown<'a> {
    pub(super) series: Option<&'a str>,
    pub(super) forecast: &'a Forecast,
    pub(super) trust: TrustAhead,
}

/// Builds the page: one plot per series, with every forecast of it.
pub(super) fn build(trace: &Trace, forecasts: &[Shown<'_>]) -> Page {
    let mut page = Page::new(&format!("Forecast of {}", trace.column));
    page.text(
        "The line is what was recorded. Each band spans the outermost quantiles asked for, the dashed line is the middle one. \
         Whatever the record shows after a forecast began was not known to it.",
    );
    for series in trace.series.iter().take(PLOTS_MAX) {
        let name = series.name.as_deref();
        let shown: Vec<Shown<'_>> = forecasts.iter().filter(|shown| shown.series == name).copied().collect();
        let mine: Vec<&Forecast> = shown.iter().map(|shown| shown.forecast).collect();
        let Some(first) = mine.first() else { continue };
        let span = first.step.saturating_mul(u32::try_from(first.steps()).unwrap_or(u32::MAX));
        let from = first.issued_at - span.saturating_mul(PAST_HORIZONS);
        let until = mine.last().map_or(first.issued_at, |last| last.begins_at(last.steps()));
        let mut plot = Plot::new();
        for forecast in &mine {
            band(&mut plot, forecast, mine.len() == 1);
        }
        let past: Vec<(Timestamp, Option<f64>)> =
            series.points.iter().copied().filter(|(at, _)| (from..until).contains(at)).collect();
        plot.add_trace(
            Scatter::new(
                past.iter().map(|(at, _)| at.to_string()).collect(),
                past.iter().map(|(_, value)| *value).collect(),
            )
            .name("recorded")
            .mode(Mode::Lines)
            .connect_gaps(false)
            .line(Line::new().color(colour::DEMAND).width(1.4)),
        );
        plot.set_layout(layout(name.unwrap_or(&trace.column), "", &trace.column));
        plot.set_configuration(configuration());
        page.plot(&plot, 440, &caption(&shown));
    }
    if trace.series.len() > PLOTS_MAX {
        page.text(&format!(
            "{} more series are not shown; --format csv has them all.",
            trace.series.len() - PLOTS_MAX
        ));
    }
    page
}

fn band(plot: &mut Plot, forecast: &Forecast, legend: bool) {
    let times: Vec<String> = (0..forecast.steps()).map(|step| forecast.begins_at(step).to_string()).collect();
    let column = |index: usize| -> Vec<f64> { forecast.values.iter().map(|row| row[index]).collect() };
    let last = forecast.quantiles.len() - 1;
    if last > 0 {
        plot.add_trace(
            Scatter::new(times.clone(), column(last))
                .name(format!("quantile {}", forecast.quantiles[last]))
                .mode(Mode::Lines)
                .show_legend(false)
                .line(Line::new().color(colour::BAND).width(0.5)),
        );
        plot.add_trace(
            Scatter::new(times.clone(), column(0))
                .name(format!("quantiles {} to {}", forecast.quantiles[0], forecast.quantiles[last]))
                .mode(Mode::Lines)
                .fill(Fill::ToNextY)
                .fill_color(colour::BAND)
                .show_legend(legend)
                .line(Line::new().color(colour::BAND).width(0.5)),
        );
    }
    let middle = nearest_to_median(&forecast.quantiles);
    plot.add_trace(
        Scatter::new(times, column(middle))
            .name(format!("quantile {}", forecast.quantiles[middle]))
            .mode(Mode::Lines)
            .show_legend(legend)
            .line(Line::new().color(colour::FORECAST).width(2.0).dash(plotly::common::DashType::Dash)),
    );
}

fn nearest_to_median(quantiles: &[f64]) -> usize {
    (0..quantiles.len())
        .min_by(|&a, &b| (quantiles[a] - 0.5).abs().total_cmp(&(quantiles[b] - 0.5).abs()))
        .unwrap_or(0)
}

fn caption(shown: &[Shown<'_>]) -> String {
    match shown {
        [Shown { forecast, trust, .. }] => {
            let mut caption = format!(
                "Forecast from {}, {} steps; {}.",
                forecast.issued_at,
                forecast.steps(),
                trust.near()
            );
            for (first, trust) in trust.within(forecast.steps()).skip(1) {
                caption += &format!(" From {} on {trust}.", forecast.begins_at(first - 1));
            }
            caption
        }
        many => {
            let untrusted = many.iter().filter(|shown| !shown.trust.near().is_trusted()).count();
            format!("{} forecasts, each from the rows before it; {untrusted} not trusted.", many.len())
        }
    }
}
