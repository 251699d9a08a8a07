//! Standbys of another size than active instances: what one of them can serve, and how capacity is counted then.
//!
//! A promoted standby keeps its size while it serves, so both sizes, the profiles, may serve at the same time. What an instance is
//! worth is its capacity in those of an active one: it begins at the ratio of processor time, and where capacity is learned, that of
//! each profile is learned by itself, from the load and latency of its own instances. Weights in the route table follow it, and
//! active instances are counted by it. Standbys are counted by number: a pool that is too large for a moment costs little. A standby is
//! never taken for less than an active instance: many small ones would need more places than there may be.

use std::fmt;
use std::time::Duration;

use crate::capacity::{Capacity, Reading};
use crate::fleet::Fleet;
use crate::instance::{Instance, Phase, Role};
use crate::policy::{CapacityPolicy, WorkloadPolicy};
use crate::shift::Stats;
use crate::size::Size;
use crate::workload::Workload;

/// How large instances are by what they were started for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Profiles {
    /// Those that are started because they are to serve at once.
    pub active: Size,
    /// Those that stand by.
    pub standby: Size,
}

/// Two profiles, and what is known of the second.
#[derive(Debug, Clone)]
pub(crate) struct Worth {
    profiles: Profiles,
    /// Of a standby that serves.
    capacity: Capacity,
    /// In active instances, as it is counted with.
    of_standby: f64,
}

/// Why capacity is counted as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfileReason {
    /// The size of standbys.
    pub standby: Size,
    /// Active instances that one of them is worth.
    pub worth: f64,
    /// How many of them serve.
    pub serving: u32,
    /// It was learned; else it is the ratio of processor time.
    pub learned: bool,
}

impl Profiles {
    fn of(&self, role: Role) -> Size {
        match role {
            Role::Active => self.active,
            Role::Standby => self.standby,
        }
    }

    /// The size of a new instance.
    pub(crate) fn of_new(&self, is_to_stand_by: bool) -> Size {
        if is_to_stand_by { self.standby } else { self.active }
    }

    /// The size that an instance is to get, whatever it has.
    pub(crate) fn of_running(&self, instance: &Instance) -> Option<Size> {
        // One that serves keeps its size, unless nobody knows it.
        let keeps = instance.role == Role::Active && instance.size.is_some();
        (!keeps).then(|| self.of(instance.role))
    }

    fn ratio(&self) -> f64 {
        self.standby.cpu_cores / self.active.cpu_cores
    }

    /// Every rule with whether it is kept, by field.
    pub(crate) fn rules(&self, policy: &WorkloadPolicy) -> Vec<(bool, &'static str, &'static str)> {
        let valid = self.active.is_valid() && self.standby.is_valid();
        let alone = policy.sizing.is_none()
            && policy.stopped.is_none()
            && policy.sessions.is_none()
            && policy.template.is_none();
        vec![
            (valid, "profiles", "must have more than 0 cores and bytes"),
            (
                self.ratio() >= 1.0,
                "profiles",
                "must give standbys no less processor time than active instances",
            ),
            (alone, "profiles", "cannot be used where instances are sized, stopped, shared or hold sessions"),
        ]
    }
}

impl Worth {
    pub(crate) fn of(policy: &WorkloadPolicy) -> Option<Worth> {
        let profiles = policy.profiles?;
        let ratio = profiles.ratio();
        let capacity = match policy.capacity {
            CapacityPolicy::Pinned(units) => CapacityPolicy::Pinned(units * ratio),
            CapacityPolicy::Learned { initial } => CapacityPolicy::Learned { initial: initial * ratio },
        };
        Some(Worth { profiles, capacity: Capacity::new(capacity), of_standby: ratio })
    }

    fn of_instance(&self, instance: &Instance) -> f64 {
        if instance.size == Some(self.profiles.standby) { self.of_standby } else { 1.0 }
    }
}

impl Fleet {
    /// What those are worth together, in active instances.
    pub(crate) fn worth(&self, test: impl Fn(&Instance) -> bool) -> f64 {
        self.instances.iter().filter(|i| test(i)).map(|i| i.worth).sum()
    }

