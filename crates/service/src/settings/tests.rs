//! Reading, checking and printing, with a command line made up for it. The environment is a value here; only files are real.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::{CommandFactory, Parser, Subcommand};

use super::read::{Read, hiding, read};
use super::{Findings, Secret, ServerUrl, millis, print, seconds};

#[derive(Debug, Parser)]
#[command(name = "shop", args_conflicts_with_subcommands = true)]
struct Shop {
    #[command(subcommand)]
    command: Option<Asking>,
    #[command(flatten)]
    settings: Counter,
}

#[derive(Debug, Subcommand)]
enum Asking {
    /// Looks.
    Look {
        #[arg(long, env = "PORT", default_value = "1")]
        port: u16,
    },
    /// Calls.
    Call {
        name: String,
        #[arg(long, value_delimiter = ',', default_value = "noon,night")]
        at: Vec<String>,
    },
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Counter")]
struct Counter {
    #[arg(long, env = "OPEN_MS", default_value = "20", value_parser = millis)]
    open_ms: std::time::Duration,
    #[arg(long, env = "PORT", default_value = "80")]
    port: u16,
    #[arg(long, env = "NAMES", value_delimiter = ',')]
    names: Vec<String>,
    #[arg(long, env = "TILL_PASSWORD")]
    till_password: Option<Secret>,
    #[arg(long, env = "BANK_URL", default_value = "bank://teller@main")]
    bank_url: ServerUrl,
    #[arg(long, env = "OFFER_")]
    offer: Vec<String>,
    #[arg(long)]
    print: bool,
}

fn shop(flags: &[&str], environment: &[(&str, &str)]) -> Read<Shop> {
    let arguments: Vec<OsString> = ["shop"].iter().chain(flags).map(Into::into).collect();
    read(&arguments, &environment.iter().copied().collect()).expect("a command line")
}

fn faults(flags: &[&str], environment: &[(&str, &str)]) -> Vec<String> {
    shop(flags, environment).told(Findings::default()).faults
}

fn printed(flags: &[&str], environment: &[(&str, &str)]) -> String {
    print::print(&shop(flags, environment).settings)
}

fn file(text: &str) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("settings-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}

#[test]
fn a_span_of_time_is_a_whole_number_that_nothing_overflows() {
    assert_eq!(seconds("2"), Ok(std::time::Duration::from_secs(2)));
    for wrong in ["", "0", "-1", "1.5", "1s", "18446744073709551615"] {
        assert!(seconds(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_default() {
    let port = |flags: &[&str], environment: &[(&str, &str)]| shop(flags, environment).program.settings.port;
    assert_eq!(port(&[], &[]), 80);
    assert_eq!(port(&[], &[("PORT", "81")]), 81);
    assert_eq!(port(&["--port=82"], &[("PORT", "81")]), 82);
    assert_eq!(port(&[], &[("PORT", "")]), 80, "an empty variable counts as not given");
    assert_eq!(faults(&[], &[("PORT", "")]), Vec::<String>::new());
    assert_eq!(shop(&[], &[("NAMES", "a,b")]).program.settings.names, ["a", "b"]);
    assert_eq!(shop(&["--names=a", "--names=b"], &[]).program.settings.names, ["a", "b"]);
    assert!(shop(&["--print"], &[]).program.settings.print);
}

#[test]
fn a_command_reads_its_own_settings_and_no_others() {
    let read = shop(&["look"], &[("PORT", "81"), ("OPEN_MS", "never")]);
    assert!(matches!(read.program.command, Some(Asking::Look { port: 81 })), "{:?}", read.program);
    assert_eq!(read.told(Findings::default()), Findings::default());
    assert_eq!(read.settings.len(), 1);
}

#[test]
fn what_is_asked_of_a_command_and_is_no_setting_is_read_as_it_stands() {
    for (flags, expected) in
        [(&["call", "Ann"][..], ["noon", "night"]), (&["call", "Ann", "--at", "dawn,dusk"], ["dawn", "dusk"])]
    {
        let Some(Asking::Call { name, at }) = shop(flags, &[]).program.command else { panic!("another command") };
        assert_eq!((name.as_str(), at), ("Ann", expected.map(str::to_owned).to_vec()), "{flags:?}");
    }
}

#[test]
fn all_values_that_cannot_be_read_are_told_at_once() {
    let environment = [("OPEN_MS", "soon"), ("PORT", "70000")];
    let told = faults(&[], &environment);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].starts_with("--open-ms (OPEN_MS=soon, environment): expected a whole number of milliseconds"));
    assert!(told[0].ends_with("such as 20") && told[1].contains("--port (PORT=70000, environment)"), "{told:?}");
    assert!(faults(&["--port=x"], &environment)[1].contains("--port (PORT=x, flag)"));
}

#[test]
fn what_was_found_is_told_with_all_names_unless_it_is_about_what_could_not_be_read() {
    let read = shop(&["--port=5"], &[("OPEN_MS", "soon"), ("TILL_PASSWORD", "s3cret")]);
    let found = Findings {
        faults: vec!["--port is above --open-ms".to_owned(), "--port and --till-password, --unknown".to_owned()],
        warnings: vec!["--bank-url".to_owned()],
    };
    let told = read.told(found);
    let named = "--port (PORT=5, flag) and --till-password (TILL_PASSWORD, environment), --unknown";
    assert_eq!(told.faults[1..], [named]);
    assert_eq!(told.warnings, ["--bank-url (BANK_URL=bank://teller@main, default)"]);
}

#[test]
fn a_secret_may_lie_in_a_file() {
    for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
        let path = file(text);
        let read = shop(&[], &[("TILL_PASSWORD_FILE", path.to_str().expect("a path"))]);
        let password = read.program.settings.till_password.as_ref().expect("a password").expose();
        assert_eq!(password, "s3cret");
        let url = file("bank://me:s3cret@main\n");
        let read = shop(&[], &[("BANK_URL_FILE", url.to_str().expect("a path"))]);
        assert_eq!(read.program.settings.bank_url.expose(), "bank://me:s3cret@main");
    }
    assert_eq!(shop(&[], &[("PORT_FILE", "/nowhere")]).program.settings.port, 80, "a port is no secret");
}

#[test]
fn a_secrets_file_that_gives_nothing_is_told() {
    let told = |variables: &[(&str, &str)]| faults(&[], variables).join("\n");
    let both = told(&[("TILL_PASSWORD", "s3cret"), ("TILL_PASSWORD_FILE", "/nowhere")]);
    assert!(both.contains("(TILL_PASSWORD, TILL_PASSWORD_FILE): both are set"), "{both}");
    let absent = told(&[("TILL_PASSWORD_FILE", "/nowhere")]);
    assert!(absent.contains("--till-password (TILL_PASSWORD_FILE): cannot read /nowhere: No such file"), "{absent}");
    let empty = file("\n");
    assert!(told(&[("TILL_PASSWORD_FILE", empty.to_str().expect("a path"))]).contains("is empty"));
}

#[test]
fn a_family_has_a_member_for_each_variable_of_its_name() {
    let path = file("k3y\n");
    let environment =
        [("OFFER_RED_WINE", "5"), ("OFFER_BEER", "2"), ("OFFER_KEY_FILE", path.to_str().expect("a path"))];
    let read = shop(&["--offer=red.wine=6", "--offer=tea=1"], &environment);
    assert_eq!(read.program.settings.offer, ["red.wine=6", "tea=1", "BEER=2", "KEY=k3y"].map(shouted));
    let text = print::print(&read.settings);
    assert!(text.contains("OFFER_RED_WINE=6\n") && text.contains("# --offer, file\nOFFER_KEY_FILE="), "{text}");
    assert!(
        printed(&[], &[("OFFER_SECRET", "s3cret")]).contains("# --offer, environment, redacted\n# OFFER_SECRET=\n")
    );
}

#[test]
fn no_error_and_no_debug_repeats_a_secret() {
    let given = ["--offer=password=s3cret", "--till-password=s3cret", "--bank-url=bank://me:s3cret@main"];
    for wrong in [&["--bogus"][..], &["--help"], &[]] {
        let arguments: Vec<OsString> = ["shop"].iter().chain(&given).chain(wrong).map(Into::into).collect();
        let environment: super::Environment = [("OFFER_SECRET", "s3cret")].into_iter().collect();
        let read = read::<Shop>(&arguments, &environment);
        let told = match &read {
            Ok(read) => format!("{:?} {environment:?}", read.settings),
            Err(error) => error.to_string(),
        };
        assert!(!told.contains("s3cret"), "{wrong:?}: {told}");
    }
}

/// A member's name as it is handed on.
fn shouted(member: &str) -> String {
    let (name, value) = member.split_once('=').expect("a value");
    format!("{}={value}", name.to_uppercase().replace('.', "_"))
}

#[test]
fn what_is_printed_can_be_read_again_and_holds_no_secret() {
    let flags = ["--names=a", "--names=b", "--till-password=s3cret"];
    let text = printed(&flags, &[("PORT", "81"), ("BANK_URL", "bank://me:s3cret@main/1"), ("OFFER_BEER", "2")]);
    assert!(!text.contains("s3cret"), "{text}");
    assert!(
        text.starts_with("# Counter\n# --open-ms, default\nOPEN_MS=20\n# --port, environment\nPORT=81\n"),
        "{text}"
    );
    assert!(text.contains("# --bank-url, environment, without its password\nBANK_URL=bank://me@main/1\n"), "{text}");
    let values = |text: &str| -> BTreeSet<String> {
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(str::to_owned).collect()
    };
    let given = values(&text);
    let again: Vec<_> = given.iter().filter_map(|line| line.split_once('=')).collect();
    // A secret that was not printed is not given the second time.
    let without = BTreeSet::from(["TILL_PASSWORD=".to_owned()]);
    assert_eq!(values(&printed(&[], &again)), &given | &without);
}

#[test]
fn no_secret_stands_in_the_help() {
    #[derive(Parser)]
    struct Line {
        /// Every process has this variable.
        #[arg(long, env = "PATH")]
        _path: Option<Secret>,
    }
    let value = std::env::var("PATH").expect("PATH");
    let help = |command: clap::Command| command.term_width(0).max_term_width(0).render_long_help().to_string();
    assert!(help(Line::command()).contains(&value), "clap shows it when it is not told otherwise");
    let hidden = help(hiding(Line::command()));
    assert!(hidden.contains("PATH") && !hidden.contains(&value), "{hidden}");
}
