//! What the targets share: the entities that they feed, and what must hold of every record.

use std::sync::{Arc, LazyLock};

use record::{Catalog, Entity, Record, pin};

const FILES: [(&str, &str); 3] = [
    ("users/v1.avsc", include_str!("../../schemas/users/v1.avsc")),
    ("users/v2.avsc", include_str!("../../schemas/users/v2.avsc")),
    // Every type that there is.
    ("orders/v1.avsc", include_str!("../../e2e/tests/system/every_type/orders.v1.avsc")),
];

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    let pinned = pin(FILES, "").expect("sound schemas");
    Catalog::compile(FILES, &pinned.text).expect("sound schemas")
});

/// The entity that a first byte stands for.
#[must_use]
pub fn entity(chosen: u8) -> &'static Arc<Entity> {
    let name = if chosen.is_multiple_of(2) { "users" } else { "orders" };
    CATALOG.get(name).expect("it is there")
}

/// All forms of a record are the same record.
pub fn round_trip(entity: &Entity, record: &Record<'_>) -> String {
    let (mut text, mut datum) = (String::new(), Vec::new());
    entity.write_json(record, &mut text);
    let stored = entity.parse_stored(entity.newest_id(), &text).expect("what was written can be read");
    assert_eq!(stored, *record, "as the cache has it: {text}");
    entity.write_avro(record, &mut datum);
    let event = entity.read_avro(entity.newest_id(), &datum).expect("what was written can be read");
    assert_eq!(event, *record, "as the topic has it: {text}");
    let row = entity.assemble(record.clone().into_values()).expect("what was written can be read");
    assert_eq!(row, *record, "as the table has it: {text}");
    text
}

/// A refusal is the sender's fault, and says so.
pub fn refused(status: u16) {
    assert!((400..500).contains(&status), "what a stranger sent is answered with {status}");
}
