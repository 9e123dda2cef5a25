//! Who asks, and what they may: API keys, of which only hashes are kept, and how often.

mod file;
mod issue;
mod rate;
mod settings;

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus::{IntCounterVec, IntGauge};
use record::Catalog;
use service::{Metrics, Supervisor};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use file::load;
pub use issue::IssueKey;
pub(crate) use rate::{Allowance, Rate};
pub use settings::CallerSettings;

use crate::files::Kept;

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
    /// `None`: as often as it likes.
    rate: Option<Arc<Rate>>,
}

impl Caller {
    /// Who asks where nobody needs a key.
    pub(crate) fn anybody() -> Self {
        Self { name: "".into(), rights: [Right::Read, Right::Write].into(), entities: None, rate: None }
    }

    /// The same, as often as this.
    fn allowed(self, allowance: Option<Allowance>) -> Self {
        Self { rate: allowance.map(Rate::new).map(Arc::new), ..self }
    }

    /// One that a key opens so much to.
    #[cfg(test)]
    pub(crate) fn with(rights: &[Right], entities: &[&str]) -> Self {
        let entities = entities.iter().map(|name| (*name).to_owned()).collect();
        Self { name: "one".into(), rights: rights.iter().copied().collect(), entities: Some(entities), rate: None }
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

    /// What bounds how often it may ask, if anything does.
    pub(crate) fn rate(&self) -> Option<&Rate> {
        self.rate.as_deref()
    }

    /// Returns when it may ask once more, which is then taken.
    ///
    /// # Cancellation
    /// Nothing is taken.
    pub(crate) async fn wait_for_one(&self) {
        let Some(rate) = self.rate() else { return };
        while let Err(wait) = rate.take() {
            tokio::time::sleep(wait).await;
        }
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

    /// A caller whose allowance is the same as before goes on with what is left of it.
    fn inherit(&mut self, before: &Self) {
        for Key { caller, .. } in &mut self.0 {
            if let Some(same) =
                before.0.iter().find(|old| old.caller.name == caller.name && old.caller.rate == caller.rate)
            {
                Arc::make_mut(caller).rate.clone_from(&same.caller.rate);
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|key| &*key.caller.name).collect()
    }
}

/// Keys are long and random: a plain hash tells nobody anything about one.
fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key).into()
}

/// Who may ask, at the moment.
#[derive(Debug)]
pub(crate) struct Callers {
    known: RwLock<Known>,
    keys: IntGauge,
    refused: IntCounterVec,
}

#[derive(Debug)]
enum Known {
    /// Everybody who reaches the port, as one caller.
    Anybody(Arc<Caller>),
    /// Whoever shows one of these.
    Keyed(Keys),
}

impl Callers {
    /// As the settings have it, with the file of keys looked at from now on.
    ///
    /// # Errors
    /// The file is at fault.
    pub(crate) fn supervise(
        settings: &CallerSettings,
        catalog: &Arc<Catalog>,
        metrics: &Metrics,
        supervisor: &Supervisor,
    ) -> anyhow::Result<Arc<Self>> {
        let allowance = settings.allowance();
        let known = match settings.api_keys {
            Some(_) => Known::Keyed(Keys::default()),
            None => Known::Anybody(Caller::anybody().allowed(allowance).into()),
        };
        let this = Arc::new(Self::new(known, metrics));
        let faulty =
            metrics.gauge("api_keys_file_faulty", "1 while the file of keys is at fault, and those from before count");
        if let Some(path) = settings.api_keys.clone() {
            let (callers, catalog): (_, Arc<Catalog>) = (Arc::clone(&this), Arc::clone(catalog));
            let load = move || load(&path, &catalog, allowance);
            let take = move |keys| callers.take(keys);
            Kept { name: "api-keys", load: Arc::new(load), take: Box::new(take), faulty }.supervise(supervisor)?;
        }
        Ok(this)
    }

    fn new(known: Known, metrics: &Metrics) -> Self {
        let refused = metrics.counter_vec(
            "rate_limited_total",
            "Requests answered with 429, by the name of their caller's key",
            &["caller"],
        );
        refused.with_label_values(&[ANYBODY]);
        let keys = metrics.gauge("api_keys", "Keys that open the HTTP port (--api-keys)");
        Self { known: known.into(), keys, refused }
    }

    /// Who shows this key, if one is needed; `None`: nobody we know.
    pub(crate) fn caller(&self, presented: Option<&str>) -> Option<Arc<Caller>> {
        match &*self.known.read().unwrap_or_else(PoisonError::into_inner) {
            Known::Anybody(anybody) => Some(Arc::clone(anybody)),
            Known::Keyed(keys) => keys.caller(presented?),
        }
    }

