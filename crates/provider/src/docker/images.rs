//! Images of an engine: fetched from a registry, made of files, removed.

use bollard::query_parameters::{CreateImageOptionsBuilder, RemoveImageOptionsBuilder};
use bytes::Bytes;
use futures_util::TryStreamExt;

use super::DockerProvider;
use crate::error::ProviderError;

impl DockerProvider {
    /// Makes sure that an image is on the engine: pulls it when it is missing, or in any case when `always`.
    ///
    /// # Errors
    /// It cannot be pulled, or not in time.
    pub async fn pull(&self, image: &str, always: bool) -> Result<(), ProviderError> {
        if !always && self.table.engine.has_image(image).await? {
            return Ok(());
        }
        self.table.engine.pull(image).await
    }

    /// Makes an image, `repository:tag`, of the files in a tar archive and nothing else: no command, no environment.
    ///
    /// # Errors
    /// The engine refuses it, or does not take it within the deadline for images that are pulled.
    pub async fn import(
        &self,
        repository: &str,
        tag: &str,
        archive: impl Into<Bytes>,
    ) -> Result<(), ProviderError> {
        let engine = &self.table.engine;
        let options = CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).build();
        let archive = bollard::body_full(archive.into());
        let importing = async {
            engine
                .docker
                .create_image(Some(options), Some(archive), None)
                .try_for_each(|_| async { Ok(()) })
                .await
        };
        engine.call_within(engine.pull_deadline, importing).await.map_err(engine.failed("import the image"))
    }

    /// Removes an image that no container uses; one that is not there is fine.
    ///
    /// # Errors
    /// The engine refuses, for example because a container still uses it.
    pub async fn remove_image(&self, image: &str) -> Result<(), ProviderError> {
        let engine = &self.table.engine;
        let options = RemoveImageOptionsBuilder::new().build();
        match engine.call(engine.docker.remove_image(image, Some(options), None)).await {
            Err(error) if !error.is_not_found() => Err(engine.failed("remove the image")(error)),
            Err(_) | Ok(_) => Ok(()),
        }
    }
}
