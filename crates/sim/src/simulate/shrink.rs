//! Makes a failing seed smaller: fewer workloads, fewer kinds of faults, a shorter time, while it still fails.
//!
//! Faults have generators of their own and workloads have seeds of their own, so what is left of a seed goes on as before
//! as far as it does not depend on what was left out. Any failure counts, not only the same one: each is to be mended.

use std::time::Duration;

use super::cut::Cut;
use super::swarm::Swarm;
use super::{Failure, FailureKind, Rule, run};
use crate::faults::Fault;

/// The smallest failure that is found on the way down from this one, with its log.
pub fn shrink(failure: &Failure) -> Failure {
    *shrink_with(failure, None)
}

fn shrink_with(failure: &Failure, rule: Option<Rule>) -> Box<Failure> {
    let seed = failure.seed;
    let fails = |cut: &Cut| run::run(seed, cut, rule, false).err();
    let mut best = Box::new(failure.clone());
    let mut improve = |best: &mut Box<Failure>, cut: Cut| {
        if let Some(smaller) = fails(&cut) {
            *best = smaller;
            return true;
        }
        false
    };
    let swarm = Swarm::draw(seed);
    // Once more from the beginning: what was needed beside another kind may not be without it.
    for _ in 0..ROUNDS {
        let before = best.cut.clone();
        for number in 1..=swarm.setups.len() {
            let cut = Cut { only: [number].into(), ..best.cut.clone() };
            if swarm.setups.len() > 1 && best.cut.only.is_empty() && improve(&mut best, cut) {
                break;
            }
        }
        let kinds: Vec<Fault> = swarm.faults.kinds().collect();
        for fault in kinds {
            if !best.cut.without.contains(&fault) {
                let mut cut = best.cut.clone();
                cut.without.insert(fault);
                improve(&mut best, cut);
            }
        }
        shorten(&mut best, &mut improve);
        if best.cut == before {
            break;
        }
    }
    // The same once more, with its log.
    run::run(seed, &best.cut, rule, true).err().unwrap_or(best)
}

/// Ends the faults right after the failure, or earlier by halves.
fn shorten(best: &mut Box<Failure>, improve: &mut impl FnMut(&mut Box<Failure>, Cut) -> bool) {
    if let FailureKind::Unsafe { after, .. } | FailureKind::Restless { after } = best.kind {
        let length = Duration::from_secs(after.as_secs() + 1);
        if best.cut.length.is_none_or(|before| length < before) {
            let cut = Cut { length: Some(length), ..best.cut.clone() };
            improve(best, cut);
        }
    }
    let whole = best.cut.length.unwrap_or_else(|| Swarm::draw(best.seed).safety);
    for share in [0.25, 0.5, 0.75] {
        let length = Duration::from_secs(whole.mul_f64(share).as_secs());
        let cut = Cut { length: Some(length), ..best.cut.clone() };
        if improve(best, cut) {
            break;
        }
    }
}

const ROUNDS: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::{Truth, simulate};

    /// A rule that cannot hold: nothing must ever die.
    fn planted(truth: &Truth<'_>) -> Option<String> {
        (truth.agent.tally().of(Fault::Death) > 0).then(|| "something died".to_owned())
    }

    #[test]
    fn a_planted_failure_is_shrunk_to_what_it_needs() {
        let many = |seed: &u64| {
            let swarm = Swarm::draw(*seed);
            swarm.faults.rate(Fault::Death) > 0.0
                && swarm.faults.kinds().count() > 6
                && swarm.setups.len() > 1
        };
        let (mut shrunk, mut alone) = (0, 0);
        for seed in (0..400).filter(many).take(12) {
            let whole = simulate(seed).expect("a seed that breaks no real rule");
            let failure = match run::run(seed, &Cut::default(), Some(planted), false) {
                Err(failure) if whole.faults.of(Fault::Death) > 4 => failure,
                Ok(_) | Err(_) => continue,
            };
            let small = shrink_with(&failure, Some(planted));
            assert!(small.kind.to_string().contains("something died"), "{small}");
            let drawn: Vec<Fault> = Swarm::draw(seed).faults.kinds().collect();
            let left: Vec<Fault> =
                drawn.into_iter().filter(|fault| !small.cut.without.contains(fault)).collect();
            // Now and then nothing would live long enough to die without another fault.
            assert!(left.contains(&Fault::Death) && left.len() <= 3, "seed {seed}: {left:?}");
            alone += usize::from(left == [Fault::Death]);
            assert_eq!(small.cut.only.len(), 1, "seed {seed}");
            assert!(small.cut.length.is_some_and(|length| length < Swarm::draw(seed).safety), "{small}");
            let (command, log) = (small.command(), small.log.text());
            assert!(
                command.starts_with(&format!("foreshadow simulate --seed {seed} --without ")),
                "{command}"
            );
            assert!(command.contains(" --only ") && command.contains(" --for "), "{command}");
            assert!(log.contains(" death "), "{log}");
            // What the command says is the same failure.
            let again = run::run(seed, &small.cut, Some(planted), true).expect_err("it fails again");
            assert_eq!(again, small);
            shrunk += 1;
        }
        assert!(alone >= 2, "{alone} of {shrunk} shrunk to the one fault");
    }
}
