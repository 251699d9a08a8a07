//! What the daemon knows beside a workload's demand: the events of its calendar and of everybody's, public holidays, and
//! pushed metrics that are configured as covariates.
//!
//! Read from the history at the start and after each change; the control loop gets it as plain data and never waits for the
//! disk.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use forecast::Timestamp;
use forecast::calendar::{self, Event};
use forecast::covariates::Covariates;
use history::{EVERY_WORKLOAD, HistoryError, SeriesKey, Store};
use jiff::tz::TimeZone;

use crate::config::WorkloadConfig;

/// What is known beside one workload's demand.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Knowledge {
    pub(crate) events: Vec<Event>,
    pub(crate) series: Vec<Series>,
}

/// Values of one metric in order of time, some of them of the future.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Series {
    name: String,
    values: Vec<(Timestamp, f64)>,
}

impl Knowledge {
    pub(crate) fn read(
        store: &Store,
        workload: &WorkloadConfig,
        now: Timestamp,
    ) -> Result<Knowledge, HistoryError> {
        Ok(Knowledge { events: events(store, workload, now)?, series: series(store, workload, now)? })
    }

    /// Hashes all of it.
    pub(crate) fn mark(&self, hasher: &mut impl Hasher) {
        for Event { start, end, name, kind, magnitude } in &self.events {
            (start.as_millis(), end.as_millis(), name, kind, magnitude.to_bits()).hash(hasher);
        }
        for Series { name, values } in &self.series {
            (name, values.len()).hash(hasher);
            values.iter().for_each(|(at, value)| (at.as_millis(), value.to_bits()).hash(hasher));
        }
    }

    /// The series on steps counted from `origin`: the mean of the values inside a step; a value holds until the next one, at
    /// most twice as long as the values of its series are usually apart.
    pub(crate) fn covariates(&self, origin: Timestamp, step: Duration) -> Covariates {
        let mut covariates = Covariates::beginning(0);
        let step_ms = i64::try_from(step.as_millis()).unwrap_or(i64::MAX).max(1);
        let place = |at: Timestamp| (at.as_millis() - origin.as_millis()).div_euclid(step_ms);
        let last = self.series.iter().filter_map(|series| series.values.last()).map(|last| last.0).max();
        let Some(last) = last else { return covariates };
        let hold_of = |series: &Series| 2 * usual_distance(&series.values).max(step_ms) / step_ms;
        let longest = self.series.iter().map(hold_of).max().unwrap_or(0);
        let len = usize::try_from(place(last).saturating_add(longest)).unwrap_or(0).min(STEPS_MAX);
        for series in &self.series {
            let hold = hold_of(series);
            let mut column = vec![f32::NAN; len];
            for same in series.values.chunk_by(|a, b| place(a.0) == place(b.0)) {
                let mean = same.iter().map(|(_, value)| value).sum::<f64>() / same.len() as f64;
                let first = place(same[0].0);
                for cell in first.max(0)..first.saturating_add(hold) {
                    match usize::try_from(cell).ok().and_then(|cell| column.get_mut(cell)) {
                        Some(cell) => *cell = mean as f32,
                        None => break,
                    }
                }
            }
            // The names were found different with the configuration, and all columns are of one length.
            let _ = covariates.add(&series.name, column);
        }
        covariates
    }
}

fn events(store: &Store, workload: &WorkloadConfig, now: Timestamp) -> Result<Vec<Event>, HistoryError> {
    let (from, to) = (now - CALENDAR_BACK, now + CALENDAR_AHEAD);
    let mut events = Vec::new();
    for of in [workload.name.as_str(), EVERY_WORKLOAD] {
        events.extend(store.calendar().list(of, from, to)?.into_iter().map(|record| record.event));
    }
    events.extend(holidays(workload, now));
    events.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
    // A holiday of two places is one.
    events.dedup_by(|a, b| a.start == b.start && a.end == b.end && a.kind == b.kind && a.name == b.name);
    Ok(events)
}

/// Holidays of the configured places, as far ahead as a daemon may run without a restart.
fn holidays(workload: &WorkloadConfig, now: Timestamp) -> Vec<Event> {
    let zone = workload.time_zone.as_deref().and_then(|name| TimeZone::get(name).ok());
    let at = jiff::Timestamp::from_millisecond(now.as_millis()).unwrap_or_default();
    let year = at.to_zoned(TimeZone::UTC).year();
    let years = year.saturating_sub(3)..=year.saturating_add(HOLIDAY_YEARS_AHEAD);
    // The configuration was checked, so the codes are known.
    let found = workload.holidays.iter().filter_map(|code| calendar::holidays(code, years.clone()).ok());
    found.flatten().filter_map(|holiday| holiday.event(zone.as_ref())).collect()
}

