//! What is promised of events and covariates, on made-up series whose effects are known.

use std::time::Duration;

use forecast::calendar::{Event, holidays};
use forecast::covariates::Covariates;
use forecast::effects::{Assumed, Informed, Note, Seen};
use forecast::score::pinball;
use forecast::{Config, Forecaster, Timestamp};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use crate::support::{MONDAY, normal, service};

const HOUR: Duration = Duration::from_secs(3600);
const QUANTILES: [f64; 4] = [0.05, 0.5, 0.9, 0.95];

fn at(hour: usize) -> Timestamp {
    Timestamp::parse(MONDAY).unwrap() + HOUR * u32::try_from(hour).unwrap()
}

fn config() -> Config {
    let mut config = Config::new(HOUR);
    config.time_zone = Some(TimeZone::UTC);
    config.horizon_max = 24 * HOUR;
    config
}

fn event(kind: &str, from_hour: usize, to_hour: usize) -> Event {
    let (start, end) = (at(from_hour), at(to_hour));
    Event { start, end, name: format!("{kind} {from_hour}"), kind: kind.to_owned(), magnitude: 1.0 }
}

/// Both forecasters, fed with a series up to some hour.
struct Pair {
    plain: Forecaster,
    informed: Informed,
    covariates: Covariates,
    fed: usize,
}

impl Pair {
    fn new(events: &[Event], covariates: Covariates) -> Pair {
        let mut informed = Informed::new(config(), at(0), covariates.names()).unwrap();
        informed.announce(events);
        Pair { plain: Forecaster::new(config()).unwrap(), informed, covariates, fed: 0 }
    }

    fn feed(&mut self, values: &[f64], until: usize) {
        for (hour, &value) in values.iter().enumerate().take(until).skip(self.fed) {
            self.plain.observe(at(hour), Some(value)).unwrap();
            self.informed.observe(at(hour), Some(value), &self.covariates).unwrap();
        }
        self.fed = until;
    }

    /// Pinball losses of both over the next day.
    fn losses(&self, values: &[f64]) -> (f64, f64) {
        let plain = self.plain.forecast(24, &QUANTILES).values;
        let informed = self.informed.forecast(24, &QUANTILES, &self.covariates).forecast.values;
        let mut sums = (0.0, 0.0);
        for h in 0..24 {
            for (q, &tau) in QUANTILES.iter().enumerate() {
                sums.0 += pinball(tau, values[self.fed + h], plain[h][q]);
                sums.1 += pinball(tau, values[self.fed + h], informed[h][q]);
            }
        }
        sums
    }

    /// Informed over plain, over all days from one on.
    fn ratio(&mut self, values: &[f64], from_day: usize) -> f64 {
        let (mut plain, mut informed) = (0.0, 0.0);
        for day in from_day..values.len() / 24 {
            self.feed(values, day * 24);
            let (one, other) = self.losses(values);
            plain += one;
            informed += other;
        }
        informed / plain
    }
}

/// Demand without any slow drift, so that what is wrong with a forecast is wrong with the effect.
fn steady(days: usize, seed: u64) -> Vec<f64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..days * 24)
        .map(|i| {
            let weekend = if i / 24 % 7 >= 5 { 0.6 } else { 1.0 };
            let shape = 1.0 + 0.7 * (((i % 24) as f64 / 24.0 - 0.3) * std::f64::consts::TAU).sin();
            1000.0 * weekend * shape * (1.0 + 0.06 * normal(&mut random))
        })
        .collect()
}

#[test]
fn the_fourth_campaign_is_forecast_from_three() {
    for seed in 0..8 {
        let mut values = steady(110, seed);
        let mut random = fastrand::Rng::with_seed(seed + 100);
        let days = [30, 55, 80, 105];
        let campaigns = days.map(|day| event("campaign", day * 24 + 8, day * 24 + 44));
        for day in days {
            let factor = 1.8 * (0.03 * normal(&mut random)).exp();
            values[day * 24 + 8..day * 24 + 44].iter_mut().for_each(|value| *value *= factor);
        }
        let mut pair = Pair::new(&campaigns, Covariates::beginning(0));
        pair.feed(&values, 105 * 24);
        let said = pair.informed.forecast(44, &[0.05, 0.5, 0.95], &pair.covariates).forecast.values;
        let total = |of: &dyn Fn(usize) -> f64| (8..44).map(of).sum::<f64>();
        let (real, said_total) = (total(&|h| values[105 * 24 + h]), total(&|h| said[h][1]));
        assert!((said_total / real - 1.0).abs() < 0.15, "{seed}: {said_total} for {real}");
        let inside = (8..44).filter(|&h| (said[h][0]..=said[h][2]).contains(&values[105 * 24 + h])).count();
        assert!(inside >= 30, "{seed}: {inside}");
        let effect = &pair.informed.effects()[0];
        assert_eq!((effect.name.as_str(), effect.seen), ("campaign", Seen::Occurrences(3)));
        assert!((effect.factor / 1.8 - 1.0).abs() < 0.12, "{seed}: {effect:?}");
        assert!(effect.low < 1.8 && effect.high > 1.8 && effect.high < 3.0, "{seed}: {effect:?}");
    }
}

