//! What a guest says about its memory through the balloon device.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;

use super::qmp::{Qmp, QmpError};
use super::{Shared, control, steps};
use crate::error::ProviderError;
use crate::name::InstanceName;
use crate::process::instance::Instance;
use crate::process::steps::take_turn;

/// The memory of a machine as seen from inside. That of its process, in [`Usage`](crate::Usage), is what the host pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestMemory {
    /// What it has now, in bytes: what it was made with less what the balloon has taken.
    pub given_bytes: u64,
    /// What new programs could use without harm, in bytes, by the guest's own estimate; a few seconds old. None until it has told, and
    /// where it does not.
    pub available_bytes: Option<u64>,
}

/// Asks the device to ask the guest from time to time.
pub(super) async fn watch(talk: &mut Qmp) -> Result<(), QmpError> {
    let property =
        json!({ "path": DEVICE, "property": "guest-stats-polling-interval", "value": INTERVAL_SECONDS });
    talk.execute("qom-set", property).await.map(drop)
}

/// What a guest uses of its memory, in bytes; none where it does not tell, and without an attempt where its memory cannot be
/// changed anyway.
pub(super) async fn used(shared: &Shared, name: &InstanceName) -> Option<u64> {
    // A machine that is frozen meanwhile would be taken for one that hangs, and what takes long need not be waited for.
    let turn = timeout(TURN_TIME_MAX, take_turn(shared.machines.table(), name)).await;
    let (_turn, instance) = turn.ok()?.ok()?;
    let (least, most) = steps::memory(shared, name).ok()?;
    if least == most {
        return None;
    }
    let memory = read(shared, &instance).await.ok()??;
    Some(memory.given_bytes.saturating_sub(memory.available_bytes?))
}

/// None: the machine is parked, or has no balloon.
pub(super) async fn read(
    shared: &Shared,
    instance: &Arc<Instance>,
) -> Result<Option<GuestMemory>, ProviderError> {
    if instance.info().parked {
        return Ok(None);
    }
    let mut talk = control::connect(&shared.config, instance).await?;
    let given = match talk.execute("query-balloon", json!({})).await {
        Ok(answer) => answer.get("actual").and_then(Value::as_u64),
        Err(QmpError::Refused { .. }) => None,
        Err(error) => return control::said(instance, "ask for the memory", Err(error)),
    };
    let Some(given_bytes) = given else { return Ok(None) };
    let property = json!({ "path": DEVICE, "property": "guest-stats" });
    let told = control::said(instance, "ask for the memory", talk.execute("qom-get", property).await)?;
    let available =
        told.get("stats").and_then(|stats| stats.get("stat-available-memory")).and_then(Value::as_u64);
    // The device says "unknown" by the largest number there is.
    Ok(Some(GuestMemory { given_bytes, available_bytes: available.filter(|bytes| *bytes != u64::MAX) }))
}

const DEVICE: &str = "/machine/peripheral/balloon0";
const TURN_TIME_MAX: Duration = Duration::from_millis(50);
const INTERVAL_SECONDS: u64 = 2;
