//! What must not wait for a round of readings: looks at single instances several times a second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use forecast::Timestamp;

use super::usage::RecentPeak;
use crate::ids::InstanceId;

/// One look at one instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Look {
    /// Memory in use, in bytes, where it is known.
    pub(crate) memory: Option<u64>,
    /// Share of its quota's periods in which it was throttled since the look before, where there were any.
    pub(crate) throttled: Option<f64>,
}

/// What follows from a look and those before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    /// Memory it will use by the time an answer is in force, if it goes on growing as fast. Up to what any has used it is taken
    /// not to go on: whoever gets work comes to use what others do, and stays there.
    pub(crate) memory_ahead: Option<u64>,
    /// Mean share of throttled periods, once a whole moment was seen.
    pub(crate) throttled: Option<f64>,
}

/// The last looks at each instance.
#[derive(Debug, Clone, Default)]
pub(crate) struct Strains {
    of: BTreeMap<InstanceId, Strain>,
    /// What looks have seen, and they alone: a reading just before one would make growth look like something known.
    memory_peak: RecentPeak,
}

#[derive(Debug, Clone, Default)]
struct Strain {
    memory: Option<(Timestamp, u64)>,
    throttled: VecDeque<(Timestamp, f64)>,
    seen: Option<Timestamp>,
}

impl Strains {
    /// Takes in a look.
    pub(crate) fn look(&mut self, now: Timestamp, instance: InstanceId, look: Look) -> Seen {
        // Who was not looked at for long has ended.
        self.of.retain(|_, strain| strain.seen.is_none_or(|seen| now.since(seen) <= FORGOTTEN));
        let strain = self.of.entry(instance).or_default();
        strain.seen = Some(now);
        if let Some(share) = look.throttled {
            strain.throttled.push_back((now, share));
        }
        while strain.throttled.front().is_some_and(|(at, _)| now.since(*at) > KEPT) {
            strain.throttled.pop_front();
        }
        let known = self.memory_peak.value() as u64;
        let memory_ahead = look.memory.map(|memory| match strain.ahead(now, memory) {
            ahead if memory <= known => ahead.min(known),
            ahead => ahead,
        });
        if let Some(memory) = look.memory {
            self.memory_peak.add(now, memory as f64);
        }
        let begun = strain.throttled.front().map_or(Duration::ZERO, |(at, _)| now.since(*at));
        let shares = strain.throttled.iter().map(|(_, share)| share);
        let mean = shares.sum::<f64>() / strain.throttled.len().max(1) as f64;
        Seen { memory_ahead, throttled: (begun >= MOMENT).then_some(mean) }
    }

    /// The size has changed: what was throttled before says nothing of now.
    pub(crate) fn forget_throttling(&mut self) {
        self.of.values_mut().for_each(|strain| strain.throttled.clear());
    }
}

impl Strain {
    fn ahead(&mut self, now: Timestamp, memory: u64) -> u64 {
        let before = self.memory.replace((now, memory));
        let Some((at, before)) = before else { return memory };
        let elapsed = now.since(at);
        if elapsed < SOON || elapsed > FORGOTTEN {
            return memory;
        }
        let growth = memory.saturating_sub(before) as f64 / elapsed.as_secs_f64();
        memory.saturating_add((growth * AHEAD.as_secs_f64()) as u64)
    }
}

/// Throttling is believed after this time, and looked at over a little more.
const MOMENT: Duration = Duration::from_millis(700);
const KEPT: Duration = Duration::from_millis(1_200);
/// Looks that are nearer tell no speed, and those farther apart are no looks at one thing.
const SOON: Duration = Duration::from_millis(50);
const FORGOTTEN: Duration = Duration::from_secs(10);
/// The next look and its answer come within this time.
const AHEAD: Duration = Duration::from_millis(750);

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn look(memory: u64, throttled: f64) -> Look {
        Look { memory: Some(memory), throttled: Some(throttled) }
    }

    #[test]
    fn memory_is_taken_to_grow_on_and_never_to_shrink() {
        let (mut strains, one) = (Strains::default(), InstanceId::new(1));
        assert_eq!(strains.look(at(0), one, look(100 * MIB, 0.0)).memory_ahead, Some(100 * MIB));
        assert_eq!(strains.look(at(250), one, look(120 * MIB, 0.0)).memory_ahead, Some(180 * MIB));
        assert_eq!(strains.look(at(500), one, look(110 * MIB, 0.0)).memory_ahead, Some(110 * MIB));
        let other = strains.look(at(500), InstanceId::new(2), look(50 * MIB, 0.0));
        assert_eq!(other.memory_ahead, Some(50 * MIB));
        let other = strains.look(at(750), InstanceId::new(2), look(90 * MIB, 0.0));
        assert_eq!(other.memory_ahead, Some(120 * MIB), "as much as the first has used");
        assert_eq!(strains.look(at(60_000), one, look(900 * MIB, 0.0)).memory_ahead, Some(900 * MIB));
        assert_eq!(strains.of.len(), 1, "who is looked at no more is forgotten");
    }

    #[test]
    fn throttling_is_believed_after_a_moment_and_forgotten_with_the_size() {
        let (mut strains, one) = (Strains::default(), InstanceId::new(1));
        let seen: Vec<_> = (0..4).map(|n| strains.look(at(250 * n), one, look(MIB, 0.8)).throttled).collect();
        assert_eq!(seen[..3], [None, None, None]);
        assert!((seen[3].expect("three quarters of a second") - 0.8).abs() < 1e-9);
        strains.forget_throttling();
        assert_eq!(strains.look(at(1_000), one, look(MIB, 0.8)).throttled, None);
    }
}
