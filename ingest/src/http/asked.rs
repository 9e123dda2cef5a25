//! What a request says about its reading beside the record: which version it wants, which it has already, and how new an answer
//! must be.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName};
use record::Version;

use super::Problem;
use super::conditions::{matched, prefer, single};
use super::tags::Tags;

const MIN_VERSION: HeaderName = HeaderName::from_static("min-version");

/// What the headers of a read ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked<'h> {
    /// `If-Match`: this version and no other. Looked at before `unless` (RFC 9110, 13.2.2).
    pub(super) only: Option<Version>,
    /// `If-None-Match`: what the client has already.
    pub(super) unless: Tags<'h>,
    /// No older answer than this.
    pub(super) least: Option<Version>,
    /// How long to wait for that.
    pub(super) wait: Option<Duration>,
}

impl<'h> Asked<'h> {
    pub(super) fn of(headers: &'h HeaderMap) -> Result<Self, Problem> {
        let (only, unless) = (matched(headers)?, Tags::of(headers)?);
        Ok(Self { only, unless, least: least(headers)?, wait: prefer(headers).wait })
    }
}

fn least(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let Some(text) = single(headers, &MIN_VERSION)? else { return Ok(None) };
    let bare = text.strip_prefix("W/").unwrap_or(text);
    let bare = bare.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(bare);
    let malformed = |fault| Problem::condition(format!("Min-Version takes one version, as it was answered: {fault}"));
    bare.parse().map(Some).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn read<T>(headers: &[(&'static str, &str)], shown: impl Fn(Asked<'_>) -> T) -> Result<T, String> {
        let request = headers.iter().fold(TestRequest::get(), |request, header| request.append_header(*header));
        Asked::of(request.to_http_request().headers()).map(shown).map_err(|problem| problem.to_string())
    }

    #[test]
    fn min_version_is_a_version_bare_or_in_quotes() {
        let least = |text: &str| read(&[("Min-Version", text)], |asked| asked.least.map(Version::get));
        for same in ["16", "\"16\"", " 16 ", "W/\"16\""] {
            assert_eq!(least(same), Ok(Some(16)), "{same}");
        }
        for refused in ["", "-1", "0x10", "\"16", "9007199254740992", "16, 32", "latest"] {
            assert_eq!(least(refused), Err("400 invalid-condition".to_owned()), "{refused}");
        }
        assert!(read(&[("Min-Version", "16"), ("Min-Version", "16")], |_| ()).is_err(), "twice");
        assert_eq!(read(&[], |asked| asked == Asked::default()), Ok(true));
    }

    #[test]
    fn if_match_is_a_version_as_a_write_takes_it_and_may_come_with_if_none_match() {
        let only = |text: &str| {
            let headers = [("If-Match", text), ("If-None-Match", "\"16\"")];
            read(&headers, |asked| (asked.only.map(Version::get), asked.unless.has("16")))
        };
        assert_eq!(only("\"16\""), Ok((Some(16), true)));
        for refused in ["W/\"16\"", "*", "16", "\"16\", \"32\"", "\"x\"", ""] {
            assert_eq!(only(refused), Err("400 invalid-condition".to_owned()), "{refused}");
        }
    }
}
