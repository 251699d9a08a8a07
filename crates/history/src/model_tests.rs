//! The store against a `BTreeMap`: whatever is written, compacted, forgotten and reopened in whatever order, it reads the same.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::compact;
use crate::engine;
use crate::retain::{self, Retention};
use crate::series::{Sample, SeriesKey};
use crate::store::Store;

/// Chunks so small, and so little work per call, that short histories cross every boundary.
const CHUNK_SAMPLES: usize = 8;
const COMPACT: compact::Bounds =
    compact::Bounds { chunk_samples: CHUNK_SAMPLES, samples_max: 20, series_max: 2 };
const RETAIN: retain::Bounds = retain::Bounds { series_max: 2, rows_max: 5 };
/// Times are drawn from `0..TIMES` seconds.
const TIMES: i64 = 120;

#[derive(Clone, Debug)]
enum Step {
    /// (series, seconds, value)
    Append(Vec<(usize, i64, f64)>),
    /// Once, with the clock at so many seconds.
    Compact(i64),
    /// To the end: (clock, seconds kept of metric `a`, seconds kept of metric `b`)
    Retain(i64, i64, i64),
    Reopen,
    Read(usize, i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0..4usize, 0..TIMES, prop_oneof![Just(0.0), -1e9..1e9f64]);
    prop_oneof![
        5 => prop::collection::vec(sample, 1..40).prop_map(Step::Append),
        4 => (0..TIMES + 200).prop_map(Step::Compact),
        1 => (0..TIMES, 0..TIMES, 0..TIMES).prop_map(|(now, a, b)| Step::Retain(now, a, b)),
        1 => Just(Step::Reopen),
        3 => (0..4usize, 0..TIMES, 0..TIMES).prop_map(|(series, from, to)| Step::Read(series, from, to)),
    ]
}

fn key(series: usize) -> SeriesKey {
    let metric = if series.is_multiple_of(2) { "a" } else { "b" };
    SeriesKey::new("web", metric).with_label("n", series.to_string())
}

fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn open(dir: &TempDir) -> Store {
    Store::open_with(dir.path(), engine::open_file).unwrap().with_bounds(COMPACT, RETAIN)
}

type Model = BTreeMap<usize, BTreeMap<i64, f64>>;

fn retain_model(model: &mut Model, now: i64, a: i64, b: i64) {
    for (series, samples) in model.iter_mut() {
        let cutoff = now - if series.is_multiple_of(2) { a } else { b };
        samples.retain(|at, _| *at >= cutoff);
    }
    model.retain(|_, samples| !samples.is_empty());
}

