//! The places where tests stop a process: that they stop it, and that no other build has them.

use e2e::system::{FAIL_POINTS, Servers, System};
use reqwest::Method;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_persister_that_dies_between_table_and_offset_loses_nothing() -> anyhow::Result<()> {
    let mut system = System::prepare(Servers::shared())?.with(FAIL_POINTS, "lane.applied=return");
    system.migrate()?;
    system.start_ingest().await?;
    system.start_persister().await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    system
        .eventually("the persister dies", async || Ok(!system.persister.as_ref().is_some_and(|p| p.is_running())))
        .await?;
    let shown = system.call(Method::GET, "/users/1", None).await?;
    assert_eq!(shown.headers()["write-behind-state"], "logged", "nobody has settled it yet");

    system.settings.clear();
    system.start_persister().await?;
    system
        .eventually("the event that was not committed comes again", async || {
            let shown = system.call(Method::GET, "/users/1", None).await?;
            Ok(shown.headers()["write-behind-state"] == "persisted")
        })
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_that_are_shipped_cannot_be_stopped() -> anyhow::Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    system.migrate()?;
    system.start_ingest().await?;
    let spec = system.persister_spec(&system.persister_admin_url).env(FAIL_POINTS, "lane.applied=return");
    let persister = stack::Process::spawn(&spec, stack::Lifetime::Attached)?;
    system.ready(&persister, &system.persister_admin_url).await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    system
        .eventually("the write is persisted", async || {
            let shown = system.call(Method::GET, "/users/1", None).await?;
            Ok(shown.headers()["write-behind-state"] == "persisted")
        })
        .await?;
    assert!(persister.is_running(), "{}", persister.log_tail(20));
    Ok(())
}
