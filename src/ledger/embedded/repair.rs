//! Looks through a data directory, and keeps what can be read of a damaged one.
//!
//! A repair works on copies. It sets the damaged files aside, where nothing reads them, and writes what it could read into a
//! new store.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
    thread,
};

use super::{
    keyspace::Keyspace,
    store::{COMMITS, RUN_ID, Store, StoreError, open_database, own_files},
};

/// The copy that a repair works on.
const COPY: &str = "repairing";

/// What a data directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contents {
    pub keys: usize,
    /// Client records among them.
    pub clients: usize,
}

/// What a repair has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    pub kept: Contents,
    /// Where the damaged files are now.
    pub damaged: PathBuf,
}

type Record = (Vec<u8>, Vec<u8>);

/// Reads the whole state in a directory, which no other process may be using.
pub fn check(directory: &Path) -> Result<Contents, StoreError> {
    if !directory.exists() || own_files(directory).is_ok_and(|files| files.is_empty()) {
        return Ok(Contents { keys: 0, clients: 0 });
    }
    Store::open(directory).map(|(_, keyspace)| contents(&keyspace))
}

/// Replaces a damaged state by what can be read of it. `name` distinguishes this repair from others.
pub fn repair(directory: &Path, name: &str) -> Result<Repaired, StoreError> {
    let failed = |source| StoreError::Directory { directory: directory.to_owned(), source };
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"));
    let lock = lock.map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    let records = salvage(directory).map_err(failed)?;
    let damaged = directory.join(format!("damaged-{name}"));
    set_aside(directory, &damaged).map_err(failed)?;
    drop(lock);
    let (store, mut keyspace) = Store::open(directory)?;
    let kept = keyspace.import(records);
    store.commit(keyspace.changes())?;
    store.sync()?;
    Ok(Repaired { kept: Contents { keys: kept, ..contents(&keyspace) }, damaged })
}

fn contents(keyspace: &Keyspace) -> Contents {
    let is_client = |key: &[u8]| key.split(|byte| *byte == b'}').nth(1).is_some_and(|rest| rest.starts_with(b":m:"));
    Contents { keys: keyspace.keys().count(), clients: keyspace.keys().filter(|key| is_client(key)).count() }
}

/// The records that can be read: of the whole log where it is sound, else of its longest beginning that is.
fn salvage(directory: &Path) -> std::io::Result<Vec<Record>> {
    let whole = read_copy(directory, None)?;
    if let Some(records) = whole {
        return Ok(records);
    }
    let Some(log) = newest_log(directory)? else { return Ok(Vec::new()) };
    // Below `sound` the log opens, from `unsound` on it does not: a torn end is cut off, a changed byte is not.
    let (mut sound, mut unsound) = (0, used_length(&log)?);
    let mut best = read_copy(directory, Some((&log, 0)))?;
    while sound + 1 < unsound {
        let middle = sound + (unsound - sound) / 2;
        match read_copy(directory, Some((&log, middle)))? {
            Some(records) => (sound, best) = (middle, Some(records)),
            None => unsound = middle,
        }
    }
    Ok(best.unwrap_or_default())
}

/// The records of a copy, whose log may be cut. `None`: it cannot be opened.
fn read_copy(directory: &Path, cut: Option<(&Path, u64)>) -> std::io::Result<Option<Vec<Record>>> {
    let copy = directory.join(COPY);
    let clear = || if copy.exists() { fs::remove_dir_all(&copy) } else { Ok(()) };
    clear()?;
    fs::create_dir_all(&copy)?;
    File::create(copy.join("lock"))?;
    let mut files = own_files(directory)?;
    files.sort_unstable(); // a directory comes before its content
    for path in files {
        let Ok(name) = path.strip_prefix(directory) else { continue };
        if path.is_dir() {
            fs::create_dir_all(copy.join(name))?;
        } else if name != Path::new("lock") {
            copy_file(&path, &copy.join(name), cut.filter(|(log, _)| *log == path).map(|(_, length)| length))?;
        }
    }
    // On a thread of its own, because a damaged file can meet an assertion.
    let from = copy.clone();
    let records = thread::spawn(move || read_all(&from)).join().ok().flatten();
    clear()?;
    Ok(records)
}

/// A log is mostly zeros that were set aside for it: they are not copied.
fn copy_file(from: &Path, to: &Path, length: Option<u64>) -> std::io::Result<()> {
    let mut bytes = fs::read(from)?;
    let allocated = bytes.len() as u64;
    let length = match length {
        Some(length) => length,
        None if from.extension().is_some_and(|extension| extension == "jnl") => used_length(from)?,
        None => allocated,
    };
    bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
    fs::write(to, bytes)
}

fn used_length(log: &Path) -> std::io::Result<u64> {
    let bytes = fs::read(log)?;
    Ok(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1))
}

fn newest_log(directory: &Path) -> std::io::Result<Option<PathBuf>> {
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let logs = own_files(directory)?.into_iter().filter(|path| path.extension().is_some_and(|it| it == "jnl"));
    Ok(logs.max_by_key(number))
}

