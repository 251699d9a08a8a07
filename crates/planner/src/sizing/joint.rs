//! Count and size together, where an instance with more processor time serves more demand.
//!
//! If one controller answered demand with larger instances and another with more of them, each would take back what the
//! other gave. So the size is decided rarely, for the peak of the day, and the count follows demand in between with the
//! capacity of that size.

use std::time::Duration;

use forecast::Timestamp;

use super::policy::SizingPolicy;
use super::reason::SizeReason;

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// Largest demand expected within a day.
    pub(crate) peak: f64,
    /// Demand that an instance of the initial size serves.
    pub(crate) capacity: f64,
    /// Memory of an instance, in bytes.
    pub(crate) memory: f64,
    pub(crate) replicas_min: u32,
    pub(crate) replicas_max: u32,
}

/// The decision, and when it was made.
#[derive(Debug, Clone, Default)]
pub(crate) struct Joint {
    decided: Option<(f64, Timestamp)>,
}

impl Joint {
    /// Whether a decision may be due; the peak of the day is only asked for then.
    pub(crate) fn cores(&self) -> Option<f64> {
        self.decided.map(|(cores, _)| cores)
    }

    /// Processor time of each instance from now on, in cores.
    pub(crate) fn decide(
        &mut self,
        policy: &SizingPolicy,
        now: Timestamp,
        need: Need,
    ) -> (f64, Option<SizeReason>) {
        let before = self.decided.map_or(policy.initial.cpu_cores, |(cores, _)| cores);
        let rested = self.decided.is_none_or(|(_, at)| now.since(at) >= REST);
        let cost_before = cost(policy, need, before);
        if !rested && cost_before.is_some() {
            return (before, None);
        }
        let best = ladder(policy)
            .filter_map(|cores| Some((cost(policy, need, cores)?, cores)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        let most = policy.most.cpu_cores;
        // Where no size is enough, the largest misses least.
        let (cost, cores) = best.unwrap_or((cost_at(policy, need, most), most));
        let gain = cost_before.map_or(f64::INFINITY, |before| before / cost.max(f64::MIN_POSITIVE));
        if gain <= 1.0 + policy.change_min || cores == before {
            self.decided.get_or_insert((before, now));
            return (before, None);
        }
        self.decided = Some((cores, now));
        let instances = count(policy, need, cores, need.peak).min(need.replicas_max);
        let before = cost_at(policy, need, before) / cost.max(f64::MIN_POSITIVE);
        let reason = SizeReason::Together { cpu_cores: cores, peak: need.peak, instances, before };
        (cores, Some(reason))
    }
}

/// The sizes that are tried: each a fourth larger than the one before.
fn ladder(policy: &SizingPolicy) -> impl Iterator<Item = f64> {
    let (least, most) = (policy.least.cpu_cores, policy.most.cpu_cores);
    let steps = ((most / least).ln() / RUNG.ln()).ceil().clamp(0.0, RUNGS_MAX) as i32;
    (0..=steps).map(move |n| (least * RUNG.powi(n)).min(most))
}

/// Instances of this size for a demand.
fn count(policy: &SizingPolicy, need: Need, cores: f64, demand: f64) -> u32 {
    let capacity = need.capacity * cores / policy.initial.cpu_cores;
    let exact = (demand / capacity).ceil();
    if exact.is_finite() { (exact as u32).max(need.replicas_min).max(1) } else { u32::MAX }
}

/// Cost of a day with this peak, in cores; `None` when so many instances are not allowed.
fn cost(policy: &SizingPolicy, need: Need, cores: f64) -> Option<f64> {
    (count(policy, need, cores, need.peak) <= need.replicas_max).then(|| cost_at(policy, need, cores))
}

/// The mean over levels of demand around the peak and below. At one level alone the size that happens to divide it would
/// be cheapest, and the next day another one.
fn cost_at(policy: &SizingPolicy, need: Need, cores: f64) -> f64 {
    let each = cores + policy.gib_price * need.memory / GIB;
    let instances = |level: &f64| f64::from(count(policy, need, cores, level * need.peak));
    each * LEVELS.iter().map(instances).sum::<f64>() / LEVELS.len() as f64
}

/// Sizes are left alone for this long unless the peak does not fit any more. A little less than a day, so that a decision
/// does not slip to another time of day.
const REST: Duration = Duration::from_secs(23 * 3600);
/// Parts of the peak.
const LEVELS: [f64; 8] = [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1];
const RUNG: f64 = 1.25;
const RUNGS_MAX: f64 = 64.0;
const GIB: f64 = (1u64 << 30) as f64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;

    fn policy() -> SizingPolicy {
        let size = |cpu_cores, gib: f64| Size { cpu_cores, memory_bytes: (gib * GIB) as u64 };
        SizingPolicy::new(size(0.25, 0.1), size(4.0, 8.0), size(1.0, 1.0))
    }

    fn need(peak: f64) -> Need {
        Need { peak, capacity: 100.0, memory: GIB, replicas_min: 1, replicas_max: 20 }
    }

    #[test]
    fn memory_of_each_instance_makes_few_large_ones_cheaper() {
        let now = Timestamp::from_millis(0);
        let heavy = Need { memory: 6.0 * GIB, ..need(800.0) };
        let (cores, reason) = Joint::default().decide(&policy(), now, heavy);
        assert!(cores >= 3.0, "{cores}");
        assert!(matches!(reason, Some(SizeReason::Together { instances: 2..=3, .. })), "{reason:?}");
        let light = Need { memory: 0.01 * GIB, ..need(130.0) };
        let (cores, _) = Joint::default().decide(&policy(), now, light);
        assert!(cores < 0.8, "small ones follow demand more closely: {cores}");
    }

    #[test]
    fn a_size_rests_for_a_day_unless_the_peak_does_not_fit() {
        let mut joint = Joint::default();
        let at = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let heavy = |peak| Need { memory: 6.0 * GIB, ..need(peak) };
        let (first, _) = joint.decide(&policy(), at(0), heavy(800.0));
        assert_eq!(joint.decide(&policy(), at(5), heavy(40.0)).0, first, "rests");
        let (second, _) = joint.decide(&policy(), at(24), heavy(40.0));
        assert!(second < 1.0, "{second}");
        let (third, _) = joint.decide(&policy(), at(25), heavy(7_000.0));
        assert!(third * 20.0 * 100.0 >= 7_000.0, "{third}");
        assert_eq!(joint.decide(&policy(), at(26), heavy(1e9)).0, 4.0);
    }

    #[test]
    fn a_gain_within_the_hysteresis_changes_nothing() {
        let mut joint = Joint::default();
        let now = Timestamp::from_millis(0);
        let (cores, reason) = joint.decide(&policy(), now, Need { memory: 0.0, ..need(1000.0) });
        assert_eq!((cores, reason), (1.0, None));
    }
}
