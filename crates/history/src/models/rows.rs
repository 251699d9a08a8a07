//! Versions as rows: the only file that names the tables of the repository when it writes.

use redb::{ReadableTable, WriteTransaction};

use super::code;
use super::record::{ModelId, ModelRecord, ModelState};
use super::refusal::ModelRefusal;
use crate::error::Fault;
use crate::table;

/// A number that no version has had.
pub(crate) fn next_id(tx: &WriteTransaction) -> Result<ModelId, Fault> {
    let mut meta = tx.open_table(table::META)?;
    let next = meta.get(table::META_NEXT_MODEL)?.map_or(1, |next| next.value());
    meta.insert(table::META_NEXT_MODEL, next.saturating_add(1))?;
    Ok(ModelId::new(next))
}

pub(crate) fn put(tx: &WriteTransaction, record: &ModelRecord) -> Result<(), Fault> {
    let id = record.id.get();
    tx.open_table(table::MODELS)?.insert(id, code::encode(record)?.as_slice())?;
    tx.open_table(table::MODELS_OF)?.insert((record.workload(), id), ())?;
    Ok(())
}

pub(crate) fn remove(tx: &WriteTransaction, record: &ModelRecord) -> Result<(), Fault> {
    let id = record.id.get();
    tx.open_table(table::MODELS)?.remove(id)?;
    tx.open_table(table::MODELS_OF)?.remove((record.workload(), id))?;
    tx.open_table(table::MODEL_BODIES)?.remove(id)?;
    Ok(())
}

pub(crate) fn get(
    models: &impl ReadableTable<u64, &'static [u8]>,
    id: ModelId,
) -> Result<Option<ModelRecord>, Fault> {
    models.get(id.get())?.map(|bytes| code::decode(id, bytes.value())).transpose()
}

/// A version that must be there.
pub(crate) fn find(tx: &WriteTransaction, id: ModelId) -> Result<ModelRecord, Fault> {
    get(&tx.open_table(table::MODELS)?, id)?.ok_or_else(|| ModelRefusal::Unknown { id }.into())
}

pub(crate) fn all(models: &impl ReadableTable<u64, &'static [u8]>) -> Result<Vec<ModelRecord>, Fault> {
    let mut found = Vec::new();
    for entry in models.iter()? {
        let (id, bytes) = entry?;
        found.push(code::decode(ModelId::new(id.value()), bytes.value())?);
    }
    Ok(found)
}

/// The versions of a workload, oldest first.
pub(crate) fn of(
    models: &impl ReadableTable<u64, &'static [u8]>,
    index: &impl ReadableTable<(&'static str, u64), ()>,
    workload: &str,
) -> Result<Vec<ModelRecord>, Fault> {
    let mut found = Vec::new();
    for entry in index.range((workload, 0)..=(workload, u64::MAX))? {
        let id = ModelId::new(entry?.0.value().1);
        let record = get(models, id)?;
        found.push(record.ok_or_else(|| {
            Fault::Damaged(format!("model version {id} is in the index but not in its table"))
        })?);
    }
    Ok(found)
}

pub(crate) fn of_tx(tx: &WriteTransaction, workload: &str) -> Result<Vec<ModelRecord>, Fault> {
    of(&tx.open_table(table::MODELS)?, &tx.open_table(table::MODELS_OF)?, workload)
}

pub(crate) fn champion(
    tx: &WriteTransaction,
    workload: &str,
    model: &str,
) -> Result<Option<ModelRecord>, Fault> {
    let all = of_tx(tx, workload)?;
    Ok(all.into_iter().find(|record| record.state == ModelState::Champion && record.model() == model))
}
