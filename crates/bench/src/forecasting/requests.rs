//! The request-level cost model on recorded memory of workflow tasks, beside a tracker of each task's 99th percentile.
//!
//! The last 30 % of each workflow are scored, three ways: models that learned from the first 70 % and then stand still,
//! which is what the promise is about, and two ways of learning on. The setting of ours is the cheapest one, with
//! hindsight, that leaves no larger a share of tasks under-allocated than the tracker does. An under-allocated attempt
//! wastes all it had and is repeated with twice as much, for all alike. The numbers of a task are what its input files
//! amount to (as read by it), what its author requested, and its processors. Tasks of a kind the tracker has never seen
//! are left out.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use forecast::Timestamp;
use forecast::models::Pace;
use forecast::requests::{Config, CostModel, Outcome, Parameters, Retry, Sizing};

use super::cpu_time;
use crate::Setting;
use crate::rows::{Better, Rows};
use crate::traces::{self, Packed};

const FILE: &str = "nextflow_tasks_memory_runtime.csv.gz";
const RETRY: Retry = Retry { limit: 4e12 };
/// Predictions timed together, since asking for the CPU time costs more than one.
const TIMED: u32 = 100;

/// A task of a workflow.
struct Task {
    workflow: String,
    name: String,
    host: String,
    /// Input bytes, requested bytes, processors.
    numbers: [f64; 3],
    peak: f64,
    begun_ms: i64,
    ended_ms: i64,
}

/// Reservations for one scored task: the tracker's, and ours at each setting.
struct Scored {
    peak: f64,
    tracker: f64,
    by_tau: Vec<f64>,
    by_price: Vec<f64>,
}

#[derive(Clone, Copy, PartialEq)]
enum Protocol {
    /// Learned from the first 70 %, and nothing after.
    Frozen,
    /// A task is learned when it has ended; others have begun meanwhile.
    Streaming,
    /// A task is learned before the next one begins, as if they ran one after another.
    OneByOne,
}

/// What a protocol gave, over all workflows.
#[derive(Default)]
struct Run {
    scored: Vec<Scored>,
    left_out: usize,
    predicting: Duration,
    predictions: u32,
}

pub(super) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let Some(file) = traces::find(setting, FILE, "requests (memory of tasks)") else { return Ok(()) };
    let tasks = read(&file)?;
    let mut workflows: BTreeMap<&str, Vec<&Task>> = BTreeMap::new();
    for task in &tasks {
        workflows.entry(&task.workflow).or_default().push(task);
    }
    let mut slowest: f64 = 0.0;
    for (protocol, title, bar) in [
        (Protocol::Frozen, "learned from the first 70 %", Some(0.5)),
        (Protocol::Streaming, "each task learned when it has ended", None),
        (Protocol::OneByOne, "each task learned before the next begins", None),
    ] {
        let mut run = Run::default();
        for tasks in workflows.values() {
            run.add(tasks, protocol);
        }
        slowest = slowest.max(run.predicting.as_secs_f64() * 1e6 / f64::from(run.predictions));
        run.report(&format!("requests: wasted memory over a p99 tracker's, {title}"), bar, rows);
    }
    rows.at_most("requests: one prediction at 4 quantiles, CPU time", slowest, "us", 5.0, None);
    Ok(())
}

fn read(file: &Path) -> Result<Vec<Task>> {
    let table = Packed::open(file)?;
    let (at, workflow, name, host) =
        (table.column("timestamp")?, table.column("workflow")?, table.column("task")?, table.column("host")?);
    let (input, requested, cpus) = (
        table.column("input_read_chars_bytes")?,
        table.column("memory_requested_bytes")?,
        table.column("cpus_requested")?,
    );
    let (peak, runtime, status) =
        (table.column("peak_rss_bytes")?, table.column("runtime_ms")?, table.column("status")?);
    let mut tasks = Vec::new();
    for row in table.rows()? {
        let number = |column: usize| row[column].parse().unwrap_or(f64::NAN);
        // A task whose peak was never sampled says nothing.
        if &row[status] != "COMPLETED" || number(peak).is_nan() || number(peak) <= 0.0 {
            continue;
        }
        let begun: Timestamp = row[at].parse()?;
        tasks.push(Task {
            workflow: row[workflow].to_owned(),
            name: row[name].to_owned(),
            host: row[host].to_owned(),
            numbers: [number(input), number(requested), number(cpus)],
            peak: number(peak),
            begun_ms: begun.as_millis(),
            ended_ms: begun.as_millis() + number(runtime).max(0.0) as i64,
        });
    }
    Ok(tasks)
}

fn taus() -> Vec<f64> {
    (0..=90).map(|i| 1.0 - 0.5 * (-6.2 * f64::from(i) / 90.0).exp()).collect()
}

fn prices() -> Vec<f64> {
    (0..=70).map(|i| 1e6 * (f64::from(i) / 70.0 * 14.0).exp()).collect()
}

