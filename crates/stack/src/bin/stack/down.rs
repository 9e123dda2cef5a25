//! `stack down` and `stack clean`: stops what `up` started and noted, services first, and nothing else.

use crate::progress::step;
use crate::services::DRAIN;
use crate::settings::Settings;
use crate::state::{ALL, State};
use anyhow::Result;
use nix::sys::signal::Signal;
use stack::Ended;

/// Stops everything that runs.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let state = State::open(settings.stack_dir.as_deref())?;
    stop_all(&state)
}

/// Stops everything and forgets data, logs and accounts; the tools stay.
pub(crate) fn clean(settings: &Settings) -> Result<()> {
    let state = State::open(settings.stack_dir.as_deref())?;
    stop_all(&state)?;
    state.forget_everything()?;
    println!("   data, logs and accounts are forgotten; the tools stay");
    Ok(())
}

fn stop_all(state: &State) -> Result<()> {
    let mut stopped = 0;
    for name in ALL.into_iter().rev() {
        stopped += usize::from(stop(state, name)?);
    }
    if stopped == 0 {
        println!("   nothing runs");
    }
    Ok(())
}

/// Stops one process, killing it when it does not end in time; false when it did not run.
pub(crate) fn stop(state: &State, name: &str) -> Result<bool> {
    let Some(noted) = state.running(name)? else {
        state.forget(name)?;
        return Ok(false);
    };
    let process = noted.process;
    let mut late = false;
    step(&format!("{name} stops"), || {
        process.signal(Signal::SIGTERM)?;
        process.signal(Signal::SIGCONT)?;
        if matches!(process.wait(DRAIN)?, Ended::No) {
            late = true;
            process.kill()?;
        }
        Ok(())
    })?;
    if late {
        println!("   {name} did not end within {DRAIN:?} and was killed; its log: {}", process.log().display());
    }
    state.forget(name)?;
    Ok(true)
}
