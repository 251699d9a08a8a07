//! One event: when, what it is called, what sort of thing it is, how large.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;

use crate::Timestamp;

/// Something in a calendar that may move demand.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When it begins.
    pub start: Timestamp,
    /// When it is over; never before `start`.
    pub end: Timestamp,
    /// What it is called.
    pub name: String,
    /// What sort of event it is. Events of one kind are expected to act alike.
    pub kind: String,
    /// How large it is beside others of its kind; 1 is an ordinary one.
    pub magnitude: f64,
}

/// The sort of event that a name stands for, where nobody says: the name in small letters without its numbers, so that
/// "Sale 2024" and "Sale 2025" or "Match #3" and "Match #4" are of one kind.
pub fn kind_of(name: &str) -> String {
    let mut kind = String::with_capacity(name.len());
    for c in name.chars() {
        let keep = c.is_alphabetic();
        if keep {
            kind.extend(c.to_lowercase());
        } else if !kind.is_empty() && !kind.ends_with(' ') {
            kind.push(' ');
        }
    }
    let kind = kind.trim_end();
    if kind.is_empty() { name.trim().to_owned() } else { kind.to_owned() }
}

/// The moment of a wall clock reading. A reading that the clock skips is taken for the moment after the jump, one that
/// occurs twice for the first. `None` beyond the calendar.
pub(crate) fn moment(at: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let moment = zone.to_ambiguous_timestamp(at).compatible().ok()?;
    Some(Timestamp::from_millis(moment.as_millisecond()))
}

/// When a day begins.
pub(crate) fn midnight(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    moment(date.to_datetime(jiff::civil::Time::midnight()), zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_in_numbers_only_are_of_one_kind() {
        assert_eq!(kind_of("Sale 2024"), "sale");
        assert_eq!(kind_of("Match #3: home"), "match home");
        assert_eq!(kind_of(" 42 "), "42");
        assert_eq!(kind_of("Buß- und Bettag"), "buß und bettag");
    }

    #[test]
    fn a_day_of_a_clock_change_has_twenty_three_hours() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let begins = midnight(Date::constant(2026, 3, 29), &zone).unwrap();
        let ends = midnight(Date::constant(2026, 3, 30), &zone).unwrap();
        assert_eq!(ends.since(begins).as_secs(), 23 * 3600);
    }
}
