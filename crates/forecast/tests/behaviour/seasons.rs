//! Seasons are found at any step, follow the wall clock where there is one, and never take more memory than they may.

use std::time::Duration;

use forecast::{Config, Forecaster, Timestamp};
use jiff::tz::TimeZone;

use crate::support::{feed, normal, service};

fn periods(forecaster: &Forecaster) -> Vec<usize> {
    forecaster.seasons().iter().map(|season| season.period).collect()
}

#[test]
fn day_and_week_are_found_in_five_minute_steps() {
    let forecaster = feed(&service(28, 288, 1), Duration::from_secs(300));
    assert_eq!(periods(&forecaster), [288, 2016]);
}

#[test]
fn the_day_is_in_use_on_the_third_day() {
    let forecaster = feed(&service(3, 288, 2), Duration::from_secs(300));
    assert_eq!(periods(&forecaster), [288]);
}

#[test]
fn a_day_of_a_simulation_that_lasts_two_minutes_is_found_in_seconds() {
    let forecaster = feed(&service(6, 120, 3)[..700], Duration::from_secs(1));
    let found = periods(&forecaster);
    assert!(found.len() == 1 && found[0].abs_diff(120) <= 1, "{found:?}");
}

#[test]
fn a_week_is_found_in_daily_values() {
    let mut random = fastrand::Rng::with_seed(4);
    let values: Vec<f64> =
        (0..120).map(|i| if i % 7 < 5 { 100.0 } else { 40.0 } + 5.0 * normal(&mut random)).collect();
    let forecaster = feed(&values, Duration::from_secs(86_400));
    assert_eq!(periods(&forecaster), [7]);
    let forecast = forecaster.forecast(7, &[0.5]);
    for h in 0..7 {
        let expected = if (120 + h) % 7 < 5 { 100.0 } else { 40.0 };
        assert!((forecast.values[h][0] - expected).abs() < 15.0, "day {h}: {:?}", &forecast.values[h]);
    }
}

#[test]
fn a_day_of_one_second_steps_is_held_in_bounded_memory_and_forecast() {
    let per_day = 86_400;
    let values = service(3, per_day, 5);
    let forecaster = feed(&values, Duration::from_secs(1));
    assert!(periods(&forecaster).contains(&per_day), "{:?}", forecaster.seasons());
    assert!(forecaster.bytes() < 400_000, "{}", forecaster.bytes());
}

#[test]
fn without_any_season_the_forecast_stays_near_the_level() {
    let mut random = fastrand::Rng::with_seed(6);
    let values: Vec<f64> = (0..2000).map(|_| 50.0 + 3.0 * normal(&mut random)).collect();
    let forecaster = feed(&values, Duration::from_secs(60));
    assert_eq!(periods(&forecaster), []);
    let row = &forecaster.forecast(60, &[0.05, 0.5, 0.95]).values;
    assert!((row[59][1] - 50.0).abs() < 2.0);
    assert!((3.5..8.0).contains(&(row[59][2] - row[59][1])), "{:?}", &row[59]);
}

/// Hourly demand that peaks at nine in the morning in Berlin.
fn morning_peak(at: Timestamp, zone: &TimeZone) -> f64 {
    let civil = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap().to_zoned(zone.clone());
    let distance = (f64::from(civil.hour()) - 9.0).abs();
    100.0 + 900.0 * (-distance * distance / 4.0).exp()
}

#[test]
fn a_week_ago_is_the_same_local_hour_and_known_only_when_all_of_it_is_remembered() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let (begin, hour) = (Timestamp::parse("2026-03-20T00:00:00Z").unwrap(), Duration::from_secs(3600));
    let mut forecaster =
        Forecaster::new(Config { time_zone: Some(zone.clone()), ..Config::new(hour) }).unwrap();
    // Hours since the begin, until the Monday after clocks went forward on Sunday the 29th at one o'clock.
    for step in 0..240 {
        assert_eq!(forecaster.week_ago_max(0..1).is_some(), step >= 168, "{step}");
        forecaster.observe(begin + hour * step, Some(f64::from(step))).unwrap();
    }
    // At midnight in summer time it is a week since an hour later by UTC.
    assert_eq!(forecaster.week_ago_max(0..1), Some(73.0));
    assert_eq!(forecaster.week_ago_max(2..5), Some(77.0));
    assert_eq!(forecaster.week_ago_max(160..170), None, "that is still to come");
}

#[test]
fn the_daily_peak_stays_at_its_local_hour_when_the_clocks_change() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let (begin, change) = (
        Timestamp::parse("2026-02-23T00:00:00Z").unwrap(),
        Timestamp::parse("2026-03-29T01:00:00Z").unwrap(),
    );
    let hour = Duration::from_secs(3600);
    let error_after_change = |time_zone: Option<TimeZone>| {
        let mut forecaster = Forecaster::new(Config { time_zone, ..Config::new(hour) }).unwrap();
        let mut at = begin;
        while at < change {
            forecaster.observe(at, Some(morning_peak(at, &zone))).unwrap();
            at = at + hour;
        }
        let forecast = forecaster.forecast(24, &[0.5]);
        assert_eq!(forecast.issued_at, change);
        (0..24)
            .map(|h| (forecast.values[h][0] - morning_peak(forecast.begins_at(h), &zone)).abs())
            .sum::<f64>()
            / 24.0
    };
    let (with_zone, without) = (error_after_change(Some(zone.clone())), error_after_change(None));
    assert!(with_zone < 15.0, "{with_zone}");
    assert!(with_zone < 0.3 * without, "{with_zone} {without}");
}