/// Both ends are read, as far as each can be: a damaged block lies in between.
fn read_all(directory: &Path) -> Option<Vec<Record>> {
    let (_database, records) = open_database(directory).ok()?;
    let mut read: Vec<Record> = Vec::new();
    for record in records.iter() {
        let Ok((name, record)) = record.into_inner() else {
            let from_the_end = records.iter().rev().map_while(|record| record.into_inner().ok());
            read.extend(from_the_end.map(|(name, record)| (name.to_vec(), record.to_vec())));
            break;
        };
        read.push((name.to_vec(), record.to_vec()));
    }
    read.retain(|(name, _)| !matches!(&name[..], RUN_ID | COMMITS));
    // Heads come before the parts of their keys.
    read.sort_unstable();
    read.dedup_by(|one, other| one.0 == other.0);
    Some(read)
}

/// Moves the files of the store out of the way. The master key stays.
fn set_aside(directory: &Path, damaged: &Path) -> std::io::Result<()> {
    fs::create_dir(damaged)?;
    let mut files = own_files(directory)?;
    files.retain(|path| path.parent() == Some(directory));
    files.iter().try_for_each(|path| fs::rename(path, damaged.join(path.file_name().unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// A store with this many keys. The log has all of them.
    fn filled(keys: usize) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let (store, mut keyspace) = Store::open(directory.path()).unwrap();
        for n in 0..keys {
            let name = format!("tf1:{{p}}:m:{n:04}");
            keyspace.call(b"HSET", &[name.as_bytes(), b"v", b"1", b"rec", &[b'x'; 200]]).unwrap();
            store.commit(keyspace.changes()).unwrap();
        }
        store.sync().unwrap();
        directory
    }

    fn log_of(directory: &Path) -> PathBuf {
        newest_log(directory).unwrap().unwrap()
    }

    fn spoil(file: &Path, at: u64) {
        let mut file = OpenOptions::new().write(true).open(file).unwrap();
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&[0x55; 8]).unwrap();
    }

    #[test]
    fn a_sound_directory_is_counted_and_a_repair_keeps_all_of_it() {
        let directory = filled(50);
        let all = Contents { keys: 50, clients: 50 };
        assert_eq!(check(directory.path()).unwrap(), all);
        let repaired = repair(directory.path(), "1").unwrap();
        assert_eq!((repaired.kept, repaired.damaged.join("keyspaces").exists()), (all, true));
        assert_eq!(check(directory.path()).unwrap(), all);
        assert_eq!(check(tempfile::tempdir().unwrap().path()).unwrap(), Contents { keys: 0, clients: 0 });
    }

    #[test]
    fn a_changed_byte_of_the_log_stops_the_start_and_a_repair_keeps_what_came_before() {
        let directory = filled(50);
        let log = log_of(directory.path());
        let used = used_length(&log).unwrap();
        spoil(&log, used / 2);
        let error = check(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is damaged") && error.contains("tollfree data repair"), "{error}");
        let kept = repair(directory.path(), "1").unwrap().kept.keys;
        assert!((20..=26).contains(&kept), "{kept}");
        assert_eq!(check(directory.path()).unwrap().keys, kept);
    }

    #[test]
    fn a_state_that_lost_what_the_disk_had_is_damaged_however_readable_it_is() {
        for lost in ["log", "half of the log", "keyspaces"] {
            let directory = filled(50);
            let log = log_of(directory.path());
            match lost {
                "log" => fs::write(&log, []).unwrap(),
                "half of the log" => {
                    let half = used_length(&log).unwrap() / 2;
                    File::options().write(true).open(&log).unwrap().set_len(half).unwrap();
                }
                _ => fs::remove_dir_all(directory.path().join("keyspaces")).unwrap(),
            }
            assert!(matches!(check(directory.path()), Err(StoreError::Damaged { .. })), "{lost}");
            repair(directory.path(), "1").unwrap();
            check(directory.path()).unwrap();
        }
    }

    #[test]
    fn a_directory_in_use_is_not_repaired() {
        let directory = filled(1);
        let open = Store::open(directory.path()).unwrap();
        assert!(matches!(repair(directory.path(), "1"), Err(StoreError::InUse(_))));
        assert!(matches!(check(directory.path()), Err(StoreError::InUse(_))));
        drop(open);
        repair(directory.path(), "1").unwrap();
    }

    #[test]
    fn the_state_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("data");
        drop(Store::open(&directory).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&directory), 0o700);
        let log = log_of(&directory);
        assert_eq!(mode(&log), 0o600);
        // As an earlier version left them.
        fs::set_permissions(&log, fs::Permissions::from_mode(0o644)).unwrap();
        drop(Store::open(&directory).unwrap());
        for path in own_files(&directory).unwrap() {
            assert_eq!(mode(&path) & 0o077, 0, "{}", path.display());
        }
    }
}
