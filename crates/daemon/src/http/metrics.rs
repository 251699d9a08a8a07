//! Everything kept about a workload as series, and metrics of any name pushed from outside.
//!
//! Pushed values go to disk before they are acknowledged, past the control loop: they are inputs of forecasts, not of
//! the plan of this moment. Demand has an address of its own, because the plan follows it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use forecast::Timestamp;
use history::{HistoryError, Sample, SeriesKey};

use super::Api;
use super::failure::Failure;
use super::knowledge;
use super::query::Params;
use super::read::on_disk;
use super::write::{json, known};
use crate::config::WorkloadConfig;
use crate::recorder::{clock, is_own_metric};

type Pairs = Query<Vec<(String, String)>>;

/// All series of a workload.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/metrics",
    params(("id" = String, Path, description = "Workload name")),
    responses((status = 200, body = api::MetricList), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
) -> Result<Json<api::MetricList>, Failure> {
    known(&api, &workload)?;
    let name = workload.clone();
    let series = on_disk(&api, move |store| {
        let mut series = Vec::new();
        for key in store.series_of(&name)?.into_iter().take(SERIES_MAX) {
            if let Some((at, last)) = store.last(&key)? {
                let (metric, labels) = (key.metric, key.labels);
                series.push(api::MetricSeries { metric, labels, last_at_ms: at.as_millis(), last });
            }
        }
        Ok(series)
    })
    .await?;
    Ok(Json(api::MetricList { workload, series }))
}

/// The series of one metric.
#[utoipa::path(
    get,
    path = "/api/v1/workloads/{id}/metrics/{metric}",
    params(
        ("id" = String, Path, description = "Workload name"),
        ("metric" = String, Path, description = "Name of the metric"),
        ("from" = Option<String>, Query, description = "Milliseconds since 1970, or ISO 8601; default 1 day ago"),
        ("to" = Option<String>, Query, description = "Default now"),
    ),
    responses((status = 200, body = api::Metric), (status = 400, body = api::ErrorBody), (status = 404, body = api::ErrorBody))
)]
pub(crate) async fn show(
    State(api): State<Arc<Api>>,
    Path((workload, metric)): Path<(String, String)>,
    Query(pairs): Pairs,
) -> Result<Json<api::Metric>, Failure> {
    known(&api, &workload)?;
    let params = Params::new(pairs, &["from", "to"])?;
    let (from, to) = params.range(clock() + Duration::from_millis(1), DAY)?;
    let (name, wanted) = (workload.clone(), metric.clone());
    let series = on_disk(&api, move |store| {
        let keys = store.series_of(&name)?;
        let mut series = Vec::new();
        for key in keys.into_iter().filter(|key| key.metric == wanted).take(COLUMNS_MAX) {
            let mut thinned = Thinned::new(POINTS_MAX);
            for sample in store.scan(&key, from, to)? {
                let (at, value) = sample?;
                thinned.push(at, value);
            }
            series.push((key.labels, thinned));
        }
        Ok(series)
    })
    .await?;
    if series.is_empty() {
        let shown: String = metric.chars().take(60).collect();
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            format!("{workload} has no metric named {shown:?}"),
            "GET /api/v1/workloads/{id}/metrics lists those there are",
        ));
    }
    let series = series.into_iter().map(|(labels, thinned)| thinned.into_column(labels)).collect();
    Ok(Json(api::Metric { workload, metric, series }))
}

