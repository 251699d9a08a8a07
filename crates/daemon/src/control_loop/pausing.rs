//! Pausing the training of models: an operator's decision, written down, and back after a restart.

use api::{Training, TrainingPause};
use forecast::Timestamp;
use history::Store;
use serde::{Deserialize, Serialize};

use super::{CommandError, ControlLoop};
use crate::recorder::clock;

/// What an operator decided last, or else the configuration. An operator's decision is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pausing {
    /// What the configuration said then: who changes it decides anew.
    configured: bool,
    pub(crate) training: Training,
}

impl Pausing {
    /// What holds for a daemon that starts, with what an earlier one wrote down.
    pub(crate) fn begin(written: Option<&[u8]>, configured: bool, now: Timestamp) -> Pausing {
        let written = written.and_then(|written| serde_json::from_slice::<Pausing>(written).ok());
        if let Some(decided) = written.filter(|decided| decided.configured == configured) {
            return decided;
        }
        let paused = configured.then(|| TrainingPause {
            since_ms: now.as_millis(),
            author: "configuration".to_owned(),
            reason: "`paused = true` under [training]".to_owned(),
        });
        Pausing { configured, training: Training { paused } }
    }

    fn pause(&mut self, by: api::TrainingRequest, now: Timestamp) -> Result<(), CommandError> {
        if let Some(pause) = &self.training.paused {
            return Err(CommandError::TrainingPaused(pause.clone()));
        }
        let api::TrainingRequest { author, reason } = by;
        self.training.paused = Some(TrainingPause { since_ms: now.as_millis(), author, reason });
        Ok(())
    }

    fn resume(&mut self) -> Result<(), CommandError> {
        self.training.paused.take().map(|_| ()).ok_or(CommandError::TrainingNotPaused)
    }
}

impl ControlLoop {
    /// Trains, or does not, as an earlier daemon was told or as it is configured. For the start.
    pub(crate) fn restore_training(&mut self, store: &Store, configured: bool) {
        let written = store.get(KEY).ok().flatten();
        self.pausing = Pausing::begin(written.as_deref(), configured, clock());
        // What the file has overruled must not come back with the file as it was.
        if written.is_some() {
            self.write_down_pausing();
        }
        if let Some(pause) = &self.pausing.training.paused {
            tracing::info!(author = pause.author, reason = pause.reason, "training of models is paused");
        }
        self.tell_trainer();
    }

    /// Lets trainings wait.
    pub(crate) fn pause_training(&mut self, by: api::TrainingRequest) -> Result<Training, CommandError> {
        let message = format!("training of models was paused ({}: {})", by.author, by.reason);
        self.pausing.pause(by, clock())?;
        Ok(self.training_decided("training_paused", message))
    }

    /// Lets trainings go on.
    pub(crate) fn resume_training(&mut self, by: &api::TrainingRequest) -> Result<Training, CommandError> {
        let message = format!("training of models goes on ({}: {})", by.author, by.reason);
        self.pausing.resume()?;
        self.refresh_trainings();
        let training = self.training_decided("training_resumed", message);
        // What became due in the pause.
        for index in 0..self.workloads.len() {
            self.train_if_due(index);
        }
        Ok(training)
    }

    fn training_decided(&mut self, kind: &str, message: String) -> Training {
        self.write_down_pausing();
        self.note_own(kind, message);
        self.tell_trainer();
        self.pausing.training.clone()
    }

    fn write_down_pausing(&self) {
        if let Ok(body) = serde_json::to_vec(&self.pausing) {
            self.recorder.record_at_once(KEY.to_owned(), body);
        }
    }

    fn tell_trainer(&self) {
        if let Some(trainer) = &self.trainer {
            trainer.pause(self.pausing.training.paused.is_some());
        }
    }

    /// Trainings that were not begun before the pause learn from what was seen in it, too.
    fn refresh_trainings(&self) {
        let Some(trainer) = &self.trainer else { return };
        for (index, reason) in trainer.not_begun() {
            if let Some(job) = self.planner.training(&self.workloads[index].id, &reason) {
                trainer.submit(index, job);
            }
        }
    }
}

/// Under which an operator's last decision is kept.
const KEY: &str = "training";

#[cfg(test)]
mod tests {
    use super::*;

    fn request(author: &str) -> api::TrainingRequest {
        api::TrainingRequest { author: author.to_owned(), reason: "backup".to_owned() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn restarted(before: &Pausing, configured: bool) -> Pausing {
        let written = serde_json::to_vec(before).expect("JSON");
        Pausing::begin(Some(&written), configured, at(100))
    }

    #[test]
    fn training_begins_as_configured_and_is_paused_and_resumed_once() {
        let mut pausing = Pausing::begin(None, false, at(1));
        assert_eq!(pausing.training.paused, None);
        assert!(matches!(pausing.resume(), Err(CommandError::TrainingNotPaused)));
        pausing.pause(request("ana"), at(2)).expect("it is not paused");
        // Who comes second is told of the first and does not become the author.
        let refused = pausing.pause(request("bob"), at(3)).expect_err("it is paused").to_string();
        assert!(refused.contains("since 1970-01-01T00:00:02Z by ana (backup)"), "{refused}");
        assert_eq!(pausing.training.paused.as_ref().map(|pause| pause.since_ms), Some(2000));
        pausing.resume().expect("it is paused");
        assert_eq!(pausing.training.paused, None);
        let configured = Pausing::begin(None, true, at(1)).training.paused.expect("as configured");
        assert_eq!((configured.author.as_str(), configured.since_ms), ("configuration", 1000));
    }

    #[test]
    fn a_decision_holds_after_a_restart_until_the_configuration_says_something_else() {
        let mut pausing = Pausing::begin(None, false, at(1));
        pausing.pause(request("ana"), at(2)).expect("it is not paused");
        assert_eq!(restarted(&pausing, false), pausing);
        let mut configured = restarted(&pausing, true);
        assert_eq!(restarted(&configured, false).training.paused, None, "ana's pause does not come back");
        assert_eq!(configured.training.paused.as_ref().map(|pause| pause.since_ms), Some(100_000));
        configured.resume().expect("it is paused");
        assert_eq!(restarted(&configured, true).training.paused, None, "resumed by an operator");
        assert_eq!(restarted(&configured, false).training.paused, None);
        assert_eq!(Pausing::begin(Some(b"nonsense"), false, at(1)).training.paused, None);
    }
}
