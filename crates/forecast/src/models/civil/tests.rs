//! Days of an office in Berlin, which opens by its own clock.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::models::{Kind, Pace};
use crate::timestamp::Timestamp;

/// Hours, from three weeks and some hours before the clocks of Berlin are changed at `change`.
fn grid(change: &str) -> (Grid, u64) {
    let before = 24 * 21 + 7;
    let step = Duration::from_secs(3600);
    let change = Timestamp::parse(change).unwrap();
    let zone = TimeZone::get("Europe/Berlin").ok();
    (Grid { origin: change - step * before as u32, step, zone }, before)
}

/// Much from eight to six, by the clock on the wall.
fn demand(grid: &Grid, step: u64) -> f32 {
    let noise = (step * 7919 % 13) as f32 / 4.0;
    if (480..1080).contains(&grid.local(step).minute) { 100.0 + noise } else { 10.0 + noise }
}

const SPRING: &str = "2026-03-29T01:00:00Z";
const AUTUMN: &str = "2026-10-25T01:00:00Z";

/// Mean absolute error of the medians of `steps` steps from the end of a history, after following `later` steps of it.
fn error(kind: Kind, (grid, known): (&Grid, u64), later: u64, steps: usize) -> f32 {
    let values: Vec<f32> = (0..known).map(|step| demand(grid, step)).collect();
    let covariates = Covariates::default();
    let history = History {
        grid,
        first: 0,
        values: &values,
        seasons: &[24],
        covariates: &covariates,
        horizon: 48,
        non_negative: true,
    };
    let mut model = kind.train(&history, &mut Pace::free()).unwrap_or_else(|why| panic!("{kind}: {why}"));
    (known..known + later).for_each(|step| model.observe(demand(grid, step), &covariates));
    let said = model.forecast(steps, &[0.5], &covariates);
    let at = model.forecast_at(&[1, steps], &[0.5], &covariates);
    assert_eq!((&at[0], &at[1]), (&said[0], &said[steps - 1]), "{kind}");
    let errors = (0..steps).map(|h| (said[h][0] as f32 - demand(grid, known + later + h as u64)).abs());
    errors.sum::<f32>() / steps as f32
}

#[test]
fn every_kind_follows_the_wall_clock_before_at_and_after_its_change() {
    for change in [SPRING, AUTUMN] {
        let (grid, before) = grid(change);
        let kinds = Kind::BATCH.iter().filter(|kind| kind.counts_seasons());
        for &kind in kinds {
            // Fitted a day before the change, just then, in the hour that comes twice, and days later.
            let moments = [(before, 1), (before - 24, 0), (before - 24, 30), (before, 0), (before + 50, 0)];
            // Networks take their time to learn.
            for (known, later) in moments.into_iter().take(if kind == Kind::Lstm { 1 } else { 5 }) {
                let plain = error(kind, (&Grid { zone: None, ..grid.clone() }, known), later, 48);
                let error = error(kind, (&grid, known), later, 48);
                assert!(error < plain + 3.0, "{kind}, {change}, {known} + {later}: {error}, not {plain}");
            }
        }
    }
}

#[test]
fn steps_that_come_twice_are_read_at_one_place_and_columns_follow() {
    let (grid, before) = grid(AUTUMN);
    let values: Vec<f32> = (0..before + 24).map(|step| step as f32).collect();
    let mut columns = Covariates::beginning(0);
    columns.add("step", (0..before + 96).map(|step| step as f32).collect()).unwrap();
    let history = History {
        grid: &grid,
        first: 0,
        values: &values,
        seasons: &[24],
        covariates: &columns,
        horizon: 48,
        non_negative: true,
    };
    let laid = Laid::out(&history);
    let on_wall = laid.history();
    assert_eq!(on_wall.values.len() + 1, values.len(), "an hour comes twice");
    assert_eq!(on_wall.values[before as usize], values[before as usize + 1]);
    for (step, &value) in on_wall.values.iter().enumerate() {
        assert_eq!(on_wall.covariates.at(0, step as u64), value);
        assert_eq!(on_wall.grid.local(step as u64).minute, grid.local(value as u64).minute);
    }
    let utc = Grid { zone: TimeZone::get("UTC").ok(), ..grid.clone() };
    assert!(Laid::out(&History { grid: &utc, ..history }).wall.is_none());
}