#[test]
fn events_and_covariates_that_do_nothing_do_no_harm() {
    let (mut worst, mut sum) = (0.0f64, 0.0);
    for seed in 0..6 {
        let values = service(140, 24, seed);
        let mut random = fastrand::Rng::with_seed(seed + 7);
        let kinds = ["sale", "deploy", "match"];
        let mut events: Vec<Event> = (0..24)
            .map(|i| {
                let from = random.usize(0..values.len());
                event(kinds[i % 3], from, from + random.usize(1..36))
            })
            .collect();
        // Holidays that nobody keeps.
        events.extend(holidays("US", 2026..=2026).unwrap().iter().filter_map(|holiday| holiday.event(None)));
        let mut covariates = Covariates::beginning(0);
        let mut walk = 0.0;
        let wandering = values.iter().map(|_| {
            walk += 0.1 * normal(&mut random) as f32;
            walk
        });
        covariates.add("wandering", wandering.collect()).unwrap();
        let mut random = fastrand::Rng::with_seed(seed + 70);
        covariates.add("noise", values.iter().map(|_| normal(&mut random) as f32).collect()).unwrap();
        let flag = values.iter().map(|_| f32::from(u8::from(random.f64() < 0.1)));
        covariates.add("flag", flag.collect()).unwrap();
        let ratio = Pair::new(&events, covariates).ratio(&values, 28);
        worst = worst.max(ratio);
        sum += ratio;
    }
    assert!(sum / 6.0 <= 1.02 && worst <= 1.05, "mean {}, worst {worst}", sum / 6.0);
}

#[test]
fn the_first_holiday_already_has_the_shape_of_a_sunday() {
    // Sundays have their own shape: no morning, a late evening.
    let shape = |weekday: usize, hour: usize| match (weekday, hour) {
        (6, 0..12) => 40.0,
        (6, 12..22) => 150.0,
        (6, _) => 300.0,
        (_, 7..19) => 400.0,
        (_, _) => 100.0,
    };
    let holiday_on = 40;
    let (mut holiday, mut after) = ([0.0; 2], [0.0; 2]);
    // One holiday alone may go either way by chance.
    for seed in 0..12 {
        let mut random = fastrand::Rng::with_seed(seed);
        let values: Vec<f64> = (0..43 * 24)
            .map(|i| {
                let weekday = if i / 24 == holiday_on { 6 } else { i / 24 % 7 };
                shape(weekday, i % 24) * (1.0 + 0.05 * normal(&mut random))
            })
            .collect();
        let mut pair =
            Pair::new(&[event("holiday", holiday_on * 24, holiday_on * 24 + 24)], Covariates::beginning(0));
        for (day, sums) in [(holiday_on, &mut holiday), (holiday_on + 1, &mut after)] {
            pair.feed(&values, day * 24);
            let (plain, informed) = pair.losses(&values);
            (sums[0], sums[1]) = (sums[0] + plain, sums[1] + informed);
        }
    }
    assert!(holiday[1] < 0.75 * holiday[0], "{holiday:?}");
    // And the day after is an ordinary one.
    assert!(after[1] < 0.8 * after[0], "the day after: {after:?}");
}

#[test]
fn a_covariate_is_learned_and_taken_as_usual_where_it_ends() {
    let mut random = fastrand::Rng::with_seed(2);
    let mut values = service(90, 24, 5);
    let rain: Vec<f32> = {
        let mut wet = false;
        values
            .iter()
            .map(|_| {
                wet = if wet { random.f64() < 0.8 } else { random.f64() < 0.05 };
                f32::from(u8::from(wet))
            })
            .collect()
    };
    for (value, rain) in values.iter_mut().zip(&rain) {
        *value *= if *rain > 0.0 { 0.6 } else { 1.0 };
    }
    let mut covariates = Covariates::beginning(0);
    covariates.add("rain", rain.clone()).unwrap();
    let ratio = Pair::new(&[], covariates.clone()).ratio(&values, 30);
    assert!(ratio < 0.7, "{ratio}");
    let mut pair = Pair::new(&[], covariates);
    pair.feed(&values, 80 * 24);
    let effects = pair.informed.effects();
    assert!(effects[0].name == "rain 1" && (effects[0].factor - 0.6).abs() < 0.06, "{effects:?}");
    let mut short = Covariates::beginning(0);
    short.add("rain", rain[..80 * 24 + 3].to_vec()).unwrap();
    let said = pair.informed.forecast(24, &QUANTILES, &short);
    assert_eq!(
        said.notes,
        [Note::CovariateUnknown {
            name: "rain".into(),
            from: at(80 * 24 + 3),
            steps: 21,
            assumed: Assumed::Usual
        }]
    );
    assert!(said.factors[3..].iter().all(|&factor| factor == 1.0));
    assert!(said.forecast.values.iter().flatten().all(|value| value.is_finite()));
}

