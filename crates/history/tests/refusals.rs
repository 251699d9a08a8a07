//! What the store refuses, and what it says then.

use std::fs;
use std::path::Path;

use forecast::Timestamp;
use history::limit::{self, Limit};
use history::{Batch, EventRecord, HistoryError, PlanRecord, Sample, SeriesKey, Store};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn filled(dir: &Path) {
    let store = Store::open(dir).unwrap();
    let samples: Vec<Sample> =
        (0..5000).map(|n| Sample::new(SeriesKey::new("web", "demand"), at(n), (n as f64).sqrt())).collect();
    store.append(&samples).unwrap();
    store.compact(at(100_000)).unwrap();
}

#[test]
fn a_second_opener_is_told_who_has_the_folder_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, HistoryError::Locked { .. }));
    let message = error.to_string();
    assert!(message.contains(&dir.path().display().to_string()), "{message}");
    assert!(message.contains(&format!("pid {}", std::process::id())), "{message}");
    assert!(message.contains("stop that one, or choose another"), "{message}");
    drop(first);
    Store::open(dir.path()).unwrap();
}

#[test]
fn a_folder_that_is_a_file_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = Store::open(&file).unwrap_err();
    assert!(matches!(error, HistoryError::Open { .. }));
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn nan_and_infinity_are_refused_naming_the_series_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let key = SeriesKey::new("web", "demand").with_label("zone", "a");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let error = store
            .append(&[Sample::new(key.clone(), at(1), 1.0), Sample::new(key.clone(), at(2), bad)])
            .unwrap_err();
        assert!(matches!(error, HistoryError::NotFinite { .. }));
        let message = error.to_string();
        assert!(
            message.contains("web/demand{zone=\"a\"}") && message.contains("1970-01-01T00:00:02Z"),
            "{message}"
        );
    }
    assert_eq!(store.series().unwrap(), []);
}

#[test]
fn every_limit_is_named_in_its_error() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let event = |body| EventRecord { at: at(0), workload: None, kind: "k".into(), body };
    let plan = |body| PlanRecord { at: at(0), workload: "web".into(), generation: 1, body };
    let cases: Vec<(Limit, Result<(), HistoryError>)> = vec![
        (Limit::EventBodyBytes, store.record_event(event(vec![0; limit::EVENT_BODY_BYTES_MAX + 1]))),
        (Limit::PlanBodyBytes, store.record_plan(plan(vec![0; limit::PLAN_BODY_BYTES_MAX + 1]))),
        (Limit::KeyBytes, store.put(&"k".repeat(limit::KEY_BYTES_MAX + 1), b"")),
        (Limit::ValueBytes, store.put("k", &vec![0; limit::VALUE_BYTES_MAX + 1])),
        (
            Limit::BatchItems,
            store.write(&Batch {
                events: vec![event(vec![]); limit::BATCH_ITEMS_MAX + 1],
                ..Batch::default()
            }),
        ),
        (Limit::NameBytes, store.append(&[Sample::new(SeriesKey::new("w".repeat(300), "m"), at(0), 0.0)])),
    ];
    for (wanted, result) in cases {
        match result {
            Err(HistoryError::Limit { limit, found, max, .. }) => {
                assert_eq!(limit, wanted);
                assert!(found > max);
            }
            other => panic!("{wanted:?}: {other:?}"),
        }
    }
    store.record_event(event(vec![0; limit::EVENT_BODY_BYTES_MAX])).unwrap();
    store.record_plan(plan(vec![0; limit::PLAN_BODY_BYTES_MAX])).unwrap();
    store.put("k", &vec![0; limit::VALUE_BYTES_MAX]).unwrap();
}

#[test]
fn a_file_that_is_not_a_history_is_damage_and_stays_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    let garbage: Vec<u8> = (0..20_000u32).map(|n| (n * 31 % 251) as u8).collect();
    fs::write(&path, &garbage).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error, HistoryError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("history.redb"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), garbage);
}

#[test]
fn a_truncated_or_flipped_file_is_an_error_or_whole_but_never_a_panic_or_wrong() {
    let origin = tempfile::tempdir().unwrap();
    filled(origin.path());
    let good = fs::read(origin.path().join("history.redb")).unwrap();
    let mut rng = fastrand::Rng::with_seed(11);
    let mut refused = 0;
    for round in 0..120 {
        let mut bytes = good.clone();
        if round % 3 == 0 {
            bytes.truncate(rng.usize(1..good.len()));
        } else {
            let from = rng.usize(0..good.len());
            let to = (from + rng.usize(1..3000)).min(good.len());
            bytes[from..to].iter_mut().for_each(|byte| *byte ^= rng.u8(1..));
        }
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("history.redb"), bytes).unwrap();
        match Store::open(dir.path()) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert!(
                    matches!(error, HistoryError::Corrupt { .. } | HistoryError::Storage { .. }),
                    "{error:?}"
                );
                refused += 1;
            }
            // Damage in free pages is no damage.
            Ok(store) => {
                let read = store.read(&SeriesKey::new("web", "demand"), at(0), Timestamp::MAX).unwrap();
                assert!(
                    read.iter().enumerate().all(|(n, s)| *s == (at(n as i64), (n as f64).sqrt())),
                    "round {round}"
                );
            }
        }
    }
    assert!(refused > 40, "only {refused} of 120 damaged files were refused");
}
