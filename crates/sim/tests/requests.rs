//! Single requests: waiting as queueing theory says, failures where they must be, and the same result for the same seed.

use std::time::Duration;

use forecast::Timestamp;
use sim::Demand;
use sim::replay::{Options, PolicyKind};
use sim::requests::{Outcome, ServiceTime, Settings, run};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000_000 + seconds)
}

fn demand(rates: impl IntoIterator<Item = f64>, step: Duration) -> Demand {
    let points: Vec<_> =
        rates.into_iter().enumerate().map(|(n, rate)| (at(0) + step * n as u32, Some(rate))).collect();
    Demand::from_points(&points, step).expect("a good series")
}

/// Instances that serve `capacity` requests per second within the bound, and nothing is ever refused.
fn settings(capacity: f64, service: ServiceTime, slots: u32) -> Settings {
    Settings {
        world: Options::new(capacity, 40 * SECOND, Duration::from_millis(50)),
        service,
        slots,
        in_flight_max: u32::MAX,
        timeout: HOUR,
        bound: SECOND,
        from: at(0),
        step: 10 * SECOND,
        reading: Duration::from_millis(250),
        silent: None,
        arrivals: None,
    }
}

/// Mean time in the system, of one instance that is always there.
fn mean_s(rate: f64, service: ServiceTime, slots: u32) -> f64 {
    let demand = demand(vec![rate; 400], 10 * SECOND);
    let outcome = run(&demand, PolicyKind::StaticPeak, &settings(rate, service, slots)).expect("a run");
    assert_eq!(outcome.tally.failed, 0);
    outcome.tally.latency.mean().as_secs_f64()
}

/// Erlang's C: the probability of waiting with `c` servers and offered load `a`.
fn erlang_c(c: u32, a: f64) -> f64 {
    let (mut term, mut sum) = (1.0, 0.0);
    for k in 0..c {
        sum += term;
        term *= a / f64::from(k + 1);
    }
    let waiting = term / (1.0 - a / f64::from(c));
    waiting / (sum + waiting)
}

#[test]
fn many_servers_wait_as_erlang_said() {
    let mean = Duration::from_millis(50);
    for (slots, utilisation) in [(1, 0.6), (4, 0.8), (16, 0.9)] {
        let rate = utilisation * f64::from(slots) / mean.as_secs_f64();
        let a = rate * mean.as_secs_f64();
        let wait = erlang_c(slots, a) * mean.as_secs_f64() / (f64::from(slots) - a);
        let found = mean_s(rate, ServiceTime::Exponential(mean), slots) - mean.as_secs_f64();
        assert!((found / wait - 1.0).abs() < 0.06, "{slots} at {utilisation}: {found} for {wait}");
    }
}

#[test]
fn one_server_waits_as_pollaczek_and_khinchine_said() {
    let mean = Duration::from_millis(5);
    for (service, variation) in [
        (ServiceTime::Constant(mean), 0.0f64),
        (ServiceTime::LogNormal { mean, variation: 0.8 }, 0.8),
        (ServiceTime::LogNormal { mean, variation: 1.5 }, 1.5),
    ] {
        let rate = 140.0;
        let load = rate * mean.as_secs_f64();
        let wait = load / (1.0 - load) * (1.0 + variation.powi(2)) / 2.0 * mean.as_secs_f64();
        let found = mean_s(rate, service, 1) - mean.as_secs_f64();
        assert!((found / wait - 1.0).abs() < 0.06, "{variation}: {found} for {wait}");
    }
}

#[test]
fn the_router_wastes_little_against_one_common_line() {
    // Ten instances of four slots, chosen by two choices, against forty slots with one line; random choice is far worse.
    let mean = Duration::from_millis(50);
    let rate = 0.8 * 40.0 / mean.as_secs_f64();
    let demand = demand(vec![rate; 100], 10 * SECOND);
    let mut settings = settings(rate / 10.0, ServiceTime::Exponential(mean), 4);
    settings.world.initial = Some(10);
    let outcome = run(&demand, PolicyKind::StaticPeak, &settings).expect("a run");
    let wait = outcome.tally.latency.mean().as_secs_f64() - mean.as_secs_f64();
    let common = erlang_c(40, 32.0) * mean.as_secs_f64() / 8.0;
    let alone = erlang_c(4, 3.2) * mean.as_secs_f64() / 0.8;
    assert!(common < wait && wait < 0.5 * alone, "{common} {wait} {alone}");
}

