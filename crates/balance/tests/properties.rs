//! Properties of the policies over many weights and loads.

use std::time::Duration;

use balance::{PeakEwma, SmoothRoundRobin, Weights, least, p2c};
use proptest::prelude::*;

/// A small generator of its own (splitmix64), so that a failing case replays from its seed alone.
struct Random(u64);

impl Random {
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Open-loop arrivals at `rate` per second onto targets whose service times vary by half around `latency_s`, and where
/// one request in `hiccup_every` takes twenty times as long. Returns how many requests each target got.
fn simulate(weights: &[u32], latency_s: &[f64], rate: f64, hiccup_every: u64, seed: u64) -> Vec<usize> {
    const DECAY: Duration = Duration::from_secs(5);
    let prepared = Weights::new(weights.iter().copied());
    let relative: Vec<f64> = (0..weights.len()).map(|index| prepared.relative(index)).collect();
    let mut random = Random(seed);
    let mut estimates = vec![PeakEwma::new(); weights.len()];
    let mut running: Vec<Vec<(f64, f64)>> = vec![Vec::new(); weights.len()];
    let mut shares = vec![0; weights.len()];
    let (mut now, mut baseline) = (0.0, 0.0);
    for _ in 0..REQUESTS {
        now += -(1.0 - random.unit()).ln() / rate;
        for (target, ends) in running.iter_mut().enumerate() {
            ends.retain(|&(end, took)| {
                if end <= now {
                    let (end, took) = (Duration::from_secs_f64(end), Duration::from_secs_f64(took));
                    estimates[target].observe(end, took, baseline, DECAY);
                }
                end > now
            });
        }
        let at = Duration::from_secs_f64(now);
        let known: Vec<f64> =
            estimates.iter().filter(|e| !e.is_fresh()).map(|e| e.estimate(at, baseline, DECAY)).collect();
        baseline = if known.is_empty() { 0.0 } else { known.iter().sum::<f64>() / known.len() as f64 };
        let chosen = p2c::pick(
            &prepared,
            || random.draw(),
            |index| {
                let latency = estimates[index].estimate(at, baseline, DECAY);
                Some(p2c::cost(latency, baseline, running[index].len() as u32, relative[index]))
            },
        );
        let chosen = chosen.expect("a target");
        shares[chosen] += 1;
        let hiccup = if random.draw().is_multiple_of(hiccup_every) { 20.0 } else { 1.0 };
        let took = latency_s[chosen] * (0.75 + 0.5 * random.unit()) * hiccup;
        running[chosen].push((now + took, took));
    }
    shares
}

const REQUESTS: usize = 40_000;
const NO_HICCUP: u64 = u64::MAX;

#[test]
fn shares_follow_weights_from_idle_to_busy_and_hiccups_do_not_matter() {
    let tables = [
        &[1000, 100][..],
        &[1000, 500],
        &[1000, 1000, 100],
        &[1000; 4],
        &[1000, 500, 250],
        &[1000, 1000, 1000, 1000, 1000, 100],
    ];
    for weights in tables {
        let total: u32 = weights.iter().sum();
        for (in_flight, hiccup_every) in
            [(0.05, 200), (0.5, 200), (0.5, NO_HICCUP), (2.0, 200), (10.0, NO_HICCUP), (50.0, 200)]
        {
            let shares = simulate(weights, &vec![0.02; weights.len()], in_flight / 0.02, hiccup_every, 11);
            for (&weight, &share) in weights.iter().zip(&shares) {
                let wanted = f64::from(weight) / f64::from(total) * REQUESTS as f64;
                let ratio = share as f64 / wanted;
                assert!((0.7..1.4).contains(&ratio), "{weights:?} at {in_flight} in flight: {shares:?}");
            }
        }
    }
}

#[test]
fn a_slow_target_gets_less_than_its_share_but_is_still_tried() {
    let shares = simulate(&[1000; 3], &[0.02, 0.02, 0.2], 200.0, NO_HICCUP, 5);
    assert!(shares[2] < shares[0] / 3, "{shares:?}");
    assert!(shares[2] > 100, "{shares:?}");
}

#[test]
fn the_same_seed_gives_the_same_picks() {
    let run = || simulate(&[1000, 700, 100], &[0.02, 0.03, 0.01], 500.0, 100, 3);
    assert_eq!(run(), run());
}

#[test]
fn two_choices_keep_the_fullest_target_near_the_mean() {
    // 20 equal targets, 20 requests each on average, none ever finishing: one random choice would leave the fullest with
    // about 34.
    let weights = Weights::new([1000; 20]);
    let mut random = Random(1);
    let mut in_flight = [0u32; 20];
    for _ in 0..400 {
        let chosen =
            p2c::pick(&weights, || random.draw(), |index| Some(p2c::cost(0.01, 0.01, in_flight[index], 1.0)));
        in_flight[chosen.expect("a target")] += 1;
    }
    assert!(in_flight.iter().all(|&count| (13..=27).contains(&count)), "{in_flight:?}");
}

proptest! {
    #[test]
    fn weight_zero_and_unusable_targets_are_never_picked(
        targets in prop::collection::vec((0u32..4, any::<bool>()), 1..30),
        seed in any::<u64>(),
    ) {
        let weights = Weights::new(targets.iter().map(|&(weight, _)| weight));
        let mut random = Random(seed);
        let picked = p2c::pick(&weights, || random.draw(), |index| targets[index].1.then_some(1.0));
        let mut rotation = SmoothRoundRobin::new(targets.iter().map(|&(weight, _)| weight));
        let turn = rotation.pick(|index| targets[index].1);
        let least = least(&weights, || random.draw(), |index| targets[index].1.then_some(3.0));
        let any_usable = targets.iter().any(|&(weight, usable)| weight > 0 && usable);
        for choice in [picked, turn, least] {
            prop_assert_eq!(choice.is_some(), any_usable);
            if let Some(index) = choice {
                prop_assert!(targets[index].0 > 0 && targets[index].1);
            }
        }
    }

    #[test]
    fn draws_follow_the_weights(weights in prop::collection::vec(0u32..1000, 1..20), seed in any::<u64>()) {
        let prepared = Weights::new(weights.iter().copied());
        prop_assume!(prepared.total() > 0);
        let mut random = Random(seed);
        let mut shares = vec![0u32; weights.len()];
        for _ in 0..4000 {
            shares[prepared.draw(random.draw()).expect("weight")] += 1;
        }
        for (index, &share) in shares.iter().enumerate() {
            let p = f64::from(weights[index]) / prepared.total() as f64;
            let sigma = (4000.0 * p * (1.0 - p)).sqrt();
            prop_assert!((f64::from(share) - 4000.0 * p).abs() <= 6.0 * sigma + 1.0);
        }
    }

    #[test]
    fn a_full_round_gives_each_target_exactly_its_weight(weights in prop::collection::vec(0u32..20, 1..12)) {
        let mut rotation = SmoothRoundRobin::new(weights.iter().copied());
        let mut shares = vec![0u32; weights.len()];
        for _ in 0..weights.iter().sum::<u32>() {
            shares[rotation.pick(|_| true).expect("weight")] += 1;
        }
        prop_assert_eq!(shares, weights);
    }

    #[test]
    fn estimates_stay_finite_and_above_zero(
        steps in prop::collection::vec((0u64..100_000, 0u64..100_000), 0..50), baseline in any::<f64>(), decay_ms in 0u64..100_000,
    ) {
        let decay = Duration::from_millis(decay_ms);
        let mut ewma = PeakEwma::new();
        for (at, latency) in steps {
            ewma.observe(Duration::from_millis(at), Duration::from_millis(latency), baseline, decay);
            let estimate = ewma.estimate(Duration::from_millis(at + 50), baseline, decay);
            prop_assert!(estimate > 0.0 && (estimate.is_finite()), "{estimate}");
        }
    }
}
