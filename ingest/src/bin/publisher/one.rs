//! One record, of which each field is a flag.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use record::Entity;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::arguments::{flag, flag_id, ingest_url, setting};
use crate::client::{self, Access};
use crate::convert::value;

const POLL: Duration = Duration::from_millis(20);

/// Writes it, and says under which id and version.
pub(crate) fn run(entity: &Entity, matches: &ArgMatches) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(publish(entity, matches))
}

async fn publish(entity: &Entity, matches: &ArgMatches) -> anyhow::Result<()> {
    let client = Access::of(matches)?.client().timeout(Duration::from_secs(10)).build()?;
    let url = ingest_url(matches)?;
    let response = client
        .post(format!("{url}/{}", entity.name()))
        .json(&body(entity, matches))
        .send()
        .await
        .with_context(|| format!("ingest does not answer at {url} (--ingest-url)"))?;
    let status = response.status();
    let answer: Value = response.json().await.context("the answer is not JSON: is --ingest-url that of ingest?")?;
    if !status.is_success() {
        bail!("{status}: {answer:#}{}", client::remedy(status));
    }
    let text =
        |name: &str| answer.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let (id, version) = (text("id").context("no id in the answer")?, text("version").context("no version")?);
    let mut state = text("state").unwrap_or_default();
    if matches.get_flag("wait") {
        let patience = Duration::from_secs(setting(matches, "wait-s"));
        wait(&client, &format!("{url}/{}/{id}", entity.name()), version.parse()?, patience).await?;
        "persisted".clone_into(&mut state);
    }
    println!("id={id} version={version} state={state}");
    Ok(())
}

/// The flags that were given, as one JSON object. What they hold is checked by ingest.
fn body(entity: &Entity, matches: &ArgMatches) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(id) = matches.get_one::<String>("id") {
        body.insert("id".to_owned(), Value::from(id.as_str()));
    }
    for field in entity.fields().iter().filter(|field| flag(field).is_some()) {
        if let Some(text) = matches.get_one::<String>(&flag_id(field)) {
            body.insert(field.name.clone(), value(&field.kind, text));
        }
    }
    body
}

/// Returns when the record stands in the database at this version or a newer one.
async fn wait(client: &reqwest::Client, url: &str, version: u64, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let response = client.get(url).send().await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let found = header("etag").and_then(|tag| tag.trim_matches('"').parse::<u64>().ok());
        if found.is_some_and(|found| found >= version) && header("write-behind-state") == Some("persisted") {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the record is accepted, but the database did not have it within {} s", patience.as_secs())
}
