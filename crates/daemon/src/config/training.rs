//! `[training]`: what the training of models in the background may use and keep.

use history::models::ModelLimits;

use super::entry::Entry;
use super::model::WorkloadConfig;
use super::quantity::format_bytes;
use super::read::Workloads;
use super::section::Section;
use super::write::{number, quoted};

/// `[training]`: for all workloads with `models` together.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainingConfig {
    /// `cpu_max`: how much of one core training uses at most. Default `0.25`. Less takes nothing from what else runs here and
    /// lets models come later. Loading those that are trained already is not concerned: it is short, and waited for.
    pub cpu_max: f64,
    /// `paused`: whether training begins paused, to be let go on by `foreshadow models resume`. Default `false`. What an
    /// operator decides while the daemon runs holds after a restart, until this key says something else than it did then.
    pub paused: bool,
    /// `versions_max`: trained models that are kept of each workload, all kinds together. Default `48`. The one in charge of
    /// each kind and those it came from stay; of the others the oldest go first, when another one comes.
    pub versions_max: u32,
    /// `size_max`: bytes of all of them together. Default `"64MiB"`.
    pub size_max: u64,
}

impl Default for TrainingConfig {
    fn default() -> TrainingConfig {
        let size_max = ModelLimits::DEFAULT.bytes_max;
        TrainingConfig { cpu_max: CPU_MAX, paused: false, versions_max: VERSIONS, size_max }
    }
}

impl TrainingConfig {
    /// What the model repository is told.
    pub(crate) fn limits(&self) -> ModelLimits {
        ModelLimits { versions_max: self.versions_max as usize, bytes_max: self.size_max }
    }
}

/// Reads it. `workloads`: what it must be enough for.
pub(super) fn training(e: &Entry<'_>, workloads: &Workloads) -> Option<TrainingConfig> {
    let mut training = TrainingConfig::default();
    let mut s = e.section("[training]")?;
    s.read("cpu_max", &mut training.cpu_max, |e| e.number(CPU_MIN..=1.0));
    s.read("paused", &mut training.paused, Entry::flag);
    s.read("versions_max", &mut training.versions_max, |e| e.count(1..=VERSIONS_MAX));
    s.read("size_max", &mut training.size_max, |e| e.bytes(SIZE_MIN..=SIZE_MAX));
    for workload in workloads.iter().filter_map(|(_, workload)| workload.as_ref()) {
        check(&mut s, &training, workload);
    }
    s.finish();
    Some(training)
}

/// With fewer versions than must stay, no other model could ever be kept.
fn check(s: &mut Section<'_>, training: &TrainingConfig, workload: &WorkloadConfig) {
    let kinds = workload.models.len();
    let least = if kinds == 0 { 1 } else { STAY_OF_KIND * kinds + 1 };
    if (training.versions_max as usize) < least {
        let problem = format!(
            "{} is too few for {}, which trains {kinds} kinds of models",
            training.versions_max, workload.name
        );
        let hint = format!(
            "write at least {least}: one in charge and two to go back to of each kind, and a new one"
        );
        s.report("versions_max", problem, hint);
    }
}

/// Its lines, below the heading.
pub(super) fn write(training: &TrainingConfig) -> [(&'static str, String); 4] {
    [
        ("cpu_max", number(training.cpu_max)),
        ("paused", training.paused.to_string()),
        ("versions_max", training.versions_max.to_string()),
        ("size_max", quoted(&format_bytes(training.size_max))),
    ]
}

/// A quarter of one core.
const CPU_MAX: f64 = 0.25;
/// With less, a training would take weeks.
const CPU_MIN: f64 = 0.01;
/// The champion, the version it replaced and its parent are never removed.
const STAY_OF_KIND: usize = 3;
/// Enough for all kinds there are.
const VERSIONS: u32 = 48;
const VERSIONS_MAX: u32 = 10_000;
const SIZE_MIN: u64 = 1 << 20;
const SIZE_MAX: u64 = 1 << 40;
