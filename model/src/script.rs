//! The write script, the versions that are made without it, and the clocks of both.
use crate::protocol::{Clock, Protocol};
use crate::rules::{Hit, Lost, Raise, Scheme};
use crate::world::*;

impl Protocol {
    pub(crate) fn clocks(&self, s: &World, cost: u8, out: &mut Vec<Clock>) {
        out.push(Clock::Fresh);
        if self.0.scheme == Scheme::Time && s.left.skew >= cost {
            out.push(Clock::Tie);
            out.push(Clock::Back);
        }
        if self.0.scheme == Scheme::Time && s.left.skew > 0 && !self.0.clocks_agree {
            out.push(Clock::Ahead);
        }
    }

    pub(crate) fn read_clock(s: &mut World, c: Clock, cost: u8) -> u8 {
        match c {
            Clock::Fresh => {
                s.t += STRIDE;
                s.t
            }
            Clock::Tie => {
                s.left.skew -= cost;
                s.t
            }
            Clock::Back => {
                s.left.skew -= cost;
                s.t - 5
            }
            Clock::Ahead => {
                s.left.skew -= 1;
                s.t += STRIDE;
                s.t + 3 * STRIDE
            }
        }
    }

    pub(crate) fn skew_cost(&self) -> u8 {
        if self.0.hint_clock {
            2
        } else {
            1
        }
    }

    /// May this request talk to Redis now?
    pub(crate) fn redis_ready(&self, s: &World, i: u8) -> bool {
        if self.0.epoch && s.new_redis {
            return false;
        }
        match self.0.raise {
            Raise::Never => true,
            Raise::OnReconnect => s.redis.last != 0 && !s.must_raise[i as usize % 2],
        }
    }

    /// The write script: version, record, idempotency key and outbox entry, all or nothing.
    pub(crate) fn script(&self, s: &mut World, i: u8, c: Clock) {
        let r = &self.0;
        let p = i as usize % 2;
        s.before = s.redis;
        if self.keyed(i) && r.idem && s.redis.idem > 0 {
            let first = s.redis.idem - 1;
            s.ops[i as usize].event = first;
            s.ops[i as usize].ver = Self::idem_version(s);
            let known_logged = if r.record_is_outbox { s.redis.idem_logged } else { s.redis.outbox >> first & 1 == 0 };
            s.ops[i as usize].ph = if known_logged { Ph::Appended } else { self.hit(s, s.ops[i as usize].ver) };
            return;
        }
        let seen = if s.redis.present { s.redis.ver } else { s.row[0].ver };
        if self.kind(i) == Kind::Cond && seen != s.ops[i as usize].expect {
            s.ops[i as usize].ph = Ph::Dead; // 412
            return;
        }
        let mut v = match r.scheme {
            Scheme::Time if self.timed() => (s.t + s.clocks[REDIS]).max(s.ops[i as usize].mine),
            Scheme::Time => Self::read_clock(s, c, self.skew_cost()),
            Scheme::Offset => 0,
        };
        if s.redis.present {
            v = v.max(s.redis.ver + 1);
        }
        if r.last_key {
            v = v.max(s.redis.last + 1);
        }
        if r.hint {
            v = v.max(s.hlc[p] + 1);
        }
        if r.node_bits && r.scheme == Scheme::Time {
            v = (v + 3) & !3;
        }
        if self.kind(i) == Kind::Cond && r.scheme == Scheme::Offset {
            v = seen + 1; // nothing can come between the version that matched and its successor
        }
        s.redis.last = s.redis.last.max(v);
        s.redis.below = if r.dead_awaits && s.redis.present && !s.redis.settled { s.redis.ver } else { 0 };
        s.redis.awaited = false;
        s.redis.present = true;
        s.redis.ver = v;
        s.redis.op = i;
        s.redis.settled = false;
        s.redis.outbox = if r.record_is_outbox { 0 } else { s.redis.outbox } | 1 << i;
        s.redis.lease = false;
        if self.keyed(i) {
            s.redis.idem = i + 1;
            s.redis.idem_logged = false;
        }
        s.hlc[p] = s.hlc[p].max(v);
        let o = &mut s.ops[i as usize];
        o.ver = v;
        o.event = i;
        o.ph = Ph::Scripted;
    }

    /// The key is there, and does not know of its version that the topic has it.
    fn hit(&self, s: &World, v: u8) -> Ph {
        let Redis { ver, settled, outbox, .. } = s.redis;
        let present = s.redis.present && !s.redis.awaited;
        let waits = present && if self.0.record_is_outbox { outbox != 0 } else { ver == v };
        match self.0.hit {
            _ if waits && ver == v => Ph::Scripted,
            _ if present && (ver == v || ver > v && settled) => Ph::Appended,
            Hit::Believed if waits => Ph::Scripted,
            Hit::Believed => Ph::Appended,
            Hit::Produced => Ph::Versioned,
        }
    }

