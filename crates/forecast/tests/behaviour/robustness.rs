//! Nothing that a signal can do breaks a forecast, and nothing that comes later changes one.

use std::time::Duration;

use forecast::{Config, Forecaster, ObserveError, Timestamp, Trust, UntrustedReason};
use proptest::prelude::*;

use crate::support::{MONDAY, feed, forecaster, normal, service};

const STEP: Duration = Duration::from_secs(300);
const QUANTILES: [f64; 6] = [0.001, 0.05, 0.5, 0.9, 0.99, 0.9999];

/// What must hold after any observation.
fn check(forecaster: &Forecaster, horizon: usize) {
    let forecast = forecaster.forecast(horizon, &QUANTILES);
    assert_eq!(forecast.steps(), horizon);
    for row in forecast.values.iter() {
        assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{row:?}");
        assert!(row.windows(2).all(|pair| pair[0] <= pair[1]), "{row:?}");
    }
    for steps in [0, 1, 7, 300, 1000] {
        let peak = forecaster.window_max(steps);
        let mut last = 0.0;
        for tau in [-1.0, 0.0, 0.01, 0.3, 0.5, 0.95, 0.999, 0.99999, 1.0, f64::NAN] {
            let value = peak.quantile(tau);
            assert!(value.is_finite() && value >= 0.0, "{steps} {tau}: {value}");
            assert!(tau.is_nan() || value >= last, "{steps} {tau}: {value} after {last}");
            last = value;
        }
    }
    assert!(forecaster.slope_per_step().is_finite());
    for path in forecaster.paths(20, 3, 1) {
        assert!(path.iter().all(|value| value.is_finite() && *value >= 0.0), "{path:?}");
    }
    for crossed in forecaster.crossings(&[0.0, 1.0, 1e12], 20) {
        assert!(crossed.iter().all(|share| (0.0..=1.0).contains(share)), "{crossed:?}");
    }
    assert!(!forecaster.trust().to_string().is_empty());
}

#[test]
fn before_the_first_value_everything_is_zero_and_untrusted() {
    let (forecaster, _) = forecaster(STEP);
    check(&forecaster, 5);
    assert_eq!(forecaster.level(), None);
    assert!(!forecaster.trust().is_trusted());
}

#[test]
fn one_value_gives_a_wide_forecast_around_it() {
    let forecaster = feed(&[100.0], STEP);
    check(&forecaster, 288);
    let row = &forecaster.forecast(1, &[0.05, 0.5, 0.95]).values;
    assert!((row[0][1] - 100.0).abs() < 50.0);
    assert!(row[0][2] - row[0][0] > 50.0, "{:?}", &row[0]);
    let needed = matches!(
        forecaster.trust(),
        Trust::Untrusted { reason: UntrustedReason::TooLittleHistory { observed: 1, .. } }
    );
    assert!(needed);
}

#[test]
fn what_was_never_scored_is_said_to_be_uncertain() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut level = 500.0;
    let walk: Vec<f64> = (0..40)
        .map(|_| {
            level += 5.0 * normal(&mut random);
            level
        })
        .collect();
    let forecaster = feed(&walk, STEP);
    let rows = forecaster.forecast(200, &[0.05, 0.95]).values;
    let width = |h: usize| rows[h - 1][1] - rows[h - 1][0];
    // A random walk wanders fourteen times as far in two hundred steps as in one.
    assert!(width(200) > 10.0 * width(1), "{} {}", width(1), width(200));
    assert!(width(30) > 3.0 * width(1), "{} {}", width(1), width(30));
    assert!(!forecaster.trust().is_trusted());
}

#[test]
fn a_constant_series_is_forecast_as_itself() {
    for constant in [0.0, 1e-9, 42.0, 1e12] {
        let forecaster = feed(&vec![constant; 1000], STEP);
        check(&forecaster, 50);
        let forecast = forecaster.forecast(50, &[0.5]);
        assert!((forecast.values[49][0] - constant).abs() <= 0.02 * constant, "{constant}");
        assert!(
            (forecaster.window_max(30).quantile(0.99) - constant).abs() <= 0.2 * constant + 1e-6,
            "{constant}"
        );
        assert!(forecaster.trust().is_trusted(), "{}", forecaster.trust());
    }
}

