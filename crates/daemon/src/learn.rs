//! What is known about demand before the start: the daemon's own history, and a file the user has.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use forecast::{Timestamp, trace};
use history::{Batch, Sample, SeriesKey, Store};

use crate::config::{DemandSource, HistoryImport, WorkloadConfig};
use crate::error::DaemonError;

/// Demand of past steps in order.
pub(crate) type Learned = Vec<(Timestamp, Option<f64>)>;

/// Demand of past steps, at most [`LEARN_STEPS_MAX`]; the user's file is taken into the history first, once.
pub(crate) fn demand(
    store: &Store,
    workload: &WorkloadConfig,
    now: Timestamp,
) -> Result<Learned, DaemonError> {
    if let Some(import) = &workload.history {
        take_in(store, workload, import)?;
    }
    let key = SeriesKey::new(workload.name.as_str(), DEMAND);
    let Some((last, _)) = store.last(&key).map_err(DaemonError::History)? else { return Ok(Vec::new()) };
    let gap = now.since(last);
    if gap > workload.step.saturating_mul(GAP_STEPS_NOTED) {
        let workload = workload.name.as_str();
        let gap = humantime::format_duration(Duration::from_secs(gap.as_secs()));
        tracing::warn!(workload, "demand was last known {gap} ago; what was learned before may not hold");
    }
    let from = last - workload.step.saturating_mul(LEARN_STEPS_MAX);
    let samples = store.read(&key, from, now.align_down(workload.step)).map_err(DaemonError::History)?;
    // The step may have been another one when they were recorded.
    let mut steps = on_steps(workload, samples.into_iter().map(|(at, value)| (at, Some(value))));
    // Nobody was there to see the steps since then. What is forecast now is not what was to come after them. Whoever pushes
    // demand may still bring them.
    let newest = now.align_down(workload.step) - workload.step;
    if workload.demand != DemandSource::Push && steps.last().is_some_and(|last| last.0 < newest) {
        steps.push((newest, None));
    }
    Ok(steps)
}

fn take_in(store: &Store, workload: &WorkloadConfig, import: &HistoryImport) -> Result<(), DaemonError> {
    let done = format!("imported/{}", workload.name);
    let from = import.file.display().to_string();
    if store.get(&done).map_err(DaemonError::History)?.is_some_and(|file| file == from.as_bytes()) {
        return Ok(());
    }
    let points = read(&import.file, import, workload).map_err(|source| DaemonError::Import {
        workload: workload.name.clone(),
        path: import.file.clone(),
        source,
    })?;
    let key = SeriesKey::new(workload.name.as_str(), DEMAND);
    let samples: Vec<Sample> =
        points.into_iter().filter_map(|(at, value)| Some(Sample::new(key.clone(), at, value?))).collect();
    for part in samples.chunks(IMPORT_BATCH) {
        store.append(part).map_err(DaemonError::History)?;
    }
    let values = vec![(done, from.into_bytes())];
    store.write(&Batch { values, ..Batch::default() }).map_err(DaemonError::History)
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn read(
    file: &Path,
    import: &HistoryImport,
    workload: &WorkloadConfig,
) -> Result<Vec<(Timestamp, Option<f64>)>, Failure> {
    let options = trace::Options {
        column: import.column.clone(),
        series: import.series.clone(),
        zone: workload.time_zone.as_deref().and_then(|name| jiff::tz::TimeZone::get(name).ok()),
        ..trace::Options::default()
    };
    let trace = trace::parse(File::open(file)?, &options)?;
    let [series] = trace.series.as_slice() else {
        return Err(
            "the file has several series; name one with `history = { file = .., series = .. }`".into()
        );
    };
    if trace.step > workload.step + workload.step / 2 {
        let message = format!(
            "its rows are {:?} apart, which is more than the workload's step of {:?}; set `step` to match",
            trace.step, workload.step
        );
        return Err(message.into());
    }
    Ok(on_steps(workload, series.points.iter().copied()))
}

/// Points at the beginnings of the workload's steps; those of one step become their mean.
fn on_steps(
    workload: &WorkloadConfig,
    points: impl Iterator<Item = (Timestamp, Option<f64>)>,
) -> Vec<(Timestamp, Option<f64>)> {
    let mut steps: Vec<(Timestamp, f64, u32)> = Vec::new();
    for (at, value) in points {
        let start = at.align_down(workload.step);
        let (sum, count) = value.map_or((0.0, 0), |value| (value, 1));
        match steps.last_mut() {
            Some(last) if last.0 == start => (last.1, last.2) = (last.1 + sum, last.2 + count),
            Some(_) | None => steps.push((start, sum, count)),
        }
    }
    steps
        .into_iter()
        .map(|(start, sum, count)| (start, (count > 0).then(|| sum / f64::from(count))))
        .collect()
}

const DEMAND: &str = "demand";
/// Past steps that the forecaster learns from at a start: four weeks of minutes.
const LEARN_STEPS_MAX: u32 = 40_320;
/// Steps without any sample after which the gap is mentioned.
const GAP_STEPS_NOTED: u32 = 1440;
const IMPORT_BATCH: usize = 50_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::CapacityConfig;

    fn workload(file: Option<std::path::PathBuf>) -> WorkloadConfig {
        let listen = "127.0.0.1:8080".parse().expect("a literal address");
        WorkloadConfig {
            step: Duration::from_secs(60),
            history: file.map(|file| HistoryImport { file, column: None, series: None }),
            ..WorkloadConfig::new("web", vec!["serve".into()], listen, CapacityConfig::Pinned(10.0))
        }
    }

    #[test]
    fn a_file_is_taken_in_once_and_learned_from_each_time() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("demand.csv");
        std::fs::write(&file, "timestamp,requests\n60,1\n119,3\n180,5\n").expect("written");
        let store = Store::open(&dir.path().join("history")).expect("a store");
        let now = Timestamp::from_secs(600);
        let learned = demand(&store, &workload(Some(file.clone())), now).expect("learned");
        let at = Timestamp::from_secs;
        assert_eq!(
            learned,
            [(at(60), Some(2.0)), (at(180), Some(5.0)), (at(540), None)],
            "and nothing since"
        );
        std::fs::write(&file, "nonsense").expect("written");
        assert_eq!(demand(&store, &workload(Some(file)), now).expect("learned"), learned);
    }

    #[test]
    fn a_file_that_is_no_history_is_refused_by_name() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("demand.csv");
        let store = Store::open(&dir.path().join("history")).expect("a store");
        for (text, part) in [
            ("", "empty"),
            ("timestamp,requests\n60,1\n60,2\n", "line 3"),
            ("timestamp,requests\n60,-1\n120,1\n", "line 2"),
            ("timestamp,requests\n0,1\n3600,2\n", "step"),
        ] {
            std::fs::write(&file, text).expect("written");
            let error = demand(&store, &workload(Some(file.clone())), Timestamp::from_secs(9000))
                .expect_err("refused");
            let text = crate::error::chain(&error);
            assert!(text.contains("demand.csv") && text.contains(part), "{text}");
        }
    }
}
