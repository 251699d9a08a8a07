//! The report of `foreshadow replay --report`: one page for who pays and for who runs it.
//!
//! First the verdict in a sentence, then money and misses of every policy, once at equal misses and once as it comes, then the
//! frontiers, then what was decided over time, then how it was measured. Everything is computed from the replays.

mod plots;
mod verdict;

use indicatif::ProgressBar;
use sim::replay::{Outcome, Point, PolicyKind, ReplayError, replay};

use self::verdict::{best, is_rival, percent, plain};
use super::Replayed;
use super::frontiers::{Frontier, sweep};
use super::money::MoneyArgs;
use super::names::{rule, title};
use crate::page::Page;

/// Sweeps the policies that were replayed and builds the page.
///
/// # Errors
/// See [`ReplayError`].
pub(super) fn build(
    replayed: &Replayed,
    against: Option<PolicyKind>,
    money: &MoneyArgs,
    bar: &ProgressBar,
) -> Result<Page, ReplayError> {
    let (demand, options) = (&replayed.demand, &replayed.options);
    let find = |kind| replayed.outcomes.iter().find(|outcome| outcome.kind == kind);
    // Everybody is compared with us; without us, with the first.
    let reference = find(PolicyKind::Foreshadow).or(replayed.outcomes.first());
    let missed = reference.map_or(options.budget, |outcome| outcome.score.missed_share);
    let kinds: Vec<PolicyKind> = replayed.outcomes.iter().map(|outcome| outcome.kind).collect();
    let frontiers = sweep(demand, &kinds, options, missed, bar)?;
    let oracle = match find(PolicyKind::Oracle) {
        Some(oracle) => oracle.clone(),
        None => replay(demand, PolicyKind::Oracle, options)?,
    };
    let rival = match against {
        Some(kind) => Some(find(kind).cloned().map_or_else(|| replay(demand, kind, options), Ok)?),
        None => find(PolicyKind::Hpa).or(replayed.outcomes.iter().find(|o| is_rival(o.kind))).cloned(),
    };
    let report =
        Report { replayed, frontiers, ours: find(PolicyKind::Foreshadow), oracle, rival, money, missed };
    Ok(report.page())
}

struct Report<'a> {
    replayed: &'a Replayed,
    frontiers: Vec<Frontier>,
    ours: Option<&'a Outcome>,
    oracle: Outcome,
    /// Drawn over time.
    rival: Option<Outcome>,
    money: &'a MoneyArgs,
    /// What others may miss at most to be comparable.
    missed: f64,
}

