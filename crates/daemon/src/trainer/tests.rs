//! The worker without its rests, with a repository on disk.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forecast::{Config, Ensemble};
use history::Store;
use history::models::ModelLimits;

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

fn repository(dir: &std::path::Path) -> Repository {
    let store = Arc::new(Store::open(&dir.join("history")).expect("a store"));
    Repository::new(store, Arc::new(Recent::new(clock())), ModelLimits::DEFAULT)
}

#[test]
fn a_young_workload_is_taught_by_an_older_one_where_that_is_measured_to_be_better() {
    let dir = tempfile::tempdir().expect("a folder");
    let repository = repository(dir.path());
    let (news, mut heard) = mpsc::channel(8);
    let names = vec!["old".to_owned(), "young".to_owned()];
    let desk = Arc::new(Desk::new(names, repository.clone(), news));
    let mut worker = Worker::new(desk, Arc::default(), 1.0);
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
    let names: Vec<&str> = champion.described.scores.keys().map(String::as_str).collect();
    assert_eq!(names, ["coverage_90", "mae", "pinball", "rmse", "skill"]);
    assert!((0.0..1.0).contains(&champion.described.scores["skill"]), "{champion:?}");
    let trial = champion.trial.expect("it was measured");
    assert!(trial.outcomes >= 100 && trial.gain() > 0.01, "{trial}");
}

#[test]
fn a_version_that_is_made_for_other_steps_or_by_other_code_is_refused_in_words() {
    let dir = tempfile::tempdir().expect("a folder");
    let repository = repository(dir.path());
    let (news, _heard) = mpsc::channel(8);
    let desk = Arc::new(Desk::new(vec!["web".to_owned()], repository.clone(), news));
    let mut worker = Worker::new(desk.clone(), Arc::default(), 1.0);
    assert!(worker.turn(0, job(360, 1)));
    let mut champion = repository.champion("web", "boosted").expect("read").expect("there is one");
    desk.stored(&champion, &job(360, 1)).expect("its own steps");
    let mut minutes = Ensemble::new(Config::new(Duration::from_secs(60)), &[Kind::Boosted]).expect("valid");
    minutes.observe(Timestamp::EPOCH, Some(1.0)).expect("the first");
    let job = minutes.job(String::new()).expect("it has begun");
    let refused = desk.stored(&champion, &job).expect_err("other steps");
    assert_eq!(refused, "it is made for steps of 30m, and the workload's are of 1m");
    champion.described.code_version = "0.0.1".to_owned();
    let refused = desk.stored(&champion, &job).expect_err("other code");
    assert!(refused.contains("made by version 0.0.1"), "{refused}");
}

/// Passes checkpoints until it is told that it is over, counting them.
fn checkpoints(queue: &Arc<Queue>, work: Work, count: &Arc<AtomicU64>) -> JoinHandle<()> {
    let (queue, count) = (queue.clone(), count.clone());
    std::thread::spawn(move || {
        let mut step = queue.paced(1.0, work);
        while step() == ControlFlow::Continue(()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    })
}

/// Whether a count rises within a long time.
fn rises(count: &AtomicU64) -> bool {
    let (before, until) = (count.load(Ordering::Relaxed), Instant::now() + Duration::from_secs(30));
    while Instant::now() < until {
        if count.load(Ordering::Relaxed) > before {
            return true;
        }
        std::thread::sleep(A_MOMENT / 20);
    }
    false
}

/// Whether a count comes to rest: it does not rise for a while.
fn rests(count: &AtomicU64) -> bool {
    (0..100).any(|_| {
        let before = count.load(Ordering::Relaxed);
        std::thread::sleep(A_MOMENT);
        count.load(Ordering::Relaxed) == before
    })
}

#[test]
fn a_pause_holds_a_training_at_its_next_checkpoint_and_no_loading() {
    let queue = Arc::new(Queue::default());
    let (trained, loaded) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let threads =
        [checkpoints(&queue, Work::Training, &trained), checkpoints(&queue, Work::Loading, &loaded)];
    assert!(rises(&trained));
    queue.pause(true);
    assert!(rests(&trained), "it goes on although it is paused");
    assert!(rises(&loaded));
    queue.pause(false);
    assert!(rises(&trained), "it does not go on");
    // The end comes at once in a pause, too.
    queue.pause(true);
    assert!(rests(&trained));
    queue.stop();
    for thread in threads {
        thread.join().expect("it ends");
    }
}

#[test]
fn what_waits_in_a_pause_is_begun_after_it_in_its_latest_form() {
    let queue = Arc::new(Queue::default());
    queue.pause(true);
    queue.submit(0, job(360, 1));
    let (begun, heard) = std::sync::mpsc::channel();
    let taker = queue.clone();
    let thread = std::thread::spawn(move || {
        while let Some((workload, job)) = taker.next_training() {
            let _ = begun.send((workload, job.history().end()));
        }
    });
    assert!(heard.recv_timeout(A_MOMENT).is_err(), "a training was begun in a pause");
    assert_eq!(queue.not_begun(), [(0, "a test".to_owned())]);
    let later = job(400, 1);
    let end = later.history().end();
    queue.submit(0, later);
    queue.pause(false);
    assert_eq!(heard.recv().expect("it is begun"), (0, end));
    queue.stop();
    thread.join().expect("it ends");
    assert!(heard.recv().is_err(), "it was begun twice");
}

#[test]
fn a_training_goes_on_after_a_pause_and_is_over_at_once_when_the_trainer_goes_in_one() {
    let dir = tempfile::tempdir().expect("a folder");
    let (news, mut heard) = mpsc::channel(8);
    let trainer =
        Trainer::start(vec!["web".to_owned()], repository(dir.path()), 1.0, news).expect("it starts");
    let began = Instant::now();
    trainer.submit(0, job(LONG, 1));
    let message = next(&mut heard).message;
    assert!(message.contains("boosted version 1 is the champion"), "{message}");
    let usual = began.elapsed();
    trainer.submit(0, job(LONG, 2));
    while !trainer.not_begun().is_empty() {
        std::thread::sleep(A_MOMENT / 20);
    }
    trainer.pause(true);
    std::thread::sleep(2 * usual);
    assert!(heard.try_recv().is_err(), "it went on in the pause");
    trainer.pause(false);
    let message = next(&mut heard).message;
    assert!(message.contains("boosted") && message.contains('2'), "{message}");
    trainer.pause(true);
    trainer.submit(0, job(LONG, 3));
    drop(trainer);
    assert!(heard.blocking_recv().is_none(), "its threads have ended");
}

const A_MOMENT: Duration = Duration::from_millis(200);
