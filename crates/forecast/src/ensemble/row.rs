//! What members said of one step, side by side, and the average of it.
//!
//! Quantiles are averaged, not probabilities (Vincent 1912; Lichtendahl et al. 2013): an average of wide and narrow
//! distributions then is as wide as they are on average. That a series is idle is an event, though, no amount: whoever says
//! zero and whoever says twenty do not mean ten. How likely zero is, is averaged as a probability, and quantiles are
//! averaged of what comes if something comes.

use crate::calibration::{GRID, Place, Tail};

/// What every member said of one step: grid quantiles by seat, NaN where it said nothing.
#[derive(Clone, Debug)]
pub(super) struct Row {
    seats: Vec<[f32; GRID.len()]>,
    /// What is below this is nothing.
    trifle: f32,
}

/// Grid quantiles of one member, or of all together.
type Said = [f64; GRID.len()];

/// The average of a row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mixed {
    pub(super) values: Said,
    /// How likely nothing comes at all.
    pub(super) idle: f64,
}

impl Row {
    pub(super) fn new(seats: usize, trifle: f32) -> Row {
        Row { seats: vec![[f32::NAN; GRID.len()]; seats], trifle }
    }

    pub(super) fn set(&mut self, seat: usize, values: &[f64]) {
        for (kept, &value) in self.seats[seat].iter_mut().zip(values) {
            let value = value as f32;
            *kept = if value.abs() < self.trifle { 0.0 } else { value };
        }
    }

    pub(super) fn clear(&mut self, seat: usize) {
        self.seats[seat] = [f32::NAN; GRID.len()];
    }

    pub(super) fn has(&self, seat: usize) -> bool {
        self.seats[seat].iter().all(|value| value.is_finite())
    }

    /// What each member said, NaN where nothing.
    pub(super) fn seats(&self) -> &[[f32; GRID.len()]] {
        &self.seats
    }

    /// The average of those present. What is so far from the online core that it can only be a model gone astray is drawn
    /// in, here and not where members are scored: they answer for what they said.
    pub(super) fn mixed(&self, weights: &[f32]) -> Mixed {
        let (floor, ceiling) = self.bounds();
        let drawn = |seat: usize, value: f32| if seat == 0 { value } else { value.max(floor).min(ceiling) };
        let said = self.seats.iter().zip(weights).enumerate().filter(|(_, (_, weight))| **weight > 0.0);
        let said: Vec<(f64, Said)> = said
            .map(|(seat, (said, &weight))| (weight.into(), said.map(|value| drawn(seat, value).into())))
            .collect();
        let idle: f64 = said.iter().map(|(weight, said)| weight * idle_share(said)).sum();
        let mut values = [0.0; GRID.len()];
        for (weight, said) in &said {
            if idle < IDLE_LEAST {
                values.iter_mut().zip(said).for_each(|(mixed, value)| *mixed += weight * value);
            } else if idle < IDLE_MOST {
                add_busy(&mut values, said, *weight, idle);
            }
        }
        Mixed { values, idle }
    }

    /// Between which values others are believed.
    fn bounds(&self) -> (f32, f32) {
        let core = self.seats[0];
        let reach = FAR * (core[UPPER] - core[LOWER]).max(0.1 * core[UPPER].abs());
        // Where the core sees nothing but zeros it is no measure of what comes when something comes.
        let reach = if reach > 0.0 { reach } else { f32::INFINITY };
        (core[LOWER] - reach, core[UPPER] + reach)
    }
}

/// Half of about the least that comes when something comes, of a series that is idle at times; zero for others. Models that
/// know no idleness say a little of every idle step, which is meant for nothing.
pub(super) fn trifle(values: impl Iterator<Item = f32>) -> f32 {
    let (mut idle, mut busy) = (0, Vec::new());
    for value in values {
        if value == 0.0 {
            idle += 1;
        } else if value > 0.0 {
            busy.push(value);
        }
    }
    if idle * IDLE_RARELY < busy.len() || busy.is_empty() {
        return 0.0;
    }
    let place = busy.len() / 20;
    let (_, least, _) = busy.select_nth_unstable_by(place, f32::total_cmp);
    *least / 2.0
}