#[test]
fn refused_observations_leave_the_forecaster_as_it_was() {
    let mut forecaster = feed(&[5.0, 6.0, 7.0], STEP);
    let before = format!("{forecaster:?}");
    let begin = Timestamp::parse(crate::support::MONDAY).unwrap();
    assert!(matches!(forecaster.observe(begin, Some(1.0)), Err(ObserveError::NotAfterLast { .. })));
    assert!(matches!(
        forecaster.observe(begin + STEP * 2, Some(1.0)),
        Err(ObserveError::NotAfterLast { .. })
    ));
    assert!(matches!(
        forecaster.observe(begin + STEP * 3, Some(f64::INFINITY)),
        Err(ObserveError::Infinite { .. })
    ));
    assert!(matches!(forecaster.observe(begin + STEP * 3, Some(-1.0)), Err(ObserveError::Negative { .. })));
    assert_eq!(before, format!("{forecaster:?}"));
}

#[test]
fn values_below_zero_are_welcome_where_they_are_possible() {
    let config = Config { non_negative: false, ..Config::new(STEP) };
    let mut forecaster = Forecaster::new(config).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    for i in 0..500 {
        forecaster.observe(Timestamp::EPOCH + STEP * i, Some(-20.0 + normal(&mut random))).unwrap();
    }
    let forecast = forecaster.forecast(3, &[0.5]);
    assert!((forecast.values[2][0] + 20.0).abs() < 2.0, "{:?}", forecast.values);
    assert!((forecaster.window_max(3).median() + 19.0).abs() < 2.0);
}

#[test]
fn what_comes_later_never_changes_an_earlier_forecast() {
    let mut values = service(12, 288, 7);
    values[1000..1004].fill(0.0);
    let answers = |until: usize, cuts: &[usize]| {
        let (mut forecaster, at) = forecaster(STEP);
        let mut said = Vec::new();
        for (i, &value) in values[..until].iter().enumerate() {
            forecaster.observe(at(i), (i % 97 != 0).then_some(value)).unwrap();
            if cuts.contains(&(i + 1)) {
                let bits = |value: f64| value.to_bits();
                let rows = forecaster.forecast(300, &QUANTILES);
                let peaks = [1, 10, 200].map(|w| bits(forecaster.window_max(w).quantile(0.999)));
                said.push((rows.values.iter().flatten().copied().map(bits).collect::<Vec<_>>(), peaks));
            }
        }
        said
    };
    let cuts = [1, 2, 50, 333, 706, 1003, 2100, 3000];
    let whole = answers(values.len(), &cuts);
    for (k, &cut) in cuts.iter().enumerate() {
        assert_eq!(answers(cut, &[cut])[0], whole[k], "cut at {cut}");
    }
}

#[test]
fn a_clone_goes_its_own_way() {
    let original = feed(&service(2, 288, 8), STEP);
    let before = original.forecast(10, &QUANTILES);
    let mut other = original.clone();
    let next = Timestamp::parse(crate::support::MONDAY).unwrap() + STEP * 576;
    other.observe(next, Some(9e9)).unwrap();
    assert_eq!(original.forecast(10, &QUANTILES), before);
    assert_ne!(other.forecast(10, &QUANTILES), before);
}

#[test]
fn missing_values_keep_the_clock_and_the_season() {
    let values = service(10, 288, 9);
    let (mut forecaster, at) = forecaster(STEP);
    for (i, &value) in values.iter().enumerate().take(9 * 288) {
        forecaster.observe(at(i), Some(value)).unwrap();
    }
    // Half a day without a word: said as missing for a while, then simply skipped.
    for i in 9 * 288..9 * 288 + 20 {
        forecaster.observe(at(i), None).unwrap();
    }
    assert!(matches!(
        forecaster.trust(),
        Trust::Untrusted { reason: UntrustedReason::SignalMissing { steps: 20 } }
    ));
    let resumed = 9 * 288 + 144;
    forecaster.observe(at(resumed), Some(values[resumed])).unwrap();
    let forecast = forecaster.forecast(72, &[0.5]);
    assert_eq!(forecast.issued_at, at(resumed + 1));
    let error = (1..=72).map(|h| (forecast.values[h - 1][0] - values[resumed + h]).abs()).sum::<f64>() / 72.0;
    let mean = values[resumed + 1..=resumed + 72].iter().sum::<f64>() / 72.0;
    assert!(error < 0.25 * mean, "{error} of {mean}");
}

