//! Opens what makes instances: processes always, containers and machines where a workload is one.

use std::collections::BTreeMap;
use std::path::Path;

use provider::{DockerProvider, ProcessConfig, ProcessProvider, ProviderError, Providers, VmProvider};

use crate::config::Config;
use crate::error::DaemonError;

/// Opens them below the state folder.
///
/// # Errors
/// Another daemon uses the folder, or an engine cannot be reached.
pub(crate) async fn open(config: &Config, state_dir: &Path) -> Result<Providers, DaemonError> {
    let failed = |error| match error {
        ProviderError::Locked { path, holder } => DaemonError::InUse { path, holder },
        other => DaemonError::Provider(other),
    };
    let processes = ProcessProvider::open(ProcessConfig::new(state_dir.join("instances"))).map_err(failed)?;
    let machines = state_dir.join("machines");
    // Also without a workload of this kind while something of an earlier one may be left.
    let has_machines = config.workloads.iter().any(|w| w.machine.is_some()) || machines.exists();
    let machines = match has_machines {
        true => Some(VmProvider::open(config.server.qemu.provider(machines)).await.map_err(failed)?),
        false => None,
    };
    let mut engines = BTreeMap::new();
    if config.workloads.iter().any(|w| w.container.is_some()) {
        for (node, engine) in config.engines() {
            let dir = state_dir.join("containers").join(if node.is_empty() { "engine" } else { node });
            let provider = DockerProvider::connect(engine.provider(dir)).await.map_err(failed)?;
            engines.insert(node.to_owned(), provider);
        }
    }
    Ok(Providers::new(processes, machines, engines))
}
