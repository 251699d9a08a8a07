//! Bounds that hold at some times only: office hours, nights, the days of a sale.
//!
//! Times are those of the workload's place, so that 08:00 is 08:00 on both sides of a change of the clocks. A minimum is met
//! when it begins, which means that the planner looks one lead time ahead; a maximum that falls does so when it begins.

use std::fmt;
use std::time::Duration;

use forecast::{Timestamp, calendar};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;

mod agenda;

pub(crate) use agenda::Agenda;

/// Days of the calendar.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Days {
    /// Days of the week, Monday first.
    pub weekdays: [bool; 7],
    /// Public holidays of the workload's places.
    pub holidays: bool,
    /// Dates, each from the first to the last.
    pub dates: Vec<(Date, Date)>,
}

impl Days {
    /// No day at all.
    pub const NONE: Days = Days { weekdays: [false; 7], holidays: false, dates: Vec::new() };

    /// Every day.
    pub fn all() -> Days {
        Days { weekdays: [true; 7], ..Days::NONE }
    }

    fn have(&self, date: Date, holidays: &[Date]) -> bool {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or(0);
        self.weekdays[weekday]
            || (self.holidays && holidays.contains(&date))
            || self.dates.iter().any(|(first, last)| (*first..=*last).contains(&date))
    }
}

/// Bounds for a part of some days.
#[derive(Debug, Clone, PartialEq)]
pub struct Scope {
    /// What it is called when decisions are explained.
    pub name: String,
    /// The days on which it begins.
    pub days: Days,
    /// Days on which it does not.
    pub except: Days,
    /// When it begins.
    pub from: Time,
    /// When it ends; on the next day if that is not after the beginning.
    pub to: Time,
    /// Active instances, at least; `None`: as outside of it.
    pub replicas_min: Option<u32>,
    /// Active plus standby instances, at most; `None`: as outside of it.
    pub replicas_max: Option<u32>,
    /// Standby instances, at least; `None`: as outside of it.
    pub standby_min: Option<u32>,
}

impl Scope {
    fn begins_on(&self, date: Date, holidays: &[Date]) -> bool {
        self.days.have(date, holidays) && !self.except.have(date, holidays)
    }

    /// When it is in force if it begins on this date.
    fn span(&self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let end = if self.to > self.from { date } else { date.tomorrow().ok()? };
        let moment = |date: Date, time: Time| {
            let zoned = date.to_datetime(time).to_zoned(zone.clone()).ok()?;
            Some(Timestamp::from_millis(zoned.timestamp().as_millisecond()))
        };
        let span = (moment(date, self.from)?, moment(end, self.to)?);
        (span.0 < span.1).then_some(span)
    }
}

/// All scopes of a workload, and what holds outside of them.
///
/// Where several are in force, the last one that names a bound decides it; a minimum above the maximum is cut to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Scopes {
    base: Moment,
    scopes: Vec<Scope>,
    /// The places whose public holidays count, as ISO codes.
    places: Vec<String>,
}

impl Scopes {
    /// The bounds outside of all scopes, and the scopes.
    pub(crate) fn new(base: Moment, scopes: Vec<Scope>, places: Vec<String>) -> Scopes {
        Scopes { base, scopes, places }
    }

    /// The widest bounds that hold at any time. A maximum may be what cuts a minimum.
    pub(crate) fn widest(&self) -> Moment {
        let least = |scope: &Scope| [scope.replicas_min, scope.replicas_max].into_iter().flatten().min();
        self.scopes.iter().fold(self.base, |widest, scope| Moment {
            replicas_min: widest.replicas_min.min(least(scope).unwrap_or(u32::MAX)),
            replicas_max: widest.replicas_max.max(scope.replicas_max.unwrap_or(0)),
            standby_min: widest.standby_min.min(scope.standby_min.unwrap_or(u32::MAX)),
        })
    }

    /// Every rule with whether it is kept, by field.
    pub(crate) fn rules(
        &self,
        standby_max: u32,
        replicas_max: u32,
    ) -> [(bool, &'static str, &'static str); 3] {
        let each = |kept: &dyn Fn(&Scope) -> bool| self.scopes.iter().all(kept);
        let ordered = |s: &Scope| {
            let (min, max) = (s.replicas_min.unwrap_or(0), s.replicas_max.unwrap_or(u32::MAX));
            min <= max && min <= replicas_max && s.replicas_max != Some(0)
        };
        [
            (self.scopes.len() <= SCOPES_MAX, "scopes", "must be at most 64"),
            (each(&ordered), "scopes", "must have a replicas_min of at most replicas_max, and that above 0"),
            (
                each(&|s| s.standby_min.is_none_or(|min| min <= standby_max)),
                "scopes",
                "must have a standby_min of at most standby_max",
            ),
        ]
    }

    fn holidays(&self, years: std::ops::RangeInclusive<i16>) -> Vec<Date> {
        let of = |place: &String| calendar::holidays(place, years.clone()).unwrap_or_default();
        self.places.iter().flat_map(of).map(|holiday| holiday.date).collect()
    }
}

/// The bounds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) replicas_min: u32,
    pub(crate) replicas_max: u32,
    pub(crate) standby_min: u32,
}

/// The bounds of a plan: of now, and of what comes before more could be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Active instances, at least.
    pub active_min: u32,
    /// Standby instances, at least.
    pub standby_min: u32,
    /// Active and standby instances together, at least.
    pub total_min: u32,
    /// Active and standby instances together, at most.
    pub replicas_max: u32,
}

impl Bounds {
    /// The same at all times.
    pub fn fixed(replicas_min: u32, replicas_max: u32, standby_min: u32) -> Bounds {
        Bounds { active_min: replicas_min, standby_min, total_min: replicas_min, replicas_max }
    }
}

/// What a scope has to do with a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct ScopeReason {
    /// Its name.
    pub scope: String,
    /// When it begins; `None`: it is in force.
    pub begins: Option<Timestamp>,
    /// When it ends.
    pub ends: Timestamp,
    /// Its minimum of active instances.
    pub replicas_min: Option<u32>,
    /// Its maximum of instances.
    pub replicas_max: Option<u32>,
    /// Its minimum of standbys.
    pub standby_min: Option<u32>,
}

impl fmt::Display for ScopeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.begins {
            None => write!(f, "Scope \"{}\" is in force until {}:", self.scope, self.ends)?,
            Some(begins) => write!(f, "Scope \"{}\" begins at {begins} and is prepared for:", self.scope)?,
        }
        let bounds = [
            self.replicas_min.map(|n| format!(" at least {n} active")),
            self.replicas_max.map(|n| format!(" at most {n} in all")),
            self.standby_min.map(|n| format!(" at least {n} standby")),
        ];
        let bounds: Vec<String> = bounds.into_iter().flatten().collect();
        write!(f, "{}.", bounds.join(","))
    }
}

/// How far ahead of now an agenda is made, beyond what is asked for.
const AGENDA: Duration = Duration::from_secs(12 * 3_600);
const SCOPES_MAX: usize = 64;
