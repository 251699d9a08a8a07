//! The rival: the rule of Kubernetes' Horizontal Pod Autoscaler, run in the demo's compressed time on the same processes and proxy.
//!
//! It reads requests a second as the proxy counted them, late by the compressed age of a real metric pipeline, aims at 70 % of what an
//! instance can really serve, and has Kubernetes' default constants, all compressed by the same factor as the trace. What it
//! decides becomes an operator's pin, so that the same executor starts and stops the same instances.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::Context;
use daemon::client::Client;
use forecast::Timestamp;
use sim::rivals::hpa::{Hpa, HpaConfig};

use super::plan::{HPA_METRIC_WINDOW, Script, UTILISATION_TARGET};
use super::stage::{WORKLOAD, pin};

/// Readings of the request counter kept for the delayed metric.
const READINGS_MAX: usize = 4096;

/// Decides every sync period from now on, on `initial` instances, until `end`.
pub(crate) async fn run(client: Client, script: &Script, initial: u32, end: Instant) -> anyhow::Result<()> {
    let start = Instant::now();
    let config = HpaConfig::new(UTILISATION_TARGET * script.capacity(), 1, script.replicas_max)
        .compressed(script.speedup);
    let (sync, lag) = (config.sync, config.metric_lag);
    let mut hpa = Hpa::new(config);
    let mut meter = Meter::new(lag, script.compressed(HPA_METRIC_WINDOW));
    let mut current = initial;
    let mut ticks = tokio::time::interval(sync);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    while Instant::now() < end {
        ticks.tick().await;
        let detail = client.workload(WORKLOAD).await.context("the demo's daemon does not answer")?;
        meter.read(Instant::now(), detail.counters.arrivals);
        let at = Timestamp::from_millis(i64::try_from(start.elapsed().as_millis()).unwrap_or(i64::MAX));
        let Some(metric) = meter.rate(Instant::now()) else { continue };
        let wanted = hpa.decide(at, metric, detail.summary.counts.active, current);
        if wanted != current {
            let reason = format!("{metric:.0} requests/s on {current} instances");
            pin(client, wanted, "hpa", &reason).await?;
            current = wanted;
        }
    }
    Ok(())
}

/// The request counter as it was a little while ago.
struct Meter {
    lag: Duration,
    window: Duration,
    readings: VecDeque<(Instant, u64)>,
}

impl Meter {
    fn new(lag: Duration, window: Duration) -> Meter {
        Meter { lag, window, readings: VecDeque::new() }
    }

    fn read(&mut self, at: Instant, arrivals: u64) {
        if self.readings.len() >= READINGS_MAX {
            self.readings.pop_front();
        }
        self.readings.push_back((at, arrivals));
    }

    /// Mean rate over the window that ended one lag ago; none before so much was seen.
    fn rate(&self, now: Instant) -> Option<f64> {
        let to = now.checked_sub(self.lag)?;
        let from = to.checked_sub(self.window)?;
        let arrivals = self.arrivals_at(to)? - self.arrivals_at(from)?;
        Some(arrivals / self.window.as_secs_f64())
    }

    /// Between two readings the counter is taken to have grown evenly.
    fn arrivals_at(&self, at: Instant) -> Option<f64> {
        let later = self.readings.partition_point(|(time, _)| *time < at);
        let (after, before) = (self.readings.get(later)?, self.readings.get(later.checked_sub(1)?)?);
        let share = (at - before.0).as_secs_f64() / (after.0 - before.0).as_secs_f64().max(f64::MIN_POSITIVE);
        Some(before.1 as f64 + share * (after.1.saturating_sub(before.1)) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_is_as_old_as_a_real_pipeline_would_make_it() {
        let mut meter = Meter::new(Duration::from_secs(2), Duration::from_secs(1));
        let zero = Instant::now();
        for second in 0..=10u64 {
            // 100 requests a second until second 5, then 300.
            let arrivals = if second <= 5 { 100 * second } else { 500 + 300 * (second - 5) };
            meter.read(zero + Duration::from_secs(second), arrivals);
        }
        assert_eq!(meter.rate(zero + Duration::from_secs(2)), None);
        assert!((meter.rate(zero + Duration::from_secs(6)).unwrap() - 100.0).abs() < 1e-6);
        assert!((meter.rate(zero + Duration::from_secs(10)).unwrap() - 300.0).abs() < 1e-6);
    }
}
