//! Stores a keyspace in a directory. The changes of a script reach the operating system's log before its reply is
//! returned, all of them or none: a killed process loses nothing that was replied to, a crashed machine the last second.

use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use super::keyspace::{Changes, Keyspace};

/// The record of the run id. The record name of a key never equals it.
const RUN_ID: &[u8] = b"r";
/// Size at which an in-memory table of the log is written to a file.
const TABLE_BYTES: u64 = 2 << 20;
/// Size of the log at which its oldest part is written to files.
const LOG_BYTES: u64 = 128 << 20;

/// Why a directory cannot store the state.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot write to the data directory `{directory}` ({source}); name another one in TOLLFREE_DATA_DIR", directory = .directory.display())]
    Directory { directory: PathBuf, source: std::io::Error },
    #[error("another process is using the data directory `{directory}`; give each its own TOLLFREE_DATA_DIR, or share one budget through REDIS_URL", directory = .0.display())]
    InUse(PathBuf),
    #[error("the state in the data directory `{directory}` cannot be read: {problem}", directory = .directory.display())]
    Damaged { directory: PathBuf, problem: String },
    #[error("the embedded state cannot be written: {0}")]
    Write(fjall::Error),
}

/// An open directory.
pub(crate) struct Store {
    database: Database,
    records: fjall::Keyspace,
}

impl Store {
    /// Opens a directory, created if missing, for this process alone, and loads what it holds.
    pub(crate) fn open(directory: &Path) -> Result<(Self, Keyspace), StoreError> {
        let damaged = |problem: String| StoreError::Damaged { directory: directory.to_owned(), problem };
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => StoreError::InUse(directory.to_owned()),
            fjall::Error::Io(source) => StoreError::Directory { directory: directory.to_owned(), source },
            other => damaged(other.to_string()),
        };
        std::fs::create_dir_all(directory)
            .map_err(|source| StoreError::Directory { directory: directory.to_owned(), source })?;
        let database = Database::builder(directory)
            .worker_threads(1)
            // Small, because reads are served by the keyspace.
            .cache_size(1 << 20)
            .max_journaling_size(LOG_BYTES)
            .open()
            .map_err(failed)?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(TABLE_BYTES);
        let records = database.keyspace("state", options).map_err(failed)?;
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
            if &*name != RUN_ID {
                keyspace.restore(&name, &record).ok_or_else(|| damaged("a record is malformed".to_owned()))?;
            }
        }
        keyspace.record_changes();
        Ok((Self { database, records }, keyspace))
    }

    /// Writes changes. When this returns, killing the process does not undo them.
    pub(crate) fn commit(&self, changes: &mut Changes) -> Result<(), StoreError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for (name, record) in changes.drain() {
            match record {
                Some(record) => batch.insert(&self.records, name, record),
                None => batch.remove(&self.records, name),
            }
        }
        batch.commit().map_err(StoreError::Write)
    }

    /// Flushes all commits to the disk.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.database.persist(PersistMode::SyncData).map_err(StoreError::Write)
    }
}
