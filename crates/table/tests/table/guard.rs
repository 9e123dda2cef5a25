//! R13: newest version wins, whatever order events come in, and the read-back says what the table holds then.

use crate::house::{House, Stored, THING, delete, held, stamp};

#[tokio::test]
async fn a_newer_version_replaces_every_column() {
    let house = House::of(THING).await;
    assert_eq!(house.apply(&[house.put("a", 1, 7, "old")]).await, [held(1, 7, true)]);
    assert_eq!(house.apply(&[house.put("a", 2, 9, "new")]).await, [held(2, 9, true)]);
    assert_eq!(house.rows().await, [Stored::live("a", "new", 2, 9)]);
}

#[tokio::test]
async fn an_older_version_changes_nothing_not_even_the_offset() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 2, 5, "new")]).await;
    let touched = "SELECT CAST(UNIX_TIMESTAMP(updated_at) * 1000000 AS SIGNED) FROM things";
    let updated_at = house.number(touched).await;
    assert_eq!(house.apply(&[house.put("a", 1, 9, "old")]).await, [held(2, 5, false)]);
    assert_eq!(house.apply(&[delete("a", 1, 10)]).await, [held(2, 5, false)]);
    assert_eq!(house.rows().await, [Stored::live("a", "new", 2, 5)]);
    assert_eq!(house.number(touched).await, updated_at, "the row was touched");
}

#[tokio::test]
async fn an_equal_version_raises_the_offset_and_nothing_else() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 2, 5, "same")]).await;
    assert_eq!(house.apply(&[house.put("a", 2, 8, "same")]).await, [held(2, 8, false)]);
    assert_eq!(house.apply(&[house.put("a", 2, 6, "same")]).await, [held(2, 8, false)], "an offset went back");
    assert_eq!(house.rows().await, [Stored::live("a", "same", 2, 8)]);
}

#[tokio::test]
async fn a_newer_version_brings_its_own_offset_even_a_lower_one() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 9, "old")]).await;
    assert_eq!(house.apply(&[house.put("a", 2, 4, "new")]).await, [held(2, 4, true)]);
}

#[tokio::test]
async fn a_delete_leaves_a_row_without_fields_that_only_a_newer_version_fills() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 1, "old")]).await;
    assert_eq!(house.apply(&[delete("a", 3, 3)]).await, [held(3, 3, true)]);
    assert_eq!(house.rows().await, [Stored::tombstone("a", 3, 3)]);
    house.apply(&[house.put("a", 2, 4, "late")]).await;
    assert_eq!(house.rows().await, [Stored::tombstone("a", 3, 3)], "a late upsert brought a deleted record back");
    house.apply(&[house.put("a", 4, 5, "again")]).await;
    assert_eq!(house.rows().await, [Stored::live("a", "again", 4, 5)]);
}

#[tokio::test]
async fn a_delete_of_an_id_that_was_never_there_is_a_row_too() {
    let house = House::of(THING).await;
    assert_eq!(house.apply(&[delete("a", 1, 1)]).await, [held(1, 1, true)]);
    assert_eq!(house.rows().await, [Stored::tombstone("a", 1, 1)]);
    let read = house.table.select(&crate::house::key("a")).await.unwrap().unwrap();
    assert_eq!((read.version, read.record), (crate::house::at(1), None));
}

#[tokio::test]
async fn the_view_shows_what_is_not_deleted() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 1, "a"), house.put("b", 1, 2, "b"), delete("c", 1, 3)]).await;
    house.apply(&[delete("b", 2, 4)]).await;
    assert_eq!(house.number("SELECT COUNT(*) FROM things_live").await, 1);
    assert_eq!(house.number("SELECT COUNT(*) FROM things_live WHERE id = 'a' AND name = 'a'").await, 1);
    assert_eq!(house.number("SELECT COUNT(*) FROM things").await, 3);
}

#[tokio::test]
async fn what_is_held_comes_back_in_the_order_of_the_rows() {
    let house = House::of(THING).await;
    house.apply(&[house.put("b", 9, 9, "newer")]).await;
    let batch = [house.put("c", 3, 3, "c"), house.put("a", 1, 1, "a"), house.put("b", 2, 2, "b"), delete("d", 4, 4)];
    let expected = [held(3, 3, true), held(1, 1, true), held(9, 9, false), held(4, 4, true)];
    assert_eq!(house.apply(&batch).await, expected);
}

#[tokio::test]
async fn a_row_is_fresh_only_for_the_batch_that_brought_its_version() {
    let house = House::of(THING).await;
    let (first, second) = (stamp(), stamp());
    let batch = [house.put("a", 1, 1, "a")];
    assert_eq!(house.table.apply(&batch, first).await.unwrap(), [held(1, 1, true)]);
    assert_eq!(house.table.apply(&batch, second).await.unwrap(), [held(1, 1, false)], "a redelivery counts as fresh");
}

#[tokio::test]
async fn ids_that_differ_in_case_only_are_two_records() {
    let house = House::of(THING).await;
    house.apply(&[house.put("a", 1, 1, "small"), house.put("A", 2, 2, "large")]).await;
    assert_eq!(house.rows().await, [Stored::live("A", "large", 2, 2), Stored::live("a", "small", 1, 1)]);
}

#[tokio::test]
async fn a_row_that_is_not_there_reads_as_nothing() {
    let house = House::of(THING).await;
    assert_eq!(house.table.select(&crate::house::key("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn no_row_at_all_is_a_batch_too() {
    let house = House::of(THING).await;
    assert_eq!(house.apply(&[]).await, []);
}
