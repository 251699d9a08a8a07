//! A user's model as a real child process: what it says, and every way in which it can fail.

use std::time::Duration;

use forecast::covariates::Covariates;
use forecast::grid::Grid;
use forecast::models::external::{External, ExternalError};
use forecast::models::{FitError, History, Model, Pace};

use super::*;

/// A model in a few lines: every quantile is the last value plus the quantile times the largest step seen. Its first
/// argument makes it misbehave when it is asked for a forecast.
const SCRIPT: &str = r#"
import json, os, sys, time
mode = sys.argv[1] if len(sys.argv) > 1 else ""
values = []
for line in sys.stdin:
    request = json.loads(line)
    if "fit" in request:
        values = [v for v in request["fit"]["values"] if v is not None]
        if len(values) < 3:
            print(json.dumps({"error": "three values at least"}), flush=True)
            continue
        print(json.dumps({"ok": True}), flush=True)
    elif "observe" in request:
        values += [v for v in request["observe"]["values"] if v is not None]
        print(json.dumps({"ok": True}), flush=True)
    elif "forecast" in request:
        if mode == "slow":
            time.sleep(60)
        if mode == "crash":
            sys.exit("out of ideas")
        if mode == "once" and not os.path.exists(sys.argv[2]):
            open(sys.argv[2], "w").close()
            os._exit(3)
        if mode == "babble":
            print("hello", flush=True)
            continue
        if mode == "flood":
            sys.stdout.write("[" * (1 << 22))
            sys.stdout.flush()
            continue
        question = request["forecast"]
        reach = max(abs(a - b) for a, b in zip(values, values[1:]))
        row = [values[-1] + q * reach for q in question["quantiles"]]
        if mode == "nan":
            row[0] = float("nan")
        if mode == "falling":
            row.reverse()
        rows = [row] * (question["steps"] - (1 if mode == "short" else 0))
        if mode == "environment":
            seen = [os.environ.get("MODEL") == "a", "CARGO_MANIFEST_DIR" in os.environ]
            rows = [[float(seen[0]), 2.0 + seen[1]] for _ in rows]
        print(json.dumps({"values": rows}), flush=True)
        if mode == "twice":
            print(json.dumps({"values": rows}), flush=True)
"#;

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder with the script, or `None`, named where skipped tests are named, when there is no Python.
    fn new() -> Option<Place> {
        let found =
            Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
        if !found {
            skips::skip("a user's own model as a process", "no python3 on this machine");
            return None;
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::write(folder.path().join("model.py"), SCRIPT).expect("the script is written");
        Some(Place { folder })
    }

    fn config(&self, mode: &str) -> ExternalModelConfig {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let command = vec!["python3".into(), path("model.py"), mode.into(), path("mark")];
        let mut config = ExternalModelConfig::new(command);
        config.answer_within = Duration::from_secs(20);
        config.pause = Duration::from_millis(1);
        config
    }
}

fn fit(config: ExternalModelConfig, values: &[f32]) -> Result<External, FitError> {
    let origin = forecast::Timestamp::from_millis(0);
    let grid = Grid { origin, step: Duration::from_secs(60), zone: None };
    let history = History {
        grid: &grid,
        first: 0,
        values,
        seasons: &[],
        covariates: &Covariates::default(),
        horizon: 3,
        non_negative: true,
    };
    External::fit(Box::new(ExternalModel::new(config)), &history, &mut Pace::free())
}

fn ask(model: &External) -> Result<Vec<Vec<f64>>, ExternalError> {
    let values = model.try_forecast(3, &[0.5, 0.9], &Covariates::default())?;
    Ok(values.iter().map(<[f64]>::to_vec).collect())
}

const VALUES: [f32; 5] = [1.0, 3.0, f32::NAN, 2.0, 4.0];

#[test]
fn a_python_script_is_fitted_follows_the_series_and_is_asked() {
    let Some(place) = Place::new() else { return };
    let mut model = fit(place.config(""), &VALUES).unwrap();
    assert_eq!(ask(&model).unwrap(), vec![vec![5.0, 5.8]; 3]);
    model.observe(10.0, &Covariates::default());
    model.observe(f32::NAN, &Covariates::default());
    assert_eq!(ask(&model).unwrap(), vec![vec![13.0, 15.4]; 3]);
    let long: Vec<f32> = (0..200_000).map(|i| (i % 7) as f32).collect();
    let model = fit(place.config(""), &long).unwrap();
    assert_eq!(ask(&model).unwrap().len(), 3, "a line longer than any pipe");
}

