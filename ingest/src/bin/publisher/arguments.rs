//! The command line, in its two forms: flags of an entity's fields, or a file.
//!
//! Which flags there are depends on the entity, so that our own are looked at first.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use record::{Entity, Field};
use service::schemas;

use crate::client::{self, Access};
use crate::rows::Format;

const EXAMPLES: &str = "\
One record:    publisher ENTITY --<field> <value> ... [--wait]
Many records:  publisher ENTITY --file records.ndjson   (or .csv; publisher --file F --help says more)

Exit codes of one record: 0 written (with --wait: the database has it), 1 not written, 2 usage or schemas.";

// A paragraph is one line here: clap wraps it to the terminal.
const FILE_HELP: &str = "\
A line of NDJSON or a row of CSV is a record, sent as PUT /{entity}/{id}. Without an id of its own it gets one that comes \
of the file's content and the line's number: the same file again gives the same ids, and writes nothing twice. Lines with \
the same id are written in the file's order. Of a CSV, the first row names the fields; an empty cell leaves its field out.

Where it was stopped or killed, the same command goes on: <file>.progress holds how far it came. Lines that ingest refuses \
stop nothing; they are in <file>.failed.ndjson, each with its faults.

Exit codes:
  0    every line is written
  1    some lines failed, the others are written
  2    usage, or ingest or a file is not as it must be; the message says which
  3    ingest took no write for --retry-for-s; the same command goes on
  130  interrupted; the same command goes on";

/// What is asked for.
pub(crate) enum Form {
    /// A record of which each field is a flag.
    One { entity: Arc<Entity>, matches: ArgMatches },
    /// The lines of a file.
    File(FileRequest),
}

/// `publisher users --file people.ndjson`.
#[derive(Debug)]
pub(crate) struct FileRequest {
    pub(crate) entity: Arc<Entity>,
    /// Without a slash at its end.
    pub(crate) ingest_url: String,
    /// How ingest is reached, and what every request shows.
    pub(crate) access: Access,
    /// `None` is standard input.
    pub(crate) file: Option<PathBuf>,
    pub(crate) format: Format,
    pub(crate) state_file: Option<PathBuf>,
    pub(crate) restart: bool,
    pub(crate) concurrency: usize,
    pub(crate) retry_for: Duration,
    pub(crate) show_progress: bool,
}

/// Reads the command line; a usage error or `--help` ends the process.
pub(crate) fn read() -> anyhow::Result<Form> {
    let all: Vec<OsString> = std::env::args_os().collect();
    let own = own(&all);
    let first = common().get_matches_from(&own);
    let catalog = schemas::load(&setting::<PathBuf>(&first, "schemas-dir")).context("--schemas-dir")?;
    let name = entity_name(&first)?;
    let entity = catalog.get(&name).with_context(|| {
        let known: Vec<_> = catalog.iter().map(|entity| entity.name()).collect();
        format!("there is no entity {name}, only {}", known.join(", "))
    })?;
    let entity = Arc::clone(entity);
    if all.iter().any(|arg| is_flag(arg, "--file")) {
        let matches = of_a_file().get_matches_from(all);
        return Ok(Form::File(file_request(entity, &matches)?));
    }
    let matches = of_one(&entity).get_matches_from(all);
    ensure!(entity_name(&matches)? == name, "the entity's name comes first: publisher {} …", entity_name(&matches)?);
    Ok(Form::One { entity, matches })
}

/// Our own flags among those of the fields, which nobody can know yet.
fn own(all: &[OsString]) -> Vec<OsString> {
    let mut own = Vec::new();
    let mut rest = all.iter().peekable();
    own.extend(rest.next().cloned());
    own.extend(rest.next_if(|arg| !arg.to_string_lossy().starts_with('-')).cloned());
    while let Some(arg) = rest.next() {
        if is_flag(arg, "--entity") || is_flag(arg, "--schemas-dir") {
            own.push(arg.clone());
            if !arg.to_string_lossy().contains('=') {
                own.extend(rest.next().cloned());
            }
        }
    }
    own
}

