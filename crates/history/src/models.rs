//! The model repository: every trained model as a version with its provenance, and which of them is in charge.
//!
//! A forecast is only as good as the model behind it, and a model trained tonight may be worse than yesterday's. So a
//! trained model is kept as a *challenger*; it becomes *champion* of its workload and kind only by a measured gain on
//! the same outcomes ([`Trial`], [`Gain`]), or by an operator who says why; and the one it replaced stays, so that going
//! back takes one call. A folder of files would do for the bytes, but not for what is promised here.
//!
//! # What it promises
//! - Every change is one durable transaction, together with its entry in the journal: after `kill -9` or power loss
//!   there is exactly the repository before or after it, never two champions, never a champion without its bytes.
//! - At most one champion for each (workload, model). The champion, the one it replaced and its parent are never removed
//!   to make room; the oldest retired versions go first ([`ModelLimits`]).
//! - What is read back is what was stored: bytes carry a SHA-256, and a version that does not match it is an error.
//! - An exported file that was damaged, cut off or is none of ours is refused with what is wrong; an imported
//!   version is a challenger like any other.
//!
//! # What it does not do
//! It does not know what the bytes mean, trains nothing, and compares nothing by itself: losses come from who measured.

mod change;
mod code;
mod file;
#[cfg(test)]
mod file_tests;
#[cfg(test)]
mod kill_tests;
#[cfg(test)]
mod life_tests;
#[cfg(test)]
mod loss_tests;
mod record;
mod refusal;
mod room;
mod rows;
#[cfg(test)]
mod script;
mod trial;

use forecast::Timestamp;
use redb::{ReadableTableMetadata, WriteTransaction};

use crate::error::{Fault, HistoryError};
use crate::journal;
use crate::store::Store;
use crate::table;

pub use crate::by::By;
pub use change::{Change, Changed, ModelEvent};
pub use file::{EXTENSION, ModelFileError};
pub use record::{Description, Fingerprint, ModelId, ModelRecord, ModelState};
pub use refusal::ModelRefusal;
pub use room::ModelLimits;
pub use trial::{Gain, NoGain, Trial, TrialError};

/// The model repository of a store, see [`Store::models`].
#[derive(Clone, Copy, Debug)]
pub struct Models<'a> {
    store: &'a Store,
    limits: ModelLimits,
    journal: fn(&ModelEvent) -> Vec<u8>,
}

/// What a promotion rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Promotion {
    /// The last trial against the champion in charge must show so much gain.
    Measured(Gain),
    /// An operator decides, whatever was measured; the reason is kept.
    Forced,
}

impl<'a> Models<'a> {
    pub(crate) fn new(store: &'a Store) -> Models<'a> {
        Models { store, limits: ModelLimits::DEFAULT, journal: ModelEvent::to_text }
    }

    /// The same repository with other limits.
    #[must_use]
    pub fn with_limits(self, limits: ModelLimits) -> Models<'a> {
        Models { limits, ..self }
    }

