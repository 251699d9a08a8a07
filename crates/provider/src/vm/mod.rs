//! Instances that are virtual machines, by QEMU.
//!
//! A machine is a QEMU process, and what holds processes holds it: the process provider's control groups, records, output
//! files, watchers and adoption are used as they are. What machines have beyond that is here.
//!
//! - `machine`: what they are to be. `order`: from there to a process; with `arguments`, `disk`.
//! - `template`: snapshots of ready machines, and restoring from them.
//! - `steps`: park, promote, stop, resize; `balloon`: what a guest says about its memory; with `control` and `qmp` for the talk with QEMU.
//! - `accelerator`: whether the processor itself can execute them here.
//!
//! A parked machine is stopped by QEMU, so that its clock stands still, and then frozen by its control group, so that
//! QEMU itself uses no processor time either. The group is the truth about it; a control plane that died between the two
//! is put right by the next one.

mod accelerator;
mod arguments;
mod balloon;
mod config;
mod control;
mod disk;
mod machine;
mod order;
mod qmp;
mod steps;
mod template;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::process::Command;
use tokio::sync::broadcast;
use tokio::time::timeout;

use self::accelerator::{Answer, Known};
use self::order::{Order, Purpose};
use crate::error::ProviderError;
use crate::face::{ExitReason, InstanceInfo, Promoted, Provider, ProviderEvent, Strain, Usage};
use crate::name::InstanceName;
use crate::process::{ProcessConfig, ProcessProvider, steps::take_turn};
use crate::procfs;
use crate::spec::{InstanceSpec, ResourceLimits};

pub use accelerator::Accelerator;
pub use balloon::GuestMemory;
pub use config::{Acceleration, VmConfig};
pub use machine::{Birth, MachineConfiguration, MachineNetwork, MachineSpec};
pub use qmp::QmpError;

/// Makes instances that are virtual machines.
///
/// Dropping it leaves the machines running, for another one to adopt; [`Provider::shutdown`] stops them. Snapshots stay
/// in the state folder.
#[derive(Debug)]
pub struct VmProvider {
    shared: Arc<Shared>,
}

/// What all steps share.
#[derive(Debug)]
struct Shared {
    config: VmConfig,
    machines: ProcessProvider,
    /// Machines that never serve: those that are saved, and those that prove something.
    templates: ProcessProvider,
    answer: Answer,
    /// Of QEMU, in its own words; empty where it is not there.
    version: String,
    /// Held while a snapshot is looked for or made.
    turns: std::sync::Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl VmProvider {
    /// Opens the state folder and takes its lock. Call [`Provider::adopt`] next. Must be called inside a tokio runtime
    /// with IO and time. That QEMU is missing is an error of each start only, so that a control plane with other kinds of
    /// instances can do without.
    ///
    /// # Errors
    /// The folder cannot be used, or another control plane uses it, or the ordered kind of control group does not work
    /// here.
    pub async fn open(config: VmConfig) -> Result<VmProvider, ProviderError> {
        let inner = |folder: &str| ProcessConfig {
            cgroups: config.cgroups,
            instances_max: config.instances_max,
            ..ProcessConfig::new(config.state_dir.join(folder))
        };
        let machines = ProcessProvider::open_with(inner("machines"), meaning)?;
        let templates = ProcessProvider::open_with(inner("templates"), meaning)?;
        let version = version(&config.qemu).await;
        let answer = match config.acceleration {
            Acceleration::Kvm => Known::Sure(Accelerator::Kvm),
            Acceleration::Emulation => Known::Sure(Accelerator::Emulation),
            Acceleration::Auto => Answer::read(&accelerator_path(&config), &occasion(&version)),
        };
        let answer = Answer::new(answer);
        let shared = Shared { config, machines, templates, answer, version, turns: Default::default() };
        Ok(VmProvider { shared: Arc::new(shared) })
    }

    /// Who executes the machines; none while that is not proven.
    pub async fn accelerator(&self) -> Option<Accelerator> {
        match &*self.shared.answer.known.lock().await {
            Known::Sure(accelerator) => Some(*accelerator),
            Known::Nothing | Known::Doubtful(_) => None,
        }
    }

    /// What a machine says about its memory; none while it is parked, and where its memory cannot be changed.
    ///
    /// # Errors
    /// The machine is unknown or not ready, or QEMU does not answer.
    pub async fn guest_memory(&self, name: &InstanceName) -> Result<Option<GuestMemory>, ProviderError> {
        let (_turn, instance) = take_turn(self.shared.machines.table(), name).await?;
        balloon::read(&self.shared, &instance).await
    }

    /// The ids of its two parts, see [`ProcessProvider::id`]: of machines that serve, and of those that are saved.
    #[must_use]
    pub fn ids(&self) -> [&str; 2] {
        [self.shared.machines.id(), self.shared.templates.id()]
    }
}

impl Shared {
    fn snapshots(&self) -> PathBuf {
        self.config.state_dir.join("snapshots")
    }

