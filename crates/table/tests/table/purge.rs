//! R18: what is not newer than the purge mark changes a row and makes none.

use futures_util::future::join;
use record::Version;
use sqlx::Executor;
use table::Held;

use crate::failures::{house_on, hurt};
use crate::house::{House, Stored, THING, at, delete, held, key};

/// The mark between versions 5 and 6, as a purge would leave it.
async fn purged() -> (House, Version) {
    let house = House::of(THING).await;
    let mark = at(6).mark_below().unwrap();
    house.sql(&format!("UPDATE _write_behind_entities SET purged = {} WHERE entity = 'things'", mark.get())).await;
    (house, mark)
}

#[tokio::test]
async fn an_event_below_the_mark_makes_no_row_and_the_mark_is_held() {
    let (house, mark) = purged().await;
    let of_mark = Some(Held { version: mark, offset: -1, fresh: false });
    let batch = [house.put("a", 5, 1, "late"), delete("b", 4, 2), house.put("c", 6, 3, "new")];
    assert_eq!(house.apply(&batch).await, [of_mark, of_mark, held(6, 3, true)]);
    assert_eq!(house.rows().await, [Stored::live("c", "new", 6, 3)], "a purged record came back");
}

#[tokio::test]
async fn an_event_below_the_mark_is_guarded_like_any_other_where_there_is_a_row() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 2, 2, "two"), house.put("b", 4, 4, "four"), house.put("c", 3, 3, "three")]).await;
    let mark = at(6).mark_below().unwrap();
    house.sql(&format!("UPDATE _write_behind_entities SET purged = {}", mark.get())).await;
    let batch = [house.put("a", 3, 7, "newer"), house.put("b", 3, 8, "older"), house.put("c", 3, 9, "three")];
    assert_eq!(house.apply(&batch).await, [held(3, 7, true), held(4, 4, false), held(3, 9, false)]);
    let rows = [Stored::live("a", "newer", 3, 7), Stored::live("b", "four", 4, 4), Stored::live("c", "three", 3, 9)];
    assert_eq!(house.rows().await, rows);
    house.apply(&[delete("a", 4, 10)]).await;
    assert_eq!(house.rows().await[0], Stored::tombstone("a", 4, 10));
}

#[tokio::test]
async fn an_event_at_the_mark_itself_makes_no_row() {
    let (house, mark) = purged().await;
    let at_mark = table::Incoming { version: mark, ..delete("a", 1, 1) };
    assert_eq!(house.apply(&[at_mark]).await, [Some(Held { version: mark, offset: -1, fresh: false })]);
    assert_eq!(house.rows().await, []);
}

#[tokio::test]
async fn the_mark_cannot_rise_while_a_batch_is_applied() {
    let server = hurt().await;
    let house = house_on(&server).await;
    // Somebody who raises the mark holds the row; a batch waits for it instead of reading around it.
    let mut purge = house.session().await;
    purge.execute("START TRANSACTION").await.unwrap();
    purge.execute("UPDATE _write_behind_entities SET purged = 16 * 9").await.unwrap();
    let batch = [house.put("a", 7, 1, "between")];
    let raising = async {
        house.until_a_lock_is_waited_for().await;
        purge.execute("COMMIT").await.unwrap();
    };
    let (applied, ()) = join(house.apply(&batch), raising).await;
    assert_eq!(
        applied,
        [Some(Held { version: at(9), offset: -1, fresh: false })],
        "an event slipped below the new mark"
    );
    assert_eq!(house.rows().await, []);
}

#[tokio::test]
async fn r18_the_mark_rises_never_falls_and_waits_for_a_batch_that_has_read_the_old_one() {
    let server = hurt().await;
    let house = house_on(&server).await;
    assert_eq!(house.table.purged().await.unwrap(), Version::ZERO);
    // A batch holds the mark in share mode until it is committed.
    let mut batch = house.session().await;
    batch.execute("START TRANSACTION").await.unwrap();
    batch
        .execute("SELECT purged FROM _write_behind_entities WHERE entity = 'things' LOCK IN SHARE MODE")
        .await
        .unwrap();
    let mark = at(6).mark_below().unwrap();
    let committing = async {
        house.until_a_lock_is_waited_for().await;
        assert_eq!(house.table.purged().await.unwrap(), Version::ZERO, "the mark rose under a batch that had read it");
        batch.execute("COMMIT").await.unwrap();
    };
    let (raised, ()) = join(house.table.raise_mark(mark), committing).await;
    assert_eq!(raised.unwrap(), mark);
    assert_eq!(house.table.raise_mark(at(2)).await.unwrap(), mark, "the answer is the mark in force");
    assert_eq!(house.table.purged().await.unwrap(), mark, "the mark fell");
    house.table.reset_mark().await.unwrap();
    assert_eq!(house.table.purged().await.unwrap(), Version::ZERO);
}

#[tokio::test]
async fn r18_a_purge_takes_tombstones_up_to_the_mark_and_nothing_else() {
    let house = House::of(THING).await;
    assert!(house.table.is_empty().await.unwrap());
    let rows: Vec<_> = (1..=9).map(|n| delete(&format!("gone{n}"), n, 1)).collect();
    house.apply(&rows).await;
    house.apply(&[house.put("live", 2, 1, "live"), house.put("a", 1, 1, "first")]).await;
    let mark = at(6).mark_below().unwrap();
    house.table.raise_mark(mark).await.unwrap();
    let (mut behind, mut counted, mut deleted, mut steps) = (String::new(), 0, 0, 0);
    loop {
        let count = house.table.count_chunk(&behind, mark, 4).await.unwrap();
        let chunk = house.table.purge_chunk(&behind, mark, 4).await.unwrap();
        assert_eq!(chunk, count, "what was counted is what was deleted");
        (counted, deleted) = (counted + count.deleted, deleted + chunk.deleted);
        let Some(last) = chunk.last else { break };
        (behind, steps) = (last, steps + 1);
    }
    assert_eq!((counted, deleted, steps), (5, 5, 3), "eleven rows are three steps of four");
    let left: Vec<String> = house.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(left, ["a", "gone6", "gone7", "gone8", "gone9", "live"]);
    assert!(!house.table.is_empty().await.unwrap());
}

