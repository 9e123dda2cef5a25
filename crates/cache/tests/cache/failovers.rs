//! R14 and R15 across a failover. It is real: a second Redis replicates, is cut off, and is promoted.

use cache::{Looked, Settled};
use stack::Redis;

use crate::support::{complete, fixture, own_redis, plain_connection, record_key, settings, until};

/// A replica that lacks the last writes, promoted.
struct Failover {
    old: Redis,
    new: Redis,
}

impl Failover {
    fn servers() -> Self {
        Self { old: own_redis(), new: own_redis() }
    }

    /// The new one has what the old one has at this moment, and nothing that comes after.
    async fn replicate_and_cut(&self) {
        let mut replica = plain_connection(&self.new.url(0)).await;
        let of = self.old.url(0);
        let port = of.rsplit(':').next().and_then(|rest| rest.split('/').next()).expect("a port").to_owned();
        let _: () = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(&port).query_async(&mut replica).await.unwrap();
        let mut master = plain_connection(&self.old.url(0)).await;
        until("the replica has all of it", || {
            let (mut replica, mut master) = (replica.clone(), master.clone());
            async move {
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("replication").query_async(&mut replica).await.unwrap();
                // Before it has synchronised it tells an offset of its own past.
                let linked = info.get::<String>("master_link_status").is_some_and(|status| status == "up");
                let here: u64 = info.get("slave_repl_offset").unwrap_or(0);
                let info: redis::InfoDict =
                    redis::cmd("INFO").arg("replication").query_async(&mut master).await.unwrap();
                let there: u64 = info.get("master_repl_offset").unwrap_or(u64::MAX);
                linked && here >= there && here > 0
            }
        })
        .await;
        let _: () = redis::cmd("REPLICAOF").arg("NO").arg("ONE").query_async(&mut replica).await.unwrap();
        let _: () = redis::cmd("PING").query_async(&mut master).await.unwrap();
    }
}

/// A master that was made a replica and then a master again keeps its `run_id`, and may have lost what the other one lacked.
#[tokio::test]
async fn r15_a_redis_that_was_a_replica_in_between_begins_a_new_life_although_it_never_ended() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let (before, first) = (cache.cache.epoch(), cache.put("1").await);
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    let back = Failover { old: servers.new, new: servers.old };
    back.replicate_and_cut().await;
    let after = fixture(cache.settings.clone()).await;
    assert_eq!(after.stands("1").await["version"], first.to_string(), "this test would show nothing");
    assert!(after.cache.epoch() > before, "{second} is gone, and nobody says so");
    assert_eq!(after.incomplete().await, 16);
}

/// `k19`, `k21`: v2 is persisted and settled, the failover forgets it, and the promoted replica has v1 with hours to live.
#[tokio::test]
async fn r15_what_was_settled_before_a_failover_does_not_count_as_current_after_it() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let first = cache.put("1").await;
    cache.settle("1", first).await;
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    cache.settle("1", second).await;

    let after = fixture(settings(&servers.new.url(0))).await;
    assert_eq!(after.stands("1").await["version"], first.to_string(), "this test would show nothing");
    assert_eq!(after.look("1").await, Looked::Miss(None), "v1 is stale, and If-Match v1 would destroy v2");
    assert!(after.cache.epoch() > cache.cache.epoch());
    assert_eq!(after.incomplete().await, 16);
}

/// `k33`, `k33b`: A applies v1; B applies and settles v2; failover to v1, epoch raised; A's settle comes late.
#[tokio::test]
async fn r14_a_settle_of_an_older_epoch_is_not_believed() {
    let servers = Failover::servers();
    let cache = complete(fixture(settings(&servers.old.url(0))).await).await;
    let first = cache.put("1").await;
    let late = Settled { ..cache.settled("1", first) };
    servers.replicate_and_cut().await;
    let second = cache.put("1").await;
    cache.settle("1", second).await;

    let after = complete(fixture(settings(&servers.new.url(0))).await).await;
    assert_eq!(after.cache.settle(&[late]).await.unwrap(), 0, "v1 is marked current, although the row is v2");
    assert!(!after.exists(&record_key("1")).await, "the row answers for it");
    assert_eq!(after.indexes("1").await, (None, None));
    // In the epoch of now it is certain.
    let third = after.put("1").await;
    assert_eq!(after.settle("1", third).await, 1);
}
