//! Reads all settings of a command line at once. clap itself stops at the first value that it does not understand, and
//! knows nothing of files; so the values are gathered as texts first, each is tried alone, and what can be read is then
//! given to clap as flags.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Parser};

use super::findings::{Fault, Findings, told};
use super::setting::{gather, is_family};
use super::{Environment, Secrecy, Setting};

/// A command line that was read.
#[derive(Debug)]
pub struct Read<P> {
    /// With the default of every setting that could not be read.
    pub program: P,
    /// All of its settings, in the order of their definition.
    pub settings: Vec<Setting>,
    unread: Vec<Fault>,
}

impl<P> Read<P> {
    /// What could not be read, and what else was `found` by a look at the program, all with full names.
    #[must_use]
    pub fn told(&self, found: Findings) -> Findings {
        told(&self.settings, &self.unread, found)
    }
}

/// Reads flags, environment and files.
///
/// # Errors
/// What only clap can answer: `--help`, a flag or a command that there is not.
pub fn read<P: Parser>(arguments: &[OsString], environment: &Environment) -> Result<Read<P>, clap::Error> {
    let exact = hiding(P::command());
    let given = each(exact.clone(), &loosened).try_get_matches_from(arguments);
    // The help of the exact definitions says which values there are. A member of a family may be a secret, which an error
    // about its value would repeat.
    let helpful = each(exact.clone(), &|arg| if is_family(&arg) { loosened(arg) } else { arg });
    let given = given.map_err(|error| helpful.try_get_matches_from(arguments).err().unwrap_or(error))?;
    let (mut line, command, matches) = chosen(&exact, &given);
    let (mut settings, mut unread) = (Vec::new(), Vec::new());
    for arg in command.get_arguments() {
        if arg.get_env().is_none() {
            line.extend(repeated(arg, matches));
        }
        let Some(long) = arg.get_long() else { continue };
        for setting in gather(arg, matches, environment, &mut unread) {
            if let Some(value) = setting.value.as_deref().filter(|_| setting.source != super::Source::Default) {
                let value =
                    if is_family(arg) { format!("{}={value}", member(arg, &setting)) } else { value.to_owned() };
                match fault(arg, &setting, &value) {
                    Some(fault) => unread.push(fault),
                    None => line.push(format!("--{long}={value}")),
                }
            }
            settings.push(setting);
        }
    }
    let matches = each(exact, &|arg| arg.env(None)).try_get_matches_from(line)?;
    Ok(Read { program: P::from_arg_matches(&matches)?, settings, unread })
}

/// What is no setting, since no variable stands for it, as it was given.
fn repeated(arg: &Arg, given: &ArgMatches) -> Vec<String> {
    let id = arg.get_id().as_str();
    if given.value_source(id) != Some(ValueSource::CommandLine) {
        return Vec::new();
    }
    match arg.get_long() {
        Some(long) if !arg.get_action().takes_values() => vec![format!("--{long}")],
        Some(long) => {
            given.get_many::<String>(id).into_iter().flatten().map(|value| format!("--{long}={value}")).collect()
        }
        None => given.get_many::<String>(id).into_iter().flatten().cloned().collect(),
    }
}

/// A member's name in its family.
fn member<'s>(family: &Arg, setting: &'s Setting) -> &'s str {
    let prefix = family.get_env().and_then(|name| name.to_str()).unwrap_or_default();
    setting.variable.strip_prefix(prefix).unwrap_or(&setting.variable)
}

/// The same definitions, with every argument of the command and its subcommands changed.
fn each(command: Command, change: &dyn Fn(Arg) -> Arg) -> Command {
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = command.mut_args(change);
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, |sub| each(sub, change)))
}

/// No secret's value stands in the help.
#[must_use]
pub fn hiding(command: Command) -> Command {
    each(command, &|arg| {
        let secret = Secrecy::of(&arg) != Secrecy::Open;
        arg.hide_env_values(secret)
    })
}

/// Every value is a text, and the environment is not looked at.
fn loosened(arg: Arg) -> Arg {
    let arg = arg.env(None);
    if arg.get_action().takes_values() { arg.value_parser(ValueParser::string()) } else { arg }
}

/// The command that was called, by the words that call it.
fn chosen<'c>(command: &'c Command, matches: &'c ArgMatches) -> (Vec<String>, &'c Command, &'c ArgMatches) {
    let (mut line, mut command, mut matches) = (vec![command.get_name().to_owned()], command, matches);
    while let Some((name, sub)) = matches.subcommand()
        && let Some(chosen) = command.find_subcommand(name)
    {
        line.push(name.to_owned());
        (command, matches) = (chosen, sub);
    }
    (line, command, matches)
}

/// Why a value is not what its setting takes.
fn fault(arg: &Arg, setting: &Setting, value: &str) -> Option<Fault> {
    let alone = Command::new("alone").no_binary_name(true).arg(arg.clone().env(None));
    let error = alone.try_get_matches_from([format!("{}={value}", setting.flag)]).err()?;
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (_, Some(ContextValue::Strings(valid))) if !valid.is_empty() => format!("expected one of {}", valid.join(", ")),
        (Some(source), _) => source.to_string(),
        (None, _) => error.kind().to_string(),
    };
    let example = arg.get_default_values().first().map(|default| default.to_string_lossy());
    let example = example.map(|default| format!(", such as {default}")).unwrap_or_default();
    let given = setting.shown().map(|value| format!("={value}")).unwrap_or_default();
    let text = format!("{} ({}{given}, {}): {reason}{example}", setting.flag, setting.variable, setting.source);
    Some(Fault { flag: setting.flag.clone(), text })
}
