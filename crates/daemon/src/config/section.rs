//! A TOML table read key by key, with every mistake noted instead of returned.

use std::cell::RefCell;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::command::Surroundings;
use super::error::ConfigError;
use super::quantity::{format_bytes, format_duration, parse_bytes, parse_duration};

/// What reading needs everywhere, and the mistakes found so far.
pub(super) struct Context<'a> {
    text: &'a str,
    errors: RefCell<Vec<ConfigError>>,
    /// Folder of the configuration file.
    pub(super) base: PathBuf,
    pub(super) surroundings: &'a Surroundings,
}

impl<'a> Context<'a> {
    pub(super) fn new(text: &'a str, path: &Path, surroundings: &'a Surroundings) -> Context<'a> {
        let folder = path.parent().unwrap_or(Path::new(""));
        Context {
            text,
            errors: RefCell::default(),
            base: surroundings.current_dir.join(folder),
            surroundings,
        }
    }

    pub(super) fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }

    pub(super) fn report(&self, line: usize, key: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let mut errors = self.errors.borrow_mut();
        if errors.len() < ERRORS_MAX {
            errors.push(ConfigError {
                line,
                key: key.to_owned(),
                problem: problem.into(),
                hint: hint.into(),
            });
        }
    }

    pub(super) fn into_errors(self) -> Vec<ConfigError> {
        self.errors.into_inner()
    }
}

/// One table.
pub(super) struct Section<'a> {
    context: &'a Context<'a>,
    /// Key path of the table; empty for the file.
    pub(super) path: String,
    pub(super) line: usize,
    table: &'a DeTable<'a>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        path: String,
        line: usize,
        table: &'a DeTable<'a>,
    ) -> Section<'a> {
        Section { context, path, line, table, known: Vec::new() }
    }

    /// The value of `key`, if it is there.
    pub(super) fn entry(&mut self, key: &'static str) -> Option<Entry<'a>> {
        self.known.push(key);
        let (name, value) = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Entry {
            context: self.context,
            path: self.path_of(key),
            line: self.context.line_at(name.span().start),
            value: value.get_ref(),
        })
    }

    /// Replaces `slot` by the value of `key` as `read` understands it, if it is there.
    pub(super) fn read<T>(
        &mut self,
        key: &'static str,
        slot: &mut T,
        read: impl FnOnce(&Entry<'a>) -> Option<T>,
    ) {
        if let Some(value) = self.entry(key).and_then(|entry| read(&entry)) {
            *slot = value;
        }
    }

    /// The value of a key that must be there.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&Entry<'a>) -> Option<T>,
    ) -> Option<T> {
        match self.entry(key) {
            Some(entry) => read(&entry),
            None => {
                self.context.report(
                    self.line,
                    &self.path_of(key),
                    "is missing",
                    format!("add `{key} = {example}`"),
                );
                None
            }
        }
    }

    /// Notes a mistake that concerns `key`, at its line if it is there.
    pub(super) fn report(&mut self, key: &'static str, problem: impl Into<String>, hint: impl Into<String>) {
        let line = self.entry(key).map_or(self.line, |entry| entry.line);
        self.context.report(line, &self.path_of(key), problem, hint);
    }

    /// Notes every key that nothing asked for.
    pub(super) fn finish(self) {
        for (name, _) in self.table.iter() {
            let key: &str = name.get_ref();
            if self.known.contains(&key) {
                continue;
            }
            let near = self.known.iter().min_by_key(|known| distance(key, known));
            let hint = match near {
                Some(near) if distance(key, near) <= 2 => format!("did you mean `{near}`?"),
                Some(_) | None => format!("known here: {}", self.known.join(", ")),
            };
            self.context.report(
                self.context.line_at(name.span().start),
                &self.path_of(key),
                "is not a known key",
                hint,
            );
        }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

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

/// Levenshtein distance, for suggestions.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(KEY_LENGTH_COMPARED).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Mistakes reported at once; a file with more is fixed in rounds.
const ERRORS_MAX: usize = 100;
/// Characters of an unknown key looked at for a suggestion.
const KEY_LENGTH_COMPARED: usize = 64;
