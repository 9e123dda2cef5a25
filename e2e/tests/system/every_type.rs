//! Schemas drive everything: a new entity with every Avro type needs a file and a restart, and no line of code.

mod random;

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use apache_avro::types::Value as Avro;
use e2e::topic_reader::{Read, read_all};
use e2e::{Servers, System, system};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Row};
use stack::{Ended, Lifetime, Process, Spec};

use random::{Dice, Sql, Triple, order as random_order};

pub(crate) const ORDERS: &str = include_str!("every_type/orders.v1.avsc");

pub(crate) fn order() -> Value {
    json!({
        "nothing": null, "paid": true, "pieces": 2_147_483_647, "cents": i64::MIN, "weight": 0.1, "volume": 1e300,
        "note": "\u{1d11e} \"quoted\"\n", "label": "AP+A", "checksum": "AQIDBA==", "tags": ["b", "", "a"],
        "stock": {"z": 1, "a": -1}, "either": [true, false], "address": {"since": "2020-02-29", "city": "K\u{f6}ln"},
        "amount": "-1234567890123456.7890", "tax": "0.07", "exact": "123456789012345678901234567890.5",
        "customer": "123E4567-e89b-12d3-a456-426614174000", "basket": "00000000-0000-0000-0000-0000000000ff",
        "day": "9999-12-31", "opens": "08:30:00.125", "closes": "23:59:59.999999", "placed3": "2026-11-24T12:34:56.789+01:00",
        "placed6": "1000-01-01T00:00:00.000001Z", "placed9": "2026-11-24T12:34:56.123456789Z",
        "local3": "2026-11-24T12:34:56.789", "local6": "2026-11-24T12:34:56.789012", "local9": "2026-11-24T12:34:56.789012345",
        "every": {"months": 1, "days": 2, "millis": 4_294_967_295_u32}
    })
}

/// What a stranger with the schema alone reads in the topic; fields whose Avro form is plain.
fn as_avro() -> Vec<(&'static str, Avro)> {
    let text = |text: &str| Avro::String(text.to_owned());
    let placed = 1_795_523_696_000;
    vec![
        ("nothing", Avro::Null),
        ("paid", Avro::Boolean(true)),
        ("pieces", Avro::Int(i32::MAX)),
        ("cents", Avro::Long(i64::MIN)),
        ("weight", Avro::Float(0.1)),
        ("volume", Avro::Double(1e300)),
        ("note", text("\u{1d11e} \"quoted\"\n")),
        ("label", Avro::Bytes(vec![0x00, 0xff, 0x80])),
        ("checksum", Avro::Fixed(4, vec![1, 2, 3, 4])),
        ("state", Avro::Enum(0, "OPEN".to_owned())),
        ("tags", Avro::Array(["b", "", "a"].map(text).into())),
        ("stock", Avro::Map([("z".to_owned(), Avro::Long(1)), ("a".to_owned(), Avro::Long(-1))].into())),
        ("either", Avro::Union(3, Box::new(Avro::Array(vec![Avro::Boolean(true), Avro::Boolean(false)])))),
        (
            "address",
            Avro::Record(vec![
                ("city".to_owned(), text("K\u{f6}ln")),
                ("floor".to_owned(), Avro::Union(0, Box::new(Avro::Null))),
                ("since".to_owned(), Avro::Date(18_321)),
            ]),
        ),
        ("maybe", Avro::Union(0, Box::new(Avro::Null))),
        ("day", Avro::Date(2_932_896)),
        ("opens", Avro::TimeMillis(30_600_125)),
        ("closes", Avro::TimeMicros(86_399_999_999)),
        ("placed3", Avro::TimestampMillis(placed - 3_600_000 + 789)),
        ("placed6", Avro::TimestampMicros(-30_610_224_000_000_000 + 1)),
        ("placed9", Avro::TimestampNanos(placed * 1_000_000 + 123_456_789)),
        ("local3", Avro::LocalTimestampMillis(placed + 789)),
        ("local6", Avro::LocalTimestampMicros(placed * 1000 + 789_012)),
        ("local9", Avro::LocalTimestampNanos(placed * 1_000_000 + 789_012_345)),
    ]
}

