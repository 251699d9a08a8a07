//! Lets the real planner and what obeys it go on through virtual time, whichever of them is next.

use forecast::Timestamp;
use planner::{Event, Planner};

use super::ReplayError;

/// A planner with all that obeys it and keeps account of it.
pub(crate) trait Driven {
    /// The planner.
    fn planner(&mut self) -> &mut Planner;

    /// The next that instances tell, up to `until`. What they do without telling is done by then.
    fn next_event(&mut self, until: Timestamp) -> Option<(Timestamp, Event)>;

    /// Accounts for the time up to `until`.
    fn keep_accounts(&mut self, until: Timestamp);

    /// Carries out every order that the planner has.
    fn obey(&mut self, now: Timestamp);

    /// The planner hears of something.
    fn tell(&mut self, now: Timestamp, event: Event) {
        self.planner().handle(now, event);
        self.obey(now);
    }

    /// Lets everything happen up to `until`: what instances do, what the planner hears of it, and its timers.
    ///
    /// # Errors
    /// The planner does not come to rest.
    fn run_until(&mut self, until: Timestamp) -> Result<(), ReplayError> {
        let mut moment = (until, 0u32);
        loop {
            let timer = self.planner().poll_timeout().map(|(at, _)| at).filter(|at| *at <= until);
            let told = self.next_event(timer.unwrap_or(until));
            let Some(now) = told.as_ref().map(|(at, _)| *at).or(timer) else { break };
            self.keep_accounts(now);
            match told {
                Some((_, event)) => self.planner().handle(now, event),
                None => self.planner().handle_timeout(now),
            }
            self.obey(now);
            moment = if moment.0 == now { (now, moment.1 + 1) } else { (now, 0) };
            if moment.1 > INPUTS_PER_MOMENT_MAX {
                return Err(ReplayError::Restless { at: now });
            }
        }
        self.keep_accounts(until);
        Ok(())
    }
}

/// A planner that needs more inputs than this without time passing will never come to rest.
const INPUTS_PER_MOMENT_MAX: u32 = 100_000;
