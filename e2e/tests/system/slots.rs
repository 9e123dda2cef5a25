//! R4: no two processes give out versions without Redis with one slot, however they are named and whatever they are told.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::System;
use e2e::system::metric;
use stack::{Lifetime, Process, port};

/// Who holds which slot in Redis.
async fn holders(system: &System) -> Result<BTreeMap<u8, String>> {
    let mut held = BTreeMap::new();
    for slot in 1..=14 {
        let holder: Option<String> = system.redis(&["GET"], &[format!("wb:{{slot}}:{slot}")]).await?;
        held.extend(holder.map(|holder| (slot, holder)));
    }
    Ok(held)
}

/// One ingest more, which listens here.
fn one_more(system: &System, name: &str, admin: &str) -> Result<Process> {
    let spec = system.spec("ingest", name, &system.accounts.ingest);
    Process::spawn(&spec.env("LISTEN", "127.0.0.1:0").env("ADMIN_LISTEN", admin), Lifetime::Attached)
}

async fn is_shown(system: &System, admin: &str, slot: u8) -> Result<bool> {
    let Ok(text) = system.metrics(&format!("http://{admin}")).await else { return Ok(false) };
    Ok(metric(&text, "write_behind_instance_slot") == Some(f64::from(slot)))
}

/// As two machines of one name have it: nothing that was set tells them apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_k06_two_ingests_of_one_name_and_the_same_settings_have_two_slots() -> Result<()> {
    let system = System::prepare(e2e::Servers::shared())?;
    system.migrate()?;
    let _both = [one_more(&system, "one", "127.0.0.1:0")?, one_more(&system, "other", "127.0.0.1:0")?];
    system
        .eventually("each has a slot of its own", async || {
            let held = holders(&system).await?;
            Ok(held.len() == 2 && held.values().collect::<std::collections::BTreeSet<_>>().len() == 2)
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_an_ingest_that_is_started_in_the_place_of_a_killed_one_has_its_slot() -> Result<()> {
    let system = System::prepare(e2e::Servers::shared())?;
    system.migrate()?;
    let admin = format!("127.0.0.1:{}", port::free()?);
    let mut held = Vec::new();
    for name in ["one", "next"] {
        let process = one_more(&system, name, &admin)?;
        let has_one = async || {
            let Some((slot, _)) = holders(&system).await?.pop_first() else { return Ok(false) };
            is_shown(&system, &admin, slot).await
        };
        system.eventually("it has a slot", has_one).await?;
        held.push(holders(&system).await?);
        process.kill()?;
    }
    assert_eq!(
        (held[0].len(), &held[0]),
        (1, &held[1]),
        "each crash costs a slot of the fourteen, for as long as a lease"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_k06_of_two_with_one_instance_slot_the_earlier_learns_of_it_and_does_without() -> Result<()> {
    let system = System::prepare(e2e::Servers::shared())?.with("INSTANCE_SLOT", "3");
    system.migrate()?;
    let [one, other] = [(); 2].map(|()| port::free().map(|port| format!("127.0.0.1:{port}")));
    let (one, other) = (one?, other?);
    let earlier = one_more(&system, "one", &one)?;
    system.eventually("it has what it was given", async || is_shown(&system, &one, 3).await).await?;
    let taken = async || Ok(holders(&system).await?.keys().eq([&3]));
    system.eventually("nobody can lease it", taken).await?;
    let later = one_more(&system, "other", &other)?;
    system.eventually("the earlier one has none", async || is_shown(&system, &one, 0).await).await?;
    assert!(is_shown(&system, &other, 3).await?, "both gave it up, and nobody has it");
    assert!(earlier.log_tail(50).contains("the same --instance-slot"), "{}", earlier.log_tail(50));
    let status = later.stop(Duration::from_secs(20))?.context("the later one does not stop")?;
    assert!(status.success(), "{status}");
    system.eventually("it has it again", async || is_shown(&system, &one, 3).await).await
}
