//! What is asked for is found, followed without looking ahead, and forecast the same whatever was asked before.

use super::*;
use crate::config::CapacityConfig;

const MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(600);
const DAY: i64 = 144;

struct Stage {
    store: Store,
    workload: WorkloadConfig,
    _dir: tempfile::TempDir,
}

fn stage(step: Duration) -> Stage {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a store");
    let listen = "127.0.0.1:8080".parse().expect("a literal address");
    let base = WorkloadConfig::new("web", vec!["serve".into()], listen, CapacityConfig::Pinned(10.0));
    Stage { store, workload: WorkloadConfig { step, ..base }, _dir: dir }
}

impl Stage {
    fn push(&self, key: SeriesKey, values: impl Iterator<Item = (Timestamp, f64)>) {
        let samples: Vec<_> =
            values.map(|(at, value)| history::Sample::new(key.clone(), at, value)).collect();
        self.store.append(&samples).expect("written");
    }

    fn asked(&self, metric: &str, now: Timestamp) -> Asked {
        Asked {
            workload: Arc::new(self.workload.clone()),
            metric: metric.to_owned(),
            labels: BTreeMap::new(),
            aggregate: None,
            step: None,
            now,
        }
    }

    fn follow(&self, forecasts: &MetricForecasts, asked: Asked) -> Result<Followed, Refusal> {
        let found = Found::look_up(&self.store, asked)?;
        forecasts.follow(&self.store, &found, 144)
    }
}

fn at(step: i64) -> Timestamp {
    Timestamp::from_secs(1_700_006_400 + step * 600)
}

