//! A key lands in the partition that Java's clients put it in: else a writer in Java would split a record's events over
//! two partitions, and a delete could overtake its put.

use std::collections::BTreeMap;

use stack::shared;
use topic::Publisher;

use crate::support::{birth, publish_all, topic, upsert};

const PARTITIONS: i32 = 12;

/// Where our publisher puts these keys.
fn ours(topic: &str, keys: &[String]) -> BTreeMap<String, i32> {
    let settings = crate::support::topic(topic, PARTITIONS);
    let events: Vec<_> = keys.iter().map(|key| upsert(key, birth(0))).collect();
    let published = publish_all(&Publisher::new(&settings).unwrap(), topic, &events);
    keys.iter().cloned().zip(published.into_iter().map(|published| published.partition)).collect()
}

/// Kafka's own producer puts the keys 0 to 4999 somewhere and says where.
#[test]
fn numbers_land_where_kafkas_own_producer_puts_them() {
    topic("placed-by-java", PARTITIONS);
    let arguments = ["--topic", "placed-by-java", "--max-messages", "5000", "--repeating-keys", "5000"];
    let told = shared::kafka().tool("org.apache.kafka.tools.VerifiableProducer", &arguments).expect("the tool runs");
    let field = |line: &str, name: &str| {
        let rest = line.split(&format!("\"{name}\":")).nth(1)?;
        Some(rest.trim_matches('"').split(['"', ',', '}']).next()?.to_owned())
    };
    let sent = told.lines().filter(|line| line.contains("producer_send_success"));
    let javas: BTreeMap<_, i32> =
        sent.map(|line| (field(line, "key").unwrap(), field(line, "partition").unwrap().parse().unwrap())).collect();
    assert_eq!(javas.len(), 5000, "{told:.500}");
    let keys: Vec<_> = javas.keys().cloned().collect();
    assert_eq!(ours("placed-by-us", &keys), javas);
}

/// murmur2 as Kafka's clients have it.
fn murmur2(data: &[u8]) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mix = |k: u32| {
        let k = k.wrapping_mul(M);
        (k ^ (k >> 24)).wrapping_mul(M)
    };
    let mut hash = 0x9747_b28c ^ u32::try_from(data.len()).unwrap();
    let chunks = data.chunks_exact(4);
    let tail = chunks.remainder();
    for chunk in chunks {
        hash = hash.wrapping_mul(M) ^ mix(u32::from_le_bytes(chunk.try_into().unwrap()));
    }
    if !tail.is_empty() {
        let mut last = [0; 4];
        last[..tail.len()].copy_from_slice(tail);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    (hash ^ (hash >> 15)).cast_signed()
}

/// The table is that of Kafka's own `UtilsTest`.
#[test]
fn our_murmur2_is_that_of_kafka() {
    let table = [
        ("21", -973_932_308),
        ("foobar", -790_332_482),
        ("a-little-bit-long-string", -985_981_536),
        ("a-little-bit-longer-string", -1_486_304_829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
        ("abc", 479_470_107),
    ];
    for (key, hash) in table {
        assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
    }
}

/// Every length that an id may have.
#[test]
fn ids_of_every_length_land_by_murmur2() {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    let id = |length: usize| {
        let characters = (0..length).map(|n| alphabet[(n * 7 + length * 13) % alphabet.len()] as char);
        characters.collect::<String>()
    };
    let keys: Vec<_> = (1..=128).map(id).filter(|id| id != "." && id != "..").collect();
    for (key, partition) in ours("every-length", &keys) {
        assert_eq!(partition, (murmur2(key.as_bytes()) & 0x7fff_ffff) % PARTITIONS, "{key}");
    }
}
