//! Snapshots of ready machines, from which others are restored.
//!
//! A first machine is booted until its probe passes, stopped, and saved; it never serves. Its memory is a file that
//! clones map privately: what they do not write to, they share. Where the memory of machines can be changed while they
//! run, it is part of the saved state instead, and each clone has memory of its own: a balloon would punch holes into the
//! shared file (QEMU 7.2 does, private mapping or not) and so into the memory of all other clones.
//!
//! Snapshots are kept across restarts of the control plane, under a name made of everything they depend on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use serde_json::json;
use tokio::sync::Mutex;

use super::accelerator::Accelerator;
use super::machine::MachineSpec;
use super::order::{INNER_PORT, Order, Purpose, failed, version_of};
use super::qmp::{Qmp, QmpError};
use super::{Shared, arguments, control};
use crate::error::ProviderError;
use crate::face::Provider;
use crate::process::blocking;
use crate::spec::InstanceSpec;

/// A saved machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    /// Its state; with its memory where that is no file of its own.
    pub(super) state: PathBuf,
    pub(super) memory: Option<PathBuf>,
    pub(super) disk: Option<PathBuf>,
    pub(super) seed: Option<PathBuf>,
    /// The port inside.
    pub(super) port: String,
}

impl Template {
    /// The finished one in this folder.
    fn open(dir: &Path) -> Option<Template> {
        let port = fs::read_to_string(dir.join(PORT)).ok()?;
        let existing = |file: &str| Some(dir.join(file)).filter(|path| path.exists());
        Some(Template {
            state: existing(STATE)?,
            memory: existing(MEMORY),
            disk: existing(DISK),
            seed: existing(SEED),
            port,
        })
    }
}

impl Shared {
    /// The snapshot for an order, made now if there is none yet. Others who want the same one wait for it.
    pub(super) async fn template(
        self: &Arc<Shared>,
        spec: &InstanceSpec,
        machine: &MachineSpec,
        accelerator: Accelerator,
    ) -> Result<Arc<Template>, ProviderError> {
        let key = self.key(spec, machine, accelerator).await;
        let dir = self.snapshots().join(&key);
        let turn: Arc<Mutex<()>> = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            Arc::clone(turns.entry(key).or_default())
        };
        let _turn = turn.lock().await;
        let opening = dir.clone();
        let found = blocking(move || {
            // The newest by use are kept.
            let _ = fs::File::open(opening.join(PORT)).and_then(|file| file.set_modified(SystemTime::now()));
            Template::open(&opening)
        });
        if let Some(template) = found.await {
            return Ok(Arc::new(template));
        }
        self.prune();
        let order = Order::new(self, spec, machine, Purpose::Template(accelerator));
        tracing::info!(instance = %spec.name, workload = spec.workload, "booting a machine to be saved");
        self.templates.start_prepared(spec.name.clone(), order).await?;
        let (shared, spec) = (Arc::clone(self), spec.clone());
        // A task of its own: saving is not cut short by whoever gave up waiting.
        let saving = tokio::spawn(async move {
            let saved = shared.save(&spec, &dir).await;
            let stopped = shared.templates.stop(&spec.name, Duration::ZERO).await;
            saved.and_then(|template| stopped.map(|()| template))
        });
        saving.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map(Arc::new)
    }

    async fn save(&self, spec: &InstanceSpec, dir: &Path) -> Result<Template, ProviderError> {
        let gone = || ProviderError::Unknown(spec.name.clone());
        let instance = self.templates.table().find(&spec.name).ok_or_else(gone)?;
        let mut talk = control::connect(&self.config, &instance).await?;
        let from = self.templates.table().state.folder(&spec.name);
        let is_shared = from.join(MEMORY).exists();
        control::said(
            &instance,
            "save the machine",
            save_state(&mut talk, is_shared, self.config.snapshot_deadline).await,
        )?;
        let port = spec.machine.as_ref().and_then(|machine| machine.port).unwrap_or(INNER_PORT).to_string();
        let dir = dir.to_owned();
        blocking(move || {
            let new = dir.with_extension("new");
            let _ = fs::remove_dir_all(&new);
            fs::create_dir_all(&new).map_err(failed("make the folder", &new))?;
            for file in [STATE, MEMORY, DISK, SEED] {
                let (old, kept) = (from.join(file), new.join(file));
                if old.exists() {
                    fs::rename(&old, &kept).map_err(failed("keep", &old))?;
                }
            }
            fs::write(new.join(PORT), port).map_err(failed("write into", &new))?;
            fs::rename(&new, &dir).map_err(failed("make the folder", &dir))?;
            Template::open(&dir).ok_or_else(|| failed("read", &dir)(std::io::ErrorKind::NotFound.into()))
        })
        .await
    }

    /// Removes the snapshots that were used longest ago, and those half made. Machines restored from them do not notice:
    /// what they have open or mapped stays until they close it.
    fn prune(&self) {
        let entries = fs::read_dir(self.snapshots()).into_iter().flatten().flatten();
        let mut old: Vec<(SystemTime, PathBuf)> = entries
            .filter(|entry| entry.path().extension().is_none())
            .map(|entry| {
                let used = fs::metadata(entry.path().join(PORT)).and_then(|facts| facts.modified());
                (used.unwrap_or(SystemTime::UNIX_EPOCH), entry.path())
            })
            .collect();
        old.sort();
        for (_, path) in &old[..old.len().saturating_sub(SNAPSHOTS_MAX - 1)] {
            let _ = fs::remove_dir_all(path);
        }
    }

    /// Everything that a saved machine depends on, as a name.
    async fn key(&self, spec: &InstanceSpec, machine: &MachineSpec, accelerator: Accelerator) -> String {
        let mut text = format!(
            "{} {:?} {} {machine:?} {:?} {:?} {:?}",
            self.version,
            accelerator,
            self.config.cpu,
            arguments::command_line(spec, machine, ""),
            spec.env,
            (&spec.workload, &spec.probe),
        );
        for path in [&machine.disk, &machine.kernel, &machine.initrd].into_iter().flatten() {
            text += &version_of(path.clone()).await;
        }
        // Two different hashes in a row (FNV-1a forwards and backwards) make a chance collision a matter of 2^-128.
        let hash = |bytes: &mut dyn Iterator<Item = u8>| {
            bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
            })
        };
        format!("{:016x}{:016x}", hash(&mut text.bytes()), hash(&mut text.bytes().rev()))
    }
}

async fn save_state(talk: &mut Qmp, is_memory_a_file: bool, time_max: Duration) -> Result<(), QmpError> {
    talk.execute("stop", json!({})).await?;
    talk.execute("migrate-set-capabilities", capabilities(is_memory_a_file)).await?;
    // As fast as the disk takes it; without this 7.2 keeps to 128 MiB/s.
    talk.execute("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 })).await?;
    talk.migrate("migrate", "exec:cat > state", time_max).await
}

/// Memory that is a file does not go into the state.
pub(super) fn capabilities(is_memory_a_file: bool) -> serde_json::Value {
    json!({ "capabilities": [{ "capability": "x-ignore-shared", "state": is_memory_a_file }] })
}

const STATE: &str = "state";
const MEMORY: &str = "memory";
const DISK: &str = "disk";
const SEED: &str = "seed";
/// Written last: its presence says that the snapshot is whole.
const PORT: &str = "port";
/// Most snapshots that are kept.
const SNAPSHOTS_MAX: usize = 16;
