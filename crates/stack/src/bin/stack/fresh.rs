//! Whether a file, or anything in a folder, is newer than a moment.

use anyhow::{Context, Result};
use std::path::Path;
use std::time::SystemTime;

/// True when `path`, or anything in it, was changed after `since`.
pub(crate) fn is_newer(path: &Path, since: SystemTime) -> Result<bool> {
    let seen = std::fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    // A folder's own time moves when an entry comes or goes.
    if seen.modified()? > since {
        return Ok(true);
    }
    if seen.is_dir() {
        for entry in std::fs::read_dir(path)? {
            if is_newer(&entry?.path(), since)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
