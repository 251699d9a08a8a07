//! Leases, instances that come and go, what is told and what is kept.

use std::time::Duration;

use forecast::Timestamp;
use planner::{InstanceId, Phase, Role};

use super::seats::Row;
use super::*;
use crate::config::SessionTypeConfig;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn id(name: &str) -> SessionId {
    SessionId::new(name)
}

/// Instances of four slots in two processes; leases of ten seconds.
fn sessions() -> Sessions {
    let kind =
        |name: &str, weight, class| SessionTypeConfig { name: name.into(), weight, class, headroom: 0 };
    let config = SessionsConfig {
        types: vec![kind("casual", 1.0, 1), kind("tournament", 2.0, 9)],
        processes: 2,
        drain: Duration::from_secs(100),
        queue_max: 2,
        wait_max: Duration::from_secs(30),
        lease: Duration::from_secs(10),
    };
    Sessions::new(&config, 4.0)
}

fn row(id: u64, phase: Phase, role: Role, weight: u32) -> Row {
    Row { id: InstanceId::new(id), phase, role, weight }
}

fn serving(id: u64) -> Row {
    row(id, Phase::Ready, Role::Active, 1000)
}

fn follow(sessions: &mut Sessions, now: i64, rows: &[Row]) {
    sessions.follow(at(now), rows.iter().copied());
}

fn open(sessions: &mut Sessions, now: i64, name: &str, kind: &str) -> Result<Standing, SessionRefusal> {
    sessions.open(at(now), &id(name), kind, None)
}

/// Opened, with the instance that it is on.
fn placed(sessions: &mut Sessions, now: i64, name: &str, kind: &str) -> u64 {
    open(sessions, now, name, kind).expect("taken").place.expect("placed").instance.get()
}

#[test]
fn a_session_that_is_not_renewed_gives_its_slot_to_one_that_waits() {
    let mut s = sessions();
    follow(&mut s, 0, &[serving(1)]);
    for name in ["a", "b"] {
        assert_eq!(placed(&mut s, 0, name, "tournament"), 1);
    }
    assert_eq!(open(&mut s, 1, "c", "casual").map(|c| c.place), Ok(Err(0)));
    for now in 2..=11 {
        s.expire(at(now));
        if now % 4 == 0 {
            s.renew(at(now), &id("b")).expect("still there");
            open(&mut s, now, "c", "casual").expect("asked again");
        }
    }
    assert_eq!(s.renew(at(12), &id("a")), Err(SessionRefusal::Unknown(id("a"))));
    let c = s.renew(at(12), &id("c")).expect("still there");
    assert_eq!(c.place.map(|at| at.instance.get()), Ok(1));
    assert_eq!(
        c.to_keep.map(|seat| seat.kind).as_deref(),
        Some("casual"),
        "whoever asks first waits for the disk"
    );
    assert_eq!(s.renew(at(12), &id("c")).map(|c| c.to_keep), Ok(None));
    assert_eq!(s.changes(), [Change::Gone(id("a"))]);
    assert_eq!(s.summary().expired, 1);
}

#[test]
fn after_a_stall_nobody_is_blamed_for_not_having_renewed() {
    let mut s = sessions();
    follow(&mut s, 0, &[serving(1)]);
    placed(&mut s, 0, "a", "casual");
    s.expire(at(1));
    s.expire(at(60));
    assert!(s.renew(at(61), &id("a")).is_ok());
    for now in 61..=71 {
        s.expire(at(now));
    }
    assert_eq!(s.summary().expired, 1, "a lease later they are");
}

#[test]
fn the_planner_is_told_each_change_once_and_a_session_stays_on_an_instance_that_drains() {
    let mut s = sessions();
    follow(&mut s, 0, &[serving(1), serving(2)]);
    for name in ["a", "b", "c", "d"] {
        assert_eq!(placed(&mut s, 0, name, "casual"), 1);
    }
    assert_eq!(s.held_changes(), [(InstanceId::new(1), 4)]);
    assert_eq!(s.held_changes(), []);
    follow(&mut s, 1, &[row(1, Phase::Draining, Role::Active, 0), serving(2)]);
    assert!(s.close(at(1), &id("a")) && !s.close(at(1), &id("a")));
    assert_eq!(placed(&mut s, 1, "e", "casual"), 2, "though there is room on the one that drains");
    assert_eq!(s.renew(at(1), &id("b")).map(|b| b.place.map(|at| at.instance.get())), Ok(Ok(1)));
    assert_eq!(s.held_changes(), [(InstanceId::new(1), 3), (InstanceId::new(2), 1)]);
    let summary = s.summary();
    assert_eq!((summary.instances_waiting, summary.types[0].draining, summary.types[0].held), (1, 3, 4));
}

