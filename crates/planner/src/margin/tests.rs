//! Rules judged on demand whose distribution is known.

use super::*;

/// Demand uniform on 0..100 and honest quantiles of it; instances of 1. The median is 50.
fn honest(rule: Rule, widen: f64) -> Call {
    let demand = match rule.family {
        Family::Quantile | Family::Brief => {
            let (tail, factor) = rule.quantile();
            100.0 * (1.0 - tail) * factor
        }
        Family::Offset => 50.0 + 5.0 * rule.at,
        Family::Multiple | Family::LastWeek => 50.0 * 1.08f64.powf(rule.at),
        Family::Static | Family::Floor | Family::Lasting => (5.0 * rule.at).max(91.5),
        Family::Reactive => 70.0 * rule.reactive_factor(),
    };
    let need = (demand * widen).ceil() as u32;
    Call { need, keep: need }
}

fn decide(control: &mut MarginControl, lag: usize, call: impl Fn(Rule) -> Call) {
    let levels =
        |family, part: fn(Call) -> u32| std::array::from_fn(|k| part(call(Rule { family, at: k as f64 })));
    control.decide(
        lag,
        0,
        |family| levels(family, |call| call.need),
        |family| levels(family, |call| call.keep),
    );
}

fn chosen(control: &MarginControl, before: Option<Rule>) -> Rule {
    choose_one(control, Aim::new(0.01, 0.0), 1.0, before)
}

fn play(control: &mut MarginControl, steps: usize, widen: f64, seed: u64) -> (f64, f64) {
    let mut jitter = crate::retry::Jitter::new(seed);
    let (mut missed, mut total) = (0.0, 0.0);
    let mut rule = chosen(control, None);
    for _ in 0..steps {
        rule = chosen(control, Some(rule));
        let decided = f64::from(honest(rule, widen).need);
        decide(control, 0, |rule| honest(rule, widen));
        let demand = 100.0 * jitter.next();
        missed += (demand - decided).max(0.0);
        total += demand;
        control.observe(demand, 1.0, u32::MAX, Mended::NEVER, 2_000.0);
    }
    (missed / total, f64::from(honest(rule, 1.0).need))
}

#[test]
fn the_levels_of_a_family_are_its_rules() {
    let mut forecaster =
        forecast::Forecaster::new(forecast::Config::new(std::time::Duration::from_secs(60))).unwrap();
    for step in 0..500 {
        let demand = 50.0 + 30.0 * (step as f64 * 0.9).sin() + (step * 37 % 11) as f64;
        forecaster.observe(forecast::Timestamp::from_secs(60 * step), Some(demand)).unwrap();
    }
    let sight = Sight::new(forecaster.window_max(3), 150.0, (60.0, 70.0, 40.0), Some(80.0), 10.0);
    for family in FAMILIES_ACTIVE {
        let rules: Levels<f64> = std::array::from_fn(|k| Rule { family, at: k as f64 }.of(&sight));
        assert_eq!(family.levels(&sight), rules, "{family:?}");
    }
    assert!(Family::Quantile.levels(&sight).windows(2).all(|pair| pair[0] <= pair[1]));
}

#[test]
fn it_starts_sane() {
    let rule = choose_one(&MarginControl::forecasting(), Aim::new(0.001, 0.0), 1.0, None);
    let tail = rule.quantile().0;
    assert!(rule.family == Family::Quantile && (0.005..0.02).contains(&tail), "{rule:?} {tail}");
    let reactive = MarginControl::reactive(0.7, 0.001);
    let factor = choose_one(&reactive, Aim::new(0.001, 0.0), 1.0, None).reactive_factor();
    assert!((1.0 / factor - 0.7).abs() < 0.03, "{factor}");
}

#[test]
fn the_budget_is_spent_and_not_more_with_honest_quantiles() {
    let (share, _) = play(&mut MarginControl::forecasting(), 5_000, 1.0, 1);
    assert!((0.004..0.012).contains(&share), "{share}");
}

