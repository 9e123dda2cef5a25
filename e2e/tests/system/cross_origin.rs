//! Pages of other origins: off unless they are named, and then with what the API has.

use anyhow::{Result, ensure};
use e2e::System;
use reqwest::header::HeaderMap;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::callers::{issue, keyed};

const SHOP: &str = "https://shop.example";

fn of_origins(headers: &HeaderMap) -> Vec<String> {
    let all = headers.keys().map(|name| name.as_str().to_owned());
    all.filter(|name| name.starts_with("access-control-")).collect()
}

fn header(answer: &Response, name: &str) -> String {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_lowercase()
}

async fn preflight(system: &System, origin: &str, method: &str, headers: &str) -> Result<Response> {
    let request = system.client.request(Method::OPTIONS, format!("{}/users/1", system.ingest_url));
    let request = request.header("Origin", origin).header("Access-Control-Request-Method", method);
    Ok(request.header("Access-Control-Request-Headers", headers).send().await?)
}

async fn get(system: &System, origin: &str, key: Option<&str>) -> Result<Response> {
    let request = system.client.get(format!("{}/users/1", system.ingest_url)).header("Origin", origin);
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    Ok(request.send().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_says_anything_of_origins_unless_some_are_let_in() -> Result<()> {
    let system = System::start().await?;
    let read = get(&system, SHOP, None).await?;
    ensure!(read.status() == 404 && of_origins(read.headers()).is_empty(), "{read:?}");
    let asked = preflight(&system, SHOP, "PUT", "content-type").await?;
    ensure!(asked.status() == 405 && of_origins(asked.headers()).is_empty(), "{asked:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_origin_may_ask_what_the_api_has_and_a_preflight_needs_no_key() -> Result<()> {
    let key = issue(&["page"])?;
    let (system, _) = keyed(&[&key])?;
    let system = system.with("CORS_ORIGINS", "https://shop.example,http://localhost:3000").up().await?;
    let sent = "authorization, content-type, idempotency-key, if-match, if-none-match, min-version, prefer";
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let asked = preflight(&system, SHOP, method, sent).await?;
        ensure!(asked.status() == 200 && header(&asked, "access-control-allow-origin") == SHOP, "{method}: {asked:?}");
        let (methods, headers) =
            (header(&asked, "access-control-allow-methods"), header(&asked, "access-control-allow-headers"));
        ensure!(methods.contains(&method.to_lowercase()), "{method}: {methods}");
        ensure!(sent.split(", ").all(|name| headers.contains(name)), "{method}: {headers}");
        ensure!(header(&asked, "access-control-allow-credentials") == "none", "a cookie opens nothing here: {asked:?}");
    }
    let read = get(&system, SHOP, Some(&key.key)).await?;
    let exposed = header(&read, "access-control-expose-headers");
    ensure!(read.status() == 404 && header(&read, "access-control-allow-origin") == SHOP, "{read:?}");
    for name in ["etag", "location", "retry-after", "ratelimit", "write-behind-state", "idempotent-replayed"] {
        ensure!(exposed.contains(name), "a page cannot read {name}: {exposed}");
    }
    let keyless = get(&system, SHOP, None).await?;
    ensure!(
        keyless.status() == 401 && header(&keyless, "access-control-allow-origin") == SHOP,
        "it can be read: {keyless:?}"
    );
    let foreign = get(&system, "https://evil.example", Some(&key.key)).await?;
    ensure!(header(&foreign, "access-control-allow-origin") == "none", "{foreign:?}");
    for (origin, method, headers) in
        [("https://evil.example", "PUT", "content-type"), (SHOP, "TRACE", "content-type"), (SHOP, "PUT", "x-else")]
    {
        let refused = preflight(&system, origin, method, headers).await?;
        ensure!(
            refused.status() == 403 && header(&refused, "content-type") == "application/problem+json",
            "{refused:?}"
        );
        let told: Value = refused.json().await?;
        ensure!(told["type"] == "urn:write-behind:problem:cross-origin-refused", "{told}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_origin_is_let_in_by_a_star() -> Result<()> {
    let system = System::prepare(e2e::Servers::shared())?.with("CORS_ORIGINS", "*").up().await?;
    for answer in [get(&system, SHOP, None).await?, preflight(&system, SHOP, "PUT", "content-type").await?] {
        ensure!(header(&answer, "access-control-allow-origin") == "*", "{answer:?}");
    }
    Ok(())
}
