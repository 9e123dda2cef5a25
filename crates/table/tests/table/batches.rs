//! Batches of every size, and two writers whose batches overlap.

use std::sync::Arc;

use futures_util::future::join;
use record::RecordId;
use service::FailureClass;
use table::{EntityTable, Incoming};

use crate::house::{House, Stored, THING, database, held, key, stamp};

#[tokio::test]
async fn a_batch_of_any_size_is_applied_and_read_back_whole() {
    let house = House::of(THING).await;
    // Around the sizes for which there are statements.
    for (round, rows) in [1, 4, 5, 6, 24, 25, 26, 499, 500, 501, 1300].into_iter().enumerate() {
        let row = |n: usize| house.put(&format!("{round}-{n}"), n as u64 + 1, n as i64, "x");
        // Not in the order of the ids.
        let batch: Vec<_> = (0..rows).rev().map(row).collect();
        let expected: Vec<_> = (0..rows).rev().map(|n| held(n as u64 + 1, n as i64, true)).collect();
        assert_eq!(house.apply(&batch).await, expected, "{rows} rows");
        let count = house.number(&format!("SELECT COUNT(*) FROM things WHERE id LIKE '{round}-%'")).await;
        assert_eq!(count, rows as i64);
        let again = house.apply(&batch).await;
        assert!(again.iter().all(|held| held.is_some_and(|held| !held.fresh)), "{rows} rows, a second time");
    }
}

const ROUNDS: u64 = 150;

/// Small steps in a fixed disorder, so that the two writers meet in different orders.
fn ids(seed: u64) -> Vec<RecordId> {
    (0..40)
        .map(|n| key(&((seed * 31 + n * 7919) % 60).to_string()))
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .collect()
}

async fn writer(house: &House, table: &EntityTable, seed: u64, step: u64) -> usize {
    let mut retries = 0;
    for round in 0..ROUNDS {
        let version = round * 2 + step;
        let name = format!("v{version}");
        let mut ids = ids(seed + round);
        if step == 1 {
            ids.reverse();
        }
        let row =
            |id| Incoming { record: Some(house.thing(&name, None)), id, ..house.put("x", version, version as i64, "") };
        let batch: Vec<_> = ids.into_iter().map(row).collect();
        while let Err(error) = table.apply(&batch, stamp()).await {
            assert_eq!(error.class(), FailureClass::Transient, "{error}");
            retries += 1;
            assert!(retries < 100, "two writers keep each other from ending");
        }
    }
    retries
}

#[tokio::test]
async fn two_writers_with_overlapping_batches_both_end_and_the_newest_wins() {
    let house = House::of(THING).await;
    let other = EntityTable::new(database(&house.accounts.persister), Arc::clone(&house.entity));
    let (first, second) = join(writer(&house, &house.table, 1, 1), writer(&house, &other, 2, 2)).await;
    // Locked in one order they never deadlock. Unsorted, or read back by a scan, they do in every tenth batch.
    assert!(first + second <= 2, "{first} + {second} tries were in vain: in which order are rows locked?");
    let mut newest = std::collections::BTreeMap::new();
    for (seed, step) in [(1, 1), (2, 2)] {
        for round in 0..ROUNDS {
            for id in ids(seed + round) {
                let version = newest.entry(id.as_str().to_owned()).or_insert(0);
                *version = (round * 2 + step).max(*version);
            }
        }
    }
    let row = |(id, version): (String, u64)| Stored::live(&id, &format!("v{version}"), version, version as i64);
    assert_eq!(house.rows().await, newest.into_iter().map(row).collect::<Vec<_>>());
}

/// R18's late rows among live ones: half of each batch is below the purge mark, another half for each writer, and of the late
/// ones some change their row and some do not.
#[tokio::test]
async fn r18_writers_whose_batches_are_late_in_part_lock_rows_in_the_order_of_their_ids() {
    let house = House::of(THING).await;
    let all: Vec<_> = (0..40).map(|n| house.put(&n.to_string(), 1, 0, "first")).collect();
    house.apply(&all).await;
    let mark = crate::house::at(1000).mark_below().unwrap();
    house.sql(&format!("UPDATE _write_behind_entities SET purged = {}", mark.get())).await;
    let write = async |table: EntityTable, late: usize| {
        let mut retries = 0;
        for round in 0..2 * ROUNDS {
            let version = |n: usize| if n % 2 == late { (round * 7 + n as u64) % 900 + 1 } else { 1000 + round };
            let batch: Vec<_> = (0..40).map(|n| house.put(&n.to_string(), version(n), round as i64, "x")).collect();
            while let Err(error) = table.apply(&batch, stamp()).await {
                assert_eq!(error.class(), FailureClass::Transient, "{error}");
                retries += 1;
                assert!(retries < 100, "two writers keep each other from ending");
            }
        }
        retries
    };
    let other = || EntityTable::new(database(&house.accounts.persister), Arc::clone(&house.entity));
    let (first, second) = join(write(other(), 0), write(other(), 1)).await;
    assert!(first + second <= 2, "{first} + {second} tries were in vain: in which order are rows locked?");
    let newest = 1000 + 2 * ROUNDS - 1;
    assert!(house.rows().await.iter().all(|row| row.version == 16 * newest), "{:?}", house.rows().await);
}
