//! The persister's lane: poll, upsert, dead letters, settle.
use crate::protocol::Protocol;
use crate::rules::{Bug, Fill, Mates, Purge};
use crate::world::*;

impl Protocol {
    pub(crate) fn poll(&self, s: &mut World, m: u8, upto: u8) {
        let mut b = Member { ph: MPh::Polled, upto, ..IDLE };
        for (o, v, op) in s.events().filter(|e| e.0 >= s.committed && e.0 < upto) {
            let part = &mut b.of[self.key(op)];
            let poison = self.poison(op);
            if poison {
                b.poison |= 1 << op;
                if !part.dead.contains(&v) {
                    part.dead = [v, part.dead[0]];
                }
            }
            if v >= part.ver && (!poison || self.0.mates == Mates::Coalesced) {
                part.ver = v;
                part.op = op;
                part.off = o;
            }
            part.tail = v;
            part.tail_off = o;
            part.tail_op = op;
        }
        for part in &mut b.of {
            if self.poison(part.op) || self.0.mates == Mates::Dropped && b.poison != 0 {
                (part.ver, part.op, part.off) = (0, HOLE, 0);
            }
        }
        s.members[m as usize] = b;
    }

    /// The whole batch in one transaction.
    pub(crate) fn apply(&self, s: &mut World, m: u8) {
        for k in 0..2 {
            self.apply_key(s, m, k);
        }
        s.members[m as usize].ph = MPh::Applied;
    }

    /// What the table refuses comes alone in the end, and its mates in several transactions.
    pub(crate) fn apply_half(&self, s: &mut World, m: u8, k: usize) {
        self.apply_key(s, m, k);
        let b = &mut s.members[m as usize];
        b.of[k].applied = true;
        if b.of.iter().all(|part| part.applied) {
            b.ph = MPh::Applied;
        }
    }

    fn apply_key(&self, s: &mut World, m: u8, k: usize) {
        let r = &self.0;
        let part = &mut s.members[m as usize].of[k];
        if part.tail_op == HOLE {
            return;
        }
        let mark = matches!(r.purge, Purge::Watermark | Purge::AgedWatermark | Purge::SafeWatermark);
        let row = &mut s.row[k];
        if part.ver == 0 {
            // All poison.
        } else if r.bug == Bug::UnguardedUpsert || part.ver > row.ver && (row.ver > 0 || !mark || part.ver > s.purged) {
            *row = Row { ver: part.ver, op: part.op, off: part.off };
            s.applied[k] = s.applied[k].max(part.ver);
        } else if part.ver == row.ver {
            row.off = row.off.max(part.off);
        }
        part.held =
            if r.settle_held { part.ver.max(row.ver).max(if row.ver == 0 { s.purged } else { 0 }) } else { part.ver };
        let poison = self.poison(part.tail_op);
        let inverted = if poison { r.reassert_dead && row.ver > 0 } else { part.tail < row.ver };
        part.reassert = r.reassert && inverted && (!r.row_offset || part.tail_off > row.off)
            || r.reassert_purged
                && row.ver == 0
                && part.tail > 0
                && part.tail <= s.purged
                && !poison
                && !self.dead(part.tail_op);
    }

    /// The row, or a tombstone at the purge mark, goes to the end of the topic.
    pub(crate) fn reassert(&self, s: &mut World, m: u8) {
        let Some(k) = s.members[m as usize].of.iter().position(|part| part.reassert) else { return };
        if s.row[k].ver > 0 {
            let (v, op) = (s.row[k].ver, s.row[k].op);
            s.append(v, op);
        } else {
            s.append(s.purged, TOMB);
        }
        s.members[m as usize].of[k].reassert = false;
    }

    /// What the batch says to the cache.
    pub(crate) fn settle_batch(&self, s: &mut World, m: u8) {
        let b = s.members[m as usize];
        self.settle(s, b.of[0].held, b.old);
        for v in b.of[0].dead.into_iter().filter(|_| self.0.settle_dead) {
            self.settle_dead(s, v);
        }
    }

    /// "Version `v` is a dead letter", in doubt as well.
    pub(crate) fn settle_dead(&self, s: &mut World, v: u8) {
        if v == 0 {
            return;
        }
        s.redis.lease = false;
        if s.redis.present && s.redis.ver == v && !(s.redis.awaited && self.0.awaits_below_dead) {
            let below = s.redis.below;
            s.redis.drop_record();
            self.leave_outbox(s);
            if below > 0 {
                (s.redis.present, s.redis.awaited, s.redis.ver) = (true, true, below);
            }
        }
    }

    /// "The table holds at least `v`", as read in the current epoch or in an older one.
    pub(crate) fn settle(&self, s: &mut World, v: u8, old: bool) {
        if v == 0 {
            return;
        }
        if self.0.fill == Fill::Lease {
            s.redis.lease = false;
        }
        if s.redis.below <= v {
            s.redis.below = 0;
        }
        if s.redis.awaited {
            if s.redis.ver <= v {
                s.redis.drop_record();
            }
        } else if self.0.settle_in_epoch && (old || self.incomplete(s)) {
            if s.redis.present && s.redis.ver <= v {
                s.redis.drop_record();
                self.leave_outbox(s);
            }
        } else if s.redis.present && (s.redis.ver == v || self.0.bug == Bug::BlindSettle) {
            s.redis.settled = true;
            self.leave_outbox(s);
        } else if self.0.settle_upto && s.redis.present && s.redis.ver < v {
            s.redis.drop_record();
            self.leave_outbox(s);
        }
    }
}
