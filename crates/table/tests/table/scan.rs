//! Reading the table as `persister verify` does, and the note of a replay.

use std::collections::BTreeMap;

use crate::house::{House, THING, at, database, delete};

#[tokio::test]
async fn pages_give_every_row_once_in_the_order_of_the_key_to_an_account_that_only_reads() {
    let house = House::of(THING).await;
    let mut batch: Vec<_> = (1..=7).map(|n| house.put(&format!("id{n}"), n, 1, "name")).collect();
    batch.push(delete("Id2", 3, 1));
    house.apply(&batch).await;
    let table = table::EntityTable::new(database(&house.accounts.reader), house.entity.clone());
    let (mut behind, mut ids) = (String::new(), Vec::new());
    loop {
        let rows = table.page(&behind, 3).await.unwrap();
        let Some(last) = rows.last() else { break };
        assert!(rows.len() <= 3);
        behind.clone_from(&last.id);
        ids.extend(rows.into_iter().map(|row| (row.id, row.version, row.content)));
    }
    let named: Vec<_> = ids.iter().map(|(id, _, _)| id.as_str()).collect();
    assert_eq!(named, ["Id2", "id1", "id2", "id3", "id4", "id5", "id6", "id7"]);
    assert_eq!(ids[0].2, Ok(None), "a tombstone has no record");
    assert_eq!(ids[3], ("id3".to_owned(), at(3), Ok(Some(house.thing("name", None)))));
}

#[tokio::test]
async fn rows_are_found_by_id_however_many_and_a_damaged_one_says_so() {
    let house = House::of(THING).await;
    house.apply(&(1..=250).map(|n| house.put(&format!("id{n}"), n, 1, "name")).collect::<Vec<_>>()).await;
    house.sql("UPDATE things SET name = NULL WHERE id = 'id17'").await;
    let ids: Vec<String> = (1..=260).map(|n| format!("id{n}")).collect();
    let rows = house.table.rows(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await.unwrap();
    let found: BTreeMap<_, _> = rows.iter().map(|row| (row.id.clone(), row)).collect();
    assert_eq!((rows.len(), found.len()), (250, 250), "each once, and none that is not there");
    for (id, row) in found {
        assert_eq!(row.content.is_err(), id == "id17", "{row:?}");
    }
    assert_eq!(house.table.rows(&[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_replay_is_noted_until_it_is_forgotten() {
    let house = House::of(THING).await;
    let database = database(&house.accounts.persister);
    let (whole, later) = (BTreeMap::from([(0, (0, 9)), (3, (5, 7))]), BTreeMap::from([(3, (6, 7))]));
    assert_eq!(database.replay("t").await.unwrap(), BTreeMap::new());
    database.note_replay("t", &whole).await.unwrap();
    database.note_replay("t", &later).await.unwrap();
    database.note_replay("other", &later).await.unwrap();
    assert_eq!(database.replay("t").await.unwrap(), BTreeMap::from([(0, (0, 9)), (3, (6, 7))]));
    database.forget_replay("t").await.unwrap();
    assert_eq!(database.replay("t").await.unwrap(), BTreeMap::new());
    assert_eq!(database.replay("other").await.unwrap(), later);
}
