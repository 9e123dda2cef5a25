//! Creating, completing and widening tables; what is refused instead.

use futures_util::future::join;
use record::Value;
use service::FailureClass;
use stack::Accounts;
use table::{EntityTable, Migrated, TableError};

use crate::house::{House, THING, accounts, columns, database, delete, entity, key, stamp};

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

#[tokio::test]
async fn a_rehearsal_refuses_what_the_migration_would_and_leaves_nothing_behind() {
    let wide = |first: usize, fields: usize| {
        let text =
            |n: usize| format!(r#"{{"name": "f{n}", "type": ["null", "string"], "default": null, "maxLength": 1024}}"#);
        let fields: Vec<_> = (first..first + fields).map(text).collect();
        format!(r#"{{"type": "record", "name": "Thing", "fields": [{}]}}"#, fields.join(", "))
    };
    let rehearsed = async |accounts: &Accounts, versions: &[&str]| {
        database(&accounts.migrate).rehearse(&entity(versions)).await.map_err(|error| error.to_string())
    };
    let too_wide =
        Err("table things: its columns together are wider than a row may be (error 1118): give the longest fields \
                        a `maxLength` above 1024, or none; what they hold then stands beside the row"
            .to_owned());
    let accounts = accounts();
    // 15 times 4096 bytes fit, 16 do not.
    assert_eq!(rehearsed(&accounts, &[&wide(0, 15)]).await, Ok(()));
    assert_eq!(rehearsed(&accounts, &[&wide(0, 16)]).await, too_wide);
    let tables = columns(&accounts).await;
    assert!(tables.iter().all(|column| column.starts_with("_write_behind_entities.")), "left behind: {tables:?}");

    migrate(&accounts, &[&wide(0, 10)]).await.unwrap();
    let made = columns(&accounts).await;
    assert_eq!(rehearsed(&accounts, &[&wide(0, 10), &wide(0, 15)]).await, Ok(()));
    assert_eq!(rehearsed(&accounts, &[&wide(0, 10), &wide(0, 16)]).await, too_wide);
    assert_eq!(columns(&accounts).await, made, "a rehearsal changed something");
}
