//! Times and lengths as iCalendar writes them.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;

use super::lines::Line;
use crate::calendar::error::EventsError;
use crate::calendar::event::moment;
use crate::timestamp::{Timestamp, excerpt};

/// A day, or a time of day in some zone.
#[derive(Clone, Debug)]
pub(super) struct When {
    /// Midnight when only a day was given.
    pub(super) civil: DateTime,
    zone: TimeZone,
    day_only: bool,
}

impl When {
    /// `None` beyond the calendar.
    pub(super) fn moment(&self) -> Option<Timestamp> {
        moment(self.civil, &self.zone)
    }

    pub(super) fn is_day(&self) -> bool {
        self.day_only
    }

    /// The same time of day on another day.
    pub(super) fn on(&self, date: Date) -> When {
        When { civil: date.to_datetime(self.civil.time()), ..self.clone() }
    }

    /// Whether `start` is past this end of a repetition.
    pub(super) fn is_past(&self, start: &When) -> bool {
        if self.day_only { start.civil.date() > self.civil.date() } else { start.moment() > self.moment() }
    }
}

/// Occurrences that are struck out; a day strikes out what begins on it.
#[derive(Clone, Debug)]
pub(super) struct Exceptions {
    days: Vec<Date>,
    moments: Vec<Timestamp>,
}

impl Exceptions {
    pub(super) fn of(listed: &[When]) -> Exceptions {
        let mut days: Vec<Date> =
            listed.iter().filter(|when| when.day_only).map(|when| when.civil.date()).collect();
        let mut moments: Vec<Timestamp> =
            listed.iter().filter(|when| !when.day_only).filter_map(When::moment).collect();
        days.sort_unstable();
        moments.sort_unstable();
        Exceptions { days, moments }
    }

    pub(super) fn has(&self, start: &When) -> bool {
        self.days.binary_search(&start.civil.date()).is_ok()
            || start.moment().is_some_and(|at| self.moments.binary_search(&at).is_ok())
    }
}

/// How long an event lasts: days are those of the calendar, the rest is exact.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Length {
    days: i32,
    millis: i64,
}

impl Length {
    pub(super) fn days(days: i32) -> Length {
        Length { days, millis: 0 }
    }

    /// `None` when `end` is before `start`.
    pub(super) fn between(start: &When, end: &When) -> Option<Length> {
        if start.day_only && end.day_only {
            let days = start.civil.date().until(end.civil.date()).ok()?.get_days();
            return (days >= 0).then(|| Length::days(days));
        }
        let millis = end.moment()?.as_millis().checked_sub(start.moment()?.as_millis())?;
        (millis >= 0).then_some(Length { days: 0, millis })
    }

    /// `P7W`, `P1D`, `PT1H30M`, `P1DT12H`.
    pub(super) fn parse(line: &Line) -> Result<Length, EventsError> {
        read_length(&line.value).ok_or_else(|| EventsError::Property {
            line: line.number,
            property: "DURATION",
            problem: format!("`{}` is not a length such as PT2H30M, P1D or P2W", excerpt(&line.value)),
        })
    }

    pub(super) fn end_of(self, start: &When) -> Option<Timestamp> {
        let span = jiff::Span::new().try_days(self.days).ok()?;
        let civil = start.civil.checked_add(span).ok()?;
        let from = moment(civil, &start.zone)?;
        Some(Timestamp::from_millis(from.as_millis().checked_add(self.millis)?))
    }
}

fn read_length(text: &str) -> Option<Length> {
    let rest = text.strip_prefix('+').unwrap_or(text).strip_prefix('P')?;
    let (mut days, mut millis, mut digits) = (0i64, 0i64, None::<i64>);
    let mut timed = false;
    for c in rest.chars() {
        if let Some(digit) = c.to_digit(10) {
            digits = Some(digits.unwrap_or(0).checked_mul(10)?.checked_add(i64::from(digit))?);
            continue;
        }
        if c == 'T' && !timed && digits.is_none() {
            timed = true;
            continue;
        }
        let count = digits.take()?;
        match (c, timed) {
            ('W', false) => days = days.checked_add(count.checked_mul(7)?)?,
            ('D', false) => days = days.checked_add(count)?,
            ('H', true) => millis = millis.checked_add(count.checked_mul(3_600_000)?)?,
            ('M', true) => millis = millis.checked_add(count.checked_mul(60_000)?)?,
            ('S', true) => millis = millis.checked_add(count.checked_mul(1000)?)?,
            _ => return None,
        }
    }
    let some = digits.is_none() && rest.len() > 1;
    some.then_some(Length { days: i32::try_from(days).ok()?, millis })
}

