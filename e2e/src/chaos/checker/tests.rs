//! Hand-made histories: a good one that is clean, and for each rule one that breaks it and nothing else.

use std::time::Duration;

use crate::chaos::checker::{Rule, judge};
use crate::chaos::evidence::{Drain, Entry, Event, Evidence, Loss, Row, Sample};
use crate::chaos::journal::{Acknowledged, Content, Op, Seen, State, Written};

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
    let acknowledged =
        told.iter().map(|(version, state)| Acknowledged { version: *version, state: *state, at: begun + 5 }).collect();
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
    Seen { id: "a".to_owned(), begun, ended: begun + 1, found }
}

/// `a` was put twice and read, `b` was put and deleted; everything has arrived.
fn good() -> Evidence {
    let mut evidence = Evidence::none();
    evidence.told.writes =
        vec![put("a", "one", 0, 16), put("a", "two", 10, 32), put("b", "bee", 0, 16), delete("b", 10, 48)];
    evidence.told.reads = vec![seen(6, Some((16, "one"))), seen(20, Some((32, "two")))];
    evidence.rows = [("a".to_owned(), row(32, Some("two"))), ("b".to_owned(), row(48, None))].into();
    let event = |offset, id: &str, version| Event { partition: 0, offset, id: id.to_owned(), version: Some(version) };
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
    assert_eq!(after(Loss { at: 200, tail: None }), []);
    assert_eq!(after(Loss { at: 104, tail: None }), [Rule::Lost], "it was written after the loss");
    assert_eq!(after(Loss { at: 200, tail: Some(Duration::from_micros(95)) }), []);
    assert_eq!(after(Loss { at: 200, tail: Some(Duration::from_micros(94)) }), [Rule::Lost], "it was older than that");
    assert_eq!(
        table(|e| {
            cached(e);
            e.losses.push(Loss { at: 200, tail: None });
            e.events.push(Event { partition: 0, offset: 0, id: "c".into(), version: Some(160) });
        })[..1],
        [Rule::Lost],
        "the topic has it"
    );
    assert_eq!(
        table(|e| {
            e.told.writes.push(put("c", "c", 100, 160));
            e.losses.push(Loss { at: 200, tail: None });
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
    assert_eq!(
        broken(|e| {
            e.disturbed = Some(25);
            e.told.reads.push(seen(30, Some((16, "one"))));
        }),
        [],
        "an away write is not seen before it is settled"
    );
    let after_a_start = |until| {
        broken(move |e| {
            e.blind.push((25, until));
            e.told.reads.push(seen(30, Some((16, "one"))));
        })
    };
    assert_eq!(after_a_start(30), [], "ingest had just started");
    assert_eq!(after_a_start(29), [Rule::StaleRead], "it had met Redis by then");
    assert_eq!(broken(|e| e.told.reads.push(seen(30, Some((64, "who?"))))), [Rule::Phantom]);
}

#[test]
fn one_key_has_one_version_as_long_as_redis_remembers_it() {
    let twice = |e: &mut Evidence| {
        let told = [(64, State::Logged), (80, State::Logged)];
        e.told.writes.push(Written { keyed: true, ..written("k", Op::Put(content("k")), 50, &told) });
        e.rows.insert("k".into(), row(80, Some("k")));
    };
    assert_eq!(broken(twice), [Rule::SecondVersion]);
    assert_eq!(
        broken(|e| {
            twice(e);
            e.disturbed = Some(52);
        }),
        []
    );
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
    assert_eq!(
        broken(|e| {
            e.dead.insert((0, 2));
            e.samples.push(sample(3, 16, 16));
        }),
        [],
        "a dead letter may be passed"
    );
}

#[test]
fn every_event_is_applied_superseded_or_dead() {
    let stray = |e: &mut Evidence| {
        e.committed = [(0, 5)].into();
        e.events.push(Event { partition: 0, offset: 4, id: "poison-1".into(), version: None });
    };
    assert_eq!(broken(stray), [Rule::Unaccounted]);
    assert_eq!(
        broken(|e| {
            stray(e);
            e.dead.insert((0, 4));
        }),
        []
    );
    assert_eq!(broken(|e| e.committed = [(0, 3)].into()), [Rule::NotDrained]);
}

#[test]
fn the_last_event_of_a_record_is_its_row() {
    let inverted = |e: &mut Evidence| {
        e.committed = [(0, 5)].into();
        e.events.push(Event { partition: 0, offset: 4, id: "a".into(), version: Some(16) });
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
