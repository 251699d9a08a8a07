//! The demo's report: a page that a manager and an engineer both understand, in one file.

use std::time::Duration;

use forecast::Timestamp;
use plotly::common::{DashType, Fill, Line, LineShape, Marker, Mode};
use plotly::layout::{AxisType, BarMode};
use plotly::{Bar, Layout, Plot, Scatter};

use super::meter::Look;
use super::plan::{HPA_METRIC_WINDOW, Script, UTILISATION_BOUND, UTILISATION_TARGET};
use super::run::Played;
use super::verdict::Verdict;
use crate::loadgen::schedule::Schedule;
use crate::output;
use crate::page::{Page, axis, colour, configuration, layout};

/// Demand is drawn at this resolution, finer than the samples a policy sees.
const DEMAND_WINDOW: Duration = Duration::from_millis(500);
/// What clients saw is drawn per second.
const WINDOW: Duration = Duration::from_secs(1);

/// Builds the page.
pub(crate) fn build(
    script: &Script,
    verdict: &Verdict,
    rival: &Played,
    ours: &Played,
    load: &Schedule,
) -> Page {
    let mut page = Page::new("foreshadow beside HPA on a real morning");
    page.lead(&verdict.sentence());
    page.figures(&figures(verdict));
    page.heading("What happened");
    page.text(&format!(
        "The black line is what users asked for: the requests that NASA's web server received on {}, replayed {} times as fast. \
         The areas are what the running instances could serve. Where the line is above the area, requests wait, come late or fail.",
        date(script.from),
        script.speedup
    ));
    let highest = ceiling(script, load, &[rival, ours]);
    page.plot(
        &capacity_plot("foreshadow", script, ours, load, highest, (colour::FORESHADOW, "rgba(0,114,178,0.35)")),
        380,
        "Light blue on top are standby instances: started ahead of demand, then frozen. They use no CPU and take over within \
         milliseconds.",
    );
    page.plot(
        &capacity_plot("HPA's rule", script, rival, load, highest, (colour::RIVAL, "rgba(213,94,0,0.30)")),
        380,
        &format!(
            "The same kind of {} and the same proxy under the rule of Kubernetes' autoscaler, which reacts to what has already come.",
            script.kind.plural()
        ),
    );
    page.heading("What users saw");
    page.plot(
        &missed_plot(script, rival, ours),
        320,
        "Requests of each second that failed or were answered after the bound.",
    );
    page.plot(
        &latency_plot(script, rival, ours),
        320,
        "From the moment each request was due, so waiting counts in full. The scale is logarithmic; the dotted line is the bound.",
    );
    page.heading("What it cost");
    page.plot(
        &cost_plot(verdict),
        260,
        &format!(
            "Instance-seconds. A frozen standby counts {} of a running instance; starting, draining and stopping count in full. The \
             oracle knew the whole morning beforehand and had the same start-up time; nobody can be cheaper at the same error budget.",
            verdict.standby_price
        ),
    );
    page.heading("What the forecast saw");
    page.plot(
        &forecast_plot(script, ours),
        340,
        "The band holds what foreshadow expected for each second, one start-up time before that second came: 90 % of demand should \
         lie inside.",
    );
    page.heading("The numbers");
    page.table(&["", "HPA", "foreshadow"], &verdict.rows());
    page.heading("How the comparison was made");
    page.list(&how(script));
    page
}

fn figures(verdict: &Verdict) -> Vec<(String, &'static str, String)> {
    let (rival, ours) = (&verdict.rival, &verdict.foreshadow);
    let p99 = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.0} ms"));
    let mut figures = vec![
        (
            output::grouped(ours.missed()),
            "failed or late requests",
            format!("HPA: {}", output::grouped(rival.missed())),
        ),
        (format!("{:.0}", ours.cost), "instance-seconds paid", format!("HPA: {:.0}", rival.cost)),
        (p99(ours.totals.p99_ms), "latency, 99th percentile", format!("HPA: {}", p99(rival.totals.p99_ms))),
    ];
    if let (Some(promotion), Some(cold)) = (ours.promotion_ms.p50, ours.cold_start_ms.p50) {
        figures.push((
            format!("{promotion:.1} ms"),
            "to put a standby into traffic",
            format!("a cold start takes {:.1} s", cold / 1000.0),
        ));
    }
    figures
}

