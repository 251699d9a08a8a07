//! Who changed something that operators may change, and why.

use crate::error::HistoryError;
use crate::limit::Limit;

/// Who wants a change, and why. Both are kept in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct By {
    /// A person, or the part of the program that decided.
    pub author: String,
    /// Why.
    pub reason: String,
}

impl By {
    /// An author with a reason.
    pub fn new(author: impl Into<String>, reason: impl Into<String>) -> By {
        By { author: author.into(), reason: reason.into() }
    }

    pub(crate) fn validate(&self) -> Result<(), HistoryError> {
        for (what, text) in [("author", &self.author), ("reason", &self.reason)] {
            Limit::ReasonBytes.check(text.len(), || format!("the {what} of a change"))?;
            if text.trim().is_empty() {
                return Err(HistoryError::Anonymous { what });
            }
        }
        Ok(())
    }
}
