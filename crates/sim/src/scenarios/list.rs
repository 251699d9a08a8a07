//! The scenarios themselves.

use std::time::Duration;

use forecast::Timestamp;
use forecast::calendar::Event;

use super::Scenario;
use super::curve::{Curve, daily, seconds_of_day};
use crate::demand::Demand;
use crate::replay::Options;
use crate::requests::{ServiceTime, Settings};

/// Thirty seconds at ten times the usual demand, and new instances that take forty.
pub(super) fn spike(seed: u64) -> Scenario {
    let stage = Stage { history: DAY, step: 10 * SECOND, resolution: SECOND, hour: 11.0, minutes: 20 };
    let begins = stage.from() + 10 * MINUTE;
    let trouble = begins..begins + 30 * SECOND;
    let demand = stage.curve(0.02).draw(seed, |at| if trouble.contains(&at) { 2_000.0 } else { 200.0 });
    let mut settings = stage.settings(&demand, 40 * SECOND, seed);
    settings.reading = Duration::from_millis(250);
    settings.world.standby_price = 0.1;
    let policy = settings.world.workload.as_mut();
    if let Some(policy) = policy {
        policy.tick = settings.reading;
        policy.standby_min = 32;
        policy.prices.standby = settings.world.standby_price;
    }
    Scenario {
        name: "spike",
        about: "200 requests/s become 2,000 from one second to the next, for 30 s. A new instance takes 40 s. Nothing \
                announces it and history has nothing like it.",
        policy: "standby_min = 32: a warm pool for ten times the usual demand, at a tenth of the price of serving; tick 250 ms",
        expected: "the warm pool is in service within a second, so that at most 5 % of the spike are late and none fail; whoever \
                   starts instances only now has them when the spike is over",
        demand,
        settings,
        trouble,
    }
}

/// Demand vanishes because something in front broke, and comes back as a crowd.
pub(super) fn outage(seed: u64) -> Scenario {
    let stage = Stage { history: 7 * DAY, step: MINUTE, resolution: 10 * SECOND, hour: 13.0, minutes: 40 };
    let (broke, back) = (stage.from() + 15 * MINUTE, stage.from() + 24 * MINUTE);
    let trouble = back..back + 10 * MINUTE;
    let demand = stage.curve(0.03).draw(seed, |at| {
        let usual = 300.0 + 900.0 * daily(at);
        let since = at.since(back).as_secs_f64();
        match at {
            _ if at >= back => usual * (1.0 + 0.5 * (-since / 180.0).exp()),
            _ if at >= broke => 0.02 * usual,
            _ => usual,
        }
    });
    Scenario {
        name: "outage",
        about: "Something in front of the service breaks: for 9 minutes hardly a request arrives, then all who waited come back \
                at once, half as many again as usual. A new instance takes 40 s.",
        policy: "defaults",
        expected: "scale-in is blocked while an outage is suspected, so that the crowd finds the capacity it left, and only the \
                   excess waits for new instances; a reactive rule has removed it all",
        settings: stage.settings(&demand, 40 * SECOND, seed),
        demand,
        trouble,
    }
}

/// Demand triples and stays there.
pub(super) fn level_shift(seed: u64) -> Scenario {
    let stage =
        Stage { history: 3 * DAY, step: 10 * SECOND, resolution: 5 * SECOND, hour: 10.0, minutes: 30 };
    let shift = stage.from() + 10 * MINUTE;
    let trouble = shift..shift + 5 * MINUTE;
    let demand = stage.curve(0.03).draw(seed, |at| {
        let usual = 250.0 + 100.0 * daily(at);
        let risen = (at.since(shift).as_secs_f64() / 20.0).min(1.0);
        usual * (1.0 + 2.0 * risen)
    });
    Scenario {
        name: "level-shift",
        about: "Demand triples within 20 s, for good. A new instance takes 40 s.",
        policy: "defaults",
        expected: "nobody can know it; the shift is seen at the next reading and all missing instances are ordered at once, so that \
                   the shortage lasts little longer than a start. A reactive rule sees it later and closes the gap in steps",
        settings: stage.settings(&demand, 40 * SECOND, seed),
        demand,
        trouble,
    }
}

/// A day unlike others, told to the planner or not.
pub(super) fn holiday(seed: u64, announced: bool) -> Scenario {
    let stage = Stage { history: 42 * DAY, step: MINUTE, resolution: MINUTE, hour: 9.5, minutes: 60 };
    // Some before, on days and at hours that no season tells, and now.
    let begins = [(5, 12), (13, 9), (20, 15), (27, 11), (34, 13), (42, 10)];
    let starts = begins.map(|(day, hour)| stage.start() + day * DAY + hour * HOUR);
    let events = starts.map(|start| Event {
        start,
        end: start + 6 * HOUR,
        name: "holiday".into(),
        kind: "holiday".into(),
        magnitude: 1.0,
    });
    let trouble = starts[5]..starts[5] + 20 * MINUTE;
    let demand = stage.curve(0.03).draw(seed, |at| {
        let on = events.iter().any(|event| event.start <= at && at < event.end);
        (150.0 + 250.0 * daily(at)) * if on { 2.5 } else { 1.0 }
    });
    let mut settings = stage.settings(&demand, 5 * MINUTE, seed);
    if announced {
        settings.world.events = events.to_vec();
    }
    let (name, policy, expected) = if announced {
        (
            "holiday-announced",
            "the calendar has the five holidays of the last six weeks, and this one",
            "what the earlier ones did is learned, so that capacity is there when this one begins",
        )
    } else {
        (
            "holiday-unannounced",
            "defaults; no calendar",
            "the rise is a surprise for both; foreshadow orders at once and is short for one start, not for longer than a reactive rule",
        )
    };
    Scenario {
        name,
        about: "At 10:00, on a day and at an hour that no season tells, demand becomes two and a half times the usual. A new instance \
                takes 5 minutes.",
        policy,
        expected,
        demand,
        settings,
        trouble,
    }
}

