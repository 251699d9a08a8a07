//! Forecasts of seeded synthetic series cover what they promise and beat the naive forecasts.

use std::time::Duration;

use forecast::{Config, Forecaster};

use crate::support::{forecaster, normal, service};

const STEP: Duration = Duration::from_secs(300);
const DAY: usize = 288;
const WEEK: usize = 7 * DAY;
/// Scored from here on.
const WARM: usize = 14 * DAY;

#[test]
fn intervals_of_ninety_percent_hold_nine_of_ten_values_at_every_horizon() {
    let values = service(35, DAY, 1);
    let (mut forecaster, at) = forecaster(STEP);
    let horizons = [1, 3, 12, 48, 144, 288];
    let (mut inside, mut asked) = ([0u32; 6], 0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + DAY >= values.len() || i % 5 != 0 {
            continue;
        }
        let forecast = forecaster.forecast(DAY, &[0.05, 0.95]);
        asked += 1;
        for (count, h) in inside.iter_mut().zip(horizons) {
            let row = &forecast.values[h - 1];
            *count += u32::from((row[0]..=row[1]).contains(&values[i + h]));
        }
    }
    for (count, h) in inside.into_iter().zip(horizons) {
        let coverage = f64::from(count) / f64::from(asked);
        assert!((0.86..=0.94).contains(&coverage), "horizon {h}: {coverage}");
    }
}

#[test]
fn window_maxima_stay_below_their_quantiles_as_often_as_they_should() {
    let values = service(42, DAY, 2);
    let (mut forecaster, at) = forecaster(STEP);
    let windows = [1, 4, 12, 30, 100];
    let mut below = [[0u32; 3]; 5];
    let mut asked = 0;
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + 100 >= values.len() {
            continue;
        }
        asked += 1;
        for (counts, w) in below.iter_mut().zip(windows) {
            let peak = values[i + 1..=i + w].iter().copied().fold(0.0, f64::max);
            let distribution = forecaster.window_max(w);
            for (count, tau) in counts.iter_mut().zip([0.5, 0.95, 0.99]) {
                *count += u32::from(peak <= distribution.quantile(tau));
            }
        }
    }
    for (counts, w) in below.into_iter().zip(windows) {
        for (count, tau) in counts.into_iter().zip([0.5, 0.95, 0.99]) {
            let share = f64::from(count) / f64::from(asked);
            // Windows overlap, so misses come in runs: three standard errors of as many as do not, and a little.
            let apart = f64::from(asked) / w as f64;
            let tolerance = 0.005 + 3.0 * (tau * (1.0 - tau) / apart).sqrt();
            assert!((share - tau).abs() <= tolerance, "window {w}, {tau}: {share} +- {tolerance}");
        }
    }
}

#[test]
fn the_largest_value_of_a_day_is_not_said_too_high_where_seasons_are_clear() {
    // Hourly for eight weeks, five minutes for three: few days have ended in either.
    for (step, per_day, days) in [(12 * STEP, 24, 56), (STEP, DAY, 21)] {
        let mut random = fastrand::Rng::with_seed(12);
        let (mut forecaster, at) = forecaster(step);
        let value = |i: usize, random: &mut fastrand::Rng| {
            let day = i as f64 / per_day as f64;
            let shape = 100.0 + 60.0 * ((day - 0.35) * std::f64::consts::TAU).sin();
            shape * if i / per_day % 7 >= 5 { 0.5 } else { 1.0 } * (1.0 + 0.05 * normal(random))
        };
        let values: Vec<f64> = (0..days * per_day).map(|i| value(i, &mut random)).collect();
        let (mut missed, mut asked) = (0, 0);
        let (mut sums, mut drawn) = ([0.0; 2], 0.0);
        for (i, &value) in values.iter().enumerate() {
            forecaster.observe(at(i), Some(value)).unwrap();
            if 2 * i < values.len() || i + per_day >= values.len() || i % (per_day / 4 + 1) != 0 {
                continue;
            }
            let peak = values[i + 1..=i + per_day].iter().copied().fold(0.0, f64::max);
            let said = forecaster.window_max(per_day).quantile(0.95);
            let mut maxima: Vec<f64> = forecaster
                .paths(per_day, 200, 0)
                .iter()
                .map(|path| path.iter().copied().fold(0.0, f64::max))
                .collect();
            maxima.sort_by(f64::total_cmp);
            (missed, asked) = (missed + u32::from(peak > said), asked + 1);
            sums = [sums[0] + said, sums[1] + peak];
            drawn += maxima[190];
        }
        let [said, came] = sums;
        assert!((1.0..1.25).contains(&(said / came)), "{step:?}: {}", said / came);
        assert!(f64::from(missed) <= 0.15 * f64::from(asked), "{step:?}: {missed} of {asked}");
        assert!((drawn / said - 1.0).abs() < 0.05, "{step:?}: drawn {}", drawn / said);
    }
}

