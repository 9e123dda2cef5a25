//! What a request says about its reading beside the record: which versions it has already, and how new an answer must be.

use std::time::Duration;

use actix_web::http::header::{HeaderMap, HeaderName, IF_NONE_MATCH};
use record::Version;

use super::Problem;
use super::conditions::{prefer, single};

const MIN_VERSION: HeaderName = HeaderName::from_static("min-version");

/// What the headers of a read ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) unless: Unless,
    /// No older answer than this.
    pub(super) least: Option<Version>,
    /// How long to wait for that.
    pub(super) wait: Option<Duration>,
}

/// `If-None-Match`: what the client has already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unless {
    /// Any version of it.
    Any,
    /// These versions. What is no version of ours is nothing that we could show.
    Versions(Vec<Version>),
}

impl Default for Unless {
    fn default() -> Self {
        Self::Versions(Vec::new())
    }
}

impl Unless {
    /// Whether the client has this version.
    pub(super) fn has(&self, version: Version) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

impl Asked {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(Self { unless: unless(headers)?, least: least(headers)?, wait: prefer(headers).wait })
    }
}

fn unless(headers: &HeaderMap) -> Result<Unless, Problem> {
    let mut versions = Vec::new();
    for value in headers.get_all(IF_NONE_MATCH) {
        let known = value.to_str().ok().and_then(known).ok_or_else(|| {
            Problem::condition("If-None-Match takes * alone, or a list of tags in quotes, each as an ETag is answered")
        })?;
        match known {
            Unless::Any => return Ok(Unless::Any),
            Unless::Versions(more) => versions.extend(more),
        }
    }
    Ok(Unless::Versions(versions))
}

/// One value of the header (RFC 9110): tags may have commas in them, and compare weakly.
fn known(text: &str) -> Option<Unless> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Unless::Any);
    }
    let (mut versions, mut named) = (Vec::new(), false);
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind.trim_start();
            continue;
        }
        let (tag, behind) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        versions.extend(tag.parse::<Version>().ok());
        named = true;
        rest = behind.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    named.then_some(Unless::Versions(versions))
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
    use proptest::prelude::*;

    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Asked, String> {
        let request = headers.iter().fold(TestRequest::get(), |request, header| request.append_header(*header));
        Asked::of(request.to_http_request().headers()).map_err(|problem| problem.to_string())
    }

    fn versions(numbers: &[u64]) -> Unless {
        Unless::Versions(numbers.iter().map(|number| Version::new(*number).unwrap()).collect())
    }

    #[test]
    fn if_none_match_takes_a_star_or_a_list_of_tags_and_anything_else_is_refused() {
        let known = |text: &str| read(&[("If-None-Match", text)]).map(|asked| asked.unless);
        assert_eq!(known("*"), Ok(Unless::Any));
        assert_eq!(known("\"16\""), Ok(versions(&[16])));
        assert_eq!(known("W/\"16\" , \"32\",,\"a,b\", W/\"48\""), Ok(versions(&[16, 32, 48])), "weak, and of others");
        assert_eq!(
            read(&[("If-None-Match", "\"16\""), ("If-None-Match", "\"32\"")]).map(|asked| asked.unless),
            Ok(versions(&[16, 32])),
            "several headers are one list"
        );
        for refused in ["", ",", "16", "\"16", "16\"", "\"16\" \"32\"", "*, \"16\"", "w/\"16\"", "W/", "\"16\"x", "ä"]
        {
            assert_eq!(known(refused), Err("400 invalid-condition".to_owned()), "{refused}");
        }
    }

    #[test]
    fn min_version_is_a_version_bare_or_in_quotes() {
        let least = |text: &str| read(&[("Min-Version", text)]).map(|asked| asked.least.map(Version::get));
        for same in ["16", "\"16\"", " 16 ", "W/\"16\""] {
            assert_eq!(least(same), Ok(Some(16)), "{same}");
        }
        for refused in ["", "-1", "0x10", "\"16", "9007199254740992", "16, 32", "latest"] {
            assert_eq!(least(refused), Err("400 invalid-condition".to_owned()), "{refused}");
        }
        assert!(read(&[("Min-Version", "16"), ("Min-Version", "16")]).is_err(), "twice");
        assert_eq!(read(&[]), Ok(Asked::default()));
    }

    proptest! {
        #[test]
        fn every_list_of_tags_is_read_whole(
            tags in prop::collection::vec((any::<bool>(), prop_oneof!["[!#-~]{0,9}", "[0-9]{1,16}"]), 1..8),
            spaces in "[ \t]{0,2}",
        ) {
            let written: Vec<_> = tags.iter().map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" })).collect();
            let expected: Vec<Version> = tags.iter().filter_map(|(_, tag)| tag.parse().ok()).collect();
            prop_assert_eq!(known(&written.join(&format!("{spaces},{spaces}"))), Some(Unless::Versions(expected)));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".*") {
            let read = known(&text);
            prop_assert!(read != Some(Unless::Any) || text.trim() == "*");
        }
    }
}
