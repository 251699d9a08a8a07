//! Mistakes in a configuration file.

use std::fmt;
use std::path::{Path, PathBuf};

/// One mistake: where it is, what it is, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line in the file, from 1.
    pub line: usize,
    /// Key path, for example `workload.web.step`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub hint: String,
}

/// Every mistake in one file, in the order of its lines; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    file: PathBuf,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    pub(super) fn new(file: &Path, mut errors: Vec<ConfigError>) -> ConfigErrors {
        assert!(!errors.is_empty(), "a refusal names at least one mistake");
        errors.sort_by_key(|error| error.line);
        ConfigErrors { file: file.to_owned(), errors }
    }

    /// The file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The mistakes.
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{}:{}: ", self.file.display(), error.line)?;
            if !error.key.is_empty() {
                write!(f, "{}: ", error.key)?;
            }
            write!(f, "{}; {}", error.problem, error.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
