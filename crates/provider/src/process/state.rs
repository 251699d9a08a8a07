//! The state folder: where records and logs are, and the lock that keeps a second control plane out.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::ProviderError;
use crate::name::InstanceName;

/// The paths of a state folder.
#[derive(Debug, Clone)]
pub(crate) struct StateDir {
    root: PathBuf,
    id: String,
}

/// Held as long as the provider works; the kernel releases it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "held, not read")] File);

impl StateDir {
    /// Makes the folder if it is missing, readable only by us since logs may hold secrets, and locks it.
    pub(crate) fn open(root: &Path) -> Result<(StateDir, Lock), ProviderError> {
        let failed = |step, path: &Path| {
            let path = path.to_owned();
            move |source| ProviderError::State { step, path, source }
        };
        for dir in [root.to_owned(), root.join(RECORDS), root.join(LOGS)] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&dir)
                .map_err(failed("make the folder", &dir))?;
        }
        let lock = lock(root)?;
        let root = root.canonicalize().map_err(failed("find the folder", root))?;
        let facts = fs::metadata(&root).map_err(failed("read the folder", &root))?;
        let id = id(&root, facts.dev(), facts.ino());
        Ok((StateDir { root, id }, lock))
    }

    /// Distinguishes this folder from every other one of this machine, also from one with the same path in a container
    /// that shares our control groups: instances of another control plane must never be taken for orphans of this one.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.root.join(RECORDS)
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join(LOGS)
    }

    pub(crate) fn record(&self, name: &InstanceName) -> PathBuf {
        self.records().join(name.as_str())
    }

    /// A folder for files of an instance, removed at its end. Whoever needs one makes it.
    pub(crate) fn folder(&self, name: &InstanceName) -> PathBuf {
        self.folders().join(name.as_str())
    }

    pub(crate) fn folders(&self) -> PathBuf {
        self.root.join(FOLDERS)
    }

    pub(crate) fn log(&self, name: &InstanceName) -> PathBuf {
        self.logs().join(format!("{name}{LOG_ENDING}"))
    }
}

fn lock(root: &Path) -> Result<Lock, ProviderError> {
    let path = root.join("lock");
    let failed = |source: io::Error| ProviderError::State { step: "lock", path: path.clone(), source };
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match try_lock_patiently(&file) {
        Ok(()) => {
            // Only a hint for people; the lock itself is the kernel's.
            file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
            Ok(Lock(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            Err(ProviderError::Locked { path: root.to_owned(), holder: holder.trim().parse().ok() })
        }
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// A child that was forked but has not executed its program yet holds every lock of its parent, even one that just ended.
/// That lasts for a moment; another control plane lasts longer.
fn try_lock_patiently(file: &File) -> Result<(), TryLockError> {
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// FNV-1a over the path and the file system's own name for the folder.
fn id(root: &Path, device: u64, inode: u64) -> String {
    let path = root.as_os_str().as_encoded_bytes();
    let bytes = path.iter().copied().chain(device.to_le_bytes()).chain(inode.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(10);
const RECORDS: &str = "instances";
const LOGS: &str = "logs";
const FOLDERS: &str = "files";
/// The end of a log's file name.
pub(crate) const LOG_ENDING: &str = ".log";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_control_plane_is_kept_out_until_the_first_is_gone() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("deep").join("state");
        let (first, lock) = StateDir::open(&root).expect("opens");
        let error = StateDir::open(&root).expect_err("locked");
        assert!(
            matches!(&error, ProviderError::Locked { holder: Some(pid), .. } if *pid == std::process::id())
        );
        assert!(error.to_string().contains("in use by another control plane"), "{error}");
        drop(lock);
        let (second, _lock) = StateDir::open(&root).expect("opens again");
        assert_eq!(first.id(), second.id());
    }

    #[test]
    fn folders_have_different_ids_and_are_private() {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let ((first, _a), (second, _b)) =
            (StateDir::open(a.path()).expect("opens"), StateDir::open(b.path()).expect("opens"));
        assert_ne!(first.id(), second.id());
        let mode = fs::metadata(first.logs()).expect("exists").mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }

    #[test]
    fn a_state_folder_that_is_a_file_is_refused_with_its_path() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let error = StateDir::open(file.path()).expect_err("refused").to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
    }
}
