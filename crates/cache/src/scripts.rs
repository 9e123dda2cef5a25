//! The scripts of `scripts/`, loaded once per process. Redis knows them by hash; `redis::Script` sends the text when a
//! server does not know a hash yet.

use redis::Script;

#[derive(Debug)]
pub(crate) struct Scripts {
    pub(crate) write: Script,
    pub(crate) logged: Script,
    pub(crate) settle: Script,
    pub(crate) read: Script,
    pub(crate) fill: Script,
    pub(crate) relay: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            write: Script::new(include_str!("scripts/write.lua")),
            logged: Script::new(include_str!("scripts/logged.lua")),
            settle: Script::new(include_str!("scripts/settle.lua")),
            read: Script::new(include_str!("scripts/read.lua")),
            fill: Script::new(include_str!("scripts/fill.lua")),
            relay: Script::new(include_str!("scripts/relay.lua")),
        }
    }
}

pub(crate) fn meet() -> Script {
    Script::new(include_str!("scripts/meet.lua"))
}
