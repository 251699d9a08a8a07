//! Keep-alive policies for sparsely used applications on the axes of "Serverless in the Wild" (Shahrad et al., ATC 2020):
//! the 75th percentile over the applications of the share of cold starts, against the memory time wasted.
//!
//! Every decision about a minute is made before it, from the minutes before; nothing is learned in advance. For all
//! policies alike: a busy minute counts as one use; the first one is cold; one right after a busy minute finds the
//! application running; any other is cold unless the application was loaded in that minute. A minute loaded but not busy
//! wastes the application's average memory. The paper's forecast of idle times beyond the histogram (ARIMA) is replaced
//! by their mean. A rival is compared with the cheapest of our settings, with hindsight, that has no more cold starts.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use forecast::models::sparse::{Fixed, Hybrid, Keeper, Pool, Price, Window};

use super::cpu_time;
use crate::Setting;
use crate::rows::{Better, Rows, median};
use crate::traces::{self, Packed};

const BUSY: &str = "azure_functions_2019_100apps_concurrency_1min.csv.gz";
const META: &str = "azure_functions_2019_100apps_meta.csv.gz";
/// Between "every cold start is alike" and "every application is alike".
const FAIRNESS: f64 = 0.75;
/// Minutes that fixed policies keep an application.
const FIXED: [u32; 7] = [5, 10, 20, 30, 60, 120, 240];
/// Range of the histogram in minutes, share cut from its head, share kept to its tail.
const HYBRID: [(u32, f64, f64); 6] = [
    (60, 0.05, 0.99),
    (120, 0.05, 0.99),
    (180, 0.05, 0.99),
    (240, 0.05, 0.99),
    (240, 0.0, 1.0),
    (240, 0.05, 0.95),
];

struct App {
    busy: Vec<bool>,
    memory_mb: f64,
}

/// What a policy did.
struct Outcome {
    name: String,
    /// 75th percentile over the applications of the share of cold starts.
    cold_p75: f64,
    cold_starts: f64,
    /// MB minutes loaded and idle.
    waste: f64,
}

/// What a policy did with one application.
#[derive(Default, Clone)]
struct Tally {
    uses: f64,
    cold: f64,
    waste: f64,
}

impl Tally {
    fn step(&mut self, busy: bool, running: bool, loaded: bool, memory_mb: f64) {
        match (busy, running || loaded) {
            (true, warm) => {
                self.uses += 1.0;
                self.cold += f64::from(u8::from(!warm));
            }
            (false, true) if loaded => self.waste += memory_mb,
            (false, _) => {}
        }
    }
}

pub(super) fn measure(setting: &Setting, rows: &mut Rows) -> Result<()> {
    let what = "sparse (serverless applications)";
    let (Some(busy), Some(meta)) = (traces::find(setting, BUSY, what), traces::find(setting, META, what))
    else {
        return Ok(());
    };
    let apps = read(&busy, &meta)?;
    let begun = cpu_time();
    let settings: Vec<Outcome> = (0..26).map(|k| ours(400.0 * 1.35f64.powi(k), &apps)).collect();
    let seconds = (cpu_time() - begun).as_secs_f64();
    let minutes = settings.len() * apps.iter().map(|app| app.busy.len()).sum::<usize>();
    compare("fixed keep-alive's", &fixed(&apps), &settings, rows);
    compare("the hybrid histogram's", &hybrid(&apps), &settings, rows);
    let name = "sparse: a decision and what is learned from a minute, CPU time";
    rows.note(name, seconds * 1e6 / minutes as f64, "us", Better::Lower, None);
    Ok(())
}

fn read(busy: &Path, meta: &Path) -> Result<Vec<App>> {
    let mut apps: BTreeMap<String, App> = BTreeMap::new();
    let table = Packed::open(meta)?;
    let (series, memory) = (table.column("series")?, table.column("average_memory_mb")?);
    for row in table.rows()? {
        let memory_mb = row[memory].parse().with_context(|| format!("not a number: {}", &row[memory]))?;
        apps.insert(row[series].to_owned(), App { busy: Vec::new(), memory_mb });
    }
    let table = Packed::open(busy)?;
    let (series, containers) = (table.column("series")?, table.column("concurrency_containers")?);
    for row in table.rows()? {
        if let Some(app) = apps.get_mut(&row[series]) {
            app.busy.push(row[containers].parse::<f64>().is_ok_and(|containers| containers > 0.0));
        }
    }
    Ok(apps.into_values().collect())
}

