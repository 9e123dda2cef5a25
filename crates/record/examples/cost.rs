//! What the hot conversions cost, beside serde_json into a plain struct: `cargo run --release -p record --example cost`.
//!
//! Prints the median of rounds that alternate between the candidates, so that a noisy machine hits all alike.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::Instant;

use record::{Catalog, pin};

const SCHEMA: &str = r#"{"type": "record", "name": "Customer", "fields": [
    {"name": "name", "type": "string", "maxLength": 255},
    {"name": "age", "type": "int", "minimum": 0, "maximum": 150},
    {"name": "occupation", "type": ["null", "string"], "default": null, "maxLength": 255},
    {"name": "email", "type": "string", "maxLength": 255},
    {"name": "street", "type": "string", "maxLength": 255},
    {"name": "city", "type": "string", "maxLength": 255},
    {"name": "balance", "type": "long"},
    {"name": "active", "type": "boolean"},
    {"name": "score", "type": "double"},
    {"name": "note", "type": ["null", "string"], "default": null}
]}"#;
const BODY: &str = r#"{"name":"Johannes Doe","age":30,"occupation":"Engineer","email":"johannes.doe@example.org","street":"Long Winding Road 1234","city":"Springfield","balance":1234567890123,"active":true,"score":98.25,"note":"called twice about it"}"#;

#[derive(serde::Deserialize)]
#[allow(dead_code)]
struct Customer {
    name: String,
    age: i32,
    occupation: Option<String>,
    email: String,
    street: String,
    city: String,
    balance: i64,
    active: bool,
    score: f64,
    note: Option<String>,
}

type Candidate<'a> = (&'a str, Box<dyn FnMut() + 'a>);

fn main() {
    let files = [("customers/v1.avsc", SCHEMA)];
    let catalog = Catalog::compile(files, &pin(files, "").unwrap().text).unwrap();
    let entity = catalog.get("customers").unwrap();
    let (mut datum, mut text) = (Vec::with_capacity(512), String::with_capacity(512));
    let record = entity.parse_json(BODY.as_bytes()).unwrap().record;
    entity.write_avro(&record, &mut datum);
    let framed = datum.clone();
    println!("body {} bytes, datum {} bytes", BODY.len(), framed.len());

    let mut candidates: Vec<Candidate<'_>> = vec![
        (
            "serde_json into a plain struct",
            Box::new(|| drop(black_box(serde_json::from_str::<Customer>(black_box(BODY)).unwrap()))),
        ),
        ("parse_json", Box::new(|| drop(black_box(entity.parse_json(black_box(BODY.as_bytes())).unwrap())))),
        (
            "parse_json + write_avro",
            Box::new(|| {
                let input = entity.parse_json(black_box(BODY.as_bytes())).unwrap();
                datum.clear();
                entity.write_avro(&input.record, &mut datum);
                black_box(&datum);
            }),
        ),
        (
            "write_json",
            Box::new(|| {
                text.clear();
                entity.write_json(black_box(&record), &mut text);
                black_box(&text);
            }),
        ),
        (
            "parse_stored",
            Box::new(|| drop(black_box(entity.parse_stored(entity.newest_id(), black_box(BODY)).unwrap()))),
        ),
        ("read_avro", Box::new(|| drop(black_box(entity.read_avro(entity.newest_id(), black_box(&framed)).unwrap())))),
    ];
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); candidates.len()];
    for _ in 0..41 {
        for ((_, run), times) in candidates.iter_mut().zip(&mut rounds) {
            let start = Instant::now();
            (0..5_000).for_each(|_| run());
            times.push(start.elapsed().as_secs_f64() / 5_000.0 * 1e9);
        }
    }
    let median = |times: &mut Vec<f64>| {
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
    };
    let medians: Vec<f64> = rounds.iter_mut().map(median).collect();
    let base = medians.first().copied().unwrap_or(f64::NAN);
    for ((name, _), nanos) in candidates.iter().zip(&medians) {
        println!("{name:<32} {nanos:>7.0} ns  {:.2}", nanos / base);
    }
}
