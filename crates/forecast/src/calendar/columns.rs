//! Events as columns on a grid, so that every model can use them.
//!
//! A column is one kind of event seen through one window: while it lasts, some time before, some time after. Its value at
//! a step is the share of the step that the window covers, times the magnitude of the event.

use std::ops::Range;
use std::time::Duration;

use crate::Timestamp;
use crate::calendar::Event;
use crate::covariates::{CovariateError, Covariates};
use crate::grid::Grid;

/// Through which window an event is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// While it lasts.
    During,
    /// The time right before it, so long.
    Before(Duration),
    /// The time right after it, so long; a day of 24 hours after a holiday is "the day after".
    After(Duration),
}

impl Window {
    /// What the window covers.
    pub fn span(self, event: &Event) -> (Timestamp, Timestamp) {
        match self {
            Window::During => (event.start, event.end),
            Window::Before(long) => (event.start - long, event.start),
            Window::After(long) => (event.end, event.end + long),
        }
    }

    /// What a column of this window is called.
    fn name(self, kind: &str) -> String {
        match self {
            Window::During => format!("event {kind}"),
            Window::Before(_) => format!("before {kind}"),
            Window::After(_) => format!("after {kind}"),
        }
    }
}

/// One column for each kind of event and window, then the `given` ones (name, and one value for each step; shorter ones
/// are not known further on, longer ones are cut). Holidays are events like any other ([`Holiday::event`]). Steps without an
/// event are zero: a calendar is taken to be complete.
///
/// At most [`COLUMNS_MAX`] columns of events are made; the rarest kinds beyond that go into one column `event other`.
///
/// # Errors
/// [`CovariateError`] when two columns would have the same name.
///
/// [`Holiday::event`]: crate::calendar::Holiday::event
pub fn columns(
    grid: &Grid,
    steps: Range<u64>,
    events: &[Event],
    windows: &[Window],
    given: &[(&str, &[f32])],
) -> Result<Covariates, CovariateError> {
    let len = usize::try_from(steps.end.saturating_sub(steps.start)).unwrap_or(usize::MAX).min(STEPS_MAX);
    let mut covariates = Covariates::beginning(steps.start);
    let kinds = kinds(events, COLUMNS_MAX / windows.len().max(1));
    for kind in &kinds {
        for &window in windows {
            let mut column = vec![0.0f32; len];
            for event in events.iter().filter(|event| kind.has(event, &kinds)) {
                cover(grid, steps.start, &mut column, window.span(event), event.magnitude);
            }
            covariates.add(&window.name(kind.name()), column)?;
        }
    }
    for (name, values) in given {
        let mut column = values[..values.len().min(len)].to_vec();
        column.resize(len, f32::NAN);
        covariates.add(name, column)?;
    }
    Ok(covariates)
}

/// Adds to each step of a column the share of it that lies inside a span, times `magnitude`.
fn cover(grid: &Grid, first: u64, column: &mut [f32], (from, to): (Timestamp, Timestamp), magnitude: f64) {
    for (step, share) in shares(grid, first..first + column.len() as u64, from, to) {
        if let Some(cell) = column.get_mut((step - first) as usize) {
            *cell += (share * magnitude) as f32;
        }
    }
}

/// The steps of a range that a span of time touches, each with the share of it that is inside. A span without length is
/// the whole step it falls into.
pub(crate) fn shares(
    grid: &Grid,
    range: Range<u64>,
    from: Timestamp,
    to: Timestamp,
) -> impl Iterator<Item = (u64, f64)> + use<> {
    let step = i128::try_from(grid.step.as_millis()).unwrap_or(i128::MAX).max(1);
    let origin = i128::from(grid.origin.as_millis());
    let begins = i128::from(from.as_millis()) - origin;
    let ends = i128::from(to.as_millis()) - origin;
    let (begins, ends) = if ends > begins {
        (begins, ends)
    } else {
        let start = begins.div_euclid(step) * step;
        (start, start + step)
    };
    let low = begins.div_euclid(step).clamp(i128::from(range.start), i128::from(range.end));
    let high = (ends + step - 1).div_euclid(step).clamp(low, i128::from(range.end).max(low));
    (low..high).map(move |at| {
        let (left, right) = (at * step, (at + 1) * step);
        let inside = (ends.min(right) - begins.max(left)).max(0);
        (at as u64, inside as f64 / step as f64)
    })
}