/// The worst and the median waste of ours over each rival's at no more cold starts.
fn compare(whose: &str, rivals: &[Outcome], settings: &[Outcome], rows: &mut Rows) {
    let ratios = |no_more: fn(&Outcome, &Outcome) -> bool| -> Vec<f64> {
        let least = |rival: &Outcome| {
            let good = settings.iter().filter(|ours| no_more(ours, rival));
            good.map(|ours| ours.waste / rival.waste).fold(f64::INFINITY, f64::min)
        };
        rivals.iter().map(least).collect()
    };
    let worst = |ratios: &[f64]| ratios.iter().copied().fold(0.0, f64::max);
    let by_p75 = ratios(|ours, rival| ours.cold_p75 <= rival.cold_p75);
    let points: Vec<String> =
        rivals.iter().zip(&by_p75).map(|(rival, ratio)| format!("{} {ratio:.2}", rival.name)).collect();
    rows.at_most(
        &format!("sparse: wasted memory time over {whose} at equal p75 of cold starts, worst"),
        worst(&by_p75),
        "ratio",
        1.0,
        Some(format!("median {:.3}; {}", median(&by_p75), points.join(", "))),
    );
    // The axis on which an application used often counts for more.
    let by_number = ratios(|ours, rival| ours.cold_starts <= rival.cold_starts);
    rows.note(
        &format!("sparse: the same over {whose} at an equal number of cold starts, worst"),
        worst(&by_number),
        "ratio",
        Better::Lower,
        Some(format!("median {:.3}", median(&by_number))),
    );
}

fn fixed(apps: &[App]) -> Vec<Outcome> {
    FIXED.map(|keep| alone(format!("{keep} min"), apps, |_, _| Fixed { keep }.window())).into()
}

fn hybrid(apps: &[App]) -> Vec<Outcome> {
    let run = |(range, head, tail): (u32, f64, f64)| {
        let mut hybrid = Hybrid::new(range);
        (hybrid.head, hybrid.tail) = (head, tail);
        let mut hybrids = vec![hybrid; apps.len()];
        alone(format!("{range} min [{:.0}, {:.0}]", 100.0 * head, 100.0 * tail), apps, |i, idle| {
            if let Some(idle) = idle {
                hybrids[i].learn(idle);
            }
            hybrids[i].window()
        })
    };
    HYBRID.map(run).into()
}

/// A policy that depends on each application's own idle times only.
fn alone(name: String, apps: &[App], mut window: impl FnMut(usize, Option<u32>) -> Window) -> Outcome {
    let mut tallies = vec![Tally::default(); apps.len()];
    for (i, app) in apps.iter().enumerate() {
        let mut since = 0;
        let mut loaded = 0..=0;
        for &busy in &app.busy {
            tallies[i].step(busy, since == 1, since > 0 && loaded.contains(&since), app.memory_mb);
            if busy {
                loaded = window(i, (since > 1).then_some(since));
                since = 1;
            } else if since > 0 {
                since += 1;
            }
        }
    }
    outcome(name, &tallies)
}

/// Ours at a price of one cold start, in MB minutes.
fn ours(price: f64, apps: &[App]) -> Outcome {
    let mut pool = Pool::new();
    let mut keepers = vec![Keeper::new(); apps.len()];
    let mut tallies = vec![Tally::default(); apps.len()];
    let mut running = vec![false; apps.len()];
    for minute in 0..apps[0].busy.len() {
        for (i, app) in apps.iter().enumerate() {
            // A small application is kept for longer.
            let price = Price { cold_start: price / app.memory_mb, fairness: FAIRNESS };
            let loaded = keepers[i].loaded(&price, &pool);
            tallies[i].step(app.busy[minute], running[i], loaded, app.memory_mb);
        }
        for (i, app) in apps.iter().enumerate() {
            running[i] = app.busy[minute];
            keepers[i].observe(app.busy[minute], &mut pool);
        }
    }
    outcome(format!("{price:.0} MB min"), &tallies)
}

fn outcome(name: String, tallies: &[Tally]) -> Outcome {
    let mut shares: Vec<f64> = tallies.iter().map(|tally| tally.cold / tally.uses).collect();
    shares.sort_by(f64::total_cmp);
    let rank = 0.75 * (shares.len() - 1) as f64;
    let below = rank.floor() as usize;
    let above = (below + 1).min(shares.len() - 1);
    Outcome {
        name,
        cold_p75: shares[below] + (shares[above] - shares[below]) * (rank - below as f64),
        cold_starts: tallies.iter().map(|tally| tally.cold).sum(),
        waste: tallies.iter().map(|tally| tally.waste).sum(),
    }
}