/// Push values of any metrics but those that the daemon measures itself.
#[utoipa::path(
    post,
    path = "/api/v1/workloads/{id}/metrics",
    params(("id" = String, Path, description = "Workload name")),
    request_body = api::MetricsRequest,
    responses(
        (status = 200, body = api::MetricsAccepted),
        (status = 400, description = "A name or a value that is refused", body = api::ErrorBody),
        (status = 404, description = "Unknown workload", body = api::ErrorBody),
        (status = 409, description = "The daemon measures that metric itself", body = api::ErrorBody),
    )
)]
pub(crate) async fn push(
    State(api): State<Arc<Api>>,
    Path(workload): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<api::MetricsAccepted>, Failure> {
    known(&api, &workload)?;
    let request: api::MetricsRequest = json(&headers, body)?;
    let samples = check(&workload, request.samples, clock())?;
    let accepted = samples.len() as u64;
    let of = workload.clone();
    let pushed: Vec<String> = samples.iter().map(|sample| sample.series.metric.clone()).collect();
    let is_covariate = move |config: &WorkloadConfig| {
        config.name == of && config.covariates.iter().any(|name| pushed.contains(name))
    };
    let _order = api.knowledge.lock().await;
    let store = api.store.clone();
    let written = tokio::task::spawn_blocking(move || {
        if samples.iter().any(|sample| is_new(&store, &sample.series).unwrap_or(true)) {
            let known = store.series_of(&workload)?.len();
            if known >= SERIES_MAX {
                return Ok(Err(known));
            }
        }
        store.append(&samples).map(Ok)
    });
    let written: Result<Result<(), usize>, HistoryError> = written.await.map_err(|_| Failure::busy())?;
    match written? {
        Ok(()) => {
            knowledge::tell(&api, is_covariate).await?;
            Ok(Json(api::MetricsAccepted { accepted }))
        }
        Err(known) => Err(Failure::new(
            StatusCode::CONFLICT,
            format!("the workload has {known} series already"),
            "use fewer metrics or labels; those that get no values any more are forgotten in time",
        )),
    }
}

fn is_new(store: &history::Store, key: &SeriesKey) -> Result<bool, HistoryError> {
    Ok(store.last(key)?.is_none())
}

fn check(workload: &str, samples: Vec<api::MetricSample>, now: Timestamp) -> Result<Vec<Sample>, Failure> {
    if samples.is_empty() {
        return Err(Failure::bad("the request has no samples", "send at least one"));
    }
    if samples.len() > SAMPLES_MAX {
        return Err(Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{} samples in one request", samples.len()),
            format!("send at most {SAMPLES_MAX} at once"),
        ));
    }
    let mut taken = Vec::with_capacity(samples.len());
    for (index, sample) in samples.into_iter().enumerate() {
        let shown: String = sample.metric.chars().take(60).collect();
        if is_own_metric(&sample.metric) {
            return Err(Failure::new(
                StatusCode::CONFLICT,
                format!("sample {index}: {shown:?} is measured by the daemon itself"),
                "choose another name; demand is pushed to /api/v1/workloads/{id}/samples",
            ));
        }
        let at = Timestamp::from_millis(sample.at_ms);
        if at > now + AHEAD_MAX || at < now - AGE_MAX {
            return Err(Failure::bad(
                format!("sample {index} of {shown:?} at {at} is too far from now"),
                "send `at_ms` in milliseconds since 1970 (UTC), at most 400 days in the past or the future",
            ));
        }
        let key = SeriesKey { workload: workload.to_owned(), metric: sample.metric, labels: sample.labels };
        taken.push(Sample::new(key, at, sample.value));
    }
    Ok(taken)
}

/// A series of any length in a bounded number of points: when there are too many, neighbours become their mean.
#[derive(Debug)]
struct Thinned {
    max: usize,
    /// How many values a point stands for.
    width: u64,
    points: Vec<(Timestamp, f64)>,
    /// The point that is not full yet: time, mean, values.
    open: Option<(Timestamp, f64, u64)>,
}

impl Thinned {
    fn new(max: usize) -> Thinned {
        Thinned { max: max.max(2), width: 1, points: Vec::new(), open: None }
    }

    fn push(&mut self, at: Timestamp, value: f64) {
        let (first, mean, count) = self.open.take().unwrap_or((at, 0.0, 0));
        let count = count + 1;
        // A running mean, so that huge values do not sum to an infinity.
        let mean = mean + (value / count as f64 - mean / count as f64);
        if count < self.width {
            self.open = Some((first, mean, count));
            return;
        }
        self.points.push((first, mean));
        if self.points.len() == self.max {
            // An even number goes up into pairs; of an odd one the last begins the next pair.
            let rest = (self.max % 2 == 1).then(|| self.points.pop()).flatten();
            self.points = self.points.chunks(2).map(|pair| (pair[0].0, halves(pair))).collect();
            self.open = rest.map(|(at, value)| (at, value, self.width));
            self.width *= 2;
        }
    }

