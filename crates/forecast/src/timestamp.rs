//! A moment in time as the project counts it: whole milliseconds since the Unix epoch, UTC.
//!
//! Why not `jiff::Timestamp` or `SystemTime`: a plain integer is `Copy`, hashes and sorts fast, never fails in arithmetic
//! (every operation here saturates or is checked) and cannot read a clock. Text comes in and goes out as ISO 8601.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

/// Milliseconds since 1970-01-01T00:00:00Z. Arithmetic saturates at the ends of `i64`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The Unix epoch.
    pub const EPOCH: Timestamp = Timestamp(0);
    /// The latest moment that can be counted.
    pub const MAX: Timestamp = Timestamp(i64::MAX);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// From whole seconds since the Unix epoch, saturating.
    pub const fn from_secs(secs: i64) -> Timestamp {
        Timestamp(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment `by` later, or `None` past the end of time. Parts of a millisecond are dropped.
    pub fn checked_add(self, by: Duration) -> Option<Timestamp> {
        self.0.checked_add(i64::try_from(by.as_millis()).ok()?).map(Timestamp)
    }

    /// The moment `by` earlier, or `None` before the beginning of time. Parts of a millisecond are dropped.
    pub fn checked_sub(self, by: Duration) -> Option<Timestamp> {
        self.0.checked_sub(i64::try_from(by.as_millis()).ok()?).map(Timestamp)
    }

    /// The moment `by` later, or the last one that can be counted.
    pub fn saturating_add(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(millis(by)))
    }

    /// The moment `by` earlier, or the first one that can be counted.
    pub fn saturating_sub(self, by: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(millis(by)))
    }

    /// How long ago `earlier` was; zero when it was not earlier at all.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(u64::try_from(i128::from(self.0) - i128::from(earlier.0)).unwrap_or(0))
    }

    /// The last multiple of `step` (counted from the epoch) that is not after this moment. A step below a millisecond
    /// leaves the moment as it is.
    pub fn align_down(self, step: Duration) -> Timestamp {
        match millis(step) {
            0 => self,
            step => Timestamp(self.0.saturating_sub(self.0.rem_euclid(step))),
        }
    }

    /// Reads ISO 8601 with a zone (`2026-11-22T05:30:00Z`, `2026-11-22T06:30:00+01:00`), decimal seconds since the epoch
    /// (`1795325400`, `12.5`), or milliseconds where seconds would mean the year 5138 or later (`1795325400000`).
    ///
    /// # Errors
    /// [`TimestampError`] says which of the two the text resembles and what is wrong with it.
    pub fn parse(text: &str) -> Result<Timestamp, TimestampError> {
        Timestamp::parse_in(text, None)
    }

    /// As [`parse`](Self::parse); a wall clock reading without a zone is one of `zone`, if given. A reading that the clock
    /// skips is the moment after the jump; of one that occurs twice, it is the first.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn parse_in(text: &str, zone: Option<&TimeZone>) -> Result<Timestamp, TimestampError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TimestampError::Empty);
        }
        if let Ok(number) = text.parse::<f64>() {
            return from_number(number).ok_or_else(|| TimestampError::OutOfRange(excerpt(text)));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(at) => Ok(Timestamp(at.as_millisecond())),
            Err(_) => {
                let reading = text.parse::<jiff::civil::DateTime>();
                let reading = reading.map_err(|_| TimestampError::Unreadable(excerpt(text)))?;
                let zone = zone.ok_or_else(|| TimestampError::NoZone(excerpt(text)))?;
                let moment = zone.to_ambiguous_timestamp(reading).compatible();
                let at = moment.map_err(|_| TimestampError::OutOfRange(excerpt(text)))?;
                Ok(Timestamp(at.as_millisecond()))
            }
        }
    }

    /// The second of the two moments at which a wall clock that is set back shows a time without a zone; `None` for every other
    /// text.
    pub(crate) fn second_reading(text: &str, zone: &TimeZone) -> Option<Timestamp> {
        let reading = zone.to_ambiguous_timestamp(text.trim().parse::<jiff::civil::DateTime>().ok()?);
        let moment = reading.is_ambiguous().then(|| reading.later().ok()).flatten()?;
        Some(Timestamp(moment.as_millisecond()))
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Timestamp, TimestampError> {
        Timestamp::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => at.fmt(f),
            // Outside the years that ISO 8601 can write: the raw count, marked as such.
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, by: Duration) -> Timestamp {
        self.saturating_add(by)
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, by: Duration) -> Timestamp {
        self.saturating_sub(by)
    }
}

