//! The open database: lock, opening and reopening, transactions, and what happens when the disk is full.
//!
//! The engine refuses all work after an I/O error until it is opened again. So this module owns the database behind a lock, drops it
//! after such an error and opens it again at the next call; the folder stays locked by our own lock file meanwhile. Opening
//! verifies every page of the file, so that damage is found at the start and not as a panic in the middle of work.
//!
//! **Reserve.** Opening a copy-on-write file needs a little room even to read. A reserve file holds that room: when the disk turns out to be
//! full, the reserve is deleted, the database is opened again, and reads go on. Writes are refused until the reserve can be made again;
//! only what frees room (retention, compaction, removal) may use the room of the reserve, and gives the file's free pages back to the disk.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, WriteTransaction};

use crate::error::{Fault, HistoryError};
use crate::table;

/// The database and everything needed to open it again.
pub(crate) struct Engine {
    dir: PathBuf,
    file: PathBuf,
    opener: Opener,
    database: RwLock<Option<Database>>,
    reserve_present: AtomicBool,
    /// Held for the life of the engine: the lock is released when it is closed, also by a crash.
    _lock: File,
}

/// How the file becomes a database; tests open it through a recorder.
pub(crate) type Opener = fn(&Path) -> Result<Database, DatabaseError>;

const DATABASE_FILE: &str = "history.redb";
const LOCK_FILE: &str = "history.lock";
const RESERVE_FILE: &str = "history.reserve";
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
const LOCK_RETRY: Duration = Duration::from_millis(10);
/// Room kept for reopening the database on a full disk.
const RESERVE_BYTES: usize = 1 << 20;
/// Room there must be beside a new reserve, so that the next write does not fail at once again.
const MARGIN_BYTES: usize = 1 << 20;
/// Pages kept in memory. Chunks are read once per query; a large cache would only hide the memory the daemon needs elsewhere.
const CACHE_BYTES: usize = 32 << 20;

impl Engine {
    /// Creates the folder if it is missing, locks it and opens (or creates) the database in it.
    pub(crate) fn open(dir: &Path, opener: Opener) -> Result<Engine, HistoryError> {
        let at = |source| HistoryError::Open { dir: dir.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at)?;
        let lock = lock(dir)?;
        let engine = Engine {
            dir: dir.to_owned(),
            file: dir.join(DATABASE_FILE),
            opener,
            database: RwLock::new(None),
            reserve_present: AtomicBool::new(false),
            _lock: lock,
        };
        engine.write("prepare the tables", |tx| create_tables(tx, &engine.file))?;
        // A new file is only as durable as its name.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(at)?;
        Ok(engine)
    }

    /// Runs `work` in one transaction that is durable when this returns `Ok`, and leaves no trace otherwise.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, HistoryError> {
        self.ensure_reserve().map_err(|fault| self.explain(operation, fault))?;
        self.free(operation, work)
    }

    /// As [`Engine::write`], for work that leaves less behind than it found: allowed on a full disk.
    pub(crate) fn free<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&WriteTransaction) -> Result<T, Fault>,
    ) -> Result<T, HistoryError> {
        self.with(operation, |database| {
            let tx = database.begin_write()?;
            let result = work(&tx)?;
            tx.commit()?;
            Ok(result)
        })
    }

    /// Runs `work` on a snapshot of the database.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Fault>,
    ) -> Result<T, HistoryError> {
        self.with(operation, |database| work(&database.begin_read()?))
    }

    /// Turns what a longer-lived reader met into the public error.
    pub(crate) fn explain(&self, operation: &'static str, fault: Fault) -> HistoryError {
        fault.into_error(operation, &self.dir, &self.file)
    }

    /// Whether the disk was full when last looked at, and no room has been seen since.
    pub(crate) fn is_full(&self) -> bool {
        !self.reserve_present.load(Ordering::Acquire)
    }

    /// On a full disk, gives the free pages of the file back to it. Otherwise does nothing: free pages are used again by later writes.
    pub(crate) fn shrink_if_full(&self) -> Result<(), HistoryError> {
        if self.ensure_reserve().is_ok() {
            return Ok(());
        }
        self.ensure_open()?;
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        let shrunk = match slot.as_mut() {
            Some(database) => database.compact().map_err(|error| Fault::Engine(error.into())),
            None => Err(Fault::Engine(redb::Error::PreviousIo)),
        };
        if shrunk.as_ref().is_err_and(Fault::needs_reopening) {
            *slot = None;
        }
        shrunk.map(|_| ()).map_err(|fault| self.explain("shrink the file", fault))
    }

    /// Bytes of the database file.
    pub(crate) fn file_bytes(&self) -> Result<u64, HistoryError> {
        let metadata = fs::metadata(&self.file);
        metadata.map(|m| m.len()).map_err(|source| HistoryError::Open { dir: self.dir.clone(), source })
    }

    fn with<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Database) -> Result<T, Fault>,
    ) -> Result<T, HistoryError> {
        self.ensure_open()?;
        let outcome = {
            let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
            match database.as_ref() {
                Some(database) => work(database),
                // Another thread met an I/O error between our two looks; the next call opens it again.
                None => Err(Fault::Engine(redb::Error::PreviousIo)),
            }
        };
        outcome.map_err(|fault| {
            if fault.needs_reopening() {
                *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
            }
            if fault.is_no_space() {
                self.release_reserve();
            }
            self.explain(operation, fault)
        })
    }

    fn ensure_open(&self) -> Result<(), HistoryError> {
        if self.database.read().unwrap_or_else(PoisonError::into_inner).is_some() {
            return Ok(());
        }
        let mut slot = self.database.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_some() {
            return Ok(());
        }
        // The engine asserts in debug builds where release builds return `Corrupted`; a damaged file is an error in both.
        let opened = catch_unwind(AssertUnwindSafe(|| open_patiently(self.opener, &self.file)));
        let database = match opened {
            Ok(Ok(database)) => database,
            Ok(Err(DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch)) => {
                return Err(HistoryError::Locked { dir: self.dir.clone(), holder: None });
            }
            Ok(Err(error)) => {
                let fault = Fault::from(error);
                if fault.is_no_space() {
                    self.release_reserve();
                }
                return Err(self.explain("open the database", fault));
            }
            Err(_) => {
                let detail = "the engine could not make sense of it".to_owned();
                return Err(HistoryError::Corrupt { path: self.file.clone(), detail });
            }
        };
        *slot = Some(database);
        Ok(())
    }

    fn ensure_reserve(&self) -> Result<(), Fault> {
        if self.reserve_present.load(Ordering::Acquire) {
            return Ok(());
        }
        let path = self.dir.join(RESERVE_FILE);
        if fs::metadata(&path).is_ok_and(|found| found.len() == RESERVE_BYTES as u64) {
            self.reserve_present.store(true, Ordering::Release);
            return Ok(());
        }
        let written =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(
                |mut file| {
                    file.write_all(&vec![0x5a; RESERVE_BYTES + MARGIN_BYTES])?;
                    file.set_len(RESERVE_BYTES as u64)?;
                    file.sync_all()
                },
            );
        match written {
            Ok(()) => {
                self.reserve_present.store(true, Ordering::Release);
                Ok(())
            }
            Err(error) => {
                self.release_reserve();
                Err(Fault::Engine(redb::Error::Io(error)))
            }
        }
    }

    fn release_reserve(&self) {
        self.reserve_present.store(false, Ordering::Release);
        // If it cannot be deleted, there is no more room than before, and the next call says so.
        let _ = fs::remove_file(self.dir.join(RESERVE_FILE));
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Opens the file with the engine's own lock and a full check of its pages.
pub(crate) fn open_file(path: &Path) -> Result<Database, DatabaseError> {
    // Created here and not by the engine, so that nobody else may read it.
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    builder().create(path)
}

/// The engine's settings.
pub(crate) fn builder() -> redb::Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
    builder
}

