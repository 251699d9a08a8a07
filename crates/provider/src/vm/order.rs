//! From an order to a QEMU process: for a machine that serves, for the first one that is to be saved, and for the one that
//! proves the accelerator.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::accelerator::Accelerator;
use super::arguments::{self, Files};
use super::machine::{Birth, MachineConfiguration, MachineNetwork, MachineSpec};
use super::template::Template;
use super::{Shared, balloon, control, disk};
use crate::error::ProviderError;
use crate::process::instance::Instance;
use crate::process::{Prepare, Prepared, ProcessProvider, blocking};
use crate::spec::{InstanceSpec, ResourceLimits};

/// What the process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To serve.
    Serve,
    /// To be saved.
    Template(Accelerator),
    /// To prove hardware acceleration, within this time.
    Canary(Duration),
}

/// An order, and what it needs.
pub(super) struct Order {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: InstanceSpec,
    pub(super) machine: MachineSpec,
    pub(super) purpose: Purpose,
    /// What the present attempt is restored from.
    pub(super) template: Mutex<Option<Arc<Template>>>,
}

impl Order {
    pub(super) fn new(
        shared: &Arc<Shared>,
        spec: &InstanceSpec,
        machine: &MachineSpec,
        purpose: Purpose,
    ) -> Order {
        let (spec, machine) = (spec.clone(), machine.clone());
        Order { shared: Arc::clone(shared), spec, machine, purpose, template: Mutex::default() }
    }

    fn provider(&self) -> &ProcessProvider {
        match self.purpose {
            Purpose::Serve => &self.shared.machines,
            Purpose::Template(_) | Purpose::Canary(_) => &self.shared.templates,
        }
    }

    /// The port inside, as it is written in arguments.
    fn port(&self, template: Option<&Template>) -> String {
        match (template, self.machine.port, &self.machine.network) {
            (Some(template), _, _) => template.port.clone(),
            (None, Some(port), _) => port.to_string(),
            (None, None, MachineNetwork::Tap { addr, .. }) => addr.port().to_string(),
            // Any number will do where it cannot or must not follow the one outside, which is chosen later.
            (None, None, MachineNetwork::User) if self.is_port_fixed() => INNER_PORT.to_string(),
            (None, None, MachineNetwork::User) => "{port}".to_owned(),
        }
    }

    fn is_port_fixed(&self) -> bool {
        matches!(self.purpose, Purpose::Template(_))
            || self.machine.configuration != MachineConfiguration::CommandLine
    }

    async fn files(&self, dir: &Path, template: Option<&Template>) -> Result<Files, ProviderError> {
        let port = self.port(template);
        let mut files = Files { port: port.clone(), is_restored: template.is_some(), ..Files::default() };
        if let Some(image) =
            template.map_or(self.machine.disk.as_deref(), |template| template.disk.as_deref())
        {
            let overlay = dir.join("disk");
            disk::make_overlay(&self.shared.config.qemu_img, &self.spec.name, image, &overlay).await?;
            files.disk = Some(overlay);
        }
        if let Some(template) = template {
            files.seed.clone_from(&template.seed);
            files.memory = template.memory.clone().map(|path| (path, false));
            let link = dir.join("state");
            std::os::unix::fs::symlink(&template.state, &link).map_err(failed("make", &link))?;
        } else {
            files.seed = disk::make_seed(&self.spec, &self.machine, &port, dir)
                .map_err(failed("write the configuration in", dir))?;
            // Punching holes for a balloon into a file that others have mapped would take their memory away.
            let is_saved = matches!(self.purpose, Purpose::Template(_)) && !self.machine.has_balloon();
            files.memory = is_saved.then(|| (dir.join("memory"), true));
        }
        Ok(files)
    }

    async fn accelerator(&self) -> Result<Accelerator, ProviderError> {
        match self.purpose {
            Purpose::Serve => self.shared.accelerator(&self.spec, &self.machine).await,
            Purpose::Template(accelerator) => Ok(accelerator),
            Purpose::Canary(_) => Ok(Accelerator::Kvm),
        }
    }
}

