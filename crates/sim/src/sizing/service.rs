//! A service whose processor time is limited by a quota, as the kernel's scheduler does it, under a planner that sizes it.
//!
//! In each period of 100 ms the processes may use their limit times the period; when that is spent while there is work,
//! they wait for the next period, and the period counts as throttled. Requests come at random around a daily curve, each
//! with a random amount of work, and are served in order of arrival. The planner is the real one, told what the daemon
//! would tell it and as often.

use std::collections::VecDeque;
use std::time::Duration;

use forecast::Timestamp;
use planner::{
    ActionKind, CapacityPolicy, Event, InstanceId, Limits, Planner, Policy, Role, SizingMode, WorkloadId,
    WorkloadPolicy,
};

use super::sized;

/// What is simulated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// Who sets the limit.
    pub mode: SizingMode,
    /// Requests a second at the peak of the day; at its trough a fifth of it.
    pub peak: f64,
    /// Mean processor time of a request, in seconds.
    pub work: f64,
    /// The 99th percentile of latency is to stay below this.
    pub bound: Duration,
    /// How much the rate of requests varies from second to second, as a share of it.
    pub burst: f64,
    /// Days before the account begins, and days in it.
    pub days: (u32, u32),
    /// Of the arrivals.
    pub seed: u64,
}

/// The account.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Account {
    /// Mean limit, in cores.
    pub limit: f64,
    /// Mean use, in cores.
    pub used: f64,
    /// Minutes, and those whose 99th percentile of latency was above the bound.
    pub minutes: u32,
    /// See `minutes`.
    pub minutes_late: u32,
    /// Changes of the limit.
    pub changes: u32,
    /// Share of the minutes in which the bandit decided.
    pub bandit: f64,
}

/// Runs the service under the planner.
///
/// # Panics
/// When the planner refuses the policy, which is sound.
pub fn run(setting: &Setting) -> Account {
    let mut world = World::new(*setting);
    let (learn, score) = setting.days;
    world.seconds(u64::from(learn) * DAY);
    world.sums = Sums::default();
    world.seconds(u64::from(score) * DAY);
    world.sums.account()
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    slices: u64,
    limit: f64,
    used: f64,
    minutes: u32,
    late: u32,
    changes: u32,
    bandit: u32,
}

impl Sums {
    fn account(&self) -> Account {
        let slices = self.slices.max(1) as f64;
        Account {
            limit: self.limit / slices,
            used: self.used / slices,
            minutes: self.minutes,
            minutes_late: self.late,
            changes: self.changes,
            bandit: f64::from(self.bandit) / f64::from(self.minutes.max(1)),
        }
    }
}

struct World {
    setting: Setting,
    planner: Planner,
    rng: fastrand::Rng,
    /// In slices of 10 ms.
    slice: u64,
    limit: f64,
    rate: f64,
    /// Arrival slice, work left in seconds, and requests of it.
    queue: VecDeque<(u64, f64, u32)>,
    /// Processor time left in this period, in seconds.
    quota: f64,
    spent: bool,
    /// Since the last reading: seconds used, periods, throttled ones, arrivals.
    used: f64,
    periods: (u32, u32),
    arrived: u32,
    step_arrived: u32,
    tick_arrived: u32,
    /// Requests by latency in slices: of the reading, of the minute.
    latency: [Vec<u32>; 2],
    sums: Sums,
}

