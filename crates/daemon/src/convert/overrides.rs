//! Overrides of the forecast, from the wire to the planner and back.

use forecast::{Adjustment, Change, Timestamp};
use planner::ForecastOverride;

/// What an override does; `None` unless exactly one change is named.
pub(crate) fn change(scale: Option<f64>, add: Option<f64>, replace: Option<f64>) -> Option<Change> {
    match (scale, add, replace) {
        (Some(factor), None, None) => Some(Change::Scale(factor)),
        (None, Some(amount), None) => Some(Change::Add(amount)),
        (None, None, Some(demand)) => Some(Change::Replace(demand)),
        _ => None,
    }
}

fn adjustment(of: &api::ForecastOverride) -> Option<Adjustment> {
    Some(Adjustment {
        from: Timestamp::from_millis(of.from_ms),
        to: Timestamp::from_millis(of.to_ms),
        change: change(of.scale, of.add, of.replace)?,
    })
}

/// For the planner.
pub(crate) fn planned(of: &api::ForecastOverride) -> Option<ForecastOverride> {
    let (author, reason) = (of.author.clone(), of.reason.clone());
    Some(ForecastOverride { id: of.id, adjustment: adjustment(of)?, author, reason })
}

/// For the forecast.
pub(crate) fn adjustments(all: &[api::ForecastOverride]) -> Vec<Adjustment> {
    all.iter().filter_map(adjustment).collect()
}

/// Those that have a part in a time.
pub(crate) fn within(
    mut all: Vec<api::ForecastOverride>,
    from: Timestamp,
    to: Timestamp,
) -> Vec<api::ForecastOverride> {
    all.retain(|of| adjustment(of).is_some_and(|adjustment| adjustment.touches(from, to)));
    all
}
