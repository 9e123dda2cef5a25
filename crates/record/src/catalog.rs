//! All entities of the house, compiled from the text of `schemas/`.
//!
//! Must never read a file: the services hand the texts in. Must never compile half: one fault refuses all.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::avro::ReadPlan;
use crate::compile::{self, Draft, Report};
use crate::entity::{Entity, Published};
use crate::fault::SchemaFault;
use crate::gate;
use crate::name::EntityName;
use crate::pins::{Pins, fault};
use crate::version::SchemaId;

/// Every entity, by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    entities: BTreeMap<String, Arc<Entity>>,
}

impl Catalog {
    /// Compiles every schema.
    ///
    /// `files` are paths below `schemas/` (`users/v1.avsc`) with their text, in any order; `ids` is the text of
    /// `schemas/ids.json`.
    ///
    /// # Errors
    /// Every fault at once, each naming file, field and rule.
    pub fn compile<P, T>(files: impl IntoIterator<Item = (P, T)>, ids: &str) -> Result<Catalog, Vec<SchemaFault>>
    where
        P: AsRef<str>,
        T: AsRef<str>,
    {
        let mut faults = Vec::new();
        let pins = Pins::parse(ids).map_err(|fault| vec![fault])?;
        let files: Vec<File> = files.into_iter().map(|(path, text)| File::new(path.as_ref(), text.as_ref())).collect();
        let mut entities = BTreeMap::new();
        for (name, versions) in by_entity(&files, &pins, &mut faults) {
            if let Some(entity) = entity(name, &versions, &pins, &mut faults) {
                entities.insert(entity.name().to_owned(), Arc::new(entity));
            }
        }
        if faults.is_empty() {
            Ok(Catalog { entities })
        } else {
            faults.sort();
            faults.dedup();
            Err(faults)
        }
    }

    /// The entity with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Entity>> {
        self.entities.get(name)
    }

    /// Every entity, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entity>> {
        self.entities.values()
    }
}

/// A schema file as handed in.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        File { path: path.to_owned(), text: text.to_owned() }
    }

    /// Entity and number of `users/v2.avsc`.
    fn place(&self) -> Option<(&str, u32)> {
        let (entity, file) = self.path.split_once('/')?;
        let digits = file.strip_prefix('v')?.strip_suffix(".avsc")?;
        let number: u32 = digits.parse().ok()?;
        // `v01` and `v+1` are other names of the same version.
        (number > 0 && number.to_string() == digits).then_some((entity, number))
    }

    /// Entities by name, their versions by number.
    pub(crate) fn order(&self) -> (String, u32) {
        self.place().map_or_else(|| (self.path.clone(), 0), |(entity, number)| (entity.to_owned(), number))
    }
}

type Versions<'f> = BTreeMap<u32, &'f File>;

fn by_entity<'f>(files: &'f [File], pins: &Pins, faults: &mut Vec<SchemaFault>) -> Vec<(EntityName, Versions<'f>)> {
    let mut entities: BTreeMap<&str, Versions<'f>> = BTreeMap::new();
    for file in files {
        match file.place() {
            Some((entity, number)) => {
                if entities.entry(entity).or_default().insert(number, file).is_some() {
                    faults.push(fault(&file.path, "path", "was handed in twice".to_owned()));
                }
            }
            None => {
                faults.push(fault(&file.path, "path", "a schema is <entity>/v<number>.avsc, from v1 on".to_owned()))
            }
        }
    }
    for path in pins.paths().filter(|path| files.iter().all(|file| file.path != *path)) {
        faults.push(fault(
            path,
            "published",
            "is published and gone; restore it: its records are still on the topic".to_owned(),
        ));
    }
    let mut named = Vec::new();
    for (entity, versions) in entities {
        match EntityName::parse(entity) {
            Ok(name) => named.push((name, versions)),
            Err(error) => faults.extend(versions.values().map(|file| fault(&file.path, "name", error.to_string()))),
        }
    }
    named
}

fn entity(name: EntityName, versions: &Versions<'_>, pins: &Pins, faults: &mut Vec<SchemaFault>) -> Option<Entity> {
    for ((number, file), expected) in versions.iter().zip(1..) {
        if *number != expected {
            faults.push(fault(&file.path, "gap", format!("v{expected}.avsc is missing; versions have no gaps")));
            return None;
        }
    }
    let compiled: Vec<Option<Compiled<'_>>> =
        versions.iter().map(|(number, file)| compile_file(*number, file, pins, faults)).collect();
    // The gate needs all versions; their own faults come first.
    let compiled = compiled.into_iter().collect::<Option<Vec<_>>>()?;
    let before = faults.len();
    check_all(&compiled, faults);
    if faults.len() > before { None } else { assemble(name, compiled) }
}

struct Compiled<'f> {
    number: u32,
    id: SchemaId,
    file: &'f File,
    draft: Draft,
}

fn compile_file<'f>(number: u32, file: &'f File, pins: &Pins, faults: &mut Vec<SchemaFault>) -> Option<Compiled<'f>> {
    let id = pins.id(&file.path, &file.text).map_err(|fault| faults.push(fault)).ok();
    let mut report = Report::new(&file.path);
    let draft = compile::compile(&file.text, &mut report);
    faults.append(&mut report.faults);
    Some(Compiled { number, id: id?, file, draft: draft? })
}

/// Every version against every older one: a replay reads all, and whoever is not updated yet reads what is between.
fn check_all(compiled: &[Compiled<'_>], faults: &mut Vec<SchemaFault>) {
    for (at, newer) in compiled.iter().enumerate() {
        let mut report = Report::new(&newer.file.path);
        for older in compiled.iter().take(at) {
            gate::check(&older.draft, &newer.draft, &format!("v{}", older.number), &mut report);
        }
        faults.append(&mut report.faults);
    }
}

fn assemble(name: EntityName, compiled: Vec<Compiled<'_>>) -> Option<Entity> {
    let last = compiled.last()?;
    let (fields, newest) = (last.draft.fields.clone(), last.id);
    let doc = last.draft.records.first().and_then(|root| root.doc.clone());
    let positions = fields.iter().enumerate().map(|(at, field)| (field.name.clone(), at)).collect();
    let members = fields.iter().map(|field| format!(",\"{}\":", field.name)).collect();
    let versions = compiled
        .into_iter()
        .map(|version| Published {
            number: version.number,
            id: version.id,
            text: version.file.text.clone(),
            plan: ReadPlan::new(&version.draft.fields, &fields),
        })
        .collect();
    Some(Entity { name, doc, fields, positions, members, versions, newest })
}
