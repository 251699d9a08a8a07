//! Counts time in steps, and knows where a step stands on the wall clock.
//!
//! Step `u` begins at `origin + u * step`. Seasons of whole days are looked up by *local* step number, so that after a
//! change to summer time "the same hour yesterday" is still the same hour.

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::online::config::zone_name;
use crate::timestamp::Timestamp;

/// The grid of steps of one series.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Clock {
    origin_ms: i64,
    step_ms: i64,
    /// Steps from the epoch to the origin.
    origin_steps: i64,
    /// Between these two steps the wall clock is not changed.
    steady: (u64, u64),
    #[serde(with = "zone_name")]
    zone: Option<TimeZone>,
    /// From which step on the wall clock is how many steps ahead of UTC; oldest first, never empty.
    shifts: Vec<(u64, i64)>,
    /// Shifts are known before this step.
    known_until: u64,
}

impl Clock {
    pub(crate) fn new(origin: Timestamp, step: Duration, zone: Option<TimeZone>) -> Clock {
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let mut clock = Clock {
            origin_ms: origin.as_millis(),
            step_ms,
            origin_steps: origin.as_millis().div_euclid(step_ms),
            steady: if zone.is_some() { (0, 0) } else { (0, u64::MAX) },
            zone,
            shifts: Vec::new(),
            known_until: 0,
        };
        let first = clock.shift_at(0);
        clock.shifts.push((0, first));
        clock
    }

    /// The step that a moment belongs to: the nearest beginning, so that jitter of the sender does not matter. `None`
    /// before the first step.
    pub(crate) fn step_of(&self, at: Timestamp) -> Option<u64> {
        let since = i128::from(at.as_millis()) - i128::from(self.origin_ms) + i128::from(self.step_ms / 2);
        u64::try_from(since.div_euclid(i128::from(self.step_ms))).ok()
    }

    /// When a step begins.
    pub(crate) fn begins_at(&self, step: u64) -> Timestamp {
        let millis = i128::from(self.origin_ms) + i128::from(step) * i128::from(self.step_ms);
        Timestamp::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }

    /// Steps in `span`, when that is a whole number.
    pub(crate) fn steps_in(&self, span: Duration) -> Option<usize> {
        let span_ms = i64::try_from(span.as_millis()).ok()?;
        (span_ms % self.step_ms == 0).then(|| usize::try_from(span_ms / self.step_ms).ok()).flatten()
    }

    /// Whether a period is a whole number of days, so that it follows the wall clock.
    #[inline]
    pub(crate) fn is_civil(&self, period: usize) -> bool {
        self.steps_in(DAY).is_some_and(|day| day > 0 && period.is_multiple_of(day))
    }

    /// Number of a step on the wall clock (or on UTC without a zone). Its remainder by a period is the place in season.
    #[inline]
    pub(crate) fn local(&self, step: u64) -> i64 {
        let steps = i64::try_from(step).unwrap_or(i64::MAX);
        self.origin_steps.saturating_add(steps).saturating_add(self.shift(step))
    }

    /// Steps that the wall clock is ahead of UTC at a step.
    #[inline]
    pub(crate) fn shift(&self, step: u64) -> i64 {
        let mut shift = self.shifts[0].1;
        for &(from, later) in &self.shifts[1..] {
            if step < from {
                break;
            }
            shift = later;
        }
        shift
    }

    /// The shifts known so far, each with the step that it begins with; oldest first.
    pub(crate) fn shifts(&self) -> &[(u64, i64)] {
        &self.shifts
    }

    /// When the origin would be for a clock in UTC to show at a step what the wall clock shows.
    pub(crate) fn origin_on_wall(&self, step: u64) -> Timestamp {
        let at = jiff::Timestamp::from_millisecond(self.begins_at(step).as_millis()).unwrap_or_default();
        let offset = self.zone.as_ref().map_or(0, |zone| zone.to_offset(at).seconds());
        Timestamp::from_millis(self.origin_ms.saturating_add(i64::from(offset) * 1000))
    }

    /// How much further ahead of UTC the wall clock is at `later` than at `earlier`, in steps.
    #[inline]
    pub(crate) fn change(&self, earlier: u64, later: u64) -> i64 {
        if self.is_steady(earlier, later) { 0 } else { self.shift(later) - self.shift(earlier) }
    }

    /// Whether the wall clock is not changed between two steps.
    #[inline]
    pub(crate) fn is_steady(&self, earlier: u64, later: u64) -> bool {
        earlier >= self.steady.0 && later < self.steady.1
    }