/// Why a text is not a moment in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimestampError {
    /// Nothing but white space.
    #[error("the timestamp is empty; write ISO 8601 with a zone or seconds since the epoch")]
    Empty,
    /// A date and time, but not where on earth.
    #[error("timestamp `{0}` has no zone; append `Z` for UTC or an offset such as `+01:00`")]
    NoZone(String),
    /// Beyond what can be counted in milliseconds.
    #[error("timestamp `{0}` is out of range")]
    OutOfRange(String),
    /// Neither ISO 8601 nor a number.
    #[error(
        "timestamp `{0}` is neither ISO 8601 with a zone (such as 2026-11-22T05:30:00Z) nor seconds or milliseconds since the epoch"
    )]
    Unreadable(String),
}

/// Seconds or milliseconds since the epoch, whichever is likelier; `None` if neither is likely.
fn from_number(number: f64) -> Option<Timestamp> {
    const SECONDS_MAX: f64 = 1e11;
    let millis = if number.abs() < SECONDS_MAX { number * 1000.0 } else { number };
    (millis.abs() < SECONDS_MAX * 1000.0).then(|| Timestamp(millis.round() as i64))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// At most [`EXCERPT_CHARS`] characters of a text that somebody else wrote, for an error message.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String =
        text.chars().take(EXCERPT_CHARS).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(EXCERPT_CHARS).is_some() {
        short.push_str("...");
    }
    short
}

const EXCERPT_CHARS: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iso_text_with_any_zone_becomes_utc() {
        let at = Timestamp::parse("1995-07-01T00:00:00-04:00").unwrap();
        assert_eq!(at, Timestamp::from_secs(804_571_200));
        assert_eq!(at.to_string(), "1995-07-01T04:00:00Z");
        assert_eq!(Timestamp::parse(&at.to_string()), Ok(at));
    }

    #[test]
    fn seconds_may_be_decimal_or_negative() {
        assert_eq!(Timestamp::parse("12.5"), Ok(Timestamp::from_millis(12_500)));
        assert_eq!(Timestamp::parse("-3"), Ok(Timestamp::from_millis(-3_000)));
    }

    #[test]
    fn what_would_be_seconds_of_a_far_future_is_milliseconds() {
        let at = Timestamp::parse("1795325400000").unwrap();
        assert_eq!(at, Timestamp::parse("1795325400").unwrap());
        assert!(matches!(Timestamp::parse("1795325400000000"), Err(TimestampError::OutOfRange(_))));
    }

    #[test]
    fn each_kind_of_bad_text_gets_its_own_error() {
        assert_eq!(Timestamp::parse(" "), Err(TimestampError::Empty));
        assert!(matches!(Timestamp::parse("2020-01-01T00:00:00"), Err(TimestampError::NoZone(_))));
        assert!(matches!(Timestamp::parse("1e300"), Err(TimestampError::OutOfRange(_))));
        assert!(matches!(Timestamp::parse("nan"), Err(TimestampError::OutOfRange(_))));
        assert!(matches!(Timestamp::parse("9223372036854775807"), Err(TimestampError::OutOfRange(_))));
        assert!(matches!(Timestamp::parse("yesterday"), Err(TimestampError::Unreadable(_))));
    }

    #[test]
    fn a_wall_clock_reading_is_a_moment_of_the_zone_that_is_given() {
        let zone = TimeZone::get("America/New_York").unwrap();
        let read = |text: &str| Timestamp::parse_in(text, Some(&zone)).unwrap().to_string();
        assert_eq!(read("2011-01-01T00:00:00"), "2011-01-01T05:00:00Z");
        assert_eq!(read("2011-07-01 12:30"), "2011-07-01T16:30:00Z");
        assert_eq!(read("2011-03-13T02:30:00"), read("2011-03-13T03:30:00"));
        assert_eq!(read("2011-07-01T12:30:00Z"), "2011-07-01T12:30:00Z", "a zone in the text wins");
        assert!(Timestamp::parse_in("tomorrow", Some(&zone)).is_err());
    }

    #[test]
    fn arithmetic_saturates_and_alignment_goes_down_on_both_sides_of_the_epoch() {
        let minute = Duration::from_secs(60);
        assert_eq!(Timestamp::MAX + minute, Timestamp::MAX);
        assert_eq!(Timestamp::MAX.checked_add(minute), None);
        assert_eq!(Timestamp::from_secs(61).align_down(minute), Timestamp::from_secs(60));
        assert_eq!(Timestamp::from_secs(-1).align_down(minute), Timestamp::from_secs(-60));
        assert_eq!(Timestamp::from_secs(5).since(Timestamp::from_secs(9)), Duration::ZERO);
        assert_eq!(Timestamp::MAX.since(Timestamp::from_millis(i64::MIN)).as_millis(), u128::from(u64::MAX));
    }

    #[test]
    fn a_moment_beyond_the_calendar_still_prints() {
        assert_eq!(Timestamp::MAX.to_string(), format!("{}ms", i64::MAX));
    }
}
