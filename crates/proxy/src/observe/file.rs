//! One access log's file: appended to, begun anew at its size or when somebody has moved it away.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

use super::observer::LogCounters;

/// It. Lines are gathered and written together.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
    buffer: Vec<u8>,
    /// Whose lines are in the buffer.
    owners: Vec<Arc<LogCounters>>,
    /// Not tried again before.
    retry_at: Option<Instant>,
    used: Instant,
    /// The last line in it may not be whole.
    is_torn: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    bytes: u64,
    /// Device and inode.
    identity: (u64, u64),
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        let buffer = Vec::with_capacity(BUFFER_BYTES);
        Self {
            path,
            open: None,
            buffer,
            owners: Vec::new(),
            retry_at: None,
            used: Instant::now(),
            is_torn: false,
        }
    }

    /// Adds a line, which `write` appends to what it is given.
    pub(super) fn append(
        &mut self,
        bytes_max: u64,
        owner: &Arc<LogCounters>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let before = self.buffer.len();
        write(&mut self.buffer);
        let length = (self.buffer.len() - before) as u64;
        let size = self.open.as_ref().map_or(0, |open| open.bytes);
        if size > 0 && size + before as u64 + length > bytes_max {
            let line = self.buffer.split_off(before);
            self.flush();
            self.rotate();
            self.buffer.extend_from_slice(&line);
        }
        self.owners.push(Arc::clone(owner));
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    /// Writes what was gathered.
    pub(super) fn flush(&mut self) {
        if self.owners.is_empty() {
            return;
        }
        self.used = Instant::now();
        let written = self.write_buffer();
        for owner in self.owners.drain(..) {
            let counter = if written { &owner.written } else { &owner.dropped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.buffer.clear();
    }

    /// Lets go of a file that was moved away, so that the next line begins a new one. False: it has long been of no use.
    pub(super) fn look(&mut self) -> bool {
        let moved = self.open.as_ref().is_some_and(|open| {
            std::fs::metadata(&self.path).map_or(true, |found| identity(&found) != open.identity)
        });
        if moved {
            self.open = None;
        }
        self.used.elapsed() < UNUSED
    }

    fn write_buffer(&mut self) -> bool {
        if self.open.is_none() && self.retry_at.is_none_or(|at| at <= Instant::now()) {
            match open(&self.path) {
                Ok(open) => (self.open, self.retry_at) = (Some(open), None),
                Err(error) => self.failed(&error),
            }
        }
        let Some(open) = &mut self.open else { return false };
        let mend = if self.is_torn { b"\n".as_slice() } else { &[] };
        match open.file.write_all(mend).and_then(|()| open.file.write_all(&self.buffer)) {
            Ok(()) => {
                self.is_torn = false;
                open.bytes += self.buffer.len() as u64;
                true
            }
            Err(error) => {
                self.is_torn = true;
                self.failed(&error);
                false
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        tracing::warn!(path = %self.path.display(), %error, "cannot write the access log");
        self.open = None;
        self.retry_at = Some(Instant::now() + RETRY);
    }

    fn rotate(&mut self) {
        let mut name = self.path.clone().into_os_string();
        name.push(".1");
        if let Err(error) = std::fs::rename(&self.path, name) {
            self.failed(&error);
        }
        self.open = None;
    }
}

/// Opens a file to append to. Whatever else may be there (a pipe, a device, a link) could hold up the thread or lead elsewhere.
fn open(path: &Path) -> io::Result<Open> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o640).custom_flags(flags.bits().cast_signed());
    let file = options.open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    Ok(Open { file, bytes: found.len(), identity: identity(&found) })
}

fn identity(found: &std::fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

const BUFFER_BYTES: usize = 64 << 10;
/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// A file that nothing was written to for so long is closed.
const UNUSED: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap_or_default()
    }

    fn line(file: &mut LogFile, owner: &Arc<LogCounters>, text: &str) {
        file.append(20, owner, |buffer| buffer.extend_from_slice(text.as_bytes()));
        file.flush();
    }

    fn counts(owner: &LogCounters) -> (u64, u64) {
        (owner.written.load(Ordering::Relaxed), owner.dropped.load(Ordering::Relaxed))
    }

    #[test]
    fn a_full_file_is_kept_once_and_a_moved_one_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let owner = Arc::new(LogCounters::default());
        let mut file = LogFile::new(path.clone());
        for text in ["first 89\n", "second 9\n", "third 89\n", "fourth 9\n", "fifth 89\n"] {
            line(&mut file, &owner, text);
        }
        assert_eq!((read(&path).as_str(), counts(&owner)), ("fifth 89\n", (5, 0)));
        assert_eq!(read(&folder.path().join("log.1")), "third 89\nfourth 9\n");
        let moved = folder.path().join("moved");
        std::fs::rename(&path, &moved).expect("moved");
        assert!(file.look());
        line(&mut file, &owner, "sixth 89\n");
        assert_eq!((read(&path).as_str(), read(&moved).as_str()), ("sixth 89\n", "fifth 89\n"));
    }

    #[test]
    fn what_is_no_file_or_has_no_folder_is_not_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = folder.path().join("elsewhere");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&elsewhere, &link).expect("linked");
        for path in [link, folder.path().to_path_buf(), folder.path().join("none/log"), "/dev/null".into()] {
            let owner = Arc::new(LogCounters::default());
            let mut file = LogFile::new(path);
            line(&mut file, &owner, "line\n");
            line(&mut file, &owner, "line\n");
            assert_eq!(counts(&owner), (0, 2));
        }
        assert!(!elsewhere.exists());
    }
}
