//! Settings as the programs themselves read them: checked, printed, from files, and passed through to real servers.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::system::binary;
use e2e::{Servers, System};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use stack::{Lifetime, Process, port, shared, workspace};

/// Stands in every secret; nothing may repeat it.
const SECRET: &str = "s3cret";

/// Runs a program to its end with these settings and nothing else.
fn run(words: &[&str], settings: &[(&str, &str)]) -> Result<Output> {
    let (program, arguments) = words.split_first().context("a program")?;
    let mut command = Command::new(binary(program));
    command.args(arguments).env_clear().env("SCHEMAS_DIR", workspace().join("schemas"));
    Ok(command.envs(settings.iter().copied()).output()?)
}

fn both(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

const CHECKED: [&[&str]; 6] = [
    &["ingest"],
    &["persister", "run"],
    &["persister", "migrate"],
    &["persister", "verify"],
    &["persister", "replay", "--all"],
    &["persister", "purge"],
];

#[test]
fn a_sound_configuration_is_said_to_be_so_without_a_connection_to_anything() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let at = listener.local_addr()?;
    let (redis, database) = (format!("redis://{at}"), format!("mysql://me:{SECRET}@{at}/records"));
    let settings = [
        ("KAFKA_BROKERS", at.to_string()),
        ("REDIS_URL", redis),
        ("DATABASE_URL", database),
        ("ALLOW_SINGLE_BROKER", "true".to_owned()),
        ("KAFKA_PROP_LINGER_MS", "5".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    for words in CHECKED {
        let output = run(&[words, &["--check-config"]].concat(), &settings)?;
        ensure!(
            output.status.code() == Some(0) && both(&output) == "configuration is sound\n",
            "{words:?}: {output:?}"
        );
    }
    let called = listener.accept();
    ensure!(called.is_err(), "somebody connected: {called:?}");
    Ok(())
}

#[test]
fn all_that_is_wrong_is_said_at_once_and_stops_a_start_with_the_same_sentences() -> Result<()> {
    let settings = [
        ("DATABASE_CONNECTIONS", "many"),
        ("KAFKA_PROP_SOCKET_KEEPALIFE", "true"),
        ("KAFKA_PROP_ACKS", "1"),
        ("KAFKA_PROP_SSL_KEY_PEM_X", SECRET),
        ("EVENT_BYTES_MOST", "5"),
        ("SCHEMAS_DIR", "/nowhere"),
        ("DATABASE_URL", "mysql://me:s3cret@db:port/x"),
        ("KAFKA_SASL_PASSWORD_FILE", "/nowhere/password"),
        ("REDIS_URL", "redis://me:s3cret@h"),
        ("REDIS_URL_FILE", "/nowhere/url"),
    ];
    for words in CHECKED {
        let checked = run(&[words, &["--check-config"]].concat(), &settings)?;
        let text = both(&checked);
        ensure!(checked.status.code() == Some(2), "{words:?}: {checked:?}");
        let faults: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("fault: ")).collect();
        let mut wanted = vec![
            "--database-connections (DATABASE_CONNECTIONS=many, environment): ",
            "(KAFKA_PROP_SOCKET_KEEPALIFE=true, environment): socket.keepalife: ",
            "(KAFKA_PROP_ACKS=1, environment): acks is not passed through: ",
            "(KAFKA_PROP_SSL_KEY_PEM_X, environment): ssl.key.pem.x: ",
            "--event-bytes-most (EVENT_BYTES_MOST=5, environment): ",
            "--schemas-dir (SCHEMAS_DIR=/nowhere, environment): cannot read /nowhere",
            "--database-url (DATABASE_URL, environment): ",
            "--kafka-sasl-password (KAFKA_SASL_PASSWORD_FILE): cannot read /nowhere/password: ",
        ];
        if words != ["persister", "migrate"] {
            wanted.push("--redis-url (REDIS_URL, REDIS_URL_FILE): both are set");
        }
        for fault in wanted {
            ensure!(faults.iter().any(|line| line.contains(fault)), "{words:?}: no {fault:?} in: {text}");
        }
        let started = run(words, &settings)?;
        ensure!(started.status.code() == Some(2), "{words:?}: {started:?}");
        let said: Vec<String> = both(&started)
            .lines()
            .map(|line| {
                Ok(serde_json::from_str::<serde_json::Value>(line)?["message"]
                    .as_str()
                    .context("a message")?
                    .to_owned())
            })
            .collect::<Result<_>>()?;
        ensure!(said == faults, "{words:?}: not {faults:#?} but {said:#?}");
        ensure!(!text.contains(SECRET) && !both(&started).contains(SECRET), "{words:?} tells a secret: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_warning_is_said_by_the_check_and_in_the_log_of_a_start_and_stops_neither() -> Result<()> {
    let plain = format!("redis://:{SECRET}@cache.invalid");
    let warning = "--redis-url (REDIS_URL=redis://cache.invalid, environment) has no TLS";
    let checked = run(&["ingest", "--check-config"], &[("REDIS_URL", &plain)])?;
    ensure!(checked.status.code() == Some(0) && both(&checked).contains(&format!("warning: {warning}")), "{checked:?}");
    let system = System::prepare(Servers::shared())?;
    let ingest = Process::spawn(&system.ingest_spec().env("REDIS_URL", &plain), Lifetime::Attached)?;
    system
        .eventually("the start is logged", async || Ok(ingest.log_tail(100).contains("ingest takes records")))
        .await?;
    let log = ingest.log_tail(100);
    ensure!(log.contains(&format!(r#""level":"WARN","message":"{warning}"#)) && !log.contains(SECRET), "{log}");
    Ok(())
}

/// The variables of an environment file.
fn variables(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')).collect()
}

#[test]
fn what_is_printed_is_an_environment_file_without_secrets() -> Result<()> {
    let folder = shared::scratch("printed");
    let password = folder.join("password");
    std::fs::write(&password, SECRET)?;
    let settings = [
        ("DATABASE_URL", "mysql://me:s3cret@db/x"),
        ("REDIS_PASSWORD_FILE", password.to_str().context("a path")?),
        ("KAFKA_SASL_PASSWORD", SECRET),
        ("KAFKA_PROP_LINGER_MS", "5"),
        ("KAFKA_PROP_SSL_KEYSTORE_PASSWORD", SECRET),
    ];
    let output = run(&["persister", "run", "--print-config", "--batch-rows-most=7"], &settings)?;
    let text = both(&output);
    ensure!(output.status.code() == Some(0) && !text.contains(SECRET), "{output:?}");
    for lines in [
        "# --batch-rows-most, flag\nBATCH_ROWS_MOST=7\n",
        "# --clock-skew-ms, default\nCLOCK_SKEW_MS=50\n",
        "# --kafka-prop, environment\nKAFKA_PROP_LINGER_MS=5\n",
        "# --kafka-prop, environment, redacted\n# KAFKA_PROP_SSL_KEYSTORE_PASSWORD=\n",
        "# --kafka-sasl-password, environment, redacted\n# KAFKA_SASL_PASSWORD=\n",
        "# --database-url, environment, without its password\nDATABASE_URL=mysql://me@db/x\n",
        &format!("# --redis-password, file\nREDIS_PASSWORD_FILE={}\n", password.display()),
    ] {
        ensure!(text.contains(lines), "no {lines:?} in: {text}");
    }
    let given = variables(&text);
    let again = run(&["persister", "run", "--print-config"], &given.iter().map(|(n, v)| (*n, *v)).collect::<Vec<_>>())?;
    let again = both(&again);
    let mut again = variables(&again);
    ensure!(again.remove("KAFKA_SASL_PASSWORD") == Some(""), "a secret that was not printed is not there again");
    ensure!(again == given, "{again:#?}\nis not\n{given:#?}");
    Ok(())
}

#[tokio::test]
async fn passwords_from_files_let_us_in() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?;
    let folder = shared::scratch("passwords");
    let write = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, format!("{text}\n"))?;
        Ok(path.to_str().context("a path")?.to_owned())
    };
    let mut admin = redis::Client::open(&*system.redis_url)?.get_multiplexed_async_connection().await?;
    let user = ["SETUSER", "writer", "on", ">s3cret-of-redis", "~*", "&*", "+@all"];
    let () = redis::cmd("ACL").arg(&user).query_async(&mut admin).await?;
    for (account, name) in [(&mut system.accounts.migrate, "migrate"), (&mut system.accounts.ingest, "ingest")] {
        let (user, host) = account.rsplit_once('@').context("an account")?;
        let (user, password) = user.rsplit_once(':').context("a password")?;
        write(name, password)?;
        *account = format!("{user}@{host}");
    }
    let file = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let spec = system.spec("persister", "migrate", &system.accounts.migrate).arg("migrate");
    let migrate = Process::spawn(&spec.env("DATABASE_PASSWORD_FILE", file("migrate")), Lifetime::Attached)?;
    let ended = migrate.wait(Duration::from_secs(60))?;
    ensure!(matches!(ended, stack::Ended::Yes(Some(status)) if status.success()), "{}", migrate.log_tail(20));
    let spec = || {
        let spec = system.ingest_spec().env("DATABASE_PASSWORD_FILE", file("ingest")).env("REDIS_USERNAME", "writer");
        spec.env("REDIS_PASSWORD_FILE", file("redis"))
    };
    write("redis", "s3cret-of-nobody")?;
    let refused = Process::spawn(&spec(), Lifetime::Attached)?;
    let until = Instant::now() + Duration::from_secs(20);
    while !std::fs::read_to_string(refused.log())?.contains("Password authentication failed") {
        ensure!(Instant::now() < until, "Redis takes a wrong password: {}", refused.log_tail(20));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(!std::fs::read_to_string(refused.log())?.contains(SECRET), "{}", refused.log_tail(20));
    drop(refused);
    write("redis", "s3cret-of-redis")?;
    let ingest = Process::spawn(&spec(), Lifetime::Attached)?;
    system.ready(&ingest, &system.ingest_admin_url).await
}

#[tokio::test]
async fn a_property_reaches_kafka() -> Result<()> {
    let mut system = System::prepare(Servers::shared())?.with("KAFKA_PROP_CLIENT_ID", "named-from-outside");
    system.migrate()?;
    system.start_persister().await?;
    let group = system.group.clone();
    let client: BaseConsumer = ClientConfig::new().set("bootstrap.servers", system.servers.kafka.brokers()).create()?;
    system
        .eventually("the member of the group has the name that was given", async || {
            let groups = client.fetch_group_list(Some(&group), Duration::from_secs(5))?;
            Ok(groups
                .groups()
                .iter()
                .flat_map(|group| group.members())
                .any(|member| member.client_id() == "named-from-outside"))
        })
        .await
}

#[tokio::test]
async fn a_healthcheck_tells_whether_the_service_of_its_settings_is_ready() -> Result<()> {
    let system = System::start().await?;
    let listening = |url: &str| url.trim_start_matches("http://127.0.0.1").to_owned();
    for (program, url) in [("ingest", &system.ingest_admin_url), ("persister", &system.persister_admin_url)] {
        // All addresses: asked through the loopback.
        let at = format!("0.0.0.0{}", listening(url));
        let output = run(&[program, "healthcheck"], &[("ADMIN_LISTEN", &at), ("http_proxy", "http://127.0.0.1:1")])?;
        ensure!(output.status.code() == Some(0), "{output:?}");
        let nobody = format!("127.0.0.1:{}", port::free()?);
        let output = run(&[program, "healthcheck"], &[("ADMIN_LISTEN", &nobody)])?;
        ensure!(
            output.status.code() == Some(1) && both(&output).contains("does not answer: Connection refused"),
            "{output:?}"
        );
        let silent = TcpListener::bind("127.0.0.1:0")?;
        let since = Instant::now();
        let output = run(&[program, "healthcheck", "--admin-listen", &silent.local_addr()?.to_string()], &[])?;
        ensure!(output.status.code() == Some(1) && both(&output).contains("does not answer within 2 s"), "{output:?}");
        ensure!(since.elapsed() > Duration::from_secs(2), "it waits for an answer");
        let output = run(&[program, "healthcheck"], &[("ADMIN_LISTEN", "here")])?;
        ensure!(
            output.status.code() == Some(1) && both(&output).contains("--admin-listen (ADMIN_LISTEN=here"),
            "{output:?}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_healthcheck_of_a_service_that_is_not_ready_fails() -> Result<()> {
    let system = System::prepare(Servers::shared())?;
    let nobody = format!("127.0.0.1:{}", port::free()?);
    let spec = system.ingest_spec().env("REDIS_URL", format!("redis://{nobody}")).env("KAFKA_BROKERS", nobody);
    let ingest = Process::spawn(&spec, Lifetime::Attached)?;
    let at = system.ingest_admin_url.trim_start_matches("http://").to_owned();
    system
        .eventually("the answer is 503", async || {
            let output = run(&["ingest", "healthcheck"], &[("ADMIN_LISTEN", &at)])?;
            ensure!(output.status.code() == Some(1) && ingest.is_running(), "{output:?}\n{}", ingest.log_tail(20));
            Ok(both(&output).contains("answers 503 Service Unavailable: not ready"))
        })
        .await
}