    fn into_column(mut self, labels: BTreeMap<String, String>) -> api::MetricColumn {
        self.points.extend(self.open.map(|(at, mean, _)| (at, mean)));
        api::MetricColumn {
            labels,
            timestamps_ms: self.points.iter().map(|(at, _)| at.as_millis()).collect(),
            values: self.points.iter().map(|(_, value)| *value).collect(),
            drawn_together: self.width,
        }
    }
}

fn halves(pair: &[(Timestamp, f64)]) -> f64 {
    pair.iter().map(|(_, value)| value / pair.len() as f64).sum()
}

const SAMPLES_MAX: usize = 10_000;
/// Series of one workload, those of its instances included, beyond which no new ones are taken.
const SERIES_MAX: usize = 10_000;
/// Series of one metric in one answer.
const COLUMNS_MAX: usize = 200;
/// Points of one series in one answer.
const POINTS_MAX: usize = 2000;
const DAY: Duration = Duration::from_secs(86_400);
const AHEAD_MAX: Duration = Duration::from_secs(400 * DAY.as_secs());
const AGE_MAX: Duration = Duration::from_secs(400 * DAY.as_secs());

#[cfg(test)]
mod tests {
    use super::*;

    fn column(values: impl IntoIterator<Item = f64>, max: usize) -> api::MetricColumn {
        let mut thinned = Thinned::new(max);
        values.into_iter().enumerate().for_each(|(n, v)| thinned.push(Timestamp::from_millis(n as i64), v));
        thinned.into_column(BTreeMap::new())
    }

    #[test]
    fn few_values_stay_as_they_are_and_many_become_means() {
        let few = column([1.0, 5.0, 2.0], 10);
        assert_eq!(
            (few.values, few.timestamps_ms, few.drawn_together),
            (vec![1.0, 5.0, 2.0], vec![0, 1, 2], 1)
        );
        let many = column((0..16).map(f64::from), 8);
        assert_eq!(many.drawn_together, 4);
        assert_eq!(many.values, [1.5, 5.5, 9.5, 13.5]);
        assert_eq!(many.timestamps_ms, [0, 4, 8, 12]);
    }

    proptest::proptest! {
        #[test]
        fn thinning_keeps_the_bound_the_order_and_the_range(
            values in proptest::collection::vec(-1e3..1e3_f64, 0..500), max in 2..20_usize,
        ) {
            let (low, high) = (-1e3 - 1e-9, 1e3 + 1e-9);
            let thinned = column(values.iter().copied(), max);
            proptest::prop_assert!(thinned.values.len() <= max);
            proptest::prop_assert!(thinned.timestamps_ms.is_sorted_by(|a, b| a < b));
            proptest::prop_assert!(thinned.values.iter().all(|value| (low..=high).contains(value)));
            proptest::prop_assert_eq!(thinned.values.is_empty(), values.is_empty());
        }
    }

    #[test]
    fn huge_values_stay_finite() {
        assert!(column([f64::MAX; 100], 4).values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn what_the_daemon_measures_and_what_is_too_far_away_is_refused() {
        let now = Timestamp::from_secs(2_000_000_000);
        let sample = |metric: &str, at_ms: i64| {
            let labels = BTreeMap::new();
            check("web", vec![api::MetricSample { metric: metric.into(), at_ms, value: 1.0, labels }], now)
        };
        assert!(sample("queue_length", now.as_millis()).is_ok());
        assert!(sample("weather", now.as_millis() + 86_400_000).is_ok());
        for own in ["demand", "cpu_cores", "total_cpu_cores", "latency_p95_ms", "sessions"] {
            assert!(sample(own, now.as_millis()).is_err(), "{own}");
        }
        for far in [0, now.as_millis() / 1000, now.as_millis() * 1000, i64::MIN, i64::MAX] {
            assert!(sample("queue_length", far).is_err(), "{far}");
        }
        assert!(check("web", Vec::new(), now).is_err());
    }
}