#[test]
fn intervals_a_day_ahead_hold_what_they_say_of_a_series_that_grows_by_an_even_amount() {
    let (mut inside, mut asked) = (0, 0);
    for seed in 0..8 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (_, at) = forecaster(12 * STEP);
        let mut config = Config::new(12 * STEP);
        config.horizon_max = 24 * config.step;
        let mut forecaster = Forecaster::new(config).unwrap();
        let values: Vec<f64> = (0..1350)
            .map(|i| {
                let day = f64::from(i) / 24.0;
                let shape = 100.0 + 60.0 * ((day - 0.35) * std::f64::consts::TAU).sin();
                shape + 4.8 * day + 5.0 * normal(&mut random)
            })
            .collect();
        for (i, &value) in values.iter().enumerate() {
            forecaster.observe(at(i), Some(value)).unwrap();
            if i < values.len() / 2 || i + 24 >= values.len() || i % 7 != 0 {
                continue;
            }
            let said = forecaster.forecast(24, &[0.05, 0.95]).values;
            for (row, value) in said.iter().zip(&values[i + 1..]) {
                (inside, asked) = (inside + u32::from((row[0]..=row[1]).contains(value)), asked + 1);
            }
        }
    }
    let share = f64::from(inside) / f64::from(asked);
    assert!((0.88..=0.93).contains(&share), "{share}");
}

#[test]
fn far_quantiles_of_a_spiky_series_are_neither_missed_nor_absurd() {
    // One step in fifty is a spike of three to eight times the level: the 0.99 quantile must rise above most of them.
    let mut random = fastrand::Rng::with_seed(3);
    let values: Vec<f64> = service(40, DAY, 3)
        .into_iter()
        .map(|value| if random.f64() < 0.02 { value * (3.0 + 5.0 * random.f64()) } else { value })
        .collect();
    let (mut forecaster, at) = forecaster(STEP);
    let (mut missed, mut missed_far, mut asked, mut idle) = (0, 0, 0, 0.0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + 1 >= values.len() {
            continue;
        }
        let next = forecaster.window_max(1);
        asked += 1;
        missed += u32::from(values[i + 1] > next.quantile(0.99));
        missed_far += u32::from(values[i + 1] > next.quantile(0.999));
        idle += next.quantile(0.99) / 1000.0;
    }
    let share = |count: u32| f64::from(count) / f64::from(asked);
    assert!((0.005..=0.015).contains(&share(missed)), "{}", share(missed));
    assert!(share(missed_far) <= 0.003, "{}", share(missed_far));
    assert!(idle / f64::from(asked) < 10.0);
}

#[test]
fn the_median_beats_the_best_naive_forecast() {
    let values = service(35, DAY, 4);
    let (mut forecaster, at) = forecaster(STEP);
    let mut near = [0.0; 4];
    let mut far = [0.0; 4];
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + DAY >= values.len() || i % 7 != 0 {
            continue;
        }
        let forecast = forecaster.forecast(DAY, &[0.5]);
        for h in 1..=DAY {
            let actual = values[i + h];
            let says = [forecast.values[h - 1][0], value, values[i + h - DAY], values[i + h - WEEK]];
            for (k, said) in says.into_iter().enumerate() {
                let errors = if h <= 12 { &mut near } else { &mut far };
                errors[k] += (actual - said).abs();
            }
        }
    }
    for (errors, share) in [(near, 0.8), (far, 0.9)] {
        let best = errors[1..].iter().copied().fold(f64::INFINITY, f64::min);
        assert!(errors[0] <= share * best, "{errors:?}");
    }
}

#[test]
fn after_a_level_shift_coverage_returns_within_a_day() {
    let mut values = service(28, DAY, 5);
    let shift = 21 * DAY;
    for value in &mut values[shift..] {
        *value *= 1.5;
    }
    let (mut forecaster, at) = forecaster(STEP);
    let (mut inside, mut inside_far, mut asked) = (0, 0, 0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < shift + 24 || i + 48 >= values.len() {
            continue;
        }
        let forecast = forecaster.forecast(48, &[0.05, 0.95]);
        let covered = |h: usize| {
            let row = &forecast.values[h - 1];
            u32::from((row[0]..=row[1]).contains(&values[i + h]))
        };
        if i < shift + 2 * DAY {
            inside += covered(1);
            asked += 1;
        } else if i < shift + 3 * DAY {
            inside_far += covered(48);
        }
    }
    let near = f64::from(inside) / f64::from(asked);
    assert!(near >= 0.84, "{near}");
    let far = f64::from(inside_far) / DAY as f64;
    assert!(far >= 0.8, "{far}");
}

