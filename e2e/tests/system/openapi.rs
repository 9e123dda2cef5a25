//! The API as it describes itself: the document is sound, says what the routes are, and schemathesis finds no answer that it
//! does not promise. The page that shows it loads nothing from elsewhere.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use e2e::{Servers, System};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use stack::{Tools, shared, workspace};

use crate::every_type::ORDERS;

/// The Rust of docs/API.md.
#[path = "../../examples/api.rs"]
mod example;

/// What schemathesis draws its requests from; another one is `SCHEMATHESIS_SEED`.
const SEED: &str = "6";
/// How long it may go on, in seconds.
const SECONDS: &str = "45";
const KEY: &str = "wb_0123456789";
const KEY_SHA256: &str = "658e84666232490bd953620264b70c3241d1cc04c8c8df2526307598ef291ee5";

/// With an entity of every type, but for those of which JSON Schema cannot say everything: a pattern knows no leap years, and not
/// where the nanoseconds of 64 bits end.
async fn with_orders(system: System) -> Result<System> {
    let mut orders: Value = serde_json::from_str(ORDERS)?;
    let fields = orders["fields"].as_array_mut().context("fields")?;
    fields.retain(|field| !["placed9", "local3", "local6", "local9"].map(Some).contains(&field["name"].as_str()));
    system.add_schema("orders/v1.avsc", &orders.to_string())?;
    // Whoever asks for a version that never comes need not be waited for long.
    system.with("WAIT_MOST_S", "1").up().await
}

async fn document(system: &System) -> Result<Value> {
    Ok(system.call(Method::GET, "/openapi.json", None).await?.error_for_status()?.json().await?)
}