/// Two humps a day and some noise, the same each time.
fn value(step: i64) -> f64 {
    let day = (step % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
    100.0 - 60.0 * day.cos() - 20.0 * (2.0 * day).sin() + (step * 7919 % 13) as f64 / 2.0
}

fn days(steps: std::ops::Range<i64>) -> impl Iterator<Item = (Timestamp, f64)> {
    steps.map(|step| (at(step), value(step)))
}

#[test]
fn a_day_ahead_is_nearer_to_what_came_than_the_last_value_and_covered() {
    let stage = stage(TEN_MINUTES);
    stage.push(SeriesKey::new("web", "queue_length"), days(0..30 * DAY));
    let now = at(21 * DAY);
    let followed =
        stage.follow(&MetricForecasts::default(), stage.asked("queue_length", now)).expect("followed");
    assert_eq!((followed.series, followed.steps), (1, 21 * DAY as usize));
    assert!(followed.core.trust().is_trusted(), "{}", followed.core.trust());
    let said = followed.core.forecast(DAY as usize, &[0.05, 0.5, 0.95]);
    assert_eq!(said.issued_at, now);
    let truth: Vec<f64> = (0..DAY).map(|ahead| value(21 * DAY + ahead)).collect();
    let error = |said: &dyn Fn(usize) -> f64| {
        truth.iter().enumerate().map(|(h, truth)| (said(h) - truth).abs()).sum::<f64>() / truth.len() as f64
    };
    let (median, last) = (error(&|h| said.values[h][1]), error(&|_| value(21 * DAY - 1)));
    assert!(median < 0.1 * last, "{median} beside {last}");
    let within =
        truth.iter().zip(said.values.iter()).filter(|(truth, row)| row[0] <= **truth && **truth <= row[2]);
    assert!(within.count() > 110);
}

#[test]
fn what_comes_later_changes_nothing_and_neither_does_what_was_asked_before() {
    let whole = stage(TEN_MINUTES);
    whole.push(SeriesKey::new("web", "queue"), days(0..20 * DAY));
    let cut = stage(TEN_MINUTES);
    // The step under way when it is asked for is not over, so a part of it must not count either.
    cut.push(SeriesKey::new("web", "queue"), days(0..14 * DAY));
    let said = |stage: &Stage, forecasts: &MetricForecasts, now: Timestamp| {
        stage
            .follow(forecasts, stage.asked("queue", now))
            .expect("followed")
            .core
            .forecast(200, &[0.1, 0.5, 0.9])
    };
    let asked_before = MetricForecasts::default();
    for step in [10 * DAY, 12 * DAY, 13 * DAY + 7, 14 * DAY - 1, 14 * DAY] {
        let now = at(step) + Duration::from_secs(301);
        let fresh = said(&cut, &MetricForecasts::default(), now);
        assert_eq!(fresh, said(&whole, &MetricForecasts::default(), now), "{step}");
        assert_eq!(fresh, said(&whole, &asked_before, now), "{step}");
    }
    assert_eq!(asked_before.kept.lock().expect("not poisoned").len(), 1);
}

#[test]
fn a_second_question_goes_on_where_the_first_ended_until_the_past_is_another() {
    let stage = stage(TEN_MINUTES);
    let key = SeriesKey::new("web", "queue");
    stage.push(key.clone(), days(0..10 * DAY));
    let forecasts = MetricForecasts::default();
    let kept = |forecasts: &MetricForecasts| forecasts.kept.lock().expect("not poisoned")[0].1.clone();
    stage.follow(&forecasts, stage.asked("queue", at(10 * DAY))).expect("followed");
    let first = kept(&forecasts);
    stage.follow(&forecasts, stage.asked("queue", at(10 * DAY))).expect("followed");
    assert!(Arc::ptr_eq(&first, &kept(&forecasts)), "nothing was new");
    // A value of long ago is put right.
    stage.push(key, std::iter::once((at(5), 1e6)));
    let followed = stage.follow(&forecasts, stage.asked("queue", at(10 * DAY))).expect("followed");
    let fresh =
        stage.follow(&MetricForecasts::default(), stage.asked("queue", at(10 * DAY))).expect("followed");
    assert!(!Arc::ptr_eq(&first, &kept(&forecasts)));
    assert_eq!(followed.core.forecast(50, &[0.5]), fresh.core.forecast(50, &[0.5]));
}

#[test]
fn several_series_are_refused_by_name_chosen_by_label_or_made_one() {
    let stage = stage(TEN_MINUTES);
    for (zone, factor) in [("a", 1.0), ("b", 2.0)] {
        let key = SeriesKey::new("web", "cpu_cores").with_label("instance", zone);
        stage.push(key, days(0..DAY).map(|(at, value)| (at, value * factor)));
    }
    let asked = stage.asked("cpu_cores", at(DAY));
    let choose = |asked: &Asked| Found::look_up(&stage.store, asked.clone());
    let refused = choose(&asked).expect_err("refused");
    assert_eq!(refused.to_string(), "2 series are meant by \"cpu_cores\": instance=a; instance=b");
    assert!(matches!(refused, Refusal::Several { total: Some(total), .. } if total == "total_cpu_cores"));
    let of =
        |zone: &str| Asked { labels: [("instance".to_owned(), zone.to_owned())].into(), ..asked.clone() };
    assert_eq!(choose(&of("b")).expect("found").keys.len(), 1);
    assert!(choose(&of("c")).expect_err("none").to_string().contains("there are instance=a; instance=b"));
    assert!(matches!(choose(&stage.asked("nothing", at(DAY))), Err(Refusal::NoMetric { .. })));
    let sum = |aggregate: Aggregate| {
        let found = choose(&Asked { aggregate: Some(aggregate), ..asked.clone() }).expect("found");
        steps::read(&stage.store, &found.keys, &found.asked, found.pace).expect("read")[7].1 / value(7)
    };
    let [all, mean, max] = Aggregate::ALL.map(|aggregate| (sum(aggregate) * 1e9).round() / 1e9);
    assert_eq!((all, mean, max), (3.0, 1.5, 2.0));
    // One without labels is meant when none are asked for.
    stage.push(SeriesKey::new("web", "cpu_cores"), days(0..DAY));
    assert!(choose(&asked).expect("found").keys[0].labels.is_empty());
}

#[test]
fn values_that_lie_farther_apart_than_the_workloads_steps_are_forecast_in_longer_ones() {
    let stage = stage(MINUTE);
    // Now and then some seconds late.
    let values = days(0..20 * DAY)
        .map(|(at, value)| (at + Duration::from_secs(at.as_millis() as u64 / 600_000 % 7), value));
    stage.push(SeriesKey::new("web", "queue"), values);
    let now = at(20 * DAY) + MINUTE;
    let found = Found::look_up(&stage.store, stage.asked("queue", now)).expect("found");
    assert_eq!(found.step(), TEN_MINUTES);
    let followed = MetricForecasts::default().follow(&stage.store, &found, 60).expect("followed");
    assert!(followed.core.trust().is_trusted(), "{}", followed.core.trust());
    let asked = Asked { step: Some(Duration::from_secs(3600)), ..stage.asked("queue", now) };
    assert_eq!(Found::look_up(&stage.store, asked).expect("found").step(), Duration::from_secs(3600));
}

#[test]
fn a_metric_below_zero_is_forecast_below_zero() {
    let stage = stage(TEN_MINUTES);
    stage.push(SeriesKey::new("web", "celsius"), days(0..14 * DAY).map(|(at, value)| (at, value - 120.0)));
    let followed =
        stage.follow(&MetricForecasts::default(), stage.asked("celsius", at(14 * DAY))).expect("followed");
    let said = followed.core.forecast(DAY as usize, &[0.5]);
    assert!(said.values.iter().any(|row| row[0] < -50.0) && said.values.iter().any(|row| row[0] > 20.0));
}

#[test]
fn a_covariate_does_not_know_its_own_future() {
    let said = |covariates: &[&str], until: i64| {
        let mut stage = stage(TEN_MINUTES);
        stage.workload.covariates = covariates.iter().map(|name| (*name).to_owned()).collect();
        stage.push(SeriesKey::new("web", "celsius"), days(0..until));
        let asked = stage.asked("celsius", at(10 * DAY));
        stage.follow(&MetricForecasts::default(), asked).expect("followed").core.forecast(100, &[0.5])
    };
    assert_eq!(said(&["celsius"], 12 * DAY), said(&[], 10 * DAY));
}

#[test]
fn a_series_that_ended_is_not_trusted_and_one_without_values_refused() {
    let stage = stage(TEN_MINUTES);
    stage.push(SeriesKey::new("web", "queue"), days(0..10 * DAY));
    let forecasts = MetricForecasts::default();
    let later = stage.follow(&forecasts, stage.asked("queue", at(11 * DAY))).expect("followed");
    assert!(!later.core.trust().is_trusted());
    assert_eq!(later.core.forecast(1, &[0.5]).issued_at, at(11 * DAY - 2));
    // Two steps late is not missing.
    let soon = stage.follow(&forecasts, stage.asked("queue", at(10 * DAY + 2))).expect("followed");
    assert_eq!(soon.core.forecast(1, &[0.5]).issued_at, at(10 * DAY));
    let before = stage.follow(&forecasts, stage.asked("queue", at(0))).err();
    assert!(matches!(before, Some(Refusal::NoValues { .. })), "{before:?}");
}
