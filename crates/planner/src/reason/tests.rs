//! Reasons as people read them.

use super::*;

#[test]
fn a_forecast_need_reads_as_a_plain_sentence() {
    let reason = Reason::ForecastNeeds {
        tier: Tier::Active,
        demand: 412.3,
        window: Duration::from_secs(16),
        quantile: 0.992,
        instances: 5,
        capacity: 90.0,
    };
    assert_eq!(
        reason.to_string(),
        "Demand may reach 412 in the next 16 s (99.2 % quantile), which needs 5 active instances of 90."
    );
}

#[test]
fn numbers_and_times_are_written_for_people() {
    assert_eq!(Amount(0.12345).to_string(), "0.123");
    assert_eq!(Amount(12.0).to_string(), "12");
    assert_eq!(Percent(0.9999).to_string(), "99.99 %");
    assert_eq!(Percent(0.2).to_string(), "20 %");
    assert_eq!(Percent(0.001).to_string(), "0.1 %");
    assert_eq!(Span(Duration::from_millis(50)).to_string(), "50 ms");
    assert_eq!(Span(Duration::from_secs(300)).to_string(), "5 min");
    assert_eq!(Span(Duration::from_secs(9_000)).to_string(), "2.5 h");
}

#[test]
fn one_is_not_written_as_many() {
    let reason = |instances| Reason::HeldActive { instances, hold: Duration::from_secs(30) };
    assert_eq!(reason(1).to_string(), "1 active instance is not demoted: needed again within 30 s.");
    assert_eq!(reason(2).to_string(), "2 active instances are not demoted: needed again within 30 s.");
}