/// What SQL says of the row, as text, and the type of the column.
const AS_SQL: [(&str, &str, &str); 17] = [
    ("paid", "1", "tinyint"),
    ("pieces", "2147483647", "int"),
    ("cents", "-9223372036854775808", "bigint"),
    ("weight < 0.11 AND weight > 0.09", "1", "float"),
    ("volume = 1e300", "1", "double"),
    ("CHAR_LENGTH(note)", "11", "varchar"),
    ("HEX(label)", "00FF80", "mediumblob"),
    ("HEX(checksum)", "01020304", "binary"),
    ("state", "OPEN", "varchar"),
    ("JSON_EXTRACT(address, '$.city')", "\"K\u{f6}ln\"", "json"),
    ("amount", "-1234567890123456.7890", "decimal"),
    ("tax + 1", "1.07", "decimal"),
    ("customer", "123e4567-e89b-12d3-a456-426614174000", "char"),
    ("day", "9999-12-31", "date"),
    ("closes", "23:59:59.999999", "time"),
    ("placed3", "2026-11-24 11:34:56.789", "datetime"),
    ("placed6", "1000-01-01 00:00:00.000001", "datetime"),
];

pub(crate) async fn until_persisted(system: &System, path: &str) -> Result<()> {
    let persisted = async || {
        Ok(system.call(Method::GET, path, None).await?.headers().get("write-behind-state")
            == Some(&"persisted".parse()?))
    };
    system.eventually(&format!("{path} is persisted"), persisted).await
}

fn events(system: &System, entity: &str) -> Result<Vec<Read>> {
    read_all(&system.servers.kafka.brokers(), &format!("{}{entity}", system.topic_prefix))
}

/// The schema under which a record is cached, `users:1` for example.
pub(crate) async fn cached_schema(system: &System, record: &str) -> Result<String> {
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("wb:*:record:{record}")).query_async(&mut redis).await?;
    Ok(redis::cmd("HGET").arg(&keys).arg("schema").query_async(&mut redis).await?)
}

/// Takes a record out of the cache, so that its row answers.
pub(crate) async fn forget(system: &System, record: &str) -> Result<()> {
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("wb:*:record:{record}")).query_async(&mut redis).await?;
    let deleted: u64 = redis::cmd("DEL").arg(&keys).query_async(&mut redis).await?;
    ensure!(deleted == 1, "{keys:?}");
    Ok(())
}

/// The event's value, read with nothing but the schema's text.
fn read_as_a_stranger(value: &[u8]) -> Result<Vec<(String, Avro)>> {
    let schema = apache_avro::Schema::parse_str(ORDERS)?;
    let read =
        apache_avro::reader::datum::GenericDatumReader::builder(&schema).build()?.read_value(&mut &value[5..])?;
    let Avro::Record(fields) = read else { bail!("no record: {read:?}") };
    Ok(fields)
}

#[tokio::test]
async fn an_entity_with_every_avro_type_makes_the_whole_journey() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.add_schema("orders/v1.avsc", ORDERS)?;
    let system = system.up().await?;
    system.put("orders", "o-1", &order()).await?;

    let events = events(&system, "orders")?;
    let [event] = events.as_slice() else { bail!("one event expected, not {events:?}") };
    let value = event.value.as_ref().context("a value")?;
    let ids: Value = serde_json::from_str(&std::fs::read_to_string(system.schemas.join("ids.json"))?)?;
    let id = u32::try_from(ids["orders/v1.avsc"]["id"].as_u64().context("an id is pinned")?)?;
    assert_eq!(value[..5], [&[0][..], &id.to_be_bytes()].concat(), "Confluent's frame with the pinned id");
    let fields = read_as_a_stranger(value)?;
    for (name, expected) in as_avro() {
        let found = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
        assert_eq!(found, Some(&expected), "{name} in the topic");
    }

    until_persisted(&system, "/orders/o-1").await?;
    let table = system.table().await?;
    for (expression, expected, of) in AS_SQL {
        let sql = format!("SELECT CAST({expression} AS CHAR) FROM orders_live WHERE id = 'o-1'");
        let text: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&table).await.context(expression)?;
        assert_eq!(text, expected, "{expression} in the table");
        let column =
            expression.split(['(', ')', ' ', ',']).find(|word| order().get(word).is_some() || *word == "state");
        let sql = "SELECT CAST(data_type AS CHAR) FROM information_schema.columns \
                   WHERE table_schema = DATABASE() AND table_name = 'orders' AND column_name = ?";
        let found: String = sqlx::query(sql).bind(column).fetch_one(&table).await.context(expression)?.get(0);
        // MariaDB's JSON is a longtext with a check.
        assert!(found == of || (of == "json" && found == "longtext"), "{column:?} is {found}, not {of}");
    }

    let cached = system.call(Method::GET, "/orders/o-1", None).await?.text().await?;
    forget(&system, "orders:o-1").await?;
    let from_table = system.call(Method::GET, "/orders/o-1", None).await?.text().await?;
    assert_eq!(from_table, cached, "the table's record is another text than the cache's");

    let shown: Value = serde_json::from_str(&cached)?;
    assert_eq!(shown["id"], "o-1");
    for (name, sent) in order().as_object().context("an object")? {
        let normalised = match name.as_str() {
            "address" => json!({"city": "K\u{f6}ln", "floor": null, "since": "2020-02-29"}),
            "customer" => json!("123e4567-e89b-12d3-a456-426614174000"),
            "placed3" => json!("2026-11-24T11:34:56.789Z"),
            _ => sent.clone(),
        };
        assert_eq!(shown[name], normalised, "{name} comes back as it was sent");
    }
    assert_eq!((&shown["state"], &shown["maybe"]), (&json!("OPEN"), &Value::Null), "defaults are filled in");
    Ok(())
}

