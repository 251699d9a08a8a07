//! A decision in plain words: what was seen, forecast, decided and refused, and what reacting alone would have done.

use std::time::Duration;

use forecast::Timestamp;
use planner::{Ordered, Reaction};

/// What an explanation is made from.
#[derive(Debug)]
pub(crate) struct Material {
    pub(crate) at: Timestamp,
    pub(crate) unit: String,
    pub(crate) mode: api::Mode,
    pub(crate) plan: api::Plan,
    pub(crate) seen: Option<api::Seen>,
    /// Of the calendar: what touches the steps that the plan is for, by its start.
    pub(crate) announced: Vec<api::CalendarEvent>,
    pub(crate) shifts: Vec<api::ShiftStep>,
    /// Events about what instances got on top of their size, oldest first.
    pub(crate) raises: Vec<api::Event>,
    /// What went wrong with instances, oldest first.
    pub(crate) troubles: Vec<api::Event>,
    pub(crate) order: Option<api::ReactionOrder>,
    pub(crate) cost: Option<api::ReactionCost>,
}

/// For a plan.
pub(crate) fn reaction(of: &Reaction) -> api::Reaction {
    let order = |ordered: &Ordered| api::ReactionOrder {
        instances: ordered.instances,
        ordered_at_ms: ordered.at.as_millis(),
        ready_at_ms: ordered.ready_at.as_millis(),
    };
    api::Reaction {
        utilisation: of.utilisation,
        wanted: of.wanted,
        ready: of.ready,
        ordered: of.ordered.iter().map(order).collect(),
        demand_so_far: of.demand,
        missed_so_far: of.missed,
        missed_so_far_truly: of.missed_truly,
    }
}

/// What would have been on its way at a time, as one order; `None` if nothing.
pub(crate) fn under_way(of: &api::Reaction, at: Timestamp) -> Option<api::ReactionOrder> {
    let coming = || of.ordered.iter().filter(|order| order.ready_at_ms > at.as_millis());
    Some(api::ReactionOrder {
        instances: coming().map(|order| order.instances).sum(),
        ordered_at_ms: coming().map(|order| order.ordered_at_ms).min()?,
        ready_at_ms: coming().map(|order| order.ready_at_ms).max()?,
    })
}

/// The explanation.
pub(crate) fn explanation(material: Material) -> api::Explanation {
    let refused: Vec<api::Reason> = material
        .plan
        .reasons
        .iter()
        .filter(|reason| REFUSALS.contains(&reason.rule.as_str()))
        .cloned()
        .collect();
    let mut sentences = Vec::new();
    let mut say = |about: &str, text: String| {
        sentences.push(api::Sentence { about: about.to_owned(), text });
    };
    for text in seen(&material) {
        say("seen", text);
    }
    for text in forecast(&material) {
        say("forecast", text);
    }
    for event in &material.announced {
        say("announced", announced(event));
    }
    let plan = &material.plan;
    say(
        "decided",
        format!(
            "Plan {} of {} wants {} and {} standby.",
            plan.generation,
            Timestamp::from_millis(plan.at_ms),
            active(plan.active_wanted),
            plan.standby_wanted
        ),
    );
    for reason in plan.reasons.iter().filter(|reason| !REFUSALS.contains(&reason.rule.as_str())) {
        say("why", reason.sentence.clone());
    }
    for reason in &refused {
        say("refused", reason.sentence.clone());
    }
    if material.mode == api::Mode::Observe {
        say("refused", "Nothing of it is carried out: the mode of the workload is observe.".to_owned());
    }
    for step in &material.shifts {
        say("shift", format!("{} {}", Timestamp::from_millis(step.at_ms), step.sentence));
    }
    for event in &material.troubles {
        say("trouble", format!("{} {}", Timestamp::from_millis(event.at_ms), brief(&event.message)));
    }
    for event in &material.raises {
        say("raise", format!("{} {}.", Timestamp::from_millis(event.at_ms), event.message));
    }
    for text in without_forecast(&material) {
        say("without_forecast", text);
    }
    let Material { at, unit, mode, plan, seen, shifts, order, cost, .. } = material;
    api::Explanation {
        explained_at_ms: at.as_millis(),
        unit,
        mode,
        seen,
        refused,
        shifts,
        reaction: plan.without_forecast.clone().map(|then| api::ReactionExplained { then, order, cost }),
        sentences,
        plan,
    }
}

