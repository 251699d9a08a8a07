//! Slow start: a target that is new, or back from trouble, gets its weight step by step.

use std::time::Duration;

/// The part of its weight that a target has `since` it came, when all of it is due after `over`: linear, but never below
/// a twentieth, so that it is measured from the first moment on.
pub fn ramp(since: Duration, over: Duration) -> f64 {
    if since >= over { 1.0 } else { (since.as_secs_f64() / over.as_secs_f64()).max(RAMP_MIN) }
}

/// The least part of a weight.
const RAMP_MIN: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_grows_linearly_to_all_of_it() {
        let over = Duration::from_secs(10);
        let parts = [0, 1, 5, 10, 99].map(|since| ramp(Duration::from_secs(since), over));
        assert_eq!(parts, [RAMP_MIN, 0.1, 0.5, 1.0, 1.0]);
        assert_eq!(ramp(Duration::ZERO, Duration::ZERO), 1.0);
    }
}