    /// What those that serve can serve together, in active instances, also where they are counted by number.
    pub(crate) fn shares(&self) -> f64 {
        self.instances.iter().filter(|i| i.serving()).map(|i| i.share).sum()
    }

    /// The largest share of traffic that one takes.
    pub(crate) fn share_most(&self) -> f64 {
        let serving = self.instances.iter().filter(|i| i.serving()).map(|i| i.share);
        serving.fold(f64::MIN_POSITIVE, f64::max)
    }
}

impl Workload {
    /// Says what each instance is worth. By number where an operator has given one.
    pub(crate) fn appraise(&mut self, pinned: bool) {
        let Some(worth) = &self.worth else { return };
        for instance in &mut self.fleet.instances {
            instance.worth = if pinned { 1.0 } else { worth.of_instance(instance) };
            instance.share = worth.of_instance(instance);
        }
    }

    /// Learns what each profile can serve, from what its own instances do; `false` where there is one kind only.
    pub(crate) fn learn_profiles(&mut self, demand: f64) -> bool {
        let Some(worth) = &mut self.worth else { return false };
        let bound = self.policy.objective.latency_bound;
        let serving = || self.fleet.instances.iter().filter(|i| i.serving());
        let requests: f64 = serving().map(|i| i.stats.requests_now()).sum();
        let is_standby = |i: &Instance| i.size == Some(worth.profiles.standby);
        let reading = |standby: bool| {
            let mut stats = Stats::default();
            let mut count = 0u32;
            for instance in serving().filter(|i| is_standby(i) == standby) {
                stats.join(&instance.stats);
                count += 1;
            }
            let share = stats.requests_now() / requests;
            Some(Reading {
                load: demand * share / f64::from(count),
                in_system: stats.latency_p50_seen()?.max(LATENCY_MIN).as_secs_f64(),
                latency_p99: stats.latency_p99_seen(),
                error_rate: stats.error_rate(),
            })
        };
        let (active, standby) = (reading(false), reading(true));
        // In one reading, or where there is one kind, the workload as a whole is all that there is to learn from.
        let (Some(active), Some(standby)) = (active, standby) else { return false };
        self.outlook.capacity.observe(active, bound);
        worth.capacity.observe(standby, bound);
        let learned = (worth.capacity.estimate() / self.outlook.capacity.unscaled()).max(1.0);
        // Not with every reading: tables would follow each of them.
        if (learned / worth.of_standby - 1.0).abs() > CHANGE_MIN && learned.is_finite() {
            worth.of_standby = learned;
        }
        true
    }

    /// What is to be said of profiles in a plan.
    pub(crate) fn profile_reason(&self) -> Option<ProfileReason> {
        let worth = self.worth.as_ref()?;
        let standby = worth.profiles.standby;
        let serving = |i: &&Instance| i.serving() && i.size == Some(standby);
        let serving = self.fleet.instances.iter().filter(serving).count() as u32;
        let learned = worth.of_standby != worth.profiles.ratio();
        Some(ProfileReason { standby, worth: worth.of_standby, serving, learned })
    }

    /// The size that instances are to have by what they are used for.
    pub(crate) fn profiles(&self) -> Option<Profiles> {
        self.worth.as_ref().map(|worth| worth.profiles)
    }
}

/// Instances whose size may be changed to that of their profile: not while they start.
pub(crate) fn fits(instance: &Instance, profiles: &Profiles) -> Option<Size> {
    let ready = instance.phase == Phase::Ready;
    profiles.of_running(instance).filter(|size| ready && instance.size != Some(*size))
}

impl fmt::Display for ProfileReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.standby.memory_bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "Standbys have {:.2} cores and {mib:.0} MiB; one that serves counts as {:.2} active instances, by {}; {} of them \
             serve now.",
            self.standby.cpu_cores,
            self.worth,
            if self.learned { "its load and latency" } else { "its share of processor time" },
            self.serving
        )
    }
}

/// A worth that differs by no more than this share is left as it is.
const CHANGE_MIN: f64 = 0.05;
/// Below this, clocks tell nothing.
const LATENCY_MIN: Duration = Duration::from_micros(10);
/// Shares of an instance below this are forgiven: sums of worths are seldom whole.
pub(crate) const WORTH_SPARE: f64 = 1e-6;