fn is_flag(arg: &OsString, flag: &str) -> bool {
    arg.to_str().and_then(|arg| arg.strip_prefix(flag)).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

fn entity_name(matches: &ArgMatches) -> anyhow::Result<String> {
    let flag: String = setting(matches, "entity");
    let Some(named) = matches.get_one::<String>("named") else { return Ok(flag) };
    let both = matches.value_source("entity") == Some(ValueSource::CommandLine) && flag != *named;
    ensure!(!both, "{named} and --entity {flag} are two entities: name one");
    Ok(named.clone())
}

fn arg(name: &'static str, default: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).default_value(default).help(help)
}

/// What both forms have.
fn common() -> Command {
    Command::new("publisher")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Writes records through ingest")
        .arg(Arg::new("named").value_name("ENTITY").help("What kind of records; instead of --entity"))
        .args(client::flags())
        .arg(arg("ingest-url", "http://127.0.0.1:8080", "Where ingest takes records").env("INGEST_URL"))
        .arg(
            arg("schemas-dir", "schemas", "The folder with <entity>/v<N>.avsc and ids.json")
                .env("SCHEMAS_DIR")
                .value_parser(value_parser!(PathBuf)),
        )
        .arg(arg("entity", "users", "What kind of record it is").env("ENTITY"))
}

fn one() -> Command {
    common()
        .after_help(EXAMPLES)
        .arg(Arg::new("id").long("id").help("The record's id; left out, a new one is given"))
        .arg(Arg::new("wait").long("wait").action(ArgAction::SetTrue).help("Return when the database has the record"))
        .arg(arg("wait-s", "30", "How long --wait waits, in seconds").env("WAIT_S").value_parser(value_parser!(u64)))
}

fn of_one(entity: &Entity) -> Command {
    one().args(entity.fields().iter().filter_map(flag))
}

/// A field as a flag: what its `cli` attribute says, else its name. A name that the publisher needs itself is left out.
pub(crate) fn flag(field: &Field) -> Option<Arg> {
    let (long, short) = match &field.cli {
        Some(cli) => (cli.long.clone(), cli.short),
        None => (field.name.replace('_', "-"), None),
    };
    let taken = long == "file" || one().get_arguments().any(|own| own.get_long() == Some(&long));
    let help = field.doc.clone().unwrap_or_default();
    let arg =
        Arg::new(flag_id(field)).long(long).value_name(field.name.clone()).help(help).allow_negative_numbers(true);
    (!taken).then(|| short.into_iter().fold(arg, Arg::short))
}

/// Apart from the names of our own flags.
pub(crate) fn flag_id(field: &Field) -> String {
    format!("field {}", field.name)
}

fn of_a_file() -> Command {
    let path = |name: &'static str| Arg::new(name).long(name).value_name("FILE").value_parser(value_parser!(PathBuf));
    let switch =
        |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    common()
        .after_help(FILE_HELP)
        .arg(path("file").required(true).help("The file, .ndjson, .jsonl or .csv; - is NDJSON from standard input"))
        .arg(
            Arg::new("format")
                .long("format")
                .value_parser(["ndjson", "csv"])
                .help("What the file is, where its name does not say"),
        )
        .arg(path("state-file").help("Where it is kept how far this came; <file>.progress unless set"))
        .arg(switch("restart", "Begin at the first line, whatever was written before"))
        .arg(
            arg("concurrency", "64", "How many lines are on their way at once")
                .value_parser(value_parser!(u16).range(1..)),
        )
        .arg(
            arg("retry-for-s", "60", "How long a line is tried again while ingest cannot take it, in seconds")
                .value_parser(value_parser!(u64)),
        )
        .arg(switch("no-progress", "Show nothing until the end"))
        .arg(switch("wait", "Not here: with it a single record is waited for").hide(true))
}

/// Where ingest is. What is told about it, and kept in a state file, must hold no password.
pub(crate) fn ingest_url(matches: &ArgMatches) -> anyhow::Result<String> {
    let text = setting::<String>(matches, "ingest-url");
    let url = reqwest::Url::parse(&text).ok().filter(reqwest::Url::has_host);
    let url = url.context("--ingest-url: expected such as http://127.0.0.1:8080")?;
    ensure!(matches!(url.scheme(), "http" | "https"), "--ingest-url: only http:// and https:// are known");
    let anonymous = url.username().is_empty() && url.password().is_none();
    ensure!(anonymous, "--ingest-url: ingest knows no users and passwords, but keys: --api-key");
    Ok(text.trim_end_matches('/').to_owned())
}

fn file_request(entity: Arc<Entity>, matches: &ArgMatches) -> anyhow::Result<FileRequest> {
    ensure!(
        !matches.get_flag("wait"),
        "--wait is for one record. Of a file, watch write_behind_oldest_unpersisted_seconds, or read its last records: \
         Write-Behind-State: persisted"
    );
    let file = matches.get_one::<PathBuf>("file").cloned().filter(|file| file.as_os_str() != "-");
    let format = match matches.get_one::<String>("format") {
        Some(format) => Format::named(format),
        None => file.as_ref().map_or(Some(Format::NdJson), |file| Format::named(file.extension()?.to_str()?)),
    };
    let state_file = matches.get_one::<PathBuf>("state-file").cloned();
    ensure!(file.is_some() || state_file.is_none(), "--state-file: standard input cannot be gone on with; use a file");
    Ok(FileRequest {
        entity,
        ingest_url: ingest_url(matches)?,
        access: Access::of(matches)?,
        file,
        format: format.context("--file: its name does not say what it is; add --format ndjson or --format csv")?,
        state_file,
        restart: matches.get_flag("restart"),
        concurrency: setting::<u16>(matches, "concurrency").into(),
        retry_for: Duration::from_secs(setting(matches, "retry-for-s")),
        show_progress: !matches.get_flag("no-progress"),
    })
}

/// What has a default.
pub(crate) fn setting<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> T {
    #[expect(clippy::expect_used, reason = "every setting asked for here has a default")]
    matches.get_one::<T>(name).cloned().expect("a setting with a default")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(words: &str) -> Vec<String> {
        let all: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        own(&all).into_iter().map(|arg| arg.into_string().unwrap()).collect()
    }

    #[test]
    fn our_own_flags_are_found_wherever_they_stand() {
        assert_eq!(owned("publisher -l Smith --entity orders -a 25"), ["publisher", "--entity", "orders"]);
        assert_eq!(owned("publisher orders -a 25 --schemas-dir=x"), ["publisher", "orders", "--schemas-dir=x"]);
        assert_eq!(owned("publisher -l Smith"), ["publisher"], "a flag's value is no entity");
    }

    #[test]
    fn both_forms_are_sound_commands() {
        one().debug_assert();
        of_a_file().debug_assert();
    }
}