fn announced(event: &api::CalendarEvent) -> String {
    let time = Timestamp::from_millis;
    let size = if event.magnitude == 1.0 { String::new() } else { format!(", of size {}", event.magnitude) };
    let (from, to) = (time(event.start_ms), time(event.end_ms));
    format!("{from} to {to}: {} (of kind `{}`{size}), noted by {}.", event.name, event.kind, event.author)
}

/// What a program printed may be long, and is in the journal: what was said of it, and its last line.
fn brief(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default().trim_end_matches(':');
    match lines.next_back() {
        Some(last) => format!("{first}: {}", last.chars().take(LAST_LINE_MAX).collect::<String>()),
        None => first.to_owned(),
    }
}

const LAST_LINE_MAX: usize = 200;

fn seen(material: &Material) -> Vec<String> {
    let unit = &material.unit;
    let mut said = Vec::new();
    if let Some(now) = material.plan.inputs.demand_now {
        said.push(format!("Demand was {} {unit} when it was decided.", amount(now)));
    }
    let Some(seen) = &material.seen else { return said };
    let start = Timestamp::from_millis(seen.step_at_ms);
    match seen.demand {
        Some(demand) => {
            let instances = seen
                .active_instances
                .map_or(String::new(), |n| format!(", with {}", active(n.round().max(0.0) as u32)));
            let missed = seen.missed.filter(|missed| *missed > 0.0).map_or(String::new(), |missed| {
                format!("; {} of it found no capacity", percent(missed, demand))
            });
            said.push(format!(
                "In the step from {start} on it was {} {unit}{instances}{missed}.",
                amount(demand)
            ));
        }
        None => said.push(format!("In the step from {start} on nothing was heard of demand.")),
    }
    said
}

fn forecast(material: &Material) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(api::Seen { forecast_median: Some(median), forecast_low, forecast_high, .. }) = &material.seen
    {
        let between = match (forecast_low, forecast_high) {
            (Some(low), Some(high)) => {
                format!(", and between {} and {} with 90 % certainty", amount(*low), amount(*high))
            }
            _ => String::new(),
        };
        said.push(format!(
            "One cold start before that step {} was expected for it{between}.",
            amount(*median)
        ));
    }
    if let Some(peak) = material.plan.inputs.forecast_active {
        let steps = material.plan.inputs.window_active_steps;
        let steps = if steps == 1 { "step".to_owned() } else { format!("{steps} steps") };
        said.push(format!("Demand of {} was to be provided for in the next {steps}.", amount(peak)));
    }
    if !material.plan.reasons.iter().any(|reason| reason.rule == "untrusted") {
        said.push(format!("The forecast is {}.", material.plan.trust.sentence));
    }
    said
}

fn without_forecast(material: &Material) -> Vec<String> {
    let Some(then) = &material.plan.without_forecast else { return Vec::new() };
    let mut said = vec![format!(
        "Reacting alone (demand of now at {:.0} % utilisation, each further instance from a cold start) would have wanted \
         {} and had {} ready, where the plan wanted {}.",
        100.0 * then.utilisation,
        active(then.wanted),
        then.ready,
        material.plan.active_wanted
    )];
    if let Some(order) = material.order {
        let (noun, them) = if order.instances == 1 { ("instance", "it") } else { ("instances", "them") };
        said.push(format!(
            "It would have ordered {} {noun} at {} and had {them} ready at {}.",
            order.instances,
            Timestamp::from_millis(order.ordered_at_ms),
            Timestamp::from_millis(order.ready_at_ms)
        ));
    }
    if let Some(cost) = material.cost.filter(|cost| cost.demand > 0.0) {
        said.push(format!(
            "Of the demand from {} to {} it would have missed {}; in truth {} was missed.",
            Timestamp::from_millis(cost.from_ms),
            Timestamp::from_millis(cost.to_ms),
            percent(cost.missed, cost.demand),
            percent(cost.missed_truly, cost.demand)
        ));
    } else if material.order.is_some() {
        said.push("What would have been missed is known once those steps are over.".to_owned());
    }
    if then.demand_so_far > 0.0 {
        said.push(format!(
            "Of all demand since the daemon started it would have missed {}; in truth {} was missed.",
            percent(then.missed_so_far, then.demand_so_far),
            percent(then.missed_so_far_truly, then.demand_so_far)
        ));
    }
    said
}