    /// Who is to execute the machines; found out by a boot of this one if nobody knows.
    async fn accelerator(
        self: &Arc<Shared>,
        spec: &InstanceSpec,
        machine: &MachineSpec,
    ) -> Result<Accelerator, ProviderError> {
        let mut known = self.answer.known.lock().await;
        match &*known {
            Known::Sure(accelerator) => return Ok(*accelerator),
            Known::Doubtful(_) => return Ok(Accelerator::Emulation),
            Known::Nothing => {}
        }
        let problem = match accelerator::hardware_problem() {
            Some(problem) => Some(problem),
            None => {
                tracing::info!(instance = %spec.name, "finding out whether the processor itself can execute machines");
                let canary = Order::new(self, spec, machine, Purpose::Canary(self.config.canary_deadline));
                let booted = self.templates.start_prepared(spec.name.clone(), canary).await;
                if booted.is_ok() {
                    self.templates.stop(&spec.name, Duration::ZERO).await?;
                }
                booted.err().map(|error| error.to_string())
            }
        };
        *known = match problem {
            None => {
                self.write_answer(Accelerator::Kvm, "a machine booted with it");
                Known::Sure(Accelerator::Kvm)
            }
            Some(problem) => Known::Doubtful(problem),
        };
        Ok(if *known == Known::Sure(Accelerator::Kvm) { Accelerator::Kvm } else { Accelerator::Emulation })
    }

    /// A machine that could not be booted with hardware acceleration either was at fault itself, or was not.
    async fn settle(&self, is_started: bool) {
        let mut known = self.answer.known.lock().await;
        if let Known::Doubtful(problem) = &*known {
            if is_started {
                self.write_answer(Accelerator::Emulation, problem);
                *known = Known::Sure(Accelerator::Emulation);
            } else {
                *known = Known::Nothing;
            }
        }
    }

    fn write_answer(&self, accelerator: Accelerator, reason: &str) {
        Answer::write(&accelerator_path(&self.config), &occasion(&self.version), accelerator, reason);
    }
}

impl Provider for VmProvider {
    async fn start(&self, spec: InstanceSpec) -> Result<InstanceInfo, ProviderError> {
        spec.validate()?;
        let name = spec.name.clone();
        let Some(machine) = spec.machine.clone() else {
            let problem = "the order has no machine".to_owned();
            return Err(ProviderError::InvalidSpec { name, problem });
        };
        let order = Order::new(&self.shared, &spec, &machine, Purpose::Serve);
        let started = self.shared.machines.start_prepared(name, order).await;
        self.shared.settle(started.is_ok()).await;
        started.map_err(|error| match error {
            ProviderError::ExitedEarly { name, reason: ExitReason::Panicked, log } => {
                let reason = if is_complaint(&self.shared.config.qemu, &log) {
                    ExitReason::Code(1)
                } else {
                    ExitReason::Panicked
                };
                ProviderError::ExitedEarly { name, reason, log }
            }
            error => error,
        })
    }

    async fn park(&self, name: &InstanceName) -> Result<(), ProviderError> {
        steps::park(&self.shared, name).await
    }

    async fn promote(&self, name: &InstanceName) -> Result<Promoted, ProviderError> {
        steps::promote(&self.shared, name).await
    }

