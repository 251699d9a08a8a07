//! What the report says first, in sentences that follow from the numbers whichever way they went.

use sim::Score;
use sim::replay::{Outcome, Point, PolicyKind};

use super::super::frontiers::Frontier;
use super::super::money::MoneyArgs;
use super::super::names::title;

/// The best rival that serves as much.
pub(super) fn best(frontiers: &[Frontier]) -> Option<(PolicyKind, &Point)> {
    let rivals = frontiers.iter().filter(|frontier| is_rival(frontier.kind));
    let equal = rivals.filter_map(|frontier| Some((frontier.kind, frontier.equal.as_ref()?)));
    equal.min_by(|(_, a), (_, b)| a.score.cost.total_cmp(&b.score.cost))
}

/// A policy that could have been run in our place.
pub(super) fn is_rival(kind: PolicyKind) -> bool {
    kind != PolicyKind::Foreshadow && !kind.hindsight()
}

/// The verdict: what we missed and cost, and the cheapest rival that served as much.
pub(super) fn sentence(
    ours: &Score,
    budget: f64,
    frontiers: &[Frontier],
    best: Option<(PolicyKind, &Point)>,
    money: &MoneyArgs,
) -> String {
    let rivals = frontiers.iter().filter(|frontier| is_rival(frontier.kind)).count();
    let served = format!(
        "On this trace foreshadow serves {} of the demand for {} a month and {} its error budget of {}.",
        percent(1.0 - ours.missed_share),
        money.month(ours),
        if ours.missed_share <= budget { "keeps" } else { "does not keep" },
        plain(budget)
    );
    let tuned = match rivals {
        0 => return served,
        1 => "Its rival, tuned to this very trace,".to_owned(),
        many => format!("Of {many} rivals, each tuned to this very trace,"),
    };
    let Some((kind, point)) = best else {
        return format!("{served} {tuned} none serves as much.");
    };
    let saved = match ours.cost / point.score.cost - 1.0 {
        more if more > CLEAR => format!("foreshadow is {} dearer here", percent_short(more)),
        more if more < -CLEAR => format!("foreshadow saves {}", percent_short(-more)),
        _ => "foreshadow costs about the same".to_owned(),
    };
    let (name, price) = (title(kind), money.month(&point.score));
    format!("{served} {tuned} the cheapest that serves as much, {name}, needs {price} a month: {saved}.")
}

/// How a rival as it comes stands beside us.
pub(super) fn as_it_comes(ours: &Score, rival: &Outcome) -> String {
    let missed = match rival.score.missed_share / ours.missed_share {
        _ if ours.missed_share == rival.score.missed_share => "misses as much demand".to_owned(),
        times if !times.is_finite() => {
            format!(
                "misses {} of the demand where foreshadow misses nothing",
                percent(rival.score.missed_share)
            )
        }
        times if times >= 1.05 => format!("misses {times:.1} times the demand that foreshadow misses"),
        times if times <= 0.95 => format!("misses {times:.2} times the demand that foreshadow misses"),
        _ => "misses about as much demand".to_owned(),
    };
    let cost = match rival.score.cost / ours.cost - 1.0 {
        more if more > CLEAR => format!("costs {} more", percent_short(more)),
        more if more < -CLEAR => format!("costs {} less", percent_short(-more)),
        _ => "costs about the same".to_owned(),
    };
    let hindsight = if rival.kind.hindsight() { " (hindsight)" } else { "" };
    format!("{} as it comes{hindsight} {missed} and {cost}.", title(rival.kind).trim_end_matches('*'))
}

/// A share of demand with as many digits as it needs to differ from 0 and 100 %.
pub(super) fn percent(share: f64) -> String {
    let near = share.min(1.0 - share).abs();
    let digits = match near {
        near if near >= 0.1 || near == 0.0 => 0,
        near if near >= 0.01 => 1,
        near if near >= 0.001 => 2,
        near if near >= 0.0001 => 3,
        _ => 4,
    };
    format!("{:.digits$} %", 100.0 * share)
}

/// A share that somebody has set, with no more digits than it has.
pub(super) fn plain(share: f64) -> String {
    format!("{} %", (share * 1e8).round() / 1e6)
}

fn percent_short(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// Costs closer than this are the same for every practical purpose.
const CLEAR: f64 = 0.005;

#[cfg(test)]
mod tests {
    use clap::Parser;
    use sim::replay::Setting;
    use sim::world::Totals;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        money: MoneyArgs,
        #[arg(long)]
        report: bool,
    }

    fn money() -> MoneyArgs {
        Line::parse_from(["x", "--report", "--price-per-hour", "1"]).money
    }

    /// A day of ten thousand units of demand.
    fn score(missed_share: f64, instances: f64) -> Score {
        let totals = Totals {
            seconds: 86_400.0,
            demand: 1e4,
            missed: 1e4 * missed_share,
            active_seconds: 86_400.0 * instances,
            ..Totals::default()
        };
        Score::new(totals, 0.2)
    }

    fn frontier(kind: PolicyKind, equal: Option<f64>) -> Frontier {
        let point = |instances| Point { setting: Setting::default(), score: score(0.0, instances) };
        Frontier { kind, points: equal.map(point).into_iter().collect(), equal: equal.map(point) }
    }

    fn verdict(equal: [Option<f64>; 3]) -> String {
        let kinds = [PolicyKind::Hpa, PolicyKind::Kpa, PolicyKind::StaticPeak];
        let frontiers: Vec<_> =
            kinds.into_iter().zip(equal).map(|(kind, equal)| frontier(kind, equal)).collect();
        sentence(&score(0.0009, 10.0), 0.001, &frontiers, best(&frontiers), &money())
    }

    #[test]
    fn the_cheapest_rival_that_could_have_been_run_is_named_and_what_is_saved() {
        let text = verdict([Some(13.0), Some(12.5), Some(1.0)]);
        assert_eq!(
            text,
            "On this trace foreshadow serves 99.910 % of the demand for $7,305 a month and keeps its error budget of 0.1 %. Of 2 \
             rivals, each tuned to this very trace, the cheapest that serves as much, Knative KPA, needs $9,131 a month: foreshadow \
             saves 20 %."
        );
    }

    #[test]
    fn a_defeat_is_said_as_plainly() {
        let text = verdict([Some(8.0), None, None]);
        assert!(
            text.contains("Kubernetes HPA") && text.ends_with("foreshadow is 25 % dearer here."),
            "{text}"
        );
        let text = sentence(&score(0.002, 10.0), 0.001, &[], None, &money());
        assert!(text.ends_with("and does not keep its error budget of 0.1 %."), "{text}");
        assert!(verdict([None, None, Some(9.0)]).ends_with("tuned to this very trace, none serves as much."));
    }

    #[test]
    fn a_rival_as_it_comes_is_compared_both_ways() {
        let rival = |missed, instances| Outcome {
            kind: PolicyKind::Hpa,
            decisions: Vec::new(),
            score: score(missed, instances),
        };
        let ours = score(0.001, 10.0);
        assert_eq!(
            as_it_comes(&ours, &rival(0.003, 9.0)),
            "Kubernetes HPA as it comes misses 3.0 times the demand that foreshadow misses and costs 10 % less."
        );
        assert!(as_it_comes(&ours, &rival(0.0, 20.0)).contains("misses 0.00 times"));
        assert!(
            as_it_comes(&score(0.0, 10.0), &rival(0.01, 10.0)).contains("where foreshadow misses nothing")
        );
    }
}
