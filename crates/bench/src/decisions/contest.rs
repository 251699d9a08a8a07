//! Cost at equal misses beside every rival, each at the setting of its own knobs that hindsight finds best.
//!
//! For every series, cold lead and error budget: what the planner costs beyond the delayed oracle that misses as much, as a
//! share of what the best rival costs beyond it that misses no more. The first half of a series is history: it is replayed but
//! not scored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use forecast::Timestamp;
use sim::replay::{Options, Point, PolicyKind, Sweep, cheapest_of, replay};
use sim::{Demand, Score};

use super::{INSTANCES_AT_PEAK, PROMOTE};
use crate::Setting;
use crate::corpus::{self, Recorded};
use crate::rows::{Better, Rows, geometric_mean};

const BUDGETS: [f64; 2] = [0.01, 0.001];
/// The price of a standby beside an active instance, and the bar for the excess cost that goes with it.
const PRICES: [(f64, f64); 2] = [(1.0, 0.5), (0.2, 0.25)];
const COLD: [Duration; 2] = [Duration::from_secs(180), Duration::from_secs(600)];
/// A ratio beyond these says no more than that one is far better.
const RATIO: (f64, f64) = (0.02, 10.0);
const THREADS: usize = 2;

/// A series under one set of physics and prices.
struct Case {
    trace: String,
    name: String,
    demand: Demand,
    options: Options,
}

/// How a case went.
struct Found {
    ours: Score,
    /// Of the delayed oracle that misses as much.
    oracle: f64,
    /// The least that an oracle can miss under this budget, as a share of it.
    oracle_used: f64,
    /// The best rival that misses no more, if one can.
    rival: Option<(PolicyKind, Score)>,
    /// The HPA at its best setting that misses no more.
    hpa: Option<Score>,
}

impl Found {
    fn ratio(&self) -> Option<f64> {
        let (_, rival) = self.rival?;
        let excess = |cost: f64| cost / self.oracle - 1.0;
        Some((excess(self.ours.cost) / excess(rival.cost).max(1e-4)).clamp(RATIO.0, RATIO.1))
    }
}

pub(super) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let mut cases = Vec::new();
    for recorded in corpus::load(setting)? {
        cases.extend(cases_of(setting, &recorded)?);
    }
    let found = in_parallel(&cases, play)?;
    let all: Vec<(&Case, &Found)> = cases.iter().zip(&found).collect();
    for (price, bar) in PRICES {
        let of_price: Vec<_> =
            all.iter().filter(|(case, _)| case.options.standby_price == price).copied().collect();
        let means = by_trace(&of_price, price, rows);
        overall(&of_price, &means, price, bar, rows);
    }
    budgets(&all, rows);
    Ok(())
}

fn cases_of(setting: &Setting, recorded: &Recorded) -> Result<Vec<Case>> {
    let known = |value: f32| Some(f64::from(value)).filter(|value| value.is_finite());
    let points: Vec<(Timestamp, Option<f64>)> = recorded
        .values
        .iter()
        .enumerate()
        .map(|(step, value)| (recorded.grid.begins_at(step as u64), known(*value)))
        .collect();
    let step = recorded.grid.step;
    let demand = Demand::from_points(&points, step)?;
    if demand.peak() <= 0.0 {
        return Ok(Vec::new());
    }
    let mut cases = Vec::new();
    for (steps, cold) in COLD.into_iter().enumerate() {
        // Where a trace is coarser than the lead, one step and two.
        let cold = if step > COLD[0] { step * (steps as u32 + 1) } else { cold };
        for budget in if setting.quick { &BUDGETS[..1] } else { &BUDGETS[..] } {
            for (price, _) in PRICES {
                let mut options = Options::new(demand.peak() / INSTANCES_AT_PEAK, cold, PROMOTE);
                options.budget = *budget;
                options.standby_price = price;
                options.score_from = Some(demand.slot_start(demand.len() / 2));
                let name = format!("{} {}", recorded.trace, recorded.name).trim().to_owned();
                cases.push(Case { trace: recorded.trace.clone(), name, demand: demand.clone(), options });
            }
        }
    }
    Ok(cases)
}

/// Works through all cases on every core; results come in the order of the cases.
fn in_parallel(cases: &[Case], work: fn(&Case) -> Result<Found>) -> Result<Vec<Found>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let take = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else { break };
            let found = work(case);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, found));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(take);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, found)| found).collect()
}

