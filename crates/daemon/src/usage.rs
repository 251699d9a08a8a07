//! Reads what the instances use, and how near their limits they are, apart from the control loop because it asks the system
//! for every one of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use provider::{InstanceName, Provider, Providers, Strain, Usage};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// What one instance has used so far.
#[derive(Debug)]
pub(crate) struct UsageReading {
    pub(crate) name: InstanceName,
    pub(crate) at: Instant,
    pub(crate) usage: Usage,
}

/// A round of readings.
#[derive(Debug)]
pub(crate) enum Readings {
    /// Of all instances.
    Usage(Vec<UsageReading>),
    /// Of those that are sized and run.
    Strain(Vec<(InstanceName, Strain)>),
}

/// Looks quickly at the instances of these workloads, until nobody listens.
pub(crate) async fn look(
    provider: Arc<Providers>,
    workloads: BTreeSet<String>,
    readings: mpsc::Sender<Readings>,
) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut read = Vec::new();
        for info in provider.list() {
            let counts = info.ready && !info.parked && workloads.contains(&info.workload);
            if counts && let Ok(strain) = provider.strain(&info.name).await {
                read.push((info.name, strain));
            }
        }
        if readings.send(Readings::Strain(read)).await.is_err() {
            return;
        }
    }
}

/// Reads now and then until nobody listens.
pub(crate) async fn watch(provider: Arc<Providers>, readings: mpsc::Sender<Readings>) {
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Several at once: one engine may be slow, and its instances must not keep the others waiting.
        let asked = provider.list().into_iter().map(async |info| {
            let reading = timeout(PATIENCE, provider.usage(&info.name)).await;
            // An instance may end between the list and the question.
            let usage = reading.ok()?.ok()?;
            Some(UsageReading { name: info.name, at: Instant::now(), usage })
        });
        let read = stream::iter(asked).buffer_unordered(AT_ONCE).filter_map(std::future::ready);
        let read = read.collect().await;
        if readings.send(Readings::Usage(read)).await.is_err() {
            return;
        }
    }
}

/// Readings under way at a time.
const AT_ONCE: usize = 32;
/// Longest wait for one.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(250);
const READ_EVERY: Duration = Duration::from_secs(2);
