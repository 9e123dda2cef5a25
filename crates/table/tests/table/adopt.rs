//! A table that somebody had before us: completed and used as it is, or refused with the column and the remedy.

use record::Version;
use service::FailureClass;
use stack::Accounts;
use table::{Migrated, TableError};

use crate::house::{House, Stored, THING, accounts, at, columns, database, delete, entity, held, key};

const ID: &str = "id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin";

/// A database in which somebody has had a table for years.
async fn with_table(definition: &str) -> Accounts {
    let accounts = accounts();
    let pool = Box::pin(sqlx::MySqlPool::connect(&accounts.root)).await.unwrap();
    for sql in definition.split(';') {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    accounts
}

async fn migrate(accounts: &Accounts) -> Result<Migrated, TableError> {
    database(&accounts.migrate).migrate(&entity(&[THING]), 6).await
}

#[tokio::test]
async fn a_table_that_was_there_is_completed_and_its_rows_have_version_0() {
    let accounts = with_table(&format!(
        "CREATE TABLE things ({ID} PRIMARY KEY, name VARCHAR(50) NOT NULL, size SMALLINT NOT NULL, note TEXT, \
         tag INT NOT NULL DEFAULT 5, twice BIGINT AS (size * 2) STORED, KEY sizes (size)) DEFAULT CHARSET=latin1; \
         INSERT INTO things (id, name, size, note) VALUES ('a', 'n\u{e9}', 7, 'mine'), ('b', 'b', 8, 'mine')"
    ))
    .await;
    database(&accounts.migrate).rehearse(&entity(&[THING])).await.unwrap();
    let migrated = migrate(&accounts).await.unwrap();
    let control = ["version", "deleted", "log_offset", "updated_at"].map(str::to_owned);
    assert_eq!(migrated, Migrated { added: control.to_vec(), widened: ["name", "size"].map(str::to_owned).to_vec() });
    assert_eq!(migrate(&accounts).await.unwrap(), Migrated::default(), "a second migration did something");

    let house = House::on(accounts, entity(&[THING])).await;
    let found = house.table.select(&key("a")).await.unwrap().unwrap();
    assert_eq!((found.version, found.record), (Version::ZERO, Some(house.thing("n\u{e9}", Some(7)))));
    assert_eq!(house.number("SELECT COUNT(*) FROM things_live WHERE version = 0").await, 2, "in the view");

    let wide =
        table::Incoming { record: Some(house.thing("\u{1d11e}", Some(i64::from(i32::MAX)))), ..delete("a", 1, 4) };
    let batch = [wide, delete("b", 1, 5), house.put("c", 1, 6, "new")];
    assert_eq!(house.apply(&batch).await, [held(1, 4, true), held(1, 5, true), held(1, 6, true)]);
    let a = Stored { size: Some(i64::from(i32::MAX)), ..Stored::live("a", "\u{1d11e}", 1, 4) };
    assert_eq!(house.rows().await, [a, Stored::tombstone("b", 1, 5), Stored::live("c", "new", 1, 6)]);
    let others = "SELECT COUNT(*) FROM things WHERE note = 'mine' AND tag = 5";
    assert_eq!(house.number(others).await, 2, "a column of others was touched");
    let width = "SELECT CHARACTER_MAXIMUM_LENGTH FROM information_schema.columns WHERE \
                 table_schema = DATABASE() AND table_name = 'things' AND column_name = 'name'";
    assert_eq!(house.number(width).await, 50, "name was narrowed");
    let index = "SELECT COUNT(*) FROM information_schema.statistics WHERE \
                 table_schema = DATABASE() AND table_name = 'things' AND index_name = 'sizes'";
    assert_eq!(house.number(index).await, 1, "an index of others is gone");
}

#[tokio::test]
async fn rows_of_version_0_lose_to_every_event() {
    let accounts = with_table(
        "CREATE TABLE things (id VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, name TEXT, size INT); \
         INSERT INTO things VALUES ('a', 'old', 7)",
    )
    .await;
    let house = House::on(accounts, entity(&[THING])).await;
    assert_eq!(house.apply(&[house.put("a", 1, 1, "new")]).await, [held(1, 1, true)]);
    assert_eq!(house.table.select(&key("a")).await.unwrap().unwrap().version, at(1));
}

#[tokio::test]
async fn a_second_unique_key_is_adopted_and_guarded() {
    let accounts = with_table(&format!(
        "CREATE TABLE things ({ID} PRIMARY KEY, name VARCHAR(50) NOT NULL, UNIQUE KEY names (name)); \
         INSERT INTO things VALUES ('a', 'taken')"
    ))
    .await;
    let house = House::on(accounts, entity(&[THING])).await;
    assert_eq!(house.apply(&[house.put("b", 1, 1, "taken")]).await, [None], "another's row stands in the way");
    let Stored { version, name, .. } = house.rows().await.remove(0);
    assert_eq!((version, name.as_deref()), (0, Some("taken")));
}

/// What is wrong with the table, its columns, and what is said of it behind `table things, column `.
async fn refused(what: &str, accounts: &Accounts, says: &str) {
    let before = columns(accounts).await;
    let rehearsed = database(&accounts.migrate).rehearse(&entity(&[THING])).await.expect_err(what);
    let error = migrate(accounts).await.expect_err(what);
    assert_eq!(rehearsed.to_string(), error.to_string(), "{what}: a rehearsal says something else");
    assert_eq!(error.class(), FailureClass::Fatal, "{what}: {error}");
    // MariaDB still says how wide a number is shown.
    let said = error.to_string().replace("int(11)", "int").replace("bigint(20)", "bigint");
    assert_eq!(said, format!("table things{says}"), "{what}");
    let after: Vec<_> = columns(accounts).await.into_iter().filter(|c| c.starts_with("things")).collect();
    assert_eq!(after, before, "{what}: something was done to it");
}

#[tokio::test]
async fn a_table_that_is_not_fit_for_our_rows_is_refused_by_column_and_with_the_remedy() {
    let must = "VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL";
    let modify = format!("must be {must}: ALTER TABLE `things` MODIFY `id` {must}");
    let key = format!("{ID} PRIMARY KEY");
    let taken = "is there already, and our own would overwrite it: rename it";
    for (what, definition, says) in [
        (
            "ids that differ in case only are one",
            "id VARCHAR(128) CHARACTER SET latin1 COLLATE latin1_swedish_ci PRIMARY KEY, name TEXT".to_owned(),
            format!("id: is varchar(128) COLLATE latin1_swedish_ci, {modify}"),
        ),
        ("ids are numbers", "id INT PRIMARY KEY AUTO_INCREMENT".to_owned(), format!("id: is int, {modify}")),
        ("ids are cut", key.replace("128", "36"), format!("id: is varchar(36) COLLATE ascii_bin, {modify}")),
        (
            "no primary key",
            format!("{ID} NOT NULL, name TEXT"),
            "id: must be the primary key: ALTER TABLE `things` ADD PRIMARY KEY (`id`)".to_owned(),
        ),
        (
            "half of the primary key",
            format!("{ID}, name VARCHAR(10), PRIMARY KEY (id, name)"),
            "id: must be the whole primary key: ALTER TABLE `things` DROP PRIMARY KEY, ADD PRIMARY KEY (`id`)".to_owned(),
        ),
        (
            "no id at all",
            "name VARCHAR(10) PRIMARY KEY".to_owned(),
            format!("id: is missing; it must be the primary key, and {must}"),
        ),
        (
            "a text for a number",
            format!("{key}, size VARCHAR(10)"),
            "size: is varchar(10), of which BIGINT NULL cannot be made: rename the one in the table".to_owned(),
        ),
        (
            "half of the numbers",
            format!("{key}, size BIGINT UNSIGNED"),
            "size: is bigint unsigned, of which BIGINT NULL cannot be made: rename the one in the table".to_owned(),
        ),
        (
            "a date for a text",
            format!("{key}, name DATE"),
            "name: is date, of which VARCHAR(10) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NULL cannot be made: rename \
             the one in the table"
                .to_owned(),
        ),
        (
            "a column that we would not fill",
            format!("{key}, owner INT NOT NULL"),
            "owner: is not in the schema and wants a value in every row: give it a default".to_owned(),
        ),
        (
            "a column that cannot be written to",
            format!("{key}, size BIGINT AS (7) STORED"),
            "size: is computed by the database, so that nothing can be written to it: rename it".to_owned(),
        ),
        ("another's version", format!("{key}, version INT"), format!("version: {taken}")),
        ("another's time", format!("{key}, updated_at TIMESTAMP NULL"), format!("updated_at: {taken}")),
    ] {
        let accounts = with_table(&format!("CREATE TABLE things ({definition})")).await;
        refused(what, &accounts, &format!(", column {says}")).await;
    }
}

#[tokio::test]
async fn a_table_that_is_none_for_transactions_or_whose_views_name_is_taken_is_refused() {
    for (what, definition, says) in [
        (
            "no transactions",
            format!("CREATE TABLE things ({ID} PRIMARY KEY, name TEXT) ENGINE=MyISAM"),
            ": is of MyISAM, which has no transactions: ALTER TABLE things ENGINE=InnoDB",
        ),
        ("a view", "CREATE VIEW things AS SELECT 'a' AS id".to_owned(), ": is a view: rename it"),
        (
            "a table where our view belongs",
            format!("CREATE TABLE things ({ID} PRIMARY KEY, name TEXT); CREATE TABLE things_live (a INT)"),
            ": a table things_live is there, whose name is that of our view: rename it",
        ),
    ] {
        refused(what, &with_table(&definition).await, says).await;
    }
}

#[tokio::test]
async fn rows_that_no_record_can_be_made_of_are_refused_before_they_are_adopted() {
    let says = ", column name: has no value in a row that is there, and the schema demands one: fill it in, or give the field \
                a default or null";
    for columns in ["size INT", "size INT, name VARCHAR(10)"] {
        let table = format!("CREATE TABLE things ({ID} PRIMARY KEY, {columns})");
        let accounts = with_table(&format!("{table}; INSERT INTO things (id, size) VALUES ('a', 1)")).await;
        refused(columns, &accounts, says).await;
        // Without rows there is nothing to be read.
        migrate(&with_table(&table).await).await.unwrap();
    }
    // Ours have none where they are deleted, and that refuses nothing.
    let house = House::of(THING).await;
    house.apply(&[delete("a", 1, 1)]).await;
    migrate(&house.accounts).await.unwrap();
}
