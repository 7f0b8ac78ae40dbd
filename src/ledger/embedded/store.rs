//! Stores a keyspace in a directory. The changes of a script reach the operating system's log before its reply is
//! returned, all of them or none: a killed process loses nothing that was replied to, a crashed machine the last second.
//!
//! Each commit has a number, which is stored with it. A file beside the store holds the number up to which the disk has
//! everything: a store that knows fewer commits has been damaged, however readable it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{ErrorKind, Seek, Write},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use rustix::fs::Mode;

use super::keyspace::{Changes, Keyspace};

/// The record of the run id. The record name of a key never equals it.
pub(super) const RUN_ID: &[u8] = b"r";
/// The record of the number of commits.
pub(super) const COMMITS: &[u8] = b"n";
/// The file that holds the number of commits that the disk has.
pub(super) const FLUSHED: &str = "flushed";
/// Size at which an in-memory table of the log is written to a file.
const TABLE_BYTES: u64 = 2 << 20;
/// Size of the log at which its oldest part is written to files.
const LOG_BYTES: u64 = 128 << 20;
/// The state holds client keys' digests and the journal: it is for its owner alone.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why a directory cannot store the state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot write to the data directory `{directory}` ({source}); name another one in TOLLFREE_DATA_DIR", directory = .directory.display())]
    Directory { directory: PathBuf, source: std::io::Error },
    #[error("another process is using the data directory `{directory}`; give each its own TOLLFREE_DATA_DIR, or share one budget through REDIS_URL", directory = .0.display())]
    InUse(PathBuf),
    #[error("the state in the data directory `{directory}` is damaged: {problem}. Restore the directory from a backup, or run `tollfree data repair`, which keeps what can be read", directory = .directory.display())]
    Damaged { directory: PathBuf, problem: String },
    #[error("the embedded state cannot be written: {0}")]
    Write(fjall::Error),
}

/// An open directory.
pub(crate) struct Store {
    database: Database,
    records: fjall::Keyspace,
    directory: PathBuf,
    /// Number of the last commit.
    commits: AtomicU64,
    /// The same at the last flush.
    flushed: AtomicU64,
}

impl Store {
    /// Opens a directory, created if missing, for this process alone, and loads what it holds.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Keyspace), StoreError> {
        let path = directory.to_owned();
        // On a thread of its own, because a damaged file can meet an assertion.
        thread::spawn(move || Self::open_here(&path)).join().unwrap_or_else(|_| {
            Err(StoreError::Damaged { directory: directory.to_owned(), problem: "a file cannot be read".to_owned() })
        })
    }

    fn open_here(directory: &Path) -> Result<(Self, Keyspace), StoreError> {
        prepare(directory).map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
        let failed = |error: fjall::Error| explain(directory, error);
        let damaged = |problem: String| StoreError::Damaged { directory: directory.to_owned(), problem };
        let (database, records) = open_database(directory).map_err(failed)?;
        let commits = read_number(records.get(COMMITS).map_err(failed)?.as_deref());
        let flushed = read_flushed(directory);
        if commits < flushed {
            return Err(damaged(format!("{} changes that had been written are missing", flushed - commits)));
        }
        let run_id = if let Some(run_id) = records.get(RUN_ID).map_err(failed)? {
            String::from_utf8_lossy(&run_id).into_owned()
        } else {
            let run_id = Keyspace::new_run_id();
            records.insert(RUN_ID, run_id.as_bytes()).map_err(failed)?;
            run_id
        };
        let mut keyspace = Keyspace::new(run_id);
        for record in records.iter() {
            let (name, record) = record.into_inner().map_err(failed)?;
            if !matches!(&*name, RUN_ID | COMMITS) {
                keyspace.restore(&name, &record).ok_or_else(|| damaged("a record is malformed".to_owned()))?;
            }
        }
        keyspace.record_changes();
        Ok((Self::new(directory, database, records, commits), keyspace))
    }

    /// Opens the directory again after a write has failed, for the state that is in memory.
    pub(crate) fn reopen(directory: &Path) -> Result<Self, StoreError> {
        check_room(directory).map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
        let failed = |error: fjall::Error| explain(directory, error);
        let (database, records) = open_database(directory).map_err(failed)?;
        let commits = read_number(records.get(COMMITS).map_err(failed)?.as_deref());
        Ok(Self::new(directory, database, records, commits))
    }

    fn new(directory: &Path, database: Database, records: fjall::Keyspace, commits: u64) -> Self {
        let (directory, commits) = (directory.to_owned(), AtomicU64::new(commits));
        Self { database, records, directory, commits, flushed: AtomicU64::new(0) }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes changes. When this returns, killing the process does not undo them. After an error they are still there.
    pub(crate) fn commit(&self, changes: &mut Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let number = self.commits.load(Ordering::Acquire) + 1;
        let mut batch = self.database.batch();
        for (name, record) in changes.iter() {
            match record {
                Some(record) => batch.insert(&self.records, name.as_slice(), record.as_slice()),
                None => batch.remove(&self.records, name.as_slice()),
            }
        }
        batch.insert(&self.records, COMMITS, number.to_le_bytes());
        batch.commit().map_err(StoreError::Write)?;
        // Only now: a flush at the same time must not count what is not written.
        self.commits.store(number, Ordering::Release);
        changes.clear();
        Ok(())
    }

    /// Flushes all commits to the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let commits = self.commits.load(Ordering::Acquire);
        self.database.persist(PersistMode::SyncData).map_err(StoreError::Write)?;
        if self.flushed.swap(commits, Ordering::Relaxed) != commits {
            write_flushed(&self.directory, commits).map_err(|error| StoreError::Write(error.into()))?;
        }
        Ok(())
    }
}

