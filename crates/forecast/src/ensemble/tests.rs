use super::*;

fn series(n: usize) -> Vec<f64> {
    (0..n)
        .map(|i| {
            let hour = (i % 288) as f64 / 288.0 * std::f64::consts::TAU;
            100.0 + 40.0 * hour.sin() + ((i * 7919) % 101) as f64 / 10.0
        })
        .collect()
}

fn at(step: usize) -> Timestamp {
    Timestamp::from_secs(1_700_000_000 + 300 * step as i64)
}

#[test]
fn without_batch_models_it_says_exactly_what_the_online_core_says() {
    let config = Config::new(Duration::from_secs(300));
    let mut ensemble = Ensemble::new(config.clone(), &[]).unwrap();
    let mut core = Forecaster::new(config).unwrap();
    for (i, value) in series(900).into_iter().enumerate() {
        ensemble.observe(at(i), Some(value)).unwrap();
        core.observe(at(i), Some(value)).unwrap();
        assert!(ensemble.due().is_none());
    }
    assert_eq!(ensemble.forecast(50, &[0.1, 0.5, 0.9]), core.forecast(50, &[0.1, 0.5, 0.9]));
    assert_eq!(ensemble.weights(1), [("online", 1.0)]);
}

#[test]
fn a_champion_from_a_contest_is_admitted_and_gets_weight_when_it_was_scored_often_enough() {
    let mut config = Config::new(Duration::from_secs(300));
    config.horizon_max = Duration::from_secs(3600);
    let mut ensemble = Ensemble::new(config, &[Kind::Day]).unwrap();
    let values = series(1000);
    for (i, value) in values.iter().enumerate().take(800) {
        ensemble.observe(at(i), Some(*value)).unwrap();
    }
    let job = ensemble.due().unwrap();
    assert_eq!(job.kinds(), [Kind::Day]);
    let contest = job.contest(Kind::Day, None, &mut crate::models::Pace::free()).unwrap();
    assert!(contest.rival.is_none() && contest.pinball().is_some_and(|loss| loss > 0.0));
    ensemble.admit(Trained::new(job.history().end(), vec![(Kind::Day, Ok(contest.challenger))]));
    assert_eq!(ensemble.weights(1), [("online", 1.0)]);
    for (i, value) in values.iter().enumerate().skip(800) {
        ensemble.observe(at(i), Some(*value)).unwrap();
    }
    assert!(ensemble.weights(1).iter().any(|(name, weight)| *name == "day" && *weight > 0.0));
}
