//! What a sample belongs to: (workload, metric, labels), and its one canonical byte form.

use std::collections::BTreeMap;
use std::fmt;

use forecast::Timestamp;

use crate::error::HistoryError;
use crate::limit::Limit;

/// Identifies a series. Two keys are the same series when workload, metric and all labels are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey {
    /// The workload's id.
    pub workload: String,
    /// What is measured, with its unit last, for example `demand` or `latency_p99_ms`.
    pub metric: String,
    /// Further distinctions, for example `instance`. Usually none.
    pub labels: BTreeMap<String, String>,
}

impl SeriesKey {
    /// A series without labels.
    pub fn new(workload: impl Into<String>, metric: impl Into<String>) -> SeriesKey {
        SeriesKey { workload: workload.into(), metric: metric.into(), labels: BTreeMap::new() }
    }

    /// The same series with one more label (or another value of it).
    #[must_use]
    pub fn with_label(mut self, name: impl Into<String>, value: impl Into<String>) -> SeriesKey {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// Refuses names the byte form cannot carry, and more or longer ones than the limits allow.
    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        Limit::Labels.check(self.labels.len(), || self.to_string())?;
        name("workload", &self.workload)?;
        name("metric", &self.metric)?;
        for (label, value) in &self.labels {
            name("label name", label)?;
            if !value.is_empty() {
                name("label value", value)?;
            }
        }
        Ok(())
    }

    /// The canonical byte form: all parts in order, separated by NUL, which no valid name contains.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.workload.len() + self.metric.len() + 1);
        bytes.extend_from_slice(self.workload.as_bytes());
        let labels = self.labels.iter().flat_map(|(name, value)| [name, value]);
        for part in std::iter::once(&self.metric).chain(labels) {
            bytes.push(0);
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }

    /// The inverse of [`SeriesKey::encode`]; `None` for bytes it cannot have written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SeriesKey> {
        let mut parts = std::str::from_utf8(bytes).ok()?.split('\0');
        let mut key = SeriesKey::new(parts.next()?, parts.next()?);
        while let Some(label) = parts.next() {
            key.labels.insert(label.to_owned(), parts.next()?.to_owned());
        }
        Some(key)
    }
}

impl fmt::Display for SeriesKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workload, self.metric)?;
        for (at, (name, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{name}={value:?}", if at == 0 { "{" } else { "," })?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What it is a sample of.
    pub series: SeriesKey,
    /// When. A second sample of the same series at the same time replaces the first.
    pub at: Timestamp,
    /// How much; must be finite.
    pub value: f64,
}

impl Sample {
    /// A sample of `series`.
    pub fn new(series: SeriesKey, at: Timestamp, value: f64) -> Sample {
        Sample { series, at, value }
    }

    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        self.series.validate()?;
        if self.value.is_finite() {
            return Ok(());
        }
        Err(HistoryError::NotFinite { series: self.series.to_string(), at: self.at, value: self.value })
    }
}

/// Refuses a name that is empty, too long or has control characters; `what` says which name it is.
pub(crate) fn name(what: &'static str, name: &str) -> Result<(), HistoryError> {
    Limit::NameBytes.check(name.len(), || format!("the {what} {:.40}..", name.escape_debug().to_string()))?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(HistoryError::Name { what, name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_byte_form() {
        let key = SeriesKey::new("web", "demand").with_label("zone", "a b").with_label("empty", "");
        assert_eq!(SeriesKey::decode(&key.encode()), Some(key));
    }

    #[test]
    fn keys_that_differ_have_different_bytes() {
        let plain = SeriesKey::new("web", "demand");
        let labelled = plain.clone().with_label("a", "b");
        assert_ne!(plain.encode(), labelled.encode());
        assert_ne!(SeriesKey::new("webd", "emand").encode(), plain.encode());
    }

    #[test]
    fn display_reads_like_a_path_with_labels() {
        let key = SeriesKey::new("web", "latency_ms").with_label("instance", "web-1").with_label("q", "0.99");
        assert_eq!(key.to_string(), "web/latency_ms{instance=\"web-1\",q=\"0.99\"}");
    }

    #[test]
    fn names_that_are_empty_long_or_have_control_characters_are_refused() {
        assert!(matches!(
            SeriesKey::new("", "m").validate(),
            Err(HistoryError::Name { what: "workload", .. })
        ));
        assert!(matches!(
            SeriesKey::new("w", "a\0b").validate(),
            Err(HistoryError::Name { what: "metric", .. })
        ));
        let long = SeriesKey::new("w", "m").with_label("x".repeat(257), "v");
        assert!(matches!(
            long.validate(),
            Err(HistoryError::Limit { limit: Limit::NameBytes, found: 257, .. })
        ));
        let mut many = SeriesKey::new("w", "m");
        (0..17).for_each(|n| many = many.clone().with_label(format!("l{n}"), "v"));
        assert!(matches!(many.validate(), Err(HistoryError::Limit { limit: Limit::Labels, found: 17, .. })));
    }
}
