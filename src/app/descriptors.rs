//! File descriptors: every caller and every call to a provider takes one.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of this process to its hard limit.
pub(super) fn raise_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!("The limit of file descriptors cannot be raised: {error}");
    }
}
