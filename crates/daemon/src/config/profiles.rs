//! `profiles = { standby = { cpu, memory } }`: standbys of another size than active instances, which is that of `limits`.

use planner::{Profiles, Size};

use super::entry::Entry;
use super::limits::LimitsConfig;
use super::model::WorkloadConfig;
use super::quantity::format_bytes;
use super::section::Section;
use super::sharing;

/// Reads it.
pub(super) fn profiles(e: &Entry<'_>, limits: LimitsConfig) -> Option<Profiles> {
    let mut s = e.section(EXAMPLE)?;
    let standby = s.required("standby", "{ cpu = 1, memory = \"512MiB\" }", sharing::needs);
    s.finish();
    let standby = standby?;
    let (Some(cpu_cores), Some(memory_bytes)) = (limits.cpu, limits.memory) else {
        return e.refuse(
            "needs to know how large active instances are",
            "add `limits = { cpu = 0.5, memory = \"256MiB\" }`",
        );
    };
    if standby.cpu < cpu_cores {
        return e.refuse(
            format!("gives standbys {} cores, less than `limits`", standby.cpu),
            "give standbys as much or more",
        );
    }
    let standby = Size { cpu_cores: standby.cpu, memory_bytes: standby.memory };
    Some(Profiles { active: Size { cpu_cores, memory_bytes }, standby })
}

/// What does not fit the rest of the workload.
pub(super) fn check(s: &mut Section<'_>, w: &WorkloadConfig) {
    let Some(profiles) = w.profiles else { return };
    let others = [
        ("sizing", w.sizing.is_some()),
        ("stopped", w.stopped.is_some()),
        ("sessions", w.sessions.is_some()),
    ];
    for (other, _) in others.iter().filter(|(_, given)| *given) {
        s.report("profiles", format!("cannot be used together with `{other}`"), "leave one of them out");
    }
    let bounds = w.machine.as_ref().map(|machine| {
        let spec = &machine.spec;
        (spec.memory_min_bytes, spec.memory_bytes, f64::from(spec.vcpus))
    });
    let fits = |size: &Size| {
        bounds.is_none_or(|(least, most, cores)| {
            (least..=most).contains(&size.memory_bytes) && size.cpu_cores <= cores
        })
    };
    if ![profiles.active, profiles.standby].iter().all(fits) {
        let hint = "keep both sizes between `memory_min` and `memory`, and within `cpus`, of `machine`";
        s.report("profiles", "has a size that the machine cannot have", hint);
    }
}

/// The value as it is written in TOML.
pub(super) fn write(profiles: &Profiles) -> String {
    let standby = profiles.standby;
    format!(
        "{{ standby = {{ cpu = {:?}, memory = \"{}\" }} }}",
        standby.cpu_cores,
        format_bytes(standby.memory_bytes)
    )
}

const EXAMPLE: &str = "{ standby = { cpu = 1, memory = \"512MiB\" } }";
