//! Files that only their owner may read: passwords, and URLs with passwords.

use crate::random;
use anyhow::{Context, Result};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Writes the file with mode 0600; it appears whole or not at all.
pub fn write(file: &Path, text: &str) -> Result<()> {
    let writing = || format!("writing {}", file.display());
    let fresh = file.with_extension(format!("new-{}", random::hex::<4>()?));
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh).with_context(writing)?;
    open.write_all(text.as_bytes()).with_context(writing)?;
    drop(open);
    std::fs::rename(&fresh, file).with_context(writing)
}