impl Report<'_> {
    fn page(&self) -> Page {
        let mut page = Page::new(&format!("What autoscaling would have cost: {}", self.replayed.column));
        self.summary(&mut page);
        self.equal(&mut page);
        self.as_they_come(&mut page);
        page.heading("Every setting of every policy");
        page.plot(
            &plots::frontiers(self.replayed, &self.frontiers, self.oracle.score.cost),
            560,
            "Further left: less demand missed. Further down: cheaper. Each line is one policy at all settings of its own knob that \
             are worth having; stars are policies as they come. A line that lies below and left of another is better at every price. \
             Click on a name to hide it, double-click to see it alone.",
        );
        self.over_time(&mut page);
        self.how(&mut page);
        page
    }

    fn summary(&self, page: &mut Page) {
        let Some(ours) = self.ours else {
            page.lead("foreshadow was not among the policies: there is nothing to conclude about it.");
            return;
        };
        let best = best(&self.frontiers);
        let budget = self.replayed.options.budget;
        page.lead(&verdict::sentence(&ours.score, budget, &self.frontiers, best, self.money));
        if let Some(rival) = &self.rival {
            page.text(&verdict::as_it_comes(&ours.score, rival));
        }
        let month = |score| self.money.month(score);
        let mut figures = vec![
            (
                percent(ours.score.missed_share),
                "of the demand missed by foreshadow",
                format!("error budget {}", plain(budget)),
            ),
            (
                month(&ours.score),
                "a month with foreshadow",
                format!("{} with perfect foresight", month(&self.oracle.score)),
            ),
        ];
        if let Some((kind, point)) = best {
            let of = format!("{}, {}", title(kind), point.setting);
            figures.push((month(&point.score), "a month with the best rival at equal misses", of));
        }
        page.figures(&figures);
    }

    /// The policies at no more misses than ours, cheapest first.
    fn equal(&self, page: &mut Page) {
        page.heading("At the same service");
        page.text(&format!(
            "Each policy at the cheapest of its settings that misses no more than {} of the demand. The settings of rivals were \
             chosen with hindsight, for this trace: nobody could have known them beforehand. foreshadow is as configured.",
            percent(self.missed)
        ));
        let mut found: Vec<(PolicyKind, Option<Point>)> =
            self.frontiers.iter().map(|frontier| (frontier.kind, self.comparable(frontier))).collect();
        found.sort_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b)));
        let ours = self.ours.map(|ours| ours.score.cost);
        let rows: Vec<[String; 6]> = found
            .iter()
            .map(|(kind, point)| match point {
                Some(Point { setting, score }) => [
                    title(*kind).to_owned(),
                    setting.to_string(),
                    percent(score.missed_share),
                    self.over_oracle(score.cost),
                    self.money.month(score),
                    ours.map_or("-".to_owned(), |ours| difference(score.cost, ours)),
                ],
                None => [
                    title(*kind).to_owned(),
                    "none serves as much".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                    "-".to_owned(),
                ],
            })
            .collect();
        let header = ["policy", "setting", "missed", "x foresight", self.money.column(), "difference"];
        page.table_marking(&header, &rows, Some(title(PolicyKind::Foreshadow)));
    }

    /// Ours as configured, also where another budget of ours would be cheaper; others at their best.
    fn comparable(&self, frontier: &Frontier) -> Option<Point> {
        match self.ours.filter(|_| frontier.kind == PolicyKind::Foreshadow) {
            Some(ours) => Some(Point { setting: sim::replay::Setting::default(), score: ours.score }),
            None => frontier.equal,
        }
    }

    fn as_they_come(&self, page: &mut Page) {
        page.heading("As they come");
        page.text(
            "Each policy with its usual settings: rivals aim at 70 % of an instance's capacity unless told otherwise. Rows with more \
             misses are cheaper for that reason alone.",
        );
        let rows: Vec<[String; 6]> = self
            .replayed
            .outcomes
            .iter()
            .map(|outcome| {
                let score = &outcome.score;
                [
                    title(outcome.kind).to_owned(),
                    percent(score.missed_share),
                    self.over_oracle(score.cost),
                    self.money.month(score),
                    crate::output::grouped(score.totals.starts),
                    format!("{:.0}", score.scale_events_per_day),
                ]
            })
            .collect();
        let header = ["policy", "missed", "x foresight", self.money.column(), "starts", "changes a day"];
        page.table_marking(&header, &rows, Some(title(PolicyKind::Foreshadow)));
    }

    fn over_time(&self, page: &mut Page) {
        page.heading("What was decided");
        let shown: Vec<&Outcome> = self.ours.into_iter().chain(&self.rival).collect();
        let highest = plots::highest_wanted(self.replayed, &shown);
        for outcome in shown {
            page.plot(
                &plots::timeline(self.replayed, outcome, highest),
                340,
                "Demand, and the capacity of the instances wanted at the beginning of each step, as the policy comes. The coloured area \
                 above the line is spare capacity; where the line rises above it, demand is missed. The days around the largest demand \
                 are shown; double-click to see all, drag to look closer.",
            );
        }
    }

    fn how(&self, page: &mut Page) {
        let Replayed { demand, options, name, .. } = self.replayed;
        page.heading("How this was measured");
        let mut sentences = vec![
            format!(
                "{} steps of {} s from {name}. Every policy met the same demand in the same simulated world and decided from earlier \
                 rows only. Those marked * use hindsight: they are bounds, not choices.",
                demand.len(),
                demand.step().as_secs_f64(),
            ),
            format!(
                "One instance serves {}, is ready {} s after its start was ordered and, once standing by, takes over in {} s.",
                options.capacity,
                options.cold.typical().as_secs_f64(),
                options.promote.as_secs_f64(),
            ),
            format!(
                "An active or starting instance costs 1, one that stands by {}. A month has 730.5 hours like those of the trace.",
                options.standby_price
            ),
            "Missed is the share of demand that found no capacity at its moment; nothing waits.".to_owned(),
            "x foresight is the cost over that of who knew the whole trace beforehand, with the same start-up time and error budget."
                .to_owned(),
        ];
        let kinds = self.replayed.outcomes.iter().map(|outcome| outcome.kind);
        sentences.extend(kinds.map(|kind| format!("{} ({}): {}.", title(kind), kind.name(), rule(kind))));
        page.list(&sentences);
    }

    fn over_oracle(&self, cost: f64) -> String {
        format!("{:.3}", cost / self.oracle.score.cost)
    }
}

fn cost(point: &Option<Point>) -> f64 {
    point.map_or(f64::INFINITY, |point| point.score.cost)
}

fn difference(cost: f64, ours: f64) -> String {
    match 100.0 * (cost / ours - 1.0) {
        percent if percent.abs() < 0.05 => "-".to_owned(),
        percent => format!("{percent:+.1} %"),
    }
}
