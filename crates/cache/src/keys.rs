//! The names of keys in Redis. All keys of a record carry the hash tag of its shard, so that one script may touch them
//! wherever the shard lives. What stands there is readable: `redis-cli HGETALL 'wb:{07}:record:users:42'`.

use std::sync::LazyLock;

use record::RecordId;

/// Parts of the key space, one hash slot each. Written to Redis at the first start; another number refuses to start.
pub const SHARDS: u16 = 16;

/// What stands in Redis by these names, and before a member's own.
#[derive(Debug)]
struct Names {
    last: String,
    epoch: String,
    outbox: String,
    unsettled: String,
    incomplete: String,
    relay_claim: String,
    record: String,
    lease: String,
    idempotency: String,
}

/// Of each shard: every call needs them.
static NAMES: LazyLock<[Names; SHARDS as usize]> = LazyLock::new(|| std::array::from_fn(Names::of));

impl Names {
    fn of(shard: usize) -> Self {
        let key = |rest: &str| format!("wb:{{{shard:02}}}:{rest}");
        Self {
            last: key("last"),
            epoch: key("epoch"),
            outbox: key("outbox"),
            unsettled: key("unsettled"),
            incomplete: key("incomplete"),
            relay_claim: key("relaying"),
            record: key("record:"),
            lease: key("lease:"),
            idempotency: key("idem:"),
        }
    }
}

/// One part of the key space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard(u16);

impl Shard {
    /// The shard of a record: CRC-32 of `<entity>:<id>`, modulo the number of shards.
    pub(crate) fn of(member: &str) -> Self {
        // The remainder of a division by SHARDS fits.
        Self((crc32fast::hash(member.as_bytes()) % u32::from(SHARDS)) as u16)
    }

    /// Every shard, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    /// Its number, from 0.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    fn names(self) -> &'static Names {
        NAMES.get(usize::from(self.0)).expect("a shard is below SHARDS")
    }

    /// The highest version this shard ever issued.
    pub(crate) fn last(self) -> &'static str {
        &self.names().last
    }

    /// Which life of Redis this is: a hash {n, `run_id`, replid, `changed_at`}.
    pub(crate) fn epoch(self) -> &'static str {
        &self.names().epoch
    }

    /// Sorted set: members whose newest version the topic has not acknowledged, by version.
    pub(crate) fn outbox(self) -> &'static str {
        &self.names().outbox
    }

    /// Sorted set: members that the topic has acknowledged and MySQL does not hold yet, by version.
    pub(crate) fn unsettled(self) -> &'static str {
        &self.names().unsettled
    }

    /// Exists while the cache may lack what MySQL has yet to receive.
    pub(crate) fn incomplete(self) -> &'static str {
        &self.names().incomplete
    }

    /// Who relays this shard at the moment: advice, never safety.
    pub(crate) fn relay_claim(self) -> &'static str {
        &self.names().relay_claim
    }

    /// What stands before a member in the name of its record's key.
    pub(crate) fn record_prefix(self) -> &'static str {
        &self.names().record
    }

    pub(crate) fn record(self, member: &str) -> String {
        [&self.names().record, member].concat()
    }

    pub(crate) fn lease(self, member: &str) -> String {
        [&self.names().lease, member].concat()
    }

    /// What an idempotency key of this record stands for: version, whether the topic has acknowledged it, fingerprint.
    pub(crate) fn idempotency(self, member: &str, key: &str) -> String {
        format!("{}{member}:{key}", self.names().idempotency)
    }
}

/// The number of shards that this Redis was first used with.
pub(crate) const SHARD_COUNT: &str = "wb:shards";

/// Who owns a slot, for every slot that there is (PROTOCOL R4).
pub(crate) fn slots() -> impl Iterator<Item = String> {
    (1..=14).map(slot)
}

/// Who owns this slot.
pub(crate) fn slot(number: u8) -> String {
    format!("wb:{{slot}}:{number}")
}

/// A record's name in Redis, and the shard in which it is.
pub(crate) fn located(entity: &str, id: &RecordId) -> (String, Shard) {
    let member = member(entity, id);
    let shard = Shard::of(&member);
    (member, shard)
}

/// How a record is named in the outbox and the unsettled. Neither part can contain a colon.
pub(crate) fn member(entity: &str, id: &RecordId) -> String {
    format!("{entity}:{}", id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_record_carry_the_hash_tag_of_its_shard() {
        let shard = Shard::of("users:42");
        let tag = format!("{{{:02}}}", shard.number());
        for key in [
            shard.last().to_owned(),
            shard.epoch().to_owned(),
            shard.outbox().to_owned(),
            shard.unsettled().to_owned(),
            shard.incomplete().to_owned(),
            shard.record("users:42"),
            shard.lease("users:42"),
            shard.idempotency("users:42", "ab12"),
        ] {
            assert!(key.contains(&tag), "{key} lacks {tag}: a cluster would spread one script over nodes");
        }
    }

    #[test]
    fn records_spread_over_all_shards() {
        let mut hits = [0u32; SHARDS as usize];
        for n in 0..16_000 {
            hits[Shard::of(&format!("users:{n}")).number() as usize] += 1;
        }
        assert!(hits.iter().all(|&n| (800..1200).contains(&n)), "{hits:?}");
    }
}