/// The demand signal is gone while demand rises as every morning.
pub(super) fn silent_gap(seed: u64) -> Scenario {
    let stage = Stage { history: 7 * DAY, step: MINUTE, resolution: 10 * SECOND, hour: 7.75, minutes: 45 };
    let gap = stage.from() + 15 * MINUTE..stage.from() + 30 * MINUTE;
    let trouble = gap.start..gap.end + 5 * MINUTE;
    let demand = stage.curve(0.03).draw(seed, |at| 200.0 + 800.0 * morning(at, 8.0, 30.0));
    let mut settings = stage.settings(&demand, 40 * SECOND, seed);
    settings.silent = Some(gap);
    Scenario {
        name: "silent-gap",
        about: "The demand signal is missing for 15 minutes while demand rises from 200 to 600 requests/s, as every morning. A new \
                instance takes 40 s.",
        policy: "defaults",
        expected: "nothing is taken for no demand, and the forecast carries the plan through; a reactive rule keeps what it had",
        demand,
        settings,
        trouble,
    }
}

/// Instances that take eight minutes to start, and a steep morning.
pub(super) fn slow_start(seed: u64) -> Scenario {
    let stage = Stage { history: 14 * DAY, step: MINUTE, resolution: 10 * SECOND, hour: 7.5, minutes: 75 };
    let demand = stage.curve(0.03).draw(seed, |at| 200.0 + 1_000.0 * morning(at, 8.0, 30.0));
    let begins = stage.from() + 30 * MINUTE;
    Scenario {
        name: "slow-start",
        about: "Demand rises from 200 to 1,200 requests/s within half an hour, as every morning. A new instance takes 8 minutes.",
        policy: "defaults",
        expected: "instances are started eight minutes before they are needed; a reactive rule is eight minutes behind all along",
        settings: stage.settings(&demand, 8 * MINUTE, seed),
        demand,
        trouble: begins..begins + 45 * MINUTE,
    }
}

/// From 0 before `hour` to 1 some `minutes` later, and back from 18:00 on within two hours.
fn morning(at: Timestamp, hour: f64, minutes: f64) -> f64 {
    let now = seconds_of_day(at);
    let up = ((now - hour * 3_600.0) / (minutes * 60.0)).clamp(0.0, 1.0);
    let down = ((now - 18.0 * 3_600.0) / 7_200.0).clamp(0.0, 1.0);
    up - down
}

/// Where and when a scenario takes place.
struct Stage {
    /// Whole days that the planner has learned from; requests begin later on the day after them.
    history: Duration,
    step: Duration,
    resolution: Duration,
    /// Hour of the day at which requests begin.
    hour: f64,
    /// How long they go on.
    minutes: u32,
}

impl Stage {
    fn start(&self) -> Timestamp {
        MONDAY
    }

    fn from(&self) -> Timestamp {
        MONDAY + self.history + HOUR.mul_f64(self.hour)
    }

    fn curve(&self, noise: f64) -> Curve {
        let (start, from) = (self.start(), self.from());
        Curve { start, from, end: from + self.minutes * MINUTE, step: self.resolution, noise }
    }

    /// A service with answers of 50 ms in the mean on four workers: 80 requests/s at most, 60 within its bound.
    fn settings(&self, demand: &Demand, cold: Duration, seed: u64) -> Settings {
        let from = self.from();
        let mut world = Options::new(CAPACITY, cold, Duration::from_millis(50));
        world.seed = seed;
        world.replicas_min = 2;
        world.replicas_max = 100;
        // Enough for the first minute; who needs less or more has the time before the scored part to say so.
        let now = demand.past(from).value(Duration::ZERO).unwrap_or(0.0);
        world.initial = Some(((now / CAPACITY * 1.2).ceil() as u32).max(world.replicas_min));
        world.score_from = Some(from + SETTLE);
        let bound = Duration::from_millis(500);
        let mut policy = world.workload_policy(self.step);
        policy.tick = SECOND;
        policy.objective.latency_bound = Some(bound);
        policy.shift = planner::ShiftPolicy::default();
        world.workload = Some(policy);
        Settings {
            world,
            service: ServiceTime::LogNormal { mean: Duration::from_millis(50), variation: 0.5 },
            slots: 4,
            in_flight_max: 200,
            timeout: 5 * SECOND,
            bound,
            from,
            step: self.step,
            reading: SECOND,
            silent: None,
            arrivals: None,
        }
    }
}

/// Requests per second that one instance serves within the bound.
const CAPACITY: f64 = 60.0;
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// Until then every policy has found its own number of instances.
const SETTLE: Duration = Duration::from_secs(300);
/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY: Timestamp = Timestamp::from_secs(1_767_571_200);