impl World {
    fn new(setting: Setting) -> World {
        let capacity = CapacityPolicy::Pinned(setting.peak * 2.0);
        let mut policy = WorkloadPolicy::new("service", Duration::from_secs(60), capacity);
        policy.tick = Duration::from_secs(10);
        (policy.replicas_min, policy.replicas_max) = (1, 1);
        policy.objective.latency_bound = Some(setting.bound);
        let sizing = sized(Duration::from_secs(300));
        policy.sizing = Some(planner::SizingPolicy {
            mode: setting.mode,
            initial: planner::Size { cpu_cores: LIMIT_FIRST, ..sizing.initial },
            most: planner::Size { cpu_cores: THREADS, ..sizing.most },
            ..sizing
        });
        let start = Timestamp::from_millis(0);
        let policy = Policy { workloads: vec![policy], limits: Limits::default(), ..Policy::default() };
        let mut planner = Planner::new(policy, setting.seed, start).expect("a sound policy");
        planner.handle(
            start,
            Event::InstanceAdopted {
                workload: workload(),
                instance: InstanceId::new(1),
                role: Role::Active,
                parked: false,
                node: None,
            },
        );
        planner.handle_timeout(start);
        World {
            setting,
            planner,
            rng: fastrand::Rng::with_seed(setting.seed),
            slice: 0,
            limit: LIMIT_FIRST,
            rate: 0.0,
            queue: VecDeque::new(),
            quota: 0.0,
            spent: false,
            used: 0.0,
            periods: (0, 0),
            arrived: 0,
            step_arrived: 0,
            tick_arrived: 0,
            latency: [vec![0; LATENCY_SLICES], vec![0; LATENCY_SLICES]],
            sums: Sums::default(),
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis((self.slice * 10) as i64)
    }

    fn seconds(&mut self, seconds: u64) {
        for _ in 0..seconds {
            let day = (self.slice as f64 / 100.0 / DAY as f64 * std::f64::consts::TAU).cos();
            let spread = 1.0 + self.setting.burst * (self.rng.f64() + self.rng.f64() - 1.0);
            self.rate = self.setting.peak * (0.6 - 0.4 * day) * spread.max(0.0);
            for _ in 0..100 {
                self.one_slice();
            }
            let second = self.slice / 100;
            if second.is_multiple_of(READ_EVERY) {
                self.report();
            }
            if second.is_multiple_of(10) {
                let demand_now = f64::from(std::mem::take(&mut self.tick_arrived)) / 10.0;
                let in_flight = self.queue.iter().map(|entry| f64::from(entry.2)).sum();
                self.tell(Event::LoadObserved { workload: workload(), demand_now, in_flight });
            }
            if second.is_multiple_of(60) {
                self.minute();
            }
            self.obey();
        }
    }

    fn one_slice(&mut self) {
        if self.slice.is_multiple_of(10) {
            self.periods = (self.periods.0 + 1, self.periods.1 + u32::from(self.spent));
            (self.quota, self.spent) = (self.limit * 0.1, false);
        }
        let arrivals = self.poisson(self.rate * 0.01);
        if arrivals > 0 {
            let work: f64 = (0..arrivals).map(|_| -self.setting.work * (1.0 - self.rng.f64()).ln()).sum();
            self.queue.push_back((self.slice, work, arrivals));
            self.arrived += arrivals;
            self.step_arrived += arrivals;
            self.tick_arrived += arrivals;
        }
        let mut able = (THREADS * 0.01).min(self.quota);
        while let Some((arrived, work, requests)) = self.queue.front_mut() {
            let done = work.min(able);
            *work -= done;
            able -= done;
            self.quota -= done;
            self.used += done;
            if *work > 0.0 {
                self.spent |= self.quota <= 1e-12;
                break;
            }
            let took = ((self.slice - *arrived) as usize + 1).min(LATENCY_SLICES - 1);
            let requests = *requests;
            self.latency.iter_mut().for_each(|histogram| histogram[took] += requests);
            self.queue.pop_front();
        }
        self.sums.slices += 1;
        self.sums.limit += self.limit;
        self.slice += 1;
    }

    fn poisson(&mut self, mean: f64) -> u32 {
        let (limit, mut product, mut n) = ((-mean).exp(), self.rng.f64(), 0);
        while product > limit {
            product *= self.rng.f64();
            n += 1;
        }
        n
    }

    /// What the daemon would read of the instance and of its backend.
    fn report(&mut self) {
        let used = std::mem::take(&mut self.used);
        self.sums.used += used * 100.0;
        let (periods, throttled) = std::mem::take(&mut self.periods);
        self.tell(Event::UsageObserved {
            workload: workload(),
            instance: InstanceId::new(1),
            cpu_cores: used / READ_EVERY as f64,
            memory_bytes: 100 << 20,
            throttled: (periods > 0).then(|| f64::from(throttled) / f64::from(periods)),
        });
        let p99 = quantile(&self.latency[0], 0.99);
        let requests = u64::from(std::mem::take(&mut self.arrived));
        self.latency[0].fill(0);
        self.tell(Event::BackendObserved {
            workload: workload(),
            instance: InstanceId::new(1),
            requests,
            errors: 0,
            latency_p50: p99 / 4,
            latency_p99: p99,
            latencies: Vec::new(),
            in_flight: 0,
        });
    }

    fn minute(&mut self) {
        let late = quantile(&self.latency[1], 0.99) > self.setting.bound;
        self.latency[1].fill(0);
        self.sums.minutes += 1;
        self.sums.late += u32::from(late);
        let snapshot = self.planner.snapshot();
        let plan = snapshot.workloads().first().and_then(|workload| workload.plan);
        let squeezed = plan.is_some_and(|plan| {
            let squeezes = |r: &planner::Reason| {
                matches!(r, planner::Reason::Size(planner::sizing::SizeReason::Squeezed { .. }))
            };
            plan.reasons.iter().any(squeezes)
        });
        self.sums.bandit += u32::from(squeezed);
        let demand = f64::from(std::mem::take(&mut self.step_arrived)) / 60.0;
        let step_start = Timestamp::from_millis(self.now().as_millis() - 60_000);
        self.tell(Event::DemandObserved {
            workload: workload(),
            step_start,
            demand: Some(demand),
            missed: 0.0,
        });
    }

    fn tell(&mut self, event: Event) {
        let now = self.now();
        self.planner.handle(now, event);
    }

    /// Carries out what was ordered: there is one instance, which only changes its size.
    fn obey(&mut self) {
        let now = self.now();
        if self.planner.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.planner.handle_timeout(now);
        }
        while let Some(action) = self.planner.poll_action() {
            match action.kind {
                ActionKind::Resize { instance, size } => {
                    self.sums.changes += u32::from(size.cpu_cores != self.limit);
                    self.limit = size.cpu_cores;
                    self.tell(Event::InstanceResized { action: action.id, instance });
                }
                ActionKind::SetWeights { .. } => {
                    self.tell(Event::WeightsApplied { action: action.id, workload: workload() });
                }
                ActionKind::Start { .. }
                | ActionKind::Park { .. }
                | ActionKind::Promote { .. }
                | ActionKind::Claim { .. }
                | ActionKind::Drain { .. }
                | ActionKind::Halt { .. }
                | ActionKind::Restart { .. }
                | ActionKind::Stop { .. } => {}
            }
        }
    }
}

fn workload() -> WorkloadId {
    WorkloadId::from("service")
}

/// The quantile of a histogram of slices.
fn quantile(histogram: &[u32], q: f64) -> Duration {
    let total: u64 = histogram.iter().map(|n| u64::from(*n)).sum();
    let rank = (q * total as f64).ceil() as u64;
    let mut seen = 0;
    let at = histogram.iter().position(|n| {
        seen += u64::from(*n);
        seen >= rank.max(1)
    });
    Duration::from_millis(10 * at.unwrap_or(0) as u64)
}

const DAY: u64 = 86_400;
/// Seconds between two readings, as in the daemon.
const READ_EVERY: u64 = 2;
const LIMIT_FIRST: f64 = 2.0;
/// The service uses no more cores than this at once.
const THREADS: f64 = 8.0;
/// Latencies are told apart up to 10 s.
const LATENCY_SLICES: usize = 1_000;
