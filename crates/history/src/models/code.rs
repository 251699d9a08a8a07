//! A version's record as bytes: one byte of layout version, then `postcard`.
//!
//! The stored form is a type of its own, so that renaming a public field cannot change what is on disk.

use std::collections::BTreeMap;

use forecast::Timestamp;
use serde::{Deserialize, Serialize};

use super::record::{Description, Fingerprint, ModelId, ModelRecord, ModelState};
use super::trial::Trial;
use crate::error::Fault;

const LAYOUT: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Stored {
    workload: String,
    model: String,
    trained_at: i64,
    data_from: i64,
    data_to: i64,
    features: Vec<String>,
    scores: BTreeMap<String, f64>,
    parent: Option<u64>,
    code_version: String,
    bytes: u64,
    fingerprint: [u8; 32],
    state: u8,
    since: i64,
    why: String,
    replaced: Option<u64>,
    imported_from: Option<u64>,
    trial: Option<StoredTrial>,
}

#[derive(Serialize, Deserialize)]
struct StoredTrial {
    against: u64,
    loss: String,
    from: i64,
    to: i64,
    outcomes: u64,
    champion: f64,
    challenger: f64,
    gain_error: f64,
}

pub(crate) fn encode(record: &ModelRecord) -> Result<Vec<u8>, Fault> {
    let described = record.described.clone();
    let stored = Stored {
        workload: described.workload,
        model: described.model,
        trained_at: described.trained_at.as_millis(),
        data_from: described.data_from.as_millis(),
        data_to: described.data_to.as_millis(),
        features: described.features,
        scores: described.scores,
        parent: described.parent.map(ModelId::get),
        code_version: described.code_version,
        bytes: record.bytes,
        fingerprint: record.fingerprint.0,
        state: match record.state {
            ModelState::Challenger => 0,
            ModelState::Champion => 1,
            ModelState::Retired => 2,
        },
        since: record.since.as_millis(),
        why: record.why.clone(),
        replaced: record.replaced.map(ModelId::get),
        imported_from: record.imported_from.map(ModelId::get),
        trial: record.trial.as_ref().map(|trial| StoredTrial {
            against: trial.against.get(),
            loss: trial.loss.clone(),
            from: trial.from.as_millis(),
            to: trial.to.as_millis(),
            outcomes: trial.outcomes,
            champion: trial.champion,
            challenger: trial.challenger,
            gain_error: trial.gain_error,
        }),
    };
    postcard::to_extend(&stored, vec![LAYOUT])
        .map_err(|error| Fault::Damaged(format!("a model's record cannot be written: {error}")))
}

pub(crate) fn decode(id: ModelId, bytes: &[u8]) -> Result<ModelRecord, Fault> {
    parse(id, bytes).map_err(|what| Fault::Damaged(format!("the record of model version {id} {what}")))
}

/// As [`decode`]; the error is what is wrong with the record.
pub(crate) fn parse(id: ModelId, bytes: &[u8]) -> Result<ModelRecord, String> {
    let stored: Stored = match bytes.split_first() {
        Some((&LAYOUT, rest)) => {
            let (stored, left) =
                postcard::take_from_bytes(rest).map_err(|error| format!("is not understood: {error}"))?;
            if !left.is_empty() {
                return Err(format!("has {} bytes too many", left.len()));
            }
            stored
        }
        Some((layout, _)) => return Err(format!("has layout {layout}, this program reads {LAYOUT}")),
        None => return Err("is empty".to_owned()),
    };
    let state = match stored.state {
        0 => ModelState::Challenger,
        1 => ModelState::Champion,
        2 => ModelState::Retired,
        other => return Err(format!("has a state of {other}, which there is not")),
    };
    Ok(ModelRecord {
        id,
        described: Description {
            workload: stored.workload,
            model: stored.model,
            trained_at: Timestamp::from_millis(stored.trained_at),
            data_from: Timestamp::from_millis(stored.data_from),
            data_to: Timestamp::from_millis(stored.data_to),
            features: stored.features,
            scores: stored.scores,
            parent: stored.parent.map(ModelId::new),
            code_version: stored.code_version,
        },
        bytes: stored.bytes,
        fingerprint: Fingerprint(stored.fingerprint),
        state,
        since: Timestamp::from_millis(stored.since),
        why: stored.why,
        replaced: stored.replaced.map(ModelId::new),
        imported_from: stored.imported_from.map(ModelId::new),
        trial: stored.trial.map(|trial| Trial {
            against: ModelId::new(trial.against),
            loss: trial.loss,
            from: Timestamp::from_millis(trial.from),
            to: Timestamp::from_millis(trial.to),
            outcomes: trial.outcomes,
            champion: trial.champion,
            challenger: trial.challenger,
            gain_error: trial.gain_error,
        }),
    })
}
