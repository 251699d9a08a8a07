//! Recorded demand on an even grid of steps, and the part of it that a decision may look at.
//!
//! A trace has rows; the world needs steps of one length. [`Demand`] places each row in the slot nearest to its time, so
//! rows that jitter by seconds stay one step each, two rows in one slot are averaged, and absent rows leave a gap. Inside
//! a slot demand is constant. [`Past`] is the only view a policy gets: it ends at the present, by construction.

use std::time::Duration;

use forecast::Timestamp;

/// Demand per step, with gaps, and the times of the rows it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    start: Timestamp,
    step: Duration,
    values: Vec<Option<f64>>,
    rows: Vec<Row>,
    /// Integral of the known demand, and seconds with known demand, up to the beginning of each slot.
    integral: Vec<(f64, f64)>,
}

/// A row of the trace: its own time and the slot it fell into.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// The time written in the trace.
    pub at: Timestamp,
    /// The index of the step it belongs to.
    pub slot: usize,
    /// Its value in the workload's unit; none when the cell was empty.
    pub value: Option<f64>,
}

/// Why rows are not a demand that can be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DemandError {
    /// Nothing to replay.
    #[error("the series has no rows")]
    Empty,
    /// The step is not a length of time.
    #[error("the step of the series must be at least one millisecond")]
    StepTooShort,
    /// A row is not after the one before it.
    #[error("row {row} at {at} is not later than the row before it")]
    Unsorted {
        /// Its number, from 0.
        row: usize,
        /// Its time.
        at: Timestamp,
    },
    /// A value is negative, infinite or not a number.
    #[error("row {row} at {at}: {value} is not a demand; it must be finite and not negative")]
    NotADemand {
        /// Its number, from 0.
        row: usize,
        /// Its time.
        at: Timestamp,
        /// The value.
        value: f64,
    },
    /// The rows span too many steps.
    #[error(
        "the series spans {slots} steps of {step:?}; at most {SLOTS_MAX} are replayed. Is a timestamp wrong?"
    )]
    TooLong {
        /// Steps between the first and the last row.
        slots: u128,
        /// The step.
        step: Duration,
    },
}

impl Demand {
    /// The demand of `points`, which must be in order of time, in steps of `step`.
    ///
    /// # Errors
    /// See [`DemandError`].
    pub fn from_points(points: &[(Timestamp, Option<f64>)], step: Duration) -> Result<Demand, DemandError> {
        let step_ms = step.as_millis();
        if step_ms == 0 {
            return Err(DemandError::StepTooShort);
        }
        let (Some((start, _)), Some((end, _))) = (points.first(), points.last()) else {
            return Err(DemandError::Empty);
        };
        let slots = end.since(*start).as_millis() / step_ms + 2;
        if slots > SLOTS_MAX as u128 {
            return Err(DemandError::TooLong { slots, step });
        }
        let mut rows: Vec<Row> = Vec::with_capacity(points.len());
        for (row, (at, value)) in points.iter().enumerate() {
            if rows.last().is_some_and(|before| before.at >= *at) {
                return Err(DemandError::Unsorted { row, at: *at });
            }
            if let Some(value) = value.filter(|value| !(value.is_finite() && *value >= 0.0)) {
                return Err(DemandError::NotADemand { row, at: *at, value });
            }
            let slot = ((at.since(*start).as_millis() + step_ms / 2) / step_ms) as usize;
            rows.push(Row { at: *at, slot, value: *value });
        }
        let values = slot_means(&rows);
        let integral = integrate(&values, step.as_secs_f64());
        Ok(Demand { start: *start, step, values, rows, integral })
    }

    /// The beginning of the first step.
    pub fn start(&self) -> Timestamp {
        self.start
    }

    /// The length of a step.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// How many steps there are, gaps included.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no step; never true for a demand made by [`Demand::from_points`].
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows of the trace in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Demand of each step.
    pub fn values(&self) -> &[Option<f64>] {
        &self.values
    }

