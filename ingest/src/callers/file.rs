//! The file of keys: TOML, a `[[key]]` for each.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use record::Catalog;
use serde::{Deserialize, Serialize};

use super::rate::PER_SECOND_MOST;
use super::{Allowance, Caller, Key, Keys, Rate, Right};

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
    /// Instead of `--rate-per-s`; 0: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_per_s: Option<u32>,
    /// Instead of `--rate-burst`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rate_burst: Option<u32>,
}

impl WrittenKey {
    /// The rate of its own, else the one of everybody.
    fn allowance(&self, of_all: Option<Allowance>) -> Result<Option<Allowance>, &'static str> {
        match (self.rate_per_s, self.rate_burst) {
            (Some(per_second), _) if per_second > PER_SECOND_MOST => Err("rate_per_s is at most 1000000"),
            (Some(per_second), burst) => Ok(Allowance::new(per_second, burst.unwrap_or(0))),
            (None, Some(_)) => Err("rate_burst stands there without rate_per_s"),
            (None, None) => Ok(of_all),
        }
    }
}

/// The keys of a file. `of_all` is the allowance of whoever has none of its own.
///
/// # Errors
/// The file cannot be read, or holds something that is no key, each with its place or the key's name: for a person.
pub(super) fn load(path: &Path, catalog: &Catalog, of_all: Option<Allowance>) -> Result<Keys, String> {
    let told = |fault: String| format!("--api-keys {}: {fault}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    parse(&text, catalog, of_all).map_err(told)
}

fn parse(text: &str, catalog: &Catalog, of_all: Option<Allowance>) -> Result<Keys, String> {
    // The message alone: what stands around the fault is not for a log.
    let Written { key: written } = toml::from_str(text).map_err(|error| placed(text, &error))?;
    if written.is_empty() {
        return Err("it has no [[key]]: `ingest api-key NAME` makes one".to_owned());
    }
    let mut keys: Vec<Key> = Vec::new();
    for written in written {
        let name = written.name.clone();
        let key = key(written, catalog, of_all, &keys).map_err(|fault| format!("key {name:?}: {fault}"))?;
        keys.push(key);
    }
    Ok(Keys(keys))
}

/// Two keys of one name are one caller: that is how a key is replaced without a gap.
fn key(written: WrittenKey, catalog: &Catalog, of_all: Option<Allowance>, others: &[Key]) -> Result<Key, String> {
    let allowance = written.allowance(of_all)?;
    let WrittenKey { name, sha256, rights, entities, .. } = written;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a name has 1 to 64 letters, digits or signs".to_owned());
    }
    let hash = hexadecimal(&sha256).ok_or("sha256 is not 64 hexadecimal digits")?;
    if rights.is_empty() {
        return Err("it has no rights, which are \"read\" and \"write\"".to_owned());
    }
    if let Some(unknown) = entities.iter().flatten().find(|entity| catalog.get(entity).is_none()) {
        return Err(format!("there is no entity {unknown}"));
    }
    if others.iter().any(|other| other.hash == hash) {
        return Err("another key has the same hash".to_owned());
    }
    let rate = match others.iter().find(|other| *other.caller.name == *name) {
        Some(same) if same.caller.rate().map(|rate| rate.allowance) == allowance => same.caller.rate.clone(),
        Some(_) => return Err("another key of this name, and so the same caller, has another rate".to_owned()),
        None => allowance.map(Rate::new).map(Arc::new),
    };
    Ok(Key { hash, caller: Caller { name: name.into(), rights, entities, rate }.into() })
}

fn placed(text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
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
        parse(text, &catalog(), None).unwrap_err()
    }

    #[test]
    fn a_file_names_keys_with_rights_and_entities() {
        let sha256 = hex::encode(hash("wb_1"));
        let text = format!("[[key]]\nname='shop'\nsha256='{sha256}'\nrights=['write']\nentities=['users']\n");
        let keys = parse(&text, &catalog(), None).unwrap();
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
        let other = key.replace(&sha256, &hex::encode(hash("wb_2")));
        assert!(fault(&format!("{key}{other}rate_per_s=5\n")).contains("the same caller, has another rate"));
        assert!(fault(&format!("{key}rate_burst=5\n")).contains("rate_burst stands there without rate_per_s"));
        assert!(fault("[[key]]\nname=").starts_with("line 2: "), "{}", fault("[[key]]\nname="));
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_of_without_what_stands_in_it() {
        let told = fault("[[key]]\nname = 'shop'\nkey = 'wb_secret'\n");
        assert!(told.starts_with("line 3: ") && !told.contains("secret"), "{told}");
    }

    #[test]
    fn a_key_has_the_rate_of_everybody_unless_it_has_its_own() {
        let of_all = Allowance::new(10, 20);
        let rate = |more: &str| {
            let sha256 = hex::encode(hash("wb_1"));
            let text = format!("[[key]]\nname='shop'\nsha256='{sha256}'\nrights=['write']\n{more}");
            let keys = parse(&text, &catalog(), of_all).unwrap();
            keys.caller("wb_1").unwrap().rate().map(|rate| rate.allowance)
        };
        assert_eq!(rate(""), of_all);
        assert_eq!(rate("rate_per_s=5"), Allowance::new(5, 5));
        assert_eq!(rate("rate_per_s=5\nrate_burst=7"), Allowance::new(5, 7));
        assert_eq!(rate("rate_per_s=0"), None);
    }
}
