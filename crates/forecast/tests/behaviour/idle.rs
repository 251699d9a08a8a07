//! Series that are mostly idle: what is said of them, and when it is trusted.

use std::time::Duration;

use forecast::{Config, Forecaster, Timestamp, UntrustedReason};

use crate::support::{MONDAY, forecaster};

const STEP: Duration = Duration::from_secs(300);

#[test]
fn a_series_that_is_mostly_idle_is_not_said_to_exceed_what_it_ever_did() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut busy, mut size) = (0, 0.0);
    let mut seen = 0.0f64;
    let (mut forecaster, at) = forecaster(Duration::from_secs(600));
    for i in 0..144 * 13 {
        if busy == 0 && random.f64() < 0.01 {
            (busy, size) = (random.usize(2..60), 0.1 * 100f64.powf(random.f64()));
        }
        busy = busy.saturating_sub(1);
        let value = if busy > 0 { size * (0.8 + 0.4 * random.f64()) } else { 0.0 };
        seen = seen.max(value);
        forecaster.observe(at(i), Some(value)).unwrap();
        if i > 144 * 10 && i % 37 == 0 {
            let said = forecaster.forecast(144, &[0.5, 0.95, 0.999]);
            for row in said.values.iter() {
                assert!(
                    row[1] <= seen * 1.001 && row[2] < 4.0 * seen,
                    "{i}: {row:?}, at most {seen} was seen"
                );
            }
            let windows = forecaster.window_maxima(144);
            assert!(windows.iter().all(|window| window.quantile(0.95) <= 5.0 * seen), "{i}");
            let paths = forecaster.paths(144, 20, i as u64);
            assert!(paths.iter().flatten().all(|&value| value < 10.0 * seen), "{i}");
        }
    }
}

#[test]
fn a_busy_last_value_of_a_series_that_is_mostly_idle_says_little_of_days_ahead() {
    for (seed, last) in [(3, 5.0), (4, 5.0), (5, 500.0)] {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut config = Config::new(STEP);
        config.horizon_max = STEP * 2016;
        let mut forecaster = Forecaster::new(config).unwrap();
        let origin = Timestamp::parse(MONDAY).unwrap();
        for i in 0..288 * 14u32 {
            let busy = if random.f64() < 0.03 { 1.0 + random.f64() * 6.0 } else { 0.0 };
            let value = if i + 1 == 288 * 14 { last } else { busy };
            forecaster.observe(origin + STEP * i, Some(value)).unwrap();
        }
        let said = forecaster.forecast(2016, &[0.5, 0.9]).values;
        let loud = |quantile: usize| said.iter().skip(24).filter(|row| row[quantile] > 0.5).count();
        assert_eq!(loud(0), 0, "{seed}: medians");
        assert!(loud(1) < 200, "{seed}: {} of 1992 steps above 0.5 with a tenth", loud(1));
    }
}

#[test]
fn a_job_at_fixed_times_is_forecast_when_it_runs_and_not_at_other_times() {
    // Twenty minutes of every eight hours.
    let value = |i: usize| if i % 96 < 4 { 20.0 } else { 0.0 };
    let (mut forecaster, at) = forecaster(STEP);
    let (mut runs, mut found, mut drawn) = (0, 0, 0);
    for i in 0..12 * 288 + 50 {
        forecaster.observe(at(i), Some(value(i))).unwrap();
        if i < 9 * 288 || i % 53 != 0 {
            continue;
        }
        let (said, paths) = (forecaster.forecast(288, &[0.5, 0.95]).values, forecaster.paths(288, 100, 1));
        for h in 0..288 {
            let ran = paths.iter().filter(|path| path[h] > 10.0).count();
            if value(i + 1 + h) > 0.0 {
                runs += 1;
                found += usize::from((said[h][0] - 20.0).abs() < 3.0 && said[h][1] < 23.0);
                drawn += usize::from(ran > 50);
            } else {
                assert!(said[h][1] < 3.0 && ran < 5, "{i}, {h}: {:?}, {ran} of 100 paths", &said[h]);
            }
        }
    }
    assert!(found * 20 >= runs * 19 && drawn * 20 >= runs * 19, "{found} and {drawn} of {runs}");
}

