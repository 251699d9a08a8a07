//! What each named scenario claims, on several seeds.

use std::time::Duration;

use sim::replay::PolicyKind;
use sim::requests::{Outcome, Tally};
use sim::scenarios::Scenario;

const SEEDS: [u64; 2] = [1, 2];

/// A scenario as foreshadow and as HPA lived through it.
struct Played {
    scenario: Scenario,
    ours: Outcome,
    hpa: Outcome,
}

impl Played {
    fn each(name: &str, claim: impl Fn(&Played)) {
        for seed in SEEDS {
            let scenario = Scenario::named(name, seed).expect("a scenario of this name");
            let run = |kind| scenario.run(kind).expect("a run");
            let (ours, hpa) = (run(PolicyKind::Foreshadow), run(PolicyKind::Hpa));
            claim(&Played { scenario, ours, hpa });
        }
    }

    /// What became of the requests in trouble, ours first.
    fn trouble(&self) -> (Tally, Tally) {
        (self.scenario.in_trouble(&self.ours), self.scenario.in_trouble(&self.hpa))
    }

    fn p99(&self, tally: &Tally) -> Duration {
        tally.quantile(0.99).expect("some were answered")
    }
}

#[test]
fn every_name_is_a_scenario_with_that_name() {
    for name in Scenario::NAMES {
        let scenario = Scenario::named(name, 1).expect(name);
        assert_eq!(scenario.name, name);
        assert!(scenario.trouble.start >= scenario.settings.world.score_from.expect("scored from"), "{name}");
        assert!(scenario.trouble.end <= scenario.demand.slot_start(scenario.demand.len()), "{name}");
    }
    assert!(Scenario::named("peace", 1).is_none());
}

#[test]
fn a_warm_pool_serves_a_spike_that_is_over_before_a_new_instance_is_up() {
    Played::each("spike", |played| {
        let (ours, hpa) = played.trouble();
        assert!(ours.requests > 50_000);
        assert!(ours.failed == 0 && ours.bad_share() < 0.05, "{} {}", ours.failed, ours.bad_share());
        assert!(played.p99(&ours) < played.scenario.settings.bound, "{:?}", played.p99(&ours));
        assert!(hpa.bad_share() > 0.9, "{}", hpa.bad_share());
        // And much cheaper than to keep instances for the spike in service all the time.
        let always = played.scenario.run(PolicyKind::StaticPeak).expect("a run");
        assert!(played.ours.score.cost < 0.5 * always.score.cost);
    });
}

#[test]
fn a_crowd_that_returns_after_an_outage_finds_what_it_left() {
    Played::each("outage", |played| {
        let (ours, hpa) = played.trouble();
        let active_at = |outcome: &Outcome, before: Duration| {
            let at = played.scenario.trouble.start - before;
            outcome.rows.iter().find(|row| row.at == at).expect("a row").active
        };
        let (minutes, row) = (Duration::from_secs(600), Duration::from_secs(10));
        assert!(active_at(&played.ours, row) >= active_at(&played.ours, minutes) - 1.0);
        assert!(active_at(&played.hpa, row) < 0.3 * active_at(&played.hpa, minutes));
        assert!(ours.failed_share() < 0.01, "{}", ours.failed_share());
        assert!(ours.bad_share() < 0.5 * hpa.bad_share(), "{} {}", ours.bad_share(), hpa.bad_share());
    });
}

#[test]
fn a_level_shift_hurts_little_longer_than_a_start_takes() {
    Played::each("level-shift", |played| {
        let (ours, hpa) = played.trouble();
        let hurt = |outcome: &Outcome| {
            let bad = outcome.rows.iter().filter(|row| row.tally.bad_share() > 0.1).count();
            played.scenario.demand.step() * bad as u32
        };
        // Twenty seconds of rise, in which more and more is missing, and forty of starting.
        assert!(hurt(&played.ours) <= Duration::from_secs(65), "{:?}", hurt(&played.ours));
        assert!(hurt(&played.hpa) >= hurt(&played.ours) + Duration::from_secs(10), "{:?}", hurt(&played.hpa));
        assert!(ours.bad_share() < 0.85 * hpa.bad_share(), "{} {}", ours.bad_share(), hpa.bad_share());
    });
}

#[test]
fn an_announced_holiday_is_prepared_for_and_an_unannounced_one_hurts_no_more_than_others() {
    Played::each("holiday-announced", |played| {
        let (ours, hpa) = played.trouble();
        assert!(ours.bad_share() < 0.01, "{}", ours.bad_share());
        assert!(hpa.bad_share() > 0.2, "{}", hpa.bad_share());
        assert!(played.ours.score.cost < played.hpa.score.cost);
    });
    Played::each("holiday-unannounced", |played| {
        let (ours, hpa) = played.trouble();
        assert!(ours.bad_share() < hpa.bad_share(), "{} {}", ours.bad_share(), hpa.bad_share());
    });
}

#[test]
fn a_silent_metric_is_not_taken_for_no_demand_and_the_forecast_goes_on() {
    Played::each("silent-gap", |played| {
        let (ours, hpa) = played.trouble();
        assert!(ours.bad_share() < 0.01, "{}", ours.bad_share());
        assert!(hpa.bad_share() > 0.2, "{}", hpa.bad_share());
    });
}

#[test]
fn instances_that_start_slowly_are_started_in_time() {
    Played::each("slow-start", |played| {
        let (ours, hpa) = played.trouble();
        assert!(ours.bad_share() < 0.001, "{}", ours.bad_share());
        assert!(hpa.bad_share() > 0.05, "{}", hpa.bad_share());
        assert!(played.ours.score.cost < played.hpa.score.cost);
    });
}