fn expected(model: &Model, series: usize, from: i64, to: i64) -> Vec<(Timestamp, f64)> {
    let samples = model.get(&series).into_iter().flatten();
    samples.filter(|(at, _)| (from..to).contains(*at)).map(|(at, value)| (secs(*at), *value)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn any_history_reads_back_like_a_sorted_map(steps in prop::collection::vec(step(), 1..40)) {
        let dir = TempDir::new().unwrap();
        let mut store = open(&dir);
        let mut model = Model::new();
        for step in steps {
            match step {
                Step::Append(batch) => {
                    let samples: Vec<Sample> =
                        batch.iter().map(|(series, at, value)| Sample::new(key(*series), secs(*at), *value)).collect();
                    store.append(&samples).unwrap();
                    for (series, at, value) in batch {
                        model.entry(series).or_default().insert(at, value);
                    }
                }
                Step::Compact(now) => {
                    let done = store.compact(secs(now)).unwrap();
                    prop_assert!(done.samples <= COMPACT.samples_max as u64);
                }
                Step::Retain(now, a, b) => {
                    let policy = Retention {
                        metrics: BTreeMap::from([
                            ("a".to_owned(), Duration::from_secs(a as u64)),
                            ("b".to_owned(), Duration::from_secs(b as u64)),
                        ]),
                        ..Retention::default()
                    };
                    let before: u64 = model.values().map(|samples| samples.len() as u64).sum();
                    let stored_twice = store.stats().unwrap().head_samples;
                    let mut removed = 0;
                    while {
                        let done = store.retain(&policy, secs(now)).unwrap();
                        removed += done.samples;
                        done.more
                    } {}
                    retain_model(&mut model, now, a, b);
                    let after: u64 = model.values().map(|samples| samples.len() as u64).sum();
                    // A sample that was overwritten after compaction is there twice until the next one.
                    prop_assert!((before - after..=before - after + stored_twice).contains(&removed));
                }
                Step::Reopen => {
                    drop(store);
                    store = open(&dir);
                }
                Step::Read(series, from, to) => {
                    let read = store.read(&key(series), secs(from), secs(to)).unwrap();
                    prop_assert_eq!(read, expected(&model, series, from, to));
                }
            }
        }
        let known: Vec<SeriesKey> = model.keys().map(|series| key(*series)).collect();
        let mut listed = store.series().unwrap();
        listed.sort();
        let mut wanted = known.clone();
        wanted.sort();
        prop_assert_eq!(listed, wanted);
        for series in 0..4 {
            let all = expected(&model, series, 0, TIMES);
            prop_assert_eq!(store.last(&key(series)).unwrap(), all.last().copied());
            prop_assert_eq!(store.read(&key(series), secs(0), secs(TIMES)).unwrap(), all);
        }
    }
}

#[test]
fn compaction_ends_with_only_part_of_a_chunk_left_in_the_head() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let samples: Vec<Sample> = (0..1003).map(|n| Sample::new(key(0), secs(n), n as f64)).collect();
    store.append(&samples).unwrap();
    let mut calls = 0;
    while store.compact(secs(5000)).unwrap().more {
        calls += 1;
        assert!(calls < 200, "compaction does not come to an end");
    }
    let stats = store.stats().unwrap();
    assert_eq!(
        (stats.head_samples, stats.chunks),
        (1003 % CHUNK_SAMPLES as u64, 1003 / CHUNK_SAMPLES as u64)
    );
}

#[test]
fn one_late_sample_rewrites_one_chunk() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let samples: Vec<Sample> = (0..400).map(|n| Sample::new(key(0), secs(n), n as f64)).collect();
    store.append(&samples).unwrap();
    while store.compact(secs(5000)).unwrap().more {}
    let mut late: Vec<Sample> = (400..407).map(|n| Sample::new(key(0), secs(n), n as f64)).collect();
    late.push(Sample::new(key(0), secs(40), -1.0));
    store.append(&late).unwrap();
    let done = store.compact(secs(5000)).unwrap();
    assert_eq!((done.samples, done.chunks), (1, 1));
    assert_eq!(store.read(&key(0), secs(40), secs(41)).unwrap(), [(secs(40), -1.0)]);
    assert_eq!(store.stats().unwrap().head_samples, 7);
}

#[test]
fn a_scan_keeps_its_snapshot_while_the_store_goes_on() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let samples: Vec<Sample> = (0..100).map(|n| Sample::new(key(0), secs(n), n as f64)).collect();
    store.append(&samples).unwrap();
    while store.compact(secs(5000)).unwrap().more {}
    let mut scan = store.scan(&key(0), secs(0), Timestamp::MAX).unwrap();
    assert_eq!(scan.next().unwrap().unwrap(), (secs(0), 0.0));
    store.append(&[Sample::new(key(0), secs(50), -5.0)]).unwrap();
    let policy = Retention { samples: Some(Duration::from_secs(10)), ..Retention::default() };
    while store.retain(&policy, secs(1000)).unwrap().more {}
    let rest: Vec<f64> = scan.map(|sample| sample.unwrap().1).collect();
    assert_eq!(rest, (1..100).map(f64::from).collect::<Vec<f64>>());
    assert_eq!(store.last(&key(0)).unwrap(), None);
}
