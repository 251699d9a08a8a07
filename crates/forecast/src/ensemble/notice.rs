//! What an ensemble noticed about its series and its own work, for a journal: data, and one plain sentence each.
//!
//! Promises: bounded; numbered from zero without gaps, so that a reader knows what it has seen already.

use std::collections::VecDeque;

use crate::timestamp::Timestamp;
use crate::watch::Response;

/// A value of another kind than those before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Anomaly {
    /// Beginning of its step.
    pub at: Timestamp,
    /// The value.
    pub value: f64,
    /// What was expected.
    pub expected: f64,
    /// The nearest value that would not have been one: the most or the least that was expected.
    pub nearest: f64,
    /// Chance of a value as far out if all were as before; `None` while too little was seen to tell.
    pub p_value: Option<f64>,
}

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
    /// A value that nothing learns from but the online core, whose memory of single values is short.
    Anomaly(Anomaly),
    /// Anomalies went on for so long that they are taken for the new normal.
    NewNormal {
        /// Beginning of the step that decided it.
        at: Timestamp,
        /// How many anomalies there were, about.
        steps: u64,
    },
    /// A busy series has fallen silent.
    OutageBegan {
        /// Beginning of the first silent step.
        at: Timestamp,
        /// What was expected then.
        expected: f64,
    },
    /// A silence that was taken for an outage is over.
    OutageEnded {
        /// Beginning of the step that ended it.
        at: Timestamp,
        /// Beginning of the first silent step.
        began: Timestamp,
        /// It lasted so long that silence is taken for the truth.
        accepted: bool,
    },
    /// Something cheap was done about a trouble. Trainings tell their reason themselves.
    Responded {
        /// The end of the step after which it was done.
        at: Timestamp,
        /// What was done.
        response: Response,
        /// Why, in words.
        reason: String,
    },
}

impl Notice {
    /// When it was noticed.
    pub fn at(&self) -> Timestamp {
        match self {
            Notice::Anomaly(anomaly) => anomaly.at,
            Notice::NewNormal { at, .. }
            | Notice::OutageBegan { at, .. }
            | Notice::OutageEnded { at, .. }
            | Notice::Responded { at, .. } => *at,
        }
    }

    /// A stable name of what it is about.
    pub fn kind(&self) -> &'static str {
        match self {
            Notice::Anomaly(_) => "anomaly",
            Notice::NewNormal { .. } => "new_normal",
            Notice::OutageBegan { .. } => "outage_began",
            Notice::OutageEnded { .. } => "outage_ended",
            Notice::Responded { .. } => "forecast_adapts",
        }
    }

    /// In words, with values in `unit`.
    pub fn sentence(&self, unit: &str) -> String {
        match self {
            Notice::Anomaly(anomaly) => anomaly.sentence(unit),
            Notice::NewNormal { steps, .. } => {
                format!("{steps} anomalies went on for so long that they are taken for the new normal")
            }
            Notice::OutageBegan { at, expected } => {
                let expected = short(*expected);
                format!("silent since {at} where {expected} {unit} were expected: an outage is suspected")
            }
            Notice::OutageEnded { at, began, accepted: false } => {
                let seconds = at.since(*began).as_secs();
                let (count, unit) =
                    if seconds < 180 { (seconds, "seconds") } else { (seconds / 60, "minutes") };
                format!("demand is back after {count} {unit} of silence since {began}")
            }
            Notice::OutageEnded { began, accepted: true, .. } => {
                format!("silent since {began}, so long that silence is taken for the truth")
            }
            Notice::Responded { response, reason, .. } => format!("{}: {reason}", response.words()),
        }
    }
}

impl Anomaly {
    fn sentence(&self, unit: &str) -> String {
        let most = if self.value > self.expected { "most" } else { "least" };
        let chance = match self.p_value {
            Some(p) if p < P_TOLD_MIN => format!("p < {P_TOLD_MIN:e}"),
            Some(p) => format!("p = {p:.0e}"),
            None => "far beyond all before".to_owned(),
        };
        format!(
            "{} {unit} at {}, expected at {most} {}; {chance}",
            short(self.value),
            self.at,
            short(self.nearest)
        )
    }
}

/// Four digits are enough for reading.
fn short(value: f64) -> String {
    let digits = if value == 0.0 { 0 } else { value.abs().log10().floor() as i32 };
    let decimals = usize::try_from(3 - digits).unwrap_or(0).min(9);
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// The latest notices.
#[derive(Clone, Debug, Default)]
pub(super) struct Notices {
    latest: VecDeque<Notice>,
    /// Those before the oldest that is kept.
    before: u64,
}

impl Notices {
    pub(super) fn push(&mut self, notice: Notice) {
        if self.latest.len() == NOTICES_KEPT {
            self.latest.pop_front();
            self.before += 1;
        }
        self.latest.push_back(notice);
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.before + self.latest.len() as u64
    }

    /// Those from a number on that are still kept.
    pub(super) fn since(&self, number: u64) -> impl Iterator<Item = &Notice> {
        let skipped = usize::try_from(number.saturating_sub(self.before)).unwrap_or(usize::MAX);
        self.latest.iter().skip(skipped)
    }

    pub(super) fn bytes(&self) -> usize {
        self.latest.capacity() * size_of::<Notice>()
    }
}

const NOTICES_KEPT: usize = 64;
/// Smaller chances are beyond what a fitted tail can tell.
const P_TOLD_MIN: f64 = 1e-9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anomaly_is_told_with_what_was_expected_and_how_rare_it_is() {
        let at = Timestamp::from_secs(1_700_000_000);
        let anomaly = Anomaly { at, value: 812.0, expected: 180.0, nearest: 240.04, p_value: Some(1.2e-5) };
        assert_eq!(
            Notice::Anomaly(anomaly).sentence("requests/s"),
            format!("812 requests/s at {at}, expected at most 240; p = 1e-5")
        );
        let low = Anomaly { value: 0.0, nearest: 99_512.3, p_value: Some(0.0), ..anomaly };
        assert_eq!(
            Notice::Anomaly(low).sentence("players"),
            format!("0 players at {at}, expected at least 99512; p < 1e-9")
        );
        let early = Anomaly { nearest: 0.012_346, p_value: None, ..anomaly };
        assert!(Notice::Anomaly(early).sentence("x").ends_with("most 0.01235; far beyond all before"));
    }

    #[test]
    fn only_the_latest_are_kept_and_numbers_go_on() {
        let mut notices = Notices::default();
        for n in 0..100 {
            notices.push(Notice::NewNormal { at: Timestamp::from_secs(n), steps: 1 });
        }
        let seconds = |from: u64| -> Vec<i64> {
            notices.since(from).map(|notice| notice.at().as_millis() / 1000).collect()
        };
        assert_eq!(notices.count(), 100);
        assert_eq!(seconds(0), (36..100).collect::<Vec<i64>>());
        assert_eq!(seconds(98), [98, 99]);
        assert_eq!(seconds(100), [] as [i64; 0]);
    }
}
