//! The models by name.

use std::fmt;
use std::str::FromStr;

use super::online::{Combined, Online};
use super::{FitError, History, Model, Pace};

/// Every model that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The online core alone.
    Online,
    /// The online core and the batch models that measurements favour, combined.
    Auto,
}

impl Kind {
    /// All of them.
    pub const ALL: &'static [Kind] = &[Kind::Online, Kind::Auto];

    /// The batch models that [`Kind::Auto`] combines with the online core.
    pub const COMBINED: &'static [Kind] = &[];

    /// The name it is asked for by.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Online => "online",
            Kind::Auto => "auto",
        }
    }

    /// What it is, in a line.
    pub fn describe(self) -> &'static str {
        match self {
            Kind::Online => {
                "seasonal experts, a least squares stack and their online combination; learns at every step"
            }
            Kind::Auto => {
                "the online core combined with batch models that are retrained as the history grows"
            }
        }
    }

    /// Whether it is fitted once and then only follows; the others learn at every step.
    pub fn is_batch(self) -> bool {
        match self {
            Kind::Online | Kind::Auto => false,
        }
    }

    /// Weight in the ensemble before anything is known, beside 0.4 of the online core.
    pub fn prior(self) -> f32 {
        match self {
            Kind::Online | Kind::Auto => 0.0,
        }
    }

    /// Fits it.
    ///
    /// # Errors
    /// [`FitError`] says why this history has no such model.
    pub fn fit(self, history: &History<'_>, pace: &mut Pace<'_>) -> Result<Box<dyn Model>, FitError> {
        match self {
            Kind::Online => Ok(Box::new(Online::fit(history, pace)?)),
            Kind::Auto => Ok(Box::new(Combined::fit(history, Kind::COMBINED, pace)?)),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no model has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no model `{name}`; there are {}", names())]
pub struct UnknownModel {
    /// The name asked for.
    pub name: String,
}

impl FromStr for Kind {
    type Err = UnknownModel;

    fn from_str(name: &str) -> Result<Kind, UnknownModel> {
        let found = Kind::ALL.iter().copied().find(|kind| kind.name() == name);
        found.ok_or_else(|| UnknownModel { name: name.to_owned() })
    }
}

fn names() -> String {
    Kind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(", ")
}
