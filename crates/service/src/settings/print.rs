//! All settings as an environment file: each with its value and where that comes from, and no secret. Values stand there
//! as they are, without quotes, as `docker run --env-file` reads them.

use std::fmt::Write as _;

use super::{Setting, Source};

/// The text of the file.
#[must_use]
pub fn print(settings: &[Setting]) -> String {
    let mut text = String::new();
    let mut group = None;
    for setting in settings {
        if setting.group != group {
            group.clone_from(&setting.group);
            write!(text, "\n# {}\n", group.as_deref().unwrap_or_default()).ok();
        }
        text.push_str(&line(setting));
    }
    text.trim_start().to_owned()
}

fn line(setting: &Setting) -> String {
    let Setting { flag, variable, source, value, .. } = setting;
    if let Source::File(path) = source {
        return format!("# {flag}, {source}\n{variable}_FILE={}\n", path.display());
    }
    let shown = setting.shown().filter(|shown| !shown.contains(char::is_control));
    match (value, shown) {
        (None, _) => format!("# {flag}, {source}\n{variable}=\n"),
        (Some(value), Some(shown)) if *value == shown => format!("# {flag}, {source}\n{variable}={shown}\n"),
        (Some(_), Some(shown)) => format!("# {flag}, {source}, without its password\n{variable}={shown}\n"),
        (Some(_), None) => format!("# {flag}, {source}, redacted\n# {variable}=\n"),
    }
}