    /// Takes one of what a caller may ask for, and says how many are left; else how long until there is one.
    pub(crate) fn take_one(&self, caller: &Caller, rate: &Rate) -> Result<u32, Duration> {
        rate.take().inspect_err(|_| self.refused.with_label_values(&[label(&caller.name)]).inc())
    }

    fn take(&self, mut with: Keys) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if let Known::Keyed(before) = &*known {
            with.inherit(before);
            for gone in before.names().into_iter().filter(|name| !with.names().contains(name)) {
                // It is there: each name has a series since its key is.
                self.refused.remove_label_values(&[label(gone)]).ok();
            }
        }
        for name in with.names() {
            self.refused.with_label_values(&[label(name)]);
        }
        self.keys.set(with.0.len().try_into().unwrap_or(i64::MAX));
        tracing::info!(keys = ?with.names(), "these API keys are in force");
        *known = Known::Keyed(with);
    }
}

/// What stands in a label for a caller without a name.
const ANYBODY: &str = "anybody";

fn label(name: &str) -> &str {
    if name.is_empty() { ANYBODY } else { name }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(name: &str, key: &str, rights: &[Right], entities: Option<&[&str]>) -> Key {
        let entities = entities.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
        let rate = Some(Arc::new(Rate::new(Allowance::new(1, 2).unwrap())));
        let caller = Caller { name: name.into(), rights: rights.iter().copied().collect(), entities, rate };
        Key { hash: hash(key), caller: caller.into() }
    }

    fn callers(keys: Vec<Key>) -> Callers {
        Callers::new(Known::Keyed(Keys(keys)), &Metrics::new())
    }

    #[test]
    fn a_key_opens_its_entities_for_its_rights_and_no_others() {
        let callers = callers(vec![
            key("shop", "one", &[Right::Read, Right::Write], Some(&["users"])),
            key("report", "two", &[Right::Read], None),
        ]);
        let may = |presented, right, entity| callers.caller(Some(presented)).is_some_and(|who| who.may(right, entity));
        assert!(may("one", Right::Write, "users") && may("one", Right::Read, "users"));
        assert!(!may("one", Right::Write, "orders") && !may("one", Right::Read, "orders"));
        assert!(may("two", Right::Read, "orders") && !may("two", Right::Write, "orders"));
        assert_eq!(callers.caller(Some("three")), None);
        assert_eq!(callers.caller(None), None);
        callers.take(Keys(vec![key("new", "three", &[Right::Read], None)]));
        assert!(callers.caller(Some("one")).is_none() && may("three", Right::Read, "users"));
    }

    #[test]
    fn where_no_keys_are_everybody_may_everything() {
        let anybody = Known::Anybody(Caller::anybody().into());
        let anybody = Callers::new(anybody, &Metrics::new()).caller(None).unwrap();
        assert!(anybody.may(Right::Write, "users") && anybody.name().is_empty());
    }

    #[test]
    fn other_keys_give_nobody_back_what_he_has_taken_unless_his_allowance_is_another() {
        let callers = callers(vec![key("shop", "one", &[Right::Read], None)]);
        let take = |presented| callers.caller(Some(presented)).unwrap().rate().unwrap().take();
        assert_eq!((take("one"), take("one")), (Ok(1), Ok(0)));
        callers.take(Keys(vec![key("shop", "two", &[Right::Read], None), key("other", "three", &[Right::Read], None)]));
        assert!(take("two").is_err(), "a new key of the same caller");
        assert_eq!(take("three"), Ok(1), "another caller");
        let mut more = key("shop", "two", &[Right::Read], None);
        Arc::make_mut(&mut more.caller).rate = Some(Arc::new(Rate::new(Allowance::new(1, 5).unwrap())));
        callers.take(Keys(vec![more]));
        assert_eq!(take("two"), Ok(4));
    }

    #[tokio::test]
    async fn whoever_waits_for_one_gets_it_when_it_has_come_back_and_not_before() {
        let (caller, begun) = (Caller::anybody().allowed(Allowance::new(20, 1)), std::time::Instant::now());
        caller.wait_for_one().await;
        caller.wait_for_one().await;
        assert!(begun.elapsed() >= Duration::from_millis(50), "the second came with the first");
        Caller::anybody().wait_for_one().await;
    }

    proptest! {
        #[test]
        fn only_the_key_itself_is_the_key(presented in ".{0,80}") {
            let keys = Keys(vec![key("shop", "wb_0123", &[Right::Read], None)]);
            prop_assert_eq!(keys.caller(&presented).is_some(), presented == "wb_0123");
        }
    }
}
