//! Every answer has its request's name, and so has the log where one failed; a panic is answered and counted like anything else.

use anyhow::{Context, Result, ensure};
use e2e::system::FAIL_POINTS;
use e2e::{Servers, System};
use reqwest::{Method, Response};
use serde_json::Value;

use crate::answers::{header, shown};

const NAME: &str = "x-request-id";

async fn named(system: &System, method: &Method, path: &str, id: Option<&str>) -> Result<Response> {
    let mut request = system.client.request(method.clone(), format!("{}{path}", system.ingest_url));
    if let Some(id) = id {
        request = request.header(NAME, id);
    }
    Ok(request.header("content-type", "application/json").body(r#"{"name":"Ada","age":36}"#).send().await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_has_the_name_that_its_client_gave_it_or_one_of_its_own() -> Result<()> {
    let system = System::start().await?;
    let escaped = "Order-4711/%22x%22".replace("%22", "\"");
    for (method, path, status) in [
        (Method::PUT, "/users/1", 202),
        (Method::GET, "/users/1", 200),
        (Method::HEAD, "/users/1", 200),
        (Method::GET, "/users?ids=1", 200),
        (Method::GET, "/openapi.json", 200),
        (Method::GET, "/docs", 200),
        (Method::POST, "/write-behind", 200),
        (Method::GET, "/users/nobody", 404),
        (Method::HEAD, "/users/nobody", 404),
        (Method::GET, "/nowhere/at/all/of", 404),
        (Method::PUT, "/users", 405),
        (Method::POST, "/users:bulk", 415),
    ] {
        let what = format!("{method} {path}");
        let answer = named(&system, &method, path, Some(&escaped)).await?;
        assert_eq!((answer.status().as_u16(), header(&answer, NAME)), (status, escaped.clone()), "{what}");
        if status >= 400 && method != Method::HEAD {
            let problem: Value = answer.json().await?;
            assert_eq!(problem["instance"], "urn:write-behind:request:Order-4711%2F%22x%22", "{what}: {problem}");
        }
        let longest = "~".repeat(128);
        for (sent, taken) in
            [(Some(&*longest), true), (Some(&*format!("{longest}~")), false), (Some("a b"), false), (None, false)]
        {
            let given = header(&named(&system, &method, path, sent).await?, NAME);
            let made = given.len() == 32 && given.bytes().all(|byte| byte.is_ascii_hexdigit());
            ensure!(if taken { Some(&*given) == sent } else { made }, "{what}: {sent:?} became {given}");
        }
    }
    let one = header(&named(&system, &Method::GET, "/users/1", None).await?, NAME);
    let other = header(&named(&system, &Method::GET, "/users/1", None).await?, NAME);
    assert_ne!(one, other, "two requests of one name");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_before_any_handler_is_answered_and_counted_and_the_log_has_the_name_of_its_request() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with(FAIL_POINTS, "http.admitted=2*panic->off");
    system.migrate()?;
    system.start_ingest().await?;
    for path in ["/users/1", "/nowhere/at/all/of"] {
        let answer = named(&system, &Method::PUT, path, Some("the-one-that-fails")).await?;
        assert_eq!((answer.status().as_u16(), header(&answer, NAME)), (500, "the-one-that-fails".to_owned()), "{path}");
        assert_eq!(header(&answer, "content-type"), "application/problem+json");
        let problem: Value = answer.json().await?;
        assert_eq!(problem["type"], "urn:write-behind:problem:internal-error");
        assert_eq!(problem["instance"], "urn:write-behind:request:the-one-that-fails");
    }
    for route in ["/{entity}/{id}", "none"] {
        let series = format!("http_requests_total{{method=\"PUT\",route=\"{route}\",status=\"500\"}}");
        assert_eq!(shown(&system, &series).await?, 1.0, "{route}");
    }
    assert_eq!(shown(&system, "http_requests_in_flight").await?, 0.0, "a panic keeps its place");
    assert_eq!(named(&system, &Method::PUT, "/users/1", None).await?.status(), 202, "and serves on");
    let log = system.ingest.as_ref().context("ingest")?.log_tail(1000);
    let told: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let of_it =
        told.iter().filter(|line| line["request_id"] == "the-one-that-fails" && line["problem"] == "internal-error");
    assert_eq!(of_it.count(), 2, "{log}");
    Ok(())
}
