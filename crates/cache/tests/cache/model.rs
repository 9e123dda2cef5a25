//! All rules together: random sequences of writes, acknowledgements, settles, reads and fills, of right and wrong
//! versions and epochs, against a model of the rules in plain Rust. After every step the model and Redis say the same.

use std::collections::BTreeMap;

use cache::{Dead, Entry, Lease, Looked, State, Written};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use record::{Version, issue};

use crate::support::{
    ANN, Fixture, delete, fresh, id, json, key, lease_key, logged, neighbours, put, record_key, shard_of, version,
};

const IDS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Put {
        of: usize,
    },
    Delete {
        of: usize,
    },
    /// `by`: how many times 16 the version is away from the record's (or from `last`, where there is no record).
    Acknowledge {
        of: usize,
        by: i64,
    },
    Settle {
        of: usize,
        by: i64,
        /// Read back in the epoch of now.
        now: bool,
    },
    /// `in_vain`: of what is awaited.
    Dead {
        of: usize,
        by: i64,
        in_vain: bool,
    },
    Read {
        of: usize,
    },
    /// Under the newest lease, or under the one before.
    Fill {
        of: usize,
        by: i64,
        newest: bool,
    },
    /// A record that may leave leaves.
    Expire {
        of: usize,
    },
    Incomplete {
        set: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let of = || 0..IDS;
    let by = || prop_oneof![4 => Just(0i64), 1 => Just(-1), 1 => Just(1)];
    let now = || prop::bool::weighted(0.8);
    let step = prop_oneof![
        4 => of().prop_map(|of| Step::Put { of }),
        1 => of().prop_map(|of| Step::Delete { of }),
        4 => (of(), by()).prop_map(|(of, by)| Step::Acknowledge { of, by }),
        4 => (of(), by(), now()).prop_map(|(of, by, now)| Step::Settle { of, by, now }),
        3 => (of(), by(), prop::bool::weighted(0.2)).prop_map(|(of, by, in_vain)| Step::Dead { of, by, in_vain }),
        3 => of().prop_map(|of| Step::Read { of }),
        3 => (of(), by(), prop::bool::weighted(0.8)).prop_map(|(of, by, newest)| Step::Fill { of, by, newest }),
        2 => of().prop_map(|of| Step::Expire { of }),
        1 => any::<bool>().prop_map(|set| Step::Incomplete { set }),
    ];
    prop::collection::vec(step, 1..40)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cached {
    version: u64,
    state: State,
    deleted: bool,
    /// What it has overwritten and the table may lack.
    below: Option<u64>,
    /// Nothing is left of it but its version.
    awaited: bool,
}

/// The rules, for three records of one shard.
#[derive(Debug, Default)]
struct Model {
    records: [Option<Cached>; IDS],
    outbox: BTreeMap<usize, u64>,
    unsettled: BTreeMap<usize, u64>,
    /// The number of the lease that stands.
    leases: [Option<usize>; IDS],
    last: u64,
    incomplete: bool,
}

impl Model {
    fn write(&mut self, of: usize, deleted: bool, version: u64) {
        let unsettled = self.records[of].filter(|record| record.state != State::Persisted);
        let below = unsettled.map(|record| record.version);
        self.records[of] = Some(Cached { version, state: State::Cached, deleted, below, awaited: false });
        self.outbox.insert(of, version);
        self.unsettled.remove(&of);
        self.leases[of] = None;
        self.last = version;
    }

    fn acknowledge(&mut self, of: usize, version: u64) -> u64 {
        match &mut self.records[of] {
            Some(record) if record.version == version && record.state == State::Cached => {
                record.state = State::Logged;
                self.outbox.remove(&of);
                self.unsettled.insert(of, version);
                1
            }
            _ => 0,
        }
    }

    fn settle(&mut self, of: usize, held: u64, now: bool) -> u64 {
        self.leases[of] = None;
        self.last = self.last.max(held);
        if let Some(record) = &mut self.records[of] {
            record.below = record.below.filter(|below| *below > held);
        }
        let version = self.records[of].map_or(0, |record| record.version);
        if version > held {
            return 0;
        }
        self.outbox.remove(&of);
        self.unsettled.remove(&of);
        match &mut self.records[of] {
            Some(record) if version == held && !record.awaited && now && !self.incomplete => {
                record.state = State::Persisted;
                1
            }
            _ => {
                self.records[of] = None;
                0
            }
        }
    }

    fn dead(&mut self, of: usize, version: u64, in_vain: bool) -> u64 {
        self.leases[of] = None;
        let Some(record) = self.records[of] else {
            self.outbox.remove(&of);
            self.unsettled.remove(&of);
            return 0;
        };
        if record.version != version || record.awaited != in_vain {
            return 0;
        }
        self.outbox.remove(&of);
        self.unsettled.remove(&of);
        self.records[of] = record.below.map(|version| {
            self.unsettled.insert(of, version);
            Cached { version, state: State::Logged, deleted: false, below: None, awaited: true }
        });
        1
    }

    fn fill(&mut self, of: usize, lease: usize, version: u64) -> bool {
        if self.leases[of] != Some(lease) || self.incomplete {
            return false;
        }
        self.leases[of] = None;
        if self.records[of].is_some() {
            return false;
        }
        self.records[of] =
            Some(Cached { version, state: State::Persisted, deleted: false, below: None, awaited: false });
        self.last = self.last.max(version);
        true
    }
}

/// The model beside the cache.
struct Both<'a> {
    cache: &'a Fixture,
    ids: &'a [String],
    model: Model,
    /// Every lease that was given, with the record it was given for.
    leases: Vec<(usize, Lease)>,
}

