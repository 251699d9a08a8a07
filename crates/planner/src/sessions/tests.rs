//! Where sessions go, and what always holds whatever is asked in whatever order.

mod properties;

use std::time::Duration;

use forecast::Timestamp;

use super::*;
use crate::ids::InstanceId;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

fn inst(n: u64) -> InstanceId {
    InstanceId::new(n)
}

fn session(n: u32) -> SessionId {
    SessionId::new(format!("s{n}"))
}

/// Instances of two processes with four casual sessions each, or one tournament session and its room.
fn policy() -> SessionPolicy {
    let tournament = SessionType { headroom: 1, ..SessionType::new("tournament", 9, 0.5) };
    let types = vec![SessionType::new("casual", 1, 0.125), tournament];
    let (queue_max, wait_max) = (2, Duration::from_secs(30));
    SessionPolicy { processes: 2, queue_max, wait_max, ..SessionPolicy::new(types) }
}

/// With instances 1 to `instances`, ready at one second after the other.
fn allocator(policy: SessionPolicy, instances: u64) -> Allocator {
    let mut allocator = Allocator::new(policy).unwrap();
    for n in 1..=instances {
        allocator.instance_ready(at(n as i64), inst(n), 1000);
    }
    allocator
}

fn casual(a: &mut Allocator, now: i64, n: u32) -> Allotted {
    a.allocate(at(now), &session(n), "casual")
}

fn placed(instance: u64, process: u32) -> Allotted {
    Allotted::Placed(Allocation { instance: inst(instance), process })
}

#[test]
fn one_instance_is_filled_before_the_next_and_its_processes_evenly() {
    let mut policy = policy();
    policy.types[1].headroom = 0;
    let mut a = allocator(policy, 2);
    let got: Vec<Allotted> = (0..9).map(|n| casual(&mut a, 10, n)).collect();
    assert_eq!(got[..3], [placed(1, 0), placed(1, 1), placed(1, 0)]);
    assert!(got[..8].iter().all(|got| matches!(got, Allotted::Placed(at) if at.instance == inst(1))));
    assert_eq!(got[8], placed(2, 0));
    assert_eq!(casual(&mut a, 10, 8), got[8], "asking again changes nothing");
    assert!((a.demand() - 9.0 / 8.0).abs() < 1e-12);
    assert_eq!(a.drain_order(), [inst(2), inst(1)]);
}

#[test]
fn a_tournament_gets_the_room_that_was_kept_for_it() {
    let mut a = allocator(policy(), 1);
    let got: Vec<Allotted> = (0..5).map(|n| casual(&mut a, 10, n)).collect();
    assert_eq!(got[0], placed(1, 0));
    assert_eq!(got[1], placed(1, 0), "the other process would leave no room for a tournament");
    assert_eq!(got[4], Allotted::Queued { position: 0 });
    assert_eq!(a.allocate(at(10), &session(9), "tournament"), placed(1, 1));
    let waiting: Vec<(u64, u64)> = a.by_type().iter().map(|t| (t.held, t.waiting)).collect();
    assert_eq!(waiting, [(4, 1), (1, 0)]);
}

#[test]
fn tournaments_come_first_in_the_queue_and_displace_the_last_casual_one() {
    let mut a = allocator(policy(), 0);
    assert_eq!(casual(&mut a, 0, 1), Allotted::Queued { position: 0 });
    assert_eq!(casual(&mut a, 0, 2), Allotted::Queued { position: 1 });
    assert_eq!(casual(&mut a, 0, 3), Allotted::Refused(RefusedSession::QueueFull));
    assert_eq!(a.allocate(at(0), &session(4), "tournament"), Allotted::Queued { position: 0 });
    assert_eq!(a.poll_outcome(), Some(Outcome::Displaced(session(2))));
    a.instance_ready(at(5), inst(7), 0);
    assert_eq!(a.poll_outcome(), None, "nothing is routed to it yet");
    a.instance_ready(at(6), inst(7), 100);
    let place = Allocation { instance: inst(7), process: 0 };
    assert_eq!(a.poll_outcome(), Some(Outcome::Placed { session: session(4), at: place }));
    assert_eq!(
        a.next_expiry(),
        Some(at(30)),
        "room for the next tournament is kept, so the casual one waits"
    );
    a.expire(at(30));
    assert_eq!(a.poll_outcome(), Some(Outcome::Expired(session(1))));
    assert_eq!(a.allocate(at(30), &session(5), "chess"), Allotted::Refused(RefusedSession::UnknownType));
}

