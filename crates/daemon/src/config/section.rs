//! A TOML table read key by key, with every mistake noted instead of returned.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::command::Surroundings;
use super::entry::Entry;
use super::error::ConfigError;

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

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
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