/// A table that was rightly purged of everything must not look like one that somebody emptied.
#[tokio::test]
async fn r18_a_purge_never_takes_the_last_row_and_what_stays_goes_once_another_has_come() {
    let house = House::of(THING).await;
    let mark = at(9).mark_below().unwrap();
    house.table.raise_mark(mark).await.unwrap();
    let purge = async |most| {
        let (mut behind, mut deleted) = (String::new(), 0);
        loop {
            let chunk = house.table.purge_chunk(&behind, mark, most).await.unwrap();
            deleted += chunk.deleted;
            let Some(last) = chunk.last else { return deleted };
            behind = last;
        }
    };
    let left = async || house.rows().await.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let database = crate::house::database(&house.accounts.persister);
    assert!(database.is_emptied("things").await.unwrap(), "there never was a row");
    for most in [1, 2, 3, 4] {
        house.sql("UPDATE _write_behind_entities SET purged = 0").await;
        house.apply(&[delete("a", 1, 1), delete("b", 2, 2), delete("c", 3, 3)]).await;
        house.table.raise_mark(mark).await.unwrap();
        assert_eq!((purge(most).await, left().await), (2, vec!["c".to_owned()]), "in steps of {most}");
        assert!(!database.is_emptied("things").await.unwrap());
    }
    house.apply(&[house.put("d", 10, 4, "new")]).await;
    assert_eq!((purge(4).await, left().await), (1, vec!["d".to_owned()]));
}

/// Without FOR UPDATE, the answer would be the mark that this one knew, below the one in force.
#[tokio::test]
async fn r18_of_two_who_raise_the_mark_at_once_both_learn_of_the_higher_one() {
    let server = hurt().await;
    let house = house_on(&server).await;
    let mut other = house.session().await;
    other.execute("START TRANSACTION").await.unwrap();
    other.execute("UPDATE _write_behind_entities SET purged = 16 * 9 - 1").await.unwrap();
    let committing = async {
        house.until_a_lock_is_waited_for().await;
        other.execute("COMMIT").await.unwrap();
    };
    let (raised, ()) = join(house.table.raise_mark(at(6).mark_below().unwrap()), committing).await;
    assert_eq!(raised.unwrap(), at(9).mark_below().unwrap(), "the answer is not the mark in force");
}

/// d11, k14: the delete arrives first and is purged, then the put that it deleted.
#[tokio::test]
async fn d11_a_put_from_before_a_purged_delete_makes_no_row() {
    let house = House::of(THING).await;
    house.apply(&[delete("a", 3, 1), house.put("z", 1, 1, "stays")]).await;
    let mark = at(4).mark_below().unwrap();
    house.table.raise_mark(mark).await.unwrap();
    assert_eq!(house.table.purge_chunk("", mark, 100).await.unwrap().deleted, 1);
    let held = house.apply(&[house.put("a", 2, 2, "late")]).await;
    assert_eq!(held, [Some(Held { version: mark, offset: -1, fresh: false })]);
    assert_eq!(house.rows().await, [Stored::live("z", "stays", 1, 1)], "a deleted record came back");
}

#[tokio::test]
async fn a_tombstone_that_is_written_again_while_it_is_purged_stays() {
    let server = hurt().await;
    let house = house_on(&server).await;
    house.apply(&[delete("a", 3, 1), delete("b", 3, 1), house.put("z", 1, 1, "stays")]).await;
    let mark = at(4).mark_below().unwrap();
    let mut lane = house.session().await;
    lane.execute("START TRANSACTION").await.unwrap();
    lane.execute("UPDATE things SET deleted = FALSE, name = 'new', version = 16 * 5 WHERE id = 'a'").await.unwrap();
    let committing = async {
        house.until_a_lock_is_waited_for().await;
        lane.execute("COMMIT").await.unwrap();
    };
    let (purged, ()) = join(house.table.purge_chunk("", mark, 100), committing).await;
    assert_eq!(purged.unwrap().deleted, 1);
    let left: Vec<String> = house.rows().await.into_iter().map(|row| row.id).collect();
    assert_eq!(left, ["a", "z"], "a purge deleted a record that had just been written");
}

/// What the sweep settles by: R14's h, for many at once, by an account that may only read.
#[tokio::test]
async fn r11_the_sweep_is_told_of_rows_tombstones_and_where_there_is_no_row_the_mark() {
    let (house, mark) = purged().await;
    house.apply(&[house.put("a", 7, 1, "seven"), house.put("b", 7, 2, "seven"), delete("b", 8, 3)]).await;
    let many: Vec<_> = (0..620).map(|n| house.put(&format!("n{n}"), 9 + n, 4, "many")).collect();
    house.apply(&many).await;
    let reading =
        table::EntityTable::new(crate::house::database(&house.accounts.ingest), std::sync::Arc::clone(&house.entity));
    let ids = ["a", "nobody", "b"].map(key);
    assert_eq!(reading.held(&ids).await.unwrap(), [at(7), mark, at(8)]);
    let all: Vec<_> = many.iter().map(|row| row.id.clone()).collect();
    let versions: Vec<_> = many.iter().map(|row| row.version).collect();
    assert_eq!(reading.held(&all).await.unwrap(), versions, "in their order, whatever the statements are cut into");
    assert!(reading.held(&[]).await.unwrap().is_empty());
}
