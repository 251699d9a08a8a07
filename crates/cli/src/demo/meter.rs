//! Measures what a policy used, from outside: which instances existed, in which state, for how long.
//!
//! It looks at the daemon's list of instances ten times a second and integrates. An instance costs from the start of its process
//! to its end: full price while it starts, serves, drains, stops, or waits unfrozen; the standby price only while it is frozen.

use std::time::{Duration, Instant};

use anyhow::Context;
use daemon::client::Client;

use super::stage::{WORKLOAD, is_live};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What there was at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Look {
    /// Since scoring began.
    pub(crate) at: Duration,
    /// Ready and in traffic.
    pub(crate) serving: u32,
    /// Not ready yet.
    pub(crate) starting: u32,
    /// Frozen.
    pub(crate) parked: u32,
    /// Draining, stopping, or ready without being in traffic or frozen.
    pub(crate) other: u32,
}

/// Everything measured in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// In order of time.
    pub(crate) looks: Vec<Look>,
    /// At full price.
    pub(crate) active_s: f64,
    /// At the standby price.
    pub(crate) standby_s: f64,
    /// Frozen standbys put into traffic while the policy was scored.
    pub(crate) promotions: u64,
    /// From decision to traffic.
    pub(crate) promotion_ms: api::LatencySummary,
    /// From decision to ready.
    pub(crate) cold_start_ms: api::LatencySummary,
}

/// Looks from `start` until `end` after it, then once more.
pub(crate) async fn measure(client: Client, start: Instant, end: Duration) -> anyhow::Result<Measured> {
    let mut ticks = tokio::time::interval_at(start.into(), LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut measured = Measured::default();
    let mut promoted_before = None;
    loop {
        ticks.tick().await;
        let detail = client.workload(WORKLOAD).await.context("the demo's daemon does not answer")?;
        let at = start.elapsed().min(end);
        let look = look(at, &detail.instances);
        if let Some(last) = measured.looks.last() {
            let seconds = (at - last.at).as_secs_f64();
            measured.active_s += f64::from(last.serving + last.starting + last.other) * seconds;
            measured.standby_s += f64::from(last.parked) * seconds;
        }
        measured.looks.push(look);
        let before = *promoted_before.get_or_insert(detail.promotion_ms.count);
        if at >= end {
            measured.promotions = detail.promotion_ms.count.saturating_sub(before);
            measured.promotion_ms = detail.promotion_ms;
            measured.cold_start_ms = detail.cold_start_ms;
            return Ok(measured);
        }
    }
}

fn look(at: Duration, instances: &[api::Instance]) -> Look {
    let mut look = Look { at, ..Look::default() };
    for instance in instances.iter().filter(|instance| is_live(instance)) {
        let count = match (instance.phase, instance.role, instance.parked) {
            (api::Phase::Starting, _, _) => &mut look.starting,
            (api::Phase::Ready, api::Role::Active, _) => &mut look.serving,
            (api::Phase::Ready, api::Role::Standby, true) => &mut look.parked,
            (api::Phase::Ready, api::Role::Standby, false) => &mut look.other,
            (
                api::Phase::Draining
                | api::Phase::Halting
                | api::Phase::Halted
                | api::Phase::Stopping
                | api::Phase::Stopped
                | api::Phase::Failed,
                _,
                _,
            ) => &mut look.other,
        };
        *count += 1;
    }
    look
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(phase: api::Phase, role: api::Role, parked: bool) -> api::Instance {
        api::Instance {
            id: 1,
            name: "web-1".into(),
            phase,
            role,
            parked,
            weight: 0,
            since_ms: 0,
            pid: None,
            address: None,
            healthy: None,
            in_flight: 0,
            latency_p50_ms: None,
            latency_p99_ms: None,
            cpu_cores: None,
            memory_bytes: None,
            disk_read_bytes_per_s: None,
            disk_written_bytes_per_s: None,
            network_received_bytes_per_s: None,
            network_sent_bytes_per_s: None,
            instructions_per_s: None,
            node: None,
            sessions: None,
            shift: Vec::new(),
        }
    }

    #[test]
    fn only_frozen_instances_get_the_standby_price() {
        let look = look(
            Duration::ZERO,
            &[
                instance(api::Phase::Ready, api::Role::Standby, true),
                instance(api::Phase::Ready, api::Role::Standby, false),
                instance(api::Phase::Starting, api::Role::Standby, false),
                instance(api::Phase::Ready, api::Role::Active, false),
                instance(api::Phase::Stopping, api::Role::Active, false),
                instance(api::Phase::Stopped, api::Role::Active, false),
            ],
        );
        assert_eq!((look.serving, look.starting, look.parked, look.other), (1, 1, 1, 2));
    }
}
