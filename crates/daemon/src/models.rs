//! The model repository as the daemon uses it: every change is in the journal and visible in the API at once.
//!
//! The control loop keeps out of it: a change waits for the disk, and nothing that serves may. Call these methods from a
//! thread that may block.

use std::sync::Arc;

use forecast::Timestamp;
use history::models::{
    By, Changed, Description, Gain, ModelEvent, ModelId, ModelLimits, ModelRecord, Models, Promotion, Trial,
};
use history::{HistoryError, Store};

use crate::convert;
use crate::recent::Recent;
use crate::recorder::clock;

/// The repository, with the memory of recent events that the API reads.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    store: Arc<Store>,
    recent: Arc<Recent>,
    limits: ModelLimits,
}

impl Repository {
    pub(crate) fn new(store: Arc<Store>, recent: Arc<Recent>, limits: ModelLimits) -> Repository {
        Repository { store, recent, limits }
    }

    /// Versions, oldest first.
    pub(crate) fn list(&self, workload: Option<&str>) -> Result<Vec<ModelRecord>, HistoryError> {
        self.models().list(workload)
    }

    pub(crate) fn version(&self, id: ModelId) -> Result<ModelRecord, HistoryError> {
        self.models().version(id)
    }

    pub(crate) fn export(&self, id: ModelId) -> Result<(ModelRecord, Vec<u8>), HistoryError> {
        Ok((self.models().version(id)?, self.models().export(id)?))
    }

    /// The version in charge of a workload's model.
    pub(crate) fn champion(&self, workload: &str, model: &str) -> Result<Option<ModelRecord>, HistoryError> {
        self.models().champion(workload, model)
    }

    /// The bytes of a version.
    pub(crate) fn body(&self, id: ModelId) -> Result<Vec<u8>, HistoryError> {
        Ok(self.models().body(id)?.1)
    }

    /// Keeps a trained model as a challenger.
    pub(crate) fn add(
        &self,
        by: &By,
        described: &Description,
        body: &[u8],
    ) -> Result<ModelRecord, HistoryError> {
        self.change(|models, at| models.add(at, by, described, body))
    }

    /// Notes how a version did against the champion.
    pub(crate) fn measured(&self, by: &By, id: ModelId, trial: Trial) -> Result<ModelRecord, HistoryError> {
        self.change(|models, at| models.measured(at, by, id, Some(trial), &[]))
    }

    /// Puts a version in charge: by a measured gain of at least `least`, or because an operator says so.
    pub(crate) fn promote(
        &self,
        by: &By,
        id: ModelId,
        force: bool,
        least: Option<f64>,
    ) -> Result<ModelRecord, HistoryError> {
        let gain = Gain { least: least.unwrap_or(Gain::DEFAULT.least), ..Gain::DEFAULT };
        let on = if force { Promotion::Forced } else { Promotion::Measured(gain) };
        self.change(|models, at| models.promote(at, by, id, on))
    }

    pub(crate) fn roll_back(
        &self,
        by: &By,
        workload: &str,
        model: &str,
    ) -> Result<ModelRecord, HistoryError> {
        self.change(|models, at| models.roll_back(at, by, workload, model))
    }

    pub(crate) fn import(
        &self,
        by: &By,
        content: &[u8],
        workload: Option<&str>,
    ) -> Result<ModelRecord, HistoryError> {
        self.change(|models, at| models.import(at, by, content, workload))
    }

    fn change(
        &self,
        work: impl FnOnce(Models<'_>, Timestamp) -> Result<Changed, HistoryError>,
    ) -> Result<ModelRecord, HistoryError> {
        let Changed { record, events } = work(self.models(), clock())?;
        for event in &events {
            let event = convert::model_event(event);
            tracing::info!(kind = event.kind, workload = event.workload.as_deref(), "{}", event.message);
            self.recent.push_event(event);
        }
        Ok(record)
    }

    fn models(&self) -> Models<'_> {
        self.store.models().with_limits(self.limits).with_journal(|event: &ModelEvent| {
            // An event of these fields always has a JSON form.
            serde_json::to_vec(&convert::model_event(event)).unwrap_or_default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(at: Timestamp) -> Description {
        Description {
            workload: "web".to_owned(),
            model: "smoothing".to_owned(),
            trained_at: at,
            data_from: at,
            data_to: at,
            features: Vec::new(),
            scores: [].into(),
            parent: None,
            code_version: "1".to_owned(),
        }
    }

    #[test]
    fn as_many_versions_are_kept_as_it_was_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Arc::new(Store::open(&dir.path().join("history")).expect("a store"));
        let limits = ModelLimits { versions_max: 2, bytes_max: 10 };
        let repository = Repository::new(store, Arc::new(Recent::new(clock())), limits);
        let by = By::new("trainer", "nightly");
        let add = |body: &[u8]| repository.add(&by, &described(clock()), body);
        let kept = || -> Vec<u64> {
            repository.list(None).expect("read").iter().map(|record| record.id.get()).collect()
        };
        for body in [b"one", b"two", b"six"] {
            add(body).expect("added");
        }
        assert_eq!(kept(), [2, 3]);
        add(&[1; 10]).expect("added");
        assert_eq!(kept(), [4], "no more bytes than allowed");
        assert!(add(&[1; 11]).is_err());
    }
}
