//! What others built understands the topic: Python's confluent-kafka and fastavro, Kafka's own console consumer; and
//! Kafka's own producer puts a key into the partition where we put it.

use std::collections::HashMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::topic_reader::read_all;
use e2e::{Servers, System, system};
use reqwest::Method;
use serde_json::{Value, json};
use stack::{Tools, workspace};

use crate::every_type::{ORDERS, order};

const CONTENT_TYPE: &str = "application/vnd.confluent.avro";
/// Trace context as a client sends it.
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn topic_of(system: &System, entity: &str) -> String {
    format!("{}{entity}", system.topic_prefix)
}

/// Every message of an entity's topic, decoded by Python with the published schemas alone.
fn read_with_python(system: &System, entity: &str) -> Result<Vec<Value>> {
    let topic = topic_of(system, entity);
    let done = Command::new(Tools::find().python()?)
        .arg(workspace().join("e2e/tests/system/readers/read_topic.py"))
        .args([&system.servers.kafka.brokers(), &format!("python.{topic}"), &topic])
        .arg(&system.schemas)
        .output()?;
    ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout)?.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// A write that was answered, as the topic must tell it; `value` is what GET showed right after it.
struct Written {
    id: String,
    version: u64,
    op: &'static str,
    trace: Option<&'static str>,
    schema: Option<u64>,
    value: Value,
}

async fn put(system: &System, entity: &str, id: &str, body: &Value, schema: u64) -> Result<Written> {
    let version = system.put(entity, id, body).await?["version"].as_u64().context("version")?;
    let mut value: Value = system.call(Method::GET, &format!("/{entity}/{id}"), None).await?.json().await?;
    let shown = value.as_object_mut().context("a record")?.remove("id");
    ensure!(shown == Some(json!(id)), "GET shows the id {shown:?}");
    Ok(Written { id: id.to_owned(), version, op: "upsert", trace: None, schema: Some(schema), value })
}

async fn delete(system: &System, entity: &str, id: &str) -> Result<Written> {
    let url = format!("{}/{entity}/{id}", system.ingest_url);
    let answer = system.client.delete(url).header("traceparent", TRACE).send().await?.error_for_status()?;
    let version = answer.json::<Value>().await?["version"].as_u64().context("version")?;
    let (id, trace) = (id.to_owned(), Some(TRACE));
    Ok(Written { id, version, op: "delete", trace, schema: None, value: Value::Null })
}

impl Written {
    /// Its message; where it stands is the broker's to say.
    fn told(&self, partition: &Value, offset: &Value) -> Value {
        let version = self.version.to_string();
        let mut headers =
            vec![json!(["content-type", CONTENT_TYPE]), json!(["op", self.op]), json!(["origin", "write"])];
        headers.extend(self.trace.map(|trace| json!(["traceparent", trace])));
        headers.push(json!(["version", version]));
        json!({
            "key": self.id, "partition": partition, "offset": offset,
            "headers": headers, "schema": self.schema, "value": self.value,
        })
    }
}

/// One message a write, in the order of the writes within a partition, each with all that was written.
fn assert_told(told: &[Value], written: &[Written]) {
    assert_eq!(told.len(), written.len(), "{told:?}");
    let mut next: HashMap<i64, i64> = HashMap::new();
    let mut homes: HashMap<&str, i64> = HashMap::new();
    for write in written {
        let version = json!(["version", write.version.to_string()]);
        let has_it = |message: &&Value| message["headers"].as_array().is_some_and(|all| all.contains(&version));
        let message = told.iter().find(has_it).unwrap_or_else(|| panic!("{version} is missing in {told:?}"));
        assert_eq!(*message, write.told(&message["partition"], &message["offset"]));
        let partition = message["partition"].as_i64().expect("a partition");
        let offset = next.entry(partition).or_default();
        assert_eq!(message["offset"], *offset, "{} came out of turn", write.id);
        *offset += 1;
        assert_eq!(*homes.entry(&write.id).or_insert(partition), partition, "{} has two partitions", write.id);
    }
}

