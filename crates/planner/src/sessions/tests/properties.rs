//! Any order of calls keeps the account, moves no session, and leaves the room that is kept for others.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Call {
    Allocate(u32, usize),
    End(u32),
    Ready(u64, u32),
    Drain(u64),
    Gone(u64),
    Wait(i64),
}

const NAMES: [&str; 3] = ["casual", "ranked", "tournament"];

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (0u32..60, 0usize..3).prop_map(|(n, kind)| Call::Allocate(n, kind)),
        6 => (0u32..60).prop_map(Call::End),
        4 => (0u64..6, prop_oneof![1 => Just(0u32), 4 => Just(1000)]).prop_map(|(n, w)| Call::Ready(n, w)),
        1 => (0u64..6).prop_map(Call::Drain),
        1 => (0u64..6).prop_map(Call::Gone),
        2 => (1i64..40).prop_map(Call::Wait),
    ]
}

fn three(processes: u32, headroom: u32) -> SessionPolicy {
    let tournament = SessionType { headroom, ..SessionType::new(NAMES[2], 9, 0.3) };
    let types = vec![SessionType::new(NAMES[0], 1, 0.07), SessionType::new(NAMES[1], 5, 0.11), tournament];
    SessionPolicy { processes, queue_max: 8, wait_max: Duration::from_secs(60), ..SessionPolicy::new(types) }
}

/// What a caller knows: which instances may get sessions, and where sessions are.
#[derive(Default)]
struct Known {
    open: BTreeMap<u64, bool>,
    /// Where a session was put, and of which type it is.
    places: BTreeMap<u32, (Allocation, usize)>,
    waiting: BTreeMap<u32, usize>,
}

fn number(session: &SessionId) -> u32 {
    session.as_str()[1..].parse().unwrap()
}

impl Known {
    /// Takes in a new place. False where it should not be.
    fn put(&mut self, n: u32, kind: usize, at: Allocation) -> bool {
        self.places.insert(n, (at, kind));
        self.open.get(&at.instance.get()) == Some(&true)
    }

    fn outcomes(&mut self, a: &mut Allocator) -> bool {
        let mut sound = true;
        while let Some(outcome) = a.poll_outcome() {
            match outcome {
                Outcome::Placed { session, at } => {
                    let n = number(&session);
                    let highest = self.waiting.values().copied().max();
                    let kind = self.waiting.remove(&n).unwrap();
                    sound &= Some(kind) == highest && self.put(n, kind, at);
                }
                Outcome::Expired(session) | Outcome::Displaced(session) => {
                    sound &= self.waiting.remove(&number(&session)).is_some();
                }
            }
        }
        sound
    }

    /// No process holds more than it can, and the allocator's account is this one.
    fn check(&self, a: &Allocator) {
        let mut taken: BTreeMap<(InstanceId, u32), f64> = BTreeMap::new();
        for (n, (at, kind)) in &self.places {
            assert_eq!(a.place_of(&session(*n)), Some(*at), "moved or lost");
            *taken.entry((at.instance, at.process)).or_default() += a.policy().types[*kind].weight;
        }
        let each = 1.0 / f64::from(a.policy().processes);
        assert!(taken.values().all(|taken| *taken <= each + 1e-9), "{taken:?}");
        for (kind, of) in a.by_type().iter().enumerate() {
            assert_eq!(of.held, self.places.values().filter(|place| place.1 == kind).count() as u64);
            assert_eq!(of.waiting, self.waiting.values().filter(|k| **k == kind).count() as u64);
        }
        assert!(self.waiting.len() <= a.policy().queue_max);
    }
}

fn perform(a: &mut Allocator, known: &mut Known, now: &mut i64, call: &Call) {
    match *call {
        Call::Allocate(n, kind) => {
            let room = a.room_for(2);
            let fresh = !known.places.contains_key(&n) && !known.waiting.contains_key(&n);
            let answer = a.allocate(at(*now), &session(n), NAMES[kind]);
            match answer {
                Allotted::Placed(at) if fresh => {
                    assert!(known.put(n, kind, at), "put on what may not get any");
                    let kept = u64::from(a.policy().types[2].headroom);
                    let left = a.room_for(2);
                    assert!(kind == 2 || left >= kept.min(room), "took the room that is kept");
                }
                Allotted::Placed(at) => assert_eq!(known.places[&n].0, at),
                Allotted::Queued { .. } if fresh => {
                    known.waiting.insert(n, kind);
                }
                Allotted::Queued { .. } => assert!(known.waiting.contains_key(&n)),
                Allotted::Refused(_) => assert!(fresh),
            }
        }
        Call::End(n) => {
            let mut there = known.places.remove(&n).is_some();
            there |= known.waiting.remove(&n).is_some();
            assert_eq!(a.end(at(*now), &session(n)), there);
        }
        Call::Ready(n, weight) => {
            known.open.insert(n, weight > 0);
            a.instance_ready(at(*now), inst(n), weight);
        }
        Call::Drain(n) => {
            assert_eq!(a.instance_draining(at(*now), inst(n)), known.open.contains_key(&n));
            known.open.entry(n).and_modify(|open| *open = false);
        }
        Call::Gone(n) => {
            known.open.remove(&n);
            let lost = a.instance_gone(inst(n));
            assert!(lost.windows(2).all(|pair| pair[0].class >= pair[1].class));
            let before = known.places.len();
            known.places.retain(|_, (at, _)| at.instance != inst(n));
            assert_eq!(before - known.places.len(), lost.len());
        }
        Call::Wait(secs) => {
            *now += secs;
            a.expire(at(*now));
            assert!(a.next_expiry().is_none_or(|next| next > at(*now)));
        }
    }
    assert!(known.outcomes(a), "after {call:?}");
    known.check(a);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_calls_keeps_the_account(
        processes in 1u32..4, headroom in 0u32..4, calls in prop::collection::vec(call(), 1..200),
    ) {
        let (mut a, mut known, mut now) = (Allocator::new(three(processes, headroom)).unwrap(), Known::default(), 0);
        for call in &calls {
            perform(&mut a, &mut known, &mut now, call);
        }
        let (mut again, mut known, mut now) = (Allocator::new(three(processes, headroom)).unwrap(), Known::default(), 0);
        for call in &calls {
            perform(&mut again, &mut known, &mut now, call);
        }
        prop_assert_eq!(again.held().collect::<Vec<_>>(), a.held().collect::<Vec<_>>());
        prop_assert_eq!(again.drain_order(), a.drain_order());
        prop_assert_eq!(format!("{again:?}"), format!("{a:?}"));
    }
}
