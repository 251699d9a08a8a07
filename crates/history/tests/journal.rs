//! Events, plans and small values.

use std::time::Duration;

use forecast::Timestamp;
use history::{Batch, EventRecord, PlanRecord, Retention, Store};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn event(secs: i64, workload: Option<&str>, kind: &str) -> EventRecord {
    EventRecord {
        at: at(secs),
        workload: workload.map(str::to_owned),
        kind: kind.to_owned(),
        body: kind.into(),
    }
}

fn plan(secs: i64, workload: &str, generation: u64) -> PlanRecord {
    PlanRecord {
        at: at(secs),
        workload: workload.to_owned(),
        generation,
        body: generation.to_le_bytes().to_vec(),
    }
}

fn kinds(events: &[EventRecord]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn events_come_newest_first_by_workload_and_range() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for (secs, workload, kind) in [
        (1, Some("web"), "a"),
        (2, None, "b"),
        (2, Some("web"), "c"),
        (2, Some("api"), "d"),
        (9, Some("web"), "e"),
    ] {
        store.record_event(event(secs, workload, kind)).unwrap();
    }
    assert_eq!(kinds(&store.events(at(0), at(100), None, 10).unwrap()), ["e", "d", "c", "b", "a"]);
    assert_eq!(kinds(&store.events(at(0), at(100), Some("web"), 2).unwrap()), ["e", "c"]);
    assert_eq!(kinds(&store.events(at(2), at(9), None, 10).unwrap()), ["d", "c", "b"]);
    assert_eq!(kinds(&store.events(at(0), at(100), Some("none"), 10).unwrap()), Vec::<&str>::new());
    assert_eq!(store.events(at(9), at(2), None, 10).unwrap(), []);
    assert_eq!(store.events(at(2), at(3), None, 10).unwrap()[2], event(2, None, "b"));
}

#[test]
fn the_plan_in_force_is_the_newest_at_or_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let plans = vec![plan(10, "web", 1), plan(20, "web", 2), plan(20, "web", 3), plan(15, "webb", 7)];
    store.write(&Batch { plans, ..Batch::default() }).unwrap();
    assert_eq!(store.plan_at("web", at(9)).unwrap(), None);
    assert_eq!(store.plan_at("web", at(19)).unwrap(), Some(plan(10, "web", 1)));
    assert_eq!(store.plan_at("web", at(20)).unwrap(), Some(plan(20, "web", 3)));
    assert_eq!(store.plans("web", at(0), at(20), 10).unwrap(), [plan(10, "web", 1)]);
    let newest = store.plans("web", at(0), at(99), 2).unwrap();
    assert_eq!(newest, [plan(20, "web", 3), plan(20, "web", 2)]);
}

#[test]
fn retention_removes_old_events_and_plans_of_every_workload() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let workloads = ["api", "db", "web"];
    let events = (0..90).map(|n| event(n, Some(workloads[n as usize % 3]), "k")).collect();
    let plans = (0..90).map(|n| plan(n, workloads[n as usize % 3], n as u64)).collect();
    store.write(&Batch { events, plans, ..Batch::default() }).unwrap();
    let policy = Retention {
        events: Some(Duration::from_secs(40)),
        plans: Some(Duration::from_secs(70)),
        ..Retention::default()
    };
    let done = store.retain(&policy, at(100)).unwrap();
    assert_eq!((done.events, done.plans, done.more), (60, 30, false));
    assert_eq!(store.events(at(0), at(100), None, 1000).unwrap().len(), 30);
    assert_eq!(store.events(at(0), at(100), Some("db"), 1000).unwrap().len(), 10);
    let plans: usize = workloads.map(|w| store.plans(w, at(0), at(100), 1000).unwrap().len()).iter().sum();
    assert_eq!(plans, 60);
}

#[test]
fn small_values_can_be_set_read_listed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    for key in ["override/web", "override/api", "overridden", "x"] {
        store.put(key, key.as_bytes()).unwrap();
    }
    store.put("x", b"2").unwrap();
    drop(store);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.get("x").unwrap().as_deref(), Some(&b"2"[..]));
    assert_eq!(store.get("y").unwrap(), None);
    assert_eq!(store.keys("override/").unwrap(), ["override/api", "override/web"]);
    assert!(store.remove("x").unwrap());
    assert!(!store.remove("x").unwrap());
    assert_eq!(store.keys("").unwrap().len(), 3);
}
