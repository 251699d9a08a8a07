//! One value of the file, read as what it should be.

use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::quantity::{format_bytes, format_duration, parse_bytes, parse_duration};
use super::section::{Context, Section};

/// One value and where it stands.
pub(super) struct Entry<'a> {
    pub(super) context: &'a Context<'a>,
    pub(super) path: String,
    pub(super) line: usize,
    pub(super) value: &'a DeValue<'a>,
}

impl<'a> Entry<'a> {
    /// Notes a mistake and yields nothing.
    pub(super) fn refuse<T>(&self, problem: impl Into<String>, hint: impl Into<String>) -> Option<T> {
        self.context.report(self.line, &self.path, problem, hint);
        None
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.refuse(
            format!("is {} {}", article(self.value.type_str()), self.value.type_str()),
            format!("write {wanted}"),
        )
    }

    pub(super) fn text(&self) -> Option<&'a str> {
        self.value.as_str().or_else(|| self.wrong_type("text in quotes"))
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.value.as_bool().or_else(|| self.wrong_type("`true` or `false`"))
    }

    /// A finite number in `range`.
    pub(super) fn number(&self, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match self.value {
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(|n| n as f64)
            }
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                return self.wrong_type("a number without quotes");
            }
        };
        match number {
            // NaN is in no range.
            Some(number) if range.contains(&number) => Some(number),
            Some(_) | None => self.out_of_range(&range),
        }
    }

    /// A whole number in `range`.
    pub(super) fn count(&self, range: RangeInclusive<u32>) -> Option<u32> {
        let DeValue::Integer(integer) = self.value else {
            return self.wrong_type("a whole number without quotes");
        };
        match i64::from_str_radix(integer.as_str(), integer.radix()).ok().and_then(|n| u32::try_from(n).ok())
        {
            Some(count) if range.contains(&count) => Some(count),
            Some(_) | None => self.out_of_range(&range),
        }
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let hint = "write a number with a unit, such as \"250ms\", \"30s\" or \"1m30s\"";
        let Some(text) = self.value.as_str() else {
            return self
                .refuse(format!("is {} {}", article(self.value.type_str()), self.value.type_str()), hint);
        };
        match parse_duration(text) {
            None => self.refuse(format!("{text:?} is not a duration"), hint),
            Some(duration) if range.contains(&duration) => Some(duration),
            Some(_) => self.refuse(
                format!("{text:?} is out of range"),
                format!(
                    "write at least {} and at most {}",
                    format_duration(*range.start()),
                    format_duration(*range.end())
                ),
            ),
        }
    }

    pub(super) fn bytes(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let hint = "write a size with a unit, such as \"64KiB\" or \"512MiB\"";
        let Some(text) = self.value.as_str() else {
            return self
                .refuse(format!("is {} {}", article(self.value.type_str()), self.value.type_str()), hint);
        };
        match parse_bytes(text) {
            None => self.refuse(format!("{text:?} is not a size"), hint),
            Some(bytes) if range.contains(&bytes) => Some(bytes),
            Some(_) => self.refuse(
                format!("{text:?} is out of range"),
                format!(
                    "write at least {} and at most {}",
                    format_bytes(*range.start()),
                    format_bytes(*range.end())
                ),
            ),
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        let text = self.text()?;
        match text.parse() {
            Ok(address) => Some(address),
            Err(_) => self.refuse(
                format!("{text:?} is not an address"),
                "write an IP address and a port, such as \"127.0.0.1:8080\"",
            ),
        }
    }

    /// A path, made absolute from the folder of the configuration file.
    pub(super) fn path(&self) -> Option<PathBuf> {
        match self.text()? {
            "" => self.refuse("is empty", "write a path"),
            text => Some(self.context.base.join(text)),
        }
    }

    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Some(array) = self.value.as_array() else {
            return self.wrong_type("a list such as [\"a\", \"b\"]");
        };
        let texts: Option<Vec<String>> =
            array.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
        texts.or_else(|| self.refuse("has an element that is not text", "put every element in quotes"))
    }

    /// The pairs of a table of texts.
    pub(super) fn pairs(&self) -> Option<Vec<(String, String)>> {
        let Some(table) = self.value.as_table() else {
            return self.wrong_type("a table such as { KEY = \"value\" }");
        };
        let pairs: Option<Vec<_>> = table
            .iter()
            .map(|(name, value)| Some((name.get_ref().to_string(), value.get_ref().as_str()?.to_owned())))
            .collect();
        pairs.or_else(|| self.refuse("has a value that is not text", "put every value in quotes"))
    }

    pub(super) fn section(&self, example: &str) -> Option<Section<'a>> {
        match self.value.as_table() {
            Some(table) => Some(Section::new(self.context, self.path.clone(), self.line, table)),
            None => self.wrong_type(&format!("a table such as {example}")),
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        found.or_else(|| {
            let known: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.refuse(format!("{text:?} is not known"), format!("write {}", known.join(" or ")))
        })
    }

    fn out_of_range<T, N: Display>(&self, range: &RangeInclusive<N>) -> Option<T> {
        let written = match self.value {
            DeValue::Integer(integer) => integer.to_string(),
            DeValue::Float(float) => float.to_string(),
            DeValue::String(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => self.value.type_str().to_owned(),
        };
        self.refuse(
            format!("{written} is out of range"),
            format!("write at least {} and at most {}", range.start(), range.end()),
        )
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