/// Ours and the tracker, which learn the same tasks at the same moments.
struct Learners<'a> {
    model: CostModel,
    tracker: BTreeMap<&'a str, Vec<f64>>,
}

impl<'a> Learners<'a> {
    fn learn(&mut self, done: &'a Task) {
        let categorical = [done.host.as_str()];
        let parameters = Parameters { numeric: &done.numbers, categorical: &categorical };
        self.model.observe(&Outcome { endpoint: &done.name, parameters, cost: done.peak });
        // What would be done in the background.
        if self.model.training_due()
            && let Ok(trained) = self.model.training().fit(&mut Pace::free())
        {
            self.model.install(trained);
        }
        let known = self.tracker.entry(&done.name).or_default();
        known.insert(known.partition_point(|&peak| peak < done.peak), done.peak);
    }
}

impl Run {
    fn add(&mut self, tasks: &[&Task], protocol: Protocol) {
        let mut learners = Learners { model: CostModel::new(Config::default()), tracker: BTreeMap::new() };
        let begin = tasks.len() * 7 / 10;
        let mut running: BTreeMap<(i64, usize), &Task> = BTreeMap::new();
        for (i, task) in tasks.iter().enumerate() {
            while let Some((&(ended, j), &done)) = running.iter().next() {
                // Frozen: the first 70 % are known whole, and nothing after them.
                let known = match protocol {
                    Protocol::Frozen => i >= begin && j < begin,
                    Protocol::Streaming => ended <= task.begun_ms,
                    Protocol::OneByOne => true,
                };
                if !known {
                    break;
                }
                running.remove(&(ended, j));
                learners.learn(done);
            }
            if protocol != Protocol::Frozen || i < begin {
                running.insert((task.ended_ms, i), task);
            }
            if i >= begin {
                self.score(task, &learners, i % 16 == 0);
            }
        }
    }

    fn score(&mut self, task: &Task, learners: &Learners<'_>, timed: bool) {
        let Some(known) = learners.tracker.get(task.name.as_str()) else {
            self.left_out += 1;
            return;
        };
        let (model, taus) = (&learners.model, taus());
        let categorical = [task.host.as_str()];
        let parameters = Parameters { numeric: &task.numbers, categorical: &categorical };
        let mut by_tau = vec![0.0; taus.len()];
        model.predict(&task.name, &parameters, &taus, &mut by_tau);
        if timed {
            let (four, mut said) = ([0.5, 0.9, 0.95, 0.99], [0.0; 4]);
            let begun = cpu_time();
            for _ in 0..TIMED {
                model.predict(&task.name, &parameters, &four, std::hint::black_box(&mut said));
            }
            self.predicting += cpu_time() - begun;
            self.predictions += TIMED;
        }
        let reserve = |price| Sizing { price, retry: RETRY }.reserve(model, &task.name, &parameters);
        let by_price = prices().into_iter().map(|price| reserve(price).unwrap_or(task.numbers[1])).collect();
        self.scored.push(Scored { peak: task.peak, tracker: quantile(known, 0.99), by_tau, by_price });
    }

    /// Share of under-allocated tasks, and wasted bytes.
    fn tally(&self, reserved: impl Fn(&Scored) -> f64) -> (f64, f64) {
        let (mut under, mut waste) = (0.0, 0.0);
        for task in &self.scored {
            let reserved = reserved(task);
            under += f64::from(u8::from(reserved < task.peak));
            waste += RETRY.waste(reserved, task.peak);
        }
        (under / self.scored.len() as f64, waste)
    }

    fn report(&self, name: &str, bar: Option<f64>, rows: &mut Rows) {
        let (under, waste) = self.tally(|task| task.tracker);
        let best = |settings: usize, reserved: &dyn Fn(&Scored, usize) -> f64| {
            (0..settings)
                .map(|k| self.tally(|task| reserved(task, k)))
                .filter(|(share, _)| *share <= under)
                .min_by(|a, b| a.1.total_cmp(&b.1))
                .map_or((f64::NAN, f64::NAN), |(share, wasted)| (share, wasted / waste))
        };
        let (ours_under, ratio) = best(taus().len(), &|task, k| task.by_tau[k]);
        let (sized_under, sized) = best(prices().len(), &|task, k| task.by_price[k]);
        let behind = Some(format!(
            "under-allocated: ours {:.1} %, tracker {:.1} %; sized by least expected waste {sized:.3} at {:.1} %; {} \
             tasks, {} left out",
            100.0 * ours_under,
            100.0 * under,
            100.0 * sized_under,
            self.scored.len(),
            self.left_out,
        ));
        match bar {
            Some(bar) => rows.at_most(name, ratio, "ratio", bar, behind),
            None => rows.note(name, ratio, "ratio", Better::Lower, behind),
        }
    }
}

/// Between the two nearest ranks, since a tracker may know a few values only.
fn quantile(sorted: &[f64], tau: f64) -> f64 {
    let rank = tau * (sorted.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + (sorted[above] - sorted[below]) * (rank - below as f64)
}
