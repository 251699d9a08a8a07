//! Tries every policy at all settings of its knobs, on two threads, for the report.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use indicatif::ProgressBar;
use sim::Demand;
use sim::replay::{Options, Point, PolicyKind, ReplayError, Rivalry, Setting, Sweep, cheapest_of, pareto};

/// One policy at all settings.
#[derive(Debug)]
pub(super) struct Frontier {
    pub(super) kind: PolicyKind,
    /// The settings that no other beats in both cost and misses, cheapest first.
    pub(super) points: Vec<Point>,
    /// The cheapest one found that misses no more than the policy it is compared with.
    pub(super) equal: Option<Point>,
}

/// The frontiers of these policies, in their order. `missed_share` is what [`Frontier::equal`] may miss.
///
/// # Errors
/// See [`ReplayError`].
pub(super) fn sweep(
    demand: &Demand,
    kinds: &[PolicyKind],
    options: &Options,
    missed_share: f64,
    bar: &ProgressBar,
) -> Result<Vec<Frontier>, ReplayError> {
    let sweeps: Vec<Sweep<'_>> = kinds.iter().map(|kind| Sweep::new(demand, *kind, options)).collect();
    let mut trials = Vec::new();
    for (index, sweep) in sweeps.iter().enumerate() {
        trials.extend(sweep.settings().iter().map(|setting| (index, Trial::At(*setting))));
        if !matches!(sweep.kind(), PolicyKind::Foreshadow | PolicyKind::Oracle) {
            trials.push((index, Trial::Narrow));
        }
    }
    bar.set_length(trials.len() as u64);
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, Point)>> = Mutex::new(Vec::new());
    let work = || -> Result<(), ReplayError> {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let Some((index, trial)) = trials.get(turn) else { return Ok(()) };
            let point = match trial {
                Trial::At(setting) => Some(sweeps[*index].try_out(*setting)?),
                Trial::Narrow => sweeps[*index].cheapest_at(missed_share)?.map(point),
            };
            if let (Some(point), Ok(mut found)) = (point, found.lock()) {
                found.push((turn, point));
            }
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(work);
        let own = work();
        own.and(second.join().unwrap_or(Ok(())))
    })?;
    let mut found = found.into_inner().unwrap_or_default();
    // In the order of the trials, whichever thread came first.
    found.sort_by_key(|(turn, _)| *turn);
    let of = |index: usize| {
        let points = found.iter().filter(|(turn, _)| trials[*turn].0 == index).map(|(_, point)| *point);
        pareto(points.collect())
    };
    let frontiers = kinds.iter().enumerate().map(|(index, kind)| {
        let points = of(index);
        let equal = cheapest_of(&points, missed_share).copied();
        Frontier { kind: *kind, points, equal }
    });
    Ok(frontiers.collect())
}

/// Something to be tried of a policy.
enum Trial {
    At(Setting),
    /// The headroom narrowed down to the misses it may have.
    Narrow,
}

fn point(rivalry: Rivalry) -> Point {
    let setting = Setting { headroom: Some(rivalry.headroom), ..Setting::default() };
    Point { setting, score: rivalry.score }
}
