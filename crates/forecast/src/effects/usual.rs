//! What is usual at an hour of the day or of the week: fading means over 24 or 168 slots.

use serde::{Deserialize, Serialize};

use crate::grid::Local;

/// Usual values of one quantity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Usual {
    all: Slot,
    days: Vec<Slot>,
    weeks: Vec<Slot>,
    /// Mean squared distance from what was usual of the day, of the week, and overall.
    misses: [f64; 3],
    steps_an_hour: f32,
}

/// A fading mean.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Slot {
    mean: f32,
    count: f32,
}

impl Slot {
    fn learn(&mut self, value: f32, count_max: f32) {
        self.count = (self.count + 1.0).min(count_max);
        self.mean += (value - self.mean) / self.count;
    }
}

impl Usual {
    pub(super) fn new(steps_an_hour: f32) -> Usual {
        Usual {
            all: Slot::default(),
            days: vec![Slot::default(); HOURS],
            weeks: vec![Slot::default(); 7 * HOURS],
            misses: [0.0; 3],
            steps_an_hour,
        }
    }

    pub(super) fn learn(&mut self, at: &Local, value: f32) {
        if !value.is_finite() {
            return;
        }
        let (day, week) = (hour(at), week_hour(at));
        if self.weeks[week].count > 0.0 {
            let pace = (1.0 / (f64::from(self.all.count) + 1.0)).max(0.001);
            for (miss, slot) in self.misses.iter_mut().zip([self.days[day], self.weeks[week], self.all]) {
                let far = f64::from(value - slot.mean);
                *miss += pace * (far * far - *miss);
            }
        }
        // Steps longer than an hour visit their slots once a day all the same.
        let visits = self.steps_an_hour.max(1.0);
        self.days[day].learn(value, DAYS_KEPT * visits);
        self.weeks[week].learn(value, WEEKS_KEPT * visits);
        self.all.learn(value, DAYS_KEPT * HOURS as f32 * self.steps_an_hour * 4.0);
    }

    /// What is usual at this hour of the day; of the week, where that says clearly more.
    pub(super) fn by_hour(&self, at: &Local) -> Option<f32> {
        let week = self.weeks[week_hour(at)];
        if self.is_weekly(0) && week.count > 0.0 {
            return Some(week.mean);
        }
        let day = self.days[hour(at)];
        if day.count > 0.0 { Some(day.mean) } else { self.overall() }
    }

    /// What is usual at any time; at this hour of the week, where that says clearly more.
    pub(super) fn overall_or_weekly(&self, at: &Local) -> Option<f32> {
        let week = self.weeks[week_hour(at)];
        if self.is_weekly(2) && week.count > 0.0 { Some(week.mean) } else { self.overall() }
    }

    /// The mean at any time.
    pub(super) fn overall(&self) -> Option<f32> {
        (self.all.count > 0.0).then_some(self.all.mean)
    }

    /// The mean at an hour of the week, 0 is Monday midnight.
    pub(super) fn in_week(&self, weekday: u8, hour: usize) -> Option<f32> {
        self.weeks
            .get(usize::from(weekday) * HOURS + hour)
            .filter(|slot| slot.count > 0.0)
            .map(|slot| slot.mean)
    }

    fn is_weekly(&self, against: usize) -> bool {
        let seen_weeks = self.all.count >= 14.0 * HOURS as f32 * self.steps_an_hour;
        seen_weeks && self.misses[1] < 0.5 * self.misses[against]
    }

    pub(super) fn bytes(&self) -> usize {
        8 * size_of::<Slot>() * HOURS
    }
}

/// Hour of the day.
pub(super) fn hour(at: &Local) -> usize {
    usize::from(at.minute / 60).min(HOURS - 1)
}

fn week_hour(at: &Local) -> usize {
    usize::from(at.weekday.min(6)) * HOURS + hour(at)
}

/// Hours of a day.
pub(super) const HOURS: usize = 24;
const DAYS_KEPT: f32 = 14.0;
const WEEKS_KEPT: f32 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    fn local(hours: i32) -> Local {
        let day = hours.div_euclid(24);
        let weekday = (day % 7) as u8;
        Local { day, minute: (hours % 24 * 60) as u16, weekday, month: 1, day_of_month: 1 }
    }

    #[test]
    fn a_weekly_pattern_is_told_from_a_daily_one() {
        let (mut heat, mut work) = (Usual::new(1.0), Usual::new(1.0));
        for i in 0..24 * 60 {
            let at = local(i);
            heat.learn(&at, (i % 24) as f32 + (i % 5) as f32);
            work.learn(&at, f32::from(u8::from(at.weekday < 5)));
        }
        assert!((heat.by_hour(&local(24 * 60 + 13)).unwrap() - 15.0).abs() < 0.7);
        // Day 61 is a Friday, day 62 a Saturday of this calendar.
        assert_eq!(work.overall_or_weekly(&local(24 * 60)), Some(1.0));
        assert_eq!(work.overall_or_weekly(&local(24 * 62)), Some(0.0));
        assert!(Usual::new(1.0).by_hour(&local(0)).is_none());
    }
}
