//! What an ensemble noticed about its series and its own work, for a journal: data, and one plain sentence each.
//!
//! Promises: bounded; numbered from zero without gaps, so that a reader knows what it has seen already.

use std::collections::VecDeque;

use crate::timestamp::Timestamp;
use crate::watch::Response;

/// Something worth telling.
#[derive(Clone, Debug, PartialEq)]
pub enum Notice {
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
            Notice::Responded { at, .. } => *at,
        }
    }

    /// A stable name of what it is about.
    pub fn kind(&self) -> &'static str {
        match self {
            Notice::Responded { .. } => "forecast_adapts",
        }
    }

    /// In words, with values in `unit`.
    pub fn sentence(&self, _unit: &str) -> String {
        match self {
            Notice::Responded { response, reason, .. } => format!("{}: {reason}", response.words()),
        }
    }
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
