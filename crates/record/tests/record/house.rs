//! What the tests build on: schemas as texts, published on the spot.

use std::sync::Arc;

use record::{Catalog, Entity, SchemaFault, pin};

/// Publishes the versions of one entity called `things` and compiles them.
pub(crate) fn compile(versions: &[&str]) -> Result<Arc<Entity>, Vec<SchemaFault>> {
    let files: Vec<(String, &str)> =
        versions.iter().enumerate().map(|(at, text)| (format!("things/v{}.avsc", at + 1), *text)).collect();
    let pinned = pin(files.iter().map(|(path, text)| (path, text)), "")?;
    let catalog = Catalog::compile(files.iter().map(|(path, text)| (path, text)), &pinned.text)?;
    Ok(Arc::clone(catalog.get("things").unwrap()))
}

/// The same for schemas that are right.
pub(crate) fn entity(versions: &[&str]) -> Arc<Entity> {
    compile(versions).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// A record schema of these fields, each the inside of its JSON object.
pub(crate) fn schema(fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("{{{field}}}")).collect();
    format!(r#"{{"type": "record", "name": "Thing", "fields": [{}]}}"#, fields.join(", "))
}

/// The house's own schemas, as committed.
pub(crate) fn users() -> Arc<Entity> {
    let files = [
        ("users/v1.avsc", include_str!("../../../../schemas/users/v1.avsc")),
        ("users/v2.avsc", include_str!("../../../../schemas/users/v2.avsc")),
    ];
    let catalog = Catalog::compile(files, include_str!("../../../../schemas/ids.json")).unwrap();
    Arc::clone(catalog.get("users").unwrap())
}
