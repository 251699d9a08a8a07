//! `[training]` and `retrain` as a user meets them.

use super::{mistake, parse, workload};
use crate::config::TrainingConfig;

fn with_training(lines: &str, more: &str) -> String {
    format!("{}[training]\n{lines}\n", workload(more))
}

#[test]
fn training_is_read_written_and_has_sane_defaults() {
    let usual = parse(&workload("")).expect("valid").training;
    let defaults = TrainingConfig { cpu_max: 0.25, paused: false, versions_max: 48, size_max: 64 << 20 };
    assert_eq!(usual, defaults);
    let lines = "cpu_max = 0.1\npaused = true\nversions_max = 44\nsize_max = \"1GiB\"";
    let config = parse(&with_training(lines, "models = \"auto\"")).expect("valid");
    let wanted = TrainingConfig { cpu_max: 0.1, paused: true, versions_max: 44, size_max: 1 << 30 };
    assert_eq!(config.training, wanted);
    assert_eq!(config.training.limits().versions_max, 44);
    assert_eq!(config.training.limits().bytes_max, 1 << 30);
    assert_eq!(parse(&config.to_toml()).expect("valid"), config);
    assert_eq!(parse(&with_training("cpu_max = 1", "")).expect("valid").training.cpu_max, 1.0);
}

#[test]
fn training_that_makes_no_sense_is_refused_with_line_key_and_what_to_write() {
    for (lines, more, key, part) in [
        ("cpu_max = 0", "", "training.cpu_max", "write at least 0.01 and at most 1"),
        ("cpu_max = 1.5", "", "training.cpu_max", "write at least 0.01 and at most 1"),
        ("cpu_max = \"25%\"", "", "training.cpu_max", "write a number without quotes"),
        ("paused = \"yes\"", "", "training.paused", "write `true` or `false`"),
        ("versions_max = 0", "", "training.versions_max", "write at least 1 and at most 10000"),
        ("versions_max = 42", "models = \"auto\"", "training.versions_max", "write at least 43"),
        ("size_max = 64", "", "training.size_max", "write a size with a unit"),
        ("size_max = \"1KiB\"", "", "training.size_max", "write at least 1MiB and at most 1TiB"),
        ("pause = true", "", "training.pause", "did you mean `paused`?"),
    ] {
        let text = with_training(lines, more);
        let errors = parse(&text).expect_err(lines);
        let [error] = errors.errors() else { panic!("{lines}: {errors}") };
        let line = 1 + text.lines().position(|line| line == lines).expect("it is there");
        assert_eq!((error.line, error.key.as_str()), (line, key), "{errors}");
        assert!(error.hint.contains(part), "{lines}: {errors}");
    }
    let said = parse(&format!("training = 1\n{}", workload(""))).expect_err("no table").to_string();
    assert!(said.contains("training") && said.contains("[training]"), "{said}");
}

#[test]
fn retraining_that_makes_no_sense_is_refused() {
    for (line, part) in [
        ("retrain = \"daily\"", "write a table such as { schedule = \"daily\""),
        (
            "retrain = { schedule = \"weekly\" }",
            "write \"hourly\", \"daily\", \"never\" or a time such as \"6h\"",
        ),
        ("retrain = { schedule = \"5s\" }", "workload.web.retrain.schedule: \"5s\" is out of range"),
        ("retrain = { shedule = \"daily\" }", "did you mean `schedule`?"),
        ("retrain = { coverage_min = 0.95 }", "0.95 is out of range; write at least 0 and at most 0.9"),
        ("retrain = { mae_max = -1 }", "-1 is out of range"),
    ] {
        let said = mistake(line);
        assert!(said.contains(part), "{line}: {said}");
    }
}
