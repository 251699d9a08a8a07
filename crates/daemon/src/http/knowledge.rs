//! Brings the control loop what is known beside demand, after it has changed in the history.

use std::sync::Arc;

use super::Api;
use super::failure::Failure;
use super::write::ask;
use crate::config::WorkloadConfig;
use crate::control_loop::Command;
use crate::knowledge::Knowledge;
use crate::recorder::clock;

/// Reads what is known of these workloads now and waits until forecasts have it. To be called with `api.knowledge` held.
pub(super) async fn tell(api: &Api, of: impl Fn(&WorkloadConfig) -> bool) -> Result<(), Failure> {
    let configs: Vec<Arc<WorkloadConfig>> =
        api.view().workloads.iter().map(|state| state.config.clone()).filter(|config| of(config)).collect();
    if configs.is_empty() {
        return Ok(());
    }
    let store = api.store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let now = clock();
        let read =
            |config: Arc<WorkloadConfig>| Ok((config.name.clone(), Knowledge::read(&store, &config, now)?));
        configs.into_iter().map(read).collect::<Result<Vec<_>, history::HistoryError>>()
    });
    let known = read.await.map_err(|_| Failure::busy())??;
    ask(api, |reply| Command::Know { known, reply }).await
}
