//! The adapter with a model that plays by the rules, and with ones that do not.

use std::sync::{Arc, Mutex};

use super::*;
use crate::Timestamp;
use crate::grid::Grid;

/// Answers what it is told to, and keeps what it was asked.
#[derive(Clone, Debug, Default)]
struct Script {
    asked: Arc<Mutex<Vec<Request>>>,
    answers: Arc<Mutex<Vec<Result<Answer, String>>>>,
}

impl Script {
    fn of(answers: Vec<Result<Answer, String>>) -> Script {
        Script { asked: Arc::default(), answers: Arc::new(Mutex::new(answers)) }
    }

    fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Speaker for Script {
    fn ask(&self, request: &Request) -> Result<Answer, String> {
        self.asked.lock().unwrap().push(request.clone());
        let mut answers = self.answers.lock().unwrap();
        if answers.is_empty() { Err("it has ended".into()) } else { answers.remove(0) }
    }
}

fn fitted(answers: Vec<Result<Answer, String>>) -> (External, Script) {
    let grid =
        Grid { origin: Timestamp::from_secs(1000), step: std::time::Duration::from_secs(60), zone: None };
    let mut covariates = Covariates::beginning(0);
    covariates.add("rain", vec![0.0, 1.0, 2.0, 3.0, f32::NAN, 5.0]).unwrap();
    let history = History {
        grid: &grid,
        first: 1,
        values: &[1.0, f32::NAN, 3.0],
        seasons: &[2],
        covariates: &covariates,
        horizon: 4,
        non_negative: true,
    };
    let script = Script::of([vec![Ok(Answer::Ok(true))], answers].concat());
    (External::fit(Box::new(script.clone()), &history, &mut Pace::free()).unwrap(), script)
}

fn covariates() -> Covariates {
    let mut covariates = Covariates::beginning(4);
    covariates.add("rain", vec![f32::NAN, 5.0]).unwrap();
    covariates
}

#[test]
fn the_model_is_told_the_history_what_follows_and_what_is_asked() {
    let rows = vec![vec![Some(2.0), Some(1.0)], vec![Some(3.0), Some(-1.0)]];
    let (mut model, script) = fitted(vec![Ok(Answer::Ok(true)), Ok(Answer::Values(rows))]);
    model.observe(4.0, &covariates());
    let values = model.try_forecast(2, &[0.9, 0.5], &covariates()).unwrap();
    assert_eq!((&values[0], &values[1]), (&[2.0, 1.0][..], &[3.0, 0.0][..]));
    let asked = script.asked();
    let Request::Fit(fit) = &asked[0] else { panic!("{asked:?}") };
    assert_eq!((fit.begins_ms, fit.step_ms, fit.horizon), (1_060_000, 60_000, 4));
    assert_eq!(fit.values, [Some(1.0), None, Some(3.0)]);
    assert_eq!(fit.covariates["rain"], [Some(1.0), Some(2.0), Some(3.0), None, Some(5.0)]);
    let Request::Observe(observed) = &asked[1] else { panic!("{asked:?}") };
    assert_eq!((observed.values[0], observed.covariates["rain"][0]), (Some(4.0), None));
    let Request::Forecast(question) = &asked[2] else { panic!("{asked:?}") };
    assert_eq!(question.covariates["rain"], [Some(5.0)], "as far as it is known, from the next step on");
}

#[test]
fn what_is_no_forecast_is_refused_by_name() {
    let two = |a: f64, b: f64| vec![Some(a), Some(b)];
    let cases: [(Result<Answer, String>, &str); 9] = [
        (Ok(Answer::Values(vec![two(1.0, 2.0)])), "1 rows for 2 steps"),
        (
            Ok(Answer::Values(vec![two(1.0, 2.0), vec![Some(1.0)]])),
            "row 1 of the external model's answer has 1",
        ),
        (Ok(Answer::Values(vec![two(1.0, 2.0), vec![Some(1.0), None]])), "no usable number for quantile 0.9"),
        (Ok(Answer::Values(vec![two(f64::NAN, 2.0), two(1.0, 2.0)])), "no usable number for quantile 0.5"),
        (Ok(Answer::Values(vec![two(1.0, f64::INFINITY), two(1.0, 2.0)])), "no usable number"),
        (
            Ok(Answer::Values(vec![two(2.0, 1.0), two(1.0, 2.0)])),
            "row 0 of the external model's answer falls",
        ),
        (Ok(Answer::Ok(true)), "answered `forecast` with `ok`"),
        (Ok(Answer::Error("no data".into())), "says: no data"),
        (Err("it took longer than 5s".into()), "does not answer: it took longer than 5s"),
    ];
    for (answer, words) in cases {
        let (model, _) = fitted(vec![answer.clone(), answer]);
        let error = model.try_forecast(2, &[0.5, 0.9], &covariates()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        let values = model.forecast(2, &[0.5, 0.9], &covariates());
        assert!(values.iter().flatten().all(|&value| value == 3.0), "falls back to the last value");
    }
}

#[test]
fn a_model_that_missed_values_says_nothing_until_it_has_them() {
    let rows = vec![vec![Some(1.0)]];
    let answers =
        vec![Err("it ended".into()), Err("it ended".into()), Ok(Answer::Ok(true)), Ok(Answer::Values(rows))];
    let (mut model, script) = fitted(answers);
    model.observe(9.0, &covariates());
    model.observe(f32::NAN, &covariates());
    assert!(matches!(model.trouble(), Some(ExternalError::Silent(reason)) if reason == "it ended"));
    assert!(model.try_forecast(1, &[0.5], &covariates()).is_err());
    assert_eq!(model.forecast(1, &[0.5], &covariates())[0], [9.0]);
    assert_eq!(script.asked().len(), 3, "a forecast that could not be right is not asked for");
    model.observe(7.0, &covariates());
    let asked = script.asked();
    let Request::Observe(observed) = &asked[3] else { panic!("{asked:?}") };
    assert_eq!(observed.values, [Some(9.0), None, Some(7.0)]);
    assert_eq!(observed.covariates["rain"], [None, Some(5.0), None]);
    assert_eq!(model.trouble(), None);
    assert_eq!(model.try_forecast(1, &[0.5], &covariates()).unwrap()[0], [1.0]);
}

#[test]
fn a_refused_fit_says_why() {
    let grid = Grid { origin: Timestamp::from_secs(0), step: std::time::Duration::from_secs(60), zone: None };
    let (covariates, values) = (Covariates::default(), [1.0]);
    let history = History {
        grid: &grid,
        first: 0,
        values: &values,
        seasons: &[],
        covariates: &covariates,
        horizon: 1,
        non_negative: true,
    };
    for (answer, words) in [
        (Ok(Answer::Error("too short".into())), "says: too short"),
        (Ok(Answer::Ok(false)), "not ok"),
        (Ok(Answer::Values(Vec::new())), "answered `fit` with `values`"),
        (Err("exit status: 1".into()), "exit status: 1"),
    ] {
        let error =
            External::fit(Box::new(Script::of(vec![answer])), &history, &mut Pace::free()).unwrap_err();
        assert!(matches!(&error, FitError::Unsuitable(reason) if reason.contains(words)), "{error}");
    }
}