fn lock(dir: &Path) -> Result<File, HistoryError> {
    let at = |source| HistoryError::Open { dir: dir.to_owned(), source };
    let path = dir.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(at)?;
    match try_lock_patiently(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The number only helps the message; whoever holds the lock may still be writing it.
            let _ = file.read_to_string(&mut holder);
            return Err(HistoryError::Locked { dir: dir.to_owned(), holder: holder.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(at(source)),
    }
    match note_holder(&mut file) {
        // On a full disk the lock holds without its note.
        Err(error) if !crate::error::is_no_space(&error) => Err(at(error)),
        Ok(()) | Err(_) => Ok(file),
    }
}

/// As [`try_lock_patiently`], for the database's own lock: the folder is ours, so nobody else can have it for long.
fn open_patiently(opener: Opener, file: &Path) -> Result<Database, DatabaseError> {
    let begin = Instant::now();
    loop {
        match opener(file) {
            Err(DatabaseError::DatabaseAlreadyOpen) if begin.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY);
            }
            outcome => return outcome,
        }
    }
}

/// A child that was forked but has not executed its program yet holds every lock of its parent, even one that just ended.
/// That lasts for a moment; another owner of the folder lasts longer.
fn try_lock_patiently(file: &File) -> Result<(), TryLockError> {
    let begin = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if begin.elapsed() < LOCK_PATIENCE => {
                std::thread::sleep(LOCK_RETRY)
            }
            outcome => return outcome,
        }
    }
}

fn note_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

/// Makes all tables, so that readers need not treat a missing one, and checks the format.
fn create_tables(tx: &WriteTransaction, path: &Path) -> Result<(), Fault> {
    let mut meta = tx.open_table(table::META)?;
    let found = meta.get(table::META_FORMAT)?.map(|found| found.value());
    match found {
        Some(table::FORMAT) => {}
        Some(found) => {
            let path = path.to_owned();
            return Err(HistoryError::Format { path, found, supported: table::FORMAT }.into());
        }
        None => {
            meta.insert(table::META_FORMAT, table::FORMAT)?;
        }
    }
    tx.open_table(table::SERIES)?;
    tx.open_table(table::HEAD)?;
    tx.open_table(table::CHUNKS)?;
    tx.open_table(table::EVENTS)?;
    tx.open_table(table::EVENTS_OF)?;
    tx.open_table(table::PLANS)?;
    tx.open_table(table::REQUESTS)?;
    tx.open_table(table::KEYS)?;
    tx.open_table(table::CALENDAR)?;
    tx.open_table(table::MODELS)?;
    tx.open_table(table::MODELS_OF)?;
    tx.open_table(table::MODEL_BODIES)?;
    Ok(())
}