#[tokio::test]
async fn python_reads_users_of_both_schema_versions_and_their_tombstones() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    // At first as it was before v2.
    let (ids, newest) = (system.schemas.join("ids.json"), system.schemas.join("users/v2.avsc"));
    let (all, v2) = (std::fs::read_to_string(&ids)?, std::fs::read_to_string(&newest)?);
    let first: Value = serde_json::from_str(&all)?;
    std::fs::write(&ids, json!({ "users/v1.avsc": first["users/v1.avsc"] }).to_string())?;
    std::fs::remove_file(&newest)?;
    system = system.up().await?;

    let mut written = Vec::new();
    for n in 0..12 {
        let body = json!({ "name": format!("Jos\u{e9} {n}"), "age": n * 10, "occupation": "" });
        written.push(put(&system, "users", &n.to_string(), &body, 1).await?);
    }
    written.push(delete(&system, "users", "3").await?);

    std::fs::write(&ids, all)?;
    std::fs::write(&newest, v2)?;
    for process in [system.ingest.take(), system.persister.take()].into_iter().flatten() {
        process.stop(system::PATIENCE)?;
    }
    system = system.up().await?;
    for n in (0..12).step_by(2) {
        let body = json!({ "first_name": "Ada", "last_name": n.to_string(), "age": 36 });
        written.push(put(&system, "users", &n.to_string(), &body, 2).await?);
    }
    written.push(delete(&system, "users", "4").await?);
    written.push(delete(&system, "users", "never-there").await?);

    let told = read_with_python(&system, "users")?;
    assert_told(&told, &written);
    let told = |schema: u64, value: Value| told.iter().any(|m| m["schema"] == schema && m["value"] == value);
    assert!(told(1, json!({ "name": "Jos\u{e9} 7", "age": 70, "occupation": "" })));
    let ada = json!({
        "name": "Ada 8", "age": 36, "occupation": null, "first_name": "Ada", "last_name": "8"
    });
    assert!(told(2, ada));
    Ok(())
}

#[tokio::test]
async fn python_reads_every_avro_type_as_it_was_written() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.add_schema("orders/v1.avsc", ORDERS)?;
    let system = system.up().await?;
    let ids: Value = serde_json::from_str(&std::fs::read_to_string(system.schemas.join("ids.json"))?)?;
    let schema = ids["orders/v1.avsc"]["id"].as_u64().context("an id is pinned")?;
    let mut small = order();
    for (field, value) in [("either", json!(null)), ("exact", json!("-0.07")), ("state", json!("SENT"))] {
        small[field] = value;
    }
    let mut written = vec![
        put(&system, "orders", "o-1", &order(), schema).await?,
        put(&system, "orders", "o-2", &small, schema).await?,
        delete(&system, "orders", "o-1").await?,
    ];
    for write in &mut written {
        assert!(write.op == "delete" || write.value["weight"] == 0.1);
        if write.op == "upsert" {
            // Avro's float is the single closest to it, and Python has doubles only.
            write.value["weight"] = json!(f64::from(0.1_f32));
        }
    }
    assert_told(&read_with_python(&system, "orders")?, &written);
    Ok(())
}

