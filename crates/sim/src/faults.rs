//! What can go wrong in the world, and how often.
//!
//! One plain table of rates. All zero is the well-behaved world of `replay`; `simulate` draws a table from its seed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One kind of fault. The unit of its rate is in its doc line: a probability, or how often per hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Probability that a start fails part of the way.
    StartFails,
    /// Probability that a start never becomes ready and never says so.
    StartHangs,
    /// Probability that an instance reports ready and is not: it fails every request, or does not answer health checks, or
    /// does not answer a promotion.
    StartLies,
    /// Probability that a promotion takes [`Faults::SLOW`] times as long.
    PromoteSlow,
    /// Probability that a promotion, park, drain, stop or route table fails.
    OrderFails,
    /// Probability that a park, drain, stop or route table takes [`Faults::SLOW`] times as long.
    OrderSlow,
    /// Deaths per ready instance and hour.
    Death,
    /// Spells of bad health per ready instance and hour; each lasts up to [`Faults::SICK_MAX`].
    Sick,
    /// Spells of health that changes every few seconds, per ready instance and hour.
    Flapping,
    /// Probability that the demand of a step is not seen.
    StepMissing,
    /// Probability that there are no readings during a step.
    ReadingMissing,
    /// Probability that a step is not reported at all, not even as missing.
    StepSilent,
    /// Probability that the report of a step is late by up to [`Faults::SAMPLE_LATE_STEPS`] steps.
    SampleLate,
    /// Probability that any event is late by up to [`Faults::LATE_MAX`].
    EventLate,
    /// Probability that any event comes twice.
    EventTwice,
    /// Jumps of the clock per hour, forwards or backwards by up to [`Faults::JUMP_MAX`].
    ClockJump,
    /// Restarts of the control plane per hour.
    Restart,
    /// Probability that the control plane dies right after it has given an order, with those behind it not given.
    RestartMidOrder,
    /// Probability per step that an operator pins or frees the counts.
    Override,
    /// Probability per step, and per reading while instances start, that an operator pins zero, more than the maximum, or
    /// until a time that is over.
    BadOverride,
    /// Probability that the planner learned from the history of another workload.
    WrongHistory,
    /// Probability that events are announced that never come.
    FalseEvents,
    /// Probability that the demand changes 50-fold, up or down, at some moment.
    DemandShift,
    /// Losses of a node per hour, with all that lives there; no starts there until it is back.
    NodeLoss,
    /// Spells per hour in which a node cannot be reached: its instances live, but answer nobody.
    NodeCut,
    /// Probability that the nodes have no room for all that may exist.
    NodeFull,
    /// Not drawn: an instance that the planner made too small needs more memory than it has, and is killed.
    OutOfMemory,
    /// Probability per step that an operator overrides the forecast, with sense or without, or takes that back.
    ForecastOverride,
    /// New versions of all workloads per hour: the control plane restarts, and all that runs is outdated.
    NewVersion,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 29] = [
        Fault::StartFails,
        Fault::StartHangs,
        Fault::StartLies,
        Fault::PromoteSlow,
        Fault::OrderFails,
        Fault::OrderSlow,
        Fault::Death,
        Fault::Sick,
        Fault::Flapping,
        Fault::StepMissing,
        Fault::ReadingMissing,
        Fault::StepSilent,
        Fault::SampleLate,
        Fault::EventLate,
        Fault::EventTwice,
        Fault::ClockJump,
        Fault::Restart,
        Fault::RestartMidOrder,
        Fault::Override,
        Fault::BadOverride,
        Fault::WrongHistory,
        Fault::FalseEvents,
        Fault::DemandShift,
        Fault::NodeLoss,
        Fault::NodeCut,
        Fault::NodeFull,
        Fault::OutOfMemory,
        Fault::ForecastOverride,
        Fault::NewVersion,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::StartFails => "start-fails",
            Fault::StartHangs => "start-hangs",
            Fault::StartLies => "start-lies",
            Fault::PromoteSlow => "promote-slow",
            Fault::OrderFails => "order-fails",
            Fault::OrderSlow => "order-slow",
            Fault::Death => "death",
            Fault::Sick => "sick",
            Fault::Flapping => "flapping",
            Fault::StepMissing => "step-missing",
            Fault::ReadingMissing => "reading-missing",
            Fault::StepSilent => "step-silent",
            Fault::SampleLate => "sample-late",
            Fault::EventLate => "event-late",
            Fault::EventTwice => "event-twice",
            Fault::ClockJump => "clock-jump",
            Fault::Restart => "restart",
            Fault::RestartMidOrder => "restart-mid-order",
            Fault::Override => "override",
            Fault::BadOverride => "bad-override",
            Fault::WrongHistory => "wrong-history",
            Fault::FalseEvents => "false-events",
            Fault::DemandShift => "demand-shift",
            Fault::NodeLoss => "node-loss",
            Fault::NodeCut => "node-cut",
            Fault::NodeFull => "node-full",
            Fault::OutOfMemory => "out-of-memory",
            Fault::ForecastOverride => "forecast-override",
            Fault::NewVersion => "new-version",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        Fault::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.name()).collect();
            format!("`{text}` is no fault; there are {}", names.join(", "))
        })
    }
}

/// How often each kind of fault happens.
#[derive(Clone, Copy, PartialEq)]
pub struct Faults([f64; Fault::ALL.len()]);

impl Faults {
    /// Nothing goes wrong.
    pub const NONE: Faults = Faults([0.0; Fault::ALL.len()]);
    /// A slow order takes this many times as long.
    pub const SLOW: u32 = 20;
    /// A late event is at most this late.
    pub const LATE_MAX: Duration = Duration::from_secs(20);
    /// A late sample is at most this many steps late.
    pub const SAMPLE_LATE_STEPS: u32 = 4;
    /// A clock jumps at most this far.
    pub const JUMP_MAX: Duration = Duration::from_secs(2 * 3600);
    /// A spell of bad health lasts at most this long.
    pub const SICK_MAX: Duration = Duration::from_secs(180);
    /// A node is away for at most this long.
    pub const NODE_AWAY_MAX: Duration = Duration::from_secs(600);
    /// Demand shifts by this factor.
    pub const SHIFT: f64 = 50.0;

    /// The rate of a kind.
    pub fn rate(&self, fault: Fault) -> f64 {
        self.0[fault as usize]
    }

    /// Sets the rate of a kind.
    pub fn set(&mut self, fault: Fault, rate: f64) {
        self.0[fault as usize] = rate;
    }

    /// The kinds that happen at all.
    pub fn kinds(&self) -> impl Iterator<Item = Fault> + '_ {
        Fault::ALL.into_iter().filter(|fault| self.rate(*fault) > 0.0)
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.kinds().map(|fault| (fault.name(), self.rate(fault)))).finish()
    }
}

/// How many faults of each kind happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally([u64; Fault::ALL.len()]);

impl Tally {
    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.0[fault as usize] += 1;
    }

    /// All of another account, too.
    pub fn join(&mut self, other: &Tally) {
        for (own, others) in self.0.iter_mut().zip(other.0) {
            *own += others;
        }
    }

    /// How many of a kind.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0[fault as usize]
    }

    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_place_and_a_name_that_leads_back_to_it() {
        for (place, fault) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, place);
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert!("earthquake".parse::<Fault>().is_err_and(|error| error.contains("node-loss")));
    }
}
