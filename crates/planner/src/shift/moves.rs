//! The steps of traffic shifts as they are told to people: from which share to which, and why.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};

use forecast::Timestamp;

use super::Compared;
use crate::action::FULL_WEIGHT;
use crate::ids::InstanceId;
use crate::reason::{Amount, Percent, Span};

/// One step of the shift of traffic to an instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShiftMove {
    /// When, by the driver's clock.
    pub at: Timestamp,
    /// The instance that traffic is shifted to.
    pub instance: InstanceId,
    /// Weight before; 1000 is a full share.
    pub from: u32,
    /// Weight after.
    pub to: u32,
    /// What was done, and why.
    pub turn: ShiftTurn,
}

/// What a step of a shift does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ShiftTurn {
    /// The first share: nothing is known yet.
    Began,
    /// No worse than its peers: it gets more.
    Grew(Compared),
    /// It looks worse than its peers: it keeps what it has until it is looked at again.
    Halted(Compared),
    /// It looked worse twice: the traffic goes back to its peers.
    TakenBack(Compared),
    /// The demand needs all capacity: it gets its full share at once.
    AllAtOnce {
        /// Demand now.
        demand: f64,
        /// Capacity of the others.
        capacity_others: f64,
    },
}

impl ShiftTurn {
    /// A stable name for machines.
    pub fn name(&self) -> &'static str {
        match self {
            ShiftTurn::Began => "began",
            ShiftTurn::Grew(_) => "grew",
            ShiftTurn::Halted(_) => "halted",
            ShiftTurn::TakenBack(_) => "taken_back",
            ShiftTurn::AllAtOnce { .. } => "all_at_once",
        }
    }

    /// What was compared, where something was.
    pub fn compared(&self) -> Option<&Compared> {
        match self {
            ShiftTurn::Grew(compared) | ShiftTurn::Halted(compared) | ShiftTurn::TakenBack(compared) => {
                Some(compared)
            }
            ShiftTurn::Began | ShiftTurn::AllAtOnce { .. } => None,
        }
    }
}

impl ShiftMove {
    /// The step in plain words, with the instance called by this name.
    pub fn sentence(&self, name: &dyn fmt::Display) -> String {
        let (from, to) = (Percent(share(self.from)), Percent(share(self.to)));
        match &self.turn {
            ShiftTurn::Began => format!("{name} gets {to} of a full share of the traffic first."),
            ShiftTurn::Grew(compared) => format!("{name} goes from {from} to {to}: {}", Because(compared)),
            ShiftTurn::Halted(compared) => format!("{name} stays at {to}: {}", Because(compared)),
            ShiftTurn::TakenBack(compared) => {
                format!(
                    "The traffic of {name} goes back to its peers, from {from} to {to}: {}",
                    Because(compared)
                )
            }
            ShiftTurn::AllAtOnce { demand, capacity_others } => format!(
                "{name} goes from {from} to {to} at once: demand is {}, the others can serve {}.",
                Amount(*demand),
                Amount(*capacity_others)
            ),
        }
    }
}

/// What was compared, as the end of a sentence.
struct Because<'a>(&'a Compared);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compared {
            requests,
            errors,
            peers_requests,
            peers_errors,
            errors_usual,
            slower,
            evidence,
            too_few,
        } = self.0;
        let mut seen = String::new();
        write!(
            seen,
            "lately {} of its {} requests failed and {} of {} of its peers' (up to {} is let pass)",
            Amount(errors.round()),
            Amount(requests.round()),
            Amount(peers_errors.round()),
            Amount(peers_requests.round()),
            Percent(*errors_usual)
        )?;
        if let Some(slower) = slower {
            write!(
                seen,
                "; {} took more than {}, which up to {} may",
                Amount(slower.requests.round()),
                Span(slower.bound),
                Percent(slower.usual)
            )?;
        }
        match (too_few, self.0.keeps_up()) {
            (true, _) => write!(f, "too few requests to tell; {seen}."),
            (false, true) => write!(
                f,
                "it is no worse than its peers; {seen}; evidence against it {} of the {} that would halt it.",
                Amount(*evidence),
                Amount(Compared::LIMIT)
            ),
            (false, false) => write!(
                f,
                "it is worse than its peers; {seen}; evidence against it {}, and {} is enough.",
                Amount(*evidence),
                Amount(Compared::LIMIT)
            ),
        }
    }
}

