//! What the database knows of one write.

use record::Reason;
use table::{InTable, Note, StandingRow};

use crate::house::{House, THING, at, key, stamp};

#[tokio::test]
async fn a_write_is_told_by_its_row_its_dead_letter_and_the_mark() {
    let house = House::of(THING).await;
    let told = async |version| house.table.fate(&key("a"), at(version)).await.unwrap();
    assert_eq!(told(16).await, InTable::default());
    house.apply(&[house.put("a", 32, 0, "x")]).await;
    let since = house.number("SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', updated_at) FROM things").await;
    let row = Some(StandingRow { version: at(32), since: u64::try_from(since).unwrap() });
    assert_eq!(told(32).await, InTable { row, ..InTable::default() }, "to the microsecond");

    // The first note of a version counts, and of others nothing is told.
    let id = key("a");
    let note = |offset, version| Note {
        offset,
        id: Some(&id),
        version: Some(at(version)),
        reason: Reason::Refused,
        detail: "too long",
    };
    let first = stamp();
    let database = house.table.database();
    database.note_dead("things", "t.things", 3, &[note(7, 48)], first).await.unwrap();
    database.note_dead("things", "t.things", 3, &[note(9, 48)], stamp()).await.unwrap();
    let dead = told(48).await;
    let letter = dead.letter.unwrap();
    assert_eq!((letter.reason.as_str(), letter.topic.as_str()), (Reason::Refused.as_str(), "t.things"));
    assert_eq!((letter.partition, letter.offset, letter.at), (3, 7, first));
    assert_eq!(dead.row, row);
    assert_eq!(told(64).await.letter, None);
    assert_eq!(house.table.letter(&key("b"), at(48)).await.unwrap(), None);

    assert_eq!(house.table.raise_mark(at(31)).await.unwrap(), at(31));
    assert_eq!(told(64).await.purged, at(31));
}
