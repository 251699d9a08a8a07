//! The engines of containers behind the one face: whether they answer, and what becomes of instances when one is lost.

use super::{Home, Providers};
use crate::docker::{DockerProvider, EngineHealth};
use crate::error::ProviderError;
use crate::face::{InstanceInfo, Provider};
use crate::name::InstanceName;

impl Providers {
    /// All engines, by node.
    pub fn engines(&self) -> impl Iterator<Item = (&str, &DockerProvider)> {
        self.engines.iter().map(|(node, engine)| (node.as_str(), engine))
    }

    /// The node whose engine has this instance; `None` where it is no container.
    #[must_use]
    pub fn node_of(&self, name: &InstanceName) -> Option<String> {
        match self.homes().get(name)? {
            Home::Engine(node) => Some(node.clone()),
            Home::Processes | Home::Machines => None,
        }
    }

    /// Gives up the instances on a node whose engine is lost, see [`DockerProvider::give_up`].
    pub fn give_up(&self, node: &str) -> Vec<InstanceName> {
        let given_up = self.engines.get(node).map(DockerProvider::give_up).unwrap_or_default();
        let mut homes = self.homes();
        for name in &given_up {
            homes.remove(name);
        }
        given_up
    }

    /// Takes over what still runs on a node whose engine was lost and is back, and clears away the rest.
    ///
    /// # Errors
    /// The engine does not answer; then nothing is taken over, or not all, and it can be tried again.
    pub async fn take_back(&self, node: &str) -> Result<Vec<InstanceInfo>, ProviderError> {
        let Some(engine) = self.engines.get(node) else { return Ok(Vec::new()) };
        engine.adopt().await?;
        // Also what an attempt before this one has found.
        let found: Vec<InstanceInfo> = engine.list().into_iter().filter(|info| info.ready).collect();
        let home = Home::Engine(node.to_owned());
        self.homes().extend(found.iter().map(|info| (info.name.clone(), home.clone())));
        Ok(found)
    }

    /// One that was silent when everything was put together is adopted from when it is taken back.
    pub(super) fn is_silent(&self, home: &Home) -> bool {
        let Home::Engine(node) = home else { return false };
        self.engines.get(node).is_some_and(|engine| *engine.health().borrow() != EngineHealth::Answers)
    }
}
