//! Moments as people name them: an instant, so long ago or ahead, or a time of day at the workload's place.

use std::time::{Duration, SystemTime};

use forecast::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

use crate::values;

/// A moment before the clock is known.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Moment {
    /// `2026-11-22T05:30:00Z`, or seconds since 1970.
    At(Timestamp),
    /// `10m ago`.
    Ago(Duration),
    /// `in 2h`.
    In(Duration),
    /// `14:05`.
    Clock(Time),
}

/// Which occurrence of a time of day is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The last one.
    Past,
    /// The next one.
    Future,
}

/// Reads one; for clap.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(Moment::Ago(Duration::ZERO));
    }
    if let Some(ago) = text.strip_suffix("ago") {
        return values::duration_or_zero(ago).map(Moment::Ago);
    }
    if let Some(ahead) = text.strip_prefix("in ") {
        return values::duration_or_zero(ahead).map(Moment::In);
    }
    if let Some(clock) = clock_time(text) {
        return Ok(Moment::Clock(clock));
    }
    values::timestamp(text).map(Moment::At).map_err(|_| {
        format!(
            "`{text}` is not a time; write for example `10m ago`, `in 2h`, `14:05` or `2026-11-22T05:30:00Z`"
        )
    })
}

fn clock_time(text: &str) -> Option<Time> {
    let parts: Vec<i8> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hour, minute] => Time::new(hour, minute, 0, 0).ok(),
        [hour, minute, second] => Time::new(hour, minute, second, 0).ok(),
        _ => None,
    }
}

impl Moment {
    /// Whether the place of the workload matters.
    pub(crate) fn needs_zone(self) -> bool {
        matches!(self, Moment::Clock(_))
    }

    /// The instant meant, `now`, at a place.
    pub(crate) fn resolve(
        self,
        now: Timestamp,
        zone: &TimeZone,
        towards: Towards,
    ) -> Result<Timestamp, String> {
        match self {
            Moment::At(at) => Ok(at),
            Moment::Ago(ago) => Ok(now - ago),
            Moment::In(ahead) => Ok(now + ahead),
            Moment::Clock(time) => occurrence(time, now, zone, towards)
                .ok_or_else(|| format!("there is no {time} near the time of this machine's clock")),
        }
    }
}

fn occurrence(time: Time, now: Timestamp, zone: &TimeZone, towards: Towards) -> Option<Timestamp> {
    let instant = jiff::Timestamp::from_millisecond(now.as_millis()).ok()?;
    let today = instant.to_zoned(zone.clone()).date();
    let other = match towards {
        Towards::Past => today.yesterday(),
        Towards::Future => today.tomorrow(),
    };
    [today, other.ok()?].into_iter().find_map(|date| {
        let zoned = date.to_datetime(time).to_zoned(zone.clone()).ok()?;
        let at = Timestamp::from_millis(zoned.timestamp().as_millisecond());
        let fits = match towards {
            Towards::Past => at <= now,
            Towards::Future => at > now,
        };
        fits.then_some(at)
    })
}

/// The time by this machine's clock.
pub(crate) fn clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).expect("a time")
    }

    fn resolved(text: &str, towards: Towards) -> Timestamp {
        let zone = TimeZone::get("Europe/Berlin").expect("a known zone");
        moment(text).expect(text).resolve(at("2026-07-01T12:00:00Z"), &zone, towards).expect(text)
    }

    #[test]
    fn moments_are_read_as_people_write_them() {
        assert_eq!(resolved("10m ago", Towards::Past), at("2026-07-01T11:50:00Z"));
        assert_eq!(resolved("in 1h 30m", Towards::Future), at("2026-07-01T13:30:00Z"));
        assert_eq!(resolved("now", Towards::Past), at("2026-07-01T12:00:00Z"));
        assert_eq!(resolved("2026-07-01T01:00:00Z", Towards::Future), at("2026-07-01T01:00:00Z"));
    }

    #[test]
    fn times_of_day_are_those_of_the_place_last_or_next() {
        assert_eq!(resolved("14:00", Towards::Past), at("2026-07-01T12:00:00Z"), "now, at that place");
        assert_eq!(resolved("14:01", Towards::Past), at("2026-06-30T12:01:00Z"));
        assert_eq!(resolved("14:01:30", Towards::Future), at("2026-07-01T12:01:30Z"));
        assert_eq!(resolved("08:00", Towards::Future), at("2026-07-02T06:00:00Z"));
    }

    #[test]
    fn nonsense_is_refused_with_examples() {
        for bad in ["noon", "25:00", "10 ago", "in -5m", ""] {
            let said = moment(bad).expect_err(bad);
            assert!(said.contains('`'), "{said}");
        }
    }
}
