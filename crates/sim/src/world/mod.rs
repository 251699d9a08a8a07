//! The model of the world: virtual time, instances that take time to come up, and fluid demand that meets them.
//!
//! Every policy, ours and each rival, runs in this one world: a decision becomes capacity only after the cold start or the
//! promotion it needs, and each second of each instance is paid for. It is deliberately simple where the truth depends on
//! the service (a demand above capacity is lost, not queued) and exact where scores depend on it (times and counts).

mod agent;
mod cold;
mod dice;
mod effect;
mod fleet;
mod ledger;
mod nodes;
mod queue;

pub use agent::{Agent, Lie, Times};
pub use cold::{ColdStart, Quantiles};
pub use dice::Dice;
pub use fleet::{Fleet, Stage};
pub use ledger::{Account, Count, Ledger, Totals};
pub use nodes::{Away, Nodes};
pub use queue::Queue;
