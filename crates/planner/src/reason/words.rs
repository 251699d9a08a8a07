//! Numbers, spans and counts as the sentences of reasons say them.

use std::fmt;
use std::time::Duration;

use super::Tier;
use crate::margin::MarginRule;

/// A number for people: whole when large, three digits when small.
pub(crate) struct Amount(pub(crate) f64);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            x if x >= 100.0 || x == x.round() => 0,
            x if x >= 10.0 => 1,
            x if x >= 1.0 => 2,
            _ => 3,
        };
        // Sums of nothing are a negative zero.
        write!(f, "{:.digits$}", self.0 + 0.0)
    }
}

/// A rule in words.
pub(crate) struct RuleName(pub(crate) MarginRule);

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            MarginRule::Quantile => f.write_str("a quantile of the forecast"),
            MarginRule::Offset { demand } => write!(f, "{} above the forecast median", Amount(demand)),
            MarginRule::Multiple { factor } => {
                write!(f, "{factor:.2} times the forecast median or the demand of now")
            }
            MarginRule::Static { demand } => {
                write!(f, "a high quantile, and never less than {}", Amount(demand))
            }
            MarginRule::LastWeek { factor } => {
                write!(f, "{factor:.2} times the demand of a week ago or of now")
            }
            MarginRule::Reactive { factor } => write!(f, "{factor:.2} times the demand of now"),
            MarginRule::Floor { demand } => {
                write!(f, "the demand of now, and never less than {}", Amount(demand))
            }
            MarginRule::Lasting { demand } => {
                write!(f, "demand that has lasted, and never less than {}", Amount(demand))
            }
        }
    }
}

/// A share in percent, with as many digits as it needs near its ends.
pub(crate) struct Percent(pub(crate) f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let room = percent.abs().min((100.0 - percent).abs());
        let digits = match room {
            r if (percent - percent.round()).abs() < 1e-9 || r >= 10.0 => 0,
            r if r >= 0.1 => 1,
            r if r >= 0.01 => 2,
            _ => 3,
        };
        write!(f, "{percent:.digits$} %")
    }
}

/// A duration in its natural unit.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let secs = self.0.as_secs_f64();
        match millis {
            0..1_000 => write!(f, "{millis} ms"),
            1_000..120_000 => write!(f, "{} s", (secs * 10.0).round() / 10.0),
            120_000..7_200_000 => write!(f, "{} min", (secs / 6.0).round() / 10.0),
            _ => write!(f, "{} h", (secs / 360.0).round() / 10.0),
        }
    }
}

/// So many instances of a tier.
pub(crate) struct Count(pub(crate) u32, pub(crate) Tier);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0 == 1 { "instance" } else { "instances" };
        match self.1 {
            Tier::Active => write!(f, "{} active {noun}", self.0),
            Tier::Total => write!(f, "{} {noun} in all", self.0),
        }
    }
}

/// "1 standby is" or "3 standbys are".
pub(crate) struct Stays(pub(crate) u32, pub(crate) &'static str);

impl fmt::Display for Stays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "1 {} is", self.1),
            n => write!(f, "{n} {}s are", self.1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_have_the_digits_they_need_and_nothing_is_never_negative() {
        let said: Vec<String> = [-0.0, 0.25, 7.125, 70.25, 700.4].map(|x| Amount(x).to_string()).to_vec();
        assert_eq!(said, ["0", "0.250", "7.12", "70.2", "700"]);
    }
}
