//! The script of the demo: which morning, how fast, how large, and what everything costs.
//!
//! Every number of the demo is here, each with the reason for it; nothing is tuned elsewhere. Both policies get the same numbers.

use std::time::Duration;

use forecast::Timestamp;

use super::place::Kind;

/// What is played, and on what.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// What instances are.
    pub(crate) kind: Kind,
    /// The moment of the trace at which scoring begins.
    pub(crate) from: Timestamp,
    /// Trace seconds that pass in one second of the demo.
    pub(crate) speedup: f64,
    /// Requests sent for each request of the trace.
    pub(crate) scale: f64,
    /// Scored length of one run.
    pub(crate) length: Duration,
    /// Unscored load before it, for each policy to find its footing from the instances that both begin with.
    pub(crate) lead_in: Duration,
    /// How much of the trace before the run foreshadow learns from.
    pub(crate) history: Duration,
    /// Length of a demand sample.
    pub(crate) step: Duration,
    /// Longest time between two plans.
    pub(crate) tick: Duration,
    /// How long capacity is kept before it may shrink.
    pub(crate) hold: Duration,
    /// Requests one instance serves at a time.
    pub(crate) slots: u32,
    /// How long each takes.
    pub(crate) service_time: Duration,
    /// Requests that may wait in an instance before it answers 503.
    pub(crate) queue: u32,
    /// How long an instance takes to become ready.
    pub(crate) startup: Duration,
    /// A start that takes longer has failed.
    pub(crate) start_deadline: Duration,
    /// From the start of the daemon to the first request, beside one start: those that both begin with start at once.
    pub(crate) get_ready: Duration,
    /// Answers later than this are late.
    pub(crate) bound: Duration,
    /// A request without an answer by then has failed.
    pub(crate) timeout: Duration,
    /// Most instances, active and standby together, for both policies.
    pub(crate) replicas_max: u32,
    /// Share of demand that may find no capacity.
    pub(crate) error_budget: f64,
    /// Price of a parked instance; an active or starting one costs 1.
    pub(crate) standby_price: f64,
    /// Seed of the arrival times.
    pub(crate) seed: u64,
}

impl Script {
    /// The demo as it is shown.
    pub(crate) fn new(seed: u64) -> Script {
        Script {
            kind: Kind::Process,
            // Wednesday, 23 August 1995, 06:30 at the Kennedy Space Center: an ordinary weekday morning, demand trebles.
            from: Timestamp::from_millis(809_173_800_000),
            // Fast enough to see three hours of it in a minute; a start-up then stands for 12 minutes, as that of a large model does.
            speedup: 180.0,
            // Enough requests for the noise of single ones to matter less than the morning.
            scale: 3.0,
            length: Duration::from_secs(60),
            lead_in: Duration::from_secs(8),
            history: Duration::from_secs(27 * 24 * 3600),
            step: Duration::from_secs(1),
            tick: Duration::from_millis(100),
            hold: Duration::from_secs(1),
            slots: 2,
            service_time: Duration::from_millis(40),
            queue: 16,
            startup: Duration::from_secs(4),
            start_deadline: Duration::from_secs(16),
            get_ready: Duration::from_millis(2500),
            bound: Duration::from_millis(250),
            timeout: Duration::from_secs(2),
            replicas_max: 24,
            error_budget: 0.001,
            standby_price: 0.2,
            seed,
        }
    }

    /// The same with instances of another kind.
    pub(crate) fn made_of(self, kind: Kind) -> Script {
        match kind {
            Kind::Process | Kind::Docker => Script { kind, ..self },
            Kind::Vm => self.of_machines(),
        }
    }

    /// The same morning for machines that may have to be emulated, on two cores: a third of the instances, a ninth of the
    /// requests.
    fn of_machines(self) -> Script {
        Script {
            kind: Kind::Vm,
            scale: 0.5,
            service_time: Duration::from_millis(100),
            // The first is booted, and saved for all others.
            start_deadline: Duration::from_secs(90),
            get_ready: Duration::from_secs(20),
            bound: Duration::from_millis(600),
            timeout: Duration::from_secs(4),
            replicas_max: 10,
            ..self
        }
    }

    /// Requests a second one instance serves at the very most.
    pub(crate) fn capacity(&self) -> f64 {
        f64::from(self.slots) / self.service_time.as_secs_f64()
    }

    /// Requests a second one instance serves within the latency bound: beyond it random arrivals queue too long.
    pub(crate) fn capacity_within_bound(&self) -> f64 {
        UTILISATION_BOUND * self.capacity()
    }

    /// What a duration of the demo stands for in the trace.
    pub(crate) fn stands_for(&self, duration: Duration) -> Duration {
        duration.mul_f64(self.speedup)
    }

    /// A duration of the world compressed to the demo's time.
    pub(crate) fn compressed(&self, duration: Duration) -> Duration {
        duration.div_f64(self.speedup)
    }
}

/// The same reference for both: HPA's usual aim of 70 % of what an instance can really do sets the number they begin with.
pub(crate) const UTILISATION_TARGET: f64 = 0.7;
/// Share of its capacity at which an instance still answers within the bound, for two slots, random arrivals, and as many instances as here.
pub(crate) const UTILISATION_BOUND: f64 = 0.9;
/// HPA reads a metric that averages over this long in the trace's time, as `rate(..[1m])` does.
pub(crate) const HPA_METRIC_WINDOW: Duration = Duration::from_secs(60);
