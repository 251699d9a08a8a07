//! The drawings of the report: the frontiers, and demand under what was wanted.

use std::time::Duration;

use plotly::common::{Fill, Line, LineShape, Marker, MarkerSymbol, Mode};
use plotly::layout::AxisType;
use plotly::{Layout, Plot, Scatter};
use sim::replay::{Decision, Outcome, Point, PolicyKind};

use super::super::Replayed;
use super::super::frontiers::Frontier;
use super::super::names::{line, title};
use crate::page::{axis, colour, configuration, layout};

/// As much time as the timelines show at first.
const SHOWN: Duration = Duration::from_secs(4 * 86_400);
/// More points than this only make the page slow; beyond it the largest value of each run of steps is drawn.
const POINTS_MAX: usize = 6000;
/// Misses below this share are drawn there, because a logarithmic axis has no zero.
const MISSED_SHOWN_MIN: f64 = 1e-5;
/// The plot ends at this multiple of our cost at least; what is beyond can be reached by zooming out.
const COST_SHOWN: f64 = 2.2;

/// Cost over the oracle against missed share: a line for each policy, a mark for each as it comes.
pub(super) fn frontiers(replayed: &Replayed, frontiers: &[Frontier], oracle_cost: f64) -> Plot {
    let mut plot = Plot::new();
    // Ours last: it lies on top.
    for frontier in frontiers.iter().rev() {
        let (colour, dash) = line(frontier.kind);
        let ours = frontier.kind == PolicyKind::Foreshadow;
        let points = &frontier.points;
        let text = |point: &Point| format!("{}<br>{}", title(frontier.kind), point.setting);
        plot.add_trace(
            Scatter::new(
                points.iter().map(|point| shown(point.score.missed_share)).collect(),
                points.iter().map(|point| point.score.cost / oracle_cost).collect(),
            )
            .name(title(frontier.kind))
            .text_array(points.iter().map(text).collect())
            .hover_template("%{text}<br>missed %{x:.4f} %<br>%{y:.3f} x perfect foresight<extra></extra>")
            .legend_group(frontier.kind.name())
            .mode(Mode::LinesMarkers)
            .marker(Marker::new().size(if ours { 8 } else { 5 }).color(colour))
            .line(Line::new().color(colour).dash(dash).width(if ours { 4.0 } else { 1.8 })),
        );
    }
    for outcome in &replayed.outcomes {
        let (colour, _) = line(outcome.kind);
        plot.add_trace(
            Scatter::new(vec![shown(outcome.score.missed_share)], vec![outcome.score.cost / oracle_cost])
                .name(title(outcome.kind))
                .hover_template(format!(
                    "{}<br>as it comes<br>missed %{{x:.4f}} %<br>%{{y:.3f}} x perfect foresight<extra></extra>",
                    title(outcome.kind)
                ))
                .legend_group(outcome.kind.name())
                .show_legend(false)
                .mode(Mode::Markers)
                .marker(Marker::new().size(14).color(colour).symbol(MarkerSymbol::Star)),
        );
    }
    let missed = axis("demand missed, % (logarithmic)").type_(AxisType::Log).auto_range(true);
    let cost =
        axis("cost, as a multiple of perfect foresight").range(vec![0.9, highest(frontiers, oracle_cost)]);
    plot.set_layout(
        side_legend(layout("", "", ""))
            .x_axis(missed)
            .y_axis(cost)
            .hover_mode(plotly::layout::HoverMode::Closest),
    );
    plot.set_configuration(configuration());
    plot
}

/// The legend of many lines stands beside the plot.
fn side_legend(layout: Layout) -> Layout {
    use plotly::layout::{Legend, Margin, TraceOrder};
    layout
        .legend(Legend::new().x(1.01).y(1.0).trace_order(TraceOrder::Reversed))
        .margin(Margin::new().left(64).right(24).top(16).bottom(56))
}

/// So high that the cheaper half of the lines is seen whole.
fn highest(frontiers: &[Frontier], oracle_cost: f64) -> f64 {
    let ours = frontiers.iter().find(|frontier| frontier.kind == PolicyKind::Foreshadow);
    let dearest = ours.and_then(|frontier| frontier.points.last()).map_or(0.0, |point| point.score.cost);
    (1.15 * dearest / oracle_cost).max(COST_SHOWN)
}

fn shown(missed_share: f64) -> f64 {
    missed_share.max(MISSED_SHOWN_MIN) * 100.0
}

