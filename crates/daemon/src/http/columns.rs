//! Recorded samples of several metrics as columns over one grid of time.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;

use crate::recent::METRICS;

/// Sums of samples in a bounded number of equal spans of time.
pub(crate) struct Columns {
    from: Timestamp,
    /// A multiple of the step.
    span: Duration,
    rows: BTreeMap<i64, [(f64, u32); METRICS.len()]>,
}

impl Columns {
    /// For samples in `[from, to)`.
    pub(crate) fn new(from: Timestamp, to: Timestamp, step: Duration) -> Columns {
        let steps = to.since(from).as_millis() / step.as_millis().max(1);
        let merged = u32::try_from(steps.div_ceil(SERIES_POINTS_MAX).max(1)).unwrap_or(u32::MAX);
        Columns { from, span: step.saturating_mul(merged), rows: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, at: Timestamp, column: usize, value: f64) {
        if at >= self.from {
            let row = self.rows.entry(at.align_down(self.span).as_millis()).or_default();
            row[column] = (row[column].0 + value, row[column].1 + 1);
        }
    }

    /// Means of each span, from the first that has a sample to the last, with gaps as nulls.
    pub(crate) fn into_series(self, workload: String, unit: String) -> api::Series {
        let step_ms = u64::try_from(self.span.as_millis()).unwrap_or(u64::MAX);
        let first = self.rows.keys().next().copied();
        let last = self.rows.keys().next_back().copied();
        let timestamps_ms: Vec<i64> = match (first, last) {
            (Some(first), Some(last)) => {
                (first..=last).step_by(usize::try_from(step_ms).unwrap_or(usize::MAX)).collect()
            }
            (None, _) | (_, None) => Vec::new(),
        };
        let column = |index: usize| -> Vec<Option<f64>> {
            let mean = |at: &i64| {
                let (sum, count) = self.rows.get(at)?[index];
                (count > 0).then(|| sum / f64::from(count))
            };
            timestamps_ms.iter().map(mean).collect()
        };
        let [demand, p50, low, high, active, standby, actives, standbys, missed, lat50, lat99, errors] =
            std::array::from_fn(column);
        api::Series {
            workload,
            unit,
            step_ms,
            demand,
            forecast_p50: p50,
            forecast_low: low,
            forecast_high: high,
            active_capacity: active,
            standby_capacity: standby,
            active_instances: actives,
            standby_instances: standbys,
            missed,
            latency_p50_ms: lat50,
            latency_p99_ms: lat99,
            errors,
            timestamps_ms,
        }
    }
}

const SERIES_POINTS_MAX: u128 = 2000;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    #[test]
    fn gaps_are_nulls_and_columns_have_one_length() {
        let mut columns = Columns::new(Timestamp::from_secs(0), Timestamp::from_secs(3600), STEP);
        columns.add(Timestamp::from_secs(60), 0, 5.0);
        columns.add(Timestamp::from_secs(180), 0, 7.0);
        let series = columns.into_series("web".into(), "requests/s".into());
        assert_eq!(series.timestamps_ms, [60_000, 120_000, 180_000]);
        assert_eq!(series.demand, [Some(5.0), None, Some(7.0)]);
        assert_eq!(series.errors, [None, None, None]);
    }

    #[test]
    fn a_long_range_is_merged_into_a_bounded_number_of_points() {
        let (from, to) = (Timestamp::from_secs(0), Timestamp::from_secs(60 * 10_000));
        let mut columns = Columns::new(from, to, STEP);
        (0..10_000).for_each(|i| columns.add(Timestamp::from_secs(60 * i), 0, i as f64));
        let series = columns.into_series("web".into(), "requests/s".into());
        assert_eq!((series.step_ms, series.timestamps_ms.len()), (300_000, 2000));
        assert_eq!(series.demand[0], Some(2.0));
    }

    #[test]
    fn nothing_recorded_is_an_empty_series() {
        let series =
            Columns::new(Timestamp::from_secs(0), Timestamp::MAX, STEP).into_series("web".into(), "x".into());
        assert!(series.timestamps_ms.is_empty() && series.demand.is_empty());
    }
}
