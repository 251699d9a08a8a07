//! Model versions as text for people.

use std::fmt::Write as _;

use forecast::Timestamp;

use crate::output;

/// One line for each version, and the pause where there will be no more.
pub(super) fn list(models: &api::Models) -> String {
    format!("{}{}", versions(models), models.training.paused.as_ref().map(pause).unwrap_or_default())
}

/// After a pause or a resumption.
pub(super) fn training(training: &api::Training) -> String {
    training.paused.as_ref().map_or("training of models goes on\n".to_owned(), pause)
}

/// Several lines: a reason may be long.
pub(in crate::commands) fn pause(pause: &api::TrainingPause) -> String {
    let since = Timestamp::from_millis(pause.since_ms);
    let api::TrainingPause { author, reason, .. } = pause;
    format!(
        "training is paused since {since} by {author}\n  {reason}\n  `foreshadow models resume` lets it go on\n"
    )
}

fn versions(models: &api::Models) -> String {
    if models.models.is_empty() {
        return "no model versions\n".to_owned();
    }
    let header = ["workload", "model", "no", "state", "trained", "data", "loss/cov/skill", "size"];
    let mut table = output::table(&header);
    for model in &models.models {
        output::row(&mut table, &cells(model));
    }
    format!("{table}\n")
}

/// Short, so that a version is one line on a narrow terminal; `models show` has the rest.
fn cells(model: &api::Model) -> [String; 8] {
    let score = |names: &[&str]| names.iter().find_map(|name| model.scores.get(*name)).copied();
    let loss = score(&["pinball"]).map_or("-".to_owned(), precise);
    let share = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{:.0}%", value * 100.0));
    let scores =
        format!("{loss}/{}/{}", share(score(&["coverage_90", "coverage"])), share(score(&["skill"])));
    [
        model.workload.clone(),
        model.model.clone(),
        model.id.to_string(),
        state(model.state).to_owned(),
        hour(model.trained_at_ms),
        length(model.data_to_ms.saturating_sub(model.data_from_ms)),
        scores,
        size(model.size_bytes),
    ]
}

/// Everything about one version.
pub(super) fn detail(detail: &api::ModelDetail) -> String {
    let model = &detail.summary;
    let mut text = String::new();
    let since = Timestamp::from_millis(detail.since_ms);
    let _ = writeln!(text, "version {}: {} of {}", model.id, model.model, model.workload);
    let _ = writeln!(text, "{} since {since}: {}", state(model.state), detail.why);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    let number = |id: Option<u64>| id.map_or("none".to_owned(), |id| format!("version {id}"));
    let at = |ms: i64| Timestamp::from_millis(ms).to_string();
    line("trained", at(model.trained_at_ms));
    line("on data", format!("{} to {}", at(model.data_from_ms), at(model.data_to_ms)));
    line("by", format!("foreshadow {}", detail.code_version));
    line("parent", number(detail.parent));
    line("replaced", number(detail.replaced));
    if let Some(id) = detail.imported_from {
        line("imported", format!("was version {id} where it was exported"));
    }
    line("size", format!("{} bytes", output::grouped(model.size_bytes)));
    line("sha256", detail.sha256.clone());
    if !detail.features.is_empty() {
        line("features", detail.features.join(", "));
    }
    if !model.scores.is_empty() {
        let _ = writeln!(text, "\nscores");
        for (name, value) in &model.scores {
            let _ = writeln!(text, "  {name:<14} {}", precise(*value));
        }
    }
    if let Some(trial) = &detail.trial {
        let _ = writeln!(text, "\ncompared with version {}", trial.against);
        let _ = writeln!(
            text,
            "  {} loss {} against {}, a gain of {:.2} % (standard error {:.2} %)",
            trial.loss,
            precise(trial.challenger_loss),
            precise(trial.champion_loss),
            trial.gain * 100.0,
            trial.gain_error * 100.0
        );
        let _ =
            writeln!(text, "  on {} outcomes, {} to {}", trial.outcomes, at(trial.from_ms), at(trial.to_ms));
    }
    text
}

