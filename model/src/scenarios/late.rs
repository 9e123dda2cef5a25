//! A write script whose reply is lost, or that runs after its handler gave up (R2, R4, R8).
use super::*;
use crate::world::{TICK, TIMEOUT};

/// How far the clocks of ingest 0, ingest 1 and Redis are ahead of real time.
const EQUAL: &[[u8; 3]] = &[[0, 0, 0]];
/// At most by D (all three: a later start, and no more).
const AGREE: &[[u8; 3]] =
    &[[0, 0, 0], [TICK, 0, 0], [0, TICK, 0], [0, 0, TICK], [TICK, TICK, 0], [TICK, 0, TICK], [0, TICK, TICK]];
/// One ingest process is too far ahead: by less than T, and by more.
const INGEST_AHEAD: &[[u8; 3]] = &[[3 * TICK, 0, 0], [6 * TICK, 0, 0]];
/// Redis is: `LATE` does not see it, and one is behind what `LATE` sees.
const REDIS_AHEAD: &[[u8; 3]] = &[[0, 0, 3 * TICK], [0, 0, 6 * TICK]];

/// In real time.
fn timed(clocks: &'static [[u8; 3]], kinds: &'static [Kind], budget: Budget) -> Rules {
    Rules { clocks, ..f(kinds, budget) }
}

pub fn all() -> Vec<Scenario> {
    let b = NONE;
    let late = Budget { lost: 1, ..b };
    vec![
        // ---- readings only: the script ran, its reply is lost ----
        s("f35-reply-lost", f(TWO, Budget { lost: 2, crash: 1, relay: 1, cached: 1, ..b }), &[]),
        s("f35b-reply-lost-three", f(THREE, Budget { lost: 1, compact: 1, ..b }), &[]),
        s("f35c-reply-lost-delete", f(DEL, Budget { lost: 1, wipe: 1, purge: 1, compact: 1, relay: 1, ..b }), &[]),
        s("f36-reply-lost-retry", f(RETRY, Budget { lost: 1, relay: 1, ..b }), &[]),
        s("k36-reply-lost-retry-away", Rules { lost: Lost::Away, ..f(RETRY, late) }, &["G1 later", "G9"]),
        s(
            "f37-reply-lost-if-match",
            Rules { lost: Lost::Unknown, ..f(COND, Budget { lost: 1, relay: 1, fill: 1, expire: 1, ..b }) },
            &[],
        ),
        s("x07-reply-lost-if-match-away", f(&[Put, Put, Cond], late), &["If-Match"]),
        // ---- real time: it runs when its handler is elsewhere ----
        s("f38-late", timed(AGREE, TWO, late), &[]),
        s("f38b-late-wipe", timed(AGREE, TWO, Budget { lost: 1, wipe: 1, ..b }), &[]),
        s("f38c-late-failover", timed(AGREE, TWO, Budget { lost: 1, failover: 1, ..b }), &[]),
        s("f38d-late-away", timed(AGREE, TWO, Budget { lost: 1, away: 1, ..b }), &[]),
        s("f39-late-ingest-ahead", timed(INGEST_AHEAD, TWO, Budget { lost: 1, wipe: 1, away: 1, ..b }), &[]),
        s("f39b-late-redis-ahead", timed(REDIS_AHEAD, TWO, Budget { lost: 1, wipe: 1, away: 1, ..b }), &[]),
        s("k37-no-late", Rules { late: None, ..timed(EQUAL, TWO, late) }, &["G1 later", "R2"]),
        s("k37b-late-at-t", Rules { late: Some(TIMEOUT), ..timed(AGREE, TWO, late) }, &["R2"]),
        s("k38-connection-broken", Rules { lost_waits: false, ..timed(EQUAL, TWO, late) }, &["G1 later", "R2"]),
        s(
            "k39-no-skew",
            Rules { skew: false, ..timed(INGEST_AHEAD, TWO, Budget { wipe: 1, ..b }) },
            &["G1 later", "G2"],
        ),
        s(
            "k40-no-wait-after-loss",
            Rules { wait_after_loss: false, ..timed(AGREE, TWO, Budget { wipe: 1, ..b }) },
            &["G1 later", "G2"],
        ),
        s(
            "k41-no-commit-wait",
            Rules { commit_wait: None, ..timed(AGREE, TWO, Budget { away: 1, ..b }) },
            &["G1 later"],
        ),
        s(
            "k41b-commit-wait-of-2d",
            Rules { commit_wait: Some(2 * TICK - 1), ..timed(AGREE, TWO, Budget { away: 1, ..b }) },
            &["G1 later"],
        ),
        s(
            "k42-away-clock-unchecked",
            Rules { away_clock: false, ..timed(INGEST_AHEAD, TWO, late) },
            &["G1 later", "R2"],
        ),
    ]
}