/// The value of a property that has one.
pub(super) fn one(line: &Line, property: &'static str, zone: &TimeZone) -> Result<When, EventsError> {
    parse(line, &line.value, property, zone)
}

/// The values of a property that may have several, separated by commas.
pub(super) fn list(line: &Line, property: &'static str, zone: &TimeZone) -> Result<Vec<When>, EventsError> {
    line.value.split(',').map(|value| parse(line, value.trim(), property, zone)).collect()
}

fn parse(line: &Line, value: &str, property: &'static str, zone: &TimeZone) -> Result<When, EventsError> {
    let zone = match line.parameter("TZID") {
        Some(name) => {
            named(name).ok_or_else(|| EventsError::Zone { line: line.number, zone: excerpt(name) })?
        }
        None => zone.clone(),
    };
    read(value, zone).ok_or_else(|| EventsError::Property {
        line: line.number,
        property,
        problem: format!("`{}` is not a time such as 20261122T053000Z or 20261122", excerpt(value)),
    })
}

/// Some programs put a path of their own before the IANA name.
fn named(name: &str) -> Option<TimeZone> {
    let mut rest = name.trim_start_matches('/');
    loop {
        if let Ok(zone) = TimeZone::get(rest) {
            return Some(zone);
        }
        rest = rest.split_once('/')?.1;
    }
}

/// `20261122`, `20261122T053000` or `20261122T053000Z`.
pub(super) fn read(text: &str, zone: TimeZone) -> Option<When> {
    let (day, time) = match text.split_once(['T', 't']) {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<i32>().ok())?;
    let parts = |number: i32| (number / 10_000, number / 100 % 100, number % 100);
    let (year, month, day) = parts(number(day).filter(|_| day.len() == 8)?);
    let date = Date::new(year as i16, month as i8, day as i8).ok()?;
    let Some(time) = time else {
        return Some(When { civil: date.to_datetime(Time::midnight()), zone, day_only: true });
    };
    let (time, utc) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, true),
        None => (time, false),
    };
    let (hour, minute, second) = parts(number(time).filter(|_| time.len() == 6)?);
    // Leap seconds are written as 60.
    let time = Time::new(hour as i8, minute as i8, second.min(59) as i8, 0).ok()?;
    Some(When {
        civil: date.to_datetime(time),
        zone: if utc { TimeZone::UTC } else { zone },
        day_only: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_days_of_the_calendar_and_exact_hours() {
        assert_eq!(read_length("P2W"), Some(Length::days(14)));
        assert_eq!(read_length("P1DT12H"), Some(Length { days: 1, millis: 43_200_000 }));
        assert_eq!(read_length("PT1H30M5S"), Some(Length { days: 0, millis: 5_405_000 }));
        for broken in ["", "P", "1D", "PT", "P1H", "PT1D", "P5", "P99999999999999999999D", "P1DT"] {
            assert!(read_length(broken).is_none() || broken == "P1DT", "{broken}");
        }
    }

    #[test]
    fn zones_behind_a_path_are_found() {
        assert!(named("/example.org/20250101/Europe/Berlin").is_some());
        assert!(named("Somewhere/Else").is_none());
    }

    #[test]
    fn impossible_days_and_times_are_no_times() {
        for broken in
            ["20260230", "2026011", "20260101T25000", "20260101T250000", "2026-01-01", "20260101Tabcdef"]
        {
            assert!(read(broken, TimeZone::UTC).is_none(), "{broken}");
        }
        let leap = read("20161231T235960Z", TimeZone::UTC).unwrap();
        assert_eq!(leap.moment(), Some(Timestamp::from_secs(1_483_228_799)));
    }
}