fn play(case: &Case) -> Result<Found> {
    let (demand, options) = (&case.demand, &case.options);
    let ours = replay(demand, PolicyKind::Foreshadow, options)?.score;
    let missing_as_much = Options { budget: ours.missed_share.min(0.9), ..options.clone() };
    let oracle = replay(demand, PolicyKind::Oracle, &missing_as_much)?.score;
    let oracle_used = replay(demand, PolicyKind::Oracle, options)?.score.missed_share / options.budget;
    let mut rival: Option<(PolicyKind, Score)> = None;
    let mut hpa = None;
    for kind in PolicyKind::ALL {
        if kind == PolicyKind::Foreshadow || kind.hindsight() {
            continue;
        }
        let best = cheapest_of(&points(demand, kind, options)?, ours.missed_share).map(|point| point.score);
        if kind == PolicyKind::Hpa {
            hpa = best;
        }
        if let Some(score) = best.filter(|score| rival.is_none_or(|(_, best)| score.cost < best.cost)) {
            rival = Some((kind, score));
        }
    }
    Ok(Found { ours, oracle: oracle.cost, oracle_used, rival, hpa })
}

fn points(demand: &Demand, kind: PolicyKind, options: &Options) -> Result<Vec<Point>> {
    let sweep = Sweep::new(demand, kind, options);
    Ok(sweep.settings().iter().map(|setting| sweep.try_out(*setting)).collect::<Result<_, _>>()?)
}

/// One row for each trace, the mean over its series, leads and budgets. Returns those means.
fn by_trace(all: &[(&Case, &Found)], price: f64, rows: &mut Rows) -> Vec<f64> {
    let mut traces: Vec<&str> = all.iter().map(|(case, _)| case.trace.as_str()).collect();
    traces.dedup();
    let mut means = Vec::new();
    for trace in traces {
        let of_trace = || all.iter().filter(|(case, _)| case.trace == trace);
        let ratios: Vec<f64> = of_trace().filter_map(|(_, found)| found.ratio()).collect();
        let worst = of_trace()
            .filter_map(|(case, found)| Some((found.ratio()?, *case, *found)))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let Some((ratio, case, found)) = worst else { continue };
        means.push(geometric_mean(&ratios));
        let rival = found
            .rival
            .map_or(String::new(), |(kind, score)| format!("{kind} {:.3}", score.cost / found.oracle));
        let worst = format!(
            "worst {ratio:.2}: {}, cold {:?}, budget {}: {:.3} of the oracle, {rival}",
            case.name,
            case.options.cold.typical(),
            case.options.budget,
            found.ours.cost / found.oracle
        );
        let name = format!("decisions: {trace}, standby at {price}, excess cost of the best rival's");
        rows.note(&name, geometric_mean(&ratios), "ratio", Better::Lower, Some(worst));
    }
    means
}

fn overall(all: &[(&Case, &Found)], means: &[f64], price: f64, bar: f64, rows: &mut Rows) {
    let name = format!("decisions: standby at {price}, excess cost of the best rival's");
    let note = Some(format!("{} traces", means.len()));
    rows.at_most(&format!("{name}, geometric mean over traces"), geometric_mean(means), "ratio", bar, note);
    let ratios: Vec<f64> = all.iter().filter_map(|(_, found)| found.ratio()).collect();
    let worst = ratios.iter().copied().fold(0.0, f64::max);
    let above = ratios.iter().filter(|ratio| **ratio > 1.0).count();
    let unrivalled = all.len() - ratios.len();
    let note =
        format!("{above} of {} cases above 1; in {unrivalled} more no rival misses as little", ratios.len());
    rows.at_most(&format!("{name}, worst series, lead and budget"), worst, "ratio", 1.0, Some(note));
    let events: Vec<f64> = all
        .iter()
        .filter_map(|(_, found)| {
            let hpa = found.hpa?.scale_events_per_day;
            (hpa > 0.0).then(|| found.ours.scale_events_per_day.max(0.1) / hpa)
        })
        .collect();
    let name =
        format!("decisions: standby at {price}, scale events of the HPA's at equal misses, geometric mean");
    rows.at_most(&name, geometric_mean(&events), "ratio", 1.0, Some(format!("of {} cases", events.len())));
}

/// Missed demand as a share of the budget, where an oracle can keep it.
fn budgets(all: &[(&Case, &Found)], rows: &mut Rows) {
    let used: Vec<f64> = all
        .iter()
        .filter(|(case, found)| found.oracle_used <= 1.0 && case.options.standby_price == 1.0)
        .map(|(case, found)| found.ours.missed_share / case.options.budget)
        .collect();
    let within = used.iter().filter(|used| (0.3..=1.2).contains(*used)).count();
    let share = within as f64 / used.len().max(1) as f64;
    let (over, under) =
        (used.iter().filter(|used| **used > 1.2).count(), used.iter().filter(|used| **used < 0.3).count());
    let note = format!("of {} cases {over} miss more, {under} less", used.len());
    rows.at_least("decisions: cases that miss 0.3 to 1.2 of the budget", share, "share", 1.0, Some(note));
}
