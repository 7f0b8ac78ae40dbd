//! Makes cargo compile again when the dashboard has been built since the last compilation.

use std::{fs, io, path::Path, time::SystemTime};

const PAGE: &str = "dashboard/dist";

fn main() {
    println!("cargo::rerun-if-changed={PAGE}");
    if !Path::new(PAGE).exists()
        && let Err(error) = create_empty()
    {
        println!("cargo::warning={PAGE}: {error}");
    }
}

/// An empty folder means that the dashboard is not built. With a missing folder, cargo would run this at each build; with
/// a folder newer than this run, once more at the next one.
fn create_empty() -> io::Result<()> {
    fs::create_dir_all(PAGE)?;
    fs::File::open(PAGE)?.set_modified(SystemTime::UNIX_EPOCH)
}