#[test]
fn an_event_never_seen_is_wide_and_says_so() {
    let values = service(40, 24, 9);
    let mut pair = Pair::new(&[event("launch", 40 * 24, 40 * 24 + 12)], Covariates::beginning(0));
    pair.feed(&values, 40 * 24);
    let said = pair.informed.forecast(24, &QUANTILES, &pair.covariates);
    let plain = pair.plain.forecast(24, &QUANTILES).values;
    let width = |row: &[f64]| row[3] - row[0];
    assert!(width(&said.forecast.values[4]) > 1.5 * width(&plain[4]));
    assert!((said.forecast.values[4][1] / plain[4][1] - 1.0).abs() < 0.05);
    assert_eq!(said.notes, [Note::KindUnseen { kind: "launch".into() }]);
}

#[test]
fn campaigns_are_learned_in_steps_of_minutes_and_of_days() {
    for (seconds, days, every) in [(300, 56, 14), (86_400, 280, 35)] {
        let step = Duration::from_secs(seconds);
        let per_day = 86_400 / seconds as usize;
        let at = |i: usize| Timestamp::parse(MONDAY).unwrap() + step * u32::try_from(i).unwrap();
        let mut random = fastrand::Rng::with_seed(11);
        let campaigns: Vec<Event> = (1..)
            .map(|i| i * every * per_day)
            .take_while(|&first| first < (days + 2) * per_day)
            .map(|first| {
                let (start, end) = (at(first), at(first + 2 * per_day));
                Event { start, end, name: "sale".into(), kind: "sale".into(), magnitude: 1.0 }
            })
            .collect();
        let mut config = Config::new(step);
        config.time_zone = Some(TimeZone::UTC);
        let mut informed = Informed::new(config, at(0), &[]).unwrap();
        informed.announce(&campaigns);
        let none = Covariates::beginning(0);
        let quiet = |i: usize| {
            let shape = 1.0 + 0.5 * ((i % per_day) as f64 / per_day as f64 * std::f64::consts::TAU).sin();
            if i / per_day % 7 >= 5 { 70.0 * shape } else { 100.0 * shape }
        };
        for i in 0..days * per_day {
            let is_on = campaigns.iter().any(|event| (event.start..event.end).contains(&at(i)));
            let value = quiet(i) * if is_on { 1.7 } else { 1.0 } * (1.0 + 0.05 * normal(&mut random));
            informed.observe(at(i), Some(value), &none).unwrap();
        }
        let said = informed.forecast(2 * per_day, &[0.5], &none).forecast.values;
        let total = |of: &dyn Fn(usize) -> f64| (0..2 * per_day).map(of).sum::<f64>();
        let ratio = total(&|h| said[h][0]) / total(&|h| 1.7 * quiet(days * per_day + h));
        assert!((ratio - 1.0).abs() < 0.12, "steps of {seconds} s: {ratio}, {:?}", informed.effects());
    }
}

#[test]
fn more_occurrences_teach_more_though_they_begin_young_and_come_every_other_day() {
    let off = |days: &[usize], strength: f64| {
        let campaign = |day: usize| event("campaign", day * 24 + 10, day * 24 + 14);
        let due = 28;
        let events: Vec<Event> = days.iter().chain([&due]).map(|&day| campaign(day)).collect();
        let mut random = fastrand::Rng::with_seed(5);
        let usual = |i: usize| 100.0 + 50.0 * ((i % 24) as f64 / 24.0 * std::f64::consts::TAU).sin();
        let values: Vec<f64> = (0..due * 24)
            .map(|i| {
                let is_on = days.contains(&(i / 24)) && (10..14).contains(&(i % 24));
                (usual(i) + 5.0 * normal(&mut random)) * if is_on { strength } else { 1.0 }
            })
            .collect();
        let mut pair = Pair::new(&events, Covariates::default());
        pair.feed(&values, due * 24);
        let said = pair.informed.forecast(24, &[0.5], &pair.covariates).forecast.values;
        (10..14).map(|h| said[h][0] / (strength * usual(h))).sum::<f64>() / 4.0
    };
    for strength in [1.5, 2.0, 4.0] {
        let (one, eight) = (off(&[20], strength), off(&[6, 8, 10, 12, 14, 16, 18, 20], strength));
        assert!(
            (0.93..1.05).contains(&eight) && eight > one,
            "{strength}: {one} from one, {eight} from eight"
        );
    }
}

