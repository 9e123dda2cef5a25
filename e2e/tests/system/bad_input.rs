//! What a client must not send: refused by name, with a place for every fault, and nothing written anywhere.

mod raw;

use anyhow::{Context, Result, ensure};
use e2e::System;
use e2e::topic_reader::read_all;
use raw::{Answer, chunk, exchange, head, request};
use serde_json::Value;

const JSON: (&str, &str) = ("Content-Type", "application/json");
/// Stands in every value that is sent; no answer may repeat it.
const SECRET: &str = "s3cret";
/// A body that is accepted, so that only what stands around it can be refused.
const SOUND: &[u8] = br#"{"name":"s3cret","age":30}"#;
const BODY_BYTES_MOST: usize = 65_536;

/// A request and the problem it must be answered with.
struct Case {
    what: String,
    request: Vec<u8>,
    status: u16,
    kind: &'static str,
    /// Pointer and code of every fault, in order.
    faults: &'static [(&'static str, &'static str)],
    allow: Option<&'static str>,
    /// Whether it is a write, and therefore counted in `rejected_total`.
    write: bool,
}

fn case(what: impl Into<String>, request: Vec<u8>, status: u16, kind: &'static str) -> Case {
    Case { what: what.into(), request, status, kind, faults: &[], allow: None, write: true }
}

impl Case {
    fn faults(self, faults: &'static [(&'static str, &'static str)]) -> Self {
        Self { faults, ..self }
    }

    fn allow(self, allow: &'static str) -> Self {
        Self { allow: Some(allow), write: false, ..self }
    }

    fn no_write(self) -> Self {
        Self { write: false, ..self }
    }

    /// What is wrong with the answer.
    fn check(&self, answer: &Answer) -> Result<()> {
        ensure!(answer.status == self.status, "not {} but {answer:?}", self.status);
        ensure!(answer.header("content-type") == Some("application/problem+json"), "the media type of {answer:?}");
        let problem: Value = serde_json::from_str(&answer.body).with_context(|| format!("no JSON: {answer:?}"))?;
        ensure!(problem["type"] == format!("urn:write-behind:problem:{}", self.kind), "not {}: {problem}", self.kind);
        ensure!(problem["status"] == self.status, "another status inside: {problem}");
        for member in ["title", "detail"] {
            ensure!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {problem}");
        }
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        let faults: Vec<_> =
            errors.iter().map(|e| (e["pointer"].as_str().unwrap_or("?"), e["code"].as_str().unwrap_or("?"))).collect();
        ensure!(faults == self.faults, "not {:?}: {problem}", self.faults);
        ensure!(answer.header("allow") == self.allow, "Allow is not {:?}: {answer:?}", self.allow);
        for leak in [SECRET, "sqlx", "serde", "actix", "rdkafka", "panicked", ".rs"] {
            ensure!(!answer.body.contains(leak), "the answer says {leak:?}: {}", answer.body);
        }
        Ok(())
    }
}

fn post(body: impl AsRef<[u8]>) -> Vec<u8> {
    request("POST", "/users", &[JSON], body.as_ref())
}

/// What is wrong, the body, and pointer and code of each fault.
type Misfit<'a> = (&'a str, &'a str, &'static [(&'static str, &'static str)]);