/// What GET says of a random order: each field as it was sent.
fn check_shown(shown: &str, order: &[Triple]) -> Result<()> {
    let shown: Value = serde_json::from_str(shown)?;
    for Triple { name, json, avro, .. } in order {
        let found = &shown[name];
        let same = match avro {
            // In its shortest form it is another double, and the same float.
            Avro::Float(number) => found.as_f64().is_some_and(|found| found as f32 == *number),
            _ => found == json,
        };
        ensure!(same, "{name} was sent as {json} and is shown as {found}");
    }
    Ok(())
}

fn check_event(event: &Read, order: &[Triple]) -> Result<()> {
    let fields: HashMap<_, _> = read_as_a_stranger(event.value.as_ref().context("a value")?)?.into_iter().collect();
    for Triple { name, json, avro, .. } in order {
        ensure!(
            fields.get(*name) == Some(avro),
            "{name} was sent as {json} and is {:?} in the topic",
            fields.get(*name)
        );
    }
    Ok(())
}

async fn check_row(table: &sqlx::MySqlPool, id: &str, order: &[Triple]) -> Result<()> {
    let expression = |Triple { name, sql, .. }: &Triple| match sql {
        Sql::Number(_) => format!("{name} + 0e0"),
        Sql::Bytes(_) => format!("CAST({name} AS BINARY)"),
        Sql::Text(_) | Sql::Json | Sql::Nothing => format!("CAST({name} AS CHAR)"),
    };
    let columns: Vec<_> = order.iter().map(expression).collect();
    let sql = format!("SELECT {} FROM orders_live WHERE id = ?", columns.join(", "));
    let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_one(table).await?;
    for (at, Triple { name, json, sql, .. }) in order.iter().enumerate() {
        let text = || row.try_get_unchecked::<Option<String>, _>(at);
        let same = match sql {
            Sql::Text(expected) => text()?.as_ref() == Some(expected),
            Sql::Number(expected) => row.try_get_unchecked::<f64, _>(at)? == *expected,
            Sql::Bytes(expected) => row.try_get_unchecked::<Vec<u8>, _>(at)? == *expected,
            Sql::Json => serde_json::from_str::<Value>(&text()?.context("no JSON")?)? == *json,
            Sql::Nothing => text()?.is_none(),
        };
        ensure!(
            same,
            "{name} was sent as {json} and is {:?} in the table",
            row.try_get_unchecked::<Option<Vec<u8>>, _>(at)
        );
    }
    Ok(())
}

#[tokio::test]
async fn random_records_of_every_type_are_the_same_in_cache_topic_and_table() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.add_schema("orders/v1.avsc", ORDERS)?;
    let system = system.up().await?;
    let seed: u64 = rand::random();
    let mut dice = Dice::new(seed);
    let orders: Vec<_> = (0..60).map(|n| (n.to_string(), random_order(&mut dice))).collect();
    let mut shown = HashMap::new();
    for (id, order) in &orders {
        let body = order.iter().map(|field| (field.name.to_owned(), field.json.clone())).collect();
        let whose = || format!("seed {seed}, order {id}");
        system.put("orders", id, &Value::Object(body)).await.with_context(whose)?;
        let text = system.call(Method::GET, &format!("/orders/{id}"), None).await?.text().await?;
        check_shown(&text, order).with_context(whose)?;
        shown.insert(id, text);
    }
    let events: HashMap<_, _> =
        events(&system, "orders")?.into_iter().map(|event| (event.key.clone(), event)).collect();
    let table = system.table().await?;
    for (id, order) in &orders {
        let whose = || format!("seed {seed}, order {id}");
        check_event(events.get(id).context("no event")?, order).with_context(whose)?;
        until_persisted(&system, &format!("/orders/{id}")).await.with_context(whose)?;
        check_row(&table, id, order).await.with_context(whose)?;
        forget(&system, &format!("orders:{id}")).await?;
        let text = system.call(Method::GET, &format!("/orders/{id}"), None).await?.text().await?;
        assert_eq!(Some(&text), shown.get(id), "{}: the table's record is another text than the cache's", whose());
    }
    let said = crate::commands::verify(&system, &[]).await?;
    ensure!(said.code == Some(0), "seed {seed}: verify sees a difference that there is not: {said:?}");
    Ok(())
}

