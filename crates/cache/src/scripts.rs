//! The scripts of `scripts/`, loaded once per process. Redis knows them by hash; `redis::Script` sends the text when a
//! server does not know a hash yet.

use redis::Script;

#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) write: Script,
    pub(crate) logged: Script,
    pub(crate) settle: Script,
    pub(crate) dead: Script,
    pub(crate) read: Script,
    pub(crate) fill: Script,
    pub(crate) newest: Script,
    pub(crate) relay: Script,
    pub(crate) sweep: Script,
    pub(crate) again: Script,
    pub(crate) complete: Script,
    pub(crate) slot: Script,
    pub(crate) release: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            write: Script::new(include_str!("scripts/write.lua")),
            logged: Script::new(include_str!("scripts/logged.lua")),
            settle: Script::new(include_str!("scripts/settle.lua")),
            dead: Script::new(include_str!("scripts/dead.lua")),
            read: Script::new(include_str!("scripts/read.lua")),
            fill: Script::new(include_str!("scripts/fill.lua")),
            newest: Script::new(include_str!("scripts/newest.lua")),
            relay: Script::new(include_str!("scripts/relay.lua")),
            sweep: Script::new(include_str!("scripts/sweep.lua")),
            again: Script::new(include_str!("scripts/again.lua")),
            complete: Script::new(include_str!("scripts/complete.lua")),
            slot: Script::new(include_str!("scripts/slot.lua")),
            release: Script::new(include_str!("scripts/release.lua")),
        }
    }
}

pub(crate) fn meet() -> Script {
    Script::new(include_str!("scripts/meet.lua"))
}
