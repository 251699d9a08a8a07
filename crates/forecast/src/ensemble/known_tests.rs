//! The combination with events and covariates: campaigns on a small hourly series, their forecasts, windows, paths.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::calendar::Event;
use crate::covariates::Covariates;

const HOUR: Duration = Duration::from_secs(3600);
const WEEKS: usize = 14;

fn at(hour: usize) -> Timestamp {
    // A Monday, midnight UTC.
    Timestamp::from_secs(1_700_438_400) + HOUR * hour as u32
}

/// A campaign of four hours each week, on a day and at an hour that no season can guess; one more than was seen.
fn campaigns() -> Vec<Event> {
    let begins = |week: usize| week * 168 + (week * 5 % 7) * 24 + 9 + week * 3 % 8;
    let event = |week: usize| Event {
        start: at(begins(week)),
        end: at(begins(week) + 4),
        name: format!("campaign {week}"),
        kind: "campaign".to_owned(),
        magnitude: 1.0,
    };
    (0..=WEEKS).map(event).collect()
}

fn is_on(hour: usize) -> bool {
    campaigns().iter().any(|event| event.start <= at(hour) && at(hour) < event.end)
}

fn undisturbed(hour: usize) -> f64 {
    let day = (hour % 24) as f64 / 24.0 * std::f64::consts::TAU;
    100.0 - 40.0 * day.cos() + ((hour * 7919) % 101) as f64 / 20.0
}

fn demand(hour: usize) -> f64 {
    if is_on(hour) { 2.0 * undisturbed(hour) } else { undisturbed(hour) }
}

fn empty(kinds: &[Kind]) -> Ensemble {
    Ensemble::new(Config { horizon_max: 48 * HOUR, ..Config::new(HOUR) }, kinds).unwrap()
}

fn follow(ensemble: &mut Ensemble, hours: std::ops::Range<usize>) {
    for hour in hours {
        ensemble.observe(at(hour), Some(demand(hour))).unwrap();
        ensemble.train_if_due();
    }
}

/// The last campaign, and an hour a night before it.
fn last() -> (usize, usize) {
    let start = campaigns()[WEEKS].start.since(at(0)).as_secs() as usize / 3600;
    (start, start - 12)
}

fn grown(kinds: &[Kind], events: &[Event]) -> Ensemble {
    let mut ensemble = empty(kinds);
    ensemble.announce(events);
    follow(&mut ensemble, 0..last().1);
    ensemble
}

/// Median of an hour to come, over what it would be without a campaign.
fn factor(ensemble: &Ensemble, hour: usize) -> f64 {
    let ahead = hour - last().1;
    ensemble.forecast(ahead + 1, &[0.5]).values[ahead][0] / undisturbed(hour)
}

#[test]
fn a_campaign_that_doubles_demand_is_forecast_by_the_core_alone_and_by_the_combination() {
    let (start, _) = last();
    for kinds in [&[][..], &[Kind::Smoothing], Kind::BATCH] {
        let informed = grown(kinds, &campaigns());
        for hour in start..start + 4 {
            let said = factor(&informed, hour);
            assert!((1.75..2.25).contains(&said), "{kinds:?}: {said} at hour {hour}");
        }
        let before = factor(&informed, start - 6);
        assert!((0.9..1.1).contains(&before), "{kinds:?}: {before}");
        let unaware = factor(&grown(kinds, &[]), start + 1);
        assert!(unaware < 1.4, "{kinds:?}: {unaware}");
    }
}

#[test]
fn the_largest_value_of_a_window_is_that_of_the_campaign_where_it_reaches_into_it() {
    let (start, now) = last();
    for kinds in [&[][..], &[Kind::Smoothing]] {
        let ensemble = grown(kinds, &campaigns());
        let peak = (start..start + 4).map(demand).fold(0.0, f64::max);
        let window = ensemble.window_max(start + 4 - now);
        let (low, high) = (window.quantile(0.05), window.quantile(0.95));
        assert!(low < peak && peak < high, "{kinds:?}: {low} {peak} {high}");
        assert!((window.median() / peak - 1.0).abs() < 0.15, "{kinds:?}: {}", window.median());
        let before = ensemble.window_max(start - now - 5).quantile(0.99);
        assert!(before < 1.25 * (now..start - 5).map(demand).fold(0.0, f64::max), "{kinds:?}: {before}");
        let high = 0.6 * peak;
        let crossed = &ensemble.crossings(&[high], 20)[0];
        assert!(crossed[start - now - 3] < 0.2 && crossed[start + 3 - now] > 0.9, "{kinds:?}: {crossed:?}");
        let paths = ensemble.paths(start + 4 - now, 200, 7);
        let above = paths.iter().filter(|path| path[start + 1 - now] > high).count();
        let early = paths.iter().filter(|path| path[1] > high).count();
        assert!(above > 180 && early < 20, "{kinds:?}: {above} {early}");
    }
}

