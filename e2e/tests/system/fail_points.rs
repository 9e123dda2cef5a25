//! The places where tests stop a process: that they stop it, that no other build has them, and what no signal from outside
//! would come in time for.

use e2e::system::{FAIL_POINTS, Servers, System, metric};
use e2e::topic_reader::read_all;
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

/// For how long a write may be on its way to the topic is counted on: by the purge age (R18), and by whoever decides what is lost.
#[tokio::test(flavor = "multi_thread")]
async fn r6_a_handler_past_its_deadline_answers_cached_and_leaves_the_event_to_the_relay() -> anyhow::Result<()> {
    let mut system = System::prepare(Servers::shared())?
        .with(FAIL_POINTS, "write.stored=1*sleep(1500)")
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1200")
        .with("RELAY_AFTER_MS", "1400")
        .with("SWEEP_AFTER_MS", "1600");
    system.migrate()?;
    system.start_ingest().await?;
    let answer = system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    assert_eq!(answer["state"], "cached", "its deadline is over: {answer}");
    let (brokers, topic) = (system.servers.kafka.brokers(), format!("{}users", system.topic_prefix));
    let origins = || -> anyhow::Result<Vec<String>> {
        Ok(read_all(&brokers, &topic)?.iter().filter_map(|event| Some(event.header("origin")?.to_owned())).collect())
    };
    system.eventually("the topic has it", async || Ok(!origins()?.is_empty())).await?;
    assert_eq!(origins()?, ["relay"], "a handler produced past its deadline");
    Ok(())
}

/// Once in a while librdkafka does not find back to a broker that was restarted, where a new client does.
#[tokio::test(flavor = "multi_thread")]
async fn a_producer_that_finds_no_broker_where_a_new_one_does_is_replaced() -> anyhow::Result<()> {
    let mut system = System::prepare(Servers::shared())?
        .with(FAIL_POINTS, "producer.lost=5*return->off")
        .with("ANSWER_DEADLINE_MS", "1000")
        .with("PRODUCE_DEADLINE_MS", "1200");
    system.migrate()?;
    // Ready once all stores answer.
    system.start_ingest().await?;
    let text = system.metrics(&system.ingest_admin_url).await?;
    let replaced = metric(&text, "write_behind_producers_replaced_total");
    assert!(
        replaced.is_some_and(|count| count >= 1.0),
        "it is ready with the producer that found nobody: {replaced:?}"
    );
    system
        .eventually("a write is logged by the new one", async || {
            Ok(system.put("users", "2", &json!({ "name": "Ada", "age": 36 })).await?["state"] == "logged")
        })
        .await
}