/// Writes some bytes and removes them: opening the store on a full disk would only fail, and log, again.
fn check_room(directory: &Path) -> std::io::Result<()> {
    const NAME: &str = "room";
    const BYTES: usize = 64 << 10;
    let path = directory.join(NAME);
    let written = fs::write(&path, vec![0xff; BYTES]).and_then(|()| File::open(&path)?.sync_data());
    let removed = fs::remove_file(&path);
    written.and(removed)
}

/// Creates the directory, and lets nobody but its owner read the files in it, those of earlier versions included. A directory
/// that exists keeps its mode: it may be a volume, or hold other files.
fn prepare(directory: &Path) -> std::io::Result<()> {
    rustix::process::umask(Mode::from_raw_mode(0o777 & !DIRECTORY_MODE));
    DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory)?;
    for path in own_files(directory)? {
        let is_directory = path.is_dir();
        let mode = if is_directory { DIRECTORY_MODE } else { FILE_MODE };
        if fs::metadata(&path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
            // Fails for files of another owner, who decides.
            let _ = fs::set_permissions(&path, Permissions::from_mode(mode));
        }
    }
    Ok(())
}

/// The files and directories of the store, each directory after its content.
pub(super) fn own_files(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    fn visit(path: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
        if path.is_dir() {
            for entry in fs::read_dir(path)? {
                visit(&entry?.path(), found)?;
            }
        }
        found.push(path.to_owned());
        Ok(())
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        if matches!(&*name, "lock" | "version" | "keyspaces" | FLUSHED) || name.ends_with(".jnl") {
            visit(&path, &mut found)?;
        }
    }
    Ok(found)
}

pub(super) fn open_database(directory: &Path) -> fjall::Result<(Database, fjall::Keyspace)> {
    let database = Database::builder(directory)
        .worker_threads(1)
        // Small, because reads are served by the keyspace.
        .cache_size(1 << 20)
        .max_journaling_size(LOG_BYTES)
        .open()?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(TABLE_BYTES);
    let records = database.keyspace("state", options)?;
    Ok((database, records))
}

/// What an error of opening or reading means. Errors of the directory itself are those that another directory avoids.
fn explain(directory: &Path, error: fjall::Error) -> StoreError {
    let is_of_directory = |kind| {
        matches!(
            kind,
            ErrorKind::PermissionDenied
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
                | ErrorKind::NotADirectory
        )
    };
    match error {
        fjall::Error::Locked => StoreError::InUse(directory.to_owned()),
        fjall::Error::Io(source) if is_of_directory(source.kind()) => {
            StoreError::Directory { directory: directory.to_owned(), source }
        }
        other => StoreError::Damaged { directory: directory.to_owned(), problem: other.to_string() },
    }
}

fn read_number(record: Option<&[u8]>) -> u64 {
    record.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Zero without the file, which earlier versions did not write.
fn read_flushed(directory: &Path) -> u64 {
    fs::read_to_string(directory.join(FLUSHED)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Written in place: the number only grows, so that its digits are never fewer than before.
fn write_flushed(directory: &Path, commits: u64) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join(FLUSHED))?;
    file.rewind()?;
    writeln!(file, "{commits:020}")
}