/// Which events share columns.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Named(String),
    /// All whose kind has no column of its own.
    Other,
}

impl Kind {
    fn name(&self) -> &str {
        match self {
            Kind::Named(name) => name,
            Kind::Other => "other",
        }
    }

    fn has(&self, event: &Event, all: &[Kind]) -> bool {
        match self {
            Kind::Named(name) => *name == event.kind,
            Kind::Other => !all.iter().any(|kind| matches!(kind, Kind::Named(name) if *name == event.kind)),
        }
    }
}

/// The kinds of events by name, the rarest joined when there are more than `most`.
fn kinds(events: &[Event], most: usize) -> Vec<Kind> {
    let mut names: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    names.sort_unstable();
    let mut counted: Vec<(usize, &str)> =
        names.chunk_by(|a, b| a == b).map(|same| (same.len(), same[0])).collect();
    let most = most.max(1);
    let joined = counted.len() > most;
    if joined {
        counted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        counted.truncate(most - 1);
        counted.sort_by(|a, b| a.1.cmp(b.1));
    }
    let mut kinds: Vec<Kind> = counted.iter().map(|&(_, name)| Kind::Named(name.to_owned())).collect();
    if joined {
        kinds.push(Kind::Other);
    }
    kinds
}

/// Most columns made of events.
pub const COLUMNS_MAX: usize = 96;
/// Longer grids are cut.
const STEPS_MAX: usize = 1 << 26;

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn grid() -> Grid {
        Grid { origin: Timestamp::from_secs(0), step: HOUR, zone: None }
    }

    fn event(kind: &str, from_hours: f64, to_hours: f64, magnitude: f64) -> Event {
        let at = |hours: f64| Timestamp::from_millis((hours * 3_600_000.0) as i64);
        let (start, end) = (at(from_hours), at(to_hours));
        Event { start, end, name: kind.to_owned(), kind: kind.to_owned(), magnitude }
    }

    #[test]
    fn a_step_is_covered_by_its_share_and_the_magnitude() {
        let events = [event("sale", 1.5, 3.25, 2.0), event("sale", 3.0, 4.0, 1.0)];
        let windows = [Window::During, Window::Before(HOUR), Window::After(2 * HOUR)];
        let found = columns(&grid(), 0..7, &events, &windows, &[("rain", &[1.0, 2.0])]).unwrap();
        assert_eq!(found.names(), ["event sale", "before sale", "after sale", "rain"]);
        let row = |column: usize| (0..7).map(|step| found.at(column, step)).collect::<Vec<f32>>();
        assert_eq!(row(0), [0.0, 1.0, 2.0, 1.5, 0.0, 0.0, 0.0]);
        assert_eq!(row(1), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(row(2), [0.0, 0.0, 0.0, 1.5, 3.0, 1.5, 0.0]);
        assert!(found.at(3, 1) == 2.0 && found.at(3, 2).is_nan());
    }

    #[test]
    fn a_moment_covers_its_step_and_events_outside_the_grid_none() {
        let events = [
            event("deploy", 2.5, 2.5, 1.0),
            event("deploy", -9.0, -8.0, 1.0),
            event("deploy", 90.0, 91.0, 1.0),
        ];
        let found = columns(&grid(), 0..4, &events, &[Window::During], &[]).unwrap();
        assert_eq!((0..4).map(|step| found.at(0, step)).collect::<Vec<f32>>(), [0.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn the_rarest_kinds_share_a_column_when_there_are_too_many() {
        let mut events: Vec<Event> = (0..200).map(|i| event(&format!("kind{i}"), 1.0, 2.0, 1.0)).collect();
        events.extend((0..3).map(|_| event("often", 0.0, 1.0, 1.0)));
        let found = columns(&grid(), 0..2, &events, &[Window::During], &[]).unwrap();
        assert_eq!(found.width(), COLUMNS_MAX);
        let often = found.names().iter().position(|name| name == "event often").unwrap();
        assert_eq!(found.at(often, 0), 3.0);
        assert_eq!(found.names().last().map(String::as_str), Some("event other"));
        let total: f32 = (0..found.width()).map(|column| found.at(column, 1)).sum();
        assert_eq!(total, 200.0);
    }
}
