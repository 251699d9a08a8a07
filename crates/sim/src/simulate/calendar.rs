//! Bounds of a workload that hold at some hours only, in some simulations; and what they are at a moment, worked out here
//! once more so that a mistake of the planner's own agenda shows. Drawn apart from all else.

use std::time::Duration;

use forecast::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use planner::{Days, Scope, WorkloadPolicy};

use super::shape::between;

/// Bounds: active instances at least, instances with and without traffic at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within {
    /// Active instances, at least.
    pub least: u32,
    /// Active and standby instances together, at most.
    pub most: u32,
}

/// What holds when.
#[derive(Debug, Clone, PartialEq)]
pub struct Calendar {
    base: Within,
    /// Later ones decide.
    hours: Vec<Hours>,
}

/// A part of one day, or of every day.
#[derive(Debug, Clone, PartialEq)]
struct Hours {
    from: Timestamp,
    length: Duration,
    daily: bool,
    least: Option<u32>,
    most: Option<u32>,
}

impl Calendar {
    /// For one workload in six; the policy is told. `length`: how long faults go on after `start`.
    pub(super) fn draw(
        seed: u64,
        start: Timestamp,
        length: Duration,
        policy: &mut WorkloadPolicy,
    ) -> Option<Calendar> {
        let mut rng = fastrand::Rng::with_seed(seed ^ CALENDAR_SALT);
        let rng = &mut rng;
        if rng.u32(0..6) > 0 {
            return None;
        }
        // Nothing may exist that could not exist without: rooms are cut to that.
        let widest = policy.replicas_max;
        let lowest = policy.replicas_min.max(policy.standby_min).max(1);
        policy.replicas_max = if rng.bool() { widest } else { rng.u32(lowest..=widest) };
        let base = Within { least: policy.replicas_min, most: policy.replicas_max };
        let zone = if rng.u32(0..4) == 0 { TimeZone::get("Europe/Berlin").ok() } else { None };
        let mut hours = Vec::new();
        let mut scopes = Vec::new();
        for n in 0..rng.usize(1..4) {
            let hour = Hours::draw(rng, start, length, policy.replicas_max, widest);
            let standby = rng.bool().then(|| rng.u32(0..=policy.standby_max.min(3)));
            scopes.extend(hour.scope(n, zone.as_ref().unwrap_or(&TimeZone::UTC), standby));
            hours.push(hour);
        }
        *policy = WorkloadPolicy { time_zone: zone, ..policy.clone().with_scopes(scopes, Vec::new()) };
        Some(Calendar { base, hours })
    }

    /// What holds at a time.
    pub fn at(&self, time: Timestamp) -> Within {
        let mut within = self.base;
        for hours in self.hours.iter().filter(|hours| hours.hold_at(time)) {
            within.least = hours.least.unwrap_or(within.least);
            within.most = hours.most.unwrap_or(within.most);
        }
        Within { least: within.least.min(within.most), ..within }
    }

    /// The most that may exist at some time from now on and for so long.
    pub fn most_within(&self, now: Timestamp, time: Duration) -> u32 {
        let begins = self.hours.iter().flat_map(|hours| hours.next_changes(now));
        let changes = begins.filter(|at| *at <= now + time);
        changes.chain([now]).map(|at| self.at(at).most).max().unwrap_or(self.base.most)
    }
}

impl Hours {
    fn draw(rng: &mut fastrand::Rng, start: Timestamp, length: Duration, usual: u32, widest: u32) -> Hours {
        let seconds = length.as_secs_f64();
        let from = start.as_millis() + (seconds * between(rng, -0.3, 1.0)) as i64 * 1000;
        let hours = Duration::from_secs((seconds * between(rng, 0.05, 0.9)) as u64);
        let most = rng.bool().then(|| rng.u32(1..=widest));
        let least = (most.is_none() || rng.bool()).then(|| rng.u32(0..=most.unwrap_or(usual)));
        Hours {
            from: Timestamp::from_millis(from).align_down(Duration::from_secs(1)),
            length: hours.clamp(LENGTH_MIN, LENGTH_MAX),
            daily: rng.bool(),
            least,
            most,
        }
    }

    fn scope(&self, number: usize, zone: &TimeZone, standby_min: Option<u32>) -> Option<Scope> {
        let (first, from) = civil(self.from, zone)?;
        let (_, to) = civil(self.from + self.length, zone)?;
        let once = Days { dates: vec![(first, first)], ..Days::NONE };
        Some(Scope {
            name: format!("hours-{number}"),
            days: if self.daily { Days::all() } else { once },
            except: Days::NONE,
            from,
            to,
            replicas_min: self.least,
            replicas_max: self.most,
            standby_min,
        })
    }

    /// The time since it began last, if it has to do with that day.
    fn since(&self, time: Timestamp) -> Option<Duration> {
        let since = time.as_millis() - self.from.as_millis();
        let since = if self.daily { since.rem_euclid(DAY.as_millis() as i64) } else { since };
        u64::try_from(since).ok().map(Duration::from_millis)
    }

    fn hold_at(&self, time: Timestamp) -> bool {
        self.since(time).is_some_and(|since| since < self.length)
    }

    /// When it begins or ends next.
    fn next_changes(&self, now: Timestamp) -> impl Iterator<Item = Timestamp> {
        let today = self.since(now).map_or(self.from, |since| now - since);
        let tomorrow = today + DAY;
        let ends = [today, today + self.length, tomorrow, tomorrow + self.length];
        ends.into_iter().filter(move |at| *at > now)
    }
}

fn civil(at: Timestamp, zone: &TimeZone) -> Option<(Date, Time)> {
    let at = jiff::Timestamp::from_millisecond(at.as_millis()).ok()?.to_zoned(zone.clone());
    Some((at.date(), at.time()))
}

const DAY: Duration = Duration::from_secs(86_400);
const LENGTH_MIN: Duration = Duration::from_secs(30);
/// It must end before it begins again.
const LENGTH_MAX: Duration = Duration::from_secs(20 * 3_600);
const CALENDAR_SALT: u64 = 0xCA1E_DA12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_hold_from_their_beginning_to_their_end_once_or_on_every_day() {
        let at = Timestamp::from_secs;
        let hours = |daily| Hours {
            from: at(1_000),
            length: Duration::from_secs(100),
            daily,
            least: Some(4),
            most: None,
        };
        let calendar = |daily| Calendar { base: Within { least: 1, most: 3 }, hours: vec![hours(daily)] };
        for (time, once, daily) in [
            (999, 1, 1),
            (1_000, 3, 3),
            (1_099, 3, 3),
            (1_100, 1, 1),
            (1_050 + 86_400, 1, 3),
            (1_050 - 86_400, 1, 3),
        ] {
            let least = [false, true].map(|every| calendar(every).at(at(time)).least);
            assert_eq!(least, [once, daily], "at {time}: cut to the most that may exist");
        }
    }

    #[test]
    fn more_is_allowed_before_the_hours_that_allow_more() {
        let hours = Hours {
            from: Timestamp::from_secs(1_000),
            length: Duration::from_secs(100),
            daily: false,
            least: None,
            most: Some(9),
        };
        let calendar = Calendar { base: Within { least: 0, most: 5 }, hours: vec![hours] };
        let most = |now, ahead| calendar.most_within(Timestamp::from_secs(now), Duration::from_secs(ahead));
        assert_eq!([most(900, 99), most(900, 100), most(1_099, 0), most(1_100, 999)], [5, 9, 9, 5]);
    }
}