#[test]
fn the_budget_is_kept_when_the_forecast_is_too_low_and_spent_when_it_is_too_high() {
    let (low, at_low) = play(&mut MarginControl::forecasting(), 5_000, 0.8, 2);
    let (high, at_high) = play(&mut MarginControl::forecasting(), 5_000, 1.5, 3);
    assert!(low < 0.02, "{low}");
    assert!((0.002..0.02).contains(&high), "{high}");
    assert!(at_low > at_high);
}

#[test]
fn a_spike_that_no_rule_could_serve_does_not_drive_it_up() {
    let mut control = MarginControl::forecasting();
    play(&mut control, 2_000, 1.0, 4);
    let before = chosen(&control, None);
    decide(&mut control, 0, |rule| honest(rule, 1.0));
    control.observe(10_000.0, 1.0, 120, Mended::NEVER, 2_000.0);
    let after = chosen(&control, Some(before));
    let need = |rule| honest(rule, 1.0).need;
    // Another family may take over, whose steps are of another size.
    assert!(need(after) + 1 >= need(before) && need(after) <= 100, "{before:?} {after:?}");
}

#[test]
fn capacity_counts_only_after_the_lead_time() {
    let mut control = MarginControl::forecasting();
    let rule = Rule { family: Family::Quantile, at: 3.0 };
    for need in [1, 5, 5, 5] {
        decide(&mut control, 2, |_| Call { need, keep: need });
    }
    assert_eq!(control.available(rule), 5);
    decide(&mut control, 2, |_| Call { need: 9, keep: 9 });
    assert_eq!(control.available(rule), 5);
}

#[test]
fn a_tier_goes_up_at_once_and_down_only_to_what_is_kept() {
    assert_eq!(settle(3, Call { need: 7, keep: 7 }), 7);
    assert_eq!(settle(7, Call { need: 3, keep: 5 }), 5);
    assert_eq!(settle(7, Call { need: 3, keep: 9 }), 7);
}

/// Demand is 20 nearly always and 60 now and then, out of the blue: no quantile of a forecast that learned calm steps
/// reaches it without paying for far more.
#[test]
fn the_family_that_costs_least_within_the_budget_is_found() {
    let mut control = MarginControl::forecasting();
    let wild = |rule: Rule| {
        let demand = match rule.family {
            Family::Quantile | Family::Brief => 21.0 + if rule.at > 20.0 { 200.0 } else { 0.0 },
            Family::Offset => 20.0 + 3.0 * rule.at,
            Family::Multiple | Family::LastWeek => 20.0 * 1.4f64.powf(rule.at),
            Family::Static | Family::Floor | Family::Lasting => (2.5 * rule.at).max(90.0),
            Family::Reactive => 90.0 + rule.at,
        };
        Call { need: demand.ceil() as u32, keep: demand.ceil() as u32 }
    };
    let mut rule = chosen(&control, None);
    for step in 0..1_000 {
        decide(&mut control, 0, wild);
        control.observe(if step % 10 == 0 { 60.0 } else { 20.0 }, 1.0, u32::MAX, Mended::NEVER, 1_000.0);
        rule = chosen(&control, Some(rule));
    }
    assert_eq!(rule.family, Family::Offset);
    assert!((56..=62).contains(&wild(rule).need), "{rule:?}");
}

/// A burst of one step that nothing announces, and starts that take a step: whatever follows it comes too late.
#[test]
fn bursts_that_end_before_a_start_are_not_followed() {
    let mut control = MarginControl::forecasting();
    let seen = |before: f64| {
        move |rule: Rule| {
            let demand = match rule.family {
                Family::Lasting => 3.0 * rule.at,
                Family::Floor => (3.0 * rule.at).max(before),
                Family::Static => (3.0 * rule.at).max(before + 5.0),
                Family::Quantile | Family::Brief | Family::Offset => before + 3.0 * rule.at,
                Family::Multiple | Family::LastWeek | Family::Reactive => before * (1.0 + 0.1 * rule.at),
            };
            Call { need: demand.ceil() as u32, keep: demand.ceil() as u32 }
        }
    };
    let demand = |step: usize| if step % 7 == 3 { 40.0 } else { 1.0 };
    let mut rule = chosen(&control, None);
    for step in 1..1_000 {
        decide(&mut control, 1, seen(demand(step - 1)));
        control.observe(demand(step), 1.0, u32::MAX, Mended::NEVER, 1_000.0);
        rule = chosen(&control, Some(rule));
    }
    assert_eq!(rule.family, Family::Lasting);
    assert!((38..=42).contains(&seen(1.0)(rule).need), "{rule:?}");
}

