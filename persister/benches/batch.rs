//! What a batch costs beside its SQL, per event: coalescing, and keeping track of offsets. `make bench-micro`.
//!
//! Both are the persister's own, private files; nothing of it is public for the sake of a bench.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "a bench fails loudly, and of the two files it uses a part"
)]

#[path = "../src/batch.rs"]
mod batch;
#[path = "../src/commit.rs"]
mod commit;

use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use record::{Catalog, RecordId, Version, pin};
use topic::Partition;

use batch::{Readable, coalesce};
use commit::{Generation, OffsetTracker};

const EVENTS: u64 = 1000;
const SCHEMA: &str = include_str!("../../schemas/users/v2.avsc");
const BODY: &str =
    r#"{"name":"Johannes Doe","age":30,"occupation":"Engineer","first_name":"Johannes","last_name":"Doe"}"#;

fn main() {
    let mut criterion = Criterion::default()
        .output_directory(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("batch"))
        .without_plots()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    coalescing(&mut criterion);
    tracking(&mut criterion);
}

/// A batch as lanes take it: of all records, and where every second event is one of ten records'.
fn coalescing(criterion: &mut Criterion) {
    let files = [("users/v1.avsc", SCHEMA)];
    let catalog = Catalog::compile(files, &pin(files, "").unwrap().text).unwrap();
    let record = catalog.get("users").unwrap().parse_json(BODY.as_bytes()).unwrap().record;
    let event = |offset: u64, id: u64| Readable {
        offset: offset.cast_signed(),
        id: RecordId::parse(&format!("0198e6f4-5a3b-7c1d-8e2f-{id:012}")).unwrap(),
        version: Version::new(offset + 1).unwrap(),
        record: Some(record.clone()),
    };
    let mut group = criterion.benchmark_group("coalesce 1,000 events");
    group.throughput(Throughput::Elements(EVENTS));
    for (name, hot) in [("distinct", false), ("half of them of ten records", true)] {
        let id = |offset: u64| if hot && offset.is_multiple_of(2) { offset % 20 } else { 1000 + offset };
        let events: Vec<_> = (0..EVENTS).map(|offset| event(offset, id(offset))).collect();
        group.bench_function(name, |b| b.iter_batched(|| events.clone(), coalesce, BatchSize::LargeInput));
    }
    group.finish();
}

/// Batches of a thousand events that are done, in turn on all partitions; a commit for every hundred of them.
fn tracking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("offsets of 1,000 batches");
    group.throughput(Throughput::Elements(1000));
    for count in [6, 64] {
        let partitions: Vec<_> = (0..count).map(|number| Partition { topic: "users".into(), number }).collect();
        group.bench_function(format!("{count} partitions"), |b| {
            b.iter(|| {
                let mut tracker = OffsetTracker::default();
                partitions.iter().for_each(|partition| tracker.begin(partition.clone(), Generation(1)));
                for (at, partition) in (0_i64..1000).zip(partitions.iter().cycle()) {
                    let begin = at / i64::from(count) * 1000;
                    assert!(tracker.done(black_box(partition), Generation(1), begin..begin + 1000));
                    if at % 100 == 99 {
                        for due in tracker.due() {
                            tracker.committed(&due.partition, due.next);
                        }
                    }
                }
                tracker
            });
        });
    }
    group.finish();
}
