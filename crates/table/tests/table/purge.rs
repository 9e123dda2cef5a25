//! R18: what is not newer than the purge mark changes a row and makes none.

use futures_util::future::join;
use record::Version;
use sqlx::Executor;
use table::Held;

use crate::failures::{house_on, hurt};
use crate::house::{House, Stored, THING, at, delete, held};

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
