//! Folders as a whole: a test's own copy of the schemas, the scrape configuration beside its targets.

use anyhow::{Context, Result};
use std::path::Path;

/// Copies a folder's files over another's, which is made where it is missing; other files there stay.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