#[test]
fn an_overloaded_instance_serves_what_it_can_only_if_its_line_is_short() {
    // Twice of what one instance can do. A line that is longer than the time-out is a known trap: by the time a request is
    // served, its client is about to give up, and the work is in vain.
    let demand = demand(vec![160.0; 60], 10 * SECOND);
    let mut settings = settings(80.0, ServiceTime::Constant(Duration::from_millis(50)), 4);
    settings.world.replicas_max = 1;
    (settings.timeout, settings.in_flight_max) = (2 * SECOND, 1_000);
    let long = run(&demand, PolicyKind::StaticPeak, &settings).expect("a run").tally;
    assert!(long.failed_share() > 0.9, "{}", long.failed_share());
    settings.in_flight_max = 120;
    let short = run(&demand, PolicyKind::StaticPeak, &settings).expect("a run").tally;
    assert!((short.failed_share() - 0.5).abs() < 0.02, "{}", short.failed_share());
    let longest = short.quantile(1.0).expect("some").as_secs_f64();
    assert!((1.45..1.55).contains(&longest), "{longest}");
}

#[test]
fn given_arrivals_are_served_when_they_come() {
    let demand = demand(vec![1.0; 3], 10 * SECOND);
    let mut settings = settings(10.0, ServiceTime::Constant(Duration::from_millis(100)), 1);
    settings.arrivals = Some([1.0, 1.05, 25.0].map(Duration::from_secs_f64).to_vec());
    let outcome = run(&demand, PolicyKind::StaticPeak, &settings).expect("a run");
    let counts: Vec<u64> = outcome.rows.iter().map(|row| row.tally.requests).collect();
    assert_eq!(counts, [2, 0, 1]);
    let mean = outcome.tally.latency.mean().as_secs_f64();
    assert!((mean - (0.1 + 0.15 + 0.1) / 3.0).abs() < 1e-6, "{mean}");
}

/// A ramp, so that every policy has something to do.
fn ramp(kind: PolicyKind, seed: u64) -> Outcome {
    let rates = (0..360).map(|n| 100.0 + 400.0 * (f64::from(n) / 57.3).sin().max(0.0));
    let demand = demand(rates, 5 * SECOND);
    let mut settings =
        settings(50.0, ServiceTime::LogNormal { mean: Duration::from_millis(50), variation: 0.5 }, 4);
    settings.world.initial = Some(3);
    settings.world.seed = seed;
    settings.timeout = 10 * SECOND;
    settings.in_flight_max = 400;
    run(&demand, kind, &settings).expect("a run")
}

#[test]
fn every_policy_runs_and_a_run_can_be_repeated() {
    let arrived = ramp(PolicyKind::Foreshadow, 1).tally.requests;
    for kind in PolicyKind::ALL {
        let once = ramp(kind, 1);
        assert_eq!(once, ramp(kind, 1), "{kind}");
        assert_eq!(once.tally.requests, arrived, "{kind}");
        assert!(once.tally.bad_share() < 0.3, "{kind}: {}", once.tally.bad_share());
        let totals = once.score.totals;
        let seconds = |pick: fn(&sim::requests::Row) -> f64| once.rows.iter().map(pick).sum::<f64>() * 5.0;
        let all = totals.active_seconds + totals.standby_seconds + totals.starting_seconds;
        let rows = seconds(|row| row.active) + seconds(|row| row.standby) + seconds(|row| row.moving);
        assert!((all - rows).abs() < 1e-6 * all, "{kind}: {all} {rows}");
    }
    assert_ne!(ramp(PolicyKind::Hpa, 1).tally, ramp(PolicyKind::Hpa, 2).tally);
}

#[test]
fn settings_out_of_range_are_named() {
    let demand = demand(vec![1.0; 3], 10 * SECOND);
    let good = || settings(10.0, ServiceTime::Constant(Duration::from_millis(100)), 1);
    for (name, bad) in [
        ("slots", Settings { slots: 0, ..good() }),
        ("step", Settings { step: 7 * SECOND, ..good() }),
        ("reading", Settings { reading: 3 * SECOND, ..good() }),
        ("from", Settings { from: at(3), ..good() }),
        ("timeout", Settings { timeout: Duration::ZERO, ..good() }),
    ] {
        let error = run(&demand, PolicyKind::Hpa, &bad).expect_err(name);
        assert!(matches!(error, sim::ReplayError::Option { option, .. } if option == name), "{error}");
    }
}
