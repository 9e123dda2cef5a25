//! What an operator sees: health, metrics that Prometheus accepts, logs without personal data.

use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use e2e::system::metric;
use e2e::{Servers, System};
use serde_json::{Value, json};
use stack::{Kafka, KafkaOptions, Place, Tools, shared};

#[tokio::test]
async fn promtool_accepts_the_metrics_of_both_services() -> Result<()> {
    let system = System::start().await?;
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    let refused = system.call(reqwest::Method::PUT, "/users/1", Some(&json!({ "age": 1 }))).await?;
    assert_eq!(refused.status(), 422);
    for url in [&system.ingest_admin_url, &system.persister_admin_url] {
        let text = system.metrics(url).await?;
        let mut promtool = Command::new(Tools::find().promtool()?)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        promtool.stdin.take().context("stdin")?.write_all(text.as_bytes())?;
        let output = promtool.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "promtool does not accept {url}/metrics:\n{said}");
    }
    Ok(())
}

#[tokio::test]
async fn the_promised_metrics_are_there_from_the_start() -> Result<()> {
    let system = System::start().await?;
    system.put("users", "1", &json!({ "name": "Jane", "age": 1 })).await?;
    let both = ["lag_events", "oldest_unpersisted_seconds", "dependency_up"];
    let ingest =
        ["accepted_total", "outbox_entries", "outbox_oldest_seconds", "unsettled_entries", "version_lead_seconds"];
    let persister =
        ["write_lag_seconds_bucket", "fates_total", "reasserted_total", "batch_rows_bucket", "apply_seconds_bucket"];
    for (url, own) in [(&system.ingest_admin_url, ingest), (&system.persister_admin_url, persister)] {
        system
            .eventually("the promised metrics are shown", async || {
                let text = system.metrics(url).await?;
                let ours = both.iter().chain(&own).map(|name| format!("\nwrite_behind_{name}"));
                Ok(ours.chain(["\nkafka_consumergroup_lag{".to_owned()]).all(|name| text.contains(&name)))
            })
            .await?;
    }
    let text = system.metrics(&system.ingest_admin_url).await?;
    assert!(text.contains("\nhttp_requests_total{method=\"PUT\",route=\"/{entity}/{id}\",status=\"202\"} 1"), "{text}");
    Ok(())
}

#[tokio::test]
async fn what_waits_for_kafka_is_seen_and_leaves_no_trace() -> Result<()> {
    let place = Place::attached(shared::scratch("kafka"));
    let kafka = Box::leak(Box::new(Kafka::start(&Tools::find(), &place, KafkaOptions::default())?));
    let system = System::prepare(Servers { kafka, ..Servers::shared() })?.up().await?;
    let body = json!({ "name": "Jane", "age": 1 });
    system.put("users", "1", &body).await?;
    let waits = async || {
        let text = system.metrics(&system.ingest_admin_url).await?;
        let shown = |name| metric(&text, name).context("the gauge is shown");
        Ok::<_, anyhow::Error>((shown("http_requests_in_flight")?, shown("write_behind_producer_events")?))
    };
    assert_eq!(waits().await?, (0.0, 0.0));
    system.servers.kafka.pause()?;
    // A client that stays for its answer, and one that goes away before it.
    let answered = system.put("users", "2", &body);
    let hasty = system.client.put(format!("{}/users/3", system.ingest_url)).json(&body);
    let hasty = hasty.timeout(std::time::Duration::from_secs(1)).send();
    let seen = system.eventually("two requests are in flight", async || Ok(waits().await?.0 == 2.0));
    let (answered, hasty, seen) = tokio::join!(answered, hasty, seen);
    seen?;
    system.eventually("the producer holds two events", async || Ok(waits().await? == (0.0, 2.0))).await?;
    assert_eq!(answered?["state"], "cached");
    assert!(hasty.is_err_and(|error| error.is_timeout()), "the second client has gone away");
    system.servers.kafka.resume()?;
    system.eventually("nothing waits any more", async || Ok(waits().await? == (0.0, 0.0))).await
}

#[tokio::test]
async fn health_says_live_ready_and_which_store_is_there() -> Result<()> {
    let system = System::start().await?;
    for url in [&system.ingest_admin_url, &system.persister_admin_url] {
        let get = async |path: &str| system.client.get(format!("{url}{path}")).send().await;
        assert_eq!(get("/livez").await?.status(), 200);
        let verbose: Value = get("/readyz?verbose").await?.json().await?;
        let all = json!({ "kafka": "up", "mysql": "up", "redis": "up" });
        assert_eq!((&verbose["status"], &verbose["dependencies"]), (&json!("ready"), &all));
        let tasks = verbose["tasks"].as_object().context("tasks")?;
        for task in ["kafka", "lag", "mysql", "redis", "runtime"] {
            assert!(tasks.contains_key(task), "{task} is not shown: {verbose}");
        }
        assert!(tasks.values().all(|gait| gait == "works" || gait == "rests"), "{verbose}");
        let page = get("/").await?.text().await?;
        assert!(page.contains("ready") && page.contains("write_behind_dependency_up"), "{page}");
    }
    Ok(())
}

#[tokio::test]
async fn logs_are_json_and_hold_nothing_of_a_record() -> Result<()> {
    let system = System::prepare(e2e::Servers::shared())?.with("RUST_LOG", "debug").up().await?;
    let marker = "Personal-Data-4711";
    let body = json!({ "name": marker, "age": 1, "occupation": marker });
    system.put("users", "1", &body).await?;
    let refused = json!({ "name": marker, "age": marker, marker: 1 });
    system.call(reqwest::Method::PUT, "/users/1", Some(&refused)).await?;
    let table = system.table().await?;
    system
        .eventually("the row is in MySQL", async || {
            Ok(sqlx::query("SELECT id FROM users").fetch_optional(&table).await?.is_some())
        })
        .await?;
    for process in [&system.ingest, &system.persister].into_iter().flatten() {
        let log = std::fs::read_to_string(process.log())?;
        assert!(!log.contains(marker), "{} logs personal data", process.name());
        assert!(log.lines().count() > 3, "{} logs nothing", process.name());
        for line in log.lines() {
            let event: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
            // The driver's own statements, which hold placeholders and no values, have a summary instead.
            let readable = event["message"].is_string() || event["target"] == "sqlx::query";
            assert!(event["level"].is_string() && readable, "not readable alone: {line}");
        }
    }
    Ok(())
}
