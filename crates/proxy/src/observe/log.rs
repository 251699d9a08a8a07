//! The thread that writes access logs, beside the traffic: nothing waits for it, and what it cannot keep up with is left out and
//! counted.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::file::LogFile;
use super::line::Entry;

/// The way to the thread. Dropped, it waits until what was given to it is written, if that does not take long.
#[derive(Debug)]
pub(crate) struct LogWriter {
    entries: Option<SyncSender<(SystemTime, Box<Entry>)>>,
    ended: std::sync::Mutex<Receiver<()>>,
}

impl LogWriter {
    /// Starts the thread.
    ///
    /// # Errors
    /// When there can be none.
    pub(crate) fn start() -> io::Result<Self> {
        let (entries, inbox) = sync_channel(ENTRIES_MAX);
        let (ending, ended) = channel();
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            Desk::default().attend(&inbox);
            // Nobody may be waiting.
            let _ = ending.send(());
        })?;
        Ok(Self { entries: Some(entries), ended: std::sync::Mutex::new(ended) })
    }

    /// Has a request written that is just over.
    pub(crate) fn write(&self, entry: Box<Entry>) {
        let observer = std::sync::Arc::clone(&entry.observer);
        let sent = self.entries.as_ref().is_some_and(|to| to.try_send((SystemTime::now(), entry)).is_ok());
        if !sent {
            observer.log.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        drop(self.entries.take());
        let ended = self.ended.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        if ended.recv_timeout(END_LIMIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the access log could not be written to its end");
        }
    }
}

/// What the thread keeps: the open files.
#[derive(Default)]
struct Desk {
    files: BTreeMap<PathBuf, LogFile>,
}

impl Desk {
    fn attend(mut self, inbox: &Receiver<(SystemTime, Box<Entry>)>) {
        let mut looked = Instant::now();
        loop {
            match inbox.recv_timeout(PAUSE) {
                Ok((over, entry)) => {
                    self.append(over, &entry);
                    // Being woken for every line, and writing each alone, costs as much as the request that it tells of.
                    thread::sleep(GATHERED);
                    for (over, entry) in inbox.try_iter().take(ENTRIES_MAX) {
                        self.append(over, &entry);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.files.values_mut().for_each(LogFile::flush);
            if looked.elapsed() >= PAUSE {
                looked = Instant::now();
                self.files.retain(|_, file| file.look());
            }
        }
    }

    fn append(&mut self, over: SystemTime, entry: &Entry) {
        let Some(spec) = &entry.observer.spec.access_log else { return };
        let file = self.files.entry(spec.path.clone()).or_insert_with(|| LogFile::new(spec.path.clone()));
        file.append(spec.bytes_max, &entry.observer.log, |buffer| entry.append_to(buffer, over));
    }
}

/// Requests that may wait to be written: about a tenth of a second of a busy machine's, and a few megabytes.
const ENTRIES_MAX: usize = 8192;
/// For how long lines are gathered that are written together: short beside the time in which [`ENTRIES_MAX`] come.
const GATHERED: Duration = Duration::from_millis(10);
/// How often it is looked whether a file has been moved.
const PAUSE: Duration = Duration::from_millis(250);
/// How long the end waits for a disk.
const END_LIMIT: Duration = Duration::from_secs(2);
