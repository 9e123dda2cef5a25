//! Entity tags as `If-None-Match` names them (RFC 9110): what a client has already. Pure.

use actix_web::http::header::{HeaderMap, IF_NONE_MATCH};

use super::Problem;

/// What the header names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags<'h> {
    /// Whatever there is.
    Any,
    /// These, each without its quotes. What is no tag of ours is nothing that we could show.
    These(Vec<&'h str>),
}

impl Default for Tags<'_> {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl<'h> Tags<'h> {
    /// All values of the header: several are one list.
    pub(super) fn of(headers: &'h HeaderMap) -> Result<Self, Problem> {
        let mut all = Vec::new();
        for value in headers.get_all(IF_NONE_MATCH) {
            let named = value.to_str().ok().and_then(named).ok_or_else(|| {
                Problem::condition(
                    "If-None-Match takes * alone, or a list of tags in quotes, each as an ETag is answered",
                )
            })?;
            match named {
                Tags::Any => return Ok(Tags::Any),
                Tags::These(tags) => all.extend(tags),
            }
        }
        Ok(Tags::These(all))
    }

    /// Whether the client has what has this tag, which is given without its quotes.
    pub(super) fn has(&self, tag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.contains(&tag),
        }
    }
}

/// One value of the header: tags may have commas in them, and compare weakly.
fn named(text: &str) -> Option<Tags<'_>> {
    let mut rest = text.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    while !rest.is_empty() {
        if let Some(behind) = rest.strip_prefix(',') {
            rest = behind.trim_start();
            continue;
        }
        let (tag, behind) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        tags.push(tag);
        rest = behind.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Tags::These(tags))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::*;

    /// `*`, or the tags with blanks between.
    fn read(values: &[&str]) -> Result<String, String> {
        let with = |request: TestRequest, value: &&str| request.append_header((IF_NONE_MATCH, *value));
        let request = values.iter().fold(TestRequest::get(), with).to_http_request();
        let tags = Tags::of(request.headers()).map_err(|problem| problem.to_string())?;
        Ok(match tags {
            Tags::Any => "*".to_owned(),
            Tags::These(tags) => tags.join(" "),
        })
    }

    #[test]
    fn it_takes_a_star_or_a_list_of_tags_and_anything_else_is_refused() {
        assert_eq!(read(&[]), Ok(String::new()));
        assert_eq!(read(&["*"]), Ok("*".to_owned()));
        assert_eq!(read(&["\"16\""]), Ok("16".to_owned()));
        assert_eq!(read(&["W/\"16\" , \"32\",,\"a,b\", W/\"48\""]), Ok("16 32 a,b 48".to_owned()));
        assert_eq!(read(&["\"16\"", "\"32\""]), Ok("16 32".to_owned()), "several headers are one list");
        for refused in ["", ",", "16", "\"16", "16\"", "\"16\" \"32\"", "*, \"16\"", "w/\"16\"", "W/", "\"16\"x", "ä"]
        {
            assert_eq!(read(&[refused]), Err("400 invalid-condition".to_owned()), "{refused}");
        }
    }

    #[test]
    fn a_client_has_what_it_names_and_nothing_that_only_looks_like_it() {
        let tags = named("\"16\", W/\"32\"").unwrap();
        assert_eq!(["16", "32", "016", "1", ""].map(|tag| tags.has(tag)), [true, true, false, false, false]);
        assert!(Tags::Any.has("16") && !Tags::default().has("16"));
    }

    proptest! {
        #[test]
        fn every_list_of_tags_is_read_whole(
            tags in prop::collection::vec((any::<bool>(), prop_oneof!["[!#-~]{0,9}", "[0-9]{1,16}"]), 1..8),
            spaces in "[ \t]{0,2}",
        ) {
            let written: Vec<_> = tags.iter().map(|(weak, tag)| format!("{}\"{tag}\"", if *weak { "W/" } else { "" })).collect();
            let expected: Vec<_> = tags.iter().map(|(_, tag)| tag.as_str()).collect();
            let written = written.join(&format!("{spaces},{spaces}"));
            prop_assert_eq!(named(&written), Some(Tags::These(expected)));
        }

        #[test]
        fn no_text_breaks_the_parser(text in ".*") {
            let read = named(&text);
            prop_assert!(read != Some(Tags::Any) || text.trim() == "*");
        }
    }
}
