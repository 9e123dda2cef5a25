//! Writes one record through ingest from the command line: `publisher -l Smith -f John -a 25`.
//!
//! An HTTP client and nothing more. Its flags come from the entity's newest schema: the `cli` attribute
//! of a field, else its name.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use record::{Entity, Field, Kind};
use serde_json::{Map, Value};
use service::schemas;
use tokio::time::Instant;

const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("publisher: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let first = command().disable_help_flag(true).disable_version_flag(true).ignore_errors(true).get_matches();
    let catalog = schemas::load(&setting::<PathBuf>(&first, "schemas-dir"))?;
    let name: String = setting(&first, "entity");
    let entity = catalog.get(&name).with_context(|| format!("--entity: there is no entity {name}"))?;
    let matches = command().args(entity.fields().iter().filter_map(flag)).get_matches();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(publish(entity, &matches))
}

/// The flags of every entity.
fn command() -> Command {
    let arg = |name: &'static str, env: &'static str, default: &'static str, help: &'static str| {
        Arg::new(name).long(name).env(env).default_value(default).help(help)
    };
    Command::new("publisher")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Writes one record through ingest")
        .arg(arg("ingest-url", "INGEST_URL", "http://127.0.0.1:8080", "Where ingest takes records"))
        .arg(
            arg("schemas-dir", "SCHEMAS_DIR", "schemas", "The folder with <entity>/v<N>.avsc and ids.json")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(arg("entity", "ENTITY", "users", "What kind of record it is"))
        .arg(Arg::new("id").long("id").help("The record's id; left out, a new one is given"))
        .arg(Arg::new("wait").long("wait").action(ArgAction::SetTrue).help("Return when the database has the record"))
        .arg(arg("wait-s", "WAIT_S", "30", "How long --wait waits, in seconds").value_parser(value_parser!(u64)))
}

/// A field as a flag: what its `cli` attribute says, else its name. A name that the publisher needs itself is left out.
fn flag(field: &Field) -> Option<Arg> {
    let (long, short) = match &field.cli {
        Some(cli) => (cli.long.clone(), cli.short),
        None => (field.name.replace('_', "-"), None),
    };
    let taken = command().get_arguments().any(|own| own.get_long() == Some(&long));
    let help = field.doc.clone().unwrap_or_default();
    let arg =
        Arg::new(flag_id(field)).long(long).value_name(field.name.clone()).help(help).allow_negative_numbers(true);
    (!taken).then(|| short.into_iter().fold(arg, Arg::short))
}

/// Apart from the names of our own flags.
fn flag_id(field: &Field) -> String {
    format!("field {}", field.name)
}

fn setting<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    #[expect(clippy::expect_used, reason = "every setting asked for here has a default")]
    matches.get_one::<T>(name).cloned().expect("a setting with a default")
}

async fn publish(entity: &Entity, matches: &ArgMatches) -> anyhow::Result<()> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(10)).build()?;
    let url = setting::<String>(matches, "ingest-url");
    let url = url.trim_end_matches('/');
    let response = client
        .post(format!("{url}/{}", entity.name()))
        .json(&body(entity, matches))
        .send()
        .await
        .with_context(|| format!("ingest does not answer at {url} (--ingest-url)"))?;
    let status = response.status();
    let answer: Value = response.json().await.context("the answer is not JSON: is --ingest-url that of ingest?")?;
    if !status.is_success() {
        bail!("{status}: {answer:#}");
    }
    let text =
        |name: &str| answer.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    let (id, version) = (text("id").context("no id in the answer")?, text("version").context("no version")?);
    let mut state = text("state").unwrap_or_default();
    if matches.get_flag("wait") {
        let patience = Duration::from_secs(setting(matches, "wait-s"));
        wait(&client, &format!("{url}/{}/{id}", entity.name()), version.parse()?, patience).await?;
        "persisted".clone_into(&mut state);
    }
    println!("id={id} version={version} state={state}");
    Ok(())
}

/// The flags that were given, as one JSON object. What they hold is checked by ingest.
fn body(entity: &Entity, matches: &ArgMatches) -> Map<String, Value> {
    let mut body = Map::new();
    if let Some(id) = matches.get_one::<String>("id") {
        body.insert("id".to_owned(), Value::from(id.as_str()));
    }
    for field in entity.fields().iter().filter(|field| flag(field).is_some()) {
        if let Some(text) = matches.get_one::<String>(&flag_id(field)) {
            body.insert(field.name.clone(), value(&field.kind, text));
        }
    }
    body
}

/// Numbers, truth values and nested JSON as such; text, and whatever is none of these, as text.
fn value(kind: &Kind, text: &str) -> Value {
    match kind {
        Kind::Boolean | Kind::Int | Kind::Long | Kind::Float | Kind::Double | Kind::Json(_) => {
            serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
        }
        _ => Value::from(text),
    }
}

/// Returns when the record stands in the database at this version or a newer one.
async fn wait(client: &reqwest::Client, url: &str, version: u64, patience: Duration) -> anyhow::Result<()> {
    let until = Instant::now() + patience;
    while Instant::now() < until {
        let response = client.get(url).send().await?;
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let found = header("etag").and_then(|tag| tag.trim_matches('"').parse::<u64>().ok());
        if found.is_some_and(|found| found >= version) && header("write-behind-state") == Some("persisted") {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
    bail!("the record is accepted, but the database did not have it within {} s", patience.as_secs())
}
