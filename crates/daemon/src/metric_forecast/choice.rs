//! Which of the stored series is meant.

use std::collections::BTreeMap;

use history::SeriesKey;

use super::{Asked, Refusal};
use crate::recorder::{TOTAL_PREFIX, USAGE};

/// How the values that several series have in one step become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregate {
    Sum,
    Mean,
    Max,
}

impl Aggregate {
    pub(crate) const ALL: [Aggregate; 3] = [Aggregate::Sum, Aggregate::Mean, Aggregate::Max];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Aggregate::Sum => "sum",
            Aggregate::Mean => "mean",
            Aggregate::Max => "max",
        }
    }
}

/// The series asked for; only with an aggregate may there be several.
pub(super) fn choose(all: Vec<SeriesKey>, asked: &Asked) -> Result<Vec<SeriesKey>, Refusal> {
    let metric = || asked.metric.chars().take(60).collect::<String>();
    let of_metric: Vec<SeriesKey> = all.into_iter().filter(|key| key.metric == asked.metric).collect();
    if of_metric.is_empty() {
        return Err(Refusal::NoMetric { workload: asked.workload.name.clone(), metric: metric() });
    }
    let is_meant =
        |key: &&SeriesKey| asked.labels.iter().all(|(name, value)| key.labels.get(name) == Some(value));
    let meant: Vec<SeriesKey> = of_metric.iter().filter(is_meant).cloned().collect();
    if meant.is_empty() {
        let (wanted, found) = (shown(&asked.labels), listed(&of_metric));
        return Err(Refusal::NoSeries { metric: metric(), wanted, found });
    }
    if asked.aggregate.is_some() {
        let count = meant.len();
        return if count > SERIES_MAX {
            Err(Refusal::TooMany { metric: metric(), count })
        } else {
            Ok(meant)
        };
    }
    // One that has the labels asked for and no more is meant before all that have more.
    let exact = meant.iter().find(|key| key.labels == asked.labels).cloned();
    match (meant.as_slice(), exact) {
        ([_], _) => Ok(meant),
        (_, Some(exact)) => Ok(vec![exact]),
        (_, None) => Err(Refusal::Several {
            metric: metric(),
            count: meant.len(),
            found: listed(&meant),
            total: USAGE.contains(&asked.metric.as_str()).then(|| format!("{TOTAL_PREFIX}{}", asked.metric)),
        }),
    }
}

/// `zone=a,instance=web-1`.
fn shown(labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "(no labels)".to_owned();
    }
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",").chars().take(200).collect()
}

fn listed(keys: &[SeriesKey]) -> String {
    let mut listed: Vec<String> = keys.iter().take(LISTED_MAX).map(|key| shown(&key.labels)).collect();
    if keys.len() > LISTED_MAX {
        listed.push(format!("and {} more", keys.len() - LISTED_MAX));
    }
    listed.join("; ")
}

/// Most series that become one.
pub(super) const SERIES_MAX: usize = 200;
/// Series named in a refusal.
const LISTED_MAX: usize = 8;
