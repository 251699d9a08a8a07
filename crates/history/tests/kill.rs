//! `kill -9` at random moments: every sample that the writer acknowledged is there when the history is opened again.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use forecast::Timestamp;
use history::{Sample, SeriesKey, Store};

const ROUNDS: u64 = 20;
const BATCH: i64 = 25;
/// How long a child may take to its first write, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Tells a process started by the test which folder to write to; without it the child does nothing.
const DIR_VARIABLE: &str = "FORESHADOW_HISTORY_KILL_TEST_DIR";
const COUNT_KEY: &str = "next";

fn sample(n: i64) -> Sample {
    Sample::new(
        SeriesKey::new("web", format!("m{}", n % 5)),
        Timestamp::from_millis(n * 250),
        (n as f64).sin(),
    )
}

/// Not a test by itself: the process that is killed. Appends for ever, and says so after each acknowledged batch.
#[test]
fn child_that_appends_until_it_is_killed() {
    let Ok(dir) = std::env::var(DIR_VARIABLE) else { return };
    let store = Store::open(Path::new(&dir)).unwrap();
    let first =
        store.get(COUNT_KEY).unwrap().map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
    for batch in 0.. {
        let from = first + batch * BATCH;
        let samples = (from..from + BATCH).map(sample).collect();
        let next = (from + BATCH).to_le_bytes().to_vec();
        store
            .write(&history::Batch { samples, values: vec![(COUNT_KEY.into(), next)], ..Default::default() })
            .unwrap();
        println!("acknowledged {}", from + BATCH);
        std::io::stdout().flush().unwrap();
        if batch % 10 == 9 {
            store.compact(Timestamp::from_millis(from * 250)).unwrap();
        }
    }
}

#[test]
fn acknowledged_samples_survive_kill_9_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = fastrand::Rng::with_seed(7);
    let mut acknowledged = 0;
    let mut writing = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_appends_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(DIR_VARIABLE, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let acknowledgements = follow(child.stdout.take().unwrap());
        // Every other child is killed wherever it is, opening included; the rest while they write.
        let first = if round % 2 == 0 { None } else { acknowledgements.recv_timeout(PATIENCE).ok() };
        writing += u64::from(first.is_some());
        std::thread::sleep(Duration::from_millis(rng.u64(0..250)));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = first.into_iter().chain(acknowledgements).fold(acknowledged, i64::max);

        let store = Store::open(dir.path()).unwrap();
        let stored =
            store.get(COUNT_KEY).unwrap().map_or(0, |bytes| i64::from_le_bytes(bytes.try_into().unwrap()));
        assert!(stored >= acknowledged, "round {round}: {stored} stored, {acknowledged} acknowledged");
        for metric in 0..5 {
            let key = SeriesKey::new("web", format!("m{metric}"));
            let read = store.read(&key, Timestamp::EPOCH, Timestamp::MAX).unwrap();
            let wanted = (0..stored).filter(|n| n % 5 == metric).map(sample);
            assert!(
                read.into_iter().eq(wanted.map(|s| (s.at, s.value))),
                "round {round}: series {key} differs"
            );
        }
    }
    assert_eq!(writing, ROUNDS / 2, "some children never got to write");
}

/// The numbers that the child says it has stored, until its end.
fn follow(stdout: ChildStdout) -> Receiver<i64> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let number = line.split("acknowledged ").nth(1).and_then(|number| number.trim().parse().ok());
            if number.is_some_and(|number| sender.send(number).is_err()) {
                break;
            }
        }
    });
    receiver
}
