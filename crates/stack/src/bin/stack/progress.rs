//! A line a step, with its seconds.

use anyhow::Result;
use std::io::Write;
use std::time::Instant;

/// Does a step and says how long it took.
pub(crate) fn step<T>(what: &str, act: impl FnOnce() -> Result<T>) -> Result<T> {
    print!("   {what:<38}");
    std::io::stdout().flush()?; // so that a long step is seen before it ends
    let since = Instant::now();
    let done = act();
    let outcome = if done.is_ok() { "" } else { "  failed" };
    println!("{:5.1} s{outcome}", since.elapsed().as_secs_f32());
    done
}

/// Says that nothing was to do.
pub(crate) fn already(what: &str) {
    println!("   {what:<38}  runs already");
}
