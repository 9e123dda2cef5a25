//! One setting as it was given: its names, its value as text, and where that comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches};

use super::findings::Fault;
use super::{Environment, Secrecy, is_secret_name};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave one.
    Default,
    /// The command line.
    Flag,
    /// The variable of the same name.
    Environment,
    /// The file that the variable `<NAME>_FILE` names.
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File(_) => "file",
        })
    }
}

/// A setting and its value, of which `Debug` shows what may be shown.
#[derive(Clone)]
pub struct Setting {
    /// The flag, with its dashes.
    pub flag: String,
    /// The environment variable.
    pub variable: String,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Where its value comes from.
    pub source: Source,
    /// How much of the value may be shown.
    pub(super) secrecy: Secrecy,
    /// As it was given; `None` where there is not even a default.
    pub(super) value: Option<String>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Setting");
        shown.field("variable", &self.variable).field("source", &self.source).field("shown", &self.shown());
        shown.finish_non_exhaustive()
    }
}

impl Setting {
    /// What may be shown of the value; `None` if there is none, or nothing may be.
    #[must_use]
    pub fn shown(&self) -> Option<String> {
        self.value.as_deref().and_then(|value| self.secrecy.shown(value))
    }
}

/// Does the setting stand for a family: for every variable whose name begins with its own, which ends in `_`?
#[must_use]
pub fn is_family(arg: &Arg) -> bool {
    variable(arg).is_some_and(|variable| variable.ends_with('_'))
}

fn variable(arg: &Arg) -> Option<&str> {
    arg.get_env().and_then(|name| name.to_str())
}

/// What was given for `arg`: one setting, or as many as its family has members. Nothing for what is no setting, like `--help`.
pub(super) fn gather(
    arg: &Arg,
    given: &ArgMatches,
    environment: &Environment,
    faults: &mut Vec<Fault>,
) -> Vec<Setting> {
    let (Some(variable), Some(long)) = (variable(arg), arg.get_long()) else { return Vec::new() };
    let values: Vec<String> =
        given.get_many(arg.get_id().as_str()).map(|all| all.cloned().collect()).unwrap_or_default();
    let by_flag = given.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    let setting = Setting {
        flag: format!("--{long}"),
        variable: variable.to_owned(),
        group: arg.get_help_heading().map(str::to_owned),
        source: if by_flag { Source::Flag } else { Source::Default },
        secrecy: Secrecy::of(arg),
        value: None,
    };
    if is_family(arg) {
        return members(&setting, &values, environment, faults);
    }
    let value = (!values.is_empty()).then(|| values.join(","));
    let mut setting = Setting { value, ..setting };
    look(&mut setting, environment, faults);
    vec![setting]
}

/// Fills in what the environment says, where no flag does.
fn look(setting: &mut Setting, environment: &Environment, faults: &mut Vec<Fault>) {
    let plain = environment.get(&setting.variable);
    let file = (setting.secrecy != Secrecy::Open).then(|| format!("{}_FILE", setting.variable));
    let path = file.as_deref().and_then(|name| environment.get(name));
    let given = match (plain, path) {
        (Some(_), Some(_)) => Err("both are set: leave one of them out".to_owned()),
        (Some(value), None) => Ok(Some((value.to_owned(), Source::Environment))),
        (None, Some(path)) => contents(Path::new(path)).map(|value| Some((value, Source::File(path.into())))),
        (None, None) => Ok(None),
    };
    match given {
        Ok(Some((value, source))) if setting.source != Source::Flag => {
            (setting.value, setting.source) = (Some(value), source);
        }
        Ok(_) => {}
        Err(reason) => {
            let names = match (plain, file) {
                (Some(_), Some(file)) => format!("{}, {file}", setting.variable),
                (_, file) => file.unwrap_or_default(),
            };
            faults.push(Fault { flag: setting.flag.clone(), text: format!("{} ({names}): {reason}", setting.flag) });
        }
    }
}

fn contents(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let value = text.trim_end_matches(['\r', '\n']);
    if value.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(value.to_owned()) }
}

/// A member's value reads `NAME=value`; its variable is the family's and the name in capitals, with `_` for every dot.
fn members(family: &Setting, flags: &[String], environment: &Environment, faults: &mut Vec<Fault>) -> Vec<Setting> {
    let member = |name: &str| {
        let name = name.to_ascii_uppercase().replace('.', "_");
        let secrecy = if is_secret_name(&name) { Secrecy::Hidden } else { Secrecy::Open };
        Setting { variable: format!("{}{name}", family.variable), secrecy, ..family.clone() }
    };
    let mut all: Vec<Setting> = Vec::new();
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        all.push(Setting { value: Some(value.to_owned()), source: Source::Flag, ..member(name) });
    }
    for (name, _) in environment.family(&family.variable) {
        // A secret member may lie in a file, as any other secret.
        let name = name.strip_suffix("_FILE").filter(|name| is_secret_name(name)).unwrap_or(name);
        let mut setting = Setting { source: Source::Default, ..member(name) };
        if all.iter().all(|known| known.variable != setting.variable) {
            look(&mut setting, environment, faults);
            all.push(setting);
        }
    }
    all
}
