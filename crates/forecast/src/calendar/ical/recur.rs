//! Repetition (RFC 5545, section 3.3.10): daily, weekly, monthly and yearly, with INTERVAL, COUNT, UNTIL, BYDAY, BYMONTH,
//! BYMONTHDAY, BYSETPOS and WKST. Finer or rarer rules are refused by name, so that nothing is silently left out.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use super::lines::Line;
use super::time::{self, When};
use crate::calendar::error::EventsError;
use crate::timestamp::{Timestamp, excerpt};

/// How an event repeats.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    every: Frequency,
    interval: u32,
    count: Option<u32>,
    until: Option<When>,
    /// With its number in the month or year: the second, the last (-1); 0 is every one.
    days: Vec<(i8, Weekday)>,
    months: Vec<i8>,
    /// From the end when negative.
    month_days: Vec<i8>,
    positions: Vec<i32>,
    week_begins: Weekday,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Rule {
    pub(super) fn parse(line: &Line, zone: &TimeZone) -> Result<Rule, EventsError> {
        let fail = |problem: String| EventsError::Property { line: line.number, property: "RRULE", problem };
        let mut rule = Rule {
            every: Frequency::Daily,
            interval: 1,
            count: None,
            until: None,
            days: Vec::new(),
            months: Vec::new(),
            month_days: Vec::new(),
            positions: Vec::new(),
            week_begins: Weekday::Monday,
        };
        let mut every = None;
        for part in line.value.split(';').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = name.trim().to_ascii_uppercase();
            let value = value.trim().to_ascii_uppercase();
            let unreadable = || fail(format!("`{}` is not understood", excerpt(part)));
            match name.as_str() {
                "FREQ" => {
                    every = Some(frequency(&value).ok_or_else(|| {
                        fail(format!("`{}` is not one of DAILY, WEEKLY, MONTHLY, YEARLY", excerpt(&value)))
                    })?)
                }
                "INTERVAL" => {
                    rule.interval = value.parse().ok().filter(|&n| n > 0).ok_or_else(unreadable)?;
                }
                "COUNT" => rule.count = Some(value.parse().map_err(|_| unreadable())?),
                "UNTIL" => rule.until = Some(time::read(&value, zone.clone()).ok_or_else(unreadable)?),
                "BYDAY" => rule.days = listed(&value, weekday).ok_or_else(unreadable)?,
                "BYMONTH" => rule.months = numbers(&value, 1, 12, false).ok_or_else(unreadable)?,
                "BYMONTHDAY" => rule.month_days = numbers(&value, 1, 31, true).ok_or_else(unreadable)?,
                "BYSETPOS" => {
                    rule.positions = listed(&value, |text| text.parse().ok().filter(|&n: &i32| n != 0))
                        .ok_or_else(unreadable)?;
                }
                "WKST" => rule.week_begins = weekday(&value).ok_or_else(unreadable)?.1,
                _ => {
                    return Err(fail(format!(
                        "`{}` is not supported; write the occurrences out as events or with RDATE",
                        excerpt(&name)
                    )));
                }
            }
        }
        rule.every = every.ok_or_else(|| fail("it has no FREQ; add for example FREQ=WEEKLY".to_owned()))?;
        Ok(rule)
    }

    /// The beginnings of all occurrences up to `until`; `None` when there are more than `room`.
    pub(super) fn expand(&self, start: &When, until: Timestamp, room: usize) -> Option<Vec<When>> {
        let mut found = Vec::new();
        let left = self.count.map_or(usize::MAX, |count| count as usize);
        for period in 0..PERIODS_MAX {
            if self.begin_of(start, period).is_none_or(|at| at > until) {
                break;
            }
            let Some(days) = self.days_of(start, period) else { break };
            for day in self.picked(days) {
                let occurrence = start.on(day);
                if day < start.civil.date() {
                    continue;
                }
                let past = occurrence.moment().is_none_or(|at| at > until)
                    || self.until.as_ref().is_some_and(|end| end.is_past(&occurrence));
                if past || found.len() >= left {
                    return Some(found);
                }
                if found.len() >= room {
                    return None;
                }
                found.push(occurrence);
            }
        }
        Some(found)
    }

    /// The earliest that an occurrence of the `period`-th day, week, month or year can begin.
    fn begin_of(&self, start: &When, period: u32) -> Option<Timestamp> {
        let ahead = i64::from(period).checked_mul(i64::from(self.interval))?;
        let span = jiff::Span::new();
        let (first, span) = match self.every {
            Frequency::Daily => (start.civil.date(), span.try_days(ahead)),
            Frequency::Weekly => (start.civil.date(), span.try_days(ahead.checked_mul(7)? - 7)),
            Frequency::Monthly => (start.civil.date().first_of_month(), span.try_months(ahead)),
            Frequency::Yearly => (start.civil.date().first_of_year(), span.try_years(ahead)),
        };
        start.on(first.checked_add(span.ok()?).ok()?).moment()
    }

    /// The days of the `period`-th day, week, month or year that the rule allows, in order; `None` beyond the calendar.
    fn days_of(&self, start: &When, period: u32) -> Option<Vec<Date>> {
        let first = start.civil.date();
        let ahead = i64::from(period).checked_mul(i64::from(self.interval))?;
        let span = jiff::Span::new();
        let mut days = match self.every {
            Frequency::Daily => {
                let day = first.checked_add(span.try_days(ahead).ok()?).ok()?;
                return Some(self.filtered(vec![day]));
            }
            Frequency::Weekly => {
                let into = first.weekday().since(self.week_begins);
                let monday =
                    first.checked_add(span.try_days(ahead.checked_mul(7)? - i64::from(into)).ok()?).ok()?;
                let wanted = |day: &Date| match self.days.as_slice() {
                    [] => day.weekday() == first.weekday(),
                    days => days.iter().any(|&(_, weekday)| weekday == day.weekday()),
                };
                let week = (0..7).filter_map(|i| monday.checked_add(span.try_days(i).ok()?).ok());
                let days: Vec<Date> = week.filter(wanted).collect();
                return Some(days.into_iter().filter(|day| self.allows_month(*day)).collect());
            }
            Frequency::Monthly => {
                let month = first.first_of_month().checked_add(span.try_months(ahead).ok()?).ok()?;
                if self.allows_month(month) { self.in_month(month, first) } else { Vec::new() }
            }
            Frequency::Yearly => {
                let year = first.first_of_year().checked_add(span.try_years(ahead).ok()?).ok()?;
                self.in_year(year, first)
            }
        };
        days.sort_unstable();
        days.dedup();
        Some(days)
    }

    fn in_month(&self, month: Date, first: Date) -> Vec<Date> {
        let all = days_from(month, i64::from(month.days_in_month()));
        if self.days.is_empty() && self.month_days.is_empty() {
            return all.into_iter().filter(|day| day.day() == first.day()).collect();
        }
        let numbered = |day: &Date| {
            let (number, from_end) =
                ((day.day() - 1) / 7 + 1, -((month.days_in_month() - day.day()) / 7 + 1));
            self.days.is_empty()
                || self
                    .days
                    .iter()
                    .any(|&(n, weekday)| weekday == day.weekday() && (n == 0 || n == number || n == from_end))
        };
        all.into_iter().filter(|day| self.allows_month_day(*day)).filter(numbered).collect()
    }

    fn in_year(&self, year: Date, first: Date) -> Vec<Date> {
        let months = (1..=12i8).filter(|month| self.months.is_empty() || self.months.contains(month));
        let month_of = |month: i8| Date::new(year.year(), month, 1).ok();
        if !self.months.is_empty() || !self.month_days.is_empty() {
            return months.filter_map(month_of).flat_map(|month| self.in_month(month, first)).collect();
        }
        if self.days.is_empty() {
            return Date::new(year.year(), first.month(), first.day()).into_iter().collect();
        }
        let days = i64::from(year.days_in_year());
        let numbered = |(at, day): &(i64, Date)| {
            self.days.iter().any(|&(n, weekday)| {
                let (number, from_end) = (at / 7 + 1, -((days - 1 - at) / 7 + 1));
                weekday == day.weekday() && (n == 0 || i64::from(n) == number || i64::from(n) == from_end)
            })
        };
        (0..).zip(days_from(year, days)).filter(numbered).map(|(_, day)| day).collect()
    }

    fn filtered(&self, days: Vec<Date>) -> Vec<Date> {
        let weekday = |day: &Date| {
            self.days.is_empty() || self.days.iter().any(|&(_, weekday)| weekday == day.weekday())
        };
        days.into_iter()
            .filter(|&day| self.allows_month(day) && self.allows_month_day(day))
            .filter(weekday)
            .collect()
    }

    fn allows_month(&self, day: Date) -> bool {
        self.months.is_empty() || self.months.contains(&day.month())
    }

    fn allows_month_day(&self, day: Date) -> bool {
        let from_end = day.day() - day.days_in_month() - 1;
        self.month_days.is_empty()
            || self.month_days.contains(&day.day())
            || self.month_days.contains(&from_end)
    }

    /// BYSETPOS: the first, the last, ... of what a period has.
    fn picked(&self, days: Vec<Date>) -> Vec<Date> {
        if self.positions.is_empty() {
            return days;
        }
        let len = days.len() as i64;
        let wanted =
            |at: i64| self.positions.iter().any(|&n| i64::from(n) == at + 1 || i64::from(n) == at - len);
        (0..).zip(days).filter(|&(at, _)| wanted(at)).map(|(_, day)| day).collect()
    }
}

