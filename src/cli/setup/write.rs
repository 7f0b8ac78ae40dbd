//! Replaces a file as a whole, so that no reader sees half of it and a crash leaves the old one.

use std::{
    fs::{self, File, Permissions},
    io::{ErrorKind, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};

/// Readable by its owner only.
pub(super) const PRIVATE: u32 = 0o600;
/// Folders that are made for files.
const FOLDER_MODE: u32 = 0o700;

/// The bytes and the permissions of a file, if there is one.
pub(super) fn current(path: &Path) -> anyhow::Result<Option<(Vec<u8>, u32)>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some((bytes, fs::metadata(path)?.permissions().mode() & 0o777))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes the bytes beside the file and moves them over it. `mode`: its permissions; `None`: the usual ones of a new file. A
/// symbolic link stays, and its target is replaced.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: Option<u32>) -> anyhow::Result<()> {
    let path = &resolve(path)?;
    let folder = path.parent().context("a file needs a folder")?;
    make_folder(folder)?;
    let name = path.file_name().context("a file needs a name")?.to_string_lossy();
    let beside = folder.join(format!(".{name}.tollfree-{}", std::process::id()));
    let write = || {
        let mut file = File::options().write(true).create_new(true).mode(mode.unwrap_or(0o666)).open(&beside)?;
        if let Some(mode) = mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().with_context(|| {
        // What is left of a failed attempt must not fill the folder.
        let _ = fs::remove_file(&beside);
        format!("cannot write {}", path.display())
    })
}

/// The file behind symbolic links, which people use to keep their settings elsewhere.
fn resolve(path: &Path) -> anyhow::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..16 {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => return Ok(path),
        }
    }
    bail!("{} is a circle of symbolic links", path.display())
}

fn make_folder(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))
}