#[test]
fn knowing_nothing_changes_nothing() {
    let mut plain = empty(&[]);
    follow(&mut plain, 0..600);
    let mut told = empty(&[]);
    told.announce(&[]);
    told.know(Arc::default());
    follow(&mut told, 0..600);
    assert_eq!(plain.window_max(5), told.window_max(5));
    assert_eq!(plain.bytes(), told.bytes());
    // An event far off makes the core another one, which says the same.
    told.announce(&campaigns()[WEEKS..]);
    assert_eq!(plain.forecast(24, &[0.1, 0.5, 0.9]), told.forecast(24, &[0.1, 0.5, 0.9]));
    let (a, b) = (plain.window_max(12), told.window_max(12));
    for tau in [0.01, 0.3, 0.5, 0.9, 0.999, 0.99999] {
        assert!((a.quantile(tau) - b.quantile(tau)).abs() < 1e-6 * a.quantile(tau), "{tau}");
    }
    for (a, b) in plain.paths(12, 5, 3).iter().flatten().zip(told.paths(12, 5, 3).iter().flatten()) {
        assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
    }
}

#[test]
fn a_campaign_announced_late_or_called_off_is_forecast_from_what_was_learned() {
    let (start, _) = last();
    let mut ensemble = grown(&[Kind::Smoothing], &campaigns()[..WEEKS]);
    assert!(factor(&ensemble, start + 1) < 1.2);
    ensemble.announce(&campaigns());
    assert!(factor(&ensemble, start + 1) > 1.7);
    ensemble.announce(&campaigns()[..WEEKS]);
    assert!(factor(&ensemble, start + 1) < 1.2);
}

#[test]
fn events_announced_to_a_grown_series_are_learned_from_then_on() {
    let (start, _) = last();
    let mut ensemble = empty(&[]);
    follow(&mut ensemble, 0..600);
    ensemble.announce(&campaigns());
    follow(&mut ensemble, 600..last().1);
    assert!(factor(&ensemble, start + 1) > 1.6, "{}", factor(&ensemble, start + 1));
}

#[test]
fn covariates_and_columns_of_events_reach_the_training() {
    let mut ensemble = grown(&[Kind::Smoothing], &campaigns());
    let job = ensemble.job("asked".to_owned()).unwrap();
    assert_eq!(job.history().covariates.names(), ["event campaign"]);
    let mut rain = Covariates::beginning(0);
    rain.add("rain", (0..5000).map(|i| (i % 7) as f32).collect()).unwrap();
    ensemble.know(Arc::new(rain));
    let job = ensemble.job("asked".to_owned()).unwrap();
    let history = job.history();
    let names = history.covariates.names();
    assert_eq!(names.len(), 2);
    let column = |name: &str| names.iter().position(|known| known == name).unwrap();
    let (start, now) = last();
    assert_eq!(history.covariates.at(column("event campaign"), start as u64), 1.0);
    assert_eq!(history.covariates.at(column("rain"), now as u64), (now % 7) as f32);
    assert!(history.covariates.end() >= history.end() + 48);
    follow(&mut ensemble, now..now + 600);
    let job = ensemble.job("asked".to_owned()).unwrap();
    assert!(job.history().covariates.end() >= job.history().end() + 48, "the columns go on");
}

#[test]
fn what_comes_later_changes_no_earlier_forecast_with_events_either() {
    let whole = grown(&[Kind::Smoothing], &campaigns());
    let mut longer = empty(&[Kind::Smoothing]);
    longer.announce(&campaigns());
    follow(&mut longer, 0..last().1);
    let said = (longer.forecast(48, &[0.05, 0.5, 0.95]), longer.window_max(20));
    for hour in last().1..last().1 + 50 {
        longer.observe(at(hour), Some(1e6)).unwrap();
    }
    assert_eq!(said, (whole.forecast(48, &[0.05, 0.5, 0.95]), whole.window_max(20)));
}
