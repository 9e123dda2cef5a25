//! Hand-made histories: a good one that is clean, and for each rule one that breaks it and nothing else.

use std::time::Duration;

use crate::chaos::checker::{Rule, judge};
use crate::chaos::evidence::{Drain, Entry, Event, Evidence, Loss, Row, Sample};
use crate::chaos::journal::{Acknowledged, Content, NAME_MOST, Op, Seen, State, Written};

fn content(name: &str) -> Content {
    Content { name: name.to_owned(), age: 1, occupation: None }
}

fn put(id: &str, name: &str, begun: u64, version: u64) -> Written {
    written(id, Op::Put(content(name)), begun, &[(version, State::Logged)])
}

fn delete(id: &str, begun: u64, version: u64) -> Written {
    written(id, Op::Delete, begun, &[(version, State::Logged)])
}

fn written(id: &str, op: Op, begun: u64, told: &[(u64, State)]) -> Written {
    let acknowledged = told
        .iter()
        .map(|(version, state)| Acknowledged { version: *version, state: *state, checked: true, at: begun + 5 })
        .collect();
    Written {
        id: id.to_owned(),
        op,
        depends_on: None,
        keyed: false,
        begun,
        ended: begun + 5,
        acknowledged,
        indeterminate: false,
    }
}

fn unknown(id: &str, op: Op, begun: u64) -> Written {
    Written { indeterminate: true, ..written(id, op, begun, &[]) }
}

fn row(version: u64, name: Option<&str>) -> Row {
    Row { version, content: name.map(content) }
}

fn seen(begun: u64, found: Option<(u64, &str)>) -> Seen {
    let found = found.map(|(version, name)| (version, content(name)));
    Seen { id: "a".to_owned(), begun, ended: begun + 1, unchecked: false, found }
}

fn event_at(offset: i64, id: &str, version: u64) -> Event {
    Event { partition: 0, offset, id: id.to_owned(), version: Some(version), foreign: false }
}

/// `a` was put twice and read, `b` was put and deleted; everything has arrived.
fn good() -> Evidence {
    let mut evidence = Evidence::none();
    evidence.told.writes =
        vec![put("a", "one", 0, 16), put("a", "two", 10, 32), put("b", "bee", 0, 16), delete("b", 10, 48)];
    evidence.told.reads = vec![seen(6, Some((16, "one"))), seen(20, Some((32, "two")))];
    evidence.rows = [("a".to_owned(), row(32, Some("two"))), ("b".to_owned(), row(48, None))].into();
    let event = |offset, id: &str, version| event_at(offset, id, version);
    evidence.events = vec![event(0, "a", 16), event(1, "b", 16), event(2, "a", 32), event(3, "b", 48)];
    evidence.committed = [(0, 4)].into();
    let entry = |id: &str, row: &Row| Entry {
        id: id.to_owned(),
        version: row.version,
        content: row.content.clone(),
        state: State::Persisted,
        in_doubt: false,
    };
    evidence.cached = evidence.rows.iter().map(|(id, row)| entry(id, row)).collect();
    evidence.shown = [("a".to_owned(), Some((32, content("two")))), ("b".to_owned(), None)].into();
    evidence
}

/// Redis forgot everything.
fn all_of_it(at: u64) -> Loss {
    Loss { from: at, at, tail: None }
}

/// Of a write that the table refuses.
fn too_long() -> Content {
    content(&"x".repeat(NAME_MOST + 1))
}

/// The rules that are broken once `break_it` has changed the good history.
fn broken(break_it: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    let mut evidence = good();
    break_it(&mut evidence);
    let verdict = judge(&evidence);
    let mut rules: Vec<_> = verdict.told().map(|violation| violation.rule).collect();
    rules.dedup();
    rules
}

/// So that a test of one rule about the table does not meet the others about it.
fn only_the_table(evidence: &mut Evidence) {
    (evidence.events, evidence.cached) = (Vec::new(), Vec::new());
    (evidence.shown, evidence.committed) = (Default::default(), Default::default());
}

fn table(break_it: impl FnOnce(&mut Evidence)) -> Vec<Rule> {
    broken(|evidence| {
        only_the_table(evidence);
        break_it(evidence);
    })
}

#[test]
fn a_good_history_is_clean() {
    assert_eq!(broken(|_| {}), []);
    assert!(judge(&Evidence::none()).is_clean());
}