#[test]
fn a_draining_instance_gets_nothing_and_is_released_after_its_last_session_or_its_time() {
    let mut a = allocator(policy(), 2);
    assert_eq!(casual(&mut a, 5, 1), placed(1, 0));
    assert_eq!(a.release(at(5), inst(1)), Some(Release::Holds { sessions: 1, until: None }));
    assert!(a.instance_draining(at(10), inst(1)));
    assert_eq!(casual(&mut a, 11, 2), placed(2, 0));
    a.instance_draining(at(500), inst(1));
    let until = Some(at(3_610));
    assert_eq!(a.release(at(3_609), inst(1)), Some(Release::Holds { sessions: 1, until }));
    assert_eq!(a.release(at(3_610), inst(1)), Some(Release::Over { sessions: 1 }));
    assert_eq!(a.place_of(&session(1)).map(|at| at.instance), Some(inst(1)), "never moved");
    assert!(a.end(at(600), &session(1)));
    assert_eq!(a.release(at(600), inst(1)), Some(Release::Empty));
}

#[test]
fn the_sessions_of_a_lost_instance_are_told_those_of_a_high_class_first() {
    let mut a = allocator(policy(), 1);
    casual(&mut a, 5, 1);
    a.allocate(at(5), &session(2), "tournament");
    let lost: Vec<SessionId> = a.instance_gone(inst(1)).into_iter().map(|lost| lost.session).collect();
    assert_eq!(lost, [session(2), session(1)]);
    assert!(a.demand().abs() < 1e-12);
    a.instance_ready(at(6), inst(2), 1000);
    let found = Allocation { instance: inst(2), process: 1 };
    assert!(a.found(&session(2), "tournament", found) && !a.found(&session(2), "tournament", found));
    assert_eq!(a.place_of(&session(2)), Some(found));
}

#[test]
fn whoever_does_not_want_to_wait_is_told_at_once_and_others_wait_as_long_as_they_want() {
    let mut a = allocator(policy(), 0);
    let ask = |a: &mut Allocator, n, wait| a.allocate_within(at(0), &session(n), "casual", wait);
    assert_eq!(ask(&mut a, 1, Duration::ZERO), Allotted::Refused(RefusedSession::NoRoom));
    assert_eq!(ask(&mut a, 2, Duration::from_secs(5)), Allotted::Queued { position: 0 });
    assert_eq!(ask(&mut a, 3, Duration::from_secs(9_000)), Allotted::Queued { position: 1 });
    assert_eq!((a.position(&session(3)), a.kind_of(&session(3))), (Some(1), Some("casual")));
    a.expire(at(5));
    assert_eq!(a.poll_outcome(), Some(Outcome::Expired(session(2))));
    assert_eq!(a.next_expiry(), Some(at(30)), "no longer than the policy lets it");
}

#[test]
fn what_waits_asks_for_more_than_all_that_may_get_sessions() {
    let mut types = vec![SessionType::new("large", 1, 0.4)];
    let mut a = allocator(SessionPolicy::new(types.clone()), 2);
    for n in 0..5 {
        a.allocate(at(5), &session(n), "large");
    }
    assert!((a.demand() - 2.0).abs() < 1e-9, "as much as two instances, of which each holds two");
    assert!((a.wanted() - 2.4).abs() < 1e-9, "{}", a.wanted());
    a.end(at(6), &session(4));
    assert!((a.wanted() - 1.6).abs() < 1e-9);
    types[0].headroom = 2;
    assert!((allocator(SessionPolicy::new(types), 0).wanted() - 0.8).abs() < 1e-9, "room that is kept");
}

#[test]
fn every_broken_rule_is_told() {
    let mut policy = policy();
    policy.types[0].weight = 0.7;
    policy.types[1].name = "casual".to_owned();
    policy.drain = Duration::ZERO;
    let fields: Vec<&str> = Allocator::new(policy).unwrap_err().into_iter().map(|broken| broken.0).collect();
    assert_eq!(fields, ["sessions.types.name", "sessions.types.weight", "sessions.drain"]);
    assert_eq!(SessionPolicy::new(Vec::new()).validate().unwrap_err()[0].0, "sessions.types");
    for weight in [f64::NAN, 0.0, -1.0, f64::INFINITY] {
        let types = vec![SessionType::new("odd", 1, weight)];
        assert_eq!(SessionPolicy::new(types).validate().unwrap_err().len(), 1, "{weight}");
    }
}

#[test]
fn reasons_are_sentences() {
    let waits = SessionReason::Waits { instances: 3, sessions: 12 };
    assert_eq!(waits.to_string(), "3 instances wait for 12 sessions to end.");
    let cut = SessionReason::Cut { instance: inst(4), sessions: 1 };
    assert_eq!(
        cut.to_string(),
        "Instance 4 is given up with 1 session on it: the time to wait for them is over."
    );
}