/// How likely a member says that nothing comes: up to which quantile it says zero.
fn idle_share(values: &Said) -> f64 {
    match values.iter().take_while(|value| **value == 0.0).count() {
        0 => 0.0,
        zeros if zeros == GRID.len() => 1.0,
        zeros => GRID[zeros - 1],
    }
}

/// Adds what a member says of busy steps, where all together say that one is idle with probability `idle`.
fn add_busy(mixed: &mut Said, said: &Said, weight: f64, idle: f64) {
    let own = idle_share(said);
    let weight = weight * (1.0 - own) / (1.0 - idle);
    let tail = tail_of(said);
    for (mixed, &tau) in mixed.iter_mut().zip(&GRID).filter(|(_, tau)| **tau > idle) {
        let share = (tau - idle) / (1.0 - idle);
        *mixed += weight * Place::of(own + share * (1.0 - own)).read(said, &tail);
    }
}

/// Exponential beyond the grid, with the spacing of its last points.
pub(super) fn tail_of(mixed: &Said) -> Tail {
    let last = GRID.len() - 1;
    let reach = ((1.0 - GRID[last - 1]) / (1.0 - GRID[last])).ln();
    Tail { scale: (mixed[last] - mixed[last - 1]).max(0.0) / reach, shape: 0.0 }
}

/// Places on the grid: 0.05, the median, 0.95.
pub(super) const LOWER: usize = 2;
pub(super) const MEDIAN: usize = 5;
pub(super) const UPPER: usize = 8;
/// Widths of the online core's interval that another member may be away from it.
const FAR: f32 = 3.0;
/// One step of so many is rarely.
const IDLE_RARELY: usize = 50;
/// Idle less often than this: as good as never; and more often: as good as always.
const IDLE_LEAST: f64 = 1e-3;
const IDLE_MOST: f64 = 0.9999;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(members: &[Said]) -> Row {
        let mut row = Row::new(members.len(), 0.0);
        members.iter().enumerate().for_each(|(seat, said)| row.set(seat, said));
        row
    }

    /// Nothing up to a quantile, and rising amounts beyond it.
    fn idle_up_to(tau: f64) -> Said {
        GRID.map(|grid| if grid <= tau { 0.0 } else { 20.0 + grid })
    }

    #[test]
    fn a_member_alone_is_heard_as_it_speaks() {
        for said in [idle_up_to(0.0), idle_up_to(0.5), idle_up_to(0.95), [0.0; GRID.len()]] {
            let mixed = row(&[said]).mixed(&[1.0]).values;
            assert!(mixed.iter().zip(said).all(|(mixed, said)| (mixed - said).abs() < 1e-3), "{mixed:?}");
        }
    }

    #[test]
    fn who_says_zero_and_who_says_twenty_do_not_mean_ten() {
        let said = row(&[idle_up_to(0.995), idle_up_to(0.0)]);
        let Mixed { values, idle } = said.mixed(&[0.3, 0.7]);
        assert!((idle - 0.2985).abs() < 1e-6);
        assert!(values[..5].iter().all(|value| *value == 0.0), "{values:?}");
        assert!(values[MEDIAN..].iter().all(|value| (20.0..21.2).contains(value)), "{values:?}");
        assert!(said.mixed(&[0.7, 0.3]).values[MEDIAN] == 0.0);
    }

    #[test]
    fn what_is_far_below_the_least_that_comes_is_nothing_where_nothing_comes_at_times() {
        let values = || (0..100).map(|i| if i % 10 == 0 { (50 + i) as f32 } else { 0.0 });
        assert_eq!(trifle(values()), 25.0);
        assert_eq!(trifle(values().filter(|value| *value > 0.0)), 0.0);
        assert_eq!(trifle(std::iter::repeat_n(0.0, 9)), 0.0);
        let mut row = Row::new(1, 25.0);
        row.set(0, &GRID.map(|tau| 50.0 * tau));
        assert_eq!(row.mixed(&[1.0]).idle, 0.25);
    }

    #[test]
    fn amounts_are_averaged_quantile_by_quantile() {
        let said = row(&[[10.0; GRID.len()], GRID.map(|tau| 11.0 + tau)]);
        let Mixed { values, idle } = said.mixed(&[0.5, 0.5]);
        assert_eq!((values[MEDIAN], idle), (10.75, 0.0));
    }
}
