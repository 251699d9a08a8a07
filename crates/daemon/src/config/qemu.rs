//! `qemu`: how this machine executes virtual machines, under `[server]`.

use std::path::PathBuf;

use provider::{Acceleration, VmConfig};

use super::entry::Entry;
use super::write::quoted;

/// `qemu = { acceleration, cpu }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuConfig {
    /// `acceleration`: `"auto"` (the default: KVM if a first boot with it succeeds), `"kvm"` or `"emulation"`.
    pub acceleration: Acceleration,
    /// `cpu`: the processor that machines see, in QEMU's words. Default `"max"`.
    pub cpu: String,
}

impl Default for QemuConfig {
    fn default() -> Self {
        let VmConfig { acceleration, cpu, .. } = VmConfig::new("");
        Self { acceleration, cpu }
    }
}

impl QemuConfig {
    /// What the provider of machines is told.
    pub(crate) fn provider(&self, state_dir: PathBuf) -> VmConfig {
        VmConfig { acceleration: self.acceleration, cpu: self.cpu.clone(), ..VmConfig::new(state_dir) }
    }
}

/// Reads it.
pub(super) fn qemu(e: &Entry<'_>) -> Option<QemuConfig> {
    let mut s = e.section("{ acceleration = \"auto\" }")?;
    let mut config = QemuConfig::default();
    s.read("acceleration", &mut config.acceleration, |e| e.word(&WORDS));
    s.read("cpu", &mut config.cpu, |e| {
        let text = e.text()?;
        // It becomes an argument of its own, which must not be taken for another option.
        if text.is_empty() || text.starts_with('-') || text.contains(char::is_whitespace) {
            return e.refuse(format!("{text:?} is no processor of QEMU"), "write one such as \"max\"");
        }
        Some(text.to_owned())
    });
    s.finish();
    Some(config)
}

/// As it is written in a file.
pub(super) fn write(qemu: &QemuConfig) -> String {
    let word = WORDS.iter().find(|(_, acceleration)| *acceleration == qemu.acceleration);
    let word = word.map_or("auto", |(word, _)| word);
    format!("{{ acceleration = {}, cpu = {} }}", quoted(word), quoted(&qemu.cpu))
}

const WORDS: [(&str, Acceleration); 3] =
    [("auto", Acceleration::Auto), ("kvm", Acceleration::Kvm), ("emulation", Acceleration::Emulation)];
