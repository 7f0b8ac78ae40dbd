//! Keeps a keyspace in a directory: what a script wrote stands in the log of the operating system before its reply is
//! given, all of it or none. A killed process loses nothing that was answered; a lost machine the last second.

use std::path::{Path, PathBuf};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};

use super::{
    Changes, Entry, Hash, Keyspace, List, Set, Stream, Value, Zset,
    changes::{Name, read_name},
    streams::Id,
};

/// The record of the state's own name, see `run_id`. No key's record begins so.
const RUN_ID: &[u8] = b"r";
/// What one in-memory table of the log holds before it becomes a file. Bytes.
const TABLE_BYTES: u64 = 2 << 20;
/// Bytes of log after which what is old in it is written to files.
const LOG_BYTES: u64 = 128 << 20;

/// Why a directory cannot keep the state. Its reader is the operator.
#[derive(Debug, thiserror::Error)]
pub enum PersistError {
    #[error("cannot write to the data directory `{directory}` ({source}); name another one in TOLLFREE_DATA_DIR", directory = .directory.display())]
    Directory { directory: PathBuf, source: std::io::Error },
    #[error("another process is using the data directory `{directory}`; give each its own TOLLFREE_DATA_DIR, or share one budget through REDIS_URL", directory = .0.display())]
    InUse(PathBuf),
    #[error("the state in the data directory `{directory}` cannot be read: {what}", directory = .directory.display())]
    Damaged { directory: PathBuf, what: String },
    #[error("the embedded state cannot be written: {0}")]
    Write(fjall::Error),
}

/// An open directory.
pub struct Store {
    database: Database,
    records: fjall::Keyspace,
}

impl Store {
    /// Opens a directory (made if missing) for this process alone, and reads what it holds.
    pub fn open(directory: &Path) -> Result<(Self, Keyspace), PersistError> {
        let damaged = |what: String| PersistError::Damaged { directory: directory.to_owned(), what };
        let failed = |error: fjall::Error| match error {
            fjall::Error::Locked => PersistError::InUse(directory.to_owned()),
            fjall::Error::Io(source) => PersistError::Directory { directory: directory.to_owned(), source },
            other => damaged(other.to_string()),
        };
        std::fs::create_dir_all(directory)
            .map_err(|source| PersistError::Directory { directory: directory.to_owned(), source })?;
        let database = Database::builder(directory)
            .worker_threads(1)
            // All that is read is in the keyspace already.
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
                keyspace.restore(&name, &record).ok_or_else(|| damaged("a record makes no sense".to_owned()))?;
            }
        }
        keyspace.keep_changes();
        Ok((Self { database, records }, keyspace))
    }

    /// Writes what a script has changed; when this returns, a kill does not undo it.
    pub fn commit(&self, changes: &mut Changes) -> Result<(), PersistError> {
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
        batch.commit().map_err(PersistError::Write)
    }

    /// Waits until all that was committed is on the disk.
    pub fn sync(&self) -> Result<(), PersistError> {
        self.database.persist(PersistMode::SyncData).map_err(PersistError::Write)
    }
}

impl Keyspace {
    /// Takes one record back. They come in the order of their names: heads, then parts.
    fn restore(&mut self, name: &[u8], record: &[u8]) -> Option<()> {
        match read_name(name)? {
            Name::Head(key) => {
                let (kind, rest) = record.split_first()?;
                let (expires, text) = rest.split_first_chunk::<8>()?;
                let value = match kind {
                    b't' => Value::Text(text.into()),
                    b'h' => Value::Hash(Hash::default()),
                    b's' => Value::Set(Set::default()),
                    b'z' => Value::Zset(Zset::default()),
                    b'l' => Value::List(List::default()),
                    b'x' => Value::Stream(Stream::default()),
                    _ => return None,
                };
                self.entries.insert(key.into(), Entry { value, expires: i64::from_le_bytes(*expires) });
            }
            Name::Part { key, part } => match &mut self.entries.get_mut(key)?.value {
                Value::Text(_) => return None,
                Value::Hash(hash) => {
                    hash.set(part, record);
                }
                Value::Set(set) => {
                    set.add(part);
                }
                Value::Zset(zset) => {
                    zset.set(part, f64::from_le_bytes(record.try_into().ok()?));
                }
                Value::List(list) => list.restore(part.try_into().ok()?, record),
                Value::Stream(stream) => stream.restore(Id::from_bytes(part.try_into().ok()?), record)?,
            },
        }
        Some(())
    }
}
