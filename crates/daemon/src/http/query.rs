//! Query parameters, each checked and named in its refusal.

use std::collections::BTreeMap;
use std::time::Duration;

use forecast::Timestamp;
use forecast::joint::Window;

use super::failure::Failure;
use crate::config::parse_duration;

/// The parameters of one request.
#[derive(Debug)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Refuses parameters that this address does not know, and repeated ones.
    pub(crate) fn new(pairs: Vec<(String, String)>, known: &[&str]) -> Result<Params, Failure> {
        let mut params = BTreeMap::new();
        for (key, value) in pairs {
            if !known.contains(&key.as_str()) {
                let shown: String = key.chars().take(40).collect();
                let hint = match known {
                    [] => "leave it out".to_owned(),
                    known => format!("known here: {}", known.join(", ")),
                };
                return Err(Failure::bad(format!("parameter {shown:?} is not known"), hint));
            }
            if params.insert(key.clone(), value).is_some() {
                return Err(Failure::bad(format!("parameter {key} is given twice"), "give it once"));
            }
        }
        Ok(Params(params))
    }

    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// An instant: milliseconds since the epoch, or ISO 8601.
    pub(crate) fn instant(&self, key: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.text(key) else { return Ok(None) };
        if let Ok(millis) = text.parse::<i64>()
            && millis.abs() <= INSTANT_MS_MAX
        {
            return Ok(Some(Timestamp::from_millis(millis)));
        }
        match Timestamp::parse(text) {
            Ok(at) if text.contains('T') && at.as_millis().abs() <= INSTANT_MS_MAX => Ok(Some(at)),
            Ok(_) | Err(_) => Err(self.refuse(
                key,
                "milliseconds since 1970 (UTC), or ISO 8601 with a zone such as 2026-11-22T05:30:00Z",
            )),
        }
    }

    /// A range `[from, to)`; `to` defaults to `now`, `from` to `length` before it.
    pub(crate) fn range(&self, now: Timestamp, length: Duration) -> Result<(Timestamp, Timestamp), Failure> {
        let to = self.instant("to")?.unwrap_or(now);
        let from = self.instant("from")?.unwrap_or(to - length);
        if from >= to {
            return Err(Failure::bad(format!("from ({from}) is not before to ({to})"), "exchange them"));
        }
        Ok((from, to))
    }

    /// A whole number in `1..=max`.
    pub(crate) fn limit(&self, default: usize, max: usize) -> Result<usize, Failure> {
        let Some(text) = self.text("limit") else { return Ok(default) };
        match text.parse() {
            Ok(limit) if (1..=max).contains(&limit) => Ok(limit),
            Ok(_) | Err(_) => Err(self.refuse("limit", &format!("a whole number from 1 to {max}"))),
        }
    }

    /// A duration with a unit, or plain seconds.
    pub(crate) fn duration(&self, key: &str) -> Result<Option<Duration>, Failure> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        match seconds.or_else(|| parse_duration(text)).filter(|duration| !duration.is_zero()) {
            Some(duration) => Ok(Some(duration)),
            None => Err(self.refuse(key, "a duration such as 15m, or a number of seconds")),
        }
    }

    /// Ascending levels inside (0, 1), separated by commas.
    pub(crate) fn quantiles(&self, default: &[f64]) -> Result<Vec<f64>, Failure> {
        let Some(text) = self.text("quantiles") else { return Ok(default.to_vec()) };
        let levels: Result<Vec<f64>, _> = text.split(',').map(|level| level.trim().parse::<f64>()).collect();
        match levels {
            Ok(levels)
                if levels.len() <= QUANTILES_MAX
                    && levels.iter().all(|level| *level > 0.0 && *level < 1.0)
                    && levels.is_sorted_by(|a, b| a < b) =>
            {
                Ok(levels)
            }
            Ok(_) | Err(_) => Err(self.refuse(
                "quantiles",
                &format!(
                    "at most {QUANTILES_MAX} ascending numbers above 0 and below 1, such as 0.05,0.5,0.95"
                ),
            )),
        }
    }

    /// A whole number from 0 to `max`; `default` where there is none.
    pub(crate) fn whole(&self, key: &str, default: u64, max: u64) -> Result<u64, Failure> {
        let Some(text) = self.text(key) else { return Ok(default) };
        match text.parse() {
            Ok(number) if number <= max => Ok(number),
            Ok(_) | Err(_) => Err(self.refuse(key, &format!("a whole number from 0 to {max}"))),
        }
    }

    /// `max`, `sum` or both, separated by a comma.
    pub(crate) fn windows(&self) -> Result<Vec<Window>, Failure> {
        let Some(text) = self.text("windows") else { return Ok(Vec::new()) };
        let found = |name: &str| Window::ALL.into_iter().find(|window| window.name() == name.trim());
        let windows: Option<Vec<Window>> = text.split(',').map(found).collect();
        windows.ok_or_else(|| self.refuse("windows", "max, sum or max,sum"))
    }

    /// Ascending levels of demand, separated by commas; `None` where there are none.
    pub(crate) fn levels(&self) -> Result<Option<Vec<f64>>, Failure> {
        let Some(text) = self.text("levels") else { return Ok(None) };
        let levels: Result<Vec<f64>, _> = text.split(',').map(|level| level.trim().parse::<f64>()).collect();
        match levels {
            Ok(levels)
                if levels.len() <= LEVELS_MAX
                    && levels.iter().all(|level| level.is_finite() && *level >= 0.0)
                    && levels.is_sorted_by(|a, b| a < b) =>
            {
                Ok(Some(levels))
            }
            Ok(_) | Err(_) => Err(self.refuse(
                "levels",
                &format!("at most {LEVELS_MAX} ascending numbers from 0 on, such as 100,200"),
            )),
        }
    }

    fn refuse(&self, key: &str, wanted: &str) -> Failure {
        let shown: String = self.text(key).unwrap_or_default().chars().take(60).collect();
        Failure::bad(format!("parameter {key} is {shown:?}"), format!("write {wanted}"))
    }
}

