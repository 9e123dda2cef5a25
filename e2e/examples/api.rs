//! Writes a user, reads it, and changes it only if nobody else has. Needs `reqwest` with `json`, `serde_json` and `tokio`.
#![allow(clippy::indexing_slicing, reason = "a member that is missing is null")]

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Duration, sleep};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Sends it again while the service says that it cannot be done yet: with a key or a precondition that is safe.
async fn patiently(request: RequestBuilder) -> Outcome<Response> {
    for _ in 0..60 {
        let answer = request.try_clone().ok_or("a body that can be sent again")?.send().await?;
        if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
            return Ok(answer);
        }
        sleep(Duration::from_secs(1)).await;
    }
    Err("not available for a minute".into())
}

/// Everything, against the service at this address.
pub(crate) async fn run(api: &str) -> Outcome<()> {
    let client = Client::new();
    let ada = format!("{api}/users/ada-in-rust");

    let body = json!({"first_name": "Ada", "last_name": "Lovelace", "age": 36});
    let write = client.put(&ada).header("Idempotency-Key", "ada-1").json(&body);
    let written: Value = patiently(write).await?.error_for_status()?.json().await?;
    println!("{} rests on {}", written["id"], written["state"]);

    let read = client.get(&ada).send().await?.error_for_status()?;
    let tag = read.headers()["etag"].clone();
    let mut user: Value = read.json().await?;
    println!("{} is {}", user["name"], user["age"]);

    user["age"] = json!(37);
    let change = || client.put(&ada).header("If-Match", &tag).json(&user);
    println!("changed: {}", patiently(change()).await?.status().is_success());
    let refused = patiently(change()).await?;
    println!("changed again: {}", refused.status());
    let problem: Value = refused.json().await?;
    println!("since: {}", problem["title"]);

    let patch = client.patch(&ada).header("Content-Type", "application/merge-patch+json");
    let patch = patch.header("Idempotency-Key", "ada-2").json(&json!({"occupation": "Countess"}));
    println!("patched: {}", patiently(patch).await?.status().is_success());
    Ok(())
}

#[tokio::main]
#[allow(dead_code, reason = "a test calls what is above")]
async fn main() -> Outcome<()> {
    run("http://127.0.0.1:8080").await
}
