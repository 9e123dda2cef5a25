//! The file of keys: TOML, a `[[key]]` for each.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use record::Catalog;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{Caller, Key, Keys, Right};

/// What is wrong with a file of keys.
#[derive(Debug, Error)]
pub enum KeysFault {
    /// It cannot be read.
    #[error("--api-keys {}: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be.
    #[error("--api-keys {}: {fault}", path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// Where, and what.
        fault: String,
    },
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) key: Vec<WrittenKey>,
}

/// A key as it stands in the file.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenKey {
    pub(super) name: String,
    pub(super) sha256: String,
    pub(super) rights: BTreeSet<Right>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) entities: Option<BTreeSet<String>>,
}

/// The keys of a file, and the text that they were read from.
///
/// # Errors
/// The file cannot be read, or holds something that is no key, each with its place or the key's name.
pub fn load(path: &Path, catalog: &Catalog) -> Result<(Keys, String), KeysFault> {
    let text =
        std::fs::read_to_string(path).map_err(|source| KeysFault::Unreadable { path: path.to_owned(), source })?;
    let keys = parse(&text, catalog).map_err(|fault| KeysFault::Invalid { path: path.to_owned(), fault })?;
    Ok((keys, text))
}

fn parse(text: &str, catalog: &Catalog) -> Result<Keys, String> {
    let Written { key: written } = toml::from_str(text).map_err(|error| error.to_string())?;
    if written.is_empty() {
        return Err("it has no [[key]]: `ingest api-key NAME` makes one".to_owned());
    }
    let mut keys: Vec<Key> = Vec::new();
    for WrittenKey { name, sha256, rights, entities } in written {
        let fault = |what: &str| Err(format!("key {name:?}: {what}"));
        if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return fault("a name has 1 to 64 letters, digits or signs");
        }
        let Some(hash) = hexadecimal(&sha256) else { return fault("sha256 is not 64 hexadecimal digits") };
        if rights.is_empty() {
            return fault("it has no rights, which are \"read\" and \"write\"");
        }
        if let Some(unknown) = entities.iter().flatten().find(|entity| catalog.get(entity).is_none()) {
            return fault(&format!("there is no entity {unknown}"));
        }
        if keys.iter().any(|other| other.hash == hash) {
            return fault("another key has the same hash");
        }
        // Two keys of one name are one caller: that is how a key is replaced without a gap.
        keys.push(Key { hash, caller: Caller { name: name.into(), rights, entities }.into() });
    }
    Ok(Keys(keys))
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callers::hash;

    fn catalog() -> Catalog {
        let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
        service::schemas::load(Path::new(schemas)).unwrap()
    }

    fn fault(text: &str) -> String {
        parse(text, &catalog()).unwrap_err()
    }

    #[test]
    fn a_file_names_keys_with_rights_and_entities() {
        let sha256 = hex::encode(hash("wb_1"));
        let text = format!("[[key]]\nname='shop'\nsha256='{sha256}'\nrights=['write']\nentities=['users']\n");
        let keys = parse(&text, &catalog()).unwrap();
        let shop = keys.caller("wb_1").unwrap();
        assert!(shop.may(Right::Write, "users") && !shop.may(Right::Read, "users"));
        assert_eq!(&*shop.name(), "shop");
    }

    #[test]
    fn every_fault_names_its_key_and_what_to_do() {
        let sha256 = hex::encode(hash("wb_1"));
        let with = |more: &str| fault(&format!("[[key]]\nname='shop'\n{more}"));
        assert!(fault("").contains("no [[key]]"));
        assert!(with("sha256='12'\nrights=['read']").contains("key \"shop\": sha256 is not 64 hexadecimal digits"));
        assert!(with(&format!("sha256='{sha256}'\nrights=[]")).contains("key \"shop\": it has no rights"));
        assert!(with(&format!("sha256='{sha256}'\nrights=['admin']")).contains("admin"));
        assert!(with(&format!("sha256='{sha256}'\nrights=['read']\nentities=['x']")).contains("no entity x"));
        assert!(with(&format!("sha256='{sha256}'\nrights=['read']\nentity=['x']")).contains("entity"), "a typo");
        let key = format!("[[key]]\nname='a'\nsha256='{sha256}'\nrights=['read']\n");
        assert!(fault(&format!("{key}{key}")).contains("another key has the same hash"));
    }
}
