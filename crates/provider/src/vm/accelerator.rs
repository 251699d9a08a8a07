//! Who executes machines: found out once by a boot, kept, and told.
//!
//! That `/dev/kvm` can be opened proves nothing: on machines that are themselves virtual it may be there and run guests
//! into faults, or a thousand times too slowly. Only a boot of the machine that is wanted, to a passing probe, proves it.

use std::fs::{self, OpenOptions};
use std::path::Path;

use tokio::sync::Mutex;

/// Who executes machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// QEMU's emulation.
    Emulation,
}

impl Accelerator {
    /// QEMU's word for it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Emulation => "tcg",
        }
    }
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Known {
    Nothing,
    /// The boot with hardware acceleration failed, for this reason; perhaps the machine itself is at fault.
    Doubtful(String),
    Sure(Accelerator),
}

/// The answer, found by whoever asks first.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) known: Mutex<Known>,
}

impl Answer {
    pub(super) fn new(known: Known) -> Answer {
        Answer { known: Mutex::new(known) }
    }

    /// What an earlier control plane found out since this machine was booted with this QEMU.
    pub(super) fn read(path: &Path, occasion: &str) -> Known {
        let text = fs::read_to_string(path).unwrap_or_default();
        match text.split_once('\n') {
            Some(("kvm", rest)) if rest.starts_with(occasion) => Known::Sure(Accelerator::Kvm),
            Some(("tcg", rest)) if rest.starts_with(occasion) => Known::Sure(Accelerator::Emulation),
            Some(_) | None => Known::Nothing,
        }
    }

    /// Writes it down and tells it. One that cannot be written is found out again next time.
    pub(super) fn write(path: &Path, occasion: &str, accelerator: Accelerator, reason: &str) {
        tracing::info!(
            accelerator = accelerator.word(),
            reason,
            "machines of this provider are executed by this accelerator"
        );
        if let Err(error) = fs::write(path, format!("{}\n{occasion}\n{reason}\n", accelerator.word())) {
            tracing::warn!(path = %path.display(), %error, "cannot write down the accelerator");
        }
    }
}

/// Why there is no use in trying.
pub(super) fn hardware_problem() -> Option<String> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.err().map(|error| format!("/dev/kvm cannot be opened: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_for_the_same_boot_and_the_same_qemu_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("accelerator");
        assert_eq!(Answer::read(&path, "boot-1 7.2"), Known::Nothing);
        Answer::write(&path, "boot-1 7.2", Accelerator::Emulation, "it did not boot");
        assert_eq!(Answer::read(&path, "boot-1 7.2"), Known::Sure(Accelerator::Emulation));
        assert_eq!(Answer::read(&path, "boot-2 7.2"), Known::Nothing);
    }
}
