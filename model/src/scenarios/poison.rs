//! Events that the table refuses (G8, R13, R14), and a second key in their batch (G7).
use super::*;

const POISON: &[Kind] = &[Put, Poison];
const POISON3: &[Kind] = &[Put, Poison, Put];
const REDRIVE: &[Kind] = &[Poison, Put, Redrive0];
const RETRIED: &[Kind] = &[Put, Poison, Retry0];
const BELOW: &[Kind] = &[Put, Poison, Cond];
const TWO_KEYS: &[Kind] = &[Put, Other, Other];
const OTHER_POISON: &[Kind] = &[Put, OtherPoison, Other];
const POISON_OTHER: &[Kind] = &[Put, Poison, Other];

/// Over a row from before.
fn over(rules: Rules) -> Rules {
    Rules { row_before: true, ..rules }
}

pub fn all() -> Vec<Scenario> {
    let b = NONE;
    vec![
        // ---- one key ----
        s("f40-poison", f(POISON, Budget { crash: 1, rebalance: 1, ..b }), &[]),
        s("f40b-poison-three", f(POISON3, Budget { compact: 1, crash: 1, ..b }), &[]),
        s("f40c-poison-lost-settle", slow(f(POISON, Budget { unsettled: 1, failover: 1, crash: 1, ..b })), &[]),
        s("f40d-poison-reply-lost", f(POISON, Budget { lost: 2, away: 1, compact: 1, ..b }), &[]),
        s("f40e-poison-if-match", f(&[Put, Poison, Cond], Budget { fill: 1, expire: 1, ..b }), &[]),
        s("f41-redrive", f(REDRIVE, Budget { compact: 1, crash: 1, ..b }), &[]),
        s("k43-dead-letter-does-not-settle", Rules { settle_dead: false, ..f(&[Poison], b) }, &["G8"]),
        s("k44-dead-letter-not-awaited", Rules { dead_acked: false, ..f(&[Poison], b) }, &["G1 logged", "G7"]),
        s("k45-no-reassert-after-dead-letter", Rules { reassert_dead: false, ..f(POISON, b) }, &["G6 compacted"]),
        s(
            "k46-coalesced-under-poison",
            Rules { mates: Mates::Coalesced, ..f(POISON, b) },
            &["G1 logged", "G2 a reader", "G7", "G6"],
        ),
        s("k47-redrive-old-version", Rules { redrive_new: false, ..f(REDRIVE, b) }, &["G1 later", "G2"]),
        s("x08-cached-under-poison", f(POISON, Budget { cached: 1, ..b }), &["G1 cached", "G2 a reader"]),
        s(
            "x09-logged-under-poison-topic-lost",
            f(POISON, Budget { kafka_loss: 1, ..b }),
            &["G1 logged", "G2 a reader"],
        ),
        s(
            "k52-sweep-does-not-ask-for-dead-letters",
            Rules { sweep_asks_dead: false, ..f(&[Poison], Budget { unsettled: 1, ..b }) },
            &["G8 dead letter is not"],
        ),
        s("f40f-poison-forgotten", slow(f(POISON, Budget { unsettled: 1, wipe: 1, rebalance: 1, ..b })), &[]),
        // ---- what lies below a poison is not in the table yet ----
        s("f45-below-a-poison", f(&[Put, Poison], Budget { crash: 1, unsure: 1, rebalance: 1, ..b }), &[]),
        s("f45b-below-two-poisons", f(&[Put, Poison, Poison], Budget { unsettled: 1, ..b }), &[]),
        s("f45c-below-a-poison-if-match", over(f(BELOW, Budget { fill: 2, crash: 1, ..b })), &[]),
        s("f45d-below-a-poison-expiry", over(f(BELOW, Budget { fill: 1, expire: 1, unsettled: 1, ..b })), &[]),
        s("f45e-below-a-poison-retry", over(f(RETRIED, Budget { crash: 1, fill: 1, ..b })), &[]),
        s("f45f-below-a-poison-failover", over(f(BELOW, Budget { fill: 1, failover: 1, ..b })), &[]),
        s("k53-dead-letter-forgets-below", Rules { dead_awaits: false, ..f(POISON, b) }, &["G2 a reader"]),
        s(
            "k53b-dead-letter-forgets-below-if-match",
            Rules { dead_awaits: false, ..over(f(BELOW, Budget { fill: 1, ..b })) },
            &["G2 a reader", "If-Match"],
        ),
        s(
            "k54-awaited-ends-by-its-own-dead-letter",
            Rules { awaits_below_dead: false, ..f(&[Put, Poison, Poison], b) },
            &["G2 a reader"],
        ),
        s("k55-awaited-not-long-enough", Rules { awaits_long_enough: false, ..f(POISON, b) }, &["G2 a reader"]),
        // ---- what Kafka never takes ----
        s("f46-too-large", f(&[Put, Large, Put], Budget { crash: 1, relay: 2, ..b }), &[]),
        s("f46b-too-large-if-match", over(f(&[Put, Large, Cond], Budget { fill: 1, relay: 2, ..b })), &[]),
        s(
            "f46c-too-large-two-relays",
            Rules { relays: 2, ..f(&[Large, Put], Budget { crash: 1, relay: 3, unsure: 1, ..b }) },
            &[],
        ),
        s(
            "k56-too-large-goes-before-its-letter",
            Rules { letter_first: false, ..f(&[Large], Budget { crash: 1, relay: 2, ..b }) },
            &["G1 cached"],
        ),
        // ---- a retry of what a poison has overwritten ----
        s("f44-retry-poison", f(RETRIED, Budget { crash: 1, relay: 1, ..b }), &[]),
        s("f44b-retry-poison-purge", f(RETRIED, Budget { crash: 1, purge: 1, compact: 1, ..b }), &[]),
        s("f44c-retry-poison-fill", f(RETRIED, Budget { crash: 1, fill: 1, ..b }), &[]),
        s("f44d-retry-poison-lost-ack", f(RETRIED, Budget { crash: 1, unsure: 1, ..b }), &[]),
        s(
            "k50-retry-believes-what-moved-on",
            Rules { hit: Hit::Believed, ..f(RETRIED, Budget { crash: 1, ..b }) },
            &["G1 logged"],
        ),
        s(
            "k51-purge-mark-above-a-key",
            Rules { purge_below_keys: false, ..f(RETRIED, Budget { crash: 1, purge: 1, ..b }) },
            &["G1 logged"],
        ),
        // ---- two keys in a partition ----
        s("f42-two-keys", f(TWO_KEYS, Budget { crash: 1, rebalance: 1, ..b }), &[]),
        s("f42b-two-keys-compaction", f(TWO_KEYS, Budget { compact: 2, ..b }), &[]),
        s("f43-two-keys-poison", f(OTHER_POISON, Budget { crash: 1, ..b }), &[]),
        s("f43c-two-keys-poison-zombie", f(&[Put, OtherPoison], Budget { crash: 1, rebalance: 1, ..b }), &[]),
        s("f43b-two-keys-poison-compaction", f(POISON_OTHER, Budget { crash: 1, compact: 1, ..b }), &[]),
        s(
            "k48-batch-mates-dropped",
            Rules { mates: Mates::Dropped, ..f(&[Put, OtherPoison], b) },
            &["G1 logged", "G7"],
        ),
        s("k49-commit-of-one-half", Rules { bug: Bug::CommitHalf, ..f(&[Put, OtherPoison], b) }, &["G1 logged", "G7"]),
    ]
}
