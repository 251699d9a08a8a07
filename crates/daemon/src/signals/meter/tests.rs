//! Tests of the meter.

use proxy::control::CacheStats;

use super::*;

fn meter() -> Meter {
    Meter::new(Duration::from_secs(1), Duration::from_millis(500), Some(Duration::from_millis(100)))
}

fn stats(arrivals: u64, failed: u64) -> WorkloadStats {
    WorkloadStats { workload: "web".into(), arrivals, failed, in_flight: 3, ..WorkloadStats::default() }
}

fn read(meter: &mut Meter, at_ms: i64, stats: &WorkloadStats) -> Observed {
    meter.read(Reading { at: Timestamp::from_millis(at_ms), proxy_started_at: 1, stats, serving: true })
}

#[test]
fn a_steps_demand_is_its_arrivals_per_second() {
    let mut meter = meter();
    for (at, arrivals) in [(10_000, 0), (10_250, 10), (10_500, 20), (10_750, 30)] {
        assert!(read(&mut meter, at, &stats(arrivals, 0)).steps.is_empty());
    }
    let steps = read(&mut meter, 11_000, &stats(40, 4)).steps;
    assert_eq!(steps.len(), 1);
    assert_eq!((steps[0].start, steps[0].demand), (Timestamp::from_millis(10_000), Some(40.0)));
    assert_eq!((steps[0].missed, steps[0].errors), (4.0, 4.0));
}

#[test]
fn arrivals_across_a_boundary_are_shared_by_time() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(0, 0));
    read(&mut meter, 10_900, &stats(90, 0));
    let step = &read(&mut meter, 11_100, &stats(110, 0)).steps[0];
    assert!((step.demand.expect("watched") - 100.0).abs() < 1e-9);
}

#[test]
fn a_step_watched_for_less_than_half_is_missing() {
    let mut meter = meter();
    read(&mut meter, 10_700, &stats(0, 0));
    let steps = read(&mut meter, 11_000, &stats(50, 0)).steps;
    assert_eq!(steps[0].demand, None);
}

#[test]
fn a_step_in_which_nothing_could_be_served_is_missing_unless_something_arrived() {
    let mut meter = meter();
    let mut down = |at, arrivals| {
        let stats = stats(arrivals, 0);
        meter
            .read(Reading {
                at: Timestamp::from_millis(at),
                proxy_started_at: 1,
                stats: &stats,
                serving: false,
            })
            .steps
    };
    down(10_000, 0);
    assert_eq!(down(11_000, 0)[0].demand, None);
    assert_eq!(down(12_000, 5)[0].demand, Some(5.0));
}

#[test]
fn what_fails_after_a_wait_is_missed_with_the_next_demand() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(0, 0));
    let arrived = read(&mut meter, 11_000, &stats(40, 0)).steps;
    assert_eq!((arrived[0].demand, arrived[0].missed), (Some(40.0), 0.0));
    let failed = read(&mut meter, 12_000, &stats(40, 40)).steps;
    assert_eq!((failed[0].demand, failed[0].missed, failed[0].errors), (Some(0.0), 0.0, 40.0));
    let more = read(&mut meter, 13_000, &stats(70, 40)).steps;
    assert_eq!((more[0].demand, more[0].missed), (Some(30.0), 30.0));
    assert_eq!(read(&mut meter, 14_000, &stats(90, 40)).steps[0].missed, 10.0);
    assert_eq!(read(&mut meter, 15_000, &stats(110, 40)).steps[0].missed, 0.0, "told once");
}

#[test]
fn what_fails_late_is_missed_once() {
    let mut meter = meter();
    let mut latency = Histogram::new();
    read(&mut meter, 10_000, &stats(0, 0));
    for second in 1..4 {
        (0..40).for_each(|_| latency.record(Duration::from_secs(2)));
        let stats = WorkloadStats { latency: latency.clone(), ..stats(40 * second, 40 * second) };
        let step = &read(&mut meter, 10_000 + 1000 * second as i64, &stats).steps[0];
        assert_eq!((step.demand, step.missed), (Some(40.0), 40.0));
    }
    let stats = WorkloadStats { latency, ..stats(160, 120) };
    assert_eq!(read(&mut meter, 14_000, &stats).steps[0].missed, 0.0);
}

