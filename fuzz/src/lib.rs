//! What the targets share: the entities that they feed, and what must hold of every record.

pub mod edges;
pub mod message;
pub mod seeds;
pub mod words;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use record::{Catalog, Entity, Record, pin};
use service::schemas;

/// Every type that there is.
const ORDERS: (&str, &str) = ("orders/v1.avsc", include_str!("../../e2e/tests/system/every_type/orders.v1.avsc"));

/// The house's own schemas, every type, and all that nesting and versions can do.
static ENTITIES: LazyLock<Vec<Arc<Entity>>> = LazyLock::new(|| {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let house = schemas::read(&here.join("../schemas")).expect("the house's schemas");
    let mut files = house.files;
    files.extend(schemas::read(&here.join("schemas")).expect("the schemas of this crate").files);
    files.push((ORDERS.0.to_owned(), ORDERS.1.to_owned()));
    compile(&files, &house.ids).iter().cloned().collect()
});

fn compile(files: &[(String, String)], ids: &str) -> Catalog {
    let files = || files.iter().map(|(path, text)| (path, text));
    let pinned = pin(files(), ids).unwrap_or_else(|faults| panic!("sound schemas: {faults:?}"));
    Catalog::compile(files(), &pinned.text).expect("they were compiled before they were pinned")
}

/// Each entity and the first byte that chooses it.
pub fn entities() -> impl Iterator<Item = (u8, &'static Arc<Entity>)> {
    (0..).zip(ENTITIES.iter())
}

/// The entity that a first byte stands for.
#[must_use]
pub fn entity(chosen: u8) -> &'static Arc<Entity> {
    &ENTITIES[usize::from(chosen) % ENTITIES.len()]
}

/// The entity as it was when each of its versions was the newest, and the id of that version.
pub fn versions(entity: &Entity) -> Vec<(record::SchemaId, Arc<Entity>)> {
    let mut files = Vec::new();
    let mut versions = Vec::new();
    for (number, id) in entity.versions() {
        let text = entity.schema_text(id).expect("a published version has a text");
        files.push((format!("{}/v{number}.avsc", entity.name()), text.to_owned()));
        versions.push((id, Arc::clone(compile(&files, "").get(entity.name()).expect("it is there"))));
    }
    versions
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