/// After a promotion or a roll-back.
pub(super) fn in_charge(detail: &api::ModelDetail) -> String {
    let model = &detail.summary;
    format!("{}: version {} is the {} champion\n", model.workload, model.id, model.model)
}

/// The file that a version is exported to.
pub(super) fn file_name(model: &api::Model) -> String {
    let plain = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect()
    };
    format!("{}-{}-{}.fsmodel", plain(&model.workload), plain(&model.model), model.id)
}

fn state(state: api::ModelState) -> &'static str {
    match state {
        api::ModelState::Challenger => "challenger",
        api::ModelState::Champion => "champion",
        api::ModelState::Retired => "retired",
    }
}

/// Three digits that matter.
fn precise(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        size if size >= 0.001 || size == 0.0 => format!("{value:.3}"),
        _ => format!("{value:.1e}"),
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{:.0}k", bytes as f64 / 1024.0),
        _ => format!("{:.1}M", bytes as f64 / 1_048_576.0),
    }
}

/// `11-25 21h`, in UTC: year and minutes show in `models show`.
fn hour(ms: i64) -> String {
    let text = Timestamp::from_millis(ms).to_string();
    text.get(5..13).map_or(text.clone(), |hour| format!("{}h", hour.replace('T', " ")))
}

/// How much data it was trained on: `28d`, or hours where that is less than two days.
fn length(ms: i64) -> String {
    let hours = ms / 3_600_000;
    if hours >= 48 { format!("{}d", hours / 24) } else { format!("{hours}h") }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn model() -> api::Model {
        api::Model {
            id: 17,
            workload: "web".into(),
            model: "gbdt".into(),
            state: api::ModelState::Champion,
            trained_at_ms: 1_764_106_200_000,
            data_from_ms: 1_761_686_400_000,
            data_to_ms: 1_764_105_600_000,
            scores: BTreeMap::from([("pinball".to_owned(), 0.12345), ("skill".to_owned(), 0.31)]),
            size_bytes: 345_678,
        }
    }

    #[test]
    fn a_version_is_one_line_of_at_most_eighty_columns() {
        let challenger = api::Model { state: api::ModelState::Challenger, ..model() };
        let training = api::Training::default();
        let text = list(&api::Models { models: vec![model(), challenger], training: training.clone() });
        let row = text.lines().last().unwrap();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        for part in ["web", "gbdt", "17", "champion", "11-25 21h", "28d", "0.123/-/31%", "338k"] {
            assert!(text.contains(part), "{part} is not in\n{row}");
        }
        assert_eq!(list(&api::Models { models: Vec::new(), training }), "no model versions\n");
    }

    #[test]
    fn a_pause_is_told_with_its_beginning_author_and_reason() {
        let (author, reason) = ("ana".to_owned(), "backup".to_owned());
        let pause = api::TrainingPause { since_ms: 1_764_106_200_000, author, reason };
        let paused = api::Training { paused: Some(pause) };
        let text = list(&api::Models { models: vec![model()], training: paused.clone() });
        assert!(text.ends_with(&training(&paused)), "{text}");
        for part in ["paused since 2025-11-25T21:30:00Z by ana", "backup", "models resume"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert_eq!(training(&api::Training::default()), "training of models goes on\n");
    }

    #[test]
    fn names_that_are_no_file_names_become_some() {
        let odd = api::Model { workload: "*".into(), model: "a/../b".into(), ..model() };
        assert_eq!(file_name(&odd), "_-a_.._b-17.fsmodel");
    }

    #[test]
    fn numbers_are_short_at_any_size() {
        for (value, wanted) in
            [(1234.5, "1234"), (12.34, "12.3"), (0.5, "0.500"), (1e-9, "1.0e-9"), (0.0, "0.000")]
        {
            assert_eq!(precise(value), wanted);
        }
    }
}
