//! The even grid of steps that a series lives on, and where a step stands on the calendar of its place.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::Timestamp;

/// Step `u` begins at `origin + u * step`.
#[derive(Clone, Debug, PartialEq)]
pub struct Grid {
    /// When step 0 begins.
    pub origin: Timestamp,
    /// Length of a step.
    pub step: Duration,
    /// Whose wall clock days and weeks are counted on; `None` counts them in UTC.
    pub zone: Option<TimeZone>,
}

/// A step's place on the calendar: the wall clock when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// Days since 1 January 1970.
    pub day: i32,
    /// Minute of the day, 0..1440.
    pub minute: u16,
    /// 0 is Monday.
    pub weekday: u8,
    /// 1 is January.
    pub month: u8,
    /// From 1.
    pub day_of_month: u8,
}

impl Grid {
    /// When a step begins.
    pub fn begins_at(&self, step: u64) -> Timestamp {
        let millis = i128::from(self.origin.as_millis()) + i128::from(step) * i128::from(self.step_ms());
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// The step whose beginning is nearest to a moment; `None` before the first.
    pub fn step_of(&self, at: Timestamp) -> Option<u64> {
        let since = i128::from(at.as_millis()) - i128::from(self.origin.as_millis());
        let step = i128::from(self.step_ms());
        u64::try_from((since + step / 2).div_euclid(step)).ok()
    }

    /// Steps in `span`, when that is a whole number above zero.
    pub fn steps_in(&self, span: Duration) -> Option<usize> {
        let (span, step) = (span.as_millis(), self.step.as_millis().max(1));
        (span >= step && span.is_multiple_of(step)).then(|| usize::try_from(span / step).ok()).flatten()
    }

    /// A step's place on the calendar.
    pub fn local(&self, step: u64) -> Local {
        let zone = self.zone.clone().unwrap_or(TimeZone::UTC);
        let at = jiff::Timestamp::from_millisecond(self.begins_at(step).as_millis()).unwrap_or_default();
        let civil = zone.to_datetime(at);
        let date = civil.date();
        let epoch = jiff::civil::Date::constant(1970, 1, 1);
        let day = epoch.until(date).map_or(0, |span| span.get_days());
        Local {
            day,
            minute: civil.hour() as u16 * 60 + civil.minute() as u16,
            weekday: date.weekday().to_monday_zero_offset() as u8,
            month: date.month() as u8,
            day_of_month: date.day() as u8,
        }
    }

    fn step_ms(&self) -> i64 {
        i64::try_from(self.step.as_millis()).unwrap_or(i64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_placed_on_the_wall_clock_of_its_zone() {
        let zone = TimeZone::get("Europe/Berlin").ok();
        // 26 March 2023, 00:00 UTC: an hour before Berlin turns its clocks forward.
        let grid =
            Grid { origin: Timestamp::from_secs(1_679_788_800), step: Duration::from_secs(3600), zone };
        let before = grid.local(0);
        assert_eq!((before.minute, before.weekday, before.month, before.day_of_month), (60, 6, 3, 26));
        assert_eq!(grid.local(1).minute, 180);
        assert_eq!(grid.local(22).weekday, 0);
        assert_eq!(grid.local(22).day, before.day + 1);
    }

    #[test]
    fn steps_and_moments_agree() {
        let grid = Grid { origin: Timestamp::from_secs(100), step: Duration::from_secs(10), zone: None };
        assert_eq!(grid.step_of(Timestamp::from_secs(124)), Some(2));
        assert_eq!(grid.step_of(Timestamp::from_secs(90)), None);
        assert_eq!(grid.begins_at(3), Timestamp::from_secs(130));
        assert_eq!(grid.steps_in(Duration::from_secs(86_400)), Some(8640));
        assert_eq!(grid.steps_in(Duration::from_secs(5)), None);
    }
}
