//! The name of an instance.
//!
//! It becomes a file name, a folder in the control group file system and a part of an environment variable, so it is
//! checked once, when it is made, and never again.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// A name of an instance, unique within its provider, such as `web-17`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceName(Arc<str>);

impl InstanceName {
    /// Checks and takes a name: 1 to [`NAME_LENGTH_MAX`] ASCII letters, digits, `-`, `_` and `.`, beginning with a
    /// letter or a digit.
    ///
    /// # Errors
    /// [`NameError`] says what is wrong with the name.
    pub fn new(name: impl AsRef<str>) -> Result<InstanceName, NameError> {
        let name = name.as_ref();
        let Some(first) = name.chars().next() else { return Err(NameError::Empty) };
        if name.len() > NAME_LENGTH_MAX {
            return Err(NameError::TooLong { name: name.chars().take(NAME_LENGTH_MAX).collect() });
        }
        if !first.is_ascii_alphanumeric() {
            return Err(NameError::BadCharacter { name: name.to_owned(), character: first });
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
            Some(character) => Err(NameError::BadCharacter { name: name.to_owned(), character }),
            None => Ok(InstanceName(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InstanceName({})", self.0)
    }
}

impl FromStr for InstanceName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<InstanceName, NameError> {
        InstanceName::new(name)
    }
}

impl Borrow<str> for InstanceName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for InstanceName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Why a text is not the name of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty.
    #[error("an instance name must not be empty")]
    Empty,
    /// The text is longer than [`NAME_LENGTH_MAX`] bytes; the name given here is cut.
    #[error("the instance name {name}... is longer than {NAME_LENGTH_MAX} bytes")]
    TooLong {
        /// The beginning of the text.
        name: String,
    },
    /// A character that a name must not have at this place.
    #[error(
        "the instance name {name:?} has {character:?}; allowed are ASCII letters, digits, '-', '_' and '.', a letter or digit first"
    )]
    BadCharacter {
        /// The text.
        name: String,
        /// The first wrong character.
        character: char,
    },
}

/// The longest name, in bytes. File systems allow 255; the rest is left for our own prefixes and endings.
pub const NAME_LENGTH_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken_as_they_are() {
        for name in ["web-17", "a", "Api.v2_3", "0"] {
            assert_eq!(InstanceName::new(name).expect("a good name").as_str(), name);
        }
    }

    #[test]
    fn names_that_would_escape_a_folder_are_refused() {
        for name in ["../x", "a/b", ".hidden", "-flag", "a b", "a\n", "ä"] {
            assert!(matches!(InstanceName::new(name), Err(NameError::BadCharacter { .. })), "{name:?}");
        }
        assert_eq!(InstanceName::new(""), Err(NameError::Empty));
        assert!(matches!(InstanceName::new("x".repeat(NAME_LENGTH_MAX + 1)), Err(NameError::TooLong { .. })));
        assert!(InstanceName::new("x".repeat(NAME_LENGTH_MAX)).is_ok());
    }
}