    /// The same repository with the journal's bodies written by `journal` instead of as plain text.
    #[must_use]
    pub fn with_journal(self, journal: fn(&ModelEvent) -> Vec<u8>) -> Models<'a> {
        Models { journal, ..self }
    }

    /// Stores a trained model as a challenger; makes room for it first.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when there is no room or the parent is not known, [`HistoryError::Limit`] and
    /// [`HistoryError::Name`] when the description is refused; as for [`Store::write`] otherwise.
    pub fn add(
        &self,
        at: Timestamp,
        by: &By,
        described: &Description,
        body: &[u8],
    ) -> Result<Changed, HistoryError> {
        described.validate()?;
        self.change("store a model", by, |tx, log| {
            if let Some(parent) = described.parent {
                let found = rows::find(tx, parent)?;
                if (found.workload(), found.model()) != (&*described.workload, &*described.model) {
                    return Err(ModelRefusal::ForeignParent { parent }.into());
                }
            }
            let record = self.insert(tx, at, described, body, by.reason.clone(), None)?;
            log.note(at, &record, Change::Added);
            self.make_room(tx, at, &record, log)?;
            Ok(record)
        })
    }

    /// Notes how a version did against another on the same outcomes, and how it scored.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when the version or the one it was compared with is not known.
    pub fn measured(
        &self,
        at: Timestamp,
        by: &By,
        id: ModelId,
        trial: Option<Trial>,
        scores: &[(String, f64)],
    ) -> Result<Changed, HistoryError> {
        self.change("note a model's scores", by, |tx, log| {
            let mut record = rows::find(tx, id)?;
            if let Some(trial) = &trial {
                trial.validate()?;
                let against = rows::find(tx, trial.against)?;
                if (against.workload(), against.model()) != (record.workload(), record.model()) {
                    return Err(ModelRefusal::ForeignRival { id, against: trial.against }.into());
                }
                record.trial = Some(trial.clone());
            }
            record.described.scores.extend(scores.iter().cloned());
            record.described.validate()?;
            rows::put(tx, &record)?;
            log.note(at, &record, Change::Measured(trial));
            Ok(record)
        })
    }

    /// Makes a version the champion of its workload and kind; the champion before it is retired, and kept to go back to.
    ///
    /// # Errors
    /// [`HistoryError::Model`] with the reason: no trial, one against another version, or too little gain.
    pub fn promote(
        &self,
        at: Timestamp,
        by: &By,
        id: ModelId,
        on: Promotion,
    ) -> Result<Changed, HistoryError> {
        self.change("promote a model", by, |tx, log| {
            let mut record = rows::find(tx, id)?;
            let before = rows::champion(tx, record.workload(), record.model())?;
            if record.state == ModelState::Champion {
                return Err(ModelRefusal::AlreadyChampion { id }.into());
            }
            let gain = match (on, &before) {
                (Promotion::Forced, _) | (Promotion::Measured(_), None) => None,
                (Promotion::Measured(least), Some(champion)) => Some(judge(&record, champion.id, least)?),
            };
            record.replaced = before.as_ref().map(|champion| champion.id);
            if let Some(mut champion) = before {
                let why = format!("replaced by version {id}");
                champion.enter(ModelState::Retired, at, why);
                rows::put(tx, &champion)?;
            }
            record.enter(ModelState::Champion, at, by.reason.clone());
            rows::put(tx, &record)?;
            let forced = on == Promotion::Forced;
            log.note(at, &record, Change::Promoted { over: record.replaced, gain, forced });
            Ok(record)
        })
    }

    /// Puts the version back in charge that the champion replaced, or else its parent; the champion is retired.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when there is no champion, or nothing left to go back to.
    pub fn roll_back(
        &self,
        at: Timestamp,
        by: &By,
        workload: &str,
        model: &str,
    ) -> Result<Changed, HistoryError> {
        self.change("roll a model back", by, |tx, log| {
            let named = || (workload.to_owned(), model.to_owned());
            let Some(mut champion) = rows::champion(tx, workload, model)? else {
                let (workload, model) = named();
                return Err(ModelRefusal::NoChampion { workload, model }.into());
            };
            let earlier = [champion.replaced, champion.described.parent];
            let mut target = None;
            for id in earlier.into_iter().flatten() {
                target = rows::get(&tx.open_table(table::MODELS)?, id)?;
                if target.is_some() {
                    break;
                }
            }
            let Some(mut target) = target else {
                return Err(ModelRefusal::NothingBefore { champion: champion.id }.into());
            };
            let why = format!("rolled back to version {}: {}", target.id, by.reason);
            champion.enter(ModelState::Retired, at, why);
            target.enter(ModelState::Champion, at, format!("rolled back to: {}", by.reason));
            rows::put(tx, &champion)?;
            rows::put(tx, &target)?;
            log.note(at, &target, Change::RolledBack { from: champion.id });
            Ok(target)
        })
    }

    /// Gives a challenger up; it stays until its room is needed.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when it is the champion, or retired already.
    pub fn retire(&self, at: Timestamp, by: &By, id: ModelId) -> Result<Changed, HistoryError> {
        self.change("retire a model", by, |tx, log| {
            let mut record = rows::find(tx, id)?;
            match record.state {
                ModelState::Challenger => {}
                ModelState::Champion => return Err(ModelRefusal::InCharge { id }.into()),
                ModelState::Retired => return Err(ModelRefusal::AlreadyRetired { id }.into()),
            }
            record.enter(ModelState::Retired, at, by.reason.clone());
            rows::put(tx, &record)?;
            log.note(at, &record, Change::Retired);
            Ok(record)
        })
    }

    /// All versions, or those of one workload, oldest first.
    pub fn list(&self, workload: Option<&str>) -> Result<Vec<ModelRecord>, HistoryError> {
        self.store.engine().read("list the models", |tx| match workload {
            None => rows::all(&tx.open_table(table::MODELS)?),
            Some(workload) => {
                rows::of(&tx.open_table(table::MODELS)?, &tx.open_table(table::MODELS_OF)?, workload)
            }
        })
    }

    /// One version.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when there is none of that number.
    pub fn version(&self, id: ModelId) -> Result<ModelRecord, HistoryError> {
        self.store.engine().read("read a model", |tx| {
            let found = rows::get(&tx.open_table(table::MODELS)?, id)?;
            found.ok_or_else(|| ModelRefusal::Unknown { id }.into())
        })
    }

    /// The version in charge of a workload's model.
    pub fn champion(&self, workload: &str, model: &str) -> Result<Option<ModelRecord>, HistoryError> {
        let all = self.list(Some(workload))?;
        Ok(all.into_iter().find(|record| record.state == ModelState::Champion && record.model() == model))
    }

    /// A version with its bytes.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when it is not known, [`HistoryError::Corrupt`] when the bytes are not those stored.
    pub fn body(&self, id: ModelId) -> Result<(ModelRecord, Vec<u8>), HistoryError> {
        self.store.engine().read("read a model", |tx| {
            let record = rows::get(&tx.open_table(table::MODELS)?, id)?;
            let record = record.ok_or(ModelRefusal::Unknown { id })?;
            let body = tx.open_table(table::MODEL_BODIES)?.get(id.get())?.map(|body| body.value().to_vec());
            match body {
                Some(body) if Fingerprint::of(&body) == record.fingerprint => Ok((record, body)),
                Some(_) => Err(Fault::Damaged(format!("model version {id} is not what was stored"))),
                None => Err(Fault::Damaged(format!("model version {id} has lost its bytes"))),
            }
        })
    }

    /// A version as the content of one file, for [`Models::import`] here or elsewhere.
    pub fn export(&self, id: ModelId) -> Result<Vec<u8>, HistoryError> {
        let (record, body) = self.body(id)?;
        Ok(file::write(&record, &body))
    }

    /// Takes in an exported version as a new challenger, for the workload it was exported from or for another one.
    ///
    /// # Errors
    /// [`HistoryError::Model`] when the file is not one of ours, damaged, of another format, or here already.
    pub fn import(
        &self,
        at: Timestamp,
        by: &By,
        content: &[u8],
        workload: Option<&str>,
    ) -> Result<Changed, HistoryError> {
        let (exported, body) = file::read(content).map_err(ModelRefusal::File)?;
        // Numbers mean something only in the repository that gave them.
        let mut described = Description { parent: None, ..exported.described };
        if let Some(workload) = workload {
            described.workload = workload.to_owned();
        }
        described.validate()?;
        self.change("import a model", by, |tx, log| {
            let known = rows::of_tx(tx, &described.workload)?;
            let same = |record: &&ModelRecord| {
                record.fingerprint == exported.fingerprint && record.model() == described.model
            };
            if let Some(same) = known.iter().find(same) {
                return Err(ModelRefusal::AlreadyHere { id: same.id }.into());
            }
            let why = format!("imported: {}", by.reason);
            let record = self.insert(tx, at, &described, body, why, Some(exported.id))?;
            log.note(at, &record, Change::Imported { was: exported.id });
            self.make_room(tx, at, &record, log)?;
            Ok(record)
        })
    }

    /// One transaction with its journal.
    fn change(
        &self,
        operation: &'static str,
        by: &By,
        work: impl FnOnce(&WriteTransaction, &mut Log<'_>) -> Result<ModelRecord, Fault>,
    ) -> Result<Changed, HistoryError> {
        by.validate()?;
        self.store.engine().write(operation, |tx| {
            let mut log = Log { by, events: Vec::new() };
            let record = work(tx, &mut log)?;
            let entries: Vec<_> =
                log.events.iter().map(|event| event.to_journal((self.journal)(event))).collect();
            entries.iter().try_for_each(journal::EventRecord::validate)?;
            journal::insert_events(tx, &entries)?;
            Ok(Changed { record, events: log.events })
        })
    }

    fn insert(
        &self,
        tx: &WriteTransaction,
        at: Timestamp,
        described: &Description,
        body: &[u8],
        why: String,
        imported_from: Option<ModelId>,
    ) -> Result<ModelRecord, Fault> {
        self.limits.check_body(body.len())?;
        let record = ModelRecord {
            id: rows::next_id(tx)?,
            described: described.clone(),
            bytes: body.len() as u64,
            fingerprint: Fingerprint::of(body),
            state: ModelState::Challenger,
            since: at,
            why,
            replaced: None,
            imported_from,
            trial: None,
        };
        tx.open_table(table::MODEL_BODIES)?.insert(record.id.get(), body)?;
        rows::put(tx, &record)?;
        Ok(record)
    }

    fn make_room(
        &self,
        tx: &WriteTransaction,
        at: Timestamp,
        newest: &ModelRecord,
        log: &mut Log<'_>,
    ) -> Result<(), Fault> {
        let all = rows::of_tx(tx, newest.workload())?;
        let going = room::to_remove(&all, newest.id, self.limits)?;
        for record in all.iter().filter(|record| going.contains(&record.id)) {
            rows::remove(tx, record)?;
            log.note(at, record, Change::Removed);
        }
        Ok(())
    }
}

