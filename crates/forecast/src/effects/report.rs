//! What was learned and what had to be assumed, for people.

use std::fmt;

use crate::Timestamp;
use crate::covariates::Covariates;
use crate::grid::Grid;

/// A learned effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Effect {
    /// The kind of event, `kind: name` of a named one, or a covariate and its value.
    pub name: String,
    /// Demand with it over demand without it, on an ordinary working day; of an event, at the parts of the day at which it
    /// went on so far.
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
    /// A covariate is not known for some steps.
    CovariateUnknown {
        /// Its name.
        name: String,
        /// The first such step.
        from: Timestamp,
        /// How many of the forecast's steps.
        steps: u32,
        /// What the model does there.
        assumed: Assumed,
    },
    /// Nothing of this kind was seen so far: its effect is a guess from other events, and wide.
    KindUnseen {
        /// The kind.
        kind: String,
    },
    /// A model that learns effects by itself has seen few events of a kind that is due.
    FewOccurrences {
        /// Name of the model.
        model: &'static str,
        /// The kind.
        kind: String,
        /// How many it has seen.
        occurrences: u32,
    },
    /// Something is known beside the series, and the model makes nothing of it.
    PassedOver {
        /// Name of the model.
        model: &'static str,
    },
}

/// What a model does where a covariate is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assumed {
    /// It has no effect: demand is as usual.
    Usual,
    /// It has the value that it had on average.
    Average,
    /// It is taken to be as in most of the history.
    Common,
    /// Nobody but the one who wrote the model knows.
    LeftToModel,
}

impl Note {
    /// A note for each of the named covariates that is not known for all of the `steps` steps from step `next` on.
    /// `names` are those of the first columns of `covariates`.
    pub fn unknown(
        names: &[String],
        covariates: &Covariates,
        (grid, next): (&Grid, u64),
        steps: usize,
        assumed: Assumed,
    ) -> Vec<Note> {
        let note = |(place, name): (usize, &String)| {
            let mut unknown =
                (next..next + steps as u64).filter(|&step| !covariates.at(place, step).is_finite());
            let from = grid.begins_at(unknown.next()?);
            let steps = 1 + unknown.count() as u32;
            Some(Note::CovariateUnknown { name: name.clone(), from, steps, assumed })
        };
        names.iter().enumerate().filter_map(note).collect()
    }

    /// In words, with moments written as the reader's data writes them.
    pub fn told(&self, clock: &dyn Fn(Timestamp) -> String) -> String {
        match self {
            Note::CovariateUnknown { name, from, steps, assumed } => {
                format!(
                    "covariate `{name}` is not known for {steps} steps, the first at {}: {assumed}",
                    clock(*from)
                )
            }
            Note::KindUnseen { kind } => {
                format!("no event of kind `{kind}` was observed so far: its effect is a guess, and wide")
            }
            Note::FewOccurrences { model, kind, occurrences } => {
                format!(
                    "the model `{model}` has seen {occurrences} events of kind `{kind}` and may miss what they do: `auto` and \
                     `online` learn it from few"
                )
            }
            Note::PassedOver { model } => {
                format!("the model `{model}` makes nothing of events and covariates")
            }
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(&|at| at.to_string()))
    }
}

impl fmt::Display for Assumed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Assumed::Usual => "taken as usual there",
            Assumed::Average => "taken as its average there",
            Assumed::Common => "taken as in most of the history there",
            Assumed::LeftToModel => "the model is told so and decides",
        })
    }
}
