//! Admission and placement of single requests by the cost that is predicted from their parameters.
//!
//! Before a request of such a route is sent, its parameters are taken (`Facts`), its costs are predicted at a quantile
//! ([`RouteCosts`]) and reserved on the instance that is chosen ([`Ledger`], [`Charge`]). When no instance has that much left it
//! waits, its class before lower ones, or is refused at once when its turn would come too late. What it has cost in truth
//! is learned beside the traffic ([`Learner`]).

mod charge;
mod claim;
mod costs;
pub(crate) mod facts;
mod learner;
mod ledger;
mod place;
mod read_ahead;
mod samples;

pub(crate) use charge::Charge;
pub(crate) use claim::{Claim, Queued, claim};
pub(crate) use costs::RouteCosts;
pub(crate) use facts::class_of;
pub(crate) use learner::Learner;
pub(crate) use ledger::Ledger;
pub(crate) use read_ahead::ReadAhead;
