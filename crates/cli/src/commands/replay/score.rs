//! The scores of a replay as a table and as JSON.

use comfy_table::Table;
use serde_json::{Value, json};
use sim::replay::Outcome;

use super::Replayed;
use crate::output;

/// What the table's columns count.
pub(super) const UNITS: &str = "missed: share of demand; active, standby, cost: instance-hours\n\
                                 changes: a day; * knows the future";

/// One row per policy.
pub(super) fn table(replayed: &Replayed) -> Table {
    let mut table = output::table(&["policy", "missed", "active", "standby", "cost", "x oracle", "changes"]);
    for outcome in &replayed.outcomes {
        output::row(&mut table, &cells(outcome));
    }
    table
}

fn cells(outcome: &Outcome) -> [String; 7] {
    let score = &outcome.score;
    let hours = |seconds: f64| output::rounded(seconds / 3600.0);
    let mark = if outcome.kind.hindsight() { "*" } else { "" };
    [
        format!("{}{mark}", outcome.kind.name()),
        format!("{:.3} %", 100.0 * score.missed_share),
        hours(score.totals.active_seconds + score.totals.starting_seconds),
        hours(score.totals.standby_seconds),
        hours(score.cost),
        score.cost_over_oracle.map_or("-".to_owned(), |ratio| format!("{ratio:.3}")),
        format!("{:.0}", score.scale_events_per_day),
    ]
}

/// Everything that was counted.
pub(super) fn json(replayed: &Replayed) -> Value {
    let options = &replayed.options;
    json!({
        "trace": replayed.name,
        "column": replayed.column,
        "step_seconds": replayed.demand.step().as_secs_f64(),
        "steps": replayed.demand.len(),
        "settings": {
            "capacity": options.capacity,
            "cold_seconds": options.cold.typical().as_secs_f64(),
            "cold_upper_seconds": options.cold.upper().as_secs_f64(),
            "start_failures": options.start_failures,
            "promote_seconds": options.promote.as_secs_f64(),
            "budget": options.budget,
            "standby_price": options.standby_price,
            "replicas_min": options.replicas_min,
            "replicas_max": options.replicas_max,
            "metric_lag_seconds": options.metric_lag.as_secs_f64(),
            "headroom": options.headroom,
            "seed": options.seed,
        },
        "policies": replayed.outcomes.iter().map(policy).collect::<Vec<_>>(),
    })
}

fn policy(outcome: &Outcome) -> Value {
    let (score, totals) = (&outcome.score, &outcome.score.totals);
    json!({
        "name": outcome.kind.name(),
        "hindsight": outcome.kind.hindsight(),
        "missed_share": score.missed_share,
        "late_share": score.late_share,
        "cost": score.cost,
        "cost_over_oracle": score.cost_over_oracle,
        "active_instance_seconds": totals.active_seconds,
        "standby_instance_seconds": totals.standby_seconds,
        "starting_instance_seconds": totals.starting_seconds,
        "demand_seconds": totals.demand,
        "missed_demand_seconds": totals.missed,
        "steps": totals.steps,
        "steps_missed": totals.steps_missed,
        "starts": totals.starts,
        "stops": totals.stops,
        "promotions": totals.promotions,
        "demotions": totals.demotions,
        "scale_events_per_day": score.scale_events_per_day,
    })
}
