//! `docs/CONFIGURATION.md` against the definitions of the settings: its tables are written from them, and what its prose
//! names is there.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory};
use ingest::Arguments as Ingest;
use persister::Arguments as Persister;
use service::process::Program;
use service::settings::{Environment, Findings, Secrecy, is_family, read};
use stack::workspace;

const PAGE: &str = "docs/CONFIGURATION.md";
const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- end of settings -->";

fn text() -> String {
    std::fs::read_to_string(workspace().join(PAGE)).expect("the page")
}

/// The programs that have settings, each by the name in the tables.
fn programs() -> Vec<(&'static str, Command)> {
    let persister = Persister::command();
    let of = |name: &str| persister.find_subcommand(name).expect("a command").clone();
    let commands = ["run", "migrate", "verify", "replay", "purge"].map(|name| (name, of(name)));
    [("ingest", Ingest::command())].into_iter().chain(commands).collect()
}

/// A setting and who reads it.
struct Row {
    arg: Arg,
    readers: Vec<(&'static str, String)>,
}

fn default(arg: &Arg) -> String {
    let defaults: Vec<_> =
        arg.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy())).collect();
    // The default of a switch is that it is not given.
    if arg.get_action().takes_values() { defaults.join(", ").replace("``", "empty") } else { String::new() }
}

/// By group and then in the order of definition.
fn rows() -> BTreeMap<String, Vec<Row>> {
    let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for (program, command) in programs() {
        for arg in command.get_arguments().filter(|arg| arg.get_long().is_some()) {
            let group = groups.entry(arg.get_help_heading().unwrap_or("Other").to_owned()).or_default();
            let reader = (program, default(arg));
            match group.iter_mut().find(|row| row.arg.get_long() == arg.get_long()) {
                Some(row) => {
                    assert_eq!(meaning(&row.arg), meaning(arg), "{program} explains a setting differently");
                    row.readers.push(reader);
                }
                None => group.push(Row { arg: arg.clone(), readers: vec![reader] }),
            }
        }
    }
    groups
}

fn meaning(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    assert!(!help.is_empty(), "{} says nothing", arg.get_id());
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    let switch = ["`true`", "`false`"];
    let choice = if values.is_empty() || values == switch { String::new() } else { format!(": {}", values.join(", ")) };
    format!("{help}{choice}").replace('|', "\\|")
}

fn variables(arg: &Arg) -> String {
    let Some(name) = arg.get_env().and_then(|name| name.to_str()) else { return String::new() };
    match (is_family(arg), Secrecy::of(arg)) {
        (true, _) => format!("`{name}…`"),
        (false, Secrecy::Open) => format!("`{name}`"),
        (false, _) => format!("`{name}`, `{name}_FILE`"),
    }
}

fn tables() -> String {
    let mut text = String::new();
    for (group, rows) in rows() {
        write!(text, "\n### {group}\n\n| flag | environment | default | read by | meaning |\n|---|---|---|---|---|\n")
            .expect("a text");
        for Row { arg, readers } in rows {
            let flag = arg.get_long().expect("a flag");
            let same = readers.iter().all(|(_, default)| *default == readers[0].1);
            let each = || {
                readers.iter().map(|(program, default)| format!("{default} ({program})")).collect::<Vec<_>>().join(", ")
            };
            let default = if same { readers[0].1.clone() } else { each() };
            let by = readers.iter().map(|(program, _)| *program).collect::<Vec<_>>().join(", ");
            writeln!(text, "| `--{flag}` | {} | {default} | {by} | {} |", variables(&arg), meaning(&arg))
                .expect("a text");
        }
    }
    text + "\n"
}

#[test]
fn the_tables_are_those_of_the_definitions() {
    let page = text();
    let (before, rest) = page.split_once(BEGIN).expect("where the tables begin");
    let (shown, after) = rest.split_once(END).expect("where the tables end");
    let tables = tables();
    if std::env::var_os("REWRITE_PAGES").is_some() {
        std::fs::write(workspace().join(PAGE), format!("{before}{BEGIN}{tables}{END}{after}"))
            .expect("the page is written");
        return;
    }
    let other = shown.lines().zip(tables.lines()).find(|(shown, defined)| shown != defined);
    assert!(
        shown == tables,
        "{PAGE} is not what the settings are now; rewrite it with\n\
         REWRITE_PAGES=1 cargo test --workspace --profile ci --test drift configuration\n{other:#?}"
    );
}

