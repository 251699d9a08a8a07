//! A model of the user's own on the command line: alone, combined with ours, and when its user is killed.

use std::time::{Duration, Instant};

use super::*;

/// The program runs with these words, of which the last may have spaces.
fn with_own_model(folder: &Path, words: &str, command: &str) -> Output {
    Command::new(FORESHADOW)
        .args(words.split_whitespace())
        .args(["--model-command", command])
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

#[test]
fn the_documented_model_of_ones_own_forecasts_and_is_evaluated_beside_ours() {
    if !python() {
        return;
    }
    let (folder, command) = (hours(), documented());

    let output = with_own_model(folder.path(), "forecast hours.csv --horizon 24h", &command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let csv = text(&output.stdout);
    let medians = medians(&csv);
    assert_eq!(medians.len(), 24, "{csv}");
    let (night, day) = (&medians[..12], &medians[12..]);
    assert!(night.iter().all(|v| (95.0..=112.0).contains(v)), "{csv}");
    assert!(day.iter().all(|v| (145.0..=162.0).contains(v)), "{csv}");

    let words = "evaluate hours.csv --models last,day --horizon 24h --format csv";
    let output = with_own_model(folder.path(), words, &command);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let csv = text(&output.stdout);
    let pinball = |name: &str| -> f64 {
        let line = csv.lines().find(|line| line.split(',').nth(1) == Some(name)).expect(name);
        line.split(',').nth(2).unwrap().parse().unwrap()
    };
    assert!(pinball("external") < 0.5 * pinball("last"), "{csv}");
    assert!(pinball("external") < 2.0 * pinball("day"), "{csv}");
    let seconds: f64 = csv
        .lines()
        .find(|line| line.contains(",external,"))
        .unwrap()
        .split(',')
        .nth(9)
        .unwrap()
        .parse()
        .unwrap();
    assert!(seconds > 0.0, "its process has used no time: {csv}");

    for (command, part) in [
        ("while read line; do echo hello; done", "is no answer"),
        ("no-such-program", "it ended with exit status: 127"),
        ("sed -u 's/.*/{\"error\":\"not today\"}/'", "the external model says: not today"),
    ] {
        let output = with_own_model(folder.path(), "forecast hours.csv --horizon 24h", command);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(part) && said.contains("has no forecast as of"), "{command}: {said}");
    }
    let both = with_own_model(folder.path(), "forecast hours.csv --horizon 24h --model week", &command);
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
}

#[test]
fn a_model_of_ones_own_is_combined_with_ours_and_its_part_is_told() {
    if !python() {
        return;
    }
    let (folder, command) = (hours(), documented());
    let words = "forecast hours.csv --horizon 6h --as-of 1500000 --as-of 1700000 --model auto --combine week";
    let plain = foreshadow(folder.path(), words);
    let joined = with_own_model(folder.path(), words, &command);
    let said = text(&joined.stderr);
    assert!(joined.status.success() && medians(&text(&joined.stdout)).len() == 12, "{said}");
    assert_ne!(joined.stdout, plain.stdout);
    let share = |line: &str| -> f64 {
        let (_, rest) = line.split_once("your own model has ").expect(line);
        rest.split_once(" %").expect(line).0.parse().expect(line)
    };
    let shares: Vec<f64> = said.lines().map(share).collect();
    assert!(!shares.is_empty() && shares.iter().all(|&share| share > 0.0 && share < 100.0), "{said}");

    let broken = with_own_model(folder.path(), words, "no-such-program");
    let said = text(&broken.stderr);
    assert!(broken.status.success() && said.contains("no part in this forecast"), "{said}");
    assert!(said.contains("127"), "{said}");
    assert_eq!(broken.stdout, plain.stdout, "one that says nothing changes nothing");

    let words = "evaluate hours.csv --models auto --combine week --horizon 6h --origins 3 --format csv";
    let output = with_own_model(folder.path(), words, &command);
    let csv = text(&output.stdout);
    let loss = |name: &str| -> f64 {
        let line = csv.lines().find(|line| line.split(',').nth(1) == Some(name)).expect(&csv);
        line.split(',').nth(2).unwrap().parse().unwrap()
    };
    assert_ne!(loss("auto"), loss("auto+external"), "{csv}");
    assert!(loss("auto+external") < 1.5 * loss("auto").max(loss("external")), "{csv}");
}

/// The command is two processes, of which the inner one computes and never looks at its pipes again.
#[test]
fn a_model_that_computes_does_not_outlive_a_killed_user() {
    let folder = hours();
    let command = "sh -c 'read line; echo $$ > busy.tmp; mv busy.tmp busy; while :; do :; done'; true";
    for words in ["", "--model auto --combine week"] {
        let mark = folder.path().join("busy");
        let _ = std::fs::remove_file(&mark);
        let mut child = Command::new(FORESHADOW)
            .args("forecast hours.csv --horizon 6h".split_whitespace())
            .args(words.split_whitespace())
            .args(["--model-command", command])
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        wait_until("the model computes", || mark.exists());
        let process = std::fs::read_to_string(&mark).unwrap().trim().to_owned();
        assert!(is_alive(&process), "the model computes");
        child.kill().unwrap();
        child.wait().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        while is_alive(&process) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        let outlived = is_alive(&process);
        if outlived {
            Command::new("kill").args(["-9", &process]).status().unwrap();
        }
        assert!(!outlived, "the model went on after `kill -9` of the one who asked it");
    }
}

/// Whether a process runs; one that only waits to be asked how it ended does not.
fn is_alive(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn wait_until(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < until, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn python() -> bool {
    let found = Command::new("python3").arg("--version").output().is_ok();
    if !found {
        eprintln!("not run: there is no python3");
    }
    found
}

/// A folder with three weeks of hours whose days and nights differ.
fn hours() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<String> = (0..24 * 21)
        .map(|hour| format!("{},{}\n", hour * 3600, 100 + 50 * (hour % 24 / 12) + hour * 7919 % 7))
        .collect();
    std::fs::write(folder.path().join("hours.csv"), format!("timestamp,v\n{}", rows.concat())).unwrap();
    folder
}

/// The model of the documentation.
fn documented() -> String {
    format!("python3 '{}'", concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/external_model.py"))
}
