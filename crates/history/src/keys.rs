//! Small values by key: the daemon's own state that is neither series nor journal.

use redb::{ReadTransaction, WriteTransaction};

use crate::error::{Fault, HistoryError};
use crate::limit::Limit;
use crate::table;

pub(crate) fn validate(key: &str, value: &[u8]) -> Result<(), HistoryError> {
    Limit::KeyBytes.check(key.len(), || format!("the key {key:.40}.."))?;
    Limit::ValueBytes.check(value.len(), || format!("the value of {key}"))
}

pub(crate) fn insert(tx: &WriteTransaction, values: &[(String, Vec<u8>)]) -> Result<(), Fault> {
    if values.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(table::KEYS)?;
    for (key, value) in values {
        table.insert(key.as_str(), value.as_slice())?;
    }
    Ok(())
}

pub(crate) fn get(tx: &ReadTransaction, key: &str) -> Result<Option<Vec<u8>>, Fault> {
    Ok(tx.open_table(table::KEYS)?.get(key)?.map(|value| value.value().to_vec()))
}

/// Whether there was such a key.
pub(crate) fn remove(tx: &WriteTransaction, key: &str) -> Result<bool, Fault> {
    let mut table = tx.open_table(table::KEYS)?;
    let removed = table.remove(key)?.is_some();
    Ok(removed)
}

/// All keys that begin with `prefix`, in order.
pub(crate) fn with_prefix(tx: &ReadTransaction, prefix: &str) -> Result<Vec<String>, Fault> {
    let table = tx.open_table(table::KEYS)?;
    let mut keys = Vec::new();
    for entry in table.range(prefix..)? {
        let (key, _) = entry?;
        if !key.value().starts_with(prefix) {
            break;
        }
        keys.push(key.value().to_owned());
    }
    Ok(keys)
}