/// The entries of one change.
struct Log<'a> {
    by: &'a By,
    events: Vec<ModelEvent>,
}

impl Log<'_> {
    fn note(&mut self, at: Timestamp, record: &ModelRecord, change: Change) {
        self.events.push(ModelEvent {
            at,
            workload: record.workload().to_owned(),
            model: record.model().to_owned(),
            id: record.id,
            change,
            by: self.by.clone(),
        });
    }
}

/// The workload that an exported version is of.
///
/// # Errors
/// What is wrong with the file.
pub fn exported_workload(content: &[u8]) -> Result<String, ModelFileError> {
    file::read(content).map(|(record, _)| record.described.workload)
}

/// The gain over the champion that the last trial shows, if it is enough.
fn judge(record: &ModelRecord, champion: ModelId, least: Gain) -> Result<f64, ModelRefusal> {
    let id = record.id;
    let Some(trial) = &record.trial else { return Err(ModelRefusal::NotMeasured { id, champion }) };
    if trial.against != champion {
        return Err(ModelRefusal::MeasuredAgainstAnother { id, against: trial.against, champion });
    }
    trial.verdict(least).map_err(|why| ModelRefusal::NoGain { id, champion, why })
}

/// Numbers for metrics: how many versions there are.
pub(crate) fn count(tx: &redb::ReadTransaction) -> Result<u64, Fault> {
    Ok(tx.open_table(table::MODELS)?.len()?)
}
