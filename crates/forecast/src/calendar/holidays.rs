//! Public holidays by rule, for any year.
//!
//! A country is a table of [`HolidayRule`]s ([`countries`]); more are added as data, or given by the caller
//! ([`holidays_by`]). Not here: school holidays, and holidays that are proclaimed year by year.

use std::ops::RangeInclusive;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::countries::COUNTRIES;
use super::event::{Event, midnight};
use crate::timestamp::excerpt;

/// On which day of a year a holiday falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Day {
    /// The same date each year.
    Fixed {
        /// 1 is January.
        month: i8,
        /// From 1.
        day: i8,
    },
    /// The first (1), second, ... or last (-1) such weekday of a month.
    Nth {
        /// 1 is January.
        month: i8,
        /// Which day of the week.
        weekday: Weekday,
        /// 1 to 5, or -1 to -5 from the end.
        nth: i8,
    },
    /// The last such weekday before a date.
    Before {
        /// 1 is January.
        month: i8,
        /// From 1.
        day: i8,
        /// Which day of the week.
        weekday: Weekday,
    },
    /// So many days after Easter Sunday of the western churches.
    Easter {
        /// Negative is before.
        days: i16,
    },
}

/// On which day people are off work when a holiday falls on a weekend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// On the day itself, whatever it is.
    SameDay,
    /// The Friday before a Saturday, the Monday after a Sunday.
    NearestWeekday,
    /// The next working day that is not a holiday itself.
    NextWeekday,
}

/// When a holiday is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HolidayRule<'a> {
    /// What it is called.
    pub name: &'a str,
    /// When it is.
    pub day: Day,
    /// When people are off work.
    pub observed: Observed,
    /// First and last year.
    pub years: (i16, i16),
    /// Years in which it was moved or left out.
    pub except: &'a [i16],
    /// Parts of the country that have it; empty is all.
    pub regions: &'a [&'a str],
}

/// One holiday of one year.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holiday {
    /// The day on which people are off work.
    pub date: Date,
    /// What it is called.
    pub name: String,
}

impl Holiday {
    /// As an event of kind `holiday` that lasts the whole day; `None` beyond the calendar.
    pub fn event(&self, zone: Option<&TimeZone>) -> Option<Event> {
        let zone = zone.cloned().unwrap_or(TimeZone::UTC);
        Some(Event {
            start: midnight(self.date, &zone)?,
            end: midnight(self.date.tomorrow().ok()?, &zone)?,
            name: self.name.clone(),
            kind: HOLIDAY_KIND.to_owned(),
            magnitude: 1.0,
        })
    }
}

/// Nothing is known about a country.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "holidays of `{wanted}` are not known; known are {known}. Write them into an events file with kind `holiday`"
)]
pub struct UnknownCountry {
    /// The code asked for.
    pub wanted: String,
    /// The codes there are.
    pub known: String,
}

/// The codes that [`holidays`] knows: ISO 3166 countries, and some of their parts.
pub fn countries() -> Vec<String> {
    let mut known = Vec::new();
    for (country, rules) in COUNTRIES {
        known.push((*country).to_owned());
        let mut regions: Vec<&str> = rules.iter().flat_map(|rule| rule.regions.iter().copied()).collect();
        regions.sort_unstable();
        regions.dedup();
        known.extend(regions.iter().map(|region| format!("{country}-{region}")));
    }
    known
}

/// Public holidays of a country (`DE`) or a part of it (`DE-BY`) on the days they are observed, in order of time.
///
/// # Errors
/// [`UnknownCountry`] lists what is known.
pub fn holidays(code: &str, years: RangeInclusive<i16>) -> Result<Vec<Holiday>, UnknownCountry> {
    let unknown = || UnknownCountry { wanted: excerpt(code), known: countries().join(", ") };
    let upper = code.trim().to_ascii_uppercase();
    let (country, region) = match upper.split_once('-') {
        Some((country, region)) => (country, Some(region)),
        None => (upper.as_str(), None),
    };
    let rules = COUNTRIES.iter().find(|(known, _)| *known == country).ok_or_else(unknown)?.1;
    if region.is_some_and(|region| !rules.iter().any(|rule| rule.regions.contains(&region))) {
        return Err(unknown());
    }
    let here: Vec<HolidayRule<'_>> = rules
        .iter()
        .filter(|rule| rule.regions.is_empty() || region.is_some_and(|region| rule.regions.contains(&region)))
        .copied()
        .collect();
    Ok(holidays_by(&here, years))
}

