//! The planner on a demand with campaigns that it was told of: capacity is there when they begin.

use std::time::Duration;

use forecast::Timestamp;
use forecast::calendar::Event;
use sim::Demand;
use sim::replay::{Options, Outcome, PolicyKind, replay};

const STEP: Duration = Duration::from_secs(300);
const DAYS: usize = 35;
const CAPACITY: f64 = 80.0;

fn at(step: usize) -> Timestamp {
    Timestamp::from_secs(1_600_041_600) + STEP * step as u32
}

/// Two hours on every other day, at a time that no season tells.
fn campaigns() -> Vec<Event> {
    let event = |n: usize| {
        let start = at(n * 2 * 288 + 60 + n * 47 % 150);
        let end = start + STEP * 24;
        Event { start, end, name: format!("campaign {n}"), kind: "campaign".into(), magnitude: 1.0 }
    };
    (0..DAYS.div_ceil(2)).map(event).collect()
}

fn points() -> Vec<(Timestamp, Option<f64>)> {
    let events = campaigns();
    let mut random = fastrand::Rng::with_seed(5);
    let demand = |step: usize| {
        let day = (step as f64 / 288.0 * std::f64::consts::TAU).sin();
        let on = events.iter().any(|event| event.start <= at(step) && at(step) < event.end);
        (800.0 + 300.0 * day) * (0.97 + 0.06 * random.f64()) * if on { 2.0 } else { 1.0 }
    };
    (0..DAYS * 288).map(demand).enumerate().map(|(step, demand)| (at(step), Some(demand))).collect()
}

fn replayed(events: Vec<Event>) -> Outcome {
    let demand = Demand::from_points(&points(), STEP).expect("a good series");
    // New instances take more than a step: whoever waits for the demand to rise is late.
    let mut options = Options::new(CAPACITY, Duration::from_secs(500), Duration::from_secs(500));
    options.events = events;
    options.score_from = Some(at(21 * 288));
    replay(&demand, PolicyKind::Foreshadow, &options).expect("a replay")
}

/// Share of the demand of a campaign's first step that the plan made before it covers.
fn covered(outcome: &Outcome, event: &Event) -> f64 {
    let first = outcome.decisions.iter().find(|decision| decision.timestamp >= event.start).expect("inside");
    f64::from(first.active_wanted) * CAPACITY / first.demand.expect("known")
}

#[test]
fn capacity_is_ready_when_an_announced_campaign_begins() {
    let (told, ignorant) = (replayed(campaigns()), replayed(Vec::new()));
    let late: Vec<Event> = campaigns().into_iter().filter(|event| event.start > at(21 * 288)).collect();
    assert!(late.len() >= 6);
    for event in &late {
        let with = covered(&told, event);
        assert!(with > 0.95, "{}: {with}", event.name);
    }
    // Who is not told is caught out by some, and keeps far too much against the others all the time.
    let worst = late.iter().map(|event| covered(&ignorant, event)).fold(f64::MAX, f64::min);
    assert!(worst < 0.95, "{worst}");
    let (with, without) = (&told.score, &ignorant.score);
    assert!(with.missed_share < 0.004, "{with:?}");
    assert!(with.cost < 0.7 * without.cost, "{with:?} {without:?}");
}

#[test]
fn a_campaign_that_was_called_off_is_not_prepared_for() {
    let mut events = campaigns();
    let last = events.pop().expect("there are some");
    let (told, untold) = (replayed(campaigns()), replayed(events));
    assert!(covered(&told, &last) > 1.3 * covered(&untold, &last));
}

/// Nobody can know what the first event of its kind does. That it is announced takes nothing away from what is needed anyway.
#[test]
fn an_event_never_seen_before_that_changes_nothing_costs_no_requests() {
    let step = Duration::from_secs(60);
    let begin = at(0) + step * (5 * 1440);
    let end = begin + step * 120;
    let mut random = fastrand::Rng::with_seed(8);
    let day = |minute: u32| (f64::from(minute) / 1440.0 * std::f64::consts::TAU).sin();
    let points: Vec<_> = (0..5 * 1440 + 720)
        .map(|minute| {
            (
                at(0) + step * minute,
                Some(200.0 + 100.0 * day(minute) + 12.0 * (random.f64() + random.f64() - 1.0)),
            )
        })
        .collect();
    let demand = Demand::from_points(&points, step).expect("a good series");
    let mut options = Options::new(10.0, Duration::from_secs(180), Duration::from_secs(5));
    (options.budget, options.standby_price, options.score_from) = (0.01, 0.2, Some(begin));
    let event = Event { start: begin, end, name: "launch".into(), kind: "launch".into(), magnitude: 1.0 };
    let missed = |events: Vec<Event>| {
        let options = Options { events, ..options.clone() };
        replay(&demand, PolicyKind::Foreshadow, &options).expect("a replay").score.missed_share
    };
    let (told, untold) = (missed(vec![event]), missed(Vec::new()));
    assert!(told <= untold.max(0.005), "{told} {untold}");
}
