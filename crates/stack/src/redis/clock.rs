//! Another clock for one process: a small library, loaded before all others.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

const SOURCE: &str = include_str!("clock.c");

/// A clock in the folder of the process that has it.
#[derive(Debug)]
pub(super) struct Clock {
    library: PathBuf,
    offset: PathBuf,
}

impl Clock {
    /// Compiles the library, and sets the clock to the machine's.
    pub(super) fn make(dir: &Path) -> Result<Self> {
        let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
        std::fs::write(&source, SOURCE)?;
        let compiler = Command::new("cc").args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source).output();
        let compiled = compiler.context("the C compiler")?;
        ensure!(compiled.status.success(), "clock.c: {}", String::from_utf8_lossy(&compiled.stderr));
        let clock = Self { library, offset: dir.join("clock.offset") };
        std::fs::write(&clock.offset, 0_i64.to_ne_bytes())?;
        Ok(clock)
    }

    /// What the process must have in its environment.
    pub(super) fn environment(&self) -> [(&'static str, String); 2] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        [("LD_PRELOAD", text(&self.library)), ("CLOCK_OFFSET", text(&self.offset))]
    }

    /// Lets it be so far from the machine's.
    pub(super) fn step(&self, seconds: i64) -> Result<()> {
        use std::os::unix::fs::FileExt;
        // In place: the process has it mapped.
        let file = std::fs::OpenOptions::new().write(true).open(&self.offset)?;
        Ok(file.write_all_at(&seconds.saturating_mul(1_000_000).to_ne_bytes(), 0)?)
    }
}