fn capacity_plot(
    title: &str,
    script: &Script,
    played: &Played,
    load: &Schedule,
    highest: f64,
    (line, fill): (&'static str, &'static str),
) -> Plot {
    let capacity = script.capacity();
    let looks = &played.measured.looks;
    let times: Vec<String> = looks.iter().map(|look| clock(script, look.at)).collect();
    let level = |count: &dyn Fn(&Look) -> u32| -> Vec<f64> {
        looks.iter().map(|look| f64::from(count(look)) * capacity).collect()
    };
    let mut plot = Plot::new();
    plot.add_trace(
        Scatter::new(times.clone(), level(&|look| look.serving))
            .name("serving")
            .mode(Mode::Lines)
            .line(Line::new().color(line).width(1.5).shape(LineShape::Hv))
            .fill(Fill::ToZeroY)
            .fill_color(fill),
    );
    if looks.iter().any(|look| look.parked > 0) {
        plot.add_trace(
            Scatter::new(times.clone(), level(&|look| look.serving + look.parked))
                .name("with standby")
                .mode(Mode::Lines)
                .line(Line::new().color(colour::STANDBY).width(1.0).shape(LineShape::Hv))
                .fill(Fill::ToNextY)
                .fill_color(colour::STANDBY),
        );
    }
    plot.add_trace(
        Scatter::new(times, level(&|look| look.serving + look.parked + look.starting))
            .name("with those still starting")
            .mode(Mode::Lines)
            .line(Line::new().color(colour::STARTING).width(1.2).dash(DashType::Dot).shape(LineShape::Hv)),
    );
    let (times, demand) = demand(script, load);
    plot.add_trace(
        Scatter::new(times, demand)
            .name("demand")
            .mode(Mode::Lines)
            .line(Line::new().color(colour::DEMAND).width(1.6)),
    );
    plot.set_layout(with_range(layout(title, "", "requests/s"), highest));
    plot.set_configuration(configuration());
    plot
}

fn missed_plot(script: &Script, rival: &Played, ours: &Played) -> Plot {
    let mut plot = Plot::new();
    for (name, played, color) in [("HPA", rival, colour::RIVAL), ("foreshadow", ours, colour::FORESHADOW)] {
        let windows = played.record.windows(script.length, WINDOW, script.bound);
        let missed: Vec<u64> = windows.iter().map(|window| window.failed + window.late).collect();
        plot.add_trace(
            Bar::new(seconds(script, windows.len()), missed).name(name).marker(Marker::new().color(color)),
        );
    }
    plot.set_layout(layout("Failed or late requests per second", "", "requests").bar_mode(BarMode::Group));
    plot.set_configuration(configuration());
    plot
}

fn latency_plot(script: &Script, rival: &Played, ours: &Played) -> Plot {
    let mut plot = Plot::new();
    for (name, played, color) in [("HPA", rival, colour::RIVAL), ("foreshadow", ours, colour::FORESHADOW)] {
        let windows = played.record.windows(script.length, WINDOW, script.bound);
        let p99: Vec<Option<f64>> = windows.iter().map(|window| window.p99_ms).collect();
        plot.add_trace(
            Scatter::new(seconds(script, windows.len()), p99)
                .name(name)
                .mode(Mode::Lines)
                .line(Line::new().color(color).width(2.0)),
        );
    }
    let ends = vec![clock(script, Duration::ZERO), clock(script, script.length)];
    let bound = script.bound.as_secs_f64() * 1000.0;
    plot.add_trace(
        Scatter::new(ends, vec![bound, bound])
            .name("bound")
            .mode(Mode::Lines)
            .line(Line::new().color(colour::BOUND).width(1.2).dash(DashType::Dot)),
    );
    let y =
        axis("ms").type_(AxisType::Log).tick_values(vec![20.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2000.0]);
    plot.set_layout(layout("Latency per second, 99th percentile", "", "ms").y_axis(y));
    plot.set_configuration(configuration());
    plot
}

fn cost_plot(verdict: &Verdict) -> Plot {
    let names = vec!["oracle", "HPA", "foreshadow"];
    let standby = |standby_s: f64| verdict.standby_price * standby_s;
    let (rival, ours) = (&verdict.rival, &verdict.foreshadow);
    let mut plot = Plot::new();
    plot.add_trace(
        Bar::new(vec![verdict.oracle_cost, rival.active_s, ours.active_s], names.clone())
            .orientation(plotly::common::Orientation::Horizontal)
            .name("running")
            .marker(Marker::new().color_array(vec![colour::BOUND, colour::RIVAL, colour::FORESHADOW])),
    );
    plot.add_trace(
        Bar::new(vec![0.0, standby(rival.standby_s), standby(ours.standby_s)], names)
            .orientation(plotly::common::Orientation::Horizontal)
            .name("standby, at its price")
            .marker(Marker::new().color(colour::STANDBY)),
    );
    plot.set_layout(layout("Cost", "instance-seconds", "").bar_mode(BarMode::Stack).show_legend(false));
    plot.set_configuration(configuration());
    plot
}