    async fn resize(&self, name: &InstanceName, limits: ResourceLimits) -> Result<(), ProviderError> {
        let (turn, instance) = take_turn(self.shared.machines.table(), name).await?;
        let shared = Arc::clone(&self.shared);
        // A task of its own: a parked machine is thawed for a moment, and must not stay so.
        let resizing = tokio::spawn(async move {
            let _turn = turn;
            steps::resize(&shared, &instance, limits).await
        });
        resizing.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    async fn stop(&self, name: &InstanceName, grace: Duration) -> Result<(), ProviderError> {
        let (shared, name) = (Arc::clone(&self.shared), name.clone());
        let stopping = tokio::spawn(async move {
            let config = shared.config.clone();
            let ask = |instance| steps::power_down(config, instance);
            crate::process::steps::stop(shared.machines.table(), &name, grace, ask).await
        });
        stopping.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn list(&self) -> Vec<InstanceInfo> {
        let mut infos = self.shared.machines.list();
        // Those whose snapshot is being made, as the machine that is going to be saved.
        let waiting = self.shared.templates.list().into_iter().filter(|info| {
            let table = self.shared.machines.table();
            table.knows(info.name.as_str()) && table.find(&info.name).is_none()
        });
        infos.extend(waiting.map(|info| InstanceInfo { ready: false, ..info }));
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }

    /// Where there is a balloon, with the memory that the guest uses.
    async fn usage(&self, name: &InstanceName) -> Result<Usage, ProviderError> {
        let usage = self.shared.machines.usage(name).await?;
        let working_bytes = balloon::used(&self.shared, name).await;
        Ok(Usage { working_bytes, ..usage })
    }

    /// Of processor time alone: guests tell of their memory every few seconds.
    async fn strain(&self, name: &InstanceName) -> Result<Strain, ProviderError> {
        let strain = self.shared.machines.strain(name).await?;
        Ok(Strain { working_bytes: None, ..strain })
    }

    async fn logs(&self, name: &InstanceName, tail_bytes: u64) -> Result<String, ProviderError> {
        self.shared.machines.logs(name, tail_bytes).await
    }

    async fn adopt(&self) -> Result<Vec<InstanceInfo>, ProviderError> {
        // Nobody waits any more for what was to be saved.
        self.shared.templates.adopt().await?;
        for info in self.shared.templates.list() {
            self.shared.templates.stop(&info.name, Duration::ZERO).await?;
        }
        let adopted = self.shared.machines.adopt().await?;
        for info in adopted.iter().filter(|info| !info.parked) {
            steps::put_right(&self.shared, &info.name).await;
        }
        Ok(adopted)
    }

    fn events(&self) -> broadcast::Receiver<ProviderEvent> {
        self.shared.machines.events()
    }

    async fn shutdown(&self, grace: Duration) -> Result<(), ProviderError> {
        let config = self.shared.config.clone();
        let ask = move |instance| steps::power_down(config.clone(), instance);
        let machines = self.shared.machines.shutdown_by(grace, ask).await;
        let templates = self.shared.templates.shutdown(Duration::ZERO).await;
        machines.and(templates)
    }
}

/// What the end of a QEMU process means. One that ends well says nothing about how the service inside ended.
fn meaning(reason: ExitReason) -> ExitReason {
    match reason {
        ExitReason::Code(0) => ExitReason::Unknown,
        // As ordered by `-action panic=exit-failure`.
        ExitReason::Code(1) => ExitReason::Panicked,
        other => other,
    }
}

/// Whether QEMU itself says why it ended: with the same code as after a panic.
fn is_complaint(qemu: &str, log: &str) -> bool {
    let program = qemu.rsplit('/').next().unwrap_or(qemu);
    log.lines().any(|line| line.strip_prefix(program).is_some_and(|rest| rest.starts_with(':')))
}

async fn version(qemu: &str) -> String {
    let asking = Command::new(qemu).arg("--version").stdin(Stdio::null()).kill_on_drop(true).output();
    let output = timeout(VERSION_TIME_MAX, asking).await.ok().and_then(Result::ok);
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}

fn accelerator_path(config: &VmConfig) -> PathBuf {
    config.state_dir.join("accelerator")
}

/// What an answer about the accelerator holds for.
fn occasion(version: &str) -> String {
    format!("{} {version}", procfs::boot_id().unwrap_or_default())
}

/// Longest wait for QEMU's version.
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);
