//! When dead letters are too many to be single bad events (DESIGN G8): then something else is wrong, and the lane stops
//! instead of emptying its topic. Pure.

use std::collections::VecDeque;

use table::Accepted;
use topic::Envelope;

/// How many of a partition's events may be dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Of so many last events,
    pub(crate) window: usize,
    /// so many of a hundred,
    pub(crate) percent: usize,
    /// but at least so many,
    pub(crate) least: usize,
    /// and so many one behind the other.
    pub(crate) in_a_row: usize,
}

/// A partition's last events: which were dead letters.
#[derive(Clone, Debug)]
struct Brake {
    allowed: Allowance,
    /// `true` for a dead letter.
    last: VecDeque<bool>,
    dead: usize,
    in_a_row: usize,
}

impl Brake {
    /// Nothing has come yet.
    fn new(allowed: Allowance) -> Self {
        Self { allowed, last: VecDeque::new(), dead: 0, in_a_row: 0 }
    }

    /// An event was applied or superseded.
    fn passed(&mut self) {
        self.count(false);
    }

    /// An event is to be a dead letter. `false`: it is one too many, and is not counted.
    fn admits(&mut self) -> bool {
        let of = (self.last.len() + 1).min(self.allowed.window);
        let most = self.allowed.least.max(of * self.allowed.percent / 100);
        // The oldest makes room for this one.
        let leaves = self.last.len() >= self.allowed.window && self.last.front() == Some(&true);
        let admitted = self.dead - usize::from(leaves) < most && self.in_a_row < self.allowed.in_a_row;
        if admitted {
            self.count(true);
        }
        admitted
    }

    /// What was counted says nothing any more.
    fn release(&mut self) {
        *self = Self::new(self.allowed);
    }

    fn count(&mut self, dead: bool) {
        if self.last.len() >= self.allowed.window {
            self.dead -= usize::from(self.last.pop_front() == Some(true));
        }
        self.last.push_back(dead);
        self.dead += usize::from(dead);
        self.in_a_row = if dead { self.in_a_row + 1 } else { 0 };
    }
}

/// What is to become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is applied or superseded.
    Passes,
    /// It is to be a dead letter.
    Dead,
    /// It is one already, and comes again: it was counted.
    Noted,
    /// It is superseded by the purge mark, and is to be answered with a tombstone (R18).
    Late,
}

/// Where an event stands: at which offset, and since when, in milliseconds by the broker's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    offset: i64,
    appended: i64,
}

impl From<&Envelope> for Place {
    fn from(envelope: &Envelope) -> Self {
        Self { offset: envelope.offset, appended: envelope.appended }
    }
}

/// The brakes of a partition. They outlive its lanes: members that pass it to and fro must not empty it by and by.
#[derive(Clone, Debug)]
pub(crate) struct Brakes {
    dead: Brake,
    late: Brake,
    /// What an operator has let go of both.
    accepted: Option<Accepted>,
}

impl Brakes {
    /// Nothing has come yet.
    pub(crate) fn new(dead: Allowance, late: Allowance) -> Self {
        Self { dead: Brake::new(dead), late: Brake::new(late), accepted: None }
    }

    /// G8: the first of these events of a part, each with its place, that may not pass. Only a part that passes whole is
    /// counted.
    pub(crate) fn stopped(&mut self, part: impl IntoIterator<Item = (Place, Fate)>) -> Option<usize> {
        let mut after = self.clone();
        let at = part.into_iter().position(|(place, fate)| !after.admits(place, fate));
        if at.is_none() {
            *self = after;
        }
        at
    }

    fn admits(&mut self, place: Place, fate: Fate) -> bool {
        let accepted = self.is_accepted(place);
        match fate {
            Fate::Dead if !accepted && !self.dead.admits() => return false,
            Fate::Dead | Fate::Noted => {}
            Fate::Passes | Fate::Late => self.dead.passed(),
        }
        match fate {
            Fate::Late if !accepted && !self.late.admits() => return false,
            Fate::Late => {}
            Fate::Passes | Fate::Dead | Fate::Noted => self.late.passed(),
        }
        true
    }

    /// What an operator accepts, if he has said anything. Says whether the event at `place` is among it.
    pub(crate) fn accept(&mut self, accepted: Option<Accepted>, place: Place) -> bool {
        self.accepted = accepted.or(self.accepted);
        self.is_accepted(place)
    }

    fn is_accepted(&self, place: Place) -> bool {
        self.accepted.is_some_and(|accepted| accepted.covers(place.offset, place.appended))
    }