#[test]
fn what_is_no_answer_becomes_an_error_that_says_what_is_wrong() {
    let Some(place) = Place::new() else { return };
    let cases = [
        ("nan", "is no answer"),
        ("falling", "falls"),
        ("short", "2 rows for 3 steps"),
        ("babble", "\"hello\" is no answer"),
        ("crash", "it ended with exit status: 1; it wrote: out of ideas"),
        ("flood", "longer than 1048576 bytes"),
        ("slow", "no answer within 300ms"),
    ];
    for (mode, words) in cases {
        let mut config = place.config(mode);
        config.answer_bytes_max = 1 << 20;
        if mode == "slow" {
            config.answer_within = Duration::from_millis(300);
        }
        let error = ask(&fit(config, &VALUES).unwrap()).unwrap_err().to_string();
        assert!(error.contains(words), "{mode}: {error}");
    }
    let model = fit(place.config("twice"), &VALUES).unwrap();
    assert!(ask(&model).is_ok());
    std::thread::sleep(Duration::from_millis(200));
    let error = ask(&model).unwrap_err().to_string();
    assert!(error.contains("it wrote without being asked"), "{error}");
    let error = fit(place.config(""), &VALUES[..2]).unwrap_err().to_string();
    assert!(error.contains("three values at least"), "{error}");
}

#[test]
fn a_process_that_died_is_started_anew_and_told_everything_again() {
    let Some(place) = Place::new() else { return };
    let mut model = fit(place.config("once"), &VALUES).unwrap();
    model.observe(5.0, &Covariates::default());
    model.observe(20.0, &Covariates::default());
    let error = ask(&model).unwrap_err().to_string();
    assert!(error.contains("exit status: 3"), "{error}");
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(ask(&model).unwrap(), vec![vec![27.5, 33.5]; 3]);
}

#[test]
fn after_failures_it_is_left_alone_for_longer_and_longer() {
    let mut config = ExternalModelConfig::new(vec!["/nowhere/model".into()]);
    config.pause = Duration::from_millis(400);
    config.pause_max = Duration::from_secs(1);
    let model = ExternalModel::new(config);
    let question = Request::Forecast(ForecastRequest {
        steps: 1,
        quantiles: vec![0.5],
        covariates: std::collections::BTreeMap::new(),
    });
    let first = model.ask(&question).unwrap_err();
    assert!(first.contains("failed to start \"/nowhere/model\""), "{first}");
    let at_once = model.ask(&question).unwrap_err();
    assert!(at_once.contains("after 1 failures: failed to start"), "{at_once}");
    std::thread::sleep(Duration::from_millis(410));
    assert!(model.ask(&question).unwrap_err().starts_with("failed to start"));
    std::thread::sleep(Duration::from_millis(410));
    assert!(model.ask(&question).unwrap_err().contains("after 2 failures"), "the pause doubles");
    let none = ExternalModel::new(ExternalModelConfig::new(Vec::new()));
    assert_eq!(none.ask(&question).unwrap_err(), "no command is given");
}

#[test]
fn it_sees_little_of_the_environment_and_leaves_nothing_behind() {
    let Some(place) = Place::new() else { return };
    let mut config = place.config("environment");
    config.environment = vec![("MODEL".into(), "a".into())];
    let model = ExternalModel::new(config);
    let speak = |request: &Request| model.ask(request);
    let origin = forecast::models::external::FitRequest {
        begins_ms: 0,
        step_ms: 1,
        zone: None,
        values: vec![Some(1.0); 3],
        seasons: Vec::new(),
        covariates: std::collections::BTreeMap::new(),
        horizon: 1,
        non_negative: true,
    };
    assert_eq!(speak(&Request::Fit(origin)), Ok(Answer::Ok(true)));
    let covariates = std::collections::BTreeMap::new();
    let question = ForecastRequest { steps: 1, quantiles: vec![0.5, 0.9], covariates };
    let Ok(Answer::Values(rows)) = speak(&Request::Forecast(question)) else { panic!("no values") };
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo sets it for tests");
    assert_eq!(rows[0], [Some(1.0), Some(2.0)], "what it is given, and nothing of the daemon's");
    let id = model.state.lock().unwrap().running.as_ref().map(|running| running.child.id());
    let folder = format!("/proc/{}", id.expect("it runs"));
    assert!(std::path::Path::new(&folder).exists());
    drop(model);
    assert!(!std::path::Path::new(&folder).exists(), "it is ended and waited for");
}
