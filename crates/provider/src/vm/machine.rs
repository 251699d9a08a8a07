//! What a machine is to be: the part of an order that only machines have.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::arguments::command_line;
use crate::spec::{InstanceSpec, Listen, Probe};

/// The machine of an order. [`InstanceSpec::command`] is its kernel command line, word by word, and may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    /// The golden image, qcow2 or raw. It is never written to: every machine writes to a thin overlay of its own, which
    /// ends with it. Must not be changed while machines are made from it. None: no disk, everything is in `initrd`.
    pub disk: Option<PathBuf>,
    /// A kernel to boot directly; none: what is on the disk.
    pub kernel: Option<PathBuf>,
    /// The initial memory file system of `kernel`.
    pub initrd: Option<PathBuf>,
    /// Memory, in bytes, that the machine is made with. A live resize gives it this much at most. Whole MiB.
    pub memory_bytes: u64,
    /// What a live resize takes it down to at most; as much as `memory_bytes` (the default): its memory cannot be changed.
    pub memory_min_bytes: u64,
    /// Virtual processors. Default 1.
    pub vcpus: u32,
    /// The port the service listens at inside the machine; none: that of its address outside.
    pub port: Option<u16>,
    /// How it is reached.
    pub network: MachineNetwork,
    /// How it is told its environment.
    pub configuration: MachineConfiguration,
    /// Whether it is booted or restored.
    pub birth: Birth,
}

/// How a machine is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineNetwork {
    /// A network of its own inside QEMU, behind its own address translation; the service's port is forwarded from a free
    /// loopback port. Needs no rights. The machine is 10.0.2.15 there, and gets that by DHCP.
    User,
    /// A tap interface that somebody made, for this one machine. Machines on one network must not be restored from one
    /// snapshot, which would give all of them one hardware address: only with [`Birth::Boot`].
    Tap {
        /// Its name.
        interface: String,
        /// Where the service will listen; the machine must give itself that address.
        addr: SocketAddr,
    },
}

/// How a machine is told its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MachineConfiguration {
    /// `KEY=value` on the kernel command line: Linux makes what it does not know the environment of its first process.
    /// 2047 bytes in all and 29 variables at most. Needs `kernel`.
    CommandLine,
    /// A small disk called `cidata` as cloud-init's NoCloud source reads it, with a file `environment` besides.
    CloudInit {
        /// The `user-data` document; `{name}` and `{port}` are replaced in it.
        user_data: String,
    },
}

/// Where a new machine comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Birth {
    /// A boot.
    Boot,
    /// A snapshot of a first machine with the same order, taken when its probe passed. An order that says the name or the
    /// port of the instance in its environment, command line or user data cannot be shared by machines and is booted.
    Snapshot,
}

impl MachineSpec {
    /// A machine that boots this kernel with this initial file system, with 256 MiB of memory, one processor, and a
    /// loopback port.
    #[must_use]
    pub fn of_kernel(kernel: impl Into<PathBuf>, initrd: impl Into<PathBuf>) -> MachineSpec {
        MachineSpec { kernel: Some(kernel.into()), initrd: Some(initrd.into()), ..MachineSpec::empty() }
    }

    /// A machine that boots this disk image, configured by cloud-init; otherwise as [`MachineSpec::of_kernel`].
    #[must_use]
    pub fn of_disk(disk: impl Into<PathBuf>, user_data: impl Into<String>) -> MachineSpec {
        let configuration = MachineConfiguration::CloudInit { user_data: user_data.into() };
        MachineSpec { disk: Some(disk.into()), configuration, ..MachineSpec::empty() }
    }

    fn empty() -> MachineSpec {
        MachineSpec {
            disk: None,
            kernel: None,
            initrd: None,
            memory_bytes: 256 << 20,
            memory_min_bytes: 256 << 20,
            vcpus: 1,
            port: None,
            network: MachineNetwork::User,
            configuration: MachineConfiguration::CommandLine,
            birth: Birth::Snapshot,
        }
    }

    /// Whether its memory can be changed while it runs.
    pub fn has_balloon(&self) -> bool {
        self.memory_min_bytes < self.memory_bytes
    }

