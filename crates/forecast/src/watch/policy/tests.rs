//! Troubles and what is done about them, cheap things first.

use super::*;

const MINUTE: i64 = 60_000;

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_millis(1_700_000_000_000 + minutes * MINUTE)
}

fn quiet() -> RetrainPolicy {
    let mut policy =
        RetrainPolicy::new(RetrainConfig { schedule: RefitSchedule::Never, ..RetrainConfig::default() });
    policy.refitted(at(0));
    policy
}

fn response(decision: Option<Decision>) -> Option<Response> {
    decision.map(|decision| decision.response)
}

#[test]
fn trouble_that_stays_climbs_from_cheap_to_dear_and_refits_keep_their_distance() {
    let mut policy = quiet();
    let shift = Signals { shift: Some(Shift::Up), ..Signals::default() };
    let mut given = Vec::new();
    for minute in 0..360 {
        given.extend(policy.decide(at(minute), &shift).map(|decision| (minute, decision.response)));
    }
    let refits: Vec<i64> =
        given.iter().filter(|given| given.1 == Response::Refit).map(|given| given.0).collect();
    assert_eq!(
        given[..4],
        [
            (0, Response::RaiseLearningRates),
            (30, Response::ResetWeights),
            (60, Response::WidenIntervals),
            (90, Response::Refit)
        ]
    );
    assert_eq!(refits, [90, 150, 210, 270, 330], "an hour apart at least");
}

#[test]
fn trouble_that_ends_begins_at_the_cheap_end_next_time() {
    let mut policy = quiet();
    let shift = Signals { shift: Some(Shift::Down), ..Signals::default() };
    let first = policy.decide(at(0), &shift).unwrap();
    assert_eq!(first.response, Response::RaiseLearningRates);
    assert!(first.reason.contains("below the forecast"), "{}", first.reason);
    assert_eq!(policy.decide(at(10), &Signals::default()), None);
    assert_eq!(policy.decide(at(31), &Signals::default()), None);
    assert_eq!(response(policy.decide(at(100), &shift)), Some(Response::RaiseLearningRates));
    let second = policy.decide(at(131), &shift).unwrap();
    assert_eq!(second.response, Response::ResetWeights);
    assert!(second.reason.ends_with("learning faster did not help"), "{}", second.reason);
}

#[test]
fn what_cannot_be_judged_yet_is_no_calm() {
    let mut policy = quiet();
    let accuracy = Accuracy { coverage: Some(0.7), outcomes: 100, ..Accuracy::default() };
    let low = Signals { accuracy, ..Signals::default() };
    assert_eq!(response(policy.decide(at(100), &low)), Some(Response::WidenIntervals));
    let unjudged = Signals { unjudged: true, ..Signals::default() };
    assert!((101..400).all(|minute| policy.decide(at(minute), &unjudged).is_none()));
    let decision = policy.decide(at(400), &low).unwrap();
    assert_eq!(decision.response, Response::Refit);
    assert!(decision.reason.ends_with("widening the intervals did not help"), "{}", decision.reason);
}

#[test]
fn low_coverage_widens_and_low_accuracy_resets_each_with_its_numbers() {
    let config = RetrainConfig {
        schedule: RefitSchedule::Never,
        mae_max: Some(1.0),
        pinball_max: Some(0.2),
        ..RetrainConfig::default()
    };
    let mut policy = RetrainPolicy::new(config);
    let accuracy =
        Accuracy { mae: Some(1.5), pinball: Some(0.1), coverage: Some(0.9), rmse: Some(9.0), outcomes: 200 };
    let decision = policy.decide(at(0), &Signals { accuracy, ..Signals::default() }).unwrap();
    let reason = "the mean absolute error of the last 200 outcomes is 1.5000, above 1";
    let expected = Decision { response: Response::ResetWeights, reason: reason.to_owned(), routine: false };
    assert_eq!(decision, expected);
    // Another kind of trouble need not wait.
    let accuracy = Accuracy { coverage: Some(0.7), outcomes: 200, ..Accuracy::default() };
    let decision = policy.decide(at(1), &Signals { accuracy, ..Signals::default() }).unwrap();
    assert_eq!(decision.response, Response::WidenIntervals);
    assert!(
        decision.reason.contains("fell to 0.70 over the last 200 outcomes, below 0.85"),
        "{}",
        decision.reason
    );
    let better = Change { before: 0.8, after: 0.9, steps: 50 };
    let signals = Signals {
        coverage: Some(better),
        errors: Some(Change { before: 2.0, ..better }),
        ..Signals::default()
    };
    assert_eq!(policy.decide(at(2), &signals), None, "a change for the better is no trouble");
}

#[test]
fn a_deploy_speeds_learning_at_once_and_trains_anew_when_it_has_settled() {
    let mut policy = quiet();
    let deploy = Signals { deploy: Some("checkout 2.4"), ..Signals::default() };
    let decision = policy.decide(at(100), &deploy).unwrap();
    assert_eq!(decision.response, Response::RaiseLearningRates);
    assert_eq!(decision.reason, "`checkout 2.4` was deployed");
    let later = (101..400).find_map(|minute| Some((minute, policy.decide(at(minute), &Signals::default())?)));
    let (minute, decision) = later.unwrap();
    assert_eq!((minute, decision.response), (220, Response::Refit));
    assert!(decision.reason.contains("after the deploy of `checkout 2.4`"), "{}", decision.reason);
    assert!((221..2000).all(|minute| policy.decide(at(minute), &Signals::default()).is_none()));
}

#[test]
fn the_schedule_is_kept_and_a_refit_for_another_reason_counts() {
    let mut policy = RetrainPolicy::new(RetrainConfig::default());
    assert_eq!(policy.decide(at(0), &Signals::default()), None);
    policy.refitted(at(600));
    let refits: Vec<i64> =
        (1..5000).filter(|&minute| policy.decide(at(minute), &Signals::default()).is_some()).collect();
    assert_eq!(refits, [600 + 1440, 600 + 2 * 1440, 600 + 3 * 1440]);
    let refit_gap = Duration::from_secs(3 * 3600);
    let hourly = RetrainConfig { schedule: RefitSchedule::Hourly, refit_gap, ..RetrainConfig::default() };
    let mut hourly = RetrainPolicy::new(hourly);
    hourly.refitted(at(0));
    let decision = hourly.decide(at(60), &Signals::default()).unwrap();
    assert_eq!(decision.reason, "the schedule says every hour");
    // A clock that was set back does no harm.
    assert_eq!(hourly.decide(at(-1000), &Signals::default()), None);
}
