//! Compose's Valkey settings and account on a real server: the whole path works with them, and nothing else does.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use e2e::{Servers, System};
use reqwest::Method;
use serde_json::json;
use stack::{Lifetime, Process, Spec, Tools, port, shared, workspace};

use super::rendered::{compose, secret};

fn users() -> &'static str {
    compose()["configs"]["valkey-users"]["content"].as_str().expect("the users")
}

/// The commands that the account may call.
fn allowed() -> BTreeSet<String> {
    users()
        .split_whitespace()
        .filter_map(|word| word.strip_prefix('+'))
        .filter(|word| !word.starts_with('@'))
        .map(str::to_uppercase)
        .collect()
}

/// The commands that stand in a text after any of these.
fn called(text: &str, calls: &[&str]) -> BTreeSet<String> {
    let after = calls.iter().flat_map(|call| text.split(call).skip(1));
    after.filter_map(|rest| rest.split(['\'', '"']).next()).map(str::to_owned).collect()
}

#[test]
fn the_account_may_call_what_the_code_calls_and_no_more() {
    let mut needed: BTreeSet<String> = ["EVALSHA", "SCRIPT|LOAD"].map(str::to_owned).into();
    for folder in ["crates/cache/src", "crates/cache/src/scripts"] {
        for entry in std::fs::read_dir(workspace().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                let text = std::fs::read_to_string(&path).expect("a source");
                needed.extend(called(&text, &["call('", "redis::cmd(\"", ".cmd(\""]));
            }
        }
    }
    assert_eq!(allowed(), needed);
    assert!(users().contains("-@all +@connection -@dangerous +info "), "first nothing, then what every client sends");
}

/// Compose's settings file and account on the server that is here, under this machine's paths.
fn server() -> (Process, u16) {
    let place = shared::scratch("valkey");
    let program = place.join("redis-server"); // Debian's serves when it is called so
    symlink(Tools::find().redis().expect("Redis"), &program).expect("a link");
    std::fs::write(place.join("users.acl"), users()).expect("the users");
    let number = port::free().expect("a port");
    let spec = Spec::new("valkey", program, place.join("log"))
        .arg(workspace().join("deploy/valkey/valkey.conf"))
        .args(["--bind", "127.0.0.1", "--port", &number.to_string(), "--databases", "1"])
        .arg("--dir")
        .arg(&place)
        .arg("--aclfile")
        .arg(place.join("users.acl"));
    (Process::spawn(&spec, Lifetime::Attached).expect("Redis runs"), number)
}

#[tokio::test]
async fn the_whole_path_works_with_composes_account_and_settings() -> anyhow::Result<()> {
    let (process, port) = server();
    let mut system = System::prepare(Servers::shared())?;
    system.redis_url = format!("redis://write-behind:{}@127.0.0.1:{port}/0", secret("REDIS_PASSWORD"));
    let mut system = system.up().await?;
    system.put("users", "1", &json!({ "name": "Ada", "age": 36 })).await?;
    let persisted = async |system: &System, status: u16| {
        let answer = system.call(Method::GET, "/users/1", None).await?;
        let state = answer.headers().get("write-behind-state").is_some_and(|state| state == "persisted");
        Ok(answer.status().as_u16() == status && (state || status == 404))
    };
    system.eventually("the record is persisted", async || persisted(&system, 200).await).await?;
    assert_eq!(system.call(Method::DELETE, "/users/1", None).await?.status(), 202);
    system.eventually("the record is gone", async || persisted(&system, 404).await).await?;
    // A row that the cache lacks is filled in: a read that misses.
    system.call(Method::GET, "/users/2", None).await?;
    // The relay claims its shards and looks at what waits about once a second.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for service in [system.ingest.take(), system.persister.take()].into_iter().flatten() {
        let log = std::fs::read_to_string(service.log())?;
        assert!(!log.contains("NOPERM"), "{}", service.log_tail(20));
    }

    for account in ["", "default:@", "write-behind:wrong@"] {
        let client = redis::Client::open(format!("redis://{account}127.0.0.1:{port}/0"))?;
        let pong = client.get_connection().and_then(|mut it| redis::cmd("PING").query::<String>(&mut it));
        assert!(pong.is_err(), "{account:?} may come in");
    }
    let client = redis::Client::open(system.redis_url.as_str())?;
    let mut connection = client.get_connection()?;
    for (command, key) in [("FLUSHALL", "ASYNC"), ("KEYS", "*"), ("GET", "other")] {
        let refused = redis::cmd(command).arg(key).query::<redis::Value>(&mut connection).expect_err(command);
        assert_eq!(refused.code(), Some("NOPERM"), "{command}: {refused}");
    }
    let info: redis::InfoDict = redis::cmd("INFO").query(&mut connection)?;
    assert_eq!(info.get::<String>("maxmemory_policy").as_deref(), Some("volatile-ttl"));
    assert_eq!((info.get::<u64>("maxmemory"), info.get::<u8>("aof_enabled")), (Some(512 << 20), Some(1)));
    drop(process);
    Ok(())
}
