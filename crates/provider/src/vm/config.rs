//! Settings of the machine provider.

use std::path::PathBuf;
use std::time::Duration;

use crate::cgroup::CgroupChoice;
use crate::process::INSTANCES_MAX;

/// Settings of the machine provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmConfig {
    /// Folder for records, logs, overlays, snapshots and the lock; made when missing. One provider at a time.
    pub state_dir: PathBuf,
    /// How the QEMU processes are held together, limited and frozen. Default: the best this machine allows.
    pub cgroups: CgroupChoice,
    /// Most machines at a time. Default [`INSTANCES_MAX`].
    pub instances_max: usize,
    /// QEMU's program, by name or path. Default `qemu-system-x86_64`.
    pub qemu: String,
    /// QEMU's program for disk images, by name or path. Default `qemu-img`.
    pub qemu_img: String,
    /// The processor that machines see. Default `max`, all that the accelerator offers. Under emulation simpler ones,
    /// such as `qemu64`, boot faster.
    pub cpu: String,
    /// Who executes the machines.
    pub acceleration: Acceleration,
    /// Longest time for the boot that proves hardware acceleration. Default 30 s; an order with a shorter start deadline
    /// gives no more than that.
    pub canary_deadline: Duration,
    /// Longest wait for one answer of QEMU; one that takes longer hangs and is killed. Default 5 s.
    pub answer_deadline: Duration,
    /// Longest time for saving or restoring a snapshot. Default 60 s.
    pub snapshot_deadline: Duration,
}

/// Who executes machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acceleration {
    /// The processor itself if a first boot in this way comes to a passing probe in time, else emulation. The answer holds
    /// until this machine is booted again.
    #[default]
    Auto,
    /// The processor itself, by KVM.
    Kvm,
    /// QEMU's emulation: correct everywhere, and many times slower.
    Emulation,
}

impl VmConfig {
    /// The default settings with this state folder.
    #[must_use]
    pub fn new(state_dir: impl Into<PathBuf>) -> VmConfig {
        VmConfig {
            state_dir: state_dir.into(),
            cgroups: CgroupChoice::Best,
            instances_max: INSTANCES_MAX,
            qemu: "qemu-system-x86_64".to_owned(),
            qemu_img: "qemu-img".to_owned(),
            cpu: "max".to_owned(),
            acceleration: Acceleration::Auto,
            canary_deadline: Duration::from_secs(30),
            answer_deadline: Duration::from_secs(5),
            snapshot_deadline: Duration::from_secs(60),
        }
    }
}
