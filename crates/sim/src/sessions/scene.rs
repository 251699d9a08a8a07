//! The scenario: an evening of casual games, a tournament that was announced, and the night that follows.

use std::ops::Range;
use std::time::Duration;

use forecast::Timestamp;
use forecast::calendar::Event;
use planner::sessions::{SessionPolicy, SessionType};

use super::arrivals::{draw, offered};
use super::{Kind, Outcome, Settings, run};
use crate::replay::{Options, PolicyKind, ReplayError};
use crate::requests::ServiceTime;

/// The scenario, ready to be played.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Its name on the command line.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// What the user has set, beside the defaults.
    pub policy: &'static str,
    /// What is expected.
    pub expected: &'static str,
    /// The sessions and the world.
    pub settings: Settings,
    /// The time from the beginning of the tournament until it has a place for everybody.
    pub trouble: Range<Timestamp>,
}

impl Scene {
    /// The name of the scenario.
    pub const NAME: &'static str = "sessions";

    /// The scenario; the seed makes its sessions.
    pub fn new(seed: u64) -> Scene {
        let kinds = [
            Kind { length: ServiceTime::LogNormal { mean: 12 * MINUTE, variation: 0.8 }, weight: 1.0 },
            Kind { length: ServiceTime::LogNormal { mean: 25 * MINUTE, variation: 0.3 }, weight: 2.0 },
        ];
        let from = MONDAY + HISTORY + HOUR.mul_f64(17.0);
        let end = from + 9 * HOUR;
        // Six before, on days and at hours that no season tells, and tonight's.
        let begins = [(3, 20.0), (9, 16.0), (14, 21.0), (19, 15.0), (23, 18.0), (26, 20.5), (28, 19.0)];
        let tournaments = begins.map(|(day, hour)| MONDAY + day * DAY + HOUR.mul_f64(hour));
        let rate = |kind: usize, at: Timestamp| match kind {
            // On the average from 70 games in the night to 330 in the evening.
            0 => (70.0 + 260.0 * evening(at)) / (12.0 * 60.0),
            _ if tournaments.iter().any(|begin| *begin <= at && at < *begin + RUSH) => {
                PLAYERS / RUSH.as_secs_f64()
            }
            _ => 0.05 / 60.0,
        };
        let arrivals = draw(&kinds, (MONDAY, end), RATE_MAX, rate, seed);
        let offered = offered(&kinds, &arrivals, (MONDAY, end), MINUTE);
        let begin = tournaments[6];
        let settings = Settings {
            world: world(&offered, from, &tournaments, seed),
            arrivals,
            from,
            offered,
            step: MINUTE,
            reading: SECOND,
        };
        Scene {
            name: Scene::NAME,
            about: "Games of 12 minutes in the mean, many in the evening and few in the night. At 19:00 a tournament begins: 90 games \
                    of 25 minutes, each twice as heavy, within 4 minutes. An instance holds 8 games, or 4 of the tournament, in two \
                    processes, and takes 3 minutes to start.",
            policy: "the calendar has the six tournaments of the last four weeks, and this one; room for 4 games of a tournament is kept \
                     free; whoever waits for 5 minutes gives up",
            expected: "capacity for the tournament is there when it begins; its games wait less than casual ones, and no game is cut when \
                       instances go in the night. An HPA, which knows instances only, is late for the tournament and cuts games that \
                       last longer than the grace of a pod",
            settings,
            trouble: begin..begin + 15 * MINUTE,
        }
    }

    /// Plays it under a policy; `grace` is that of a rival's instances.
    ///
    /// # Errors
    /// See [`ReplayError`].
    pub fn run(&self, kind: PolicyKind, grace: Duration) -> Result<Outcome, ReplayError> {
        run(&self.settings, kind, grace)
    }

    /// The policies of the comparison, with the grace of a rival's instances: that of Kubernetes by default, and one as long as
    /// the planner's.
    pub const RUNS: [(PolicyKind, Duration); 3] = [
        (PolicyKind::Foreshadow, DRAIN),
        (PolicyKind::Hpa, Duration::from_secs(30)),
        (PolicyKind::Hpa, DRAIN),
    ];
}

fn world(offered: &crate::demand::Demand, from: Timestamp, tournaments: &[Timestamp], seed: u64) -> Options {
    let mut world = Options::new(CAPACITY, 3 * MINUTE, Duration::from_millis(200));
    world.seed = seed;
    (world.replicas_min, world.replicas_max) = (4, 120);
    let now = offered.past(from).value(Duration::ZERO).unwrap_or(0.0);
    world.initial = Some(((now / CAPACITY * 1.2).ceil() as u32).max(world.replicas_min));
    world.events = tournaments
        .iter()
        .map(|start| Event {
            start: *start,
            end: *start + 30 * MINUTE,
            name: "tournament".into(),
            kind: "tournament".into(),
            magnitude: 1.0,
        })
        .collect();
    let mut policy = world.workload_policy(MINUTE);
    policy.tick = SECOND;
    let tournament = SessionType { headroom: 4, ..SessionType::new("tournament", 200, 2.0 / CAPACITY) };
    let types = vec![SessionType::new("casual", 100, 1.0 / CAPACITY), tournament];
    policy.sessions =
        Some(SessionPolicy { processes: 2, drain: DRAIN, wait_max: 5 * MINUTE, ..SessionPolicy::new(types) });
    world.workload = Some(policy);
    world
}

/// From 0 in the night to 1 at 20:30 UTC.
fn evening(at: Timestamp) -> f64 {
    let hour = at.as_millis().rem_euclid(86_400_000) as f64 / 3.6e6;
    let away = (hour - 20.5).abs().min(24.0 - (hour - 20.5).abs());
    (-(away / 3.5).powi(2)).exp()
}

/// Casual games that an instance holds.
const CAPACITY: f64 = 8.0;
/// Games of a tournament, and the time within which they begin.
const PLAYERS: f64 = 90.0;
const RUSH: Duration = Duration::from_secs(240);
/// Above every rate, per second.
const RATE_MAX: f64 = 0.6;
const DRAIN: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const HISTORY: Duration = Duration::from_secs(28 * 86_400);
/// Monday, 5 January 2026, 00:00 UTC.
const MONDAY: Timestamp = Timestamp::from_secs(1_767_571_200);
