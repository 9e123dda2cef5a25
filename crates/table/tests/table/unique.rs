//! A second unique key that a user added: one id never overwrites another's row.

use service::FailureClass;

use crate::house::{House, Stored, THING, held};

async fn with_unique_names() -> House {
    let house = House::of(THING).await;
    house.sql("ALTER TABLE things ADD UNIQUE KEY names (name)").await;
    house.apply(&[house.put("a", 1, 1, "taken")]).await;
    house
}

#[tokio::test]
async fn a_new_id_that_meets_anothers_row_is_not_held_and_changes_nothing() {
    let house = with_unique_names().await;
    let batch = [house.put("b", 9, 2, "taken"), house.put("c", 3, 3, "free")];
    assert_eq!(house.apply(&batch).await, [None, held(3, 3, true)]);
    let rows = [Stored::live("a", "taken", 1, 1), Stored::live("c", "free", 3, 3)];
    assert_eq!(house.rows().await, rows, "another id's row was overwritten");
}

#[tokio::test]
async fn a_known_id_that_meets_anothers_row_is_refused_as_poison_and_nothing_is_applied() {
    let house = with_unique_names().await;
    house.apply(&[house.put("b", 1, 2, "own")]).await;
    let batch = [house.put("b", 2, 3, "taken"), house.put("c", 2, 4, "free")];
    let error = house.table.apply(&batch, crate::house::stamp()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Poison, "{error}");
    assert_eq!(house.rows().await, [Stored::live("a", "taken", 1, 1), Stored::live("b", "own", 1, 2)]);
}