    /// The script runs and its handler does not know.
    pub(crate) fn stray(&self, s: &mut World, i: u8, c: Clock) {
        let (op, hlc) = (s.ops[i as usize], s.hlc);
        self.script(s, i, c);
        let ran = s.ops[i as usize];
        s.ops[i as usize] = op;
        s.hlc = hlc;
        if ran.ph == Ph::Scripted && ran.event == i {
            s.ops[i as usize].stray = ran.ver;
        }
    }

    /// The version that the idempotency key holds.
    pub(crate) fn idem_version(s: &World) -> u8 {
        let first = &s.ops[s.redis.idem as usize - 1];
        if first.stray > 0 {
            first.stray
        } else {
            first.ver
        }
    }

    /// The reply will not come.
    pub(crate) fn lose(&self, s: &mut World, i: u8) {
        s.left.lost -= 1;
        let unknown = match self.0.lost {
            Lost::Away => self.kind(i) == Kind::Cond,
            Lost::AwayUnlessKeyed => self.kind(i) == Kind::Cond || self.keyed(i),
            Lost::Unknown => true,
        };
        let o = &mut s.ops[i as usize];
        o.ph = if unknown { Ph::Dead } else { Ph::Unanswered };
        if unknown {
            o.at = 0;
            o.floor = 0;
        }
    }

    /// A version without Redis: by the extrapolated clock, D added.
    pub(crate) fn away(&self, s: &mut World, i: u8, c: Clock) {
        let p = i as usize % 2;
        let mut v = if self.timed() {
            s.ops[i as usize].at = s.t;
            s.t + TICK + if self.clock_agrees(s, p) { s.clocks[p] } else { s.met }
        } else {
            Self::read_clock(s, c, 1)
        };
        if self.0.hint {
            v = v.max(s.hlc[p] + 1);
        }
        if self.0.node_bits {
            v = (v & !3) + 1 + p as u8;
            if v <= s.hlc[p] {
                v += 4;
            }
        }
        s.ops[i as usize].ver = v;
        s.hlc[p] = s.hlc[p].max(v);
    }

    // ---- real time ----

    pub(crate) fn send(s: &mut World, i: u8) {
        let mine = s.t + s.clocks[i as usize % 2];
        let o = &mut s.ops[i as usize];
        o.ph = Ph::Sent;
        o.mine = mine;
        o.at = s.t;
        o.under_way = true;
    }

    /// The script checks the clocks and runs; its handler may be elsewhere by now.
    pub(crate) fn run(&self, s: &mut World, i: u8) {
        let now = s.t + s.clocks[REDIS];
        let o = &mut s.ops[i as usize];
        let (waiting, mine) = (o.ph == Ph::Sent, o.mine);
        o.under_way = false;
        if waiting {
            o.at = 0;
        }
        let skew = self.0.skew && mine > now + TICK;
        if skew || self.0.late.is_some_and(|most| now > mine + most) {
            if waiting {
                o.ph = if skew { Ph::Dead } else { Ph::Started };
            }
        } else if waiting {
            self.script(s, i, Clock::Fresh);
        } else {
            s.ran_late |= !matches!(o.ph, Ph::Unanswered | Ph::Dead);
            self.stray(s, i, Clock::Fresh);
        }
        s.ops[i as usize].mine = 0;
    }

    /// Long enough after a changed Redis.
    pub(crate) fn calm(&self, s: &World) -> bool {
        !self.0.wait_after_loss || s.changed == 0 || s.t - s.changed >= TIMEOUT
    }

    fn clock_agrees(&self, s: &World, p: usize) -> bool {
        s.clocks[p].abs_diff(s.met) <= TICK
    }

    /// May this request take a version without Redis now?
    pub(crate) fn may_go_away(&self, s: &World, i: u8) -> bool {
        !self.timed() || self.calm(s) && (!self.0.away_clock || self.clock_agrees(s, i as usize % 2))
    }

    pub(crate) fn commit_waited(&self, s: &World, i: u8) -> bool {
        let at = s.ops[i as usize].at;
        at == 0 || self.0.commit_wait.is_none_or(|most| s.t - at > most)
    }

    /// A script that was sent to a Redis that is gone finds another epoch; the new one's clock may be behind.
    pub(crate) fn changed_redis(s: &mut World) {
        s.clocks[REDIS] = 0;
        for o in &mut s.ops {
            o.under_way = false;
            o.mine = 0;
            if o.ph == Ph::Sent {
                o.ph = Ph::Started;
                o.at = 0;
            }
        }
    }
}
