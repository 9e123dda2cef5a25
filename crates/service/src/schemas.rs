//! Reads the schema folder from disk and hands the texts to `record`, which does no I/O.

use std::path::{Path, PathBuf};

use record::{Catalog, SchemaFault};

/// Why there is no catalog.
#[derive(Debug, thiserror::Error)]
pub enum SchemasError {
    /// The folder or a file in it cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Unreadable {
        /// What was read.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The schemas themselves are at fault; every fault is named.
    #[error("{}", join(.0))]
    Refused(Vec<SchemaFault>),
}

impl SchemasError {
    /// Each fault alone, as a fault of the setting that names the folder.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let named = |fault: &dyn std::fmt::Display| format!("--schemas-dir: {fault}");
        match self {
            Self::Unreadable { source, .. } => vec![named(&format_args!("{self}: {source}"))],
            Self::Refused(faults) => faults.iter().map(|fault| named(fault)).collect(),
        }
    }
}

fn join(faults: &[SchemaFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The texts of one schema folder.
#[derive(Debug)]
pub struct SchemaFiles {
    /// `users/v1.avsc` and its text, sorted.
    pub files: Vec<(String, String)>,
    /// The text of `ids.json`; empty where there is none yet.
    pub ids: String,
}

/// Reads `<dir>/<entity>/*.avsc` and `<dir>/ids.json`.
///
/// # Errors
/// [`SchemasError::Unreadable`] names the path.
pub fn read(dir: &Path) -> Result<SchemaFiles, SchemasError> {
    let mut files = Vec::new();
    for entity in list(dir)?.into_iter().filter(|path| path.is_dir()) {
        for file in list(&entity)?.into_iter().filter(|path| path.extension().is_some_and(|e| e == "avsc")) {
            let name = file.strip_prefix(dir).unwrap_or(&file).to_string_lossy().into_owned();
            files.push((name, text(&file)?));
        }
    }
    files.sort();
    let ids = dir.join("ids.json");
    let ids = if ids.exists() { text(&ids)? } else { String::new() };
    Ok(SchemaFiles { files, ids })
}

/// Reads the folder and compiles it.
///
/// # Errors
/// What cannot be read, or every fault of the schemas at once.
pub fn load(dir: &Path) -> Result<Catalog, SchemasError> {
    let SchemaFiles { files, ids } = read(dir)?;
    Catalog::compile(files, &ids).map_err(SchemasError::Refused)
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, SchemasError> {
    let unreadable = |source| SchemasError::Unreadable { path: dir.to_owned(), source };
    let entries = std::fs::read_dir(dir).map_err(unreadable)?;
    entries.map(|entry| entry.map(|e| e.path()).map_err(unreadable)).collect()
}

fn text(path: &Path) -> Result<String, SchemasError> {
    std::fs::read_to_string(path).map_err(|source| SchemasError::Unreadable { path: path.to_owned(), source })
}