    /// Says that it is step `now`: nothing but the speed of [`change`](Self::change) around it depends on that.
    pub(crate) fn arrive(&mut self, now: u64) {
        if now < self.steady.0 || now >= self.steady.1 {
            let from = self.shifts.iter().map(|shift| shift.0).take_while(|&from| from <= now).last();
            let until = self.shifts.iter().map(|shift| shift.0).find(|&from| from > now);
            self.steady = (
                if from == Some(self.shifts[0].0) { 0 } else { from.unwrap_or(0) },
                until.unwrap_or(u64::MAX),
            );
        }
    }

    /// Learns the clock changes up to `until`. Costs nothing most of the time; at most a few look-ups per known year.
    pub(crate) fn look_ahead(&mut self, until: u64) {
        if self.zone.is_none() || until < self.known_until {
            return;
        }
        let target = until.saturating_add(LOOK_AHEAD_STEPS);
        let mut from = self.known_until;
        for _ in 0..SHIFTS_MAX {
            let Some((step, shift)) = self.next_change(from) else { break };
            if step >= target {
                break;
            }
            if self.shifts.last().is_none_or(|last| last.1 != shift) {
                self.shifts.push((step, shift));
                self.steady = (0, 0);
            }
            from = step + 1;
        }
        if self.shifts.len() > SHIFTS_MAX {
            self.shifts.drain(..self.shifts.len() - SHIFTS_MAX);
        }
        self.known_until = target;
    }

    fn next_change(&self, after: u64) -> Option<(u64, i64)> {
        let zone = self.zone.as_ref()?;
        let at = jiff::Timestamp::from_millisecond(self.begins_at(after).as_millis()).ok()?;
        let change = zone.following(at).next()?.timestamp();
        let since = i128::from(change.as_millisecond()) - i128::from(self.origin_ms);
        let step = u64::try_from((since + i128::from(self.step_ms) - 1).div_euclid(i128::from(self.step_ms)))
            .ok()?;
        Some((step, self.shift_at(step)))
    }

    fn shift_at(&self, step: u64) -> i64 {
        let Some(zone) = &self.zone else { return 0 };
        let Ok(at) = jiff::Timestamp::from_millisecond(self.begins_at(step).as_millis()) else { return 0 };
        let offset_ms = i64::from(zone.to_offset(at).seconds()) * 1000;
        (offset_ms + self.step_ms / 2).div_euclid(self.step_ms)
    }
}

/// One day.
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
/// One week.
pub(crate) const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
/// Clock changes kept; at two a year more than the longest history spans.
const SHIFTS_MAX: usize = 16;
/// How far changes are looked up at a time.
const LOOK_AHEAD_STEPS: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jittery_sender_hits_the_nearest_step() {
        let clock = Clock::new(Timestamp::from_secs(22), Duration::from_secs(300), None);
        assert_eq!(clock.step_of(Timestamp::from_secs(303)), Some(1));
        assert_eq!(clock.step_of(Timestamp::from_secs(0)), Some(0));
        assert_eq!(clock.step_of(Timestamp::from_secs(-300)), None);
        assert_eq!(clock.begins_at(2), Timestamp::from_secs(622));
    }

    #[test]
    fn the_wall_clock_jumps_an_hour_at_summer_time_and_back() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let origin = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
        let mut clock = Clock::new(origin, Duration::from_secs(300), Some(zone));
        let year = 365 * 288;
        for until in (0..year).step_by(5000) {
            clock.look_ahead(until);
        }
        let step = |text: &str| clock.step_of(Timestamp::parse(text).unwrap()).unwrap();
        assert_eq!(clock.shift(step("2026-03-29T00:55:00Z")), 12);
        assert_eq!(clock.shift(step("2026-03-29T01:00:00Z")), 24);
        assert_eq!(clock.shift(step("2026-10-25T00:55:00Z")), 24);
        assert_eq!(clock.shift(step("2026-10-25T01:00:00Z")), 12);
        // Noon in Berlin is at the same place of the day in both seasons.
        let noon = |text: &str| clock.local(step(text)).rem_euclid(288);
        assert_eq!(noon("2026-03-20T11:00:00Z"), noon("2026-06-20T10:00:00Z"));
    }

    #[test]
    fn only_whole_days_follow_the_wall_clock() {
        let clock = Clock::new(Timestamp::EPOCH, Duration::from_secs(300), None);
        assert!(clock.is_civil(288) && clock.is_civil(2016));
        assert!(!clock.is_civil(12) && !clock.is_civil(100));
        assert_eq!(clock.steps_in(WEEK), Some(2016));
    }
}