/// Holidays by the caller's own rules, in order of time.
pub fn holidays_by(rules: &[HolidayRule<'_>], years: RangeInclusive<i16>) -> Vec<Holiday> {
    let mut found: Vec<Holiday> = Vec::new();
    // A holiday of the year after may be observed on the last day of this one, and the other way round.
    let (first, last) = (years.start().saturating_sub(1), years.end().saturating_add(1));
    for year in first..=last.min(first.saturating_add(YEARS_MAX)) {
        let mut due: Vec<(Date, &HolidayRule<'_>)> = rules
            .iter()
            .filter(|rule| (rule.years.0..=rule.years.1).contains(&year) && !rule.except.contains(&year))
            .filter_map(|rule| Some((rule.day.in_year(year)?, rule)))
            .collect();
        due.sort_by_key(|&(date, _)| date);
        let taken: Vec<Date> = due.iter().map(|&(date, _)| date).collect();
        for (date, rule) in due {
            let earlier = &found[found.len().saturating_sub(8)..];
            let date = rule
                .observed
                .day(date, |day| taken.contains(&day) || earlier.iter().any(|holiday| holiday.date == day));
            found.push(Holiday { date, name: rule.name.to_owned() });
        }
    }
    found.retain(|holiday| years.contains(&holiday.date.year()));
    found.sort_by(|a, b| (a.date, &a.name).cmp(&(b.date, &b.name)));
    found
}

impl Day {
    fn in_year(self, year: i16) -> Option<Date> {
        match self {
            Day::Fixed { month, day } => Date::new(year, month, day).ok(),
            Day::Nth { month, weekday, nth } => {
                Date::new(year, month, 1).ok()?.nth_weekday_of_month(nth, weekday).ok()
            }
            Day::Before { month, day, weekday } => {
                Date::new(year, month, day).ok()?.nth_weekday(-1, weekday).ok()
            }
            Day::Easter { days } => {
                easter(year)?.checked_add(jiff::Span::new().try_days(i64::from(days)).ok()?).ok()
            }
        }
    }
}

impl Observed {
    fn day(self, date: Date, is_taken: impl Fn(Date) -> bool) -> Date {
        let is_weekend = |date: Date| matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday);
        match (self, date.weekday()) {
            (Observed::NearestWeekday, Weekday::Saturday) => date.yesterday().unwrap_or(date),
            (Observed::NearestWeekday, Weekday::Sunday) => date.tomorrow().unwrap_or(date),
            (Observed::NextWeekday, _) if is_weekend(date) => {
                let mut next = date;
                for _ in 0..7 {
                    next = next.tomorrow().unwrap_or(next);
                    if !is_weekend(next) && !is_taken(next) {
                        break;
                    }
                }
                next
            }
            (Observed::SameDay | Observed::NearestWeekday | Observed::NextWeekday, _) => date,
        }
    }
}

/// Easter Sunday of the western churches, by the "anonymous" Gregorian algorithm (Meeus, Astronomical Algorithms, ch. 8).
/// `None` before the Gregorian calendar (1583).
pub fn easter(year: i16) -> Option<Date> {
    if year < 1583 {
        return None;
    }
    let y = i32::from(year);
    let golden = y % 19;
    let (century, in_century) = (y / 100, y % 100);
    let (leap_centuries, rest) = (century / 4, century % 4);
    let moon_correction = (century + 8) / 25;
    let shift = (century - moon_correction + 1) / 3;
    let epact = (19 * golden + century - leap_centuries - shift + 15) % 30;
    let weekday = (32 + 2 * rest + 2 * (in_century / 4) - epact - in_century % 4) % 7;
    let late = (golden + 11 * epact + 22 * weekday) / 451;
    let sum = epact + weekday - 7 * late + 114;
    Date::new(year, (sum / 31) as i8, (sum % 31 + 1) as i8).ok()
}

/// What holidays are called as a kind of event.
pub(crate) const HOLIDAY_KIND: &str = "holiday";
/// More years are not asked for by anybody.
const YEARS_MAX: i16 = 1000;