#[test]
fn every_setting_has_a_variable_of_its_name_and_hides_what_is_secret() {
    for (program, command) in programs() {
        for arg in command.get_arguments() {
            let long = arg.get_long().expect("a flag");
            // What is said of one call only is no setting.
            if ["check-config", "print-config", "json", "dry-run", "all", "resume", "reset-purge-mark"].contains(&long)
            {
                continue;
            }
            let variable = arg.get_env().and_then(|name| name.to_str()).unwrap_or_else(|| panic!("{program} --{long}"));
            let wanted = long.to_uppercase().replace('-', "_");
            assert!(
                ["RUST_LOG", &wanted].contains(&variable.trim_end_matches('_')),
                "{program} --{long} is {variable}"
            );
            let speaks = ["password", "secret", "token", "url"].iter().any(|word| long.contains(word));
            assert_eq!(
                speaks,
                Secrecy::of(arg) != Secrecy::Open,
                "{program} --{long} is shown, or hidden without need"
            );
        }
    }
}

#[test]
fn what_the_prose_names_is_there() {
    let page = text();
    let prose = [page.split(BEGIN).next(), page.split(END).nth(1)].map(Option::unwrap_or_default).concat();
    let args: Vec<Arg> = programs().iter().flat_map(|(_, command)| command.get_arguments().cloned()).collect();
    let known = |name: &str| {
        args.iter().any(|arg| {
            let variable = arg.get_env().and_then(|name| name.to_str()).unwrap_or("-");
            let file = Secrecy::of(arg) != Secrecy::Open && name == format!("{variable}_FILE");
            name == variable || file || (is_family(arg) && name.starts_with(variable))
        })
    };
    let is_variable = |word: &&str| {
        word.contains('_') && word.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
    };
    let named = prose.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(is_variable);
    let unknown: Vec<_> = named.filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{PAGE} names variables that nothing reads: {unknown:?}");
    let flags = prose.split(|c: char| c.is_whitespace() || "`(".contains(c)).filter(|word| word.starts_with("--"));
    let others = ["--help", "--env-file"];
    let unknown: Vec<_> = flags
        .filter(|flag| !others.contains(flag) && !args.iter().any(|arg| Some(&flag[2..]) == arg.get_long()))
        .collect();
    assert!(unknown.is_empty(), "{PAGE} names flags that there are not: {unknown:?}");
}

/// What follows a fence that opens with `language`.
fn block<'p>(page: &'p str, language: &str) -> &'p str {
    let after = page.split_once(&format!("```{language}\n")).expect("a block").1;
    after.split("```").next().unwrap_or_default()
}

fn told(environment: &Environment) -> Findings {
    let schemas = workspace().join("schemas");
    let arguments = ["ingest".into(), "--schemas-dir".into(), schemas.into_os_string()];
    let read = read::read::<Ingest>(&arguments, environment).expect("a command line");
    read.told(read.program.findings())
}

#[test]
fn the_example_with_tls_everywhere_is_sound_once_its_files_are_there() {
    let page = text();
    let example = block(&page, "env");
    let given = |lines: &str| -> Environment { lines.lines().filter_map(|line| line.split_once('=')).collect() };
    let secrets = stack::shared::scratch("secrets");
    std::fs::write(secrets.join("ca.pem"), include_str!("../authority.pem")).expect("a file");
    let here = example.replace("/run/secrets", &secrets.to_string_lossy());
    assert_eq!(told(&given(&here)).faults.len(), 3, "the three passwords are not there yet");
    for name in ["kafka_password", "redis_password", "database_password"] {
        std::fs::write(secrets.join(name), "s3cret\n").expect("a file");
    }
    assert_eq!(told(&given(&here)), Findings::default());
    std::fs::remove_file(secrets.join("ca.pem")).expect("it was there");
    let without = told(&given(&here)).faults.join("\n");
    for flag in ["--kafka-ssl-ca-location", "--redis-tls-ca", "--database-ssl-ca"] {
        assert!(without.contains(flag), "{flag} does not miss its file: {without}");
    }
}

#[test]
fn the_example_of_faults_is_what_is_said() {
    let page = text();
    let mut lines = block(&page, "console").lines();
    let call = lines.next().expect("a call").trim_start_matches("$ ");
    let environment: Environment = call.split(' ').filter_map(|word| word.split_once('=')).collect();
    let said: Vec<_> = told(&environment).faults.iter().map(|fault| format!("fault: {fault}")).collect();
    assert_eq!(said, lines.collect::<Vec<_>>());
}