/// Bodies that are JSON and do not fit the schema of users.
fn records() -> Vec<Case> {
    let long = format!(r#"{{"name":"{}","age":1}}"#, SECRET.repeat(43));
    let deep = format!(r#"{{"name":"s3cret","age":1,"x":{}{}}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let deep_name = format!(r#"{{"name":{}{},"age":1}}"#, "[".repeat(20_000), "]".repeat(20_000));
    let misfits: [Misfit<'_>; 31] = [
        ("another type", r#"{"name":1,"age":"s3cret"}"#, &[("/name", "type"), ("/age", "type")]),
        ("null where there must be a value", r#"{"name":null,"age":null}"#, &[("/name", "type"), ("/age", "type")]),
        ("an object for a string", r#"{"name":{"s3cret":1},"age":1}"#, &[("/name", "type")]),
        ("a fraction for a whole number", r#"{"name":"s3cret","age":1.5}"#, &[("/age", "type")]),
        ("nothing that is required", "{}", &[("/name", "missing"), ("/age", "missing")]),
        ("one of two", r#"{"name":"s3cret"}"#, &[("/age", "missing")]),
        ("half of what the template needs", r#"{"first_name":"s3cret","age":1}"#, &[("/name", "missing")]),
        ("an unknown member", r#"{"name":"s3cret","age":1,"nick":"s3cret"}"#, &[("/nick", "unknown")]),
        ("a member that is a column", r#"{"name":"s3cret","age":1,"version":9}"#, &[("/version", "unknown")]),
        ("a member in another case", r#"{"Name":"s3cret","age":1}"#, &[("/Name", "unknown"), ("/name", "missing")]),
        ("a member whose name needs escapes", r#"{"name":"s3cret","age":1,"a/b~":1}"#, &[("/a~1b~0", "unknown")]),
        ("below the minimum", r#"{"name":"s3cret","age":-1}"#, &[("/age", "range")]),
        ("above the maximum", r#"{"name":"s3cret","age":151}"#, &[("/age", "range")]),
        ("more than 32 bits", r#"{"name":"s3cret","age":2147483648}"#, &[("/age", "range")]),
        ("more than 64 bits", r#"{"name":"s3cret","age":18446744073709551616}"#, &[("/age", "range")]),
        ("a hundred digits", &format!(r#"{{"name":"s3cret","age":{}}}"#, "9".repeat(100)), &[("/age", "range")]),
        ("an exponent", r#"{"name":"s3cret","age":1e300}"#, &[("/age", "range")]),
        ("a number beyond every double", r#"{"name":"s3cret","age":1e400}"#, &[("/age", "range")]),
        ("too long a text", &long, &[("/name", "length")]),
        ("U+0000", r#"{"name":"s3cret\u0000","age":1}"#, &[("/name", "nul")]),
        ("a member twice", r#"{"name":"s3cret","age":1,"name":"s3cret"}"#, &[("/name", "duplicate")]),
        (
            "every fault at once",
            r#"{"name":5,"age":-1,"occupation":"\u0000","s":1,"t":2}"#,
            &[("/name", "type"), ("/age", "range"), ("/occupation", "nul"), ("/s", "unknown"), ("/t", "unknown")],
        ),
        ("deep nesting in what is unknown", &deep, &[("/x", "unknown")]),
        ("deep nesting where a text belongs", &deep_name, &[("/name", "type")]),
        ("an empty id", r#"{"id":"","name":"s3cret","age":1}"#, &[("/id", "format")]),
        ("an id with a slash", r#"{"id":"s3cret/1","name":"s3cret","age":1}"#, &[("/id", "format")]),
        ("an id that is neither text nor number", r#"{"id":true,"name":"s3cret","age":1}"#, &[("/id", "type")]),
        ("an id twice", r#"{"id":"1","id":"2","name":"s3cret","age":1}"#, &[("/id", "duplicate")]),
        ("an array", r#"["s3cret"]"#, &[("", "type")]),
        ("a text", r#""s3cret""#, &[("", "type")]),
        ("null", "null", &[("", "type")]),
    ];
    let at_users = misfits
        .iter()
        .map(|(what, body, faults)| case(format!("record: {what}"), post(body), 422, "invalid-record").faults(faults));
    let elsewhere = ["/users/7", "/write-behind"].map(|path| {
        let method = if path == "/users/7" { "PUT" } else { "POST" };
        let request = request(method, path, &[JSON], br#"{"age":-1}"#);
        case(format!("record: at {path}"), request, 422, "invalid-record")
            .faults(&[("/age", "range"), ("/name", "missing")])
    });
    at_users.chain(elsewhere).collect()
}

/// Bodies that are no JSON.
fn malformed() -> Vec<Case> {
    let bodies: [(&str, &[u8]); 12] = [
        ("nothing", b""),
        ("blanks", b" \n "),
        ("cut off", br#"{"name":"s3cret","#),
        ("something behind it", br#"{"name":"s3cret","age":1}{}"#),
        ("a comma too many", br#"{"name":"s3cret","age":1,}"#),
        ("single quotes", b"{'name':'s3cret','age':1}"),
        ("NaN", br#"{"name":"s3cret","age":NaN}"#),
        ("a leading zero", br#"{"name":"s3cret","age":01}"#),
        ("a raw line break in a text", b"{\"name\":\"s3cret\n\",\"age\":1}"),
        ("half a surrogate pair", br#"{"name":"s3cret\ud800","age":1}"#),
        ("no UTF-8", b"{\"name\":\"s3cret\xff\",\"age\":1}"),
        ("a byte order mark", b"\xef\xbb\xbf{\"name\":\"s3cret\",\"age\":1}"),
    ];
    let malformed = |(what, body): (&str, &[u8])| {
        case(format!("malformed: {what}"), post(body), 400, "malformed-json").faults(&[("", "syntax")])
    };
    bodies.into_iter().map(malformed).collect()
}

/// Bodies that are not looked at.
fn unread() -> Vec<Case> {
    let typed = |value: &str| request("POST", "/users", &[("Content-Type", value)], SOUND);
    let mut cases: Vec<_> = ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "json", ""]
        .map(|media| case(format!("media type {media:?}"), typed(media), 415, "unsupported-media-type"))
        .into();
    let untyped = request("POST", "/users", &[], SOUND);
    cases.push(case("no media type", untyped, 415, "unsupported-media-type"));
    for encoding in ["deflate", "br", "identity, gzip", "s3cret", "\u{e9}"] {
        let encoded = request("POST", "/users", &[JSON, ("Content-Encoding", encoding)], SOUND);
        cases.push(case(format!("encoding {encoding}"), encoded, 415, "unsupported-encoding"));
    }
    let twice = [JSON, ("Content-Encoding", "identity"), ("Content-Encoding", "gzip")];
    cases.push(case("two encodings", request("POST", "/users", &twice, SOUND), 415, "unsupported-encoding"));

    let large = vec![b' '; BODY_BYTES_MOST + 1];
    cases.push(case("too large, all of it sent", post(&large), 413, "body-too-large"));
    let announced = [JSON, ("Content-Length", "99999999999")];
    cases.push(case("too large, only announced", head("POST", "/users", &announced), 413, "body-too-large"));
    let mut chunked = head("POST", "/users", &[JSON, ("Transfer-Encoding", "chunked")]);
    large.chunks(8192).for_each(|part| chunked.extend(chunk(part)));
    chunked.extend(chunk(b""));
    cases.push(case("too large, in chunks", chunked, 413, "body-too-large"));

    let mut slow = head("POST", "/users", &[JSON, ("Content-Length", "26")]);
    slow.extend_from_slice(b"{\"name\":");
    cases.push(case("a body that stops", slow, 408, "slow-body"));
    let mut broken = head("PUT", "/users/7", &[JSON, ("Transfer-Encoding", "chunked")]);
    broken.extend_from_slice(b"s3cret\r\n");
    cases.push(case("chunks without a length", broken, 400, "broken-body"));
    cases
}

/// Paths and methods.
fn places() -> Vec<Case> {
    let mut cases = Vec::new();
    let ids = [
        ("129 characters", "s".repeat(129)),
        (".", ".".to_owned()),
        ("..", "..".to_owned()),
        (".. in escapes", "%2e%2E".to_owned()),
        ("a blank", "%20".to_owned()),
        ("a slash in escapes", "s3cret%2Fa".to_owned()),
        ("a percent sign", "s3cret%25".to_owned()),
        ("half an escape", "s3cret%4".to_owned()),
        ("U+0000", "s3cret%00".to_owned()),
        ("a line break", "s3cret%0d%0aX: y".replace(' ', "%20")),
        ("UTF-8", "s3cret%C3%A9".to_owned()),
        ("no UTF-8", "s3cret%FF".to_owned()),
        ("a plus", "s3cret+1".to_owned()),
        ("a colon", "s3cret:1".to_owned()),
        ("a brace", "%7Bs3cret%7D".to_owned()),
    ];
    for (what, id) in ids {
        let path = format!("/users/{id}");
        for (method, body, write) in [("PUT", SOUND, true), ("DELETE", b"", true), ("GET", b"", false)] {
            let case = case(format!("id: {what}, {method}"), request(method, &path, &[JSON], body), 400, "invalid-id");
            cases.push(Case { write, ..case });
        }
    }
    let differing = request("PUT", "/users/7", &[JSON], br#"{"id":"8","name":"s3cret","age":1}"#);
    cases.push(case("id: the body names another", differing, 422, "ids-differ").faults(&[("/id", "format")]));

    for (method, path) in [("POST", "/nobody"), ("PUT", "/nobody/1"), ("DELETE", "/nobody/1"), ("POST", "/Users")] {
        let request = request(method, path, &[JSON], SOUND);
        cases.push(case(format!("entity: {method} {path}"), request, 404, "unknown-entity"));
    }
    for (method, path) in [("GET", "/nobody/1"), ("GET", "/nobody"), ("PATCH", "/nobody/1"), ("POST", "/users%00")] {
        let write = method == "POST" || method == "PATCH";
        let case = case(format!("entity: {method} {path}"), request(method, path, &[JSON], b""), 404, "unknown-entity");
        cases.push(Case { write, ..case });
    }
    for path in ["/", "/users/", "/users/1/", "/users/1/s3cret", "//users", "/a/b/c/d"] {
        for method in ["GET", "POST", "PUT"] {
            let request = request(method, path, &[JSON], SOUND);
            cases.push(case(format!("route: {method} {path}"), request, 404, "no-route").no_write());
        }
    }
    let resources = [
        ("/users", "GET, HEAD, POST"),
        ("/users:bulk", "POST"),
        ("/users/1", "DELETE, GET, HEAD, PATCH, PUT"),
        ("/write-behind", "POST"),
    ];
    for (path, allow) in resources {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "BREW"] {
            if allow.split(", ").all(|allowed| allowed != method) {
                let request = request(method, path, &[JSON], b"");
                cases.push(case(format!("{method} {path}"), request, 405, "method-not-allowed").allow(allow));
            }
        }
    }
    let old = "POST /users?a=s3cret HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    let old = case("HTTP/1.0 and a query", old.as_bytes().to_vec(), 422, "invalid-record");
    cases.push(old.faults(&[("/name", "missing"), ("/age", "missing")]));
    cases
}

async fn system() -> Result<System> {
    let system = System::prepare(e2e::Servers::shared())?
        .with("BODY_DEADLINE_MS", "300")
        .with("BODY_BYTES_MOST", &BODY_BYTES_MOST.to_string());
    system.up().await
}

/// What stands in Redis beyond its housekeeping.
async fn keys_of_records(system: &System) -> Result<Vec<String>> {
    let mut redis = redis::Client::open(system.redis_url.as_str())?.get_multiplexed_async_connection().await?;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await?;
    let of_records = ["record", "outbox", "unsettled", "lease", "last"];
    Ok(keys.into_iter().filter(|key| of_records.iter().any(|name| key.contains(name))).collect())
}

async fn assert_nothing_written(system: &System) -> Result<()> {
    assert_eq!(keys_of_records(system).await?, Vec::<String>::new(), "a refused request left something in Redis");
    let events = read_all(&system.servers.kafka.brokers(), &format!("{}users", system.topic_prefix))?;
    assert!(events.is_empty(), "a refused request became an event: {events:?}");
    let rows: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM users").fetch_one(&system.table().await?).await?;
    assert_eq!(rows, 0, "a refused request became a row");
    Ok(())
}

#[tokio::test]
async fn every_bad_request_is_refused_by_name_and_writes_nothing() -> Result<()> {
    let system = system().await?;
    let cases: Vec<_> = [records(), malformed(), unread(), places()].into_iter().flatten().collect();
    let answered = |case: &Case| case.check(&exchange(&system.ingest_url, &case.request)?);
    let wrong = cases.iter().filter_map(|case| Some(format!("{}: {:#}", case.what, answered(case).err()?)));
    let wrong: Vec<_> = wrong.collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    assert_nothing_written(&system).await?;

    let metrics = system.metrics(&system.ingest_admin_url).await?;
    let counted = |reason: &str| -> f64 {
        let series = metrics.lines().filter(|line| line.starts_with("write_behind_rejected_total{"));
        let of_reason = series.filter(|line| line.contains(&format!("reason=\"{reason}\"")));
        of_reason.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    };
    let writes: Vec<_> = cases.iter().filter(|case| case.write).collect();
    for kind in writes.iter().map(|case| case.kind).collect::<std::collections::BTreeSet<_>>() {
        let sent = writes.iter().filter(|case| case.kind == kind).count();
        assert_eq!(counted(kind), sent as f64, "rejected_total of {kind}");
    }
    assert!(!metrics.contains(SECRET) && !metrics.contains("nobody"), "a client's text became a label");
    let accepted: Vec<_> = metrics.lines().filter(|line| line.starts_with("write_behind_accepted_total{")).collect();
    assert!(!accepted.is_empty() && accepted.iter().all(|line| line.ends_with(" 0")), "accepted: {accepted:?}");
    Ok(())
}

#[tokio::test]
async fn what_no_handler_can_see_is_refused_without_a_body() -> Result<()> {
    let system = system().await?;
    let huge = request("POST", "/users", &[JSON, ("X-Huge", &SECRET.repeat(30_000))], SOUND);
    let lengths = [JSON, ("Content-Length", "1"), ("Content-Length", "2")];
    let both = [JSON, ("Content-Length", "3"), ("Transfer-Encoding", "chunked")];
    for (what, bytes, status) in [
        ("a head beyond every bound", huge, 431),
        ("no HTTP", b"s3cret\r\n\r\n".to_vec(), 400),
        ("a control byte in a header", head("GET", "/users/1", &[("X-A", "s3cret\u{1}")]), 400),
        ("raw UTF-8 in a path", head("GET", "/users/s3cret\u{e9}", &[]), 400),
        ("two lengths", [head("POST", "/users", &lengths), SOUND.to_vec()].concat(), 400),
        ("a length and chunks", [head("POST", "/users", &both), chunk(b"{}"), chunk(b"")].concat(), 400),
        ("a length that is none", head("POST", "/users", &[JSON, ("Content-Length", "-1")]), 400),
    ] {
        let answer = exchange(&system.ingest_url, &bytes).context(what)?;
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{what}: {answer:?}");
    }
    assert_nothing_written(&system).await
}

#[tokio::test]
async fn what_looks_odd_and_is_sound_is_accepted() -> Result<()> {
    let system = system().await?;
    let longest = format!("/users/{}", "~".repeat(128));
    let mut chunked = head("POST", "/users", &[JSON, ("Transfer-Encoding", "chunked")]);
    [&SOUND[..9], &SOUND[9..], b""].iter().for_each(|part| chunked.extend(chunk(part)));
    let charset = ("Content-Type", "Application/JSON ; charset=utf-8");
    let trace = ("traceparent", &*"s".repeat(2000));
    for (what, bytes) in [
        ("an id of 128 characters", request("PUT", &longest, &[JSON], SOUND)),
        ("an id in escapes that need not be", request("PUT", "/users/%61%62", &[JSON], SOUND)),
        ("a query", request("PUT", "/users/query?id=7&x", &[JSON], SOUND)),
        ("a body in chunks", chunked),
        ("a parameter of the media type", request("POST", "/users", &[charset], SOUND)),
        ("an encoding that is none", request("POST", "/users", &[JSON, ("Content-Encoding", "Identity")], SOUND)),
        ("another wish for the answer", request("POST", "/users", &[JSON, ("Accept", "text/html")], SOUND)),
        ("a trace that is none", request("POST", "/users", &[JSON, trace], SOUND)),
        ("a whole number with a point", post(r#"{"age":30.0,"name":"x"}"#)),
        ("blanks around it", post("\r\n\t {\"age\":3e1 , \"name\":\"\\u00e9\\ud83d\\ude00\"} \n")),
        ("an id that is a number", post(r#"{"id":7,"name":"x","age":1}"#)),
        ("the path's id once more", request("PUT", "/users/8", &[JSON], br#"{"id":"8","name":"x","age":1}"#)),
        ("a delete of nobody", request("DELETE", "/users/nobody", &[], b"")),
    ] {
        let answer = exchange(&system.ingest_url, &bytes).context(what)?;
        assert_eq!(answer.status, 202, "{what}: {answer:?}");
    }
    let shown = exchange(&system.ingest_url, &head("GET", "/users/ab?x=1", &[("Accept", "text/html")]))?;
    assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/json")), "{shown:?}");
    let headed = exchange(&system.ingest_url, &head("HEAD", "/users/ab", &[]))?;
    assert_eq!((headed.status, headed.body.as_str()), (200, ""), "HEAD: {headed:?}");
    for name in ["etag", "content-length", "content-type", "write-behind-state"] {
        assert_eq!(headed.header(name).is_some(), shown.header(name).is_some(), "HEAD and GET differ in {name}");
    }
    let missing = exchange(&system.ingest_url, &head("HEAD", "/users/nobody", &[]))?;
    assert_eq!((missing.status, missing.body.as_str()), (404, ""), "HEAD of nobody: {missing:?}");
    Ok(())
}