#[test]
fn quantiles_of_what_comes_seldom_and_by_itself_are_exceeded_as_often_as_they_say() {
    let quantiles = [0.99, 0.995, 0.999];
    let (mut above, mut asked) = ([0.0; 3], 0.0);
    for seed in 1..=3 {
        let mut random = fastrand::Rng::with_seed(seed);
        let values: Vec<f64> =
            (0..12_000).map(|_| if random.f64() < 0.02 { -(1.0 - random.f64()).ln() } else { 0.0 }).collect();
        let (mut forecaster, at) = forecaster(STEP);
        for (i, &value) in values.iter().enumerate() {
            forecaster.observe(at(i), Some(value)).unwrap();
            if i < 3000 {
                continue;
            }
            let said = forecaster.forecast(12, &quantiles).values;
            for h in [1, 12] {
                let Some(&later) = values.get(i + h) else { continue };
                for (above, said) in above.iter_mut().zip(&said[h - 1]) {
                    *above += f64::from(u8::from(later > *said));
                }
                asked += 1.0;
            }
        }
    }
    for (above, quantile) in above.iter().zip(quantiles) {
        let ratio = above / asked / (1.0 - quantile);
        assert!((0.5..=2.5).contains(&ratio), "{quantile} is exceeded {ratio} times as often as it says");
    }
}

#[test]
fn a_series_that_wakes_for_the_first_time_is_not_trusted_until_it_is_known_how_busy_it_becomes() {
    let (mut forecaster, at) = forecaster(STEP);
    let asleep = 14 * 288;
    (0..asleep).for_each(|i| forecaster.observe(at(i), Some(0.0)).unwrap());
    assert!(forecaster.trust().is_trusted());
    for i in 0..30 {
        forecaster.observe(at(asleep + i), Some(10.0 + (i % 3) as f64)).unwrap();
        let seldom = matches!(forecaster.trust().reason(), Some(UntrustedReason::SeldomBusy { .. }));
        assert_eq!(seldom, i < 12, "{i}: {}", forecaster.trust());
    }
    // What is idle again is so for now.
    forecaster.observe(at(asleep + 30), Some(0.0)).unwrap();
    assert!(!matches!(forecaster.trust().reason(), Some(UntrustedReason::SeldomBusy { .. })));
}

#[test]
fn where_a_job_is_expected_its_intervals_hold_as_much_as_they_say() {
    // Three jobs a day of another size each time, half an hour long.
    let mut random = fastrand::Rng::with_seed(9);
    let mut size = 0.0;
    let values: Vec<f64> = (0..35 * 288)
        .map(|i| {
            if i % 96 == 24 {
                size = 40.0 + 80.0 * random.f64();
            }
            if (24..30).contains(&(i % 96)) { size * (0.9 + 0.2 * random.f64()) } else { 0.0 }
        })
        .collect();
    let (mut forecaster, at) = forecaster(STEP);
    let (mut asked, mut held) = ([0.0; 3], [0.0; 3]);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < 14 * 288 {
            continue;
        }
        let said = forecaster.forecast(144, &[0.05, 0.5, 0.95]).values;
        for (k, ahead) in [1, 12, 144].into_iter().enumerate() {
            let Some(&later) = values.get(i + ahead).filter(|later| **later > 0.0) else { continue };
            let row = &said[ahead - 1];
            asked[k] += 1.0;
            held[k] += f64::from(u8::from((row[0]..=row[2]).contains(&later)));
            assert!(row[2] < 600.0, "{i}: {row:?}");
        }
    }
    let shares: Vec<f64> = held.iter().zip(asked).map(|(held, asked)| held / asked).collect();
    assert!(shares.iter().all(|share| (0.8..1.0).contains(share)), "{shares:?}");
    assert!(forecaster.trust().is_trusted());
}
