//! Any permutation, duplication and splitting into batches of the same events gives the same table (G2, G3).

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use table::Incoming;

use crate::house::{House, Stored, THING, at, key, runtime};

/// One event; its place in the list is its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Happened {
    id: usize,
    version: u64,
    offset: i64,
}

/// What a version says is decided by the version, as in the log: every third is a delete.
impl Happened {
    fn row(self, case: u32) -> Stored {
        let id = format!("{case}-{}", self.id);
        match self.version % 3 {
            0 => Stored::tombstone(&id, self.version, self.offset),
            _ => Stored::live(&id, &format!("v{}", self.version), self.version, self.offset),
        }
    }
}

/// The model: the newest version of each id, and the highest offset that carried it.
fn outcome(events: &[Happened], case: u32) -> Vec<Stored> {
    let mut newest: BTreeMap<usize, Happened> = BTreeMap::new();
    for event in events {
        let held = newest.entry(event.id).or_insert(*event);
        if (event.version, event.offset) > (held.version, held.offset) {
            *held = *event;
        }
    }
    newest.into_values().map(|event| event.row(case)).collect()
}

/// As a lane does it: of each id the newest version, with the highest offset that carried it.
fn batch(house: &House, events: &[Happened], case: u32) -> Vec<Incoming<'static>> {
    let row = |row: Stored| Incoming {
        id: key(&row.id),
        version: at(row.version / 16),
        offset: row.offset,
        record: row.name.map(|name| house.thing(&name, None)),
    };
    outcome(events, case).into_iter().map(row).collect()
}

/// Events, the same ones shuffled with some of them twice, and where to cut.
fn histories() -> impl Strategy<Value = (Vec<Happened>, Vec<Happened>, Vec<usize>)> {
    proptest::collection::vec((0..4_usize, 1..7_u64), 1..24).prop_flat_map(|drawn| {
        let events: Vec<_> = (0..).zip(drawn).map(|(offset, (id, version))| Happened { id, version, offset }).collect();
        let twice = proptest::sample::subsequence(events.clone(), 0..=events.len());
        let all = events.clone();
        let shuffled = twice.prop_flat_map(move |twice| Just([all.clone(), twice].concat()).prop_shuffle());
        (Just(events), shuffled, proptest::collection::vec(1..6_usize, 1..48))
    })
}

#[test]
fn any_order_duplication_and_splitting_gives_the_same_table() {
    let runtime = runtime();
    let house = runtime.block_on(House::of(THING));
    let mut case = 0;
    let case = std::cell::RefCell::new(&mut case);
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let result = runner.run(&histories(), |(events, arriving, cuts)| {
        // Ids of its own for every case: the table is the same.
        let number = {
            let mut case = case.borrow_mut();
            **case += 1;
            **case
        };
        let rows = runtime.block_on(async {
            let (mut rest, mut cuts) = (arriving.as_slice(), cuts.iter().cycle());
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                house.apply(&batch(&house, now, number)).await;
                rest = later;
            }
            house.rows().await
        });
        let own: Vec<_> = rows.into_iter().filter(|row| row.id.starts_with(&format!("{number}-"))).collect();
        prop_assert_eq!(own, outcome(&events, number));
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