    /// The event that was stopped is applied by now: whatever was wrong is mended.
    pub(crate) fn release(&mut self) {
        self.dead.release();
        self.late.release();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALLOWED: Allowance = Allowance { window: 1000, percent: 5, least: 10, in_a_row: 20 };

    /// How many of these events in turn are admitted as dead letters before the first that is not.
    fn admitted(brake: &mut Brake, events: impl IntoIterator<Item = bool>) -> Option<usize> {
        events
            .into_iter()
            .enumerate()
            .find(|(_, dead)| {
                if *dead {
                    return !brake.admits();
                }
                brake.passed();
                false
            })
            .map(|(at, _)| at)
    }

    #[test]
    fn g8_a_topic_of_nothing_but_poison_stops_at_the_least_number() {
        assert_eq!(admitted(&mut Brake::new(ALLOWED), [true; 100]), Some(10));
    }

    #[test]
    fn g8_one_in_a_thousand_never_stops_and_one_in_ten_does() {
        let every = |n: usize| (0..200_000).map(move |event| event % n == n - 1);
        assert_eq!(admitted(&mut Brake::new(ALLOWED), every(1000)), None);
        assert_eq!(admitted(&mut Brake::new(ALLOWED), every(20)), None, "5 % is allowed");
        assert!(admitted(&mut Brake::new(ALLOWED), every(10)).is_some());
    }

    #[derive(clap::Parser)]
    struct Defaults {
        #[command(flatten)]
        brake: crate::settings::BrakeSettings,
    }

    /// What GUARANTEES and the page of settings promise of a lane that nobody has set up otherwise.
    #[test]
    fn g8_the_defaults_are_1_in_a_hundred_of_the_last_thousand_and_10_at_least() {
        let Defaults { brake } = clap::Parser::parse_from(["persister"]);
        for allowed in [brake.dead(), brake.late()] {
            let admitted = |events: &[bool]| admitted(&mut Brake::new(allowed), events.iter().copied());
            let every = |n: usize| (1..=20_000).map(|event| event % n == 0).collect::<Vec<_>>();
            assert_eq!(admitted(&every(100)), None, "1 in a hundred, for ever");
            assert_eq!(admitted(&every(90)), Some(989), "the eleventh of a thousand");
            assert_eq!(admitted(&[true; 100]), Some(10), "ten, however few the events");
            // Ten at the beginning; the next when the first of them is just one of the last thousand, and then not any more.
            let then =
                |at: usize| (0..=at).map(|event| event == at || (event < 20 && event % 2 == 0)).collect::<Vec<_>>();
            assert_eq!((admitted(&then(999)), admitted(&then(1000))), (Some(999), None), "of the last thousand");
        }
    }

    proptest! {
        #[test]
        fn g8_never_are_more_dead_than_allowed_in_any_window(
            events in proptest::collection::vec(any::<bool>(), 0..400),
            window in 1usize..60, percent in 0usize..100, least in 1usize..8, in_a_row in 1usize..8,
        ) {
            let allowed = Allowance { window, percent, least, in_a_row };
            let mut brake = Brake::new(allowed);
            let mut passed = Vec::new();
            for dead in events {
                if dead && !brake.admits() {
                    // It stops only where one more would be too many.
                    let recent = passed.iter().rev().take(window - 1).filter(|dead| **dead).count() + 1;
                    let of = (passed.len() + 1).min(window);
                    let row = passed.iter().rev().take_while(|dead| **dead).count();
                    prop_assert!(recent > least.max(of * percent / 100) || row >= in_a_row, "stopped too early");
                    continue;
                }
                if !dead {
                    brake.passed();
                }
                passed.push(dead);
                let recent = passed.iter().rev().take(window).filter(|dead| **dead).count();
                let of = passed.len().min(window);
                prop_assert!(!dead || recent <= least.max(of * percent / 100), "one too many");
                prop_assert!(passed.iter().rev().take_while(|dead| **dead).count() <= in_a_row);
            }
        }
    }

    /// Taken by the broker in the second that an operator spoke of.
    fn at(offset: i64) -> Place {
        Place { offset, appended: 1000 }
    }

    #[test]
    fn g8_a_part_that_is_stopped_counts_nothing_and_what_is_noted_or_accepted_counts_not_at_all() {
        let least = Allowance { window: 100, percent: 0, least: 2, in_a_row: 100 };
        let mut brakes = Brakes::new(least, least);
        let mut stopped = |fates: &[Fate]| brakes.stopped((0..).map(at).zip(fates.iter().copied()));
        for _ in 0..3 {
            assert_eq!(stopped(&[Fate::Dead, Fate::Noted, Fate::Dead, Fate::Passes, Fate::Dead]), Some(4));
            assert_eq!(stopped(&[Fate::Late, Fate::Late, Fate::Late]), Some(2));
        }
        assert_eq!(stopped(&[Fate::Dead, Fate::Noted, Fate::Dead, Fate::Noted, Fate::Late, Fate::Late]), None);
        assert_eq!(stopped(&[Fate::Noted, Fate::Dead]), Some(1), "two have passed");
        assert_eq!(stopped(&[Fate::Passes, Fate::Late]), Some(1), "each kind has its own count");
        let until = |until| Some(Accepted { until, said_at: 1_000_999 });
        assert!(!brakes.accept(until(0), at(1)) && brakes.accept(until(1), at(1)));
        let dead = |from: i64| (from..from + 2).map(|offset| (at(offset), Fate::Dead));
        assert_eq!(brakes.stopped(dead(0)), None, "an operator lets them go");
        assert_eq!(brakes.stopped(dead(1)), Some(1), "up to there and no further");
        assert!(brakes.accept(None, at(1)), "what was accepted stays so");
        let anew = Place { offset: 1, appended: 1001 };
        assert!(!brakes.accept(None, anew), "it came after that was said: another topic's, perhaps, of the same name");
        brakes.release();
        assert_eq!(brakes.stopped(dead(2)), None);
    }
}