    /// What is wrong with it in this order.
    pub(crate) fn problem(&self, spec: &InstanceSpec) -> Option<String> {
        let is_told_on_command_line = self.configuration == MachineConfiguration::CommandLine;
        let (memory, least) = (self.memory_bytes, self.memory_min_bytes);
        let wanted = spec.limits.memory_bytes.unwrap_or(memory);
        let problem = if self.disk.is_none() && self.kernel.is_none() {
            "a machine needs a disk or a kernel"
        } else if self.kernel.is_none() && (self.initrd.is_some() || !spec.command.is_empty()) {
            "an initial file system and a command line need a kernel"
        } else if self.kernel.is_none() && is_told_on_command_line {
            "a machine without a kernel of ours cannot be configured by the kernel command line"
        } else if memory % (1 << 20) != 0 || !(MEMORY_MIN..=MEMORY_MAX).contains(&memory) {
            "the memory of a machine must be whole MiB, from 16 MiB to 4 TiB"
        } else if !(MEMORY_MIN..=memory).contains(&least) || !(least..=memory).contains(&wanted) {
            "the memory limit must be between the least memory and the memory of the machine"
        } else if self.vcpus == 0 || self.vcpus > VCPUS_MAX {
            "a machine has 1 to 255 processors"
        } else if spec.user.is_some() {
            "the process of a machine cannot be run as another user"
        } else if spec.limits.pids.is_some() {
            "processes inside a machine cannot be limited from outside"
        } else if spec.processes != 1 || spec.listen == Listen::PassedSocket || spec.working_dir.is_some() {
            "a machine listens on one port, takes no socket and has no working folder"
        } else if spec.probe == Probe::Tcp && self.network == MachineNetwork::User {
            "a TCP probe cannot tell whether a machine serves: QEMU accepts for it"
        } else if self.network != MachineNetwork::User && self.birth == Birth::Snapshot {
            "machines on a tap interface cannot be restored from a snapshot: they would share a hardware address"
        } else if is_told_on_command_line && spec.env.iter().any(|pair| !fits_command_line(pair)) {
            "quotes, line breaks and control characters in the environment, and dots in names, do not fit on a kernel command line"
        } else if is_told_on_command_line && !is_short(spec, self) {
            "the kernel command line with the environment is longer than 2047 bytes or has more than 29 variables"
        } else if spec.env.values().any(|value| value.contains('\n')) {
            "line breaks in the environment do not fit in a configuration file of a machine"
        } else {
            return None;
        };
        Some(problem.to_owned())
    }

    /// Whether the order is the same for every instance, so that they may share a snapshot.
    pub(super) fn is_shared(&self, spec: &InstanceSpec) -> bool {
        let is_own = |text: &str| ["{name}", "{port}", "{ports}"].iter().any(|word| text.contains(word));
        let user_data = match &self.configuration {
            MachineConfiguration::CommandLine => "",
            MachineConfiguration::CloudInit { user_data } => user_data,
        };
        !spec.command.iter().chain(spec.env.values()).map(String::as_str).chain([user_data]).any(is_own)
    }
}

fn fits_command_line((key, value): (&String, &String)) -> bool {
    !key.contains(['.', '"', ' ']) && !value.contains('"') && !value.chars().any(char::is_control)
}

/// Linux on x86 takes 2047 bytes, and 32 variables of which two are its own and one is PORT.
fn is_short(spec: &InstanceSpec, machine: &MachineSpec) -> bool {
    spec.env.len() <= 29 && command_line(spec, machine, "65535").len() <= 2047
}

const MEMORY_MIN: u64 = 16 << 20;
const MEMORY_MAX: u64 = 4 << 40;
const VCPUS_MAX: u32 = 255;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spec::ResourceLimits;

    fn spec(machine: MachineSpec) -> InstanceSpec {
        let mut spec = InstanceSpec::new("web-1".parse().expect("a name"), "web", Vec::new());
        spec.machine = Some(machine);
        spec
    }

    fn machine() -> MachineSpec {
        MachineSpec::of_kernel("/kernel", "/initrd")
    }

    #[test]
    fn orders_that_cannot_work_are_refused_with_the_reason() {
        spec(machine()).validate().expect("valid, without a command");
        spec(MachineSpec::of_disk("/disk", "")).validate().expect("valid");
        let tap = MachineNetwork::Tap {
            interface: "tap0".to_owned(),
            addr: "10.0.0.2:80".parse().expect("an address"),
        };
        let told = |key: &str, value: &str| InstanceSpec {
            env: [(key.to_owned(), value.to_owned())].into(),
            ..spec(machine())
        };
        let limits = ResourceLimits { memory_bytes: Some(512 << 20), ..ResourceLimits::default() };
        let cases = [
            (spec(MachineSpec { kernel: None, initrd: None, ..machine() }), "a disk or a kernel"),
            (spec(MachineSpec { disk: Some("/d".into()), kernel: None, ..machine() }), "need a kernel"),
            (spec(MachineSpec { memory_bytes: (64 << 20) + 1, ..machine() }), "whole MiB"),
            (spec(MachineSpec { memory_min_bytes: 1, ..machine() }), "least memory"),
            (InstanceSpec { limits, ..spec(machine()) }, "least memory"),
            (spec(MachineSpec { vcpus: 0, ..machine() }), "processors"),
            (spec(MachineSpec { network: tap, ..machine() }), "hardware address"),
            (InstanceSpec { probe: Probe::Tcp, ..spec(machine()) }, "QEMU accepts"),
            (InstanceSpec { processes: 2, ..spec(machine()) }, "one port"),
            (InstanceSpec { user: Some("nobody".to_owned()), ..spec(machine()) }, "another user"),
            (told("A", "say \"x\""), "quotes"),
            (told("a.b", "x"), "dots"),
            (told("A", &"x".repeat(2048)), "2047 bytes"),
            (InstanceSpec { start_deadline: Duration::ZERO, ..spec(machine()) }, "longer than zero"),
        ];
        for (bad, words) in cases {
            let error = bad.validate().expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn only_orders_that_are_the_same_for_all_instances_share_a_snapshot() {
        let with = |value: &str| InstanceSpec {
            env: [("A".to_owned(), value.to_owned())].into(),
            ..spec(machine())
        };
        assert!(machine().is_shared(&with("plain")));
        assert!(!machine().is_shared(&with("I am {name}")));
        let named = MachineSpec::of_disk("/disk", "#cloud-config\nhostname: {name}\n");
        assert!(!named.is_shared(&spec(named.clone())));
    }
}
