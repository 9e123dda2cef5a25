//! What the conversions of a record cost: `make bench-micro`.
//!
//! Beside each way from JSON stands `serde_json` into a plain struct of the same fields, and beside reading a datum apache-avro
//! without a second schema. A round measures all of them; the ratios are taken within rounds, since a machine changes between
//! them, and the median of the ratios is told.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a bench fails loudly and prints")]

mod table;
mod users;
mod wide;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use criterion::{Criterion, Throughput};
use record::{Catalog, Entity, pin};
use serde::de::DeserializeOwned;

use table::Table;

/// The one that the services have.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 5;

/// Conversions from JSON begin at a body and say what they made of it; those of a datum begin at the datum.
const PLAIN: &str = "serde_json into a plain struct";
const DATUM: &str = "apache-avro reads the datum";

fn main() {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transcode");
    let mut table = Table::new(out);
    for _ in 0..ROUNDS {
        // One that has seen a name before calls it by another.
        let mut criterion = Criterion::default()
            .output_directory(table.out())
            .without_plots()
            .warm_up_time(Duration::from_millis(60))
            .measurement_time(Duration::from_millis(240))
            .sample_size(20)
            .configure_from_args();
        measure::<users::User>(&mut criterion, "users", users::SCHEMA, users::BODY);
        measure::<wide::Wide>(&mut criterion, "wide", &wide::schema(), &wide::body());
        table.round();
    }
    table.print();
}

fn measure<Plain: DeserializeOwned>(criterion: &mut Criterion, name: &str, schema: &str, body: &str) {
    let files = [(format!("{name}/v1.avsc"), schema)];
    let files = || files.iter().map(|(path, text)| (path, text));
    let catalog = Catalog::compile(files(), &pin(files(), "").unwrap().text).unwrap();
    let entity: &Entity = catalog.get(name).unwrap();
    let record = entity.parse_json(body.as_bytes()).unwrap().record;
    let (mut text, mut datum) = (String::new(), Vec::new());
    entity.write_json(&record, &mut text);
    entity.write_avro(&record, &mut datum);
    let change = entity.change(Some(&record));
    let schema = Schema::parse_str(schema).unwrap();
    let theirs = GenericDatumReader::builder(&schema).build().unwrap();

    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(body.len() as u64));
    let bytes = body.as_bytes();
    group.bench_function(PLAIN, |b| b.iter(|| serde_json::from_slice::<Plain>(black_box(bytes)).unwrap()));
    group.bench_function("parse_json", |b| b.iter(|| drop(black_box(entity.parse_json(black_box(bytes)).unwrap()))));
    group.bench_function("write_json", |b| {
        b.iter(|| {
            let mut text = String::new();
            entity.write_json(black_box(&record), &mut text);
            text
        });
    });
    group.bench_function("change", |b| b.iter(|| entity.change(Some(black_box(&record)))));
    group.bench_function("to_value", |b| b.iter(|| black_box(&change).to_value()));
    group.bench_function("JSON to Avro", |b| {
        b.iter(|| entity.change(Some(&entity.parse_json(black_box(bytes)).unwrap().record)));
    });
    group.bench_function("JSON to stored JSON, Avro and value", |b| {
        b.iter(|| {
            let input = entity.parse_json(black_box(bytes)).unwrap();
            let mut text = String::new();
            entity.write_json(&input.record, &mut text);
            (text, entity.change(Some(&input.record)).to_value())
        });
    });
    group.bench_function("parse_stored", |b| {
        b.iter(|| drop(black_box(entity.parse_stored(entity.newest_id(), black_box(&text)).unwrap())));
    });
    group.throughput(Throughput::Bytes(datum.len() as u64));
    group.bench_function(DATUM, |b| b.iter(|| theirs.read_value(&mut black_box(datum.as_slice())).unwrap()));
    group.bench_function("read_avro", |b| {
        b.iter(|| drop(black_box(entity.read_avro(entity.newest_id(), black_box(&datum)).unwrap())));
    });
    group.finish();
}
