//! The typical course of one season, learned slot by slot.

use crate::online::clock::Clock;

/// Mean value of each slot of a season. A slot is one step, or several where a season has more than [`SLOTS_MAX`] steps.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) period: usize,
    /// Steps per slot.
    width: usize,
    civil: bool,
    means: Vec<f32>,
    counts: Vec<u16>,
    /// Visits of a slot (in seasons) after which old ones begin to fade.
    seasons_kept: usize,
    /// Place of the step that comes next.
    seat: usize,
}

impl Profile {
    pub(crate) fn new(period: usize, seasons_kept: usize, clock: &Clock) -> Profile {
        let width = period.div_ceil(SLOTS_MAX).max(1);
        let slots = period.div_ceil(width);
        Profile {
            period,
            width,
            civil: clock.is_civil(period),
            means: vec![0.0; slots],
            counts: vec![0; slots],
            seasons_kept,
            seat: 0,
        }
    }

    /// Place of a step inside the season.
    pub(crate) fn place(&self, step: u64, clock: &Clock) -> usize {
        let count = if self.civil { clock.local(step) } else { step as i64 };
        count.rem_euclid(self.period as i64) as usize
    }

    /// Says which step comes next, so that the places of those after it need no division.
    pub(crate) fn arrive(&mut self, next: u64, clock: &Clock) {
        self.seat = self.place(next, clock);
    }

    /// Place of the step `offset` after the next one, `next`.
    #[inline]
    pub(crate) fn place_after(&self, next: u64, offset: usize, clock: &Clock) -> usize {
        let mut place = self.seat + offset;
        if self.civil {
            let change = clock.change(next, next + offset as u64);
            if change != 0 {
                return self.place(next + offset as u64, clock);
            }
        }
        if place >= self.period {
            place -= self.period;
            if place >= self.period {
                place %= self.period;
            }
        }
        place
    }

    /// The step that stands at the same place `seasons` seasons earlier.
    #[inline]
    pub(crate) fn earlier(&self, step: u64, seasons: u64, clock: &Clock) -> u64 {
        let plain = step.saturating_sub(seasons * self.period as u64);
        if self.civil { plain.saturating_add_signed(clock.change(plain, step)) } else { plain }
    }

    /// The mean at a place and how many seasons it rests on; zero seasons: nothing known.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> (f64, f64) {
        if self.width == 1 {
            return (f64::from(self.means[place]), f64::from(self.counts[place]));
        }
        let slot = place / self.width;
        let seasons = f64::from(self.counts[slot]) / self.width as f64;
        // Between the middles of neighbouring slots.
        let offset = (place % self.width) as f64 + 0.5 - self.width as f64 / 2.0;
        let other = if offset < 0.0 {
            (slot + self.means.len() - 1) % self.means.len()
        } else {
            (slot + 1) % self.means.len()
        };
        if self.counts[other] == 0 {
            return (f64::from(self.means[slot]), seasons);
        }
        let share = offset.abs() / self.width as f64;
        (f64::from(self.means[slot]) * (1.0 - share) + f64::from(self.means[other]) * share, seasons)
    }

    /// Learns one value.
    pub(crate) fn learn(&mut self, place: usize, value: f64) {
        let slot = place / self.width;
        let kept = (self.seasons_kept * self.width).min(usize::from(u16::MAX)) as u16;
        let count = (self.counts[slot] + 1).min(kept);
        self.counts[slot] = count;
        let mean = f64::from(self.means[slot]);
        self.means[slot] = (mean + (value - mean) / f64::from(count)) as f32;
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.means.capacity() * 4 + self.counts.capacity() * 2
    }
}

/// Most slots of one profile. More would only learn more noise: a week is held in quarters of an hour, which measured better
/// than five minutes.
const SLOTS_MAX: usize = 720;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_slot_is_the_mean_of_its_first_seasons_and_then_fades() {
        let clock = Clock::new(Timestamp::EPOCH, Duration::from_secs(60), None);
        let mut profile = Profile::new(4, 2, &clock);
        assert_eq!(profile.at(1), (0.0, 0.0));
        for value in [2.0, 4.0] {
            profile.learn(1, value);
        }
        assert_eq!(profile.at(1), (3.0, 2.0));
        profile.learn(1, 5.0);
        assert_eq!(profile.at(1), (4.0, 2.0));
    }

    #[test]
    fn a_long_season_is_held_in_wider_slots_and_read_between_them() {
        let clock = Clock::new(Timestamp::EPOCH, Duration::from_secs(1), None);
        let mut profile = Profile::new(86_400, 3, &clock);
        for step in 0..86_400u64 {
            let place = profile.place(step, &clock);
            profile.learn(place, step as f64);
        }
        let (value, _) = profile.at(43_210);
        assert!((value - 43_210.0).abs() < 1.0, "{value}");
        assert!(profile.heap_bytes() <= SLOTS_MAX * 6);
    }

    #[test]
    fn the_same_hour_yesterday_is_found_across_a_clock_change() {
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let origin = Timestamp::parse("2026-03-20T00:00:00Z").unwrap();
        let mut clock = Clock::new(origin, Duration::from_secs(3600), Some(zone));
        clock.look_ahead(400);
        let profile = Profile::new(24, 3, &clock);
        let noon_sunday = clock.step_of(Timestamp::parse("2026-03-29T10:00:00Z").unwrap()).unwrap();
        let noon_saturday = clock.step_of(Timestamp::parse("2026-03-28T11:00:00Z").unwrap()).unwrap();
        assert_eq!(profile.earlier(noon_sunday, 1, &clock), noon_saturday);
        assert_eq!(profile.place(noon_sunday, &clock), profile.place(noon_saturday, &clock));
    }
}