/// The end of the time in which an order on paper, or its absence, is judged.
pub(crate) fn judged_until(
    order: Option<api::ReactionOrder>,
    at: Timestamp,
    lead_cold: Duration,
) -> (Timestamp, Timestamp) {
    match order {
        Some(order) => {
            (Timestamp::from_millis(order.ordered_at_ms), Timestamp::from_millis(order.ready_at_ms))
        }
        None => (at, at + lead_cold),
    }
}

fn active(n: u32) -> String {
    format!("{n} active {}", if n == 1 { "instance" } else { "instances" })
}

fn percent(part: f64, whole: f64) -> String {
    let percent = 100.0 * part / whole;
    match percent {
        p if p == 0.0 || p >= 9.95 => format!("{p:.0} %"),
        p if p >= 0.1 => format!("{p:.1} %"),
        _ => "less than 0.1 %".to_owned(),
    }
}

fn amount(value: f64) -> String {
    match value.abs() {
        x if x >= 100.0 || x == x.round() => format!("{value:.0}"),
        x if x >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Rules by which something that was asked for was not done.
const REFUSALS: [&str; 9] = [
    "untrusted",
    "at_maximum",
    "scale_in_blocked",
    "starts_paused",
    "standby_short",
    "shift_rolled_back",
    "refused",
    "preempted",
    "waits_for_room",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn order(instances: u32, ordered: i64, ready: i64) -> api::ReactionOrder {
        api::ReactionOrder { instances, ordered_at_ms: ordered, ready_at_ms: ready }
    }

    fn material() -> Material {
        let reason =
            |rule: &str, sentence: &str| api::Reason { rule: rule.into(), sentence: sentence.into() };
        let then = api::Reaction {
            utilisation: 0.7,
            wanted: 5,
            ready: 2,
            ordered: vec![order(3, 300_000, 480_000)],
            demand_so_far: 1_000.0,
            missed_so_far: 40.0,
            missed_so_far_truly: 0.2,
        };
        let plan = api::Plan {
            workload: "web".into(),
            generation: 7,
            at_ms: 300_000,
            active_wanted: 5,
            standby_wanted: 0,
            size: None,
            trigger: "forecast".into(),
            trust: api::Trust { trusted: true, sentence: "trusted".into(), coverage: None, skill: None },
            inputs: api::PlanInputs {
                demand_now: Some(312.0),
                floor: 312.0,
                q_active: 0.99,
                q_standby: 0.99,
                window_active_steps: 1,
                window_standby_steps: 4,
                forecast_active: Some(480.0),
                forecast_total: Some(500.0),
                capacity: 100.0,
                clone_threshold: None,
            },
            reasons: vec![
                reason("rule_needs", "It needs five."),
                reason("at_maximum", "Cut to the maximum."),
            ],
            without_forecast: Some(then),
        };
        Material {
            at: Timestamp::from_secs(301),
            unit: "requests/s".into(),
            mode: api::Mode::Act,
            plan,
            seen: None,
            announced: vec![api::CalendarEvent {
                id: 7,
                name: "Sale 3".into(),
                kind: "sale".into(),
                start_ms: 300_000,
                end_ms: 600_000,
                magnitude: 2.0,
                author: "ana".into(),
                noted_at_ms: 0,
            }],
            shifts: vec![api::ShiftStep {
                at_ms: 300_500,
                instance: "web-3".into(),
                turn: api::ShiftTurn::Began,
                from: 0.0,
                to: 0.1,
                compared: None,
                sentence: "web-3 gets 10 %.".into(),
            }],
            raises: Vec::new(),
            troubles: vec![api::Event {
                at_ms: 299_000,
                workload: Some("web".into()),
                kind: "action_failed".into(),
                instance: None,
                message: "web-4 ended with exit code 3, its last output:\n  starting\n  boom\n".into(),
                took_ms: None,
                shift: None,
            }],
            order: Some(order(3, 300_000, 480_000)),
            cost: Some(api::ReactionCost {
                from_ms: 300_000,
                to_ms: 480_000,
                demand: 1_000.0,
                missed: 120.0,
                missed_truly: 0.0,
            }),
        }
    }

    fn about(explanation: &api::Explanation, about: &str) -> Vec<String> {
        explanation.sentences.iter().filter(|s| s.about == about).map(|s| s.text.clone()).collect()
    }

    #[test]
    fn it_says_what_was_announced() {
        let said = about(&explanation(material()), "announced");
        let event = "Sale 3 (of kind `sale`, of size 2), noted by ana.";
        assert_eq!(said, [format!("1970-01-01T00:05:00Z to 1970-01-01T00:10:00Z: {event}")]);
    }

    #[test]
    fn it_says_what_went_wrong_with_instances() {
        let said = about(&explanation(material()), "trouble");
        assert_eq!(said, ["1970-01-01T00:04:59Z web-4 ended with exit code 3, its last output: boom"]);
    }

    #[test]
    fn it_says_what_reacting_alone_would_have_done_and_missed() {
        let explained = explanation(material());
        let said = about(&explained, "without_forecast");
        assert!(
            said[0]
                .ends_with("would have wanted 5 active instances and had 2 ready, where the plan wanted 5."),
            "{said:?}"
        );
        assert_eq!(
            said[1],
            "It would have ordered 3 instances at 1970-01-01T00:05:00Z and had them ready at 1970-01-01T00:08:00Z."
        );
        assert!(said[2].ends_with("it would have missed 12 %; in truth 0 % was missed."), "{}", said[2]);
        assert!(
            said[3].ends_with("it would have missed 4.0 %; in truth less than 0.1 % was missed."),
            "{}",
            said[3]
        );
        let unknown = explanation(Material { cost: None, ..material() });
        assert!(about(&unknown, "without_forecast")[2].contains("known once"));
    }

    #[test]
    fn the_steps_of_a_shift_are_told_with_their_time() {
        let explained = explanation(material());
        assert_eq!(about(&explained, "shift"), ["1970-01-01T00:05:00.5Z web-3 gets 10 %."]);
        assert_eq!(explained.shifts.len(), 1);
    }

    #[test]
    fn what_was_not_done_is_apart_from_what_was() {
        let explained = explanation(Material { mode: api::Mode::Observe, ..material() });
        assert_eq!(about(&explained, "why"), ["It needs five."]);
        assert_eq!(about(&explained, "refused").len(), 2);
        assert_eq!(explained.refused.len(), 1);
    }

    #[test]
    fn the_json_has_the_plan_beside_the_rest_and_reads_back() {
        let explained = explanation(material());
        let json = serde_json::to_value(&explained).expect("JSON");
        assert_eq!((&json["active_wanted"], &json["reaction"]["order"]["instances"]), (&5.into(), &3.into()));
        assert_eq!(serde_json::from_value::<api::Explanation>(json).expect("read back"), explained);
    }

    #[test]
    fn orders_that_would_be_over_do_not_count() {
        let reaction = api::Reaction {
            ordered: vec![order(1, 0, 1_000), order(2, 500, 3_000), order(3, 900, 4_000)],
            ..material().plan.without_forecast.expect("set")
        };
        assert_eq!(under_way(&reaction, Timestamp::from_millis(1_000)), Some(order(5, 500, 4_000)));
        assert_eq!(under_way(&reaction, Timestamp::from_millis(4_000)), None);
    }
}