#[test]
fn what_was_acknowledged_must_be_there() {
    assert_eq!(table(|e| drop(e.rows.remove("a"))), [Rule::Lost]);
    assert_eq!(table(|e| drop(e.rows.insert("a".into(), row(16, Some("one"))))), [Rule::Lost]);
    assert_eq!(table(|e| drop(e.rows.remove("b"))), [Rule::Lost], "a tombstone is a row as well");
}

#[test]
fn what_is_still_in_the_topic_is_late_and_not_lost() {
    let behind = |committed: i64| {
        broken(move |e| {
            e.drain = Drain::NotWithin(Duration::from_secs(1), "lag".into());
            e.committed = [(0, committed)].into();
            e.rows.remove("a");
        })
    };
    assert_eq!(behind(2), [Rule::NotDrained]);
    assert_eq!(behind(3), [Rule::Lost, Rule::NotDrained], "its offset was committed");
}

#[test]
fn a_deleted_record_stays_deleted() {
    assert_eq!(table(|e| drop(e.rows.insert("b".into(), row(16, Some("bee"))))), [Rule::Resurrected]);
    assert_eq!(table(|e| drop(e.rows.insert("b".into(), row(48, Some("bee"))))), [Rule::Resurrected]);
}

#[test]
fn a_version_comes_with_its_own_content() {
    assert_eq!(table(|e| drop(e.rows.insert("a".into(), row(32, Some("one"))))), [Rule::Mixed]);
    assert_eq!(table(|e| drop(e.rows.insert("a".into(), row(32, None)))), [Rule::Mixed]);
}

#[test]
fn only_what_was_sent_and_not_refused_may_be_there() {
    assert_eq!(table(|e| drop(e.rows.insert("z".into(), row(16, Some("who?"))))), [Rule::Phantom]);
    assert_eq!(table(|e| drop(e.rows.insert("a".into(), row(64, Some("who?"))))), [Rule::Phantom]);
    let refused = |e: &mut Evidence| e.told.writes.push(written("z", Op::Put(content("no")), 0, &[]));
    assert_eq!(table(refused), []);
    assert_eq!(
        table(|e| {
            refused(e);
            e.rows.insert("z".into(), row(16, Some("no")));
        }),
        [Rule::Phantom]
    );
    assert_eq!(table(|e| drop(e.rows.insert("a".into(), row(64, Some("two"))))), [Rule::Phantom], "told was 32");
}

#[test]
fn a_write_without_an_answer_may_be_there_or_not() {
    let asked = |e: &mut Evidence| e.told.writes.push(unknown("a", Op::Put(content("three")), 20));
    assert_eq!(table(asked), []);
    assert_eq!(
        table(|e| {
            asked(e);
            e.rows.insert("a".into(), row(64, Some("three")));
        }),
        []
    );
    assert_eq!(
        table(|e| {
            asked(e);
            e.rows.insert("a".into(), row(24, Some("three")));
        }),
        [Rule::Lost],
        "it may not win over what was acknowledged"
    );
}

#[test]
fn cached_is_owed_unless_redis_forgot_it_before_the_topic_had_it() {
    let cached =
        |e: &mut Evidence| e.told.writes.push(written("c", Op::Put(content("c")), 100, &[(160, State::Cached)]));
    assert_eq!(table(cached), [Rule::Lost]);
    let after = |loss: Loss| {
        table(|e| {
            cached(e);
            e.losses.push(loss);
        })
    };
    assert_eq!(after(all_of_it(200)), []);
    assert_eq!(after(all_of_it(99)), [Rule::Lost], "it was written after the loss");
    assert_eq!(after(Loss { tail: Some(Duration::from_micros(95)), ..all_of_it(200) }), []);
    let older = Loss { tail: Some(Duration::from_micros(94)), ..all_of_it(200) };
    assert_eq!(after(older), [Rule::Lost], "it was older than that");
    assert_eq!(
        table(|e| {
            cached(e);
            e.losses.push(all_of_it(200));
            e.events.push(event_at(0, "c", 160));
        })[..1],
        [Rule::Lost],
        "the topic has it"
    );
    assert_eq!(
        table(|e| {
            e.told.writes.push(put("c", "c", 100, 160));
            e.losses.push(all_of_it(200));
        }),
        [Rule::Lost],
        "logged is owed whatever Redis forgets"
    );
}

#[test]
fn versions_rise_in_real_time() {
    assert_eq!(broken(|e| e.told.writes.push(put("a", "late", 30, 24))), [Rule::Order]);
    assert_eq!(broken(|e| e.told.writes.push(put("a", "beside", 12, 24))), [], "it began before the other's answer");
    assert!(broken(|e| e.told.writes.push(put("a", "same", 12, 32))).contains(&Rule::SharedVersion));
}

