//! Reading the table as `persister verify` does, and the note of a replay.

use std::collections::BTreeMap;

use record::RecordId;
use table::{ReplayNote, TableError};

use crate::house::{House, THING, at, database, delete};

#[tokio::test]
async fn pages_give_every_row_once_in_the_order_of_the_key_to_an_account_that_only_reads() {
    let house = House::of(THING).await;
    let mut batch: Vec<_> = (1..=7).map(|n| house.put(&format!("id{n}"), n, 1, "name")).collect();
    batch.push(delete("Id2", 3, 1));
    house.apply(&batch).await;
    let table = table::EntityTable::new(database(&house.accounts.reader), std::sync::Arc::clone(&house.entity));
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
    let note = |at, poison| ReplayNote { left: BTreeMap::from([(0, (0, 9)), (3, (at, 7))]), poison };
    assert_eq!(database.replay("t").await.unwrap(), ReplayNote::default());
    database.begin_replay("t", 1, &note(5, 0)).await.unwrap();
    database.note_replay("t", 1, &note(6, 2)).await.unwrap();
    database.note_replay("t", 1, &note(6, 2)).await.unwrap();
    database.begin_replay("other", 1, &note(4, 1)).await.unwrap();
    assert_eq!(database.replay("t").await.unwrap(), note(6, 2));
    database.forget_replay("t").await.unwrap();
    assert_eq!(database.replay("t").await.unwrap(), ReplayNote::default());
    assert_eq!(database.replay("other").await.unwrap(), note(4, 1));
}

#[tokio::test]
async fn r19_of_two_replays_of_one_topic_the_later_has_the_note_and_the_earlier_learns_of_it() {
    let house = House::of(THING).await;
    let database = database(&house.accounts.persister);
    let note = |at| ReplayNote { left: BTreeMap::from([(0, (at, 9))]), poison: 0 };
    database.begin_replay("t", u64::MAX, &note(0)).await.unwrap();
    database.note_replay("t", u64::MAX, &note(3)).await.unwrap();
    database.begin_replay("t", 2, &note(0)).await.unwrap();
    let told = database.note_replay("t", u64::MAX, &note(4)).await;
    assert!(matches!(told, Err(TableError::Setup(_))), "two replays share a note: {told:?}");
    assert_eq!(database.replay("t").await.unwrap(), note(0), "a replay moved another's note");
    database.note_replay("t", 2, &note(1)).await.unwrap();
}

/// A table of an earlier version gets what it lacks, and keeps what is noted.
#[tokio::test]
async fn a_note_from_before_poison_was_noted_is_still_one() {
    let house = House::of(THING).await;
    house.sql("ALTER TABLE _write_behind_replays DROP COLUMN run, DROP COLUMN poison").await;
    house.sql("INSERT INTO _write_behind_replays VALUES ('t', 0, 3, 9)").await;
    for _ in 0..2 {
        crate::house::database(&house.accounts.migrate).migrate(&house.entity, 6).await.unwrap();
    }
    let database = database(&house.accounts.persister);
    let note = ReplayNote { left: BTreeMap::from([(0, (3, 9))]), poison: 0 };
    assert_eq!(database.replay("t").await.unwrap(), note);
}

/// As `persister migrate` makes it.
const LETTERS: &str = "CREATE TABLE IF NOT EXISTS _write_behind_dead_letters (\
     topic VARCHAR(249) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, `partition` INT NOT NULL, `offset` BIGINT NOT NULL, \
     entity VARCHAR(48) NOT NULL, id VARCHAR(128) NULL, version BIGINT UNSIGNED NULL, reason VARCHAR(32) NOT NULL, \
     detail VARCHAR(1000) NOT NULL, noted_at DATETIME(6) NOT NULL, PRIMARY KEY (topic, `partition`, `offset`))";

#[tokio::test]
async fn dead_letters_are_known_by_coordinates_and_version_and_are_bounded() {
    let house = House::of(THING).await;
    let database = database(&house.accounts.reader);
    house.sql("DROP TABLE IF EXISTS _write_behind_dead_letters").await;
    assert!(database.letters("t", 10).await.unwrap().is_empty(), "where nothing was ever noted");
    house.sql(LETTERS).await;
    for (topic, offset, version) in [("t", 5, "32"), ("t", 6, "NULL"), ("u", 7, "32")] {
        house
            .sql(&format!(
                "INSERT INTO _write_behind_dead_letters VALUES ('{topic}', 3, {offset}, 'things', NULL, {version}, 'refused', '', NOW(6))"
            ))
            .await;
    }
    let letters = database.letters("t", 10).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert!(letters.has(3, 5, Some(at(2))) && letters.has(3, 6, None));
    assert!(!letters.has(3, 5, Some(at(3))), "another event has these coordinates, since the topic was made anew");
    assert!(!letters.has(3, 6, Some(at(2))), "an event that can be read is none whose version could not be");
    assert!(!letters.has(2, 5, Some(at(2))) && !letters.has(3, 7, Some(at(2))));
    assert!(database.letters("t", 2).await.is_ok());
    assert!(database.letters("t", 1).await.is_err(), "more than may be held");
}

#[tokio::test]
async fn r11_which_versions_are_dead_letters_is_told_by_entity_record_and_version() {
    let house = House::of(THING).await;
    let table = table::EntityTable::new(database(&house.accounts.ingest), std::sync::Arc::clone(&house.entity));
    let id = |id: &str| RecordId::parse(id).unwrap();
    let asked = [(id("1"), at(2)), (id("1"), at(3)), (id("2"), at(2)), (id("3"), at(2))];
    assert_eq!(table.dead(&[]).await.unwrap(), [false; 0]);
    house.sql("DROP TABLE IF EXISTS _write_behind_dead_letters").await;
    assert_eq!(table.dead(&asked).await.unwrap(), [false; 4], "where nothing was ever noted");
    house.sql(LETTERS).await;
    for (offset, entity, id, version) in [
        (1, "things", "'1'", at(2)),
        (2, "others", "'2'", at(2)),
        (3, "things", "NULL", at(2)),
        (4, "things", "'3'", at(2)),
    ] {
        house
            .sql(&format!(
                "INSERT INTO _write_behind_dead_letters VALUES ('t', 0, {offset}, '{entity}', {id}, {version}, 'refused', '', NOW(6))"
            ))
            .await;
    }
    assert_eq!(table.dead(&asked).await.unwrap(), [true, false, false, true]);
}