impl Prepare for Order {
    async fn prepare(&self) -> Result<Prepared, ProviderError> {
        disk::check_images(&self.spec.name, &self.machine)?;
        let accelerator = self.accelerator().await?;
        let is_restored = self.purpose == Purpose::Serve && self.machine.birth == Birth::Snapshot;
        let template = match is_restored {
            true if self.machine.is_shared(&self.spec) => {
                Some(self.shared.template(&self.spec, &self.machine, accelerator).await?)
            }
            true => {
                tracing::info!(instance = %self.spec.name, "booted, not restored: the order has the name or port of the instance in it");
                None
            }
            false => None,
        };
        let dir = self.provider().table().state.folder(&self.spec.name);
        make_folder(&dir)?;
        let saved = if matches!(self.purpose, Purpose::Template(_)) { self.machine.memory_bytes } else { 0 };
        disk::check_room(&self.spec.name, &dir, saved)?;
        let files = self.files(&dir, template.as_deref()).await?;
        let memory = json!({ "least": self.machine.memory_min_bytes, "most": self.machine.memory_bytes });
        let path = dir.join(control::MEMORY_FILE);
        fs::write(&path, memory.to_string()).map_err(failed("write", &path))?;
        *self.template.lock().unwrap_or_else(PoisonError::into_inner) = template;
        let command = arguments::of(&self.shared.config, accelerator, &self.spec, &self.machine, &files);
        let mut spec = InstanceSpec {
            command,
            working_dir: Some(dir),
            machine: None,
            template: false,
            env: Default::default(),
            // Those of the process; there is always one of processor time, so that it can be changed while it runs. One that
            // was not ordered holds nothing up: QEMU has work to do besides executing the machine, above all at the start.
            limits: ResourceLimits {
                cpu_cores: Some(self.spec.limits.cpu_cores.unwrap_or(f64::from(self.machine.vcpus) + 1.0)),
                memory_bytes: None,
                ..self.spec.limits
            },
            ..self.spec.clone()
        };
        if let Purpose::Canary(deadline) = self.purpose {
            spec.start_deadline = spec.start_deadline.min(deadline);
        }
        let addr = match &self.machine.network {
            MachineNetwork::User => None,
            MachineNetwork::Tap { addr, .. } => Some(*addr),
        };
        Ok(Prepared { spec, addr })
    }

    async fn begin(&self, instance: &Arc<Instance>) -> Result<(), ProviderError> {
        if self.purpose != Purpose::Serve {
            return Ok(());
        }
        let template = self.template.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = &self.shared.config;
        let mut talk = control::connect_new(config, instance).await?;
        if let Some(template) = &template {
            control::said(
                instance,
                "restore the snapshot",
                control::restore(&mut talk, template, config.snapshot_deadline).await,
            )?;
        }
        if self.machine.has_balloon() {
            control::said(instance, "watch the memory", balloon::watch(&mut talk).await)?;
        }
        if let Some(bytes) = self.spec.limits.memory_bytes.filter(|_| self.machine.has_balloon()) {
            control::said(
                instance,
                "set the memory",
                talk.execute("balloon", json!({ "value": bytes })).await,
            )?;
        }
        if template.is_some() {
            control::said(instance, "continue the machine", talk.execute("cont", json!({})).await)?;
            control::tell_clone(instance).await;
        }
        Ok(())
    }
}

fn make_folder(dir: &Path) -> Result<(), ProviderError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("empty the folder", dir)(error));
        }
        Ok(()) | Err(_) => {}
    }
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("make the folder", dir))
}

pub(super) fn failed(step: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> ProviderError {
    let path = path.to_owned();
    move |source| ProviderError::State { step, path, source }
}

/// What tells one version of a file from another, without reading it.
pub(super) async fn version_of(path: PathBuf) -> String {
    blocking(move || {
        let facts = fs::metadata(&path).ok();
        let modified =
            facts.as_ref().and_then(|facts| facts.modified().ok()).unwrap_or(SystemTime::UNIX_EPOCH);
        let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        format!("{} {} {modified}", path.display(), facts.map_or(0, |facts| facts.len()))
    })
    .await
}

/// Where services listen inside, if it is fixed and their order does not say it.
pub(super) const INNER_PORT: u16 = 8080;