#[tokio::test]
async fn kafkas_console_consumer_reads_keys_headers_and_the_bytes_of_values() -> Result<()> {
    let system = System::start().await?;
    let ada = put(&system, "users", "ada", &json!({ "name": "Ada", "age": 36 }), 2).await?;
    let bob = put(&system, "users", "b.o~b", &json!({ "name": "\\", "age": 0, "occupation": "x" }), 2).await?;
    let gone = delete(&system, "users", "ada").await?;

    let (kafka, topic) = (system.servers.kafka, topic_of(&system, "users"));
    let printed = kafka.tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &[
            &["--topic", topic.as_str(), "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000"][..],
            &["--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true"],
            &["--formatter-property", "print.headers=true", "--formatter-property", "print.key=true"],
            &["--formatter-property", "null.literal=(null)", "--formatter-property"],
            // Prints a backslash and what is not printable as \xHH.
            &["value.deserializer=org.apache.kafka.common.serialization.BytesDeserializer"],
        ]
        .concat(),
    )?;
    let mut lines: Vec<_> = printed.lines().filter(|line| line.starts_with("Partition:")).collect();
    lines.sort_unstable();

    // The frame, then by Avro's specification: lengths and numbers zigzagged, unions by the place of their branch.
    let values = [
        (&ada, r"\x00\x00\x00\x00\x02\x06AdaH\x00\x00\x00"),
        (&bob, r"\x00\x00\x00\x00\x02\x02\x5C\x00\x02\x02x\x00\x00"),
        (&gone, "(null)"),
    ];
    let stored = read_all(&kafka.brokers(), &topic)?;
    let mut expected = Vec::new();
    for (write, value) in values {
        let version = write.version.to_string();
        let read = stored.iter().find(|read| read.header("version") == Some(&version)).context("a message")?;
        let mut headers = format!("version:{version},op:{},origin:write,content-type:{CONTENT_TYPE}", write.op);
        headers.extend(write.trace.map(|trace| format!(",traceparent:{trace}")));
        let place = format!("Partition:{}\tOffset:{}", read.partition, read.offset);
        expected.push(format!("{place}\t{headers}\t{}\t{value}", write.id));
    }
    expected.sort_unstable();
    assert_eq!(lines, expected, "{printed}");
    Ok(())
}

/// Two hundred ids of every length and character that an id may have.
fn ids() -> Vec<String> {
    let characters: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').chain("._~-".chars()).collect();
    let of_length = |length: usize| (0..length).map(|at| characters[(at * 7 + length) % characters.len()]).collect();
    let mut ids: Vec<String> = (2..=128).map(of_length).collect();
    ids.extend((1000..1067).map(|n| n.to_string()));
    ids.extend(["~", "-", "_", "...", ".a", "01a20e35-9546-72fc-825b-a3de67d7a9b7"].map(str::to_owned));
    ids
}

#[tokio::test]
async fn a_key_is_in_the_partition_where_javas_producer_puts_it() -> Result<()> {
    let system = System::start().await?;
    let ids = ids();
    for id in &ids {
        system.put("users", id, &json!({ "name": "Jane", "age": 1 })).await?;
    }
    let (kafka, topic) = (system.servers.kafka, topic_of(&system, "users"));
    let brokers = kafka.brokers();
    let partitions = e2e::topic_reader::committed(&brokers, &system.group, &topic)?.len();
    let javas = topic_of(&system, "java");
    let create = ["--create", "--topic", &javas, "--partitions", &partitions.to_string()];
    kafka.tool("org.apache.kafka.tools.TopicCommand", &create)?;
    let lines: String = ids.iter().map(|id| format!("{id}|\n")).collect();
    let properties = ["--reader-property", "parse.key=true", "--reader-property", "key.separator=|"];
    let arguments = [&["--topic", javas.as_str()], &properties[..]].concat();
    kafka.tool_with_input("org.apache.kafka.tools.ConsoleProducer", &arguments, &lines)?;

    let homes = |topic: &str| -> Result<HashMap<String, i32>> {
        Ok(read_all(&brokers, topic)?.into_iter().map(|read| (read.key, read.partition)).collect())
    };
    let (ours, javas) = (homes(&topic)?, homes(&javas)?);
    assert_eq!((ours.len(), javas.len()), (ids.len(), 200));
    for id in ids {
        assert_eq!(ours[&id], javas[&id], "{id}");
    }
    let used: std::collections::HashSet<_> = ours.values().collect();
    assert_eq!((used.len(), partitions), (6, 6), "200 ids are in every partition");
    Ok(())
}
