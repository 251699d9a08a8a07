//! Overload shedding, as the route table says it: how many requests are let in at once is found out by their latency, and who
//! goes first, and last, when not all can.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::admission::{Class, Endpoint, Priority, priority_problem};

/// A route that lets in no more requests at once than its backends answer in time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shedding {
    /// Nine of ten requests are to be answered (to the response head) within this time of being sent to a backend; if they are
    /// not, fewer are let in at once.
    pub latency: Duration,
    /// Fewest requests at once per backend. Default 1.
    pub limit_min: u32,
    /// Most requests at once per backend. Default 1000.
    pub limit_max: u32,
    /// Requests of these kinds have their class, whatever they say.
    pub endpoints: Vec<Endpoint>,
    /// Who goes first.
    pub priority: Priority,
}

impl Shedding {
    /// The defaults named at the fields.
    pub fn new(latency: Duration) -> Self {
        Self { latency, limit_min: 1, limit_max: 1000, endpoints: Vec::new(), priority: Priority::default() }
    }

    /// Why it cannot be, if so.
    pub(super) fn problem(&self) -> Option<&'static str> {
        if self.latency.is_zero() || self.latency > LATENCY_MAX {
            return Some("shedding needs a latency above 0 and of at most an hour");
        }
        if self.limit_min == 0 || self.limit_min > self.limit_max {
            return Some("shedding needs a least limit of at least 1 and at most the largest");
        }
        priority_problem(&self.priority, &self.endpoints)
            .then_some("shedding has too many endpoints or classes, or one that is not listed")
    }

    /// A class by its index, where there are some.
    pub(crate) fn class(&self, class: u8) -> Option<&Class> {
        self.priority.classes.get(usize::from(class))
    }
}

/// What a route that sheds has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheddingStats {
    /// Requests at once per backend that are let in now.
    pub limit: u32,
    /// Requests sent away for want of capacity so far, by class, from the first to be served to the last.
    pub shed: Vec<(String, u64)>,
}

const LATENCY_MAX: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_classes_that_make_no_sense_are_named() {
        let of = |change: fn(&mut Shedding)| {
            let mut shedding = Shedding::new(Duration::from_millis(100));
            change(&mut shedding);
            shedding.problem()
        };
        assert_eq!(of(|_| ()), None);
        assert!(of(|s| s.latency = Duration::ZERO).is_some());
        assert!(of(|s| s.limit_min = 0).is_some());
        assert!(of(|s| s.limit_max = 0).is_some());
        assert!(of(|s| s.priority.default = 3).is_some());
    }
}
