//! Durations and sizes as people write them: `"30s"`, `"1m30s"`, `"512MiB"`.

use std::time::Duration;

/// A duration: one or more numbers, each with a unit from `ns` to `w`.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut seconds = 0.0;
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let (number, unit, tail) = split_quantity(rest)?;
        let unit_nanos = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?.1;
        match number.parse::<u64>() {
            Ok(whole) => nanos = nanos.checked_add(u128::from(whole) * unit_nanos)?,
            Err(_) => seconds += number.parse::<f64>().ok()? * unit_nanos as f64 / 1e9,
        }
        rest = tail.trim_start();
    }
    let whole = Duration::new(u64::try_from(nanos / 1_000_000_000).ok()?, (nanos % 1_000_000_000) as u32);
    whole.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

/// The same duration as text that parses to it exactly.
pub(super) fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    let fits = DURATION_UNITS.iter().rev().find(|(_, unit)| nanos.is_multiple_of(*unit) && nanos >= *unit);
    match fits {
        Some((name, unit)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

/// A size in bytes: a number with a unit from `B` to `TiB`.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit, tail) = split_quantity(text.trim())?;
    if !tail.is_empty() {
        return None;
    }
    let factor = BYTE_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(factor),
        Err(_) => {
            let bytes = number.parse::<f64>().ok()? * factor as f64;
            (bytes < u64::MAX as f64).then_some(bytes as u64)
        }
    }
}

/// The same size as text that parses to it exactly.
pub(super) fn format_bytes(bytes: u64) -> String {
    let fits = BYTE_UNITS.iter().rev().find(|(_, unit)| bytes.is_multiple_of(*unit) && bytes >= *unit);
    match fits {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// Splits `12.5s rest` into the number, the unit and what follows.
fn split_quantity(text: &str) -> Option<(&str, &str, &str)> {
    let number_end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).filter(|end| *end > 0)?;
    let (number, rest) = text.split_at(number_end);
    let rest = rest.trim_start();
    let unit_end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, tail) = rest.split_at(unit_end);
    (!unit.is_empty()).then_some((number, unit, tail))
}

const DURATION_UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("w", 604_800_000_000_000),
];

/// Ascending powers of 1024 last, so that formatting prefers them.
const BYTE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_every_unit_and_in_sequence() {
        assert_eq!(parse_duration("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse_duration("1m30s"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("1h 5 m"), Some(Duration::from_secs(3900)));
        assert_eq!(parse_duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2w"), Some(Duration::from_secs(1_209_600)));
    }

    #[test]
    fn text_that_is_no_duration_is_refused() {
        for text in ["", "30", "30 parsecs", "s", "-5s", "1e3s", "5s!", "nan s", "99999999999999999999999w"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_in_powers_of_1000_and_1024() {
        assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("1.5 kB"), Some(1500));
        assert_eq!(parse_bytes("99999999TiB"), None);
        assert_eq!(parse_bytes("12 stone"), None);
    }

    proptest::proptest! {
        #[test]
        fn every_duration_is_written_so_that_it_reads_back(nanos in 0..u64::MAX) {
            let duration = Duration::from_nanos(nanos);
            proptest::prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
        }

        #[test]
        fn every_size_is_written_so_that_it_reads_back(bytes in 0..u64::MAX) {
            proptest::prop_assert_eq!(parse_bytes(&format_bytes(bytes)), Some(bytes));
        }
    }
}
