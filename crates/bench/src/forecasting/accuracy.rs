//! A day ahead, from several moments of every trace: the online core, every model alone, their combination, and LightGBM
//! with the same conformal layer, each as a share of the loss of repeating the same time last week.

use anyhow::Result;
use forecast::Values;
use forecast::evaluate::{Plan, Scores, evaluate, origins, score};
use forecast::models::Kind;

use super::peers::Peers;
use super::{QUANTILES, cpu_time};
use crate::Setting;
use crate::corpus::Recorded;
use crate::rows::{Better, Rows, geometric_mean};

/// With seven of them, from which the best of many models is known afterwards, chance alone makes some model 5 % better than
/// any that could have been chosen beforehand.
const ORIGINS: usize = 42;
const ORIGINS_QUICK: usize = 3;
/// LightGBM takes long: it is asked at each so many origins, and what it is compared with there, too.
const PEER_EVERY: usize = 6;
const LIGHTGBM: &str = "LightGBM quantile, conformal";

/// Losses of one model on the series of one trace, as shares of the naive forecast's.
struct Ratios {
    trace: String,
    model: String,
    ratios: Vec<f64>,
    coverages: Vec<f64>,
}

pub(super) fn measure(setting: &Setting, corpus: &[Recorded], peers: &Peers, rows: &mut Rows) -> Result<()> {
    let mut all: Vec<Ratios> = Vec::new();
    if let Some(why) = peers.missing() {
        eprintln!("LightGBM is left out: {why}");
    }
    for series in corpus {
        eprintln!("  a day ahead: {} {}", series.trace, series.name);
        let horizon = series.day();
        let count = if setting.quick { ORIGINS_QUICK } else { ORIGINS };
        let plan = Plan {
            origins: origins(series.values.len(), series.values.len() / 2, horizon, count),
            horizon,
            quantiles: QUANTILES.to_vec(),
        };
        let every = if setting.quick { 1 } else { PEER_EVERY };
        let beside = Plan { origins: plan.origins.iter().copied().step_by(every).collect(), ..plan.clone() };
        let history = series.history(horizon);
        for &kind in Kind::ALL {
            let scores = evaluate(kind, &history, &plan, &mut cpu_time);
            keep(&mut all, series, kind.name(), &scores);
            if kind == Kind::Auto {
                let mut said = scores.forecasts;
                said.retain(|(origin, _)| beside.origins.contains(origin));
                let scores = score("auto, conformal", &history, &beside, conformal(series, &beside, said));
                keep(&mut all, series, "auto, conformal", &scores);
            }
        }
        if let Ok(said) = peers.run("lightgbm_quantile", series, &beside.origins, horizon, &QUANTILES) {
            let scores = score(LIGHTGBM, &history, &beside, conformal(series, &beside, said.forecasts));
            keep(&mut all, series, LIGHTGBM, &scores);
        }
    }
    report(&all, rows);
    Ok(())
}

/// The same layer for everybody: each quantile is moved by what it would have taken on the origins before (conformalised
/// quantile regression, Romano et al. 2019).
fn conformal(series: &Recorded, plan: &Plan, forecasts: Vec<(usize, Values)>) -> Vec<(usize, Values)> {
    let mut scores: Vec<Vec<f64>> = vec![Vec::new(); plan.quantiles.len()];
    let mut adjusted = Vec::new();
    for (origin, mut values) in forecasts {
        let raw = values.clone();
        for h in 0..values.len() {
            for (q, value) in values.row_mut(h).iter_mut().enumerate() {
                *value = (*value + offset(&scores[q], plan.quantiles[q])).max(0.0);
            }
            values.row_mut(h).sort_by(f64::total_cmp);
        }
        for h in 0..raw.len() {
            if let Some(&actual) = series.values.get(origin + h).filter(|actual| actual.is_finite()) {
                for (scores, said) in scores.iter_mut().zip(&raw[h]) {
                    scores.push(f64::from(actual) - said);
                }
            }
        }
        adjusted.push((origin, values));
    }
    adjusted
}

