//! The page of `foreshadow replay --html`: demand under what each policy wanted, and cost against misses.

use plotly::common::{Fill, Line, LineShape, Marker, Mode, Position};
use plotly::layout::AxisType;
use plotly::{Plot, Scatter};
use sim::replay::{Outcome, PolicyKind};

use super::Replayed;
use super::score::{COLUMNS, cells};
use crate::page::{Page, axis, colour, configuration, layout};

/// More points than this only make the page slow; beyond it the largest value of each run of steps is drawn.
const POINTS_MAX: usize = 6000;
/// Misses below this share are drawn there, because a logarithmic axis has no zero.
const MISSED_SHOWN_MIN: f64 = 1e-6;

/// Builds the page.
pub(super) fn build(replayed: &Replayed) -> Page {
    let mut page = Page::new(&format!("Replay of {}", replayed.column));
    page.text(&format!(
        "{} steps of {} s from {}. Every policy met the same demand in the same world; one instance serves {}, starts in {} s and, \
         once standing by, takes over in {} s.",
        replayed.demand.len(),
        replayed.demand.step().as_secs_f64(),
        replayed.name,
        replayed.options.capacity,
        replayed.options.cold.typical().as_secs_f64(),
        replayed.options.promote.as_secs_f64(),
    ));
    let rows: Vec<[String; 8]> = replayed.outcomes.iter().map(cells).collect();
    page.table(&["policy", "missed", "short", "active", "standby", "cost", "x oracle", "changes"], &rows);
    page.text(COLUMNS);
    page.plot(
        &scatter(replayed),
        380,
        "Cheaper is further left, fewer misses further down. The left lower corner is the place to be.",
    );
    for outcome in &replayed.outcomes {
        page.plot(
            &timeline(replayed, outcome),
            320,
            "Demand, and the capacity of the instances that were wanted when each step began. Each decision used only earlier steps.",
        );
    }
    page
}

fn timeline(replayed: &Replayed, outcome: &Outcome) -> Plot {
    let capacity = replayed.options.capacity;
    let stride = outcome.decisions.len().div_ceil(POINTS_MAX).max(1);
    let chunks = || outcome.decisions.chunks(stride);
    let times: Vec<String> = chunks().map(|chunk| chunk[0].timestamp.to_string()).collect();
    let largest = |count: &dyn Fn(u32, u32) -> u32| -> Vec<f64> {
        chunks()
            .map(|chunk| {
                let wanted =
                    chunk.iter().map(|decision| count(decision.active_wanted, decision.standby_wanted));
                f64::from(wanted.max().unwrap_or(0)) * capacity
            })
            .collect()
    };
    let demand: Vec<Option<f64>> =
        chunks().map(|chunk| chunk.iter().filter_map(|decision| decision.demand).reduce(f64::max)).collect();
    let (line, fill) = match outcome.kind {
        PolicyKind::Foreshadow => (colour::FORESHADOW, "rgba(0,114,178,0.30)"),
        PolicyKind::Hpa | PolicyKind::Kpa | PolicyKind::LastWeek => (colour::RIVAL, "rgba(213,94,0,0.25)"),
        PolicyKind::StaticPeak | PolicyKind::Oracle => (colour::BOUND, "rgba(122,122,122,0.25)"),
    };
    let area = |values: Vec<f64>, name: &str| {
        Scatter::new(times.clone(), values)
            .name(name)
            .mode(Mode::Lines)
            .line(Line::new().width(1.0).shape(LineShape::Hv).color(line))
    };
    let mut plot = Plot::new();
    plot.add_trace(area(largest(&|active, _| active), "active").fill(Fill::ToZeroY).fill_color(fill));
    plot.add_trace(
        area(largest(&|active, standby| active + standby), "with standby")
            .fill(Fill::ToNextY)
            .fill_color(colour::STANDBY)
            .line(Line::new().width(0.5).shape(LineShape::Hv).color(colour::STANDBY)),
    );
    plot.add_trace(
        Scatter::new(times, demand)
            .name("demand")
            .mode(Mode::Lines)
            .connect_gaps(false)
            .line(Line::new().color(colour::DEMAND).width(1.2)),
    );
    plot.set_layout(layout(outcome.kind.name(), "", &replayed.column));
    plot.set_configuration(configuration());
    plot
}

fn scatter(replayed: &Replayed) -> Plot {
    let mut plot = Plot::new();
    for outcome in &replayed.outcomes {
        let color = match outcome.kind {
            PolicyKind::Foreshadow => colour::FORESHADOW,
            PolicyKind::Hpa | PolicyKind::Kpa | PolicyKind::LastWeek => colour::RIVAL,
            PolicyKind::StaticPeak | PolicyKind::Oracle => colour::BOUND,
        };
        let missed = outcome.score.missed_share.max(MISSED_SHOWN_MIN);
        plot.add_trace(
            Scatter::new(vec![outcome.score.cost / 3600.0], vec![missed * 100.0])
                .name(outcome.kind.name())
                .mode(Mode::MarkersText)
                .text(outcome.kind.name())
                .text_position(Position::TopCenter)
                .show_legend(false)
                .marker(Marker::new().size(13).color(color)),
        );
    }
    let missed = axis("missed demand, %").type_(AxisType::Log);
    plot.set_layout(layout("Cost against misses", "instance-hours", "").y_axis(missed));
    plot.set_configuration(configuration());
    plot
}
