//! `foreshadow simulate --scenario sessions`: games that stay where they were put, foreshadow beside HPA.

use anyhow::Context as _;
use plotly::common::{Fill, Line, LineShape, Mode};
use plotly::{Plot, Scatter};
use sim::replay::PolicyKind;
use sim::sessions::{Fates, Outcome, Row, Scene};

use super::page::shaded;
use crate::failure::Failure;
use crate::output;
use crate::page::{Page, colour, configuration, layout};

/// The scenario, and how each policy lived through it.
pub(super) struct Played {
    scene: Scene,
    outcomes: Vec<Outcome>,
}

/// Plays it and prints a table.
pub(super) fn play(seed: u64) -> Result<Played, Failure> {
    let scene = Scene::new(seed);
    let mut outcomes = Vec::new();
    for (kind, grace) in Scene::RUNS {
        outcomes.push(scene.run(kind, grace).with_context(|| format!("{} under {kind}", scene.name))?);
    }
    let played = Played { scene, outcomes };
    let mut table = output::table(&HEADER);
    for row in rows(&played) {
        output::row(&mut table, &row);
    }
    output::print(&format!("{}: {}\n{table}\n{COLUMNS}\n", played.scene.name, played.scene.about))?;
    Ok(played)
}

/// Adds it to the page.
pub(super) fn add(page: &mut Page, played: &Played) {
    let scene = &played.scene;
    page.heading(scene.name);
    page.text(scene.about);
    page.text(&format!("Set by the user: {}. Expected: {}.", scene.policy, scene.expected));
    page.table(&HEADER, &rows(played));
    page.text(COLUMNS);
    page.plot(
        &slots(played),
        380,
        "What games take and ask for, in slots, and what the instances that may get some hold. What is on instances that are to go \
         is shown as room that nobody gets. The beginning of the tournament is shaded.",
    );
    page.plot(
        &trouble(played),
        260,
        "Games that wait for a place, and games that were cut in each minute (below zero).",
    );
}

fn rows(played: &Played) -> Vec<[String; 8]> {
    let each =
        played.outcomes.iter().flat_map(|outcome| outcome.fates.iter().map(move |fates| (outcome, fates)));
    each.enumerate().map(|(n, (outcome, fates))| cells(played, outcome, fates, n)).collect()
}

fn cells(played: &Played, outcome: &Outcome, fates: &Fates, n: usize) -> [String; 8] {
    let seconds = |wait: std::time::Duration| format!("{:.1} s", wait.as_secs_f64());
    let price = played.scene.settings.world.standby_price;
    let cost = (outcome.active_seconds + price * outcome.standby_seconds) / 3600.0;
    let first = n.is_multiple_of(outcome.fates.len());
    [
        if first { label(outcome) } else { String::new() },
        fates.name.clone(),
        output::grouped(fates.arrived),
        output::grouped(fates.waited),
        seconds(fates.waits.mean()),
        fates.waits.quantile(0.99).map_or("-".to_owned(), seconds),
        format!("{} / {}", output::grouped(fates.refused), output::grouped(fates.cut)),
        if first { output::rounded(cost) } else { String::new() },
    ]
}

fn label(outcome: &Outcome) -> String {
    match outcome.grace {
        None => outcome.kind.to_string(),
        Some(grace) => format!("{}, grace {}", outcome.kind, humantime::format_duration(grace)),
    }
}

fn slots(played: &Played) -> Plot {
    let capacity = played.scene.settings.world.capacity;
    let mut plot = Plot::new();
    let steps = |width: f64, color: &'static str| Line::new().width(width).shape(LineShape::Hv).color(color);
    let curve = |rows: &[Row], of: &dyn Fn(&Row) -> f64, name: &str| {
        Scatter::new(times(rows), rows.iter().map(of).collect()).name(name).mode(Mode::Lines)
    };
    if let Some(ours) = ours(played) {
        plot.add_trace(
            curve(&ours.rows, &|row| f64::from(row.open) * capacity, "foreshadow, open")
                .line(steps(1.0, colour::FORESHADOW))
                .fill(Fill::ToZeroY)
                .fill_color("rgba(0,114,178,0.30)"),
        );
        plot.add_trace(
            curve(&ours.rows, &|row| f64::from(row.open + row.leaving) * capacity, "foreshadow, waited for")
                .line(steps(0.5, colour::STANDBY))
                .fill(Fill::ToNextY)
                .fill_color(colour::STANDBY),
        );
    }
    if let Some(hpa) = played.outcomes.iter().find(|outcome| outcome.kind == PolicyKind::Hpa) {
        plot.add_trace(
            curve(&hpa.rows, &|row| f64::from(row.open) * capacity, "HPA, open")
                .line(steps(2.0, colour::RIVAL)),
        );
    }
    let offered = &played.scene.settings.offered;
    let from = offered.slot_at(played.scene.settings.from).unwrap_or(0);
    let at: Vec<String> = (from..offered.len()).map(|slot| offered.slot_start(slot).to_string()).collect();
    plot.add_trace(
        Scatter::new(at, offered.values()[from..].to_vec())
            .name("games, were there always room")
            .mode(Mode::Lines)
            .line(steps(1.2, colour::DEMAND)),
    );
    plot.set_layout(shaded(&played.scene.trouble, layout("Games and room for them", "", "slots")));
    plot.set_configuration(configuration());
    plot
}

fn trouble(played: &Played) -> Plot {
    let mut plot = Plot::new();
    for outcome in &played.outcomes {
        let color = match outcome.grace {
            None => colour::FORESHADOW,
            Some(grace) if grace.as_secs() < 60 => colour::RIVAL,
            Some(_) => colour::BOUND,
        };
        let waiting: Vec<u64> = outcome.rows.iter().map(|row| row.waiting.iter().sum()).collect();
        plot.add_trace(
            Scatter::new(times(&outcome.rows), waiting)
                .name(format!("waiting, {}", label(outcome)))
                .mode(Mode::Lines)
                .line(Line::new().width(1.6).shape(LineShape::Hv).color(color)),
        );
        let cut: Vec<f64> = outcome.rows.iter().map(|row| -(row.cut as f64)).collect();
        if cut.iter().any(|cut| *cut < 0.0) {
            plot.add_trace(
                Scatter::new(times(&outcome.rows), cut)
                    .name(format!("cut, {}", label(outcome)))
                    .mode(Mode::Lines)
                    .fill(Fill::ToZeroY)
                    .line(Line::new().width(1.0).shape(LineShape::Hv).color(color)),
            );
        }
    }
    plot.set_layout(shaded(
        &played.scene.trouble,
        layout("Games that wait, games that are cut", "", "games"),
    ));
    plot.set_configuration(configuration());
    plot
}

fn ours(played: &Played) -> Option<&Outcome> {
    played.outcomes.iter().find(|outcome| outcome.kind == PolicyKind::Foreshadow)
}

fn times(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.at.to_string()).collect()
}

const HEADER: [&str; 8] = ["policy", "type", "games", "waited", "mean wait", "p99", "gave up / cut", "cost"];
const COLUMNS: &str = "waited: games for which there was no room when they came. mean wait and p99: of all that got a place. gave up: \
     waited for as long as they may. cut: their instance ended before them. cost: instance-hours, those waited for included, a \
     standby at its price. HPA scales on the slots that are asked for; grace: how long an instance that it removes may go on.";
