//! Talks with the QEMU process of an instance, and through it with the guest.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::config::VmConfig;
use super::qmp::{Qmp, QmpError};
use super::template::{Template, capabilities};
use crate::error::ProviderError;
use crate::process::blocking;
use crate::process::instance::Instance;

/// Connects; an instance whose QEMU hangs is killed, which is then reported as its end.
pub(super) async fn connect(config: &VmConfig, instance: &Arc<Instance>) -> Result<Qmp, ProviderError> {
    connect_within(instance, config.answer_deadline).await
}

/// The same to a QEMU that has just been started, which has more to do before it answers, above all on busy processors.
pub(super) async fn connect_new(config: &VmConfig, instance: &Arc<Instance>) -> Result<Qmp, ProviderError> {
    connect_within(instance, config.snapshot_deadline).await
}

async fn connect_within(instance: &Arc<Instance>, limit: Duration) -> Result<Qmp, ProviderError> {
    let connected = Qmp::connect(&socket(instance, "control"), limit).await;
    end_if_hung(instance, &connected).await;
    said(instance, "reach the machine", connected)
}

/// Executes one command, and kills an instance whose QEMU hangs.
pub(super) async fn execute(
    config: &VmConfig,
    instance: &Arc<Instance>,
    step: &'static str,
    command: &str,
    arguments: Value,
) -> Result<Value, ProviderError> {
    let mut talk = connect(config, instance).await?;
    let answer = talk.execute(command, arguments).await;
    end_if_hung(instance, &answer).await;
    said(instance, step, answer)
}

async fn end_if_hung<T>(instance: &Arc<Instance>, outcome: &Result<T, QmpError>) {
    if !matches!(outcome, Err(QmpError::Timeout { .. })) {
        return;
    }
    tracing::warn!(instance = %instance.record.name, "QEMU hangs and is killed");
    let killing = Arc::clone(instance);
    if let Err(error) = blocking(move || killing.record.group.destroy()).await {
        tracing::warn!(instance = %instance.record.name, %error, "cannot kill a hung QEMU");
    }
}

pub(super) fn said<T>(
    instance: &Instance,
    step: &'static str,
    answer: Result<T, QmpError>,
) -> Result<T, ProviderError> {
    answer.map_err(|source| ProviderError::Machine { name: instance.record.name.clone(), step, source })
}

/// Restores a snapshot into a machine that waits for one. It is stopped afterwards.
pub(super) async fn restore(talk: &mut Qmp, template: &Template, time_max: Duration) -> Result<(), QmpError> {
    talk.execute("migrate-set-capabilities", capabilities(template.memory.is_some())).await?;
    talk.migrate("migrate-incoming", "exec:cat state", time_max).await
}

/// Tells the guest what time it is: its clock has stood still. Guests that do not listen are left as they are.
pub(super) async fn tell_time(instance: &Instance) {
    tell(instance, &[set_time()]).await;
}

/// Tells a clone what time it is, and gives it randomness of its own.
pub(super) async fn tell_clone(instance: &Instance) {
    let mut seed = [0; 64];
    let seeded = std::fs::File::open("/dev/urandom")
        .and_then(|mut file| std::io::Read::read_exact(&mut file, &mut seed));
    if let Err(error) = seeded {
        tracing::warn!(%error, "no randomness for a clone");
    }
    let seed: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let arguments = json!({ "name": instance.record.name.as_str(), "seed": seed });
    tell(instance, &[json!({ "execute": "foreshadow-clone", "arguments": arguments }), set_time()]).await;
}

fn set_time() -> Value {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(since_epoch.as_nanos()).unwrap_or_default();
    json!({ "execute": "guest-set-time", "arguments": { "time": nanos } })
}

/// Writes to the guest agent's port and waits for no answer: there may be nobody.
async fn tell(instance: &Instance, commands: &[Value]) {
    let text: String = commands.iter().map(|command| format!("{command}\n")).collect();
    let telling = async {
        let mut stream = UnixStream::connect(socket(instance, "agent")).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.shutdown().await
    };
    match timeout(TELL_TIME_MAX, telling).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(instance = %instance.record.name, %error, "the guest was not told the time")
        }
        Err(_) => tracing::debug!(instance = %instance.record.name, "the guest was not told the time"),
    }
}

/// A socket in the working folder of its process. By way of the process, the path is short enough for a socket however
/// long that of the folder is.
fn socket(instance: &Instance, file: &str) -> PathBuf {
    format!("/proc/{}/cwd/{file}", instance.record.pid).into()
}

const TELL_TIME_MAX: Duration = Duration::from_millis(200);
/// In the folder of an instance: between what its memory can be changed.
pub(super) const MEMORY_FILE: &str = "limits";