fn days_from(first: Date, count: i64) -> Vec<Date> {
    (0..count).filter_map(|i| first.checked_add(jiff::Span::new().try_days(i).ok()?).ok()).collect()
}

fn frequency(text: &str) -> Option<Frequency> {
    match text {
        "DAILY" => Some(Frequency::Daily),
        "WEEKLY" => Some(Frequency::Weekly),
        "MONTHLY" => Some(Frequency::Monthly),
        "YEARLY" => Some(Frequency::Yearly),
        _ => None,
    }
}

/// `MO`, `2TU`, `-1FR`.
fn weekday(text: &str) -> Option<(i8, Weekday)> {
    let at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, day) = text.split_at(at);
    let day = match day {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    };
    let number = if number.is_empty() { 0 } else { number.parse().ok().filter(|&n: &i8| n != 0)? };
    Some((number, day))
}

fn numbers(text: &str, low: i8, high: i8, from_end: bool) -> Option<Vec<i8>> {
    listed(text, |text| {
        let number: i8 = text.parse().ok()?;
        let size = if from_end { number.checked_abs()? } else { number };
        (low..=high).contains(&size).then_some(number)
    })
}

fn listed<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<&str> = text.split(',').collect();
    if items.len() > LIST_MAX {
        return None;
    }
    items.into_iter().map(|item| read(item.trim())).collect()
}

/// Days, weeks, months or years looked at; more than a century of days.
const PERIODS_MAX: u32 = 40_000;
/// Values in one list.
const LIST_MAX: usize = 366;