impl Both<'_> {
    fn around(&self, of: usize, by: i64) -> Version {
        let version = self.model.records[of].map_or(self.model.last, |record| record.version);
        self::version(version.saturating_add_signed(by * 16).max(16))
    }

    async fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Put { of } => self.write(of, false).await?,
            Step::Delete { of } => self.write(of, true).await?,
            Step::Acknowledge { of, by } => {
                let version = self.around(of, by);
                let moved = self.cache.acknowledge(&self.ids[of], version).await;
                prop_assert_eq!(moved, self.model.acknowledge(of, version.get()));
            }
            Step::Settle { of, by, now } => {
                let held = self.around(of, by);
                let epoch = self.cache.cache.epoch() - u64::from(!now);
                let marked = self.cache.settle_in(&self.ids[of], held, epoch).await;
                prop_assert_eq!(marked, self.model.settle(of, held.get(), now));
            }
            Step::Dead { of, by, in_vain } => {
                let version = self.around(of, by);
                let dead = Dead { entity: "users".to_owned(), id: id(&self.ids[of]), version, in_vain };
                let dropped = self.cache.cache.dead(&[dead]).await.expect("the script answers");
                prop_assert_eq!(dropped, self.model.dead(of, version.get(), in_vain));
            }
            Step::Read { of } => self.read(of).await?,
            Step::Fill { of, by, newest } => self.fill(of, by, newest).await?,
            Step::Expire { of } => {
                if self.model.records[of].is_some_and(|record| record.state == State::Persisted) {
                    self.cache.ask::<()>("DEL", &[record_key(&self.ids[of])]).await;
                    self.model.records[of] = None;
                }
            }
            Step::Incomplete { set } => {
                let incomplete = key(&self.ids[0], "incomplete");
                match set {
                    true => self.cache.ask::<()>("SET", &[incomplete, "1".to_owned()]).await,
                    false => self.cache.ask::<()>("DEL", &[incomplete]).await,
                }
                self.model.incomplete = set;
            }
        }
        Ok(())
    }

    async fn write(&mut self, of: usize, deleted: bool) -> Result<(), TestCaseError> {
        let write = if deleted { delete(&self.ids[of]) } else { put(&self.ids[of]) };
        let mine = write.mine;
        let written = self.cache.write(write).await;
        let version = issue(self.cache.last_reading().now, version(self.model.last), Version::ZERO, mine);
        prop_assert_eq!(written, Written::New(version));
        self.model.write(of, deleted, version.get());
        Ok(())
    }

    async fn read(&mut self, of: usize) -> Result<(), TestCaseError> {
        match (self.cache.look(&self.ids[of]).await, self.model.records[of]) {
            (Looked::Hit(hit), Some(record)) => {
                let deleted = hit.content == cache::Content::Tombstone;
                let found = Cached { version: hit.version.get(), state: hit.state, deleted, ..record };
                prop_assert!(!record.awaited, "what is awaited has no content");
                prop_assert_eq!(found, record);
            }
            (Looked::Miss(None), Some(record)) => prop_assert!(record.awaited, "it is there: {record:?}"),
            (Looked::Miss(None), None) => prop_assert!(self.model.incomplete, "no lease"),
            (Looked::Miss(Some(lease)), None) => {
                prop_assert!(!self.model.incomplete, "a lease in doubt");
                match self.model.leases[of] {
                    Some(stands) => prop_assert_eq!(&self.leases[stands].1, &lease, "it is handed on"),
                    None => {
                        self.model.leases[of] = Some(self.leases.len());
                        self.leases.push((of, lease));
                    }
                }
            }
            (looked, record) => prop_assert!(false, "the cache says {looked:?}, the model {record:?}"),
        }
        Ok(())
    }

    async fn fill(&mut self, of: usize, by: i64, newest: bool) -> Result<(), TestCaseError> {
        let mut given = self.leases.iter().enumerate().rev().filter(|(_, (for_, _))| *for_ == of);
        let Some((number, (_, lease))) = given.nth(usize::from(!newest)) else { return Ok(()) };
        let version = self.around(of, by);
        let entry = Entry { entity: "users".to_owned(), id: id(&self.ids[of]), version, content: json(ANN) };
        let filled = self.cache.cache.fill(lease, &entry).await.expect("the script answers");
        prop_assert_eq!(filled, self.model.fill(of, number, version.get()));
        Ok(())
    }

    /// Everything that stands in Redis is what the model has.
    async fn agree(&self) -> Result<(), TestCaseError> {
        for (of, id) in self.ids.iter().enumerate() {
            let stands = self.cache.stands(id).await;
            match self.model.records[of] {
                None => prop_assert!(stands.is_empty(), "{id} should be gone: {stands:?}"),
                Some(record) if record.awaited => {
                    let shown = [&stands["version"], &stands["state"]].map(String::as_str);
                    prop_assert_eq!(shown, [&*record.version.to_string(), "awaited"]);
                    prop_assert!(stands.keys().all(|field| ["version", "state", "logged_at"].contains(&&**field)));
                    prop_assert!(self.cache.life(&record_key(id)).await.is_none(), "it would be forgotten");
                }
                Some(record) => {
                    let below = record.below.map(|below| below.to_string());
                    prop_assert_eq!(stands.get("below"), below.as_ref(), "what it has overwritten");
                    let shown = [&stands["version"], &stands["state"], &stands["deleted"]].map(String::as_str);
                    let deleted = u8::from(record.deleted).to_string();
                    prop_assert_eq!(shown, [&*record.version.to_string(), record.state.as_str(), &*deleted]);
                    let expires = self.cache.life(&record_key(id)).await.is_some();
                    prop_assert_eq!(expires, record.state == State::Persisted, "only what is persisted expires (G4)");
                }
            }
            let score = |index: &BTreeMap<usize, u64>| index.get(&of).map(u64::to_string);
            let indexes = (score(&self.model.outbox), score(&self.model.unsettled));
            prop_assert_eq!(self.cache.indexes(id).await, indexes, "outbox and unsettled of {}", id);
            prop_assert_eq!(
                self.cache.exists(&lease_key(id)).await,
                self.model.leases[of].is_some(),
                "lease of {}",
                id
            );
        }
        prop_assert_eq!(self.cache.last(&self.ids[0]).await, self.model.last);
        self.same_to_relay().await
    }

    async fn same_to_relay(&self) -> Result<(), TestCaseError> {
        let mut waiting: Vec<_> = self.model.outbox.iter().map(|(of, version)| (*version, *of)).collect();
        waiting.sort_unstable();
        let shard = shard_of(&self.ids[0]);
        let pending = self.cache.cache.pending(shard, 0, Version::MAX.get(), 100).await.expect("the script answers");
        let pending: Vec<_> = pending.entries.iter().map(|entry| (entry.version.get(), entry.id.as_str())).collect();
        let expected: Vec<_> = waiting.iter().map(|(version, of)| (*version, self.ids[*of].as_str())).collect();
        prop_assert_eq!(pending, expected, "oldest first");
        Ok(())
    }
}

#[test]
fn redis_does_what_the_rules_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cache = runtime.block_on(fresh());
    let ids = neighbours(IDS);
    TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() })
        .run(&steps(), |steps| {
            runtime.block_on(async {
                let epoch = [key(&ids[0], "epoch"), "n".to_owned(), cache.cache.epoch().to_string()];
                cache.ask::<()>("FLUSHDB", &[] as &[&str]).await;
                cache.ask::<()>("HSET", &epoch).await;
                let mut both = Both { cache: &cache, ids: &ids, model: Model::default(), leases: Vec::new() };
                for step in &steps {
                    both.step(step).await?;
                    both.agree().await?;
                }
                Ok(())
            })
        })
        .unwrap();
}

/// The oldest acknowledgement of all: what the model is for, once by hand.
#[tokio::test]
async fn a_record_goes_from_cached_to_logged_to_persisted() {
    let cache = fresh().await;
    let version = cache.put("1").await;
    assert_eq!(cache.state("1").await, State::Cached);
    cache.cache.logged(&[logged("1", version)]).await.unwrap();
    assert_eq!(cache.state("1").await, State::Logged);
    cache.settle("1", version).await;
    assert_eq!(cache.state("1").await, State::Persisted);
}
