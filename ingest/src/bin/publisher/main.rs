//! Writes records through ingest from the command line: one by flags that come from the entity's newest schema, or the
//! lines of a file.
//!
//! An HTTP client of ingest and nothing more: what a record may hold is for ingest to judge.

mod arguments;
mod book;
mod client;
mod columns;
mod convert;
mod digest;
mod failed;
mod file;
mod ids;
mod lines;
mod one;
mod report;
mod rows;
mod run;
mod send;

use std::process::ExitCode;

use arguments::Form;

/// What the exit code says; `--help` documents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Written = 0,
    Failed = 1,
    Unable = 2,
    Away = 3,
    Interrupted = 130,
}

fn main() -> ExitCode {
    let (exit, error) = match arguments::read() {
        Err(error) => (Exit::Unable, Some(error)),
        Ok(Form::One { entity, matches }) => match one::run(&entity, &matches) {
            Ok(()) => (Exit::Written, None),
            Err(error) => (Exit::Failed, Some(error)),
        },
        Ok(Form::File(request)) => match file::run(request) {
            Ok(exit) => (exit, None),
            Err(error) => (Exit::Unable, Some(error)),
        },
    };
    if let Some(error) = error {
        eprintln!("publisher: {error:#}");
    }
    ExitCode::from(exit as u8)
}