fn series(store: &Store, workload: &WorkloadConfig, now: Timestamp) -> Result<Vec<Series>, HistoryError> {
    let from = now - workload.step.saturating_mul(COVARIATE_STEPS_BACK);
    let read = |name: &String| {
        let key = SeriesKey::new(workload.name.as_str(), name.as_str());
        let mut values = store.read(&key, from, now + CALENDAR_AHEAD)?;
        values.retain(|(_, value)| value.is_finite());
        Ok(Series { name: name.clone(), values })
    };
    workload.covariates.iter().map(read).collect()
}

/// Median distance of neighbours, in milliseconds.
pub(crate) fn usual_distance(values: &[(Timestamp, f64)]) -> i64 {
    let mut distances: Vec<i64> =
        values.windows(2).map(|pair| pair[1].0.as_millis() - pair[0].0.as_millis()).collect();
    if distances.is_empty() {
        return 0;
    }
    let middle = distances.len() / 2;
    *distances.select_nth_unstable(middle).1
}

/// Events longer ago teach nothing: demand is not learned from so long ago either.
const CALENDAR_BACK: Duration = Duration::from_secs(3 * 366 * 86_400);
const HOLIDAY_YEARS_AHEAD: i16 = 10;
const CALENDAR_AHEAD: Duration = Duration::from_secs(400 * 86_400);
/// As many steps as demand is learned from at a start, and some more.
const COVARIATE_STEPS_BACK: u32 = 50_000;
/// Most steps that covariates are laid out over.
const STEPS_MAX: usize = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::CapacityConfig;

    fn workload() -> WorkloadConfig {
        let listen = "127.0.0.1:8080".parse().expect("a literal address");
        WorkloadConfig {
            time_zone: Some("Europe/Berlin".to_owned()),
            ..WorkloadConfig::new("web", vec!["serve".into()], listen, CapacityConfig::Pinned(10.0))
        }
    }

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn own_events_everybodys_and_holidays_are_known_but_no_other_workloads() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let now = Timestamp::parse("2026-06-01T00:00:00Z").expect("a time");
        let event = |name: &str| Event {
            start: now,
            end: now + Duration::from_secs(60),
            name: name.into(),
            kind: "sale".into(),
            magnitude: 1.0,
        };
        let by = history::By::new("ana", "plan");
        for (of, name) in [("web", "own"), ("*", "all"), ("other", "foreign")] {
            store.calendar().add(now, &by, of, &[event(name)]).expect("added");
        }
        let mut workload = workload();
        let known = Knowledge::read(&store, &workload, now).expect("read");
        let names: Vec<&str> = known.events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["all", "own"]);
        workload.holidays = vec!["DE".into(), "DE-BY".into()];
        let known = Knowledge::read(&store, &workload, now).expect("read");
        let unity = Timestamp::parse("2026-10-02T22:00:00Z").expect("midnight in Berlin");
        assert_eq!(known.events.iter().filter(|event| event.start == unity).count(), 1, "once for both");
        assert!(known.events.is_sorted_by_key(|event| event.start));
    }

    #[test]
    fn values_of_a_step_become_their_mean_and_hold_until_the_next() {
        let values = vec![(at(0), 1.0), (at(100), 3.0), (at(3600), 5.0), (at(7200), 7.0)];
        let known =
            Knowledge { series: vec![Series { name: "rain".into(), values }], ..Knowledge::default() };
        let laid = known.covariates(at(0), Duration::from_secs(600));
        assert_eq!((laid.at(0, 0), laid.at(0, 5), laid.at(0, 6), laid.at(0, 12)), (2.0, 2.0, 5.0, 7.0));
        assert_eq!(laid.at(0, 22), 7.0);
        assert!(laid.at(0, 23).is_nan(), "a value does not hold for ever");
        let shifted = known.covariates(at(3600), Duration::from_secs(600));
        assert_eq!((shifted.at(0, 0), shifted.at(0, 6)), (5.0, 7.0));
        assert_eq!(Knowledge::default().covariates(at(0), Duration::from_secs(60)).width(), 0);
    }
}
