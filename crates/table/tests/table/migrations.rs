//! Creating, completing and widening tables; what is refused instead.

use futures_util::future::join;
use record::{Value, Version};
use service::FailureClass;
use stack::Accounts;
use table::{EntityTable, Migrated, TableError};

use crate::house::{House, Stored, THING, accounts, at, database, delete, entity, held, key, stamp};

const OLD: &str = r#"{"type": "record", "name": "Thing", "fields": [
    {"name": "name", "type": "string", "maxLength": 10},
    {"name": "text", "type": "string", "maxLength": 10},
    {"name": "number", "type": "int"},
    {"name": "exact", "type": "int"},
    {"name": "ratio", "type": "float"}]}"#;
const NEW: &str = r#"{"type": "record", "name": "Thing", "fields": [
    {"name": "name", "type": "string", "maxLength": 50},
    {"name": "order", "type": ["null", "string"], "default": null},
    {"name": "text", "type": "string"},
    {"name": "number", "type": "long"},
    {"name": "exact", "type": "double"},
    {"name": "ratio", "type": "double"}]}"#;

/// Every column with its type, in order.
async fn columns(accounts: &Accounts) -> Vec<String> {
    let pool = Box::pin(sqlx::MySqlPool::connect(&accounts.root)).await.unwrap();
    let sql = "SELECT CAST(CONCAT(table_name, '.', column_name, ' ', column_type, ' ', is_nullable) AS CHAR) \
               FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY table_name, ordinal_position";
    sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap()
}

async fn migrate(accounts: &Accounts, versions: &[&str]) -> Result<Migrated, TableError> {
    let entity = entity(versions);
    let database = database(&accounts.migrate);
    database.migrating(async || database.migrate(&entity, 6).await).await
}

#[tokio::test]
async fn a_second_migration_changes_nothing() {
    let accounts = accounts();
    assert_eq!(migrate(&accounts, &[NEW]).await.unwrap(), Migrated::default());
    let made = columns(&accounts).await;
    assert_eq!(migrate(&accounts, &[NEW]).await.unwrap(), Migrated::default());
    assert_eq!(columns(&accounts).await, made);
}

#[tokio::test]
async fn two_migrations_at_once_end_as_one() {
    let accounts = accounts();
    migrate(&accounts, &[OLD]).await.unwrap();
    let (one, two) = join(migrate(&accounts, &[OLD, NEW]), migrate(&accounts, &[OLD, NEW])).await;
    let (one, two) = (one.unwrap(), two.unwrap());
    assert!(one == Migrated::default() || two == Migrated::default(), "both did something: {one:?} {two:?}");
    assert_ne!(one, two, "neither did anything");
}

#[tokio::test]
async fn a_newer_version_adds_columns_and_widens_them_and_keeps_what_stands_there() {
    let accounts = accounts();
    let house = House::on(accounts.clone(), entity(&[OLD])).await;
    let old =
        [Value::Text("n".into()), Value::Text("t".into()), Value::Integer(i64::from(i32::MAX)), Value::Integer(-7)];
    let old = house.entity.assemble([&old[..], &[Value::Float(0.1)]].concat()).unwrap();
    house.apply(&[table::Incoming { record: Some(old), ..delete("a", 1, 1) }]).await;

    let migrated = migrate(&accounts, &[OLD, NEW]).await.unwrap();
    let widened = ["name", "text", "number", "exact", "ratio"].map(str::to_owned).to_vec();
    assert_eq!(migrated, Migrated { added: vec!["order".to_owned()], widened });
    let table = EntityTable::new(database(&accounts.persister), entity(&[OLD, NEW]));
    let kept = table.select(&key("a")).await.unwrap().unwrap().record.unwrap();
    let expected = [
        Value::Text("n".into()),
        Value::Null,
        Value::Text("t".into()),
        Value::Integer(i64::from(i32::MAX)),
        Value::Double(-7.0),
        Value::Double(f64::from(0.1_f32)),
    ];
    assert_eq!(kept.values(), expected);

    let large = [
        Value::Text("n".repeat(50).into()),
        Value::Text("o".into()),
        Value::Text("\u{1d11e}".repeat(100_000).into()),
        Value::Integer(i64::MIN),
        Value::Double(f64::MAX),
        Value::Double(f64::MIN_POSITIVE),
    ];
    let large = table.entity().assemble(large.to_vec()).unwrap();
    let row = table::Incoming { record: Some(large.clone()), ..delete("b", 1, 2) };
    table.apply(&[row], stamp()).await.unwrap();
    assert_eq!(table.select(&key("b")).await.unwrap().unwrap().record.unwrap(), large);
}

