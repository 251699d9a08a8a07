//! Opens what makes instances: processes always, containers and machines where a workload is one.

use std::collections::BTreeMap;
use std::path::Path;

use futures_util::future::join_all;
use provider::{
    DockerConfig, DockerProvider, ProcessConfig, ProcessProvider, ProviderError, Providers, VmProvider,
};

use crate::config::Config;
use crate::error::{DaemonError, chain};

/// Opens them below the state folder.
///
/// # Errors
/// Another daemon uses the folder, or none of the engines can be reached.
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
        let connecting = config.engines().into_iter().map(async |(node, engine)| {
            let dir = state_dir.join("containers").join(if node.is_empty() { "engine" } else { node });
            let config = engine.provider(dir);
            let connected = DockerProvider::connect(config.clone()).await;
            (node.to_owned(), config, connected)
        });
        engines = together(join_all(connecting).await).map_err(failed)?;
    }
    Ok(Providers::new(processes, machines, engines))
}

/// All engines, if one of them answers: the others are expected to, some time. What is wrong beside that is wrong anyway.
fn together(
    tried: Vec<(String, DockerConfig, Result<DockerProvider, ProviderError>)>,
) -> Result<BTreeMap<String, DockerProvider>, ProviderError> {
    let any = tried.iter().any(|(_, _, connected)| connected.is_ok());
    let one = |(node, config, connected)| match connected {
        Err(ProviderError::Engine { engine, step, source }) if any => {
            let error = ProviderError::Engine { engine, step, source };
            tracing::warn!(node, error = chain(&error), "the node is lost until its engine answers");
            Ok((node, DockerProvider::expect(config)?))
        }
        other => Ok((node, other?)),
    };
    tried.into_iter().map(one).collect()
}
