//! What an answer of ingest says, as tests compare it.

use anyhow::Result;
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
