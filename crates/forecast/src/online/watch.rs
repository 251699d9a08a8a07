//! Watches a series for two things that ordinary learning handles badly: a lasting change of level, and an outage.

use serde::{Deserialize, Serialize};

/// Two-sided CUSUM (Page 1954) on standardised errors of the seasonal forecast.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct ShiftWatch {
    up: f64,
    down: f64,
    rest: u32,
}

impl ShiftWatch {
    /// Takes one standardised error; true when the level has changed for good.
    pub(crate) fn observe(&mut self, error: f64) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        let error = if error.is_finite() { error.clamp(-ERROR_MAX, ERROR_MAX) } else { 0.0 };
        self.up = (self.up + error - SLACK).max(0.0);
        self.down = (self.down - error - SLACK).max(0.0);
        if self.up.max(self.down) < ALARM {
            return false;
        }
        *self = ShiftWatch { up: 0.0, down: 0.0, rest: REST };
        true
    }
}

/// Recognises a busy series that has fallen silent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct OutageWatch {
    silent: u64,
    accepted: bool,
    /// What was expected when the silence began.
    normal: f64,
}

impl OutageWatch {
    /// Whether a value must be shown to [`observe`](Self::observe): it may be silence, or the end of it. `usual` is the
    /// mean size of values.
    pub(crate) fn is_alert(&self, value: f64, usual: f64) -> bool {
        self.silent > 0 || value.abs() <= ALERT_SHARE * usual
    }

    /// Takes one value with what was expected and the least that was at all likely. `patience`: after how many silent
    /// steps silence is the new normal.
    pub(crate) fn observe(&mut self, value: f64, expected: f64, least: f64, patience: u64) -> Silence {
        let expected = if self.silent > 0 { self.normal } else { expected };
        if value.abs() > SILENT_SHARE * expected {
            *self = OutageWatch::default();
            return Silence::None;
        }
        if self.accepted || (self.silent == 0 && !(expected > 0.0 && least > BUSY_SHARE * expected)) {
            return Silence::None;
        }
        self.silent += 1;
        self.normal = expected;
        if self.silent > patience {
            self.accepted = true;
            return Silence::Accepted;
        }
        match self.silent {
            1 => Silence::Begins,
            n if n < OUTAGE_STEPS => Silence::Doubtful,
            OUTAGE_STEPS => Silence::Recognised,
            _ => Silence::Goes,
        }
    }

    /// For how many steps an outage has been suspected; zero when it is not.
    pub(crate) fn suspected(&self) -> u64 {
        if self.accepted || self.silent < OUTAGE_STEPS { 0 } else { self.silent }
    }
}

/// What a value means for a suspected outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Silence {
    /// Nothing of the kind.
    None,
    /// The first silent step of a busy series.
    Begins,
    /// Silent, but not for long.
    Doubtful,
    /// Silent for long enough to suspect an outage from here on.
    Recognised,
    /// The suspected outage goes on.
    Goes,
    /// So long that it must be taken for the truth.
    Accepted,
}

/// Errors count as at most this many typical ones.
const ERROR_MAX: f64 = 4.0;
/// Errors up to this size are ordinary.
const SLACK: f64 = 2.0;
/// Twenty steps of the largest error, or more of smaller ones: fewer were measured to take weather for climate.
const ALARM: f64 = 40.0;
/// Steps without another alarm.
const REST: u32 = 24;
/// Silent is below this share of what was expected.
const SILENT_SHARE: f64 = 0.02;
/// What may be silence at all: below this share of the mean. An hour busier than eight times the mean is not looked at.
const ALERT_SHARE: f64 = 8.0 * SILENT_SHARE;
/// Busy is a series whose low values are still above this share of the expected.
const BUSY_SHARE: f64 = 0.2;
/// Silent steps that make an outage.
const OUTAGE_STEPS: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lasting_change_alarms_and_ordinary_errors_do_not() {
        let mut watch = ShiftWatch::default();
        assert!((0..10_000).all(|i| !watch.observe(2.5 * (f64::from(i) * 1.7).sin())));
        let alarm = (0..50).position(|_| watch.observe(3.5));
        assert!(alarm.is_some_and(|steps| steps <= 30), "{alarm:?}");
        let mut watch = ShiftWatch::default();
        assert!((0..50).any(|_| watch.observe(-3.5)));
        let mut watch = ShiftWatch::default();
        assert!(!watch.observe(f64::NAN) && !watch.observe(f64::INFINITY));
    }

    #[test]
    fn a_busy_series_that_falls_silent_is_suspected_and_finally_believed() {
        let mut watch = OutageWatch::default();
        assert_eq!(watch.observe(100.0, 100.0, 60.0, 10), Silence::None);
        assert_eq!(watch.observe(0.0, 100.0, 60.0, 10), Silence::Begins);
        assert_eq!(watch.observe(0.0, 30.0, 0.0, 10), Silence::Doubtful);
        assert_eq!(watch.observe(0.0, 10.0, 0.0, 10), Silence::Recognised);
        assert_eq!(watch.suspected(), 3);
        for _ in 0..7 {
            assert_eq!(watch.observe(0.0, 100.0, 60.0, 10), Silence::Goes);
        }
        assert_eq!(watch.observe(0.0, 100.0, 60.0, 10), Silence::Accepted);
        assert_eq!(watch.suspected(), 0);
        assert_eq!(watch.observe(0.0, 100.0, 60.0, 10), Silence::None);
    }

    #[test]
    fn a_series_that_is_often_idle_is_never_suspected() {
        let mut watch = OutageWatch::default();
        for _ in 0..100 {
            assert_eq!(watch.observe(0.0, 5.0, 0.0, 10), Silence::None);
            assert_eq!(watch.observe(0.0, 0.0, 0.0, 10), Silence::None);
        }
    }
}
