//! Who asks, and what they may: API keys, of which only hashes are kept.

mod file;
mod issue;
mod settings;
mod watch;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

pub use file::{KeysFault, load};
pub use issue::IssueKey;
pub use settings::CallerSettings;
pub(crate) use watch::supervise;

/// What somebody wants to do with an entity's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Read them.
    Read,
    /// Write and delete them.
    Write,
}

impl Right {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Somebody who has shown a key, or anybody where nobody needs one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// As the key's file names it; empty where nobody is told apart.
    name: Arc<str>,
    rights: BTreeSet<Right>,
    /// `None`: all.
    entities: Option<BTreeSet<String>>,
}

impl Caller {
    /// Who asks where nobody needs a key.
    pub(crate) fn anybody() -> Self {
        Self { name: "".into(), rights: [Right::Read, Right::Write].into(), entities: None }
    }

    pub(crate) fn name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Whether it may do this with records of the entity.
    pub(crate) fn may(&self, right: Right, entity: &str) -> bool {
        self.rights.contains(&right) && self.sees(entity)
    }

    /// Whether it may know that there is such an entity.
    pub(crate) fn sees(&self, entity: &str) -> bool {
        self.entities.as_ref().is_none_or(|entities| entities.contains(entity))
    }
}

/// A key as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    hash: [u8; 32],
    caller: Arc<Caller>,
}

/// A set of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Whose key it is. Every key is compared whole, so that the time it takes says nothing about any.
    fn caller(&self, presented: &str) -> Option<Arc<Caller>> {
        let hash = hash(presented);
        let found = self.0.iter().fold(None, |found, key| if key.hash.ct_eq(&hash).into() { Some(key) } else { found });
        found.map(|key| Arc::clone(&key.caller))
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.0.iter().map(|key| key.caller.name()).collect()
    }
}

/// Keys are long and random: a plain hash tells nobody anything about one.
fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Who may ask, at the moment.
#[derive(Debug)]
pub(crate) enum Callers {
    /// Everybody who reaches the port.
    Anybody(Arc<Caller>),
    /// Whoever shows one of these.
    Keyed(RwLock<Keys>),
}

impl Callers {
    /// Who shows this key, if it is needed; `None`: nobody we know.
    pub(crate) fn caller(&self, presented: Option<&str>) -> Option<Arc<Caller>> {
        match self {
            Self::Anybody(anybody) => Some(Arc::clone(anybody)),
            Self::Keyed(keys) => keys.read().unwrap_or_else(PoisonError::into_inner).caller(presented?),
        }
    }

    fn replace(&self, with: Keys) {
        if let Self::Keyed(keys) = self {
            *keys.write().unwrap_or_else(PoisonError::into_inner) = with;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str, key: &str, rights: &[Right], entities: Option<&[&str]>) -> Key {
        let entities = entities.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let caller = Caller { name: name.into(), rights: rights.iter().copied().collect(), entities };
        Key { hash: hash(key), caller: caller.into() }
    }

    #[test]
    fn a_key_opens_its_entities_for_its_rights_and_no_others() {
        let keys = Keys(vec![
            key("shop", "one", &[Right::Read, Right::Write], Some(&["users"])),
            key("report", "two", &[Right::Read], None),
        ]);
        let callers = Callers::Keyed(RwLock::new(keys));
        let may = |presented, right, entity| callers.caller(Some(presented)).is_some_and(|who| who.may(right, entity));
        assert!(may("one", Right::Write, "users") && may("one", Right::Read, "users"));
        assert!(!may("one", Right::Write, "orders") && !may("one", Right::Read, "orders"));
        assert!(may("two", Right::Read, "orders") && !may("two", Right::Write, "orders"));
        assert_eq!(callers.caller(Some("three")), None);
        assert_eq!(callers.caller(None), None);
        callers.replace(Keys(vec![key("new", "three", &[Right::Read], None)]));
        assert!(callers.caller(Some("one")).is_none() && may("three", Right::Read, "users"));
    }

    #[test]
    fn where_no_keys_are_everybody_may_everything() {
        let anybody = Callers::Anybody(Caller::anybody().into()).caller(None).unwrap();
        assert!(anybody.may(Right::Write, "users") && anybody.name().is_empty());
    }

    proptest! {
        #[test]
        fn only_the_key_itself_is_the_key(presented in ".{0,80}") {
            let keys = Keys(vec![key("shop", "wb_0123", &[Right::Read], None)]);
            prop_assert_eq!(keys.caller(&presented).is_some(), presented == "wb_0123");
        }
    }
}
