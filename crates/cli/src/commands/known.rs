//! What is known beside the series: events from a file, holidays by rule, further columns of the trace.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use forecast::Timestamp;
use forecast::calendar::{self, Event, ReadOptions};
use forecast::covariates::Covariates;
use forecast::trace::Series;
use jiff::tz::TimeZone;

use super::forecast::Grid;
use crate::failure::{Failure, OrFail};
use crate::trace_file::{Clock, TraceFile};

/// Options that say what is in the calendar.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct CalendarArgs {
    /// Events past and announced, such as campaigns: CSV with the columns start,end,name (then magnitude and kind, if
    /// wanted), or iCalendar. Their effects are learned
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// Public holidays of these places, comma-separated: ISO codes such as US, DE or DE-BY
    #[arg(long, value_name = "CC", value_delimiter = ',')]
    pub(super) holidays: Vec<String>,
}

/// Options that say what is known beside the series.
#[derive(Args, Clone, Debug)]
pub(super) struct KnownArgs {
    #[command(flatten)]
    pub(super) calendar: CalendarArgs,
    /// Further columns of the trace, comma-separated, that are known as far as the file goes, such as weather forecasts.
    /// Rows of the future have them and an empty cell for demand
    #[arg(long, value_name = "COL,..", value_delimiter = ',')]
    pub(super) covariates: Vec<String>,
}

impl KnownArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.calendar.is_empty() && self.covariates.is_empty()
    }

    /// Refuses a covariate that is no such thing.
    pub(super) fn check(&self, column: &str) -> Result<(), Failure> {
        for (place, name) in self.covariates.iter().enumerate() {
            if name == column {
                return Err(Failure::usage(format!(
                    "--covariates names `{name}`, which is the column to forecast; its future is not known"
                )));
            }
            if self.covariates[..place].contains(name) {
                return Err(Failure::usage(format!("--covariates names `{name}` twice")));
            }
        }
        Ok(())
    }

    /// The columns of one series on its grid of steps; several rows in one step become their mean.
    pub(super) fn covariates(
        &self,
        series: &Series,
        columns: &[Vec<f32>],
        grid: &Grid,
    ) -> Result<Covariates, Failure> {
        let mut covariates = Covariates::beginning(0);
        let Some(&(last, _)) = series.points.last().filter(|_| !columns.is_empty()) else {
            return Ok(covariates);
        };
        let steps = usize::try_from(grid.slot(last)).unwrap_or(usize::MAX).saturating_add(1);
        if steps > STEPS_MAX {
            return Err(Failure::usage(format!(
                "the rows span {steps} steps, more than {STEPS_MAX}; cut the file to where it is even"
            )));
        }
        for (name, column) in self.covariates.iter().zip(columns) {
            let (mut sums, mut counts) = (vec![0.0f32; steps], vec![0u32; steps]);
            for (&(at, _), &value) in series.points.iter().zip(column) {
                let slot =
                    usize::try_from(grid.slot(at)).ok().filter(|&slot| slot < steps && value.is_finite());
                if let Some(slot) = slot {
                    sums[slot] += value;
                    counts[slot] += 1;
                }
            }
            let means = sums.iter().zip(&counts).map(|(&sum, &count)| sum / count as f32).collect();
            covariates.add(name, means).or_usage("--covariates cannot be used")?;
        }
        Ok(covariates)
    }
}

impl CalendarArgs {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_none() && self.holidays.is_empty()
    }

    /// Events and holidays from a year before the trace until `until`, in order.
    pub(super) fn events(
        &self,
        file: &TraceFile,
        zone: Option<&TimeZone>,
        until: Timestamp,
    ) -> Result<Vec<Event>, Failure> {
        let mut events = match &self.events {
            Some(path) => read(path, &ReadOptions { zone: zone.cloned(), until })?,
            None => Vec::new(),
        };
        if self.holidays.is_empty() {
            return Ok(events);
        }
        if zone.is_none() && file.clock == Clock::Seconds {
            return Err(Failure::usage(
                "--holidays needs to know the date, but the file counts seconds; if they are since 1970, say where with \
                 --time-zone, such as --time-zone UTC",
            ));
        }
        let year = |at: Timestamp| {
            let at = jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default();
            zone.cloned().unwrap_or(TimeZone::UTC).to_datetime(at).year()
        };
        let begins = file.trace.series.iter().filter_map(|series| series.points.first()).map(|point| point.0);
        let years = year(begins.min().unwrap_or(until))..=year(until).saturating_add(1);
        for code in &self.holidays {
            let found = calendar::holidays(code, years.clone()).or_usage("--holidays cannot be used")?;
            let fresh = found.iter().filter_map(|holiday| holiday.event(zone));
            // The same holiday of two places is one.
            events.extend(fresh.filter(|event| event.start <= until).collect::<Vec<_>>());
        }
        events.sort_by(|a, b| (a.start, a.end, &a.name).cmp(&(b.start, b.end, &b.name)));
        events.dedup_by(|a, b| a.start == b.start && a.end == b.end && a.kind == b.kind);
        Ok(events)
    }
}

fn read(path: &Path, options: &ReadOptions) -> Result<Vec<Event>, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).or_usage(format!("cannot open {}", path.display()))?;
    file.take(EVENT_BYTES_MAX).read_to_end(&mut bytes).or_usage(format!("cannot read {}", path.display()))?;
    calendar::read(&bytes, options).or_usage(format!("cannot use {}", path.display()))
}

/// Larger files are not calendars; a little more than the parser takes, so that it is the one to refuse.
const EVENT_BYTES_MAX: u64 = (64 << 20) + 1;
/// Most steps of one series whose covariates are held.
const STEPS_MAX: usize = 50_000_000;
