//! What must not be shown: passwords, and URLs with a password in them. Which settings are secret is told by the type of
//! their value, so that none can be forgotten.

use clap::Arg;
use std::any::TypeId;
use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use url::Url;

/// A text that is never shown, such as a password. `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

/// The URL of a server, which may hold a password. `Debug` shows it without.
#[derive(Clone)]
pub struct ServerUrl(String);

macro_rules! hidden {
    ($type:ident, $shown:expr) => {
        impl $type {
            /// The text itself, for the driver that needs it.
            #[must_use]
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self(text.to_owned()))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&$shown(&self.0))
            }
        }
    };
}

hidden!(Secret, |_: &str| REDACTED.to_owned());
hidden!(ServerUrl, |url: &str| without_password(url).unwrap_or_else(|| REDACTED.to_owned()));

/// What stands in the place of a secret.
pub(super) const REDACTED: &str = "(redacted)";

/// How much of a setting's value may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password in it.
    Url,
    /// Nothing.
    Hidden,
}

impl Secrecy {
    /// Of a setting, by the type of its values.
    #[must_use]
    pub fn of(arg: &Arg) -> Self {
        let value = arg.get_value_parser().type_id();
        if value == TypeId::of::<Secret>() {
            Self::Hidden
        } else if value == TypeId::of::<ServerUrl>() {
            Self::Url
        } else {
            Self::Open
        }
    }

    /// What may be shown of `value`; `None` when that is nothing.
    pub(super) fn shown(self, value: &str) -> Option<String> {
        match self {
            Self::Open => Some(value.to_owned()),
            Self::Url => without_password(value),
            Self::Hidden => None,
        }
    }
}

/// Does a name say that its value is a secret? For values whose meaning only another program knows.
#[must_use]
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["password", "passphrase", "secret", "key", "token"].iter().any(|word| name.contains(word))
}

/// A URL without its password. `None` when it cannot be told where the password ends: a `@` further on, or a `#`, may
/// belong to a password that was not escaped.
fn without_password(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok().filter(|url| url.fragment().is_none() && url.has_host())?;
    if url.path().contains('@') || url.query().is_some_and(|query| query.contains('@')) {
        return None;
    }
    if url.password().is_some() {
        url.set_password(None).ok()?;
        return Some(url.into());
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        let shown = |url: &str| format!("{:?}", ServerUrl(url.to_owned()));
        assert_eq!(shown("redis://me:s3cret@cache:6379/2"), "redis://me@cache:6379/2");
        assert_eq!(shown("redis://:s3cret@cache"), "redis://cache");
        assert_eq!(
            shown("mysql://me@db:3306/records?ssl-mode=required"),
            "mysql://me@db:3306/records?ssl-mode=required"
        );
    }

    #[test]
    fn a_password_that_was_not_escaped_is_not_shown_in_part_either() {
        for url in [
            "mysql://me:s3/cret@db/x",
            "mysql://me:12/s3cret@db/x",
            "mysql://me:s3#cret@db/x",
            "mysql://me:s3?cret@db/x",
            "mysql:me:s3cret@db",
            "s3cret",
            "//me:s3cret@db/x",
        ] {
            let shown = format!("{:?}", ServerUrl(url.to_owned()));
            assert!(!shown.contains("cret") || shown == REDACTED, "{url} is shown as {shown}");
        }
        assert_eq!(format!("{:?}", Secret("s3cret".to_owned())), REDACTED);
    }
}
