//! What ingest says, in its answers and in its metrics, as tests compare it.

use anyhow::{Context, Result};
use e2e::system::{System, metric};
use reqwest::Response;
use serde_json::Value;

/// A header's value; empty where there is none.
pub(crate) fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

/// The status, and the last part of the problem's type; `none` where it is no problem.
pub(crate) async fn kind(answer: Response) -> Result<(u16, String)> {
    let status = answer.status().as_u16();
    let body: Value = answer.json().await?;
    Ok((status, body["type"].as_str().and_then(|kind| kind.rsplit(':').next()).unwrap_or("none").to_owned()))
}

/// What [`kind`] is to be.
pub(crate) fn is(status: u16, kind: &str) -> (u16, String) {
    (status, kind.to_owned())
}

/// A metric of ingest.
pub(crate) async fn shown(system: &System, series: &str) -> Result<f64> {
    metric(&system.metrics(&system.ingest_admin_url).await?, series).with_context(|| format!("{series} is not shown"))
}