fn forecast_plot(script: &Script, ours: &Played) -> Plot {
    let series = &ours.series;
    let times: Vec<String> = series
        .timestamps_ms
        .iter()
        .map(|at| clock(script, Duration::from_millis(u64::try_from(at - ours.scored_from_ms).unwrap_or(0))))
        .collect();
    let mut plot = Plot::new();
    let edge = |values: &[Option<f64>]| {
        Scatter::new(times.clone(), values.to_vec())
            .mode(Mode::Lines)
            .line(Line::new().color(colour::BAND).width(0.5))
    };
    plot.add_trace(edge(&series.forecast_high).name("95 % quantile").show_legend(false));
    plot.add_trace(
        edge(&series.forecast_low).name("5 % to 95 %").fill(Fill::ToNextY).fill_color(colour::BAND),
    );
    plot.add_trace(
        Scatter::new(times.clone(), series.forecast_p50.clone())
            .name("expected")
            .mode(Mode::Lines)
            .line(Line::new().color(colour::FORECAST).width(2.0).dash(DashType::Dash)),
    );
    plot.add_trace(
        Scatter::new(times, series.demand.clone())
            .name("demand")
            .mode(Mode::Lines)
            .line(Line::new().color(colour::DEMAND).width(1.6)),
    );
    plot.set_layout(layout("Forecast, one start-up time ahead, and what came", "", "requests/s"));
    plot.set_configuration(configuration());
    plot
}

fn how(script: &Script) -> Vec<String> {
    let duration =
        |duration: Duration| humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string();
    let stands_for = |demo: Duration| duration(script.stands_for(demo));
    vec![
        format!(
            "Load: requests of the NASA-HTTP trace of {} on, {} times as fast, {} requests for each recorded one; arrival times \
             are drawn inside each recorded 10 seconds (seed {}). Both policies get exactly the same arrivals, and no request waits \
             for the answer to another.",
            date(script.from),
            script.speedup,
            script.scale,
            script.seed
        ),
        format!(
            "Service: real {} behind the same proxy. Each serves {} requests at a time, {} ms each, so {:.0} requests/s; {} more \
             may wait, then it answers 503. Starting takes {}, which stands for {}.{}",
            script.kind.plural(),
            script.slots,
            script.service_time.as_millis(),
            script.capacity(),
            script.queue,
            humantime::format_duration(script.startup),
            stands_for(script.startup),
            script.kind.birth()
        ),
        format!(
            "HPA: the rule and constants of Kubernetes' autoscaler, every duration compressed {} times: a decision every 15 s, a metric \
             averaged over {} and 27.5 s old, a tolerance of 10 %, five minutes before shrinking, and a target of {:.0} % of what an \
             instance can really serve.",
            script.speedup,
            humantime::format_duration(HPA_METRIC_WINDOW),
            100.0 * UTILISATION_TARGET
        ),
        format!(
            "foreshadow: an error budget of {}, a standby price of {}, {:.0} % of an instance's capacity counted on; it was given the {} days of the same trace before this morning as \
             history, which HPA has no use for.",
            script.error_budget,
            script.standby_price,
            100.0 * UTILISATION_BOUND,
            script.history.as_secs() / 86_400
        ),
        format!(
            "Both begin with the same number of ready instances and have {} of load, which is not scored, to find their footing. What clients saw is measured by the \
             clients; what it cost is integrated over the lives of the real {}, looked at ten times a second.",
            humantime::format_duration(script.lead_in),
            script.kind.plural()
        ),
    ]
}

fn demand(script: &Script, load: &Schedule) -> (Vec<String>, Vec<f64>) {
    let skip = (script.lead_in.as_secs_f64() / DEMAND_WINDOW.as_secs_f64()).round() as usize;
    let rates: Vec<f64> = load.rates(DEMAND_WINDOW).into_iter().skip(skip).collect();
    let middle = |index: usize| DEMAND_WINDOW.mul_f64(index as f64 + 0.5);
    ((0..rates.len()).map(|index| clock(script, middle(index))).collect(), rates)
}

/// One scale for both capacity plots.
fn ceiling(script: &Script, load: &Schedule, played: &[&Played]) -> f64 {
    let highest = |played: &&Played| {
        let looks = played.measured.looks.iter();
        looks.map(|look| look.serving + look.parked + look.starting).max().unwrap_or(0)
    };
    let instances = played.iter().map(highest).max().unwrap_or(0);
    demand(script, load).1.into_iter().fold(f64::from(instances) * script.capacity(), f64::max) * 1.05
}

fn with_range(layout: Layout, highest: f64) -> Layout {
    let y = axis("requests/s").range(vec![0.0, highest]);
    layout.y_axis(y)
}

/// A moment of the run as the time of day it stands for.
fn clock(script: &Script, at: Duration) -> String {
    (script.from + script.stands_for(at)).to_string()
}

fn seconds(script: &Script, count: usize) -> Vec<String> {
    (0..count).map(|index| clock(script, WINDOW.mul_f64(index as f64 + 0.5))).collect()
}

fn date(at: Timestamp) -> String {
    match jiff::Timestamp::from_millisecond(at.as_millis()) {
        Ok(at) => at.strftime("%-d %B %Y from %H:%M UTC").to_string(),
        Err(_) => at.to_string(),
    }
}