#[tokio::test]
async fn a_row_that_is_older_than_a_field_has_the_fields_default() {
    let old = r#"{"type": "record", "name": "Thing", "fields": [{"name": "a", "type": "string"}]}"#;
    let new = r#"{"type": "record", "name": "Thing", "fields": [{"name": "a", "type": "string"},
        {"name": "rank", "type": "int", "default": 3}]}"#;
    let accounts = accounts();
    let house = House::on(accounts.clone(), entity(&[old])).await;
    let record = house.entity.assemble(vec![Value::Text("n".into())]).unwrap();
    house.apply(&[table::Incoming { record: Some(record), ..delete("a", 1, 1) }]).await;
    migrate(&accounts, &[old, new]).await.unwrap();
    let table = EntityTable::new(database(&accounts.persister), entity(&[old, new]));
    let kept = table.select(&key("a")).await.unwrap().unwrap().record.unwrap();
    assert_eq!(kept.values(), [Value::Text("n".into()), Value::Integer(3)]);
}

#[tokio::test]
async fn an_older_version_narrows_nothing() {
    // An integer that became a double is the exception: an older version could not read it, and says so.
    let [old, new] = [OLD, NEW]
        .map(|text| text.replace(r#""name": "exact", "type": "int""#, r#""name": "exact", "type": "double""#));
    let accounts = accounts();
    migrate(&accounts, &[&old, &new]).await.unwrap();
    let wide = columns(&accounts).await;
    assert_eq!(migrate(&accounts, &[&old]).await.unwrap(), Migrated::default());
    // The view is the older version's then; the table is what counts.
    let tables = |columns: Vec<String>| columns.into_iter().filter(|c| !c.contains("_live.")).collect::<Vec<_>>();
    assert_eq!(tables(columns(&accounts).await), tables(wide));
    let error = migrate(&accounts, &[OLD]).await.unwrap_err();
    assert!(error.to_string().contains("table things, column exact"), "{error}");
}

#[tokio::test]
async fn a_column_of_another_type_is_unreadable_and_never_another_number() {
    for (of, column) in [("long", "DOUBLE"), ("double", "BIGINT"), ("float", "INT"), ("int", "VARCHAR(20)")] {
        let schema = format!(r#"{{"type": "record", "name": "Thing", "fields": [{{"name": "x", "type": "{of}"}}]}}"#);
        let house = House::on(accounts(), entity(&[&schema])).await;
        house.sql(&format!("ALTER TABLE things MODIFY x {column}")).await;
        house.sql("INSERT INTO things (id, x) VALUES ('a', 7)").await;
        let error = house.table.select(&key("a")).await.expect_err(of);
        assert!(matches!(error, TableError::Unreadable(_)), "{of} in {column}: {error}");
        assert_eq!(error.class(), FailureClass::Fatal);
    }
}

#[tokio::test]
async fn the_partitions_are_noted_at_the_first_time() {
    let accounts = accounts();
    let (entity, database) = (entity(&[THING]), database(&accounts.migrate));
    assert_eq!(database.partitions("things").await.unwrap_err().class(), FailureClass::Fatal, "there is no table yet");
    database.migrate(&entity, 6).await.unwrap();
    database.migrate(&entity, 12).await.unwrap();
    assert_eq!(database.partitions("things").await.unwrap(), Some(6));
    assert_eq!(database.partitions("others").await.unwrap(), None);
}

#[tokio::test]
async fn only_the_account_for_it_can_migrate() {
    let accounts = accounts();
    for url in [&accounts.persister, &accounts.ingest] {
        let error = database(url).migrate(&entity(&[THING]), 6).await.unwrap_err();
        assert_eq!(error.class(), FailureClass::Fatal, "{error}");
    }
}

/// A table that somebody has had for years.
async fn with_table(definition: &str) -> Accounts {
    let accounts = accounts();
    let pool = Box::pin(sqlx::MySqlPool::connect(&accounts.root)).await.unwrap();
    for sql in definition.split(';') {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&pool).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    accounts
}

#[tokio::test]
async fn a_table_that_was_there_is_completed_and_its_rows_have_version_0() {
    let accounts = with_table(
        "CREATE TABLE things (id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, \
         name VARCHAR(50) NOT NULL, size SMALLINT NOT NULL, note TEXT) DEFAULT CHARSET=latin1; \
         INSERT INTO things VALUES ('a', 'n\u{e9}', 7, 'mine'), ('b', 'b', 8, 'mine')",
    )
    .await;
    let house = House::on(accounts, entity(&[THING])).await;
    let (a, version) = (key("a"), Version::ZERO);
    let found = house.table.select(&a).await.unwrap().unwrap();
    assert_eq!((found.version, found.record), (version, Some(house.thing("n\u{e9}", Some(7)))));

    let wide = table::Incoming { record: Some(house.thing("\u{1d11e}", Some(i64::MAX))), ..delete("a", 1, 4) };
    assert_eq!(house.apply(&[wide, delete("b", 1, 5)]).await, [held(1, 4, true), held(1, 5, true)]);
    let a = Stored { size: Some(i64::MAX), ..Stored::live("a", "\u{1d11e}", 1, 4) };
    assert_eq!(house.rows().await, [a, Stored::tombstone("b", 1, 5)]);
    assert_eq!(
        house.number("SELECT COUNT(*) FROM things WHERE note = 'mine'").await,
        2,
        "a column of others was touched"
    );
    assert_eq!(
        house
            .number(
                "SELECT CHARACTER_MAXIMUM_LENGTH FROM information_schema.columns WHERE \
        table_schema = DATABASE() AND table_name = 'things' AND column_name = 'name'"
            )
            .await,
        50,
        "name was narrowed"
    );
}

#[tokio::test]
async fn a_table_that_is_not_fit_for_our_rows_is_refused_by_column_and_left_as_it_is() {
    const ID: &str = "id VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin";
    for (what, definition, column) in [
        ("ids that differ in case only are one", "id VARCHAR(128) PRIMARY KEY, name TEXT".to_owned(), "id"),
        ("ids are numbers", "id INT PRIMARY KEY, name TEXT".to_owned(), "id"),
        ("ids are cut", format!("{} PRIMARY KEY, name TEXT", ID.replace("128", "36")), "id"),
        ("no primary key", format!("{ID}, name TEXT"), "id"),
        ("another primary key", format!("{ID}, name VARCHAR(10), PRIMARY KEY (id, name)"), "id"),
        ("no id at all", "name VARCHAR(10) PRIMARY KEY".to_owned(), "id"),
        ("a text for a number", format!("{ID} PRIMARY KEY, size VARCHAR(10)"), "size"),
        ("half of the numbers", format!("{ID} PRIMARY KEY, size BIGINT UNSIGNED"), "size"),
        ("a date for a text", format!("{ID} PRIMARY KEY, name DATE"), "name"),
        ("a column that we would not fill", format!("{ID} PRIMARY KEY, owner INT NOT NULL"), "owner"),
    ] {
        let accounts = with_table(&format!("CREATE TABLE things ({definition})")).await;
        let before = columns(&accounts).await;
        let error = migrate(&accounts, &[THING]).await.expect_err(what);
        assert_eq!(error.class(), FailureClass::Fatal, "{what}: {error}");
        assert!(error.to_string().contains(&format!("table things, column {column}")), "{what}: {error}");
        let after: Vec<_> = columns(&accounts).await.into_iter().filter(|c| c.starts_with("things.")).collect();
        assert_eq!(after, before, "{what}");
    }
}

#[tokio::test]
async fn a_text_that_becomes_a_union_is_refused_since_its_column_would_hold_two_notations() {
    let of = |of: &str| format!(r#"{{"type": "record", "name": "Thing", "fields": [{{"name": "x", "type": {of}}}]}}"#);
    let (old, new) = (of(r#""string""#), of(r#"["string", "int"]"#));
    let accounts = accounts();
    migrate(&accounts, &[&old]).await.unwrap();
    let error = migrate(&accounts, &[&old, &new]).await.unwrap_err();
    assert!(error.to_string().contains("table things, column x"), "{error}");
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