/// Demand under the capacity that a policy wanted.
pub(super) fn timeline(replayed: &Replayed, outcome: &Outcome, highest: f64) -> Plot {
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
    let (moments, demand) = demand_line(chunks(), replayed.demand.step());
    let (colour, fill) = match outcome.kind {
        PolicyKind::Foreshadow => (colour::FORESHADOW, "rgba(0,114,178,0.28)"),
        kind if kind.hindsight() => (colour::BOUND, "rgba(122,122,122,0.25)"),
        _ => (colour::RIVAL, "rgba(213,94,0,0.22)"),
    };
    let area = |values: Vec<f64>, name: &str| {
        Scatter::new(times.clone(), values).name(name).mode(Mode::Lines).hover_template("%{y:,.0f}")
    };
    let mut plot = Plot::new();
    let steps =
        |width: f64, colour: &'static str| Line::new().width(width).shape(LineShape::Hv).color(colour);
    plot.add_trace(
        area(largest(&|active, _| active), "active")
            .fill(Fill::ToZeroY)
            .fill_color(fill)
            .line(steps(1.0, colour)),
    );
    if outcome.decisions.iter().any(|decision| decision.standby_wanted > 0) {
        plot.add_trace(
            area(largest(&|active, standby| active + standby), "with standby")
                .fill(Fill::ToNextY)
                .fill_color(colour::STANDBY)
                .line(steps(0.5, colour::STANDBY)),
        );
    }
    plot.add_trace(
        Scatter::new(moments, demand)
            .name("demand")
            .mode(Mode::Lines)
            .connect_gaps(false)
            .hover_template("%{y:,.0f}")
            .line(Line::new().color(colour::DEMAND).width(1.2)),
    );
    let title = title(outcome.kind).trim_end_matches('*');
    let mut time = axis("time (UTC)");
    if let Some([from, to]) = around_the_peak(&outcome.decisions) {
        time = time.range(vec![from, to]);
    }
    let amount = axis(&replayed.column).range(vec![0.0, highest]);
    plot.set_layout(layout(title, "", &replayed.column).x_axis(time).y_axis(amount));
    plot.set_configuration(configuration());
    plot
}

/// The largest demand of each chunk, and nothing where rows are missing between them: a line across would be made up.
fn demand_line<'a>(
    chunks: impl Iterator<Item = &'a [Decision]>,
    step: Duration,
) -> (Vec<String>, Vec<Option<f64>>) {
    let mut line = Vec::new();
    let mut expected = None;
    for chunk in chunks {
        let begins = chunk[0].timestamp;
        if let Some(expected) = expected.filter(|expected| begins.since(*expected) > step / 2) {
            line.push((expected.to_string(), None));
        }
        let demand = chunk.iter().filter_map(|decision| decision.demand).reduce(f64::max);
        line.push((begins.to_string(), demand));
        expected = chunk.last().map(|last| last.timestamp + step);
    }
    line.into_iter().unzip()
}

/// Beginning and end of the days around the largest demand, when there is much more than that.
fn around_the_peak(decisions: &[Decision]) -> Option<[String; 2]> {
    let (first, last) = (decisions.first()?.timestamp, decisions.last()?.timestamp);
    if last.since(first) < SHOWN + SHOWN / 2 {
        return None;
    }
    let demand = |decision: &Decision| decision.demand.unwrap_or(0.0);
    let peak = decisions.iter().max_by(|a, b| demand(a).total_cmp(&demand(b)))?.timestamp;
    let from = (peak - SHOWN / 2).max(first).min(last - SHOWN);
    Some([from, from + SHOWN].map(|at| at.to_string()))
}

/// The top of the axis that both timelines share.
pub(super) fn highest_wanted(replayed: &Replayed, outcomes: &[&Outcome]) -> f64 {
    let wanted = outcomes.iter().flat_map(|outcome| &outcome.decisions);
    let wanted = wanted.map(|decision| decision.active_wanted + decision.standby_wanted).max().unwrap_or(0);
    1.05 * replayed.demand.peak().max(f64::from(wanted) * replayed.options.capacity)
}

#[cfg(test)]
mod tests {
    use forecast::Timestamp;

    use super::*;

    #[test]
    fn a_line_of_demand_breaks_where_rows_are_missing() {
        let row = |at: i64, demand: f64| Decision {
            timestamp: Timestamp::from_secs(at),
            demand: Some(demand),
            active_wanted: 1,
            standby_wanted: 0,
        };
        let rows = [row(0, 1.0), row(60, 2.0), row(600, 3.0)];
        let (moments, demand) = demand_line(rows.chunks(1), Duration::from_secs(60));
        assert_eq!(demand, [Some(1.0), Some(2.0), None, Some(3.0)]);
        assert_eq!(moments[2], Timestamp::from_secs(120).to_string());
    }
}