#[test]
fn a_jump_of_years_begins_anew_at_once() {
    let mut forecaster = feed(&service(3, 288, 10), STEP);
    let later = Timestamp::parse("2036-01-01T00:00:00Z").unwrap();
    forecaster.observe(later, Some(5.0)).unwrap();
    assert_eq!((forecaster.observed(), forecaster.level()), (1, Some(5.0)));
    check(&forecaster, 10);
    forecaster.observe(Timestamp::MAX, Some(6.0)).unwrap();
    check(&forecaster, 10);
}

#[test]
fn an_outage_is_suspected_not_learned_and_forgotten_when_it_ends() {
    let values = service(9, 288, 11);
    let (mut forecaster, at) = forecaster(STEP);
    let outage = 8 * 288 + 100..8 * 288 + 130;
    for (i, &value) in values.iter().enumerate().take(outage.end + 6) {
        let value = if outage.contains(&i) { 0.0 } else { value };
        forecaster.observe(at(i), Some(value)).unwrap();
        if i == outage.end - 1 {
            assert!(forecaster.outage_suspected());
            assert!(matches!(
                forecaster.trust(),
                Trust::Untrusted { reason: UntrustedReason::OutageSuspected { steps: 30 } }
            ));
            let expected = forecaster.forecast(12, &[0.5]).values[11][0];
            assert!(expected > 0.6 * values[outage.end + 11], "demand is expected back: {expected}");
        }
    }
    assert!(!forecaster.outage_suspected());
    let expected = forecaster.forecast(12, &[0.5]).values[11][0];
    assert!((expected / values[outage.end + 17] - 1.0).abs() < 0.3, "{expected}");
}

#[test]
fn a_service_that_is_switched_off_for_good_is_believed_in_the_end() {
    let mut values = service(11, 288, 12);
    values[8 * 288..].fill(0.0);
    let forecaster = feed(&values, STEP);
    assert!(!forecaster.outage_suspected());
    let expected = forecaster.forecast(6, &[0.5]).values[5][0];
    assert!(expected < 100.0, "{expected}");
}

#[test]
fn trust_is_earned_by_a_regular_series_and_lost_by_one_that_changes_its_nature() {
    let mut values = service(14, 288, 13);
    let forecaster = feed(&values, STEP);
    match forecaster.trust() {
        Trust::Trusted { coverage, skill, .. } => assert!((0.85..=0.95).contains(&coverage) && skill > 0.1),
        Trust::Untrusted { reason } => panic!("{reason}"),
    }
    // It doubles at every step: the next value is always beyond what has ever been.
    for step in 0..60 {
        values.push(1000.0 * 2f64.powi(step));
    }
    assert!(!feed(&values, STEP).trust().is_trusted());
}

#[test]
fn memory_of_a_series_is_bounded() {
    let forecaster = feed(&service(100, 288, 15), STEP);
    assert_eq!(forecaster.seasons().len(), 2);
    assert!(forecaster.bytes() <= 32_768, "{}", forecaster.bytes());
}

#[test]
fn a_stored_forecaster_goes_on_as_if_nothing_had_happened() {
    let time_zone = jiff::tz::TimeZone::get("Europe/Berlin").ok();
    let mut original = Forecaster::new(Config { time_zone, ..Config::new(STEP) }).unwrap();
    let values = service(10, 288, 16);
    let at = |i: usize| Timestamp::EPOCH + STEP * u32::try_from(i).unwrap();
    for (i, &value) in values[..9 * 288].iter().enumerate() {
        original.observe(at(i), Some(value)).unwrap();
    }
    let stored = postcard::to_stdvec(&original).unwrap();
    let mut restored: Forecaster = postcard::from_bytes(&stored).unwrap();
    for (i, &value) in values.iter().enumerate().skip(9 * 288) {
        original.observe(at(i), Some(value)).unwrap();
        restored.observe(at(i), Some(value)).unwrap();
    }
    assert_eq!(original.forecast(288, &QUANTILES), restored.forecast(288, &QUANTILES));
    assert_eq!(original.window_max(30), restored.window_max(30));
}

