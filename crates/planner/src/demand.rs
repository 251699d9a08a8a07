//! What demand is right now, between two steps.
//!
//! Readings of one tick are noisy: at twenty requests a second a one-second count is off by a fifth. Following each would
//! promote and demote for nothing, averaging for long would sleep through a jump. So readings are averaged slowly, and a
//! reading far outside the usual scatter (or two in a row somewhat outside) restarts the average at the new level.

use std::time::Duration;

use forecast::Timestamp;

/// Level, scatter and slope of the readings between steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct LoadLevel {
    at: Option<Timestamp>,
    level: f64,
    level_before: f64,
    variance: f64,
    readings: u32,
    interval_seconds: f64,
    strange: i32,
    slope_per_second: f64,
}

impl LoadLevel {
    /// Takes in one reading. `now` is monotone.
    pub(crate) fn observe(&mut self, now: Timestamp, reading: f64) {
        let Some(at) = self.at else {
            *self =
                LoadLevel { at: Some(now), level: reading, level_before: reading, ..LoadLevel::default() };
            self.readings = 1;
            return;
        };
        let elapsed = now.since(at).as_secs_f64().max(ELAPSED_MIN);
        self.at = Some(now);
        self.interval_seconds += (elapsed - self.interval_seconds) / f64::from(self.readings.min(INTERVALS));
        let error = reading - self.level;
        let scatter = self.variance.sqrt().max(SCATTER_MIN * self.level.abs()).max(f64::MIN_POSITIVE);
        let outside = error.abs() / scatter;
        let direction = if error > 0.0 { 1 } else { -1 };
        self.strange = match outside {
            o if o > OUTSIDE_ONCE => 2 * direction,
            o if o > OUTSIDE_TWICE && self.strange * direction > 0 => 2 * direction,
            o if o > OUTSIDE_TWICE => direction,
            _ => 0,
        };
        self.level_before = self.level;
        let warm = self.readings >= READINGS_MIN;
        if warm && self.strange.abs() >= 2 {
            self.level = reading;
            self.slope_per_second = 0.0;
            self.strange = 0;
        } else {
            let gain = (1.0 - (1.0 - GAIN).powf(elapsed)).max(1.0 / f64::from(self.readings + 1));
            self.level += gain * error;
            let slope = (self.level - self.level_before) / elapsed;
            self.slope_per_second += SLOPE_GAIN * (slope - self.slope_per_second);
            self.variance += VARIANCE_GAIN * (error * error - self.variance);
        }
        self.readings = self.readings.saturating_add(1);
    }

    /// The level, if the last reading is not older than `age_max`.
    pub(crate) fn level(&self, now: Timestamp, age_max: Duration) -> Option<f64> {
        self.at.filter(|at| now.since(*at) <= age_max).map(|_| self.level.max(0.0))
    }

    /// Usual time between two readings.
    pub(crate) fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.interval_seconds)
    }

    /// By how much the level is expected to rise within `ahead`; never below zero.
    pub(crate) fn rise(&self, ahead: Duration) -> f64 {
        let rise = self.slope_per_second * ahead.as_secs_f64();
        rise.clamp(0.0, self.level.max(0.0))
    }
}

const GAIN: f64 = 0.3;
/// The usual interval is a mean of about so many.
const INTERVALS: u32 = 8;
const SLOPE_GAIN: f64 = 0.3;
const VARIANCE_GAIN: f64 = 0.1;
/// Scatter is never taken for smaller than this share of the level.
const SCATTER_MIN: f64 = 0.02;
/// One reading this many scatters off restarts the average.
const OUTSIDE_ONCE: f64 = 5.0;
/// So do two in a row this many scatters off to the same side.
const OUTSIDE_TWICE: f64 = 2.5;
const READINGS_MIN: u32 = 4;
const ELAPSED_MIN: f64 = 0.001;

#[cfg(test)]
mod tests {
    use super::*;

    fn level_after(readings: &[f64]) -> f64 {
        let mut load = LoadLevel::default();
        for (i, reading) in readings.iter().enumerate() {
            load.observe(Timestamp::from_millis(i as i64 * 1000), *reading);
        }
        load.level(Timestamp::from_millis(readings.len() as i64 * 1000), Duration::from_secs(3)).unwrap()
    }

    #[test]
    fn noise_is_averaged() {
        let noisy: Vec<f64> = (0..50).map(|i| 100.0 + [12.0, -9.0, 5.0, -11.0, 8.0, -4.0][i % 6]).collect();
        assert!((level_after(&noisy) - 100.0).abs() < 6.0);
    }

    #[test]
    fn a_jump_is_followed_at_once() {
        let mut readings = vec![100.0, 104.0, 97.0, 101.0, 99.0, 103.0, 98.0, 100.0];
        readings.push(400.0);
        assert_eq!(level_after(&readings), 400.0);
    }

    #[test]
    fn old_readings_do_not_count() {
        let mut load = LoadLevel::default();
        load.observe(Timestamp::from_millis(0), 5.0);
        assert_eq!(load.level(Timestamp::from_millis(10_000), Duration::from_secs(3)), None);
    }

    #[test]
    fn a_rising_level_has_a_slope_and_a_falling_one_has_no_rise() {
        let mut up = LoadLevel::default();
        let mut down = LoadLevel::default();
        for i in 0..40 {
            up.observe(Timestamp::from_millis(i * 1000), 100.0 + i as f64);
            down.observe(Timestamp::from_millis(i * 1000), 100.0 - i as f64);
        }
        assert!((up.rise(Duration::from_secs(10)) - 10.0).abs() < 3.0);
        assert_eq!(down.rise(Duration::from_secs(10)), 0.0);
    }
}