fn offset(scores: &[f64], tau: f64) -> f64 {
    if scores.is_empty() {
        return 0.0;
    }
    let mut sorted = scores.to_vec();
    let rank = ((tau * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1;
    *sorted.select_nth_unstable_by(rank, f64::total_cmp).1
}

fn keep(all: &mut Vec<Ratios>, series: &Recorded, model: &str, scores: &Scores) {
    let ratio = scores.wpl / scores.naive_wpl;
    if !ratio.is_finite() {
        return;
    }
    let ratio = ratio.max(0.01);
    match all.iter_mut().find(|known| known.trace == series.trace && known.model == model) {
        Some(known) => {
            known.ratios.push(ratio);
            known.coverages.push(scores.coverage);
        }
        None => all.push(Ratios {
            trace: series.trace.clone(),
            model: model.to_owned(),
            ratios: vec![ratio],
            coverages: vec![scores.coverage],
        }),
    }
}

fn report(all: &[Ratios], rows: &mut Rows) {
    let mut traces: Vec<&str> = all.iter().map(|ratios| ratios.trace.as_str()).collect();
    traces.dedup();
    let of = |trace: &str, model: &str| {
        all.iter()
            .find(|ratios| ratios.trace == trace && ratios.model == model)
            .map(|ratios| geometric_mean(&ratios.ratios))
    };
    let over_traces = |model: &str| {
        let means: Vec<f64> = traces.iter().filter_map(|trace| of(trace, model)).collect();
        geometric_mean(&means)
    };
    let mut worst: f64 = 0.0;
    for trace in &traces {
        for model in [Kind::Online, Kind::Auto] {
            let Some(mean) = of(trace, model.name()) else { continue };
            let name = format!("accuracy: {trace}, {model}, loss of the weekly naive forecast's");
            let best = best_single(all, trace);
            let peer = best.as_ref().map(|(best, name)| format!("best single model: {name} {best:.3}"));
            rows.note(&name, mean, "ratio", Better::Lower, peer);
            if let Some((best, _)) = best.filter(|_| model == Kind::Auto) {
                worst = worst.max(mean / best);
            }
        }
    }
    let mut models: Vec<&str> = all.iter().map(|ratios| ratios.model.as_str()).collect();
    models.sort_unstable();
    models.dedup();
    for model in models {
        let coverages: Vec<f64> =
            all.iter().filter(|r| r.model == model).flat_map(|r| r.coverages.clone()).collect();
        let covered = coverages.iter().sum::<f64>() / coverages.len() as f64;
        let peer = Some(format!("inside the 90 % interval: {covered:.3}"));
        rows.note(
            &format!("accuracy: all traces, {model}"),
            over_traces(model),
            "ratio",
            Better::Lower,
            peer,
        );
    }
    let bar = "accuracy: a day ahead, loss of the weekly naive forecast's, geometric mean over traces";
    rows.at_most(&format!("{bar}, online core"), over_traces(Kind::Online.name()), "ratio", 0.88, None);
    rows.at_most(&format!("{bar}, with batch models"), over_traces(Kind::Auto.name()), "ratio", 0.80, None);
    rows.at_most(
        "accuracy: with batch models, loss of the best single model's, worst trace",
        worst,
        "ratio",
        1.05,
        None,
    );
    let lightgbm = over_traces(LIGHTGBM);
    if lightgbm.is_finite() {
        rows.at_most(
            "accuracy: loss of LightGBM quantile's, both with the same conformal layer",
            over_traces("auto, conformal") / lightgbm,
            "ratio",
            1.0,
            Some(format!("LightGBM {lightgbm:.3}")),
        );
    }
}

/// The single model with the least loss on a trace, chosen with hindsight among those that had an answer for all its series.
fn best_single(all: &[Ratios], trace: &str) -> Option<(f64, String)> {
    let of_trace = || all.iter().filter(|ratios| ratios.trace == trace);
    let series = of_trace().map(|ratios| ratios.ratios.len()).max()?;
    of_trace()
        .filter(|ratios| Kind::ALL.iter().any(|kind| kind.name() == ratios.model))
        .filter(|ratios| ratios.model != Kind::Auto.name() && ratios.ratios.len() == series)
        .map(|ratios| (geometric_mean(&ratios.ratios), ratios.model.clone()))
        .min_by(|a, b| a.0.total_cmp(&b.0))
}
