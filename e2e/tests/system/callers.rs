//! Who may ask: API keys as a client meets them, and what becomes of their file.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::system::{PATIENCE, binary};
use e2e::{Servers, System};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use stack::{Ended, Lifetime, Process, shared};

use crate::answers::shown;

/// A key, and its entry in the file.
pub(crate) struct Key {
    pub(crate) entry: String,
    pub(crate) key: String,
}

/// `ingest api-key …`.
pub(crate) fn issue(words: &[&str]) -> Result<Key> {
    let made = Command::new(binary("ingest")).arg("api-key").args(words).env_clear().output()?;
    ensure!(made.status.success(), "{made:?}");
    let (entry, key) = (String::from_utf8(made.stdout)?, String::from_utf8(made.stderr)?.trim().to_owned());
    ensure!(key.starts_with("wb_") && key.len() > 60 && !entry.contains(&key), "{entry}");
    Ok(Key { entry, key })
}

/// A system whose ingest knows these keys, and the file of them.
pub(crate) fn keyed(keys: &[&Key]) -> Result<(System, PathBuf)> {
    let file = shared::scratch("keys").join("keys.toml");
    write(&file, keys)?;
    let system = System::prepare(Servers::shared())?.with("API_KEYS", &file.to_string_lossy());
    Ok((system, file))
}

fn write(file: &PathBuf, keys: &[&Key]) -> Result<()> {
    let text: String = keys.iter().map(|key| &*key.entry).collect();
    Ok(std::fs::write(file, text)?)
}