/// With demand seen late by the active tier alone, a cheap standby tier takes the misses and the active one runs lean.
#[test]
fn the_price_of_a_standby_decides_how_lean_the_active_tier_is() {
    let needs = |standby: f64| {
        let (mut active, mut total) = (MarginControl::forecasting(), MarginControl::forecasting());
        let mut jitter = crate::retry::Jitter::new(5);
        for _ in 0..3_000 {
            decide(&mut active, 0, |rule| honest(rule, 1.0));
            decide(&mut total, 0, |rule| honest(rule, 1.0));
            let demand = 100.0 * jitter.next();
            active.observe(demand, 1.0, u32::MAX, Mended { after: 0.1, to: 0 }, 2_000.0);
            total.observe(demand, 1.0, u32::MAX, Mended::NEVER, 2_000.0);
        }
        let share = Share { standby, below: 0.0, spent: 0.0 };
        let (a, t) = choose_two((&active, &total), Aim::new(0.01, 0.0), 1.0, share, None);
        (honest(a, 1.0).need, honest(t, 1.0).need)
    };
    let (cheap, dear) = (needs(0.1), needs(0.9));
    assert!(cheap.0 < dear.0 && cheap.1 > dear.1, "{cheap:?} {dear:?}");
    assert!(cheap.0 + 15 < cheap.1, "{cheap:?}");
}

/// The same call for every rule.
fn all_decide(control: &mut MarginControl, lately: usize, need: u32, keep: u32) {
    control.decide(0, lately, |_| [need; LEVELS], |_| [keep; LEVELS]);
}

const ANY: Rule = Rule { family: Family::Quantile, at: 3.0 };

#[test]
fn what_was_there_is_held_on_paper_even_where_it_comes_at_once() {
    let mut control = MarginControl::forecasting();
    all_decide(&mut control, 0, 10, 10);
    all_decide(&mut control, 0, 4, 7);
    assert_eq!(control.available(ANY), 7);
    all_decide(&mut control, 0, 4, 4);
    assert_eq!(control.available(ANY), 4);
}

#[test]
fn a_reading_raises_every_rule_for_the_rest_of_its_step() {
    let mut control = MarginControl::forecasting();
    all_decide(&mut control, 0, 4, 4);
    control.observe(9.0, 1.0, u32::MAX, Mended { after: 0.25, to: 9 }, 2_000.0);
    let book = control.books[3];
    assert_eq!((book.missed, book.cost), (5.0 * 0.25, 4.0 + 5.0 * 0.75));
    all_decide(&mut control, 0, 2, 20);
    assert_eq!(control.available(ANY), 9, "it comes down from there");
    let limit = 5;
    control.observe(9.0, 1.0, limit, Mended { after: 0.25, to: 9 }, 2_000.0);
    all_decide(&mut control, 0, 2, 2);
    control.observe(9.0, 1.0, limit, Mended { after: 0.25, to: 9 }, 2_000.0);
    all_decide(&mut control, 0, 2, 20);
    assert_eq!(control.available(ANY), limit, "no more than there are");
}

#[test]
fn what_was_needed_lately_is_kept_for_one_stretch_and_the_next() {
    let mut control = MarginControl::forecasting();
    all_decide(&mut control, 2, 10, 0);
    let kept = (0..4).map(|_| {
        all_decide(&mut control, 2, 1, 0);
        control.available(ANY)
    });
    assert_eq!(kept.collect::<Vec<_>>(), [10, 10, 10, 1]);
}
