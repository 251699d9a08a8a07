//! Who takes part in what is said, and with what weight.

use forecast::Ensemble;
use serde::Serialize;

/// One model of those that compete.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Part {
    model: String,
    /// Its weight at the first step; zero where it was tried and rests.
    first: f64,
    /// Its weight at the last step.
    last: f64,
}

/// The online core, those that are combined with it, and those that were tried and rest.
pub(super) fn parts(ensemble: &Ensemble, steps: usize) -> Vec<Part> {
    let last = ensemble.weights(steps);
    let far = |name: &str| last.iter().find(|(known, _)| *known == name).map_or(0.0, |(_, weight)| *weight);
    let near = ensemble.weights(1);
    let later = last.iter().filter(|(name, _)| near.iter().all(|(known, _)| known != name));
    let all = near.iter().copied().chain(later.map(|(name, _)| (*name, 0.0)));
    let resting = ensemble.resting().iter().map(|kind| (kind.name(), 0.0));
    all.chain(resting).map(|(name, first)| Part { model: name.to_owned(), first, last: far(name) }).collect()
}

/// In a line, where there is more than one.
pub(super) fn told(parts: &[Part]) -> Option<String> {
    let (rest, active): (Vec<&Part>, Vec<&Part>) =
        parts.iter().partition(|part| part.first == 0.0 && part.last == 0.0);
    let percent = |weight: f64| format!("{:.0}", 100.0 * weight);
    let weights: Vec<String> = active
        .iter()
        .map(|part| format!("{} {}/{}", part.model, percent(part.first), percent(part.last)))
        .collect();
    let resting: Vec<&str> = rest.iter().map(|part| part.model.as_str()).collect();
    let resting = if resting.is_empty() {
        String::new()
    } else {
        format!("; tried, without weight: {}", resting.join(", "))
    };
    (parts.len() > 1).then(|| format!("weights at the first/last step, %: {}{resting}", weights.join(", ")))
}