#[tokio::test]
async fn the_document_is_sound_by_the_meta_schema_of_openapi_3_1() -> Result<()> {
    let system = with_orders(System::prepare(Servers::shared())?).await?;
    let file = shared::scratch("openapi").join("openapi.json");
    std::fs::create_dir_all(file.parent().context("a folder")?)?;
    std::fs::write(&file, document(&system).await?.to_string())?;
    let checked = Command::new(Tools::find().python()?)
        .args(["-m", "openapi_spec_validator", "--schema", "3.1", "--errors", "all"])
        .arg(&file)
        .output()?;
    let said = [checked.stdout, checked.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(checked.status.success(), "{said}");
    Ok(())
}

#[tokio::test]
async fn each_path_of_the_document_has_the_methods_that_its_allow_says() -> Result<()> {
    let system = System::start().await?;
    let document = document(&system).await?;
    for (path, operations) in document["paths"].as_object().context("paths")? {
        let operations = operations.as_object().context("operations")?;
        let mut described: Vec<String> = operations.keys().map(|method| method.to_uppercase()).collect();
        described.sort();
        let answer = system.call(Method::TRACE, &path.replace("{id}", "1"), None).await?;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allow = answer.headers().get("allow").and_then(|allow| allow.to_str().ok()).unwrap_or_default();
        let mut allowed: Vec<_> = allow.split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(described, allowed, "{path}: what the document has, what Allow says");
        for method in &described {
            let method = Method::from_bytes(method.as_bytes())?;
            let answer = system.call(method.clone(), &path.replace("{id}", "1"), None).await?;
            assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_document_is_sent_once_and_then_confirmed() -> Result<()> {
    let system = System::start().await?;
    let first = system.call(Method::GET, "/openapi.json", None).await?;
    let tag = first.headers().get("etag").context("a tag")?.clone();
    assert_eq!(first.headers()["cache-control"], "no-cache");
    let ask = |tag: &str| system.client.get(format!("{}/openapi.json", system.ingest_url)).header("If-None-Match", tag);
    let again = ask(tag.to_str()?).send().await?;
    assert_eq!((again.status(), again.headers().get("etag")), (StatusCode::NOT_MODIFIED, Some(&tag)));
    assert_eq!(again.bytes().await?.len(), 0);
    let text = tag.to_str()?;
    for (named, status) in [
        ("\"another\"".to_owned(), StatusCode::OK),
        (format!("\"an,other\",W/{text}"), StatusCode::NOT_MODIFIED),
        (format!("\"an,{text}\""), StatusCode::BAD_REQUEST),
        ("*".to_owned(), StatusCode::NOT_MODIFIED),
        (text.trim_matches('"').to_owned(), StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(&named).send().await?.status(), status, "{named}");
    }
    let head = system.call(Method::HEAD, "/openapi.json", None).await?;
    assert_eq!((head.status(), head.headers().get("etag")), (StatusCode::OK, Some(&tag)));
    Ok(())
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_its_policy_forbids_it() -> Result<()> {
    let system = System::start().await?;
    let page = system.call(Method::GET, "/docs", None).await?;
    let policy = page.headers()["content-security-policy"].to_str()?.to_owned();
    for word in
        ["default-src 'none'", "script-src 'self';", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(word), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let html = page.text().await?;
    let links: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|of| html.split(of).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(links.len() >= 6, "{links:?}");
    for link in links {
        assert!(!link.contains("//"), "{link} is elsewhere");
        let file = system.call(Method::GET, &format!("/{link}"), None).await?;
        assert_eq!(file.status(), StatusCode::OK, "{link}");
        assert!(file.headers().get("content-type").is_some_and(|of| of != "application/octet-stream"), "{link}");
    }
    assert!(!html.contains("<script>") && !html.contains("style=\""), "the policy would not run it");
    let style = system.call(Method::GET, "/docs/page.css", None).await?.text().await?;
    assert!(!style.contains("url(") && !style.contains("@import"), "{style}");
    for gone in ["/docs/swagger-initializer.js", "/docs/index.html", "/docs/..%2fusers", "/docs/nothing"] {
        assert_eq!(system.call(Method::GET, gone, None).await?.status(), StatusCode::NOT_FOUND, "{gone}");
    }
    Ok(())
}

#[tokio::test]
async fn the_example_in_rust_works() -> Result<()> {
    let system = System::start().await?;
    example::run(&system.ingest_url).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    let shown: Value = system.call(Method::GET, "/users/ada-in-rust", None).await?.json().await?;
    assert_eq!((&shown["name"], &shown["age"]), (&Value::from("Ada Lovelace"), &Value::from(37)));
    Ok(())
}

/// Runs schemathesis over the document, and fails with what it prints.
fn schemathesis(system: &System, more: &[&str]) -> Result<()> {
    let seed = std::env::var("SCHEMATHESIS_SEED").unwrap_or_else(|_| SEED.to_owned());
    let folder = shared::scratch("schemathesis");
    std::fs::create_dir_all(&folder)?;
    let done = Command::new(Tools::find().python()?)
        .args(["-m", "schemathesis.cli", "--config-file"])
        .arg(workspace().join("e2e/tests/system/openapi/schemathesis.toml"))
        .args(["run", &format!("{}/openapi.json", system.ingest_url), "--no-color"])
        .args(["--seed", &seed, "--max-time", SECONDS, "--continue-on-failure", "--generation-database=none"])
        .args(more)
        .env("BASE_URL", &system.ingest_url)
        .env("HOOKS", workspace().join("e2e/tests/system/openapi/hooks.py"))
        .current_dir(&folder)
        .output()?;
    let said = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    println!("schemathesis with seed {seed}:\n{said}");
    ensure!(done.status.success(), "schemathesis with seed {seed} ({}):\n{said}", done.status);
    Ok(())
}

/// A system that asks for keys, and one that opens everything.
async fn keyed() -> Result<System> {
    let folder = shared::scratch("keys");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("keys.toml");
    std::fs::write(&file, format!("[[key]]\nname = 'tester'\nsha256 = '{KEY_SHA256}'\nrights = ['read', 'write']\n"))?;
    let system = System::prepare(Servers::shared())?.with("API_KEYS", &file.to_string_lossy());
    with_orders(system).await
}

#[tokio::test]
async fn with_keys_on_the_document_needs_one_and_the_page_does_not() -> Result<()> {
    let system = keyed().await?;
    assert_eq!(system.call(Method::GET, "/openapi.json", None).await?.status(), StatusCode::UNAUTHORIZED);
    for open in ["/docs", "/docs/page.js", "/docs/swagger-ui.css"] {
        assert_eq!(system.call(Method::GET, open, None).await?.status(), StatusCode::OK, "{open}");
    }
    for closed in ["/docsx", "/users/1", "/docs/../users/1", "/docs%2f..%2fusers"] {
        let status = system.call(Method::GET, closed, None).await?.status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{closed}");
    }
    let shown = system.client.get(format!("{}/openapi.json", system.ingest_url)).bearer_auth(KEY).send().await?;
    let document: Value = shown.error_for_status()?.json().await?;
    assert!(
        document["components"]["securitySchemes"]["key"].is_object() && document["paths"]["/orders/{id}"].is_object()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_open_where_keys_are_asked_for() -> Result<()> {
    let system = keyed().await?;
    schemathesis(&system, &["--header", &format!("Authorization: Bearer {KEY}")])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_answer_that_the_document_does_not_promise() -> Result<()> {
    let system = with_orders(System::prepare(Servers::shared())?).await?;
    schemathesis(&system, &[])
}
