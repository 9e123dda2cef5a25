//! The rules about what clients were told and shown.

use super::*;

#[test]
fn versions_rise_in_real_time() {
    assert_eq!(broken(|e| e.told.writes.push(put("a", "late", 30, 24))), [Rule::Order]);
    assert_eq!(broken(|e| e.told.writes.push(put("a", "beside", 12, 24))), [], "it began before the other's answer");
    assert!(broken(|e| e.told.writes.push(put("a", "same", 12, 32))).contains(&Rule::SharedVersion));
}

#[test]
fn nothing_older_than_was_asked_for_is_shown_whatever_vouches_for_it() {
    let asked = |least: u64| {
        move |e: &mut Evidence| {
            e.told.reads.push(Seen { unchecked: true, least: Some(least), ..seen(30, Some((16, "one"))) });
        }
    };
    assert_eq!(broken(asked(32)), [Rule::StaleRead]);
    assert_eq!(broken(asked(16)), []);
    let gone = |e: &mut Evidence| e.told.reads.push(Seen { unchecked: true, least: Some(32), ..seen(30, None) });
    assert_eq!(broken(gone), [Rule::StaleRead]);
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