#[test]
fn readers_never_see_a_record_go_back() {
    assert_eq!(broken(|e| e.told.reads.push(seen(30, Some((16, "one"))))), [Rule::StaleRead]);
    assert_eq!(broken(|e| e.told.reads.push(seen(12, Some((16, "one"))))), [], "the newer one has no answer yet");
    assert_eq!(broken(|e| e.told.reads.push(seen(30, None))), [Rule::StaleRead]);
    assert_eq!(
        broken(|e| {
            e.told.writes.push(unknown("a", Op::Delete, 25));
            e.told.reads.push(seen(30, None));
        }),
        []
    );
    let meanwhile = |change: fn(&mut Evidence)| {
        broken(|e| {
            change(e);
            e.told.reads.push(seen(30, Some((16, "one"))));
        })
    };
    let unchecked = |e: &mut Evidence| e.told.reads.push(Seen { unchecked: true, ..seen(30, Some((16, "one"))) });
    assert_eq!(broken(unchecked), [], "the answer says so");
    assert_eq!(meanwhile(|e| e.losses.push(all_of_it(25))), [], "the cache forgot it");
    assert_eq!(meanwhile(|e| e.losses.push(all_of_it(32))), [Rule::StaleRead], "it forgot it later");
    assert_eq!(meanwhile(|e| e.losses.push(all_of_it(5))), [Rule::StaleRead], "it came later than that");
    let past_redis = |version| {
        broken(move |e| {
            e.told.writes.push(put("a", "past Redis", 22, version));
            e.rows.insert("a".into(), row(version, Some("past Redis")));
            only_the_table(e);
            e.told.reads.push(seen(30, Some((32, "two"))));
        })
    };
    assert_eq!(past_redis(67), [], "a write past Redis is not seen before it is settled");
    assert_eq!(past_redis(64), [Rule::StaleRead], "one by way of it is seen at once");
    assert_eq!(
        broken(|e| {
            e.told.writes.push(written("a", Op::Put(too_long()), 22, &[(64, State::Logged)]));
            e.told.reads.push(seen(30, Some((32, "two"))));
        }),
        [],
        "what the table refuses leaves the cache again"
    );
    let overwritten = |state| {
        broken(move |e| {
            only_the_table(e);
            e.told.writes.push(written("a", Op::Put(content("three")), 22, &[(64, state)]));
            e.told.writes.push(written("a", Op::Put(too_long()), 23, &[(80, State::Logged)]));
            e.told.reads.push(seen(30, Some((32, "two"))));
        })
    };
    assert_eq!(overwritten(State::Cached), [], "and takes with it what it has overwritten");
    assert_eq!(overwritten(State::Logged), [Rule::Lost, Rule::StaleRead]);
    assert_eq!(broken(|e| e.told.reads.push(seen(30, Some((64, "who?"))))), [Rule::Phantom]);
}

/// `x08`, and not a word more: the history of a read between a refused write and the next good one.
#[test]
fn what_a_refused_write_takes_with_it_was_only_cached_and_came_not_to_the_topic() {
    let between = |state, at: u64, topic: &'static [u64]| {
        broken(move |e| {
            e.told.writes.push(written("a", Op::Put(content("three")), 22, &[(64, state)]));
            e.told.writes.push(written("a", Op::Put(too_long()), 30, &[(80, State::Logged)]));
            e.told.writes.push(put("a", "four", 50, 96));
            e.told.reads.push(seen(at, Some((32, "two"))));
            e.rows.insert("a".into(), row(96, Some("four")));
            e.cached.clear();
            e.shown.insert("a".into(), Some((96, content("four"))));
            let events: Vec<_> = (4..).zip(topic).map(|(offset, version)| event_at(offset, "a", *version)).collect();
            e.committed = [(0, 4 + i64::try_from(events.len()).unwrap())].into();
            e.events.extend(events);
        })
    };
    let cached = State::Cached;
    assert_eq!(between(cached, 40, &[96]), [], "that a later one is in the topic says nothing of it");
    assert_eq!(between(cached, 28, &[96]), [Rule::StaleRead], "nothing had overwritten it yet");
    assert_eq!(between(cached, 40, &[64, 96]), [Rule::StaleRead], "it is in the topic");
    assert_eq!(between(cached, 40, &[72, 96]), [Rule::StaleRead], "so is what overwrote it first");
    assert_eq!(between(State::Logged, 40, &[96]), [Rule::StaleRead], "it was more than cached");
    assert_eq!(between(cached, 60, &[96]), [Rule::StaleRead], "the later one was acknowledged");
}

