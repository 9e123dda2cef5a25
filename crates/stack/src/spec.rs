//! What to run: a program, its arguments, environment and log.

use crate::note::Note;
use crate::{Lifetime, spawner};
use anyhow::Result;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What to run.
#[derive(Clone)]
pub struct Spec {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(String, String)>,
    dir: Option<PathBuf>,
    input: Option<PathBuf>,
    pub(crate) log: PathBuf,
    pub(crate) note: Option<Note>,
}

// By hand, because settings and arguments may hold passwords.
impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spec").field("name", &self.name).field("program", &self.program).finish_non_exhaustive()
    }
}

impl Spec {
    /// `program`, called `name` in messages, with its output appended to the file `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let (name, program, log) = (name.into(), program.into(), log.into());
        Self { name, program, args: Vec::new(), env: Vec::new(), dir: None, input: None, log, note: None }
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// More arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// One more environment setting, on top of what this process has.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// The folder to run in.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// The file that is its standard input; without one it has none.
    #[must_use]
    pub fn input(mut self, file: impl Into<PathBuf>) -> Self {
        self.input = Some(file.into());
        self
    }

    /// Where it is noted when it runs, for a process that outlives this one.
    #[must_use]
    pub fn noted(mut self, note: Option<Note>) -> Self {
        self.note = note;
        self
    }

    /// The command, with its output going to `log`.
    pub(crate) fn command(&self, lifetime: Lifetime, log: File) -> Result<Command> {
        let mut command = match lifetime {
            Lifetime::Attached => spawner::attached(self.program.as_os_str()),
            Lifetime::Detached => spawner::detached(self.program.as_os_str()),
        };
        command.args(&self.args).envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        let input = self.input.as_ref().map_or_else(|| Ok(Stdio::null()), |file| File::open(file).map(Stdio::from))?;
        command.stdin(input).stderr(log.try_clone()?).stdout(log);
        Ok(command)
    }
}
