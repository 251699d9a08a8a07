//! The worker without its thread and its rests, with a repository on disk.

use std::time::Duration;

use forecast::{Config, Ensemble};
use history::Store;

use super::*;
use crate::recent::Recent;

/// A job of a series of half hours with quiet weekends, from so many steps before a Monday's noon to there.
fn job(steps: u64, seed: u64) -> Job {
    let mut ensemble = Ensemble::new(Config::new(STEP), &[Kind::Boosted]).expect("valid");
    for i in LONG - steps..LONG {
        let wave = (std::f64::consts::TAU * (i % 48) as f64 / 48.0).sin();
        // The first day is a Wednesday.
        let share = if (i / 48 + 2) % 7 >= 5 { 0.4 } else { 1.0 };
        let value = share * (100.0 + 60.0 * wave) + ((i + 31 * seed) * 7919 % 101) as f64 / 10.0;
        let at = Timestamp::from_secs(1_700_006_400) + STEP * u32::try_from(i).expect("few");
        ensemble.observe(at, Some(value)).expect("in order");
    }
    ensemble.job("a test".to_owned()).expect("it has begun")
}

const STEP: Duration = Duration::from_secs(1800);
const LONG: u64 = 600 + 3 * 336;

fn next(news: &mut mpsc::Receiver<TrainingDone>) -> TrainingDone {
    news.blocking_recv().expect("the trainer works")
}

#[test]
fn a_young_workload_is_taught_by_an_older_one_where_that_is_measured_to_be_better() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Arc::new(Store::open(&dir.path().join("history")).expect("a store"));
    let repository = Repository::new(store, Arc::new(Recent::new(clock())));
    let (news, mut heard) = mpsc::channel(8);
    let names = vec!["old".to_owned(), "young".to_owned()];
    let desk = Arc::new(Desk::new(names, repository.clone(), news));
    let mut worker = Worker::new(desk, Arc::default(), 0);
    assert!(worker.turn(0, job(LONG, 1)));
    let alone = next(&mut heard);
    assert!(alone.message.contains("boosted version 1 is the champion"), "{}", alone.message);
    assert!(!alone.message.contains("together"), "{}", alone.message);
    assert!(worker.turn(1, job(360, 2)));
    let taught = next(&mut heard);
    let message = &taught.message;
    assert!(message.contains("boosted version 2 is the champion"), "{message}");
    assert!(message.contains("boosted version 3, learned from 2 workloads together, took over"), "{message}");
    assert_eq!(taught.trained.models.len(), 1);
    let champion = repository.champion("young", "boosted").expect("read").expect("there is one");
    assert_eq!(champion.id.get(), 3);
    assert!(champion.described.features.contains(&"together_2".to_owned()), "{champion:?}");
    let trial = champion.trial.expect("it was measured");
    assert!(trial.outcomes >= 100 && trial.gain() > 0.01, "{trial}");
}