#[test]
fn one_key_has_one_version_as_long_as_redis_remembers_it() {
    let twice = |e: &mut Evidence| {
        let told = [(64, State::Logged), (80, State::Logged)];
        e.told.writes.push(Written { keyed: true, ..written("k", Op::Put(content("k")), 50, &told) });
        e.rows.insert("k".into(), row(80, Some("k")));
    };
    let after = |change: fn(&mut Evidence)| {
        broken(|e| {
            twice(e);
            change(e);
        })
    };
    assert_eq!(after(|_| {}), [Rule::SecondVersion]);
    assert_eq!(after(|e| e.told.writes[4].acknowledged[1].checked = false), [], "the answer said so");
    assert_eq!(after(|e| e.losses.push(all_of_it(55))), [], "Redis forgot the key");
    assert_eq!(after(|e| e.losses.push(all_of_it(49))), [Rule::SecondVersion], "it forgot others");
}

#[test]
fn a_conditional_write_loses_no_update() {
    let on = |depends_on| {
        move |e: &mut Evidence| {
            only_the_table(e);
            e.told.writes.push(Written { depends_on: Some(depends_on), ..put("a", "three", 20, 64) });
            e.rows.insert("a".into(), row(64, Some("three")));
        }
    };
    assert_eq!(broken(on(32)), []);
    assert_eq!(broken(on(16)), [Rule::LostUpdate]);
    let between = |write: Written| {
        broken(move |e| {
            e.told.reads.clear();
            e.told.writes.push(write);
            on(32)(e);
        })
    };
    let by = |version| written("a", Op::Put(content("between")), 12, &[(version, State::Logged)]);
    assert_eq!(between(by(48)), [Rule::LostUpdate]);
    assert_eq!(between(by(49)), [], "what was written past Redis is not seen");
    assert_eq!(between(Written { op: Op::Put(too_long()), ..by(48) }), [], "what the table refused is gone again");
}

#[test]
fn no_offset_passes_an_event_that_is_not_applied() {
    let sample = |committed, a, b| Sample {
        at: 30,
        committed: [(0, committed)].into(),
        table: [("a".to_owned(), a), ("b".to_owned(), b)].into(),
    };
    assert_eq!(broken(|e| e.samples.push(sample(3, 32, 16))), []);
    assert_eq!(broken(|e| e.samples.push(sample(3, 16, 16))), [Rule::OffsetPassed]);
    let letter = |sent| {
        broken(move |e| {
            (e.events[2].foreign, e.events[2].version) = (true, None);
            e.events.push(event_at(4, "a", 32));
            e.committed = [(0, 5)].into();
            e.dead.insert((0, 2), sent);
            e.noted.insert((0, 2));
            e.samples.push(sample(3, 16, 16));
        })
    };
    assert_eq!(letter(30), [], "a dead letter may be passed");
    assert_eq!(letter(31), [Rule::OffsetPassed], "but not before it was sent");
}

/// An event that nobody can read, behind all others.
fn stray(e: &mut Evidence) {
    e.committed = [(0, 5)].into();
    e.events.push(Event { version: None, foreign: true, ..event_at(4, "poison-1", 0) });
}

fn buried(e: &mut Evidence, offset: i64) {
    e.dead.insert((0, offset), 0);
    e.noted.insert((0, offset));
}

#[test]
fn every_event_is_applied_superseded_or_dead() {
    assert_eq!(broken(stray), [Rule::Unaccounted]);
    let dead = |change: fn(&mut Evidence)| {
        broken(|e| {
            stray(e);
            buried(e, 4);
            change(e);
        })
    };
    assert_eq!(dead(|_| {}), []);
    assert_eq!(dead(|e| e.noted.clear()), [Rule::Unaccounted], "nobody can be told of its fate");
    let superseded = |e: &mut Evidence| {
        e.noted.clear();
        (e.events[4].version, e.events[4].id) = (Some(15), "a".into());
        e.committed = [(0, 6)].into();
        e.events.push(event_at(5, "a", 32));
    };
    assert_eq!(dead(superseded), [], "it came again, and was superseded");
    assert_eq!(dead(|e| e.dead.clear()), [Rule::Unaccounted], "there is no letter");
    assert_eq!(broken(|e| e.committed = [(0, 3)].into()), [Rule::NotDrained]);
}

