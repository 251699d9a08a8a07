//! Whether forecasts may be relied upon, by how far they look ahead.

use std::time::Duration;

use forecast::{Forecaster, Naive, Trust, UntrustedReason};

use crate::support::{forecaster, service};

const STEP: Duration = Duration::from_secs(300);

#[test]
fn a_day_ahead_is_trusted_by_what_came_of_a_day_ahead() {
    let (mut forecaster, at) = forecaster(STEP);
    let values = service(16, 288, 5);
    let day = |forecaster: &Forecaster| forecaster.trust_ahead().at(288);
    for (i, &value) in values.iter().enumerate() {
        forecaster.observe(at(i), Some(value)).unwrap();
        if i == 300 {
            assert!(forecaster.trust().is_trusted());
            let reason = day(&forecaster).reason();
            assert!(matches!(reason, Some(UntrustedReason::TooFewOutcomes { .. })), "{reason:?}");
        }
    }
    let Trust::Trusted { skill, naive, .. } = day(&forecaster) else { panic!("{}", day(&forecaster)) };
    assert!(naive == Naive::LastSeason && skill > 0.1, "{skill} {naive}");
}

#[test]
fn what_is_followed_step_by_step_and_unknown_a_day_ahead_is_trusted_for_the_next_steps_only() {
    let (mut forecaster, at) = forecaster(STEP);
    let mut random = fastrand::Rng::with_seed(2);
    // A clear day, and then one in which every day begins at another hour.
    let (mut shift, mut doubted, mut near_trusted) = (0, 0, 0);
    for i in 0..24 * 288 {
        if i % 288 == 0 && i > 14 * 288 {
            shift = random.usize(0..288);
        }
        let hour = ((i + shift) % 288) as f64 / 288.0;
        let value = 500.0 + 400.0 * (hour * std::f64::consts::TAU).sin() + 10.0 * random.f64();
        forecaster.observe(at(i), Some(value)).unwrap();
        let (near, far) = (forecaster.trust(), forecaster.trust_ahead().at(288));
        if i > 5 * 288 && i <= 14 * 288 {
            assert!(far.is_trusted(), "{i}: {far}");
        }
        if i > 14 * 288 {
            near_trusted += usize::from(near.is_trusted());
            doubted += usize::from(!far.is_trusted());
        }
    }
    assert!(near_trusted > 8 * 288 && doubted > 288, "{near_trusted} and {doubted} of 10 days");
    let rows: Vec<(usize, Trust)> = forecaster.trust_ahead().within(288).collect();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 17, 109]);
    assert_eq!(forecaster.trust_ahead().within(16).count(), 1);
}