#[test]
fn the_sessions_of_an_instance_that_is_gone_are_placed_anew_the_higher_class_first() {
    let mut s = sessions();
    follow(&mut s, 0, &[serving(1), serving(2)]);
    for (name, kind) in [("t", "tournament"), ("a", "casual"), ("b", "casual"), ("c", "casual")] {
        placed(&mut s, 0, name, kind);
    }
    assert_eq!(s.renew(at(0), &id("c")).map(|c| c.place.map(|at| at.instance.get())), Ok(Ok(2)));
    s.changes();
    follow(&mut s, 1, &[row(1, Phase::Stopping, Role::Active, 0), serving(2)]);
    let place = |s: &mut Sessions, name| s.renew(at(1), &id(name)).map(|standing| standing.place.is_ok());
    assert_eq!(["t", "a", "b"].map(|name| place(&mut s, name)), [Ok(true), Ok(true), Ok(false)]);
    assert_eq!(s.news().len(), 1);
    assert_eq!(s.summary().lost, 3);
    assert_eq!(s.held_changes(), [(InstanceId::new(2), 3)]);
}

#[test]
fn who_sat_where_is_known_after_a_restart() {
    let mut before = sessions();
    follow(&mut before, 0, &[serving(1), serving(2)]);
    let mut kept = std::collections::BTreeMap::new();
    for (name, kind) in [("a", "casual"), ("t", "tournament"), ("u", "tournament")] {
        let standing = open(&mut before, 0, name, kind).expect("taken");
        kept.insert(standing.session, standing.to_keep.expect("to be kept"));
    }
    let mut after = sessions();
    // The second instance did not survive.
    after.adopted(at(100), InstanceId::new(1));
    let found: Vec<bool> = kept.iter().map(|(session, seat)| after.found(at(100), session, seat)).collect();
    assert_eq!(found, [true, true, false]);
    assert_eq!(after.held_changes(), [(InstanceId::new(1), 2)]);
    assert_eq!(after.changes(), [Change::Gone(id("u"))]);
    let was = before.look(&id("t")).expect("known").place;
    assert_eq!(after.renew(at(105), &id("t")).map(|t| t.place), Ok(was), "with a lease that began anew");
    assert_eq!(
        open(&mut after, 105, "v", "casual").map(|v| v.place),
        Ok(Err(0)),
        "nothing is routed there yet"
    );
    follow(&mut after, 106, &[serving(1)]);
    assert!(after.renew(at(106), &id("v")).expect("placed meanwhile").place.is_ok());
}

#[test]
fn the_demand_of_a_step_is_the_most_that_was_asked_for_and_what_found_no_place_was_missed() {
    let mut s = sessions();
    let step = Duration::from_secs(60);
    assert_eq!(s.step_over(at(600), step), None);
    follow(&mut s, 0, &[serving(1)]);
    for name in ["a", "b", "c", "d"] {
        placed(&mut s, 0, name, "casual");
    }
    assert!((s.wanted() - 4.0).abs() < 1e-9);
    open(&mut s, 1, "t", "tournament").expect("waits");
    assert!((s.wanted() - 6.0).abs() < 1e-9, "one full instance and half of another");
    assert_eq!(s.open(at(1), &id("x"), "casual", Some(Duration::ZERO)).map(|_| ()), {
        Err(SessionRefusal::NoPlace(RefusedSession::NoRoom))
    });
    s.close(at(2), &id("t"));
    let over = s.step_over(at(660), step).expect("it is over");
    assert_eq!((over.start, over.demand, over.missed), (at(600), Some(7.0), 3.0));
    assert_eq!(over.by_type, [("casual".to_owned(), 4, 0), ("tournament".to_owned(), 0, 1)]);
    assert_eq!(s.step_over(at(719), step), None);
    let next = s.step_over(at(720), step).expect("it is over");
    assert_eq!(
        (next.demand, next.missed),
        (Some(4.0), 0.0),
        "what was still there counts from the beginning"
    );
}

#[test]
fn a_name_belongs_to_one_type_and_types_are_known() {
    let mut s = sessions();
    follow(&mut s, 0, &[serving(1)]);
    placed(&mut s, 0, "a", "casual");
    assert!(matches!(open(&mut s, 0, "a", "tournament"), Err(SessionRefusal::OtherType { .. })));
    let refused = open(&mut s, 0, "b", "chess").expect_err("unknown").to_string();
    assert_eq!(refused, "there is no type of session named \"chess\"; there are casual, tournament");
}
