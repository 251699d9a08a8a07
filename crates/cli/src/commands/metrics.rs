//! `foreshadow metrics`: the series that a running daemon keeps of a workload, and forecasts of any of them.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use forecast::Timestamp;

use super::remote::{RemoteArgs, answer};
use crate::failure::Failure;
use crate::moment::{self, Moment, Towards};
use crate::output;
use crate::values::{self, Quantiles};

/// Options of `metrics`.
#[derive(Args, Clone, Debug)]
pub(crate) struct MetricsArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Clone, Debug)]
enum What {
    /// Show what is kept of a workload, with the newest values
    List(ListArgs),
    /// Forecast one metric: what instances use, how requests are answered, or anything pushed
    Forecast(Box<ForecastArgs>),
}

#[derive(Args, Clone, Debug)]
struct ListArgs {
    /// The workload
    workload: String,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

#[derive(Args, Clone, Debug)]
struct ForecastArgs {
    /// The workload
    workload: String,
    /// The metric, as `foreshadow metrics list` names it
    metric: String,
    /// A label that the series has (repeatable)
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Make one of several series: what they are together in each step
    #[arg(long, value_parser = ["sum", "mean", "max"])]
    aggregate: Option<String>,
    /// How far ahead. Default: 60 steps
    #[arg(long, value_parser = values::duration)]
    horizon: Option<Duration>,
    /// Length of a step. Default: the workload's, or more where values lie farther apart
    #[arg(long, value_parser = values::duration)]
    step: Option<Duration>,
    /// Forecast from this moment of the past, with what came before it: `2h ago`, `14:05`, ISO 8601
    #[arg(long, value_parser = moment::moment)]
    at: Option<Moment>,
    /// Quantiles to print, comma-separated
    #[arg(long, default_value = "0.05,0.5,0.95", value_parser = values::quantiles)]
    quantiles: Quantiles,
    /// Print the answer of the API as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: RemoteArgs,
}

/// Asks and prints.
pub(crate) fn run(args: &MetricsArgs) -> Result<(), Failure> {
    match &args.what {
        What::List(args) => {
            let found = args.remote.ask(|client| async move { client.metrics(&args.workload).await })?;
            answer(args.json, &found, list)
        }
        What::Forecast(args) => forecast(args),
    }
}

fn forecast(args: &ForecastArgs) -> Result<(), Failure> {
    let at = args.remote.instant(&args.workload, args.at, Towards::Past)?;
    let ms = |duration: Duration| format!("{}ms", duration.as_millis());
    let quantiles: Vec<String> = args.quantiles.0.iter().map(f64::to_string).collect();
    let mut asked = vec![("quantiles", quantiles.join(","))];
    asked.extend(args.horizon.map(|horizon| ("horizon", ms(horizon))));
    asked.extend(args.step.map(|step| ("step", ms(step))));
    asked.extend(at.map(|at| ("at", at.as_millis().to_string())));
    asked.extend(args.aggregate.clone().map(|aggregate| ("aggregate", aggregate)));
    asked.extend(args.labels.iter().map(|label| ("label", label.clone())));
    let found = args
        .remote
        .ask(|client| async move { client.metric_forecast(&args.workload, &args.metric, &asked).await })?;
    answer(args.json, &found, table)
}

fn list(found: &api::MetricList) -> String {
    if found.series.is_empty() {
        return format!("nothing is kept of {} yet\n", found.workload);
    }
    let mut table = output::table(&["metric", "labels", "newest", "at"]);
    for series in &found.series {
        let labels: Vec<String> =
            series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let at = Timestamp::from_millis(series.last_at_ms).to_string();
        let cells = [series.metric.clone(), labels.join(","), output::rounded(series.last), at];
        output::row(&mut table, &cells);
    }
    format!("{table}\n")
}

fn table(found: &api::Forecast) -> String {
    let mut text = String::new();
    if let Some(metric) = &found.metric {
        let labels: String = metric.labels.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let made_of = match &metric.aggregate {
            Some(aggregate) => format!(", {aggregate} of {} series", metric.series),
            None => String::new(),
        };
        let _ = writeln!(
            text,
            "{} of {}{labels}{made_of}\nas of {}, in steps of {}",
            metric.name,
            found.workload,
            Timestamp::from_millis(found.issued_at_ms),
            humantime::format_duration(Duration::from_millis(found.step_ms)),
        );
        let _ = writeln!(
            text,
            "{} steps learned from, since {}",
            output::grouped(metric.learned_steps),
            Timestamp::from_millis(metric.learned_from_ms)
        );
    }
    let _ = writeln!(text, "{}", found.trust.sentence);
    for farther in found.trust_ahead.iter().skip(1) {
        let from = Timestamp::from_millis(farther.from_ms);
        let _ = writeln!(text, "from {from} on: {}", farther.trust.sentence);
    }
    let mut names = vec!["from".to_owned()];
    names.extend(found.quantiles.iter().map(f64::to_string));
    let mut table = output::table(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for (step, at) in found.timestamps_ms.iter().enumerate() {
        let mut cells = vec![Timestamp::from_millis(*at).to_string()];
        cells.extend(
            found
                .columns
                .iter()
                .map(|column| column.get(step).map_or("-".to_owned(), |v| output::rounded(*v))),
        );
        output::row(&mut table, &cells);
    }
    let _ = writeln!(text, "{table}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_says_of_what_it_is_and_whether_to_trust_it() {
        let found = api::Forecast {
            workload: "web".into(),
            metric: Some(api::ForecastMetric {
                name: "queue_length".into(),
                labels: [("zone".to_owned(), "a".to_owned())].into(),
                aggregate: Some("sum".into()),
                series: 3,
                learned_from_ms: 0,
                learned_steps: 1234,
            }),
            unit: String::new(),
            issued_at_ms: 600_000,
            step_ms: 60_000,
            model: "online-1".into(),
            trust: api::Trust {
                trusted: false,
                sentence: "untrusted: too young".into(),
                coverage: None,
                skill: None,
            },
            trust_ahead: Vec::new(),
            timestamps_ms: vec![600_000, 660_000],
            quantiles: vec![0.5, 0.95],
            columns: vec![vec![1.0, 2.0], vec![3.0, -4.0]],
            windows: Vec::new(),
            paths: Vec::new(),
            overrides: Vec::new(),
        };
        let text = table(&found);
        for part in [
            "queue_length of web zone=a, sum of 3 series",
            "1,234 steps",
            "too young",
            "steps of 1m",
            "-4.00",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