#[test]
fn another_proxy_begins_a_new_count_instead_of_a_negative_one() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(1000, 0));
    let stats = stats(5, 0);
    let reading =
        Reading { at: Timestamp::from_millis(10_250), proxy_started_at: 2, stats: &stats, serving: true };
    assert_eq!(meter.read(reading).load, None);
}

#[test]
fn steps_without_any_reading_are_reported_as_missing() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(0, 0));
    read(&mut meter, 10_100, &stats(1, 0));
    let steps = meter.advance(Timestamp::from_millis(14_050));
    assert_eq!(steps.iter().map(|step| step.demand).collect::<Vec<_>>(), [None, None, None]);
    assert!(meter.advance(Timestamp::from_millis(14_060)).is_empty());
}

#[test]
fn a_gap_of_years_costs_bounded_work() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(0, 0));
    read(&mut meter, 10_100, &stats(1, 0));
    assert_eq!(meter.advance(Timestamp::from_secs(1_000_000_000)).len(), STEPS_CLOSED_MAX);
    assert!(meter.advance(Timestamp::from_secs(1_000_000_000)).is_empty());
}

#[test]
fn the_rate_covers_the_last_tick_when_enough_arrived_in_it() {
    let mut meter = meter();
    for i in 0..8 {
        read(&mut meter, 10_000 + i * 250, &stats(10 * i as u64, 0));
    }
    let load = read(&mut meter, 12_000, &stats(170, 0)).load.expect("a rate");
    // 60 at 11 500, 170 at 12 000: more than a hundred in a tick.
    assert_eq!(load, Load { rate: 220.0, in_flight: 3 });
}

#[test]
fn the_rate_of_a_trickle_covers_a_step() {
    let mut meter = meter();
    for i in 0..8 {
        read(&mut meter, 10_000 + i * 250, &stats(10 * i as u64, 0));
    }
    assert_eq!(read(&mut meter, 12_000, &stats(90, 0)).load.map(|load| load.rate), Some(50.0));
}

fn cached(arrivals: u64, failed: u64, hits: u64, collapsed: u64) -> WorkloadStats {
    let cache = CacheStats { hits, collapsed, misses: 1, ..CacheStats::default() };
    WorkloadStats { cache, ..stats(arrivals, failed) }
}

#[test]
fn what_the_cache_answers_is_no_demand() {
    let mut meter = meter();
    read(&mut meter, 10_000, &cached(100, 0, 50, 0));
    let observed = read(&mut meter, 11_000, &cached(1_100, 10, 800, 50));
    let step = &observed.steps[0];
    assert_eq!((step.demand, step.missed, step.errors), (Some(200.0), 10.0, 10.0));
    assert_eq!(observed.load.map(|load| load.rate), Some(200.0));
}

#[test]
fn requests_that_wait_for_another_are_never_counted_below_nothing() {
    let mut meter = meter();
    read(&mut meter, 10_000, &cached(0, 0, 0, 0));
    // Forty arrive and wait; then all but one are answered with what that one got, and ten more ask.
    read(&mut meter, 10_500, &cached(40, 0, 0, 0));
    let observed = read(&mut meter, 11_000, &cached(50, 0, 0, 39));
    assert_eq!(observed.steps[0].demand, Some(40.0));
    assert_eq!(read(&mut meter, 12_000, &cached(100, 0, 0, 39)).steps[0].demand, Some(21.0));
}

#[test]
fn late_answers_count_as_missed() {
    let mut meter = meter();
    read(&mut meter, 10_000, &stats(0, 0));
    let mut late = stats(10, 0);
    late.latency.record(Duration::from_millis(500));
    late.latency.record(Duration::from_millis(5));
    assert_eq!(read(&mut meter, 11_000, &late).steps[0].missed, 1.0);
}
