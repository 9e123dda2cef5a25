//! `schemas/ids.json`: which id a published file has, and that its bytes never change.
//!
//! Must never change or drop an entry.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::catalog::{Catalog, File};
use crate::fault::SchemaFault;
use crate::version::SchemaId;

const FILE: &str = "ids.json";

/// What [`pin`] made of `ids.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// The whole new text of `ids.json`.
    pub text: String,
    /// What was published by it; empty when all was already.
    pub added: Vec<Added>,
}

/// A newly published file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Path below `schemas/`.
    pub file: String,
    /// Its id from now on.
    pub id: SchemaId,
}

/// Appends the ids that are missing to the text of `ids.json` (empty text: nothing is published yet).
///
/// # Errors
/// Every fault that `Catalog::compile` would find then: what is refused is not published.
pub fn pin<P, T>(files: impl IntoIterator<Item = (P, T)>, ids: &str) -> Result<Pinned, Vec<SchemaFault>>
where
    P: AsRef<str>,
    T: AsRef<str>,
{
    let mut files: Vec<File> = files.into_iter().map(|(path, text)| File::new(path.as_ref(), text.as_ref())).collect();
    // Versions of an entity in their order, so that ids grow with them.
    files.sort_by_key(File::order);
    let mut pins = Pins::parse(ids).map_err(|fault| vec![fault])?;
    let mut added = Vec::new();
    for file in &files {
        if pins.get(&file.path).is_none() {
            let id = pins.publish(&file.path, &file.text);
            added.push(Added { file: file.path.clone(), id });
        }
    }
    let text = if added.is_empty() { ids.to_owned() } else { pins.to_text() };
    Catalog::compile(files.iter().map(|file| (&file.path, &file.text)), &text)?;
    Ok(Pinned { text, added })
}

/// The entries of `ids.json`, in its order.
#[derive(Debug)]
pub(crate) struct Pins(Vec<(String, Pin)>);

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    id: u32,
    sha256: String,
}

impl Pins {
    pub(crate) fn parse(text: &str) -> Result<Pins, SchemaFault> {
        if text.trim().is_empty() {
            return Ok(Pins(Vec::new()));
        }
        let pins: Pins = serde_json::from_str(text).map_err(|error| fault(FILE, "json", error.to_string()))?;
        for (at, (path, pin)) in pins.0.iter().enumerate() {
            let earlier = || pins.0.iter().take(at);
            if earlier().any(|(other, _)| other == path) {
                return Err(fault(FILE, "ids", format!("{path} stands here twice")));
            }
            if pin.id == 0 || earlier().any(|(_, other)| other.id == pin.id) {
                return Err(fault(FILE, "ids", format!("the id of {path} is 0 or another file's")));
            }
        }
        Ok(pins)
    }

    fn get(&self, path: &str) -> Option<&Pin> {
        self.0.iter().find(|(other, _)| other == path).map(|(_, pin)| pin)
    }

    fn publish(&mut self, path: &str, text: &str) -> SchemaId {
        let id = self.0.iter().map(|(_, pin)| pin.id).max().unwrap_or(0).saturating_add(1);
        self.0.push((path.to_owned(), Pin { id, sha256: sha256(text) }));
        SchemaId::new(id)
    }

    /// The file's id, if it is published and unchanged.
    pub(crate) fn id(&self, path: &str, text: &str) -> Result<SchemaId, SchemaFault> {
        match self.get(path) {
            None => Err(fault(path, "published", "has no id in ids.json; `persister migrate` publishes it".to_owned())),
            Some(pin) if pin.sha256 != sha256(text) => {
                let what =
                    "was changed after it was published; restore it and put the change into the next version's file";
                Err(fault(path, "published", what.to_owned()))
            }
            Some(pin) => Ok(SchemaId::new(pin.id)),
        }
    }

    /// The published files.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(path, _)| path.as_str())
    }

    fn to_text(&self) -> String {
        let mut text = String::from("{");
        for (at, (path, pin)) in self.0.iter().enumerate() {
            text.push_str(if at == 0 { "\n  " } else { ",\n  " });
            crate::scalar::show_text(path, &mut text);
            text.push_str(&format!(": {{\"id\": {}, \"sha256\": \"{}\"}}", pin.id, pin.sha256));
        }
        text.push_str("\n}\n");
        text
    }
}

pub(crate) fn fault(file: &str, rule: &'static str, detail: String) -> SchemaFault {
    SchemaFault { file: file.to_owned(), field: String::new(), rule, detail }
}

fn sha256(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// In order and with duplicates, which a map would swallow.
impl<'de> Deserialize<'de> for Pins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pins, D::Error> {
        struct PinsVisitor;
        impl<'de> Visitor<'de> for PinsVisitor {
            type Value = Pins;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of file to {id, sha256}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pins, A::Error> {
                let mut pins = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    pins.push(entry);
                }
                Ok(Pins(pins))
            }
        }
        deserializer.deserialize_map(PinsVisitor)
    }
}