#[tokio::test]
async fn a_restart_with_a_new_entity_gives_its_route_topic_and_table_and_leaves_the_others_alone() -> Result<()> {
    let mut system = System::start().await?;
    let john = json!({ "name": "John Doe", "age": 30, "occupation": null });
    system.put("users", "1", &john).await?;
    until_persisted(&system, "/users/1").await?;
    let before = (system.call(Method::GET, "/users/1", None).await?.text().await?, events(&system, "users")?);
    assert_eq!(system.call(Method::PUT, "/orders/1", Some(&order())).await?.status(), 404, "there are no orders yet");

    system.add_schema("orders/v1.avsc", ORDERS)?;
    system.migrate()?;
    for process in [system.ingest.take(), system.persister.take()].into_iter().flatten() {
        process.stop(system::PATIENCE)?;
    }
    system.start_persister().await?;
    system.start_ingest().await?;

    system.put("orders", "1", &order()).await?;
    until_persisted(&system, "/orders/1").await?;
    assert_eq!(events(&system, "orders")?.len(), 1);
    let after = (system.call(Method::GET, "/users/1", None).await?.text().await?, events(&system, "users")?);
    assert_eq!(after, before, "users were touched");
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(&system.table().await?).await?;
    assert_eq!(rows, 1);
    Ok(())
}

/// What a process says that must not start.
pub(crate) fn refusal(spec: &Spec) -> Result<String> {
    let process = Process::spawn(spec, Lifetime::Attached)?;
    match process.wait(Duration::from_secs(30))? {
        Ended::Yes(Some(status)) => {
            ensure!(!status.success(), "{} ends well\n{}", process.name(), process.log_tail(20));
            Ok(process.log_tail(20))
        }
        _ => bail!("{} goes on\n{}", process.name(), process.log_tail(20)),
    }
}

/// Every command that reads schemas.
fn commands(system: &System) -> [Spec; 3] {
    let migrate = system.spec("persister", "migrate-again", &system.accounts.migrate).arg("migrate");
    [migrate, system.ingest_spec(), system.persister_spec(&system.persister_admin_url)]
}

#[tokio::test]
async fn a_published_schema_that_was_edited_is_refused_by_file_and_with_the_remedy() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let file = system.schemas.join("users/v1.avsc");
    // Not even what means the same.
    std::fs::write(&file, std::fs::read_to_string(&file)? + "\n")?;
    for spec in commands(&system) {
        let said = refusal(&spec)?;
        assert!(said.contains("schemas/users/v1.avsc"), "no file in: {said}");
        assert!(said.contains("restore it") && said.contains("next version"), "no remedy in: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn a_new_version_that_cannot_read_the_older_ones_is_refused_and_not_published() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let ids = std::fs::read(system.schemas.join("ids.json"))?;
    let newest = std::fs::read_to_string(system.schemas.join("users/v2.avsc"))?;
    let changed = newest.replace(r#""name": "age", "type": "int""#, r#""name": "age", "type": "string""#);
    let changed = changed.replace(r#""minimum": 0, "maximum": 150, "#, "");
    assert_ne!(changed, newest);
    system.add_schema("users/v3.avsc", &changed)?;
    for spec in commands(&system) {
        let said = refusal(&spec)?;
        assert!(said.contains("schemas/users/v3.avsc"), "no file in: {said}");
    }
    let said = refusal(&commands(&system)[0])?;
    assert!(said.contains("field age") && said.contains("add a field instead"), "no field or remedy in: {said}");
    assert_eq!(std::fs::read(system.schemas.join("ids.json"))?, ids, "what is refused was published");
    Ok(())
}
