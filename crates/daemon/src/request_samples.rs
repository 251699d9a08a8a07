//! Request samples on their way from the proxy into history, and, when the proxy has begun anew, back: its cost models learn again
//! from what is remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forecast::Timestamp;
use history::{RequestRecord, Store};
use proxy::control::{Amount, Client, ControlError, CostStats, RequestSample};
use tokio::time::{MissedTickBehavior, interval};

use crate::config::WorkloadConfig;
use crate::error::chain;
use crate::recorder::{Inbox, Record, clock};

/// What is known of one workload's samples.
#[derive(Debug, Default)]
struct Progress {
    /// When the proxy started that was taught and read.
    proxy: Option<u64>,
    /// The newest sample that was read.
    after: u64,
}

/// Reads the samples of all workloads that have any, for as long as it is let.
pub(crate) async fn watch(
    workloads: Vec<WorkloadConfig>,
    client: Arc<Client>,
    store: Arc<Store>,
    inbox: Inbox,
) {
    let mut progress: BTreeMap<String, Progress> = BTreeMap::new();
    for workload in workloads.iter().filter(|workload| workload.admission.is_some()) {
        progress.entry(workload.name.clone()).or_default();
    }
    if progress.is_empty() {
        return;
    }
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        for (workload, progress) in &mut progress {
            if let Err(error) = read(workload, progress, &client, &store, &inbox).await {
                // Whether the proxy answers is watched elsewhere.
                tracing::debug!(workload, error = chain(&error), "request samples were not read");
            }
        }
    }
}

async fn read(
    workload: &str,
    progress: &mut Progress,
    client: &Client,
    store: &Arc<Store>,
    inbox: &Inbox,
) -> Result<(), ControlError> {
    let (started_at, mut samples) = client.samples(workload, progress.after).await?;
    if progress.proxy != Some(started_at) {
        // Nothing is taught that this proxy has learned itself.
        if !remember(workload, started_at, client, store).await? {
            return Ok(());
        }
        (progress.proxy, progress.after) = (Some(started_at), 0);
        (_, samples) = client.samples(workload, 0).await?;
    }
    progress.after = samples.last().map_or(progress.after, |last| last.number);
    if !samples.is_empty() {
        inbox.record(Record::Requests(samples.into_iter().map(|sample| record(workload, &sample)).collect()));
    }
    Ok(())
}

/// Teaches the proxy what it does not know; false when it is not ready to learn yet.
async fn remember(
    workload: &str,
    started_at: u64,
    client: &Client,
    store: &Arc<Store>,
) -> Result<bool, ControlError> {
    let (store, name) = (Arc::clone(store), workload.to_owned());
    let begun = Timestamp::from_millis(i64::try_from(started_at).unwrap_or(i64::MAX));
    let read = move || store.requests(&name, Timestamp::from_millis(0), begun.min(clock()), TAUGHT_MAX);
    let mut known = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(known)) => known,
        Ok(Err(error)) => {
            tracing::warn!(workload, error = chain(&error), "remembered requests cannot be read");
            return Ok(true);
        }
        Err(_) => return Ok(true),
    };
    known.reverse();
    let samples: Vec<RequestSample> = known.iter().filter_map(sample).collect();
    if samples.is_empty() {
        return Ok(true);
    }
    let count = samples.len();
    let taught = client.teach(workload, samples).await?;
    if taught > 0 {
        tracing::info!(workload, requests = count, "the proxy has learned from remembered requests");
    }
    Ok(taught > 0)
}

/// As it is kept.
pub(crate) fn record(workload: &str, sample: &RequestSample) -> RequestRecord {
    let known = |numbers: &[f64]| numbers.iter().map(|n| n.is_finite().then_some(*n)).collect::<Vec<_>>();
    let kept = api::RequestSample {
        at_ms: i64::try_from(sample.at).unwrap_or(i64::MAX),
        endpoint: sample.endpoint.clone(),
        class: sample.class,
        numbers: known(&sample.numbers),
        names: sample.names.clone(),
        reserved: sample.reserved.iter().map(|amount| amount.as_f64()).collect(),
        measured: known(&sample.measured),
        waited_ms: sample.waited_us as f64 / 1e3,
        instance: sample.backend,
    };
    RequestRecord {
        at: Timestamp::from_millis(kept.at_ms),
        workload: workload.to_owned(),
        number: sample.number,
        body: serde_json::to_vec(&kept).unwrap_or_default(),
    }
}

/// As the API says it.
pub(crate) fn cost(stats: &CostStats) -> api::RequestCost {
    api::RequestCost {
        name: stats.name.clone(),
        per_instance: stats.per_instance.as_f64(),
        reserved: stats.reserved.as_f64(),
        waiting: stats.waiting.as_f64(),
        arrived: stats.arrived.as_f64(),
        expected: stats.expected.as_f64(),
        measured: stats.measured.as_f64(),
        outgrown: stats.outgrown,
        hopeless: stats.hopeless,
    }
}

/// Back from [`record`]; none for what another version has written.
fn sample(record: &RequestRecord) -> Option<RequestSample> {
    let kept: api::RequestSample = serde_json::from_slice(&record.body).ok()?;
    let known = |numbers: &[Option<f64>]| numbers.iter().map(|n| n.unwrap_or(f64::NAN)).collect::<Vec<_>>();
    Some(RequestSample {
        number: record.number,
        at: u64::try_from(kept.at_ms).ok()?,
        numbers: known(&kept.numbers),
        measured: known(&kept.measured),
        reserved: kept.reserved.iter().map(|amount| Amount::from_f64(*amount)).collect(),
        waited_us: (kept.waited_ms * 1e3) as u64,
        endpoint: kept.endpoint,
        class: kept.class,
        names: kept.names,
        backend: kept.instance,
    })
}

const READ_EVERY: Duration = Duration::from_secs(1);
/// Requests that a new proxy learns from.
const TAUGHT_MAX: usize = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_comes_back_from_history_as_it_was() {
        let kept = RequestSample {
            number: 7,
            at: 1_000,
            endpoint: "GET /a/{b}".into(),
            class: 1,
            numbers: vec![1.5, -2.0],
            names: vec!["x".into(), String::new()],
            reserved: vec![Amount::from_f64(2.25)],
            measured: vec![3.0],
            waited_us: 1_500,
            backend: 9,
        };
        assert_eq!(sample(&record("web", &kept)), Some(kept.clone()));
        let unknown = RequestSample { numbers: vec![f64::NAN], measured: vec![f64::NAN], ..kept };
        let back = sample(&record("web", &unknown)).expect("readable");
        assert!(back.numbers[0].is_nan() && back.measured[0].is_nan());
    }
}
