//! Virtual machines for the demo: Debian's kernel for clouds, and this program as all there is in the machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use daemon::{MachineConfig, QemuConfig};
use provider::guest::Kernel;
use provider::{
    Acceleration, Accelerator, Birth, InstanceName, InstanceSpec, MachineSpec, Probe, Provider, VmConfig,
    VmProvider,
};

use super::place::manners;
use super::plan::Script;
use super::root::Root;
use super::{Interrupt, Interrupted};
use crate::commands::guest;
use crate::failure::{Failure, OrFail};
use crate::output;

/// What to boot, and how.
pub(crate) struct Machines {
    spec: MachineSpec,
    accelerator: Accelerator,
}

impl Machines {
    /// Fetches the kernel if it is not there, puts this program beside it, and boots a first machine, which shows whether
    /// the processor itself can execute them.
    pub(super) async fn prepare(
        script: &Script,
        home: Option<&Path>,
        folder: &Path,
        interrupt: &Interrupt,
    ) -> Result<Machines, Failure> {
        let config = VmConfig { canary_deadline: CANARY_DEADLINE, ..VmConfig::new(folder.join("first")) };
        if !is_program(&config.qemu) {
            return Err(Failure::usage(format!(
                "there is no {} on this machine; install it (Debian: `apt install qemu-system-x86`)",
                config.qemu
            )));
        }
        let home = home.ok_or_else(|| Failure::usage("HOME is not set; the kernel is kept below it"))?;
        let cache = home.join(CACHE);
        if !cache.join("system").exists() {
            output::say(&format!("fetching Debian's kernel for clouds, once, to {}", cache.display()));
        }
        let kernel = off(move || Ok(Kernel::fetch(&cache)?)).await.or_usage(
            "cannot get a kernel for the machines; it comes by `apt-get download` from Debian, so this needs apt, a network, \
             and an `apt-get update` before",
        )?;
        let initrd = folder.join("initrd");
        let (image, path) = (kernel.image().to_owned(), initrd.clone());
        let size =
            off(move || make(&kernel, &path)).await.or_failed("cannot make the machine's file system")?;
        let memory = size.saturating_mul(3).saturating_add(MEMORY_BESIDE).next_multiple_of(1 << 20);
        let spec = MachineSpec {
            memory_bytes: memory,
            memory_min_bytes: memory,
            birth: Birth::Snapshot,
            ..MachineSpec::of_kernel(image, initrd)
        };
        output::say("booting a first machine, to see whether KVM works here");
        let mut machines = Machines { spec, accelerator: Accelerator::Emulation };
        machines.accelerator =
            machines.prove(script, config, interrupt).await.or_failed("the first machine did not boot")?;
        output::say(match machines.accelerator {
            Accelerator::Kvm => "it works",
            Accelerator::Emulation => {
                "it does not: machines are emulated, which is correct and slow, so there are few of them"
            }
        });
        Ok(machines)
    }

    /// Boots one, and says what executed it.
    async fn prove(
        &self,
        script: &Script,
        config: VmConfig,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Accelerator> {
        let provider = VmProvider::open(config).await?;
        provider.adopt().await?;
        let (command, env) = self.told(script);
        let spec = InstanceSpec {
            env,
            machine: Some(self.spec.clone()),
            probe: Probe::Http { path: "/healthz".to_owned() },
            start_deadline: script.start_deadline,
            ..InstanceSpec::new(InstanceName::new("first")?, "first", command)
        };
        let started = tokio::select! {
            started = provider.start(spec) => started.map_err(anyhow::Error::new),
            () = interrupt.heard() => Err(Interrupted.into()),
        };
        provider.shutdown(Duration::ZERO).await?;
        started?;
        provider.accelerator().await.context("it is not known what executes machines")
    }

    /// Words of the kernel's command line, and variables.
    pub(super) fn told(&self, script: &Script) -> (Vec<String>, BTreeMap<String, String>) {
        // The kernel passes the last word on to this program.
        let words = ["console=tty0", "quiet", "guest"].map(str::to_owned).to_vec();
        (words, BTreeMap::from([(guest::SERVICE_KEY.to_owned(), manners(script).join(" "))]))
    }

    /// What the configuration says of a workload.
    pub(super) fn machine(&self) -> MachineConfig {
        MachineConfig { spec: self.spec.clone(), user_data: None }
    }

    /// What it says of this machine.
    pub(super) fn qemu(&self) -> QemuConfig {
        match self.accelerator {
            Accelerator::Kvm => QemuConfig { acceleration: Acceleration::Kvm, ..QemuConfig::default() },
            // The fastest to emulate.
            Accelerator::Emulation => {
                QemuConfig { acceleration: Acceleration::Emulation, cpu: "qemu64".to_owned() }
            }
        }
    }
}

/// Writes the initial file system, and says how many bytes it has.
fn make(kernel: &Kernel, path: &Path) -> anyhow::Result<u64> {
    let archive = kernel.initrd(&Root::of_this_program(guest::PROGRAM)?.files)?;
    fs::write(path, &archive).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(archive.len() as u64)
}

/// Something that blocks, off the runtime's threads.
async fn off<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file())
}

/// Below the user's home; the tests of this project use the same.
const CACHE: &str = ".cache/foreshadow/guest";
/// The first boot with KVM has this long before machines are emulated.
const CANARY_DEADLINE: Duration = Duration::from_secs(15);
/// Memory of a machine beside the archive, the files unpacked from it, and room for the program to run.
const MEMORY_BESIDE: u64 = 96 << 20;