#[test]
fn drawn_paths_have_the_quantiles_of_their_steps_and_the_maxima_of_the_series() {
    let values = service(42, DAY, 6);
    let (mut forecaster, at) = forecaster(STEP);
    let (mut below_sum, mut below_peak, mut asked) = (0, 0, 0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + 24 >= values.len() || i % 29 != 0 {
            continue;
        }
        let paths = forecaster.paths(24, 400, i as u64);
        assert_eq!(paths, forecaster.paths(24, 400, i as u64));
        let read = |of: &dyn Fn(&[f64]) -> f64| {
            let mut all: Vec<f64> = paths.iter().map(|path| of(path)).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() * 9 / 10]
        };
        let peak = |path: &[f64]| path.iter().copied().fold(0.0, f64::max);
        let actual = &values[i + 1..=i + 24];
        asked += 1;
        below_sum += u32::from(actual.iter().sum::<f64>() <= read(&|path| path.iter().sum()));
        below_peak += u32::from(peak(actual) <= read(&peak));
        let step = read(&|path| path[11]);
        let said = forecaster.forecast(12, &[0.9]).values[11][0];
        assert!((step / said - 1.0).abs() < 0.06, "{step} {said}");
    }
    for below in [below_sum, below_peak] {
        let share = f64::from(below) / f64::from(asked);
        assert!((0.82..=0.97).contains(&share), "{share} of {asked}");
    }
}

#[test]
fn sums_are_covered_however_the_errors_of_a_path_hang_together() {
    let mut random = fastrand::Rng::with_seed(11);
    let mut noise = || (0..4).map(|_| random.f64() - 0.5).sum::<f64>() * 3f64.sqrt();
    let (mut slow, mut day_height) = (0.0, 0.0);
    let kinds: Vec<(&str, Vec<f64>)> = ["each by itself", "returning slowly", "days as a whole"]
        .into_iter()
        .map(|kind| {
            let value = |i: usize| {
                let wave = 300.0 + 100.0 * (std::f64::consts::TAU * (i % DAY) as f64 / DAY as f64).sin();
                slow = 0.993 * slow + 2.0 * noise();
                if i.is_multiple_of(DAY) {
                    day_height = 20.0 * noise();
                }
                match kind {
                    "each by itself" => wave + 20.0 * noise(),
                    "returning slowly" => wave + slow + 2.0 * noise(),
                    _ => wave + day_height + 10.0 * noise(),
                }
            };
            (kind, (0..60 * DAY).map(value).collect())
        })
        .collect();
    for (kind, values) in kinds {
        let share = share_of_sums_inside(&values, 36, values.len() / 2, 23);
        assert!((0.84..=0.96).contains(&share), "{kind}: {share}");
    }
}

/// The share of sums of so many steps inside 90 % intervals counted over drawn paths, asked every so many steps from one on.
fn share_of_sums_inside(values: &[f64], steps: usize, from: usize, every: usize) -> f64 {
    let (mut forecaster, at) = forecaster(STEP);
    let (mut inside, mut asked) = (0.0, 0.0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < from || i + steps >= values.len() || i % every != 0 {
            continue;
        }
        let paths = forecaster.paths(steps, 300, i as u64);
        let mut sums: Vec<f64> = paths.iter().map(|path| path.iter().sum()).collect();
        sums.sort_by(f64::total_cmp);
        let actual: f64 = values[i + 1..=i + steps].iter().sum();
        inside += f64::from(u8::from((sums[15]..=sums[284]).contains(&actual)));
        asked += 1.0;
    }
    inside / asked
}

#[test]
fn sums_of_a_series_that_is_mostly_idle_are_covered() {
    let mut random = fastrand::Rng::with_seed(3);
    let (mut left, mut busy, mut size) = (0, false, 0.0);
    let values: Vec<f64> = (0..60 * DAY)
        .map(|_| {
            if left == 0 {
                (busy, size) = (!busy, 5.0 + 20.0 * random.f64());
                let long = if busy { 100.0 } else { 300.0 };
                left = 1 + (-long * (1.0 - random.f64()).ln()) as usize;
            }
            left -= 1;
            if busy && random.f64() < 0.6 { size * (0.9 + 0.2 * random.f64()) } else { 0.0 }
        })
        .collect();
    let share = share_of_sums_inside(&values, 72, values.len() / 3, 31);
    assert!((0.85..=0.98).contains(&share), "{share}");
}

#[test]
fn levels_are_crossed_as_often_as_was_said() {
    let values = service(42, DAY, 7);
    let (mut forecaster, at) = forecaster(STEP);
    let (mut said, mut seen, mut asked) = (0.0, 0.0, 0.0);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i < WARM || i + 36 >= values.len() || i % 7 != 0 {
            continue;
        }
        let levels = [1.05 * value, 1.2 * value];
        let crossed = forecaster.crossings(&levels, 36);
        for (level, shares) in levels.iter().zip(&crossed) {
            assert!(
                shares.windows(2).all(|pair| pair[0] <= pair[1]) && shares[0] >= 0.0 && shares[35] <= 1.0
            );
            for h in [1, 6, 36] {
                said += shares[h - 1];
                seen += f64::from(u8::from(values[i + 1..=i + h].iter().any(|later| later > level)));
                asked += 1.0;
            }
        }
    }
    assert!((said - seen).abs() / asked < 0.02, "{} {}", said / asked, seen / asked);
}
