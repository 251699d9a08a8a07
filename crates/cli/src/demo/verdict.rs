//! The verdict: what clients saw and what it cost, policy beside policy, as a table, one sentence, and JSON.

use std::time::Duration;

use anyhow::Context;
use forecast::Timestamp;
use serde_json::{Value, json};
use sim::Demand;
use sim::replay::{Options, PolicyKind};

use super::place::Kind;
use super::plan::Script;
use super::run::Played;
use super::stage::Policy;
use super::stretch::TRACE_NAME;
use crate::loadgen::record::Totals;
use crate::loadgen::schedule::Schedule;
use crate::output;

/// One policy's scores.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Score {
    pub(crate) policy: Policy,
    pub(crate) totals: Totals,
    pub(crate) active_s: f64,
    pub(crate) standby_s: f64,
    /// Active seconds, and standby seconds at their price.
    pub(crate) cost: f64,
    pub(crate) promotions: u64,
    pub(crate) promotion_ms: api::LatencySummary,
    pub(crate) cold_start_ms: api::LatencySummary,
}

/// Both policies, and the cheapest cost that somebody with foreknowledge could have had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verdict {
    pub(crate) rival: Score,
    pub(crate) foreshadow: Score,
    pub(crate) oracle_cost: f64,
    pub(crate) standby_price: f64,
    pub(crate) bound: Duration,
    pub(crate) kind: Kind,
}

impl Score {
    fn new(played: &Played, script: &Script) -> Score {
        let measured = &played.measured;
        Score {
            policy: played.policy,
            totals: played.record.totals(script.bound),
            active_s: measured.active_s,
            standby_s: measured.standby_s,
            cost: measured.active_s + script.standby_price * measured.standby_s,
            promotions: measured.promotions,
            promotion_ms: measured.promotion_ms,
            cold_start_ms: measured.cold_start_ms,
        }
    }

    /// Requests that did not get what they came for.
    pub(crate) fn missed(&self) -> u64 {
        self.totals.failed + self.totals.late
    }
}

impl Verdict {
    /// Scores both runs; `load` is what both were sent, `initial` the instances both began with.
    ///
    /// # Errors
    /// When the oracle cannot be computed.
    pub(crate) fn new(
        script: &Script,
        rival: &Played,
        foreshadow: &Played,
        load: &Schedule,
        initial: u32,
    ) -> anyhow::Result<Verdict> {
        Ok(Verdict {
            rival: Score::new(rival, script),
            foreshadow: Score::new(foreshadow, script),
            oracle_cost: oracle_cost(script, load, initial)?,
            standby_price: script.standby_price,
            bound: script.bound,
            kind: script.kind,
        })
    }

    /// Rows of the table: name, rival, foreshadow.
    pub(crate) fn rows(&self) -> Vec<[String; 3]> {
        let (rival, ours) = (&self.rival, &self.foreshadow);
        let row = |name: &str, value: &dyn Fn(&Score) -> String| [name.to_owned(), value(rival), value(ours)];
        let late = format!("later than {}", humantime::format_duration(self.bound));
        let cost = format!("cost (standby at {})", self.standby_price);
        vec![
            row("requests", &|score| output::grouped(score.totals.requests)),
            row("failed", &|score| output::grouped(score.totals.failed)),
            row(&late, &|score| output::grouped(score.totals.late)),
            row("failed or late", &|score| output::grouped(score.missed())),
            row("  share of requests", &|score| {
                percent(score.missed() as f64 / score.totals.requests.max(1) as f64)
            }),
            row("latency p50", &|score| ms(score.totals.p50_ms)),
            row("latency p99", &|score| ms(score.totals.p99_ms)),
            row("active instance-seconds", &|score| format!("{:.0}", score.active_s)),
            row("standby instance-seconds", &|score| format!("{:.0}", score.standby_s)),
            row(&cost, &|score| format!("{:.0}", score.cost)),
            row("  over the oracle's", &|score| format!("{:.2}x", score.cost / self.oracle_cost)),
            row("promotions", &|score| score.promotions.to_string()),
            row("  promotion p50", &|score| ms(score.promotion_ms.p50)),
            row("  promotion p99", &|score| ms(score.promotion_ms.p99)),
            row("cold starts", &|score| score.cold_start_ms.count.to_string()),
            row("  cold start p50", &|score| ms(score.cold_start_ms.p50)),
            row("  cold start p99", &|score| ms(score.cold_start_ms.p99)),
        ]
    }

    /// The table as text.
    pub(crate) fn table(&self) -> String {
        let mut table = output::table(&["", "HPA", "foreshadow"]);
        for row in self.rows() {
            output::row(&mut table, &row);
        }
        table.to_string()
    }

