//! What makes sticky cookies unreadable: a key that is made once and kept in the state folder, so that clients find their
//! homes again after the daemon, the proxy or both were started anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use proxy::control::SecretKey;

use crate::config::Config;
use crate::error::DaemonError;

/// Gives every workload with sticky clients its secret.
///
/// # Errors
/// When the key can be neither read nor made.
pub(crate) fn fill_secrets(config: &mut Config, state_dir: &Path) -> Result<(), DaemonError> {
    let sticky = |workload: &crate::config::WorkloadConfig| workload.balancing.sticky.is_some();
    if !config.workloads.iter().any(sticky) {
        return Ok(());
    }
    let path = state_dir.join(FILE);
    let key = read_or_make(&path).map_err(|source| DaemonError::State {
        step: "keep the key of sticky clients in",
        path,
        source,
    })?;
    for workload in &mut config.workloads {
        if let Some(sticky) = &mut workload.balancing.sticky {
            sticky.secret = derived(&SecretKey::new(key), &workload.name);
        }
    }
    Ok(())
}

/// A workload's own secret: who knows it learns nothing of the others'.
fn derived(key: &SecretKey, workload: &str) -> [u8; 16] {
    let [first, second] =
        [1u8, 2].map(|part| key.hash(&[&[part], workload.as_bytes()].concat()).to_le_bytes());
    let mut secret = [0; 16];
    secret[..8].copy_from_slice(&first);
    secret[8..].copy_from_slice(&second);
    secret
}

fn read_or_make(path: &Path) -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    match File::open(path) {
        Ok(mut file) => file.read_exact(&mut key)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::open("/dev/urandom")?.read_exact(&mut key)?;
            // Whole or not at all: a torn key would be a key that nobody made.
            let made = path.with_extension("new");
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&made)?;
            file.write_all(&key)?;
            file.sync_all()?;
            std::fs::rename(&made, path)?;
        }
        Err(error) => return Err(error),
    }
    Ok(key)
}

/// In the state folder.
const FILE: &str = "sticky.key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let made = read_or_make(&path).expect("made");
        assert_eq!(read_or_make(&path).expect("read"), made);
        let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().expect("there").permissions());
        assert_eq!(mode & 0o777, 0o600);
        let other = read_or_make(&folder.path().join("other")).expect("made");
        assert_ne!(made, other);
        let key = SecretKey::new(made);
        assert_ne!(derived(&key, "web"), derived(&key, "api"));
        std::fs::write(&path, [1, 2]).expect("written");
        assert!(read_or_make(&path).is_err(), "a torn key is not used");
    }
}
