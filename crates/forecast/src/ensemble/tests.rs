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