async fn ask(system: &System, key: &Key, method: Method, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let mut request = system.client.request(method.clone(), format!("{}{path}", system.ingest_url));
    if method == Method::PUT || method == Method::POST {
        request = request.json(&json!({ "name": "Ada", "age": 36 }));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Ok(request.bearer_auth(&key.key).send().await?)
}

async fn status(system: &System, key: &Key, method: Method, path: &str) -> Result<u16> {
    Ok(ask(system, key, method, path, &[]).await?.status().as_u16())
}

fn log(system: &System) -> Result<String> {
    Ok(std::fs::read_to_string(system.ingest.as_ref().context("ingest")?.log())?)
}

/// Neither a key nor what stands behind its prefix.
fn tells_none(system: &System, keys: &[&Key]) -> Result<()> {
    let log = log(system)?;
    for key in keys {
        ensure!(!log.contains(&key.key[3..]), "the log has a key: {log}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_answered_without_a_known_key_and_everybody_is_told_how_to_show_one() -> Result<()> {
    let (one, stranger) = (issue(&["shop"])?, issue(&["stranger"])?);
    let (system, _) = keyed(&[&one])?;
    let system = system.up().await?;
    ensure!(status(&system, &one, Method::PUT, "/users/1").await? == 202, "a key opens everything unless it says less");
    let none = "Bearer realm=\"write-behind\"".to_owned();
    let unknown = format!("{none}, error=\"invalid_token\"");
    let twice = format!("Bearer {}", stranger.key);
    for (shown, challenge) in [
        (None, &none),
        (Some(format!("Bearer {}", stranger.key)), &unknown),
        (Some(format!("Bearer {}x", one.key)), &unknown),
        (Some(format!("Basic {}", one.key)), &unknown),
        (Some(one.key.clone()), &unknown),
        (Some("Bearer \u{e9}".to_owned()), &unknown),
    ] {
        for (method, path) in [
            (Method::PUT, "/users/1"),
            (Method::GET, "/users/1"),
            (Method::GET, "/nowhere/at/all"),
            (Method::TRACE, "/x"),
        ] {
            let mut request = system.client.request(method, format!("{}{path}", system.ingest_url)).body("{}");
            if let Some(shown) = &shown {
                request = request.header("Authorization", shown);
            }
            let answer = request.send().await?;
            let told = (
                answer.status(),
                answer.headers()["content-type"].to_str()?,
                answer.headers()["www-authenticate"].to_str()?,
            );
            ensure!(
                told == (StatusCode::UNAUTHORIZED, "application/problem+json", challenge),
                "{path} {shown:?}: {told:?}"
            );
            let body: Value = answer.json().await?;
            ensure!(body["type"] == "urn:write-behind:problem:unauthenticated", "{body}");
        }
    }
    let two = system.client.get(format!("{}/users/1", system.ingest_url)).header("Authorization", &twice);
    let two = two.header("Authorization", format!("Bearer {}", one.key)).send().await?;
    ensure!(two.status() == 401, "two keys at once are none: {two:?}");
    let read: Value = ask(&system, &one, Method::GET, "/users/1", &[]).await?.json().await?;
    ensure!(read["name"] == "Ada", "somebody without a key has written: {read}");
    for path in ["/livez", "/readyz", "/metrics"] {
        let answer = system.client.get(format!("{}{path}", system.ingest_admin_url)).send().await?;
        ensure!(answer.status() == 200, "the admin port asks for a key: {path} {answer:?}");
        ensure!(status(&system, &one, Method::GET, path).await? == 404, "{path} is on the port of everybody, too");
    }
    ensure!(shown(&system, "write_behind_api_keys").await? == 1.0);
    tells_none(&system, &[&one, &stranger])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_opens_its_entities_for_its_rights_and_says_nothing_of_others() -> Result<()> {
    let reader = issue(&["report", "--rights", "read"])?;
    let writer = issue(&["shop", "--rights", "write", "--entities", "users"])?;
    let clerk = issue(&["clerk", "--entities", "orders"])?;
    let (system, _) = keyed(&[&reader, &writer, &clerk])?;
    system.add_schema("orders/v1.avsc", crate::every_type::ORDERS)?;
    let system = system.up().await?;
    ensure!(status(&system, &writer, Method::PUT, "/users/1").await? == 202);
    ensure!(status(&system, &reader, Method::GET, "/users/1").await? == 200);
    for (key, method) in [
        (&reader, Method::PUT),
        (&reader, Method::DELETE),
        (&writer, Method::GET),
        (&writer, Method::HEAD),
        (&clerk, Method::PUT),
        (&clerk, Method::GET),
        (&clerk, Method::DELETE),
    ] {
        ensure!(status(&system, key, method.clone(), "/users/1").await? == 403, "{method} is let in");
    }
    ensure!(status(&system, &reader, Method::POST, "/users").await? == 403);
    // What a key does not open might as well not be there.
    for (method, path) in
        [(Method::GET, "/{}/1"), (Method::PUT, "/{}/1"), (Method::POST, "/{}"), (Method::PATCH, "/{}")]
    {
        let mut told = Vec::new();
        for entity in ["orders", "nowhere"] {
            let named = [("x-request-id", "one")];
            let answer = ask(&system, &writer, method.clone(), &path.replace("{}", entity), &named).await?;
            ensure!(answer.status() == 403, "{method} {entity}: {answer:?}");
            let headers = answer.headers().iter().filter(|(name, _)| *name != "date");
            let headers: BTreeSet<_> = headers.map(|header| format!("{header:?}")).collect();
            told.push((headers, answer.text().await?));
        }
        ensure!(told[0] == told[1], "{method}: an entity can be told from none: {told:#?}");
    }
    // What became of a write shows no content: either right is enough, of this entity.
    let tag = ask(&system, &reader, Method::GET, "/users/1", &[]).await?.headers()["etag"].to_str()?.replace('"', "");
    let fate = format!("/users/1/writes/{tag}");
    for (key, expected) in [(&writer, 200), (&reader, 200), (&clerk, 403)] {
        for method in [Method::GET, Method::HEAD] {
            let told = status(&system, key, method.clone(), &fate).await?;
            ensure!(told == expected, "{method} of a fate is {told}, not {expected}");
        }
    }
    let unknown: Value = ask(&system, &reader, Method::GET, "/nowhere/1", &[]).await?.json().await?;
    ensure!(unknown["type"] == "urn:write-behind:problem:unknown-entity", "who may read all is told: {unknown}");
    let read: Value = ask(&system, &reader, Method::GET, "/users/1", &[]).await?.json().await?;
    ensure!(read["name"] == "Ada", "somebody has written who may not: {read}");
    let series = r#"write_behind_rejected_total{entity="users",reason="forbidden"}"#;
    ensure!(shown(&system, series).await? == 5.0, "refused writes are counted");
    tells_none(&system, &[&reader, &writer, &clerk])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_keys_are_in_force_without_a_restart_and_a_faulty_file_keeps_the_ones_from_before() -> Result<()> {
    let (old, new) = (issue(&["shop"])?, issue(&["shop"])?);
    let (system, file) = keyed(&[&old])?;
    let system = system.up().await?;
    ensure!(status(&system, &new, Method::GET, "/users/1").await? == 401);
    // Both for a while, so that a client can change over; then the new one alone.
    write(&file, &[&old, &new])?;
    system
        .eventually("the new key opens", async || Ok(status(&system, &new, Method::GET, "/users/1").await? == 404))
        .await?;
    ensure!(status(&system, &old, Method::GET, "/users/1").await? == 404, "the old one still does");
    write(&file, &[&new])?;
    system
        .eventually("the old key is none", async || Ok(status(&system, &old, Method::GET, "/users/1").await? == 401))
        .await?;
    let faulty = async || shown(&system, "write_behind_api_keys_file_faulty").await;
    for (broken, told) in [
        (Some("[[key]\nname = 'shop'\nkey = 'wb_s3cret'".to_owned()), "line 1: "),
        (Some(String::new()), "it has no [[key]]"),
        (Some(new.entry.replace("read", "own")), "line "),
        (None, "No such file"),
    ] {
        match broken {
            Some(text) => std::fs::write(&file, text)?,
            None => std::fs::remove_file(&file)?,
        }
        system.eventually("the file is said to be faulty", async || Ok(faulty().await? == 1.0)).await?;
        let said = async || Ok(log(&system)?.lines().any(|line| line.contains("\"ERROR\"") && line.contains(told)));
        system.eventually(told, said).await?;
        ensure!(
            status(&system, &new, Method::PUT, "/users/1").await? == 202,
            "the keys from before count no more: {told}"
        );
        ensure!(shown(&system, "write_behind_api_keys").await? == 1.0);
        write(&file, &[&new])?;
        system.eventually("it is sound again", async || Ok(faulty().await? == 0.0)).await?;
    }
    let log = log(&system)?;
    ensure!(log.matches("what was there before stays in force").count() == 4, "each fault is said once: {log}");
    ensure!(!log.contains("s3cret"), "what stands in the file is in the log: {log}");
    tells_none(&system, &[&old, &new])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g9_two_callers_equal_idempotency_keys_never_meet() -> Result<()> {
    let (one, other, same) = (issue(&["one"])?, issue(&["other"])?, issue(&["one"])?);
    let (mut system, _) = keyed(&[&one, &other, &same])?;
    // Without a persister, or a replay may be answered 201: the database has it by then.
    system.migrate()?;
    system.start_ingest().await?;
    let post = async |key: &Key| {
        let answer = ask(&system, key, Method::POST, "/users", &[("Idempotency-Key", "order-17")]).await?;
        ensure!(answer.status() == 202, "{answer:?}");
        let replayed = answer.headers().contains_key("idempotent-replayed");
        Ok::<_, anyhow::Error>((answer.json::<Value>().await?["id"].to_string(), replayed))
    };
    let (mine, theirs, again) = (post(&one).await?, post(&other).await?, post(&same).await?);
    ensure!(mine.0 != theirs.0 && !theirs.1, "two callers got one record: {mine:?} {theirs:?}");
    ensure!(again == (mine.0.clone(), true), "another key of the same caller: {again:?} {mine:?}");
    // Of a record that both know, too.
    for key in [&one, &other] {
        let put = ask(&system, key, Method::PUT, "/users/1", &[("Idempotency-Key", "order-18")]).await?;
        ensure!(put.status() == 202 && !put.headers().contains_key("idempotent-replayed"), "{put:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_that_others_reach_is_not_opened_to_anybody_unless_it_is_said() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    system.migrate()?;
    let port = system.ingest_url.rsplit(':').next().context("a port")?.to_owned();
    let open = system.ingest_spec().env("LISTEN", format!("0.0.0.0:{port}"));
    let refused = Process::spawn(&open, Lifetime::Attached)?;
    let Ended::Yes(Some(status)) = refused.wait(PATIENCE)? else { anyhow::bail!("it is open to everybody") };
    let said = refused.log_tail(20);
    ensure!(
        status.code() == Some(2) && said.contains("give --api-keys") && said.contains("or --no-auth"),
        "{status}: {said}"
    );
    let both = Process::spawn(&open.clone().env("NO_AUTH", "true").env("API_KEYS", "/nowhere"), Lifetime::Attached)?;
    both.wait(PATIENCE)?;
    ensure!(both.log_tail(20).contains("contradict each other"), "{}", both.log_tail(20));
    let process = Process::spawn(&open.env("NO_AUTH", "true"), Lifetime::Attached)?;
    system.ready(&process, &system.ingest_admin_url).await?;
    system.nothing_was_lost().await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_publisher_shows_its_key_and_says_what_is_missing_without_one() -> Result<()> {
    let (shop, reader) = (issue(&["shop"])?, issue(&["report", "--rights", "read"])?);
    let (system, keys) = keyed(&[&shop, &reader])?;
    let system = system.up().await?;
    let folder = keys.parent().context("a folder")?;
    let (file, key) = (folder.join("people.ndjson"), folder.join("key"));
    std::fs::write(&file, "{\"id\":\"7\",\"name\":\"Grace\",\"age\":85}\n")?;
    std::fs::write(&key, format!("{}\n", shop.key))?;
    let run = |words: &[&str], key: Option<&str>| -> Result<(i32, String)> {
        let spec = system.spec("publisher", "publisher", "").env("INGEST_URL", &system.ingest_url).args(words);
        let spec = key.into_iter().fold(spec, |spec, key| spec.env("API_KEY", key));
        let process = Process::spawn(&spec, Lifetime::Attached)?;
        let Ended::Yes(Some(status)) = process.wait(PATIENCE)? else { anyhow::bail!("it does not end") };
        Ok((status.code().context("killed")?, process.log_tail(50)))
    };
    let one = ["-l", "Smith", "-f", "John", "-a", "25"];
    let path = file.to_string_lossy();
    let many = ["users", "--file", &path, "--retry-for-s", "1"];
    for words in [&one[..], &many[..]] {
        let (code, said) = run(words, None)?;
        ensure!(code != 0 && said.contains("send an API key") && said.contains("--api-key"), "{code}: {said}");
        let (code, said) = run(words, Some("wb_unknown"))?;
        ensure!(code != 0 && said.contains("this key is not known") && !said.contains("wb_unknown"), "{code}: {said}");
        let (code, said) = run(words, Some(&reader.key))?;
        ensure!(code != 0 && said.contains("does not open this entity to write"), "{code}: {said}");
        let (code, said) = run(words, Some(&shop.key))?;
        ensure!(code == 0, "{code}: {said}");
    }
    let (code, said) = run(&[&one[..], &["--api-key-file", &key.to_string_lossy()]].concat(), None)?;
    ensure!(code == 0 && said.contains("state="), "{code}: {said}");
    ensure!(status(&system, &reader, Method::GET, "/users/7").await? == 200, "the file's line is written");
    tells_none(&system, &[&shop, &reader])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_a_caller_past_its_rate_is_told_429_and_when_to_come_back_and_others_are_not_held_up() -> Result<()> {
    let (slow, free, plain) = (issue(&["slow"])?, issue(&["free"])?, issue(&["plain"])?);
    let slow = Key { entry: format!("{}rate_per_s = 1\nrate_burst = 3\n", slow.entry), ..slow };
    let free = Key { entry: format!("{}rate_per_s = 0\n", free.entry), ..free };
    let (system, _) = keyed(&[&slow, &free, &plain])?;
    let system = system.with("RATE_PER_S", "100").with("RATE_BURST", "200").up().await?;
    let field = |answer: &Response, name: &str| {
        answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned()
    };
    let begun = std::time::Instant::now();
    for left in [2, 1, 0] {
        let answer = ask(&system, &slow, Method::PUT, "/users/1", &[]).await?;
        let told = (field(&answer, "ratelimit-policy"), field(&answer, "ratelimit"));
        ensure!(answer.status() == 202 && told.0 == r#""caller";q=3;w=3"#, "{told:?} {answer:?}");
        ensure!(told.1.starts_with(&format!(r#""caller";r={left};t="#)), "{told:?}");
    }
    let refused = ask(&system, &slow, Method::PUT, "/users/1", &[]).await?;
    ensure!(begun.elapsed() < Duration::from_secs(1), "too slow a machine");
    ensure!(refused.status() == 429 && field(&refused, "retry-after") == "1", "{refused:?}");
    ensure!(field(&refused, "ratelimit") == r#""caller";r=0;t=3"#, "{refused:?}");
    ensure!(field(&refused, "content-type") == "application/problem+json", "{refused:?}");
    let told: Value = refused.json().await?;
    ensure!(told["type"] == "urn:write-behind:problem:rate-limited", "{told}");
    let plainly = ask(&system, &plain, Method::GET, "/nowhere", &[]).await?;
    ensure!(field(&plainly, "ratelimit-policy") == r#""caller";q=200;w=2"#, "the rate of everybody: {plainly:?}");
    let freely = ask(&system, &free, Method::GET, "/users/1", &[]).await?;
    ensure!(freely.status() == 200 && field(&freely, "ratelimit") == "none", "no limit of its own: {freely:?}");
    ensure!(shown(&system, r#"write_behind_rate_limited_total{caller="slow"}"#).await? == 1.0);
    ensure!(shown(&system, r#"write_behind_rate_limited_total{caller="free"}"#).await? == 0.0);
    let again = async || Ok(status(&system, &slow, Method::PUT, "/users/1").await? == 202);
    system.eventually("it may ask again", again).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g10_where_nobody_is_told_apart_all_share_one_rate() -> Result<()> {
    let system = System::prepare(Servers::shared())?.with("RATE_PER_S", "1").with("RATE_BURST", "2").up().await?;
    let mut told = Vec::new();
    for _ in 0..3 {
        told.push(system.call(Method::GET, "/users/1", None).await?.status().as_u16());
    }
    ensure!(told == [404, 404, 429], "{told:?}");
    ensure!(shown(&system, r#"write_behind_rate_limited_total{caller="anybody"}"#).await? == 1.0);
    Ok(())
}
