//! Parsers of the values people type: durations, quantiles, timestamps, rates.
//!
//! They return sentences, because clap prints them as they are, and refuse nonsense here rather than deep inside a computation:
//! a negative capacity, a quantile of 1.5, a duration without a unit.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use forecast::Timestamp;

use crate::output;

/// The longest duration that makes sense on the command line.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The most quantiles one forecast prints.
const QUANTILES_MAX: usize = 99;

/// `30s`, `5m`, `1h 30m`, `2d`, `250ms`. Greater than zero.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let value = duration_or_zero(text)?;
    if value.is_zero() {
        return Err("must be longer than zero".into());
    }
    Ok(value)
}

/// Like [`duration`], but zero is allowed.
pub(crate) fn duration_or_zero(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text.parse::<f64>().is_ok_and(|number| number != 0.0) {
        return Err(format!("`{text}` has no unit; write `{text}s`, `{text}m` or `{text}h`"));
    }
    let value = humantime::parse_duration(text).map_err(|error| {
        format!("`{text}` is not a duration ({error}); write for example `30s`, `5m` or `1h 30m`")
    })?;
    if value > DURATION_MAX {
        return Err(format!("`{text}` is longer than {}", output::span(DURATION_MAX)));
    }
    Ok(value)
}

/// A number greater than zero.
pub(crate) fn positive(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value),
        Ok(value) => Err(format!("{value} is not greater than zero")),
        Err(_) => Err(format!("`{text}` is not a number")),
    }
}

/// A number from 0 to 1, both allowed.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    match text.trim().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        Ok(value) => Err(format!("{value} is not between 0 and 1")),
        Err(_) => Err(format!("`{text}` is not a number")),
    }
}

/// A share strictly between 0 and 1, such as an error budget.
pub(crate) fn open_share(text: &str) -> Result<f64, String> {
    match share(text)? {
        value if value > 0.0 && value < 1.0 => Ok(value),
        value => Err(format!("{value} is not strictly between 0 and 1")),
    }
}

/// ISO 8601 with zone, or seconds.
pub(crate) fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text.trim())
        .map_err(|error| format!("{error}; write for example `1995-08-30T10:30:00Z`, or seconds since 1970"))
}

/// `127.0.0.1:7878`, `localhost:7878`, or either as a URL.
pub(crate) fn api_address(text: &str) -> Result<SocketAddr, String> {
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let found: Vec<SocketAddr> = bare.to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    // A daemon listens on 127.0.0.1 where nobody says otherwise.
    let preferred = found.iter().find(|address| address.is_ipv4()).or(found.first());
    preferred
        .copied()
        .ok_or_else(|| format!("`{text}` is no address with a port; write for example 127.0.0.1:7878"))
}

/// `unix:///var/run/docker.sock`, or only the path.
pub(crate) fn unix_socket(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!(
            "`{text}` is not a socket of this machine; write for example `unix:///run/docker.sock`"
        )),
    }
}

/// A comma-separated list of quantiles: sorted, each strictly between 0 and 1, none twice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quantiles(pub(crate) Vec<f64>);

/// `0.05,0.5,0.95`.
pub(crate) fn quantiles(text: &str) -> Result<Quantiles, String> {
    let mut values = Vec::new();
    for part in text.split(',') {
        let value = open_share(part).map_err(|error| format!("quantile {error}"))?;
        values.push(value);
    }
    values.sort_by(f64::total_cmp);
    if let Some(pair) = values.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("quantile {} is given twice", pair[0]));
    }
    if values.len() > QUANTILES_MAX {
        return Err(format!("at most {QUANTILES_MAX} quantiles"));
    }
    Ok(Quantiles(values))
}

/// One that a list has more than once.
pub(crate) fn repeated<T: PartialEq>(list: &[T]) -> Option<&T> {
    list.iter().enumerate().find(|(at, one)| list[..*at].contains(one)).map(|(_, one)| one)
}

/// Levels of demand, ascending.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Levels(pub(crate) Vec<f64>);

/// `100,200`.
pub(crate) fn levels(text: &str) -> Result<Levels, String> {
    let mut levels = Vec::new();
    for part in text.split(',') {
        match part.trim().parse::<f64>() {
            Ok(level) if level.is_finite() => levels.push(level),
            Ok(_) | Err(_) => {
                return Err(format!("level `{part}` is not a number; write for example 100,200"));
            }
        }
    }
    levels.sort_by(f64::total_cmp);
    if let Some(pair) = levels.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("level {} is given twice", pair[0]));
    }
    if levels.len() > LEVELS_MAX {
        return Err(format!("at most {LEVELS_MAX} levels"));
    }
    Ok(Levels(levels))
}

/// Most levels of one forecast.
const LEVELS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_with_or_without_a_scheme() {
        for text in ["unix:///run/docker.sock", "/run/docker.sock"] {
            assert_eq!(unix_socket(text).unwrap(), PathBuf::from("/run/docker.sock"));
        }
        for text in ["tcp://10.0.0.2:2376", "docker.sock", "unix://docker.sock", ""] {
            assert!(unix_socket(text).unwrap_err().contains("unix:///run/docker.sock"), "{text}");
        }
    }

    #[test]
    fn a_daemon_is_found_by_address_name_or_url() {
        let expected: SocketAddr = "127.0.0.1:7878".parse().unwrap();
        for text in ["127.0.0.1:7878", "localhost:7878", "http://127.0.0.1:7878/"] {
            assert_eq!(api_address(text).unwrap(), expected, "{text}");
        }
        for text in ["7878", "127.0.0.1", "https://127.0.0.1:7878", ""] {
            assert!(api_address(text).unwrap_err().contains("127.0.0.1:7878"), "{text}");
        }
    }

    #[test]
    fn durations_need_a_unit() {
        assert!(duration("30").unwrap_err().contains("`30s`"));
        assert_eq!(duration("1h 30m").unwrap(), Duration::from_secs(5400));
        assert!(duration("0s").is_err());
        assert_eq!(duration_or_zero("0s").unwrap(), Duration::ZERO);
        assert!(duration("-5s").is_err());
        assert!(duration("9000000h").is_err());
    }

    #[test]
    fn quantiles_are_sorted_and_inside_the_open_interval() {
        assert_eq!(quantiles("0.95, 0.5").unwrap().0, vec![0.5, 0.95]);
        assert!(quantiles("1.5").is_err());
        assert!(quantiles("0").is_err());
        assert!(quantiles("NaN").is_err());
        assert!(quantiles("0.5,0.5").unwrap_err().contains("twice"));
        assert!(quantiles("").is_err());
    }

    #[test]
    fn levels_are_sorted_numbers() {
        assert_eq!(levels("200, 100").unwrap().0, vec![100.0, 200.0]);
        for bad in ["", "ten", "inf", "1,1"] {
            assert!(levels(bad).is_err(), "{bad} must be refused");
        }
    }

    #[test]
    fn capacities_are_positive_and_finite() {
        assert_eq!(positive("2.5").unwrap(), 2.5);
        for bad in ["-1", "0", "NaN", "inf", "ten"] {
            assert!(positive(bad).is_err(), "{bad} must be refused");
        }
    }
}
