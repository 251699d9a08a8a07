//! What was learned and what had to be assumed, for people.

use std::fmt;

use crate::Timestamp;

/// A learned effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The kind of event, `kind: name` of a named one, or a covariate and its value.
    pub name: String,
    /// Demand with it over demand without it, on an ordinary working day.
    pub factor: f64,
    /// Lower end of the 90 % interval of the factor for the next time.
    pub low: f64,
    /// Upper end of it.
    pub high: f64,
    /// What it was learned from.
    pub seen: Seen,
}

/// How often an effect was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// So many events.
    Occurrences(u32),
    /// So many steps with this value.
    Steps(u32),
}

/// Something that a forecast had to assume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A covariate is not known for some steps; there it is taken to be as usual.
    CovariateUnknown {
        /// Its name.
        name: String,
        /// The first such step.
        from: Timestamp,
        /// How many of the forecast's steps.
        steps: u32,
    },
    /// Nothing of this kind was seen so far: its effect is a guess from other events, and wide.
    KindUnseen {
        /// The kind.
        kind: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::CovariateUnknown { name, from, steps } => {
                write!(
                    f,
                    "covariate `{name}` is not known for {steps} steps, the first at {from}: taken as usual there"
                )
            }
            Note::KindUnseen { kind } => {
                write!(f, "no event of kind `{kind}` was observed so far: its effect is a guess, and wide")
            }
        }
    }
}
