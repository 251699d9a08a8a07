//! Reads what the instances use, apart from the control loop because it asks the system for every one of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use provider::{InstanceName, Provider, Providers, Usage};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

/// What one instance has used so far.
#[derive(Debug)]
pub(crate) struct UsageReading {
    pub(crate) name: InstanceName,
    pub(crate) at: Instant,
    pub(crate) usage: Usage,
}

/// Reads now and then until nobody listens.
pub(crate) async fn watch(provider: Arc<Providers>, readings: mpsc::Sender<Vec<UsageReading>>) {
    let mut ticks = interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut read = Vec::new();
        for info in provider.list() {
            // An instance may end between the list and the question.
            if let Ok(usage) = provider.usage(&info.name).await {
                read.push(UsageReading { name: info.name, at: Instant::now(), usage });
            }
        }
        if readings.send(read).await.is_err() {
            return;
        }
    }
}

const READ_EVERY: Duration = Duration::from_secs(2);
