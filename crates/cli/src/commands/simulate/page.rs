//! The page of `foreshadow simulate --scenario --report`: for each scenario what was asked, what came of it, and two plots.

use std::ops::Range;

use forecast::Timestamp;
use plotly::common::{DashType, Fill, Line, LineShape, Mode};
use plotly::layout::{AxisType, Shape, ShapeLayer, ShapeLine, ShapeType};
use plotly::{Layout, Plot, Scatter};
use sim::replay::PolicyKind;
use sim::requests::{Outcome, Row};

use super::scenarios::{COLUMNS, HEADER, Played, cells};
use crate::page::{Page, axis, colour, configuration, layout};

/// Builds the page.
pub(super) fn build(played: &[Played], seed: u64) -> Page {
    let mut page = Page::new("Scenarios");
    page.lead(
        "Situations that autoscalers are feared for, played request by request: foreshadow beside the Kubernetes HPA, with the same \
         requests, the same instances and the same prices.",
    );
    page.text(&format!(
        "Requests arrive at random (Poisson) along the demand curve and wait in line at instances of four workers each; the router is \
         that of the built-in proxy. HPA runs with its defaults at 70 % target utilisation. Nobody knows what comes. Seed {seed}.",
    ));
    page.text(COLUMNS);
    for one in played {
        let scenario = &one.scenario;
        page.heading(scenario.name);
        page.text(scenario.about);
        page.text(&format!("Set by the user: {}. Expected: {}.", scenario.policy, scenario.expected));
        let rows: Vec<[String; 7]> = one.outcomes.iter().map(|outcome| cells(scenario, outcome)).collect();
        page.table(&HEADER, &rows);
        page.plot(
            &capacity(one),
            360,
            "Requests that arrived, and the capacity of the instances: what one serves within the latency bound, times their number. \
             The time that matters is shaded.",
        );
        page.plot(
            &latency(one),
            260,
            "The 99th percentile of the latency of the requests that arrived in each step, on a logarithmic scale; a time-out counts \
             with its length, a refused request does not count.",
        );
    }
    page
}

fn capacity(one: &Played) -> Plot {
    let scenario = &one.scenario;
    let per_instance = scenario.settings.world.capacity;
    let mut plot = Plot::new();
    let curve = |rows: &[Row], count: &dyn Fn(&Row) -> f64, name: &str| {
        let capacity: Vec<f64> = rows.iter().map(|row| count(row) * per_instance).collect();
        Scatter::new(times(rows), capacity).name(name).mode(Mode::Lines)
    };
    let steps = |width: f64, color: &'static str| Line::new().width(width).shape(LineShape::Hv).color(color);
    if let Some(ours) = of(one, PolicyKind::Foreshadow) {
        plot.add_trace(
            curve(&ours.rows, &|row| row.active, "foreshadow, active")
                .line(steps(1.0, colour::FORESHADOW))
                .fill(Fill::ToZeroY)
                .fill_color("rgba(0,114,178,0.30)"),
        );
        plot.add_trace(
            curve(&ours.rows, &|row| row.active + row.standby, "foreshadow, with standby")
                .line(steps(0.5, colour::STANDBY))
                .fill(Fill::ToNextY)
                .fill_color(colour::STANDBY),
        );
    }
    if let Some(hpa) = of(one, PolicyKind::Hpa) {
        plot.add_trace(curve(&hpa.rows, &|row| row.active, "HPA").line(steps(2.0, colour::RIVAL)));
    }
    if let Some(first) = one.outcomes.first() {
        let seconds = scenario.demand.step().as_secs_f64();
        let arrived: Vec<f64> = first.rows.iter().map(|row| row.tally.requests as f64 / seconds).collect();
        plot.add_trace(
            Scatter::new(times(&first.rows), arrived)
                .name("requests")
                .mode(Mode::Lines)
                .line(steps(1.2, colour::DEMAND)),
        );
    }
    plot.set_layout(shaded(&scenario.trouble, layout("Demand and capacity", "", "requests/s")));
    plot.set_configuration(configuration());
    plot
}

fn latency(one: &Played) -> Plot {
    let scenario = &one.scenario;
    let mut plot = Plot::new();
    for (kind, name, color) in
        [(PolicyKind::Hpa, "HPA", colour::RIVAL), (PolicyKind::Foreshadow, "foreshadow", colour::FORESHADOW)]
    {
        let Some(outcome) = of(one, kind) else { continue };
        let p99 = |row: &Row| row.tally.quantile(0.99).map(|latency| latency.as_secs_f64() * 1e3);
        let values: Vec<Option<f64>> = outcome.rows.iter().map(p99).collect();
        plot.add_trace(
            Scatter::new(times(&outcome.rows), values)
                .name(name)
                .mode(Mode::Lines)
                .line(Line::new().width(1.6).shape(LineShape::Hv).color(color)),
        );
    }
    if let Some(rows) = one.outcomes.first().map(|outcome| &outcome.rows) {
        let bound = scenario.settings.bound.as_secs_f64() * 1e3;
        plot.add_trace(
            Scatter::new(times(rows), vec![bound; rows.len()])
                .name("bound")
                .mode(Mode::Lines)
                .line(Line::new().width(1.0).dash(DashType::Dash).color(colour::BOUND)),
        );
    }
    let ticks = [50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0];
    let log = axis("p99, ms")
        .type_(AxisType::Log)
        .tick_values(ticks.to_vec())
        .tick_text(ticks.map(|tick| tick.to_string()).to_vec());
    plot.set_layout(shaded(&scenario.trouble, layout("Latency", "", "").y_axis(log)));
    plot.set_configuration(configuration());
    plot
}

/// The layout with the time that matters in the background.
pub(super) fn shaded(trouble: &Range<Timestamp>, layout: Layout) -> Layout {
    layout.shapes(vec![
        Shape::new()
            .shape_type(ShapeType::Rect)
            .layer(ShapeLayer::Below)
            .x_ref("x")
            .y_ref("paper")
            .x0(trouble.start.to_string())
            .x1(trouble.end.to_string())
            .y0(0.0)
            .y1(1.0)
            .fill_color("rgba(230,159,0,0.16)")
            .line(ShapeLine::new().width(0.0)),
    ])
}

fn of(one: &Played, kind: PolicyKind) -> Option<&Outcome> {
    one.outcomes.iter().find(|outcome| outcome.kind == kind)
}

fn times(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.at.to_string()).collect()
}