fn share(weight: u32) -> f64 {
    f64::from(weight) / f64::from(FULL_WEIGHT)
}

/// The last steps of a workload's shifts, oldest first.
#[derive(Debug, Clone, Default)]
pub struct ShiftLog {
    moves: VecDeque<ShiftMove>,
    made: u64,
}

impl ShiftLog {
    pub(crate) fn extend(&mut self, made: Option<ShiftMove>) {
        if let Some(made) = made {
            self.push(made);
        }
    }

    pub(crate) fn push(&mut self, made: ShiftMove) {
        if self.moves.len() == MOVES_MAX {
            self.moves.pop_front();
        }
        self.moves.push_back(made);
        self.made += 1;
    }

    /// How many there have been since the planner was made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// Those after the first `known` that are still kept, oldest first.
    pub fn since(&self, known: u64) -> impl Iterator<Item = &ShiftMove> {
        let new = usize::try_from(self.made.saturating_sub(known)).unwrap_or(usize::MAX);
        self.moves.iter().skip(self.moves.len().saturating_sub(new))
    }

    /// The last shift to an instance, from its first step on, as far as it is kept.
    pub fn last_of(&self, instance: InstanceId) -> Vec<&ShiftMove> {
        let mut steps = Vec::new();
        for step in self.moves.iter().filter(|step| step.instance == instance) {
            if step.turn == ShiftTurn::Began {
                steps.clear();
            }
            steps.push(step);
        }
        steps
    }
}

/// Steps of a workload that are kept here.
const MOVES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Slower;
    use super::*;

    fn step(instance: u64, turn: ShiftTurn) -> ShiftMove {
        let at = Timestamp::from_millis(1);
        ShiftMove { at, instance: InstanceId::new(instance), from: 100, to: 200, turn }
    }

    #[test]
    fn a_step_is_told_with_what_was_compared() {
        let slower = Slower { quantile: 0.9, bound: Duration::from_millis(45), requests: 3.0, usual: 0.121 };
        let compared = Compared {
            requests: 43.0,
            peers_requests: 812.0,
            peers_errors: 1.0,
            errors_usual: 0.025,
            slower: Some(slower),
            evidence: 1.31,
            ..Compared::default()
        };
        assert_eq!(
            step(3, ShiftTurn::Grew(compared)).sentence(&"web-3"),
            "web-3 goes from 10 % to 20 %: it is no worse than its peers; lately 0 of its 43 requests failed and 1 of 812 of \
             its peers' (up to 2.5 % is let pass); 3 took more than 45 ms, which up to 12 % may; evidence against it 1.31 of \
             the 20 that would halt it."
        );
        let few = Compared { too_few: true, ..compared };
        assert!(
            step(3, ShiftTurn::Grew(few)).sentence(&"web-3").contains(": too few requests to tell; lately")
        );
        let worse = Compared { evidence: 55.0, ..compared };
        let said = step(3, ShiftTurn::TakenBack(worse)).sentence(&"web-3");
        assert!(
            said.starts_with("The traffic of web-3 goes back to its peers")
                && said.ends_with("20 is enough.")
        );
    }

    #[test]
    fn the_log_is_bounded_and_tells_what_is_new_and_the_last_shift_of_each() {
        let mut log = ShiftLog::default();
        let grew = ShiftTurn::Grew(Compared::default());
        for turn in [ShiftTurn::Began, grew, ShiftTurn::Began, grew] {
            log.push(step(1, turn));
        }
        log.push(step(2, ShiftTurn::Began));
        assert_eq!(log.since(3).count(), 2);
        assert_eq!(log.last_of(InstanceId::new(1)).len(), 2);
        (0..MOVES_MAX).for_each(|_| log.push(step(2, grew)));
        assert_eq!((log.since(0).count(), log.last_of(InstanceId::new(1)).len()), (MOVES_MAX, 0));
        assert_eq!(log.made(), 5 + MOVES_MAX as u64);
    }
}
