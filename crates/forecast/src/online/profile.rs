//! The typical course of one season, learned slot by slot.

use serde::{Deserialize, Serialize};

use crate::online::clock::Clock;

/// Mean value of each slot of a season. A slot is one step, or several where a season has more than [`SLOTS_MAX`] steps.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Profile {
    pub(crate) period: usize,
    /// Steps per slot.
    width: usize,
    civil: bool,
    means: Vec<f32>,
    counts: Vec<u8>,
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

    /// Says that one more step has come, the clock being unchanged.
    #[inline(always)]
    pub(crate) fn step(&mut self) {
        self.seat = if self.seat + 1 == self.period { 0 } else { self.seat + 1 };
    }

    /// Place of the step `offset` after the next one, `next`.
    #[inline(always)]
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
    #[inline(always)]
    pub(crate) fn earlier(&self, step: u64, seasons: u64, clock: &Clock) -> u64 {
        let plain = step.saturating_sub(seasons * self.period as u64);
        if self.civil { plain.saturating_add_signed(clock.change(plain, step)) } else { plain }
    }

    /// The mean at a place and how many seasons it rests on; zero seasons: nothing known.
    #[inline(always)]
    pub(crate) fn at(&self, place: usize) -> (f64, f64) {
        if self.width == 1 {
            return (f64::from(self.means[place]), f64::from(self.counts[place]));
        }
        let (place, width) = (place as u32, self.width as u32);
        let slot = (place / width) as usize;
        let seasons = f64::from(self.counts[slot]) / self.width as f64;
        // Between the middles of neighbouring slots.
        let offset = f64::from(place % width) + 0.5 - self.width as f64 / 2.0;
        let other = if offset < 0.0 {
            if slot == 0 { self.means.len() - 1 } else { slot - 1 }
        } else if slot + 1 == self.means.len() {
            0
        } else {
            slot + 1
        };
        if self.counts[other] == 0 {
            return (f64::from(self.means[slot]), seasons);
        }
        let share = offset.abs() / self.width as f64;
        (f64::from(self.means[slot]) * (1.0 - share) + f64::from(self.means[other]) * share, seasons)
    }

    /// Place of the step `offset` after the next one while the clock is not changed.
    #[inline(always)]
    pub(crate) fn seat_after(&self, offset: usize) -> usize {
        let place = self.seat + offset;
        if place < self.period { place } else { place % self.period }
    }

    /// What [`at`](Self::at) says of consecutive steps from `offset` after the next one on, while the clock is not changed;
    /// false when a place is not known.
    #[inline(always)]
    pub(crate) fn course(&self, offset: usize, values: &mut [f32], seasons: &mut [f32]) -> bool {
        let place = self.seat_after(offset);
        if self.width == 1 {
            self.plain_course(place, values, seasons)
        } else {
            self.wide_course(place, values, seasons)
        }
    }

    fn plain_course(&self, mut place: usize, values: &mut [f32], seasons: &mut [f32]) -> bool {
        let mut done = 0;
        while done < values.len() {
            let n = (self.period - place).min(values.len() - done);
            values[done..done + n].copy_from_slice(&self.means[place..place + n]);
            let mut least = u8::MAX;
            for (season, &count) in seasons[done..done + n].iter_mut().zip(&self.counts[place..place + n]) {
                *season = f32::from(count);
                least = least.min(count);
            }
            if least == 0 {
                return false;
            }
            done += n;
            place = 0;
        }
        true
    }

    fn wide_course(&self, place: usize, values: &mut [f32], seasons: &mut [f32]) -> bool {
        let (slots, width) = (self.means.len(), self.width);
        let scale = 1.0 / width as f32;
        let (mut place, mut slot, mut within) = (place, place / width, place % width);
        for (value, season) in values.iter_mut().zip(seasons) {
            let offset = (within as f32 + 0.5) * scale - 0.5;
            let other = if offset < 0.0 {
                if slot == 0 { slots - 1 } else { slot - 1 }
            } else if slot + 1 == slots {
                0
            } else {
                slot + 1
            };
            let (count, mean) = (self.counts[slot], self.means[slot]);
            if count == 0 || self.counts[other] == 0 {
                return false;
            }
            *value = mean + offset.abs() * (self.means[other] - mean);
            *season = f32::from(count) * scale;
            (place, within) = (place + 1, within + 1);
            if within == width {
                (slot, within) = (slot + 1, 0);
            }
            if place == self.period {
                (place, slot, within) = (0, 0, 0);
            }
        }
        true
    }

    /// Learns one value.
    pub(crate) fn learn(&mut self, place: usize, value: f64) {
        let slot = place / self.width;
        let kept = (self.seasons_kept * self.width).min(usize::from(u8::MAX)) as u8;
        let count = self.counts[slot].saturating_add(1).min(kept);
        self.counts[slot] = count;
        let mean = f64::from(self.means[slot]);
        self.means[slot] = (mean + (value - mean) / f64::from(count)) as f32;
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        self.means.capacity() * 4 + self.counts.capacity()
    }
}

/// Most slots of one profile. More would only learn more noise: a week is held in half hours, which measured better than
/// quarters, and those better than five minutes.
const SLOTS_MAX: usize = 360;

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
        assert!(profile.heap_bytes() <= SLOTS_MAX * 5);
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
