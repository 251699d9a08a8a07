//! What a plan says about sessions.

use std::fmt;

use crate::ids::InstanceId;

/// One reason that has to do with sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionReason {
    /// Instances are no longer wanted, and are waited for because they hold sessions.
    Waits {
        /// How many instances.
        instances: u32,
        /// Sessions on all of them.
        sessions: u64,
    },
    /// An instance was given up with sessions on it, because its time was over.
    Cut {
        /// The instance.
        instance: InstanceId,
        /// Sessions on it.
        sessions: u32,
    },
}

impl fmt::Display for SessionReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = |n: u64| if n == 1 { "session" } else { "sessions" };
        match *self {
            SessionReason::Waits { instances, sessions } => {
                let waits = if instances == 1 { "instance waits" } else { "instances wait" };
                write!(f, "{instances} {waits} for {sessions} {} to end.", held(sessions))
            }
            SessionReason::Cut { instance, sessions } => write!(
                f,
                "Instance {instance} is given up with {sessions} {} on it: the time to wait for them is over.",
                held(u64::from(sessions))
            ),
        }
    }
}