    /// What a stranger should take home.
    pub(crate) fn sentence(&self) -> String {
        let (rival, ours) = (self.rival.missed(), self.foreshadow.missed());
        let cost = self.foreshadow.cost / self.rival.cost - 1.0;
        let price = match cost {
            cost if cost < -0.005 => format!("for {:.0} % less", -100.0 * cost),
            cost if cost > 0.005 => format!("for {:.0} % more", 100.0 * cost),
            _ => "for the same".to_owned(),
        };
        let total = output::grouped(self.foreshadow.totals.requests);
        format!(
            "Of {total} requests, {} failed or came late under HPA's rule and {} under foreshadow, {price} instance time.",
            output::grouped(rival),
            output::grouped(ours),
        )
    }

    /// The machine contract.
    pub(crate) fn json(&self) -> Value {
        let policy = |score: &Score| {
            json!({
                "name": score.policy.name(),
                "requests": score.totals.requests,
                "failed": score.totals.failed,
                "late": score.totals.late,
                "latency_ms": {"p50": score.totals.p50_ms, "p99": score.totals.p99_ms},
                "active_instance_seconds": score.active_s,
                "standby_instance_seconds": score.standby_s,
                "cost": score.cost,
                "oracle_cost": self.oracle_cost,
                "promotions": score.promotions,
                "promotion_ms": {"p50": score.promotion_ms.p50, "p99": score.promotion_ms.p99},
                "cold_start_ms": {"p50": score.cold_start_ms.p50, "p99": score.cold_start_ms.p99},
            })
        };
        let policies = [policy(&self.foreshadow), policy(&self.rival)];
        json!({"trace": TRACE_NAME, "provider": self.kind.name(), "policies": policies})
    }
}

/// The cost of the cheapest schedule for the very same arrivals, with the same start-up time and the same error budget.
fn oracle_cost(script: &Script, load: &Schedule, initial: u32) -> anyhow::Result<f64> {
    let step = script.step;
    let skip = (script.lead_in.as_secs_f64() / step.as_secs_f64()).round() as usize;
    let points: Vec<_> = load
        .rates(step)
        .into_iter()
        .skip(skip)
        .zip(0u32..)
        .map(|(rate, number)| (Timestamp::EPOCH + step.saturating_mul(number), Some(rate)))
        .collect();
    let demand = Demand::from_points(&points, step).context("the demo's load cannot be replayed")?;
    let mut options = Options::new(script.capacity(), script.startup, Duration::ZERO);
    options.budget = script.error_budget;
    options.standby_price = script.standby_price;
    options.replicas_max = script.replicas_max;
    options.initial = Some(initial);
    let outcome = sim::replay::replay(&demand, PolicyKind::Oracle, &options)
        .context("cannot find the oracle's schedule")?;
    Ok(outcome.score.cost)
}

fn ms(value: Option<f64>) -> String {
    match value {
        Some(value) if value >= 100.0 => format!("{value:.0} ms"),
        Some(value) => format!("{value:.1} ms"),
        None => "-".to_owned(),
    }
}

fn percent(share: f64) -> String {
    format!("{:.2} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(policy: Policy, failed: u64, late: u64, cost: f64) -> Score {
        Score {
            policy,
            totals: Totals { requests: 10_000, failed, late, p50_ms: Some(80.0), p99_ms: Some(123.4) },
            active_s: cost,
            standby_s: 0.0,
            cost,
            promotions: 3,
            promotion_ms: api::LatencySummary::default(),
            cold_start_ms: api::LatencySummary::default(),
        }
    }

    fn verdict() -> Verdict {
        Verdict {
            rival: score(Policy::Hpa, 700, 300, 1000.0),
            foreshadow: score(Policy::Foreshadow, 1, 9, 900.0),
            oracle_cost: 600.0,
            standby_price: 0.2,
            bound: Duration::from_millis(250),
            kind: Kind::Process,
        }
    }

    #[test]
    fn the_sentence_names_both_sides_and_the_price() {
        assert_eq!(
            verdict().sentence(),
            "Of 10,000 requests, 1,000 failed or came late under HPA's rule and 10 under foreshadow, for 10 % less instance time."
        );
    }

    #[test]
    fn the_json_has_the_keys_of_the_contract() {
        let json = verdict().json();
        assert_eq!(json["trace"], "nasa_http_1995_10s");
        assert_eq!(json["provider"], "process");
        let keys: Vec<&String> = json["policies"][0].as_object().unwrap().keys().collect();
        let mut expected = vec![
            "name",
            "requests",
            "failed",
            "late",
            "latency_ms",
            "active_instance_seconds",
            "standby_instance_seconds",
            "cost",
            "oracle_cost",
            "promotions",
            "promotion_ms",
            "cold_start_ms",
        ];
        expected.sort_unstable();
        let mut found: Vec<&str> = keys.iter().map(|key| key.as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, expected);
        assert_eq!(json["policies"][0]["name"], "foreshadow");
        assert_eq!(json["policies"][1]["name"], "hpa");
    }

    #[test]
    fn the_table_fits_eighty_columns() {
        let table = verdict().table();
        assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    }
}
