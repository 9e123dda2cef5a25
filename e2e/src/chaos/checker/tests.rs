//! Hand-made histories: a good one that is clean, and for each rule one that breaks it and nothing else.

mod clients;
mod stores;

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
    Seen { id: "a".to_owned(), begun, ended: begun + 1, unchecked: false, least: None, found }
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
fn everything_drains_and_writes_go_on() {
    assert_eq!(broken(|e| e.waiting = (0, 1)), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.waiting = (1, 0)), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.drain = Drain::NotWithin(Duration::from_secs(1), "lag".into())), [Rule::NotDrained]);
    assert_eq!(broken(|e| e.progress = None), [Rule::NoProgress]);
}