#[test]
fn an_announcement_changes_only_what_comes_after_it() {
    let values = service(60, 24, 3);
    let mut pair = Pair::new(&[event("sale", 500, 520)], Covariates::beginning(0));
    pair.feed(&values, 59 * 24);
    let before = pair.informed.forecast(20, &QUANTILES, &pair.covariates);
    // Too far ahead to be felt in the next 20 hours.
    pair.informed.announce(&[event("sale", 60 * 24 + 30, 60 * 24 + 40)]);
    assert_eq!(pair.informed.forecast(20, &QUANTILES, &pair.covariates), before);
    pair.informed.announce(&[event("sale", 59 * 24 + 5, 59 * 24 + 9)]);
    let after = pair.informed.forecast(20, &QUANTILES, &pair.covariates);
    assert!(after.forecast.values[6] != before.forecast.values[6]);
}

#[test]
fn without_events_and_covariates_it_says_what_the_forecaster_says() {
    let values = service(30, 24, 4);
    let mut pair = Pair::new(&[], Covariates::beginning(0));
    pair.feed(&values, 700);
    let said = pair.informed.forecast(48, &QUANTILES, &pair.covariates);
    assert_eq!(said.forecast, pair.plain.forecast(48, &QUANTILES));
    assert!(said.notes.is_empty() && pair.informed.effects().is_empty());
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut pair = Pair::new(&[event("sale", 10, 30)], Covariates::beginning(0));
    pair.feed(&service(5, 24, 4), 100);
    let before = pair.informed.forecast(24, &QUANTILES, &pair.covariates);
    for (hour, value) in [(99, 1.0), (100, -1.0), (100, f64::INFINITY)] {
        assert!(pair.informed.observe(at(hour), Some(value), &pair.covariates).is_err());
    }
    assert_eq!(pair.informed.forecast(24, &QUANTILES, &pair.covariates), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_is_observed_forecasts_are_finite_monotone_and_not_negative(
        seed: u64,
        pieces in proptest::collection::vec((0usize..7, 1usize..60, 0.0f64..1.0), 1..12),
    ) {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut values: Vec<f64> = Vec::new();
        for (sort, len, size) in pieces {
            values.extend((0..len).map(|i| match sort {
                0 => 0.0,
                1 => 1e12 * size,
                2 => 1e30 * size * random.f64(),
                3 => f64::NAN,
                4 => 100.0 * size,
                5 => 1e-300,
                _ => 10.0 + i as f64 * size,
            }));
        }
        let events: Vec<Event> = (0..random.usize(0..40))
            .map(|i| {
                let from = random.usize(0..values.len() + 30);
                let mut event = event(["a", "b", "holiday", "c"][i % 4], from, from + random.usize(0..90));
                event.magnitude = [1.0, 1e6, 1e-9, f64::NAN, -1.0][random.usize(0..5)];
                event
            })
            .collect();
        let mut covariates = Covariates::beginning(0);
        for name in ["x", "y", "holiday"] {
            let sort = random.u8(0..4);
            let column = (0..values.len() + random.usize(0..40)).map(|_| match sort {
                0 => f32::from(random.u8(0..3)),
                1 => random.f32() * 1e38,
                2 => random.f32() - 0.5,
                _ => [f32::NAN, f32::INFINITY, 1.0, -5.0][random.usize(0..4)],
            });
            let column: Vec<f32> = column.collect();
            let mut padded = column;
            padded.resize(values.len() + 40, f32::NAN);
            covariates.add(name, padded).unwrap();
        }
        let mut informed = Informed::new(config(), at(0), covariates.names()).unwrap();
        informed.announce(&events);
        for (hour, &value) in values.iter().enumerate() {
            if random.u8(0..20) > 0 {
                informed.observe(at(hour), Some(value), &covariates).unwrap();
            }
        }
        let said = informed.forecast(30, &[0.001, 0.05, 0.5, 0.9, 0.9999], &covariates);
        for row in said.forecast.values.iter() {
            prop_assert!(row.iter().all(|value| value.is_finite() && *value >= 0.0), "{row:?}");
            prop_assert!(row.windows(2).all(|pair| pair[0] <= pair[1]), "{row:?}");
        }
        for effect in informed.effects() {
            prop_assert!(effect.low.is_finite() && effect.high.is_finite() && effect.low <= effect.high, "{effect:?}");
        }
    }
}