const QUANTILES_MAX: usize = 21;
const LEVELS_MAX: usize = 50;
/// Year 9999.
const INSTANT_MS_MAX: i64 = 253_402_300_799_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Result<Params, Failure> {
        let known = ["from", "to", "limit", "horizon", "quantiles"];
        Params::new(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(), &known)
    }

    #[test]
    fn ranges_are_read_in_both_notations() {
        let now = Timestamp::from_secs(10_000);
        let read = params(&[("from", "5000000"), ("to", "1970-01-01T02:00:00Z")]).expect("known");
        let range = read.range(now, Duration::from_secs(60)).expect("a range");
        assert_eq!(range, (Timestamp::from_secs(5000), Timestamp::from_secs(7200)));
        let range = params(&[]).expect("known").range(now, Duration::from_secs(60)).expect("a range");
        assert_eq!(range, (Timestamp::from_secs(9940), now));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(params(&[("frm", "1")]).is_err());
        assert!(params(&[("from", "1"), ("from", "2")]).is_err());
        let refused = |key: &str, value: &str| {
            let params = params(&[(key, value)]).expect("known");
            params.range(Timestamp::from_secs(1), Duration::from_secs(60)).is_err()
                || params.limit(5, 10).is_err()
                || params.duration("horizon").is_err()
                || params.quantiles(&[0.5]).is_err()
        };
        for (key, value) in [
            ("from", "yesterday"),
            ("from", "9223372036854775807"),
            ("from", "5000"),
            ("limit", "0"),
            ("limit", "-1"),
            ("limit", "11"),
            ("horizon", "0"),
            ("horizon", "-5"),
            ("horizon", "NaN"),
            ("horizon", "30 parsecs"),
            ("quantiles", "0.9,0.1"),
            ("quantiles", "NaN"),
            ("quantiles", "0"),
            ("quantiles", ""),
        ] {
            assert!(refused(key, value), "{key}={value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_parameters_never_panic(key in "from|to|limit|horizon|quantiles", value in ".*") {
            if let Ok(params) = params(&[(&key, &value)]) {
                let _ = params.range(Timestamp::from_secs(1), Duration::from_secs(60));
                let _ = params.limit(1, 2);
                let _ = params.duration("horizon");
                let _ = params.quantiles(&[0.5]);
            }
        }
    }
}