fn value() -> impl Strategy<Value = Option<f64>> {
    prop_oneof![
        3 => (0.0..1000.0f64).prop_map(Some),
        1 => Just(Some(0.0)),
        1 => Just(None),
        1 => Just(Some(f64::NAN)),
        1 => prop_oneof![Just(f64::MAX), Just(1e30), Just(f64::MIN_POSITIVE), Just(1e-300), Just(1e15)].prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_sequence_of_values_and_gaps_gives_finite_ordered_forecasts(
        values in proptest::collection::vec((value(), prop_oneof![9 => Just(1u32), 1 => 2..2000u32]), 1..250),
        step_secs in prop_oneof![Just(1u64), Just(60), Just(300), Just(3600), Just(86_400)],
    ) {
        let step = Duration::from_secs(step_secs);
        let mut forecaster = Forecaster::new(Config::new(step)).unwrap();
        let mut slot = 0;
        for (i, (value, ahead)) in values.into_iter().enumerate() {
            slot += ahead;
            forecaster.observe(Timestamp::from_secs(1_700_000_000) + step * slot, value).unwrap();
            if i % 40 == 0 {
                check(&forecaster, 20);
            }
        }
        check(&forecaster, 300);
    }

    #[test]
    fn any_periodic_series_with_extreme_scale_stays_finite(
        scale in prop_oneof![Just(1e-12f64), Just(1.0), Just(1e9), Just(1e29)],
        period in 2usize..60,
        seed: u64,
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let values: Vec<f64> = (0..600)
            .map(|i| scale * ((i % period) as f64 + random.f64()) * if random.f64() < 0.01 { 100.0 } else { 1.0 })
            .collect();
        check(&feed(&values, Duration::from_secs(10)), 100);
    }
}

#[test]
fn one_wild_value_is_followed_at_once_and_forgotten_when_it_is_over() {
    let usual = |i: usize| {
        100.0
            + 50.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin()
            + ((i * i * 7_919 + i * 104_729) % 101) as f64 / 10.0
            - 5.0
    };
    for factor in [10.0, 100.0, 1e4] {
        let (mut forecaster, at) = forecaster(Duration::from_secs(300));
        let spike = 14 * 288;
        let mut later = Vec::new();
        for i in 0..spike + 2 * 288 {
            let value = if i == spike { factor * usual(i) } else { usual(i) };
            forecaster.observe(at(i), Some(value)).unwrap();
            if i == spike {
                assert!(forecaster.forecast(1, &[0.9]).values[0][0] > 2.0 * usual(i), "it may be a surge");
            } else if i > spike {
                let forecast = forecaster.forecast(12, &[0.5, 0.95]);
                later.extend((0..12).map(|h| (forecast.values[h][0] - usual(i + 1 + h)).abs()));
                assert!((0..12).all(|h| forecast.values[h][1] < 2.0 * usual(i + 1 + h)), "{factor}: {i}");
            }
        }
        let worst = later.iter().copied().fold(0.0, f64::max);
        let mean = later.iter().sum::<f64>() / later.len() as f64;
        assert!(worst < 18.0 && mean < 4.0, "after {factor}: {worst} at worst, {mean} on average");
    }
}

#[test]
fn a_wild_value_at_the_end_is_no_evidence_of_the_day_after() {
    let usual = |i: usize| {
        let wave = (i as f64 / 288.0 * std::f64::consts::TAU).sin();
        100.0 + 50.0 * wave + ((i * i * 7_919) % 101) as f64 / 10.0
    };
    let end = 14 * 288 + 60;
    let follow = |last: f64| {
        let (mut forecaster, at) = forecaster(Duration::from_secs(300));
        (0..end).for_each(|i| forecaster.observe(at(i), Some(usual(i))).unwrap());
        forecaster.observe(at(end), Some(last)).unwrap();
        forecaster
    };
    let without = follow(usual(end));
    let whole_day = without.window_max(288).quantile(0.95);
    for wild in [1e3, 1e6, 1e29] {
        let with = follow(wild);
        let (said, calm) =
            (with.forecast(288, &[0.05, 0.5, 0.95]), without.forecast(288, &[0.05, 0.5, 0.95]));
        assert!(said.values[0][2] > 2.0 * calm.values[0][2], "it may be a surge");
        for h in 24..288 {
            let off = (0..3).map(|q| (said.values[h][q] - calm.values[h][q]).abs()).fold(0.0, f64::max);
            assert!(off < 10.0, "{wild:e}, {h} steps ahead: {off}");
        }
        // One path in thousands may remember that there was something.
        let paths = with.paths(288, 50, 1);
        assert!(paths.iter().all(|path| path[24..].iter().all(|&value| value < 500.0)), "{wild:e}");
        // The largest value of a window takes in what is followed.
        let windows = with.window_maxima(288);
        assert!(windows[287].quantile(0.95) > 1.2 * whole_day, "{wild:e}");
        assert!(windows.iter().all(|window| window.quantile(0.95).is_finite()));
    }
}

#[test]
fn a_series_that_crosses_zero_is_forecast_like_any_other() {
    let mut config = Config::new(Duration::from_secs(3600));
    config.non_negative = false;
    let mut forecaster = Forecaster::new(config).unwrap();
    let mut random = fastrand::Rng::with_seed(2);
    let usual = |i: usize| -2.0 + 6.0 * (i as f64 / 24.0 * std::f64::consts::TAU).sin();
    let origin = Timestamp::parse(MONDAY).unwrap();
    for i in 0..24 * 42 {
        let at = origin + Duration::from_secs(3600) * i as u32;
        forecaster.observe(at, Some(usual(i) + normal(&mut random))).unwrap();
        if i > 24 * 20 && i % 7 == 0 {
            let said = forecaster.forecast(24, &[0.05, 0.5, 0.95]).values;
            for (h, row) in said.iter().enumerate() {
                let off = (row[1] - usual(i + 1 + h)).abs();
                assert!(off < 2.5 && row[2] - row[0] < 12.0, "{i}, {h} steps ahead: {row:?}");
            }
        }
    }
}

#[test]
fn a_value_beyond_all_measure_is_forgotten_like_any_other_and_weighs_no_heavier_in_trust() {
    let usual = |i: usize| {
        100.0
            + 50.0 * (i as f64 / 288.0 * std::f64::consts::TAU).sin()
            + ((i * i * 7_919) % 101) as f64 / 10.0
    };
    let spike = 10 * 288 + 100;
    let follow = |wild: Option<f64>, days: usize| {
        let (mut forecaster, at) = forecaster(Duration::from_secs(300));
        for i in 0..days * 288 {
            let value = if i == spike { wild.unwrap_or(usual(i)) } else { usual(i) };
            forecaster.observe(at(i), Some(value)).unwrap();
        }
        let Trust::Trusted { skill, .. } = forecaster.trust() else { panic!("{:?}", forecaster.trust()) };
        (forecaster.forecast(288, &[0.05, 0.5, 0.95]), skill)
    };
    for days in [11, 12, 17, 24, 30] {
        let (without, usual_skill) = follow(None, days);
        for wild in [1e3, 1e6, 1e12, 1e29] {
            let (with, skill) = follow(Some(wild), days);
            let off = (0..288).flat_map(|h| (0..3).map(move |q| (h, q)));
            let off = off.map(|(h, q)| (with.values[h][q] - without.values[h][q]).abs()).fold(0.0, f64::max);
            assert!(off < if days == 11 { 20.0 } else { 6.0 }, "{wild:e}, {days} days: {off} off");
            assert!((skill - usual_skill).abs() < 0.05, "{wild:e}, {days} days: {skill}, not {usual_skill}");
        }
    }
}

#[test]
fn a_forecast_that_is_always_right_is_said_to_be() {
    for value in [0.0, 100.0, 7.3e6] {
        let (mut forecaster, at) = forecaster(Duration::from_secs(300));
        for i in 0..1500 {
            forecaster.observe(at(i), Some(value)).unwrap();
        }
        let coverage = forecaster.trust().coverage().unwrap_or_default();
        assert!(coverage > 0.99, "{value}: {coverage}");
    }
}
