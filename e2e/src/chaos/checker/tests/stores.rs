//! The rules about what stands in the stores.

use super::*;

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
