//! The alerts in a running system: silent while all is well, and a dead persister is told.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Load, Servers, System};
use serde_json::Value;

use crate::scraped::Scraped;

/// The state of an alert, and the summary of its first instance.
fn state<'r>(rules: &'r [Value], name: &str) -> Option<(&'r str, Option<&'r str>)> {
    let rule = rules.iter().find(|rule| rule["name"] == name)?;
    Some((rule["state"].as_str()?, rule["alerts"][0]["annotations"]["summary"].as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_persister_is_told_and_a_healthy_system_is_not() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("SESSION_TIMEOUT_MS", "6000").up().await?;
    let load = Load::start(&system.ingest_url, 2, 50, 7);
    // Only the waiting is shorter than an operator's.
    let shortened = |text: &str| {
        let line = |line: &str| {
            if line.starts_with("        for: ") { "        for: 1s\n".into() } else { format!("{line}\n") }
        };
        text.lines().map(line).collect()
    };
    let scraped = Scraped::start(&system, shortened)?;
    system
        .eventually("every alert is evaluated, and none is pending or fires", async || {
            let rules = scraped.rules().await?;
            let quiet = |rule: &Value| rule["health"] == "ok" && rule["state"] == "inactive";
            let scraped_both = scraped.values("sum(up)").await? == [2.0];
            Ok(scraped_both && rules.len() >= 15 && rules.iter().all(quiet))
        })
        .await?;
    // Quiet for a moment is not yet quiet.
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let rules = scraped.rules().await?;
        let loud: Vec<_> = rules.iter().filter(|rule| rule["state"] != "inactive").map(|rule| &rule["name"]).collect();
        assert!(loud.is_empty(), "without a fault: {loud:?}");
    }
    system.persister.take().context("persister")?.kill()?;
    system
        .eventually("the alert of the dead persister fires", async || {
            let rules = scraped.rules().await?;
            let Some(("firing", Some(summary))) = state(&rules, "WriteBehindPersisterDead") else { return Ok(false) };
            assert!(summary.contains("oldest waiting write is ") && summary.ends_with("s old"), "{summary}");
            Ok(true)
        })
        .await?;
    system.start_persister().await?;
    system
        .eventually("it ends once a persister is there again", async || {
            Ok(state(&scraped.rules().await?, "WriteBehindPersisterDead").is_some_and(|(state, _)| state == "inactive"))
        })
        .await?;
    load.finish().await?;
    Ok(())
}