    /// The largest demand of any step; 0 when nothing is known.
    pub fn peak(&self) -> f64 {
        self.values.iter().flatten().fold(0.0, |peak: f64, value| peak.max(*value))
    }

    /// The beginning of a step.
    pub fn slot_start(&self, slot: usize) -> Timestamp {
        Timestamp::from_millis(self.start.as_millis() + slot as i64 * self.step.as_millis() as i64)
    }

    /// The step that `at` lies in; none before the first and after the last.
    pub fn slot_at(&self, at: Timestamp) -> Option<usize> {
        if at < self.start {
            return None;
        }
        let slot = (at.since(self.start).as_millis() / self.step.as_millis()) as usize;
        (slot < self.values.len()).then_some(slot)
    }

    /// The same demand with a gap wherever `hidden` says so of the beginning of a step.
    #[must_use]
    pub fn masked(&self, hidden: impl Fn(Timestamp) -> bool) -> Demand {
        let mut values = self.values.clone();
        for (slot, value) in values.iter_mut().enumerate() {
            *value = value.filter(|_| !hidden(self.slot_start(slot)));
        }
        let integral = integrate(&values, self.step.as_secs_f64());
        Demand { values, integral, ..self.clone() }
    }

    /// What is known at `now`.
    pub fn past(&self, now: Timestamp) -> Past<'_> {
        Past { demand: self, now }
    }

    fn integral_to(&self, at: Timestamp) -> (f64, f64) {
        if at <= self.start {
            return (0.0, 0.0);
        }
        let Some(slot) = self.slot_at(at) else {
            return self.integral.last().copied().unwrap_or((0.0, 0.0));
        };
        let (area, seconds) = self.integral[slot];
        let inside = at.since(self.slot_start(slot)).as_secs_f64();
        match self.values[slot] {
            Some(value) => (area + value * inside, seconds + inside),
            None => (area, seconds),
        }
    }
}

/// The demand before a moment. Nothing at or after that moment can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    demand: &'a Demand,
    now: Timestamp,
}

impl Past<'_> {
    /// The moment it ends.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Demand just before `now - ago`: what an instrument with that delay shows. None in a gap and before the trace.
    pub fn value(&self, ago: Duration) -> Option<f64> {
        let at = Timestamp::from_millis((self.now - ago).as_millis().saturating_sub(1));
        self.demand.values[self.demand.slot_at(at)?]
    }

    /// The beginning of the first step.
    pub fn start(&self) -> Timestamp {
        self.demand.start
    }

    /// The length of a step.
    pub fn step(&self) -> Duration {
        self.demand.step
    }

    /// The steps that have ended.
    pub fn complete(&self) -> &[Option<f64>] {
        let ended = (self.now.since(self.demand.start).as_millis() / self.demand.step.as_millis()) as usize;
        &self.demand.values[..ended.min(self.demand.len())]
    }

    /// Mean demand over the last `window`, over the parts that are known. None when no part is.
    pub fn mean(&self, window: Duration) -> Option<f64> {
        self.mean_until(Duration::ZERO, window)
    }

    /// Mean demand over the `window` that ended `ago`, over the parts that are known. None when no part is.
    pub fn mean_until(&self, ago: Duration, window: Duration) -> Option<f64> {
        let end = self.now - ago;
        let (area_to, seconds_to) = self.demand.integral_to(end);
        let (area_from, seconds_from) = self.demand.integral_to(end - window);
        let seconds = seconds_to - seconds_from;
        (seconds > 0.0).then(|| (area_to - area_from) / seconds)
    }

    /// The largest demand of the steps that overlap `[now - ago, now - ago + window)`, cut off at `now`.
    pub fn max(&self, ago: Duration, window: Duration) -> Option<f64> {
        let from = self.now - ago;
        let to = (from + window).min(self.now);
        if to <= from || to <= self.demand.start {
            return None;
        }
        let first = self.demand.slot_at(from).unwrap_or(0);
        let last = self.demand.slot_at(Timestamp::from_millis(to.as_millis() - 1))?;
        self.demand.values[first..=last].iter().flatten().copied().reduce(f64::max)
    }
}

