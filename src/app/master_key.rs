//! The master keys of this process: those of the settings and, without Redis, one in the data directory.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::Context;
use secrecy::SecretString;
use tracing::warn;

use super::{Storage, data_dir};
use crate::{config::Settings, domain::key, ledger::MasterKeys};

const FILE: &str = "master.key";
/// Readable by its owner alone.
const MODE: u32 = 0o600;

/// Without Redis a master key is made in the data directory, because nothing else reads that state. The data directory must
/// be open already, so that no other process makes one at the same time.
pub(super) fn read(settings: &Settings, storage: Storage) -> anyhow::Result<MasterKeys> {
    let mut texts = settings.master_keys.clone();
    if storage == Storage::InMemory {
        texts.push(key::fresh_secret()?.into());
    } else if settings.redis_url.is_none() {
        texts.extend(in_directory(&data_dir(settings)?, texts.is_empty())?);
    }
    Ok(MasterKeys::new(&texts))
}

/// The master key of the directory, which is made there if it is `needed`.
fn in_directory(directory: &Path, needed: bool) -> anyhow::Result<Option<SecretString>> {
    let path = directory.join(FILE);
    match fs::read_to_string(&path) {
        Ok(text) => {
            let is_private =
                fs::metadata(&path).is_ok_and(|file| matches!(file.permissions().mode() & 0o777, 0o400 | MODE));
            if !is_private {
                warn!("Others can read the master key in `{}`: run `chmod 600` on it", path.display());
            }
            Ok(Some(text.trim().into()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && !needed => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => create(directory, &path).map(Some),
        Err(error) => Err(error).with_context(|| format!("the master key in `{}` cannot be read", path.display())),
    }
}

/// Written beside its name first, so that a crash leaves a whole key or none.
fn create(directory: &Path, path: &Path) -> anyhow::Result<SecretString> {
    let text = key::fresh_secret()?;
    let unfinished = path.with_extension("new");
    let write = || {
        // Left by a crash, perhaps with other permissions.
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unfinished)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        fs::File::open(directory)?.sync_all()
    };
    write().with_context(|| format!("the master key cannot be written to `{}`", path.display()))?;
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_master_key_is_made_once_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        assert!(in_directory(directory.path(), false).unwrap().is_none());
        let first = in_directory(directory.path(), true).unwrap().unwrap();
        let again = in_directory(directory.path(), true).unwrap().unwrap();
        assert_eq!(first.expose_secret(), again.expose_secret());
        assert!(first.expose_secret().len() >= 32);
        let mode = fs::metadata(directory.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
    }
}
