//! A call of a script: its keys and arguments as they are named, and the text sent along when a server does not know it yet.
//!
//! Built without a copy of its own for each argument, as `redis::ScriptInvocation` makes: a call carries hundreds.

use redis::aio::MultiplexedConnection;
use redis::{Arg, Cmd, ErrorKind, FromRedisValue, RedisError, Script, ServerErrorKind, ToRedisArgs};

use crate::keys::{SHARDS, Shard};

/// What is to be called. Keys and arguments may be named in turn.
pub(crate) struct Call<'s> {
    script: &'s Script,
    keys: Cmd,
    named: usize,
    args: Cmd,
}

/// Where in a call the keys of each shard stand.
pub(crate) struct Places([u16; SHARDS as usize]);

impl<'s> Call<'s> {
    pub(crate) fn of(script: &'s Script) -> Self {
        Self { script, keys: Cmd::new(), named: 0, args: Cmd::new() }
    }

    pub(crate) fn key(&mut self, key: impl ToRedisArgs) -> &mut Self {
        self.keys.arg(key);
        self.named += 1;
        self
    }

    pub(crate) fn arg(&mut self, argument: impl ToRedisArgs) -> &mut Self {
        self.args.arg(argument);
        self
    }

    /// Names what the records of a shard share, once for each shard however many of its records the call speaks of: last, outbox,
    /// unsettled, epoch, incomplete. How many shards there are becomes the next argument.
    pub(crate) fn shards(&mut self, of: impl Iterator<Item = Shard>) -> Places {
        let (mut places, mut count) = ([u16::MAX; SHARDS as usize], 0);
        for shard in of {
            let Some(place) = places.get_mut(usize::from(shard.number())) else { continue };
            if *place == u16::MAX {
                *place = count;
                count += 1;
                self.key(shard.last()).key(shard.outbox()).key(shard.unsettled()).key(shard.epoch());
                self.key(shard.incomplete());
            }
        }
        self.arg(count);
        Places(places)
    }

    fn command(&self) -> Cmd {
        let mut command = redis::cmd("EVALSHA");
        command.arg(self.script.get_hash()).arg(self.named);
        for part in self.keys.args_iter().chain(self.args.args_iter()) {
            if let Arg::Simple(bytes) = part {
                command.arg(bytes);
            }
        }
        command
    }

    /// # Errors
    /// What the connection or the script says.
    pub(crate) async fn on<T: FromRedisValue>(&self, connection: &mut MultiplexedConnection) -> Result<T, RedisError> {
        let command = self.command();
        match command.query_async(connection).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.script.load_async(connection).await?;
                command.query_async(connection).await
            }
            answered => answered,
        }
    }
}

impl Places {
    /// Where a shard's keys stand among those of the call's shards, from 0.
    pub(crate) fn of(&self, shard: Shard) -> u16 {
        self.0.get(usize::from(shard.number())).copied().unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_before_arguments_and_a_shard_is_named_once() {
        let script = Script::new("return 1");
        let mut call = Call::of(&script);
        let shards: Vec<_> = Shard::all().collect();
        let places = call.shards([shards[7], shards[3], shards[7]].into_iter());
        call.arg("first").key("record");
        assert_eq!((places.of(shards[7]), places.of(shards[3])), (0, 1));
        let command = call.command();
        let parts = command.args_iter().map(|part| match part {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            other => panic!("{other:?}"),
        });
        let parts: Vec<_> = parts.collect();
        assert_eq!(parts[..3], ["EVALSHA", script.get_hash(), "11"]);
        assert_eq!(parts[3..5], ["wb:{07}:last", "wb:{07}:outbox"]);
        assert_eq!(parts[8], "wb:{03}:last");
        assert_eq!(parts[13..], ["record", "2", "first"]);
    }
}