fn slot_means(rows: &[Row]) -> Vec<Option<f64>> {
    let slots = rows.last().map_or(0, |row| row.slot + 1);
    let mut sums = vec![(0.0, 0u32); slots];
    for row in rows {
        if let Some(value) = row.value {
            let (sum, count) = &mut sums[row.slot];
            *sum += value;
            *count += 1;
        }
    }
    sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect()
}

fn integrate(values: &[Option<f64>], step: f64) -> Vec<(f64, f64)> {
    let mut integral = Vec::with_capacity(values.len() + 1);
    let (mut area, mut seconds) = (0.0, 0.0);
    integral.push((area, seconds));
    for value in values {
        if let Some(value) = value {
            area += value * step;
            seconds += step;
        }
        integral.push((area, seconds));
    }
    integral
}

/// Most steps of one replay: ten years of minutes.
pub const SLOTS_MAX: usize = 5_256_000;

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn jittering_rows_stay_one_step_each_and_absent_rows_leave_a_gap() {
        let points = [(at(0), Some(1.0)), (at(58), Some(2.0)), (at(121), Some(3.0)), (at(301), Some(4.0))];
        let demand = Demand::from_points(&points, STEP).unwrap();
        assert_eq!(demand.values(), [Some(1.0), Some(2.0), Some(3.0), None, None, Some(4.0)]);
        assert_eq!(demand.rows()[3].slot, 5);
    }

    #[test]
    fn two_rows_in_one_step_are_averaged() {
        let points = [(at(0), Some(1.0)), (at(20), Some(3.0)), (at(60), None)];
        let demand = Demand::from_points(&points, STEP).unwrap();
        assert_eq!(demand.values(), [Some(2.0), None]);
        assert_eq!(demand.rows().len(), 3);
    }

    #[test]
    fn bad_rows_are_named() {
        let step = STEP;
        assert_eq!(Demand::from_points(&[], step), Err(DemandError::Empty));
        assert!(matches!(
            Demand::from_points(&[(at(5), None), (at(5), None)], step),
            Err(DemandError::Unsorted { row: 1, .. })
        ));
        assert!(matches!(
            Demand::from_points(&[(at(5), Some(f64::NAN))], step),
            Err(DemandError::NotADemand { row: 0, .. })
        ));
        assert!(matches!(
            Demand::from_points(&[(at(0), None), (at(1 << 40), None)], step),
            Err(DemandError::TooLong { .. })
        ));
    }

    #[test]
    fn the_past_ends_at_the_present() {
        let points = [(at(0), Some(10.0)), (at(60), Some(20.0)), (at(120), Some(90.0))];
        let demand = Demand::from_points(&points, STEP).unwrap();
        let past = demand.past(at(120));
        assert_eq!(past.value(Duration::ZERO), Some(20.0));
        assert_eq!(past.value(Duration::from_secs(60)), Some(10.0));
        assert_eq!(past.mean(Duration::from_secs(90)), Some((10.0 * 30.0 + 20.0 * 60.0) / 90.0));
        assert_eq!(past.mean_until(Duration::from_secs(30), STEP), Some(15.0));
        assert_eq!(past.complete(), [Some(10.0), Some(20.0)]);
        assert_eq!(demand.past(at(119)).complete(), [Some(10.0)]);
        assert_eq!(past.max(Duration::from_secs(60), Duration::from_secs(600)), Some(20.0));
        assert_eq!(demand.past(at(0)).value(Duration::ZERO), None);
        assert_eq!(demand.past(at(0)).mean(STEP), None);
    }
}