#[test]
fn a_dead_letter_is_one_for_a_reason() {
    assert_eq!(broken(|e| buried(e, 0)), [Rule::WronglyDead]);
    let refused = |e: &mut Evidence| {
        e.told.writes.push(written("c", Op::Put(too_long()), 50, &[(64, State::Logged)]));
        e.committed = [(0, 5)].into();
        e.events.push(event_at(4, "c", 64));
        buried(e, 4);
    };
    assert_eq!(broken(refused), [], "the table refuses it, and it is owed to nobody");
    assert_eq!(
        broken(|e| {
            refused(e);
            e.events[4].version = Some(80);
        }),
        [Rule::WronglyDead],
        "it is another version's"
    );
}

#[test]
fn cached_is_not_owed_under_a_write_that_the_table_refuses() {
    let under = |version, refused: bool| {
        table(move |e| {
            e.told.writes.push(written("c", Op::Put(content("c")), 50, &[(64, State::Cached)]));
            let op = Op::Put(if refused { too_long() } else { content("fine") });
            e.told.writes.push(written("c", op, 60, &[(version, State::Cached)]));
        })
    };
    assert_eq!(under(80, true), []);
    assert_eq!(under(48, true), [Rule::Lost, Rule::Order], "it is not on top");
    assert_eq!(under(80, false), [Rule::Lost]);
}

#[test]
fn behind_a_dead_letter_the_row_is_the_last_event() {
    let tail = |e: &mut Evidence| {
        e.committed = [(0, 5)].into();
        e.events.push(Event { foreign: true, ..event_at(4, "a", 79) });
        buried(e, 4);
    };
    assert_eq!(broken(tail), [Rule::TailDiffers]);
    assert_eq!(
        broken(|e| {
            tail(e);
            e.committed = [(0, 6)].into();
            e.events.push(event_at(5, "a", 32));
        }),
        []
    );
}

#[test]
fn the_content_of_a_lost_reply_may_have_two_versions() {
    let twice = |version| {
        table(move |e| {
            e.told.writes.push(put("c", "c", 50, 67));
            e.rows.insert("c".into(), row(67, Some("c")));
            e.told.reads.push(Seen { id: "c".into(), ..seen(52, Some((version, "c"))) });
        })
    };
    assert_eq!(twice(64), [], "its script ran, and its reply was lost");
    assert_eq!(twice(80), [Rule::Phantom], "that is above what was answered");
    assert_eq!(twice(65), [Rule::Phantom], "that is nobody's");
}

#[test]
fn the_last_event_of_a_record_is_its_row() {
    let inverted = |e: &mut Evidence| {
        e.committed = [(0, 5)].into();
        e.events.push(event_at(4, "a", 16));
    };
    assert_eq!(broken(inverted), [Rule::TailDiffers]);
}

#[test]
fn the_cache_is_settled_and_is_the_table() {
    let first = |change: fn(&mut Entry)| {
        broken(move |e| {
            e.cached.retain(|entry| entry.id == "a");
            e.cached.iter_mut().for_each(change);
        })
    };
    assert_eq!(first(|entry| entry.state = State::Logged), [Rule::CacheDiffers]);
    assert_eq!(first(|entry| entry.version = 16), [Rule::CacheDiffers]);
    assert_eq!(first(|entry| entry.content = None), [Rule::CacheDiffers]);
    assert_eq!(
        first(|entry| {
            entry.version = 16;
            entry.in_doubt = true;
        }),
        [],
        "what was settled in another life counts as absent"
    );
    assert_eq!(broken(|e| e.cached.iter_mut().for_each(|entry| entry.id = "z".into())), [Rule::CacheDiffers]);
}

#[test]
fn clients_are_shown_the_table() {
    assert_eq!(broken(|e| drop(e.shown.insert("a".into(), Some((16, content("one")))))), [Rule::ViewDiffers]);
    assert_eq!(broken(|e| drop(e.shown.insert("a".into(), None))), [Rule::ViewDiffers]);
    assert_eq!(broken(|e| drop(e.shown.insert("b".into(), Some((16, content("bee")))))), [Rule::ViewDiffers]);
}

#[test]
fn everything_drains_and_writes_go_on() {
    assert_eq!(broken(|e| e.waiting = (0, 1)), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.waiting = (1, 0)), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.drain = Drain::NotWithin(Duration::from_secs(1), "lag".into())), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.progress = None), [Rule::NoProgress]);
}
