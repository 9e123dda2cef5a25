//! What every kind of problem is about, in a user's words: what `docs/PROBLEMS.md` and the OpenAPI document say of it.

use super::Kind;

/// What a client may do about a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Help {
    /// When it is answered.
    pub(crate) when: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
    pub(crate) again: Again,
    pub(crate) written: Written,
}

/// Whether the same request may be sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// It would be answered the same.
    No,
    /// As it is, after a while.
    Yes,
    /// As it is, if it has an id and a key or a precondition.
    WithCare,
}

/// Whether a write that is answered so has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    No,
    Perhaps,
}

impl Again {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Yes => "yes",
            Self::WithCare => "with care",
        }
    }
}

impl Written {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Perhaps => "perhaps",
        }
    }
}

const fn mend(when: &'static str, remedy: &'static str) -> Help {
    Help { when, remedy, again: Again::No, written: Written::No }
}

const fn later(when: &'static str, remedy: &'static str) -> Help {
    Help { when, remedy, again: Again::Yes, written: Written::No }
}

impl Kind {
    /// In a user's words.
    #[expect(clippy::too_many_lines, reason = "a table, a row for each")]
    pub(crate) fn help(self) -> Help {
        match self {
            Self::MalformedJson => mend(
                "The body breaks off, is not UTF-8, or is no JSON at all.",
                "`errors` has line and column; mend the body.",
            ),
            Self::InvalidId => mend(
                "The path's id has characters or a length that no id has.",
                "An id has 1 to 128 of `A-Z a-z 0-9 . _ ~ -`; encode anything else, for example as hex.",
            ),
            Self::InvalidCondition => mend(
                "A header has a value that cannot be honoured: `If-Match`, `If-None-Match`, `Idempotency-Key`.",
                "`detail` names the header and what it takes.",
            ),
            Self::InvalidQuery => mend(
                "The query is not one that this path takes: `?ids=` names the records, and there is no listing.",
                "`detail` says what it takes.",
            ),
            Self::BrokenBody => mend(
                "The body's framing is broken, the connection went away while it was sent, or it is not packed as `Content-Encoding` says.",
                "Look at what sends it; then send it again.",
            ),
            Self::Unauthenticated => mend(
                "No key was shown, or one that is not known.",
                "Send `Authorization: Bearer wb_…` with a key that is in force.",
            ),
            Self::Forbidden => mend(
                "The key is known, but does not open this entity for this; whether the entity exists is not said.",
                "Use another key, or have this one's entry changed.",
            ),
            Self::CrossOriginRefused => mend(
                "A page of another origin asks, and that origin is not among `--cors-origins`.",
                "Ask from a server, or have the origin allowed.",
            ),
            Self::UnknownEntity => {
                mend("The path names an entity that there is not.", "`detail` lists those that there are.")
            }
            Self::NotFound => mend(
                "There is no such record: it never was, or it is deleted.",
                "Nothing, if that is an answer; else look at the id.",
            ),
            Self::UnknownWrite => mend(
                "Nobody knows of a write with this version: it never was, or it was only `cached` and the cache has lost it.",
                "Look at the version: it is the one that the write's answer has.",
            ),
            Self::NoRoute => {
                mend("The path is none of this service's.", "`/openapi.json` lists the paths, `/docs` shows them.")
            }
            Self::MethodNotAllowed => mend("The path is there, but not with this method.", "`Allow` has the methods."),
            Self::SlowBody => later(
                "The body did not arrive within `--body-deadline-ms`.",
                "Send it without pauses, or a smaller one.",
            ),
            Self::DeadLettered => mend(
                "The database refuses the record of this write for good: it is a dead letter.",
                "`reason` says why, `fate` where that is told. Write a record that the table takes.",
            ),
            Self::PreconditionFailed => mend(
                "The record does not have the version that `If-Match` asks for, or is there although `If-None-Match: *` asks for none.",
                "`ETag` and `version` have the version that it has: read the record, decide anew, and send it with that version.",
            ),
            Self::BodyTooLarge => mend(
                "The body, or this line of a bulk, has more bytes than `--body-bytes-most` once it is unpacked.",
                "Send less at once.",
            ),
            Self::BulkTooLarge => mend(
                "The lines of a bulk have together more bytes than `--bulk-bytes-most` once they are unpacked: this result is its last.",
                "Send this line and those behind it in another request.",
            ),
            Self::EventTooLarge => {
                mend("The record would be larger in the topic than `--event-bytes-most`.", "Make the record smaller.")
            }
            Self::UnsupportedMediaType => mend(
                "The body is not announced as what this request takes.",
                "`detail` has the `Content-Type` that it takes.",
            ),
            Self::UnsupportedEncoding => mend(
                "The body is packed in a way that is not taken, or more than once.",
                "Pack it with gzip or zstd, or not at all.",
            ),
            Self::InvalidRecord => mend(
                "The body is JSON, but no record of this entity.",
                "`errors` has every fault at once, each with a JSON pointer.",
            ),
            Self::IdsDiffer => mend("The body's `id` is another one than the path's.", "Leave it out of the body."),
            Self::IdempotencyKeyReused => mend(
                "The key came before with another method, path, precondition, content type or body.",
                "A new request gets a new key; a request that is sent again is sent unchanged.",
            ),
            Self::RateLimited => later(
                "The caller has used up its rate (`--rate-per-s`, or `rate_per_s` of its key).",
                "Wait for `Retry-After`; `RateLimit` says what is left, `RateLimit-Policy` what there is. Send many records as one bulk.",
            ),
            Self::UnreadableRow => mend(
                "The record's row in the database is not what this service expects there.",
                "For an operator: ingest's log says what. Writing the record anew mends it.",
            ),
            Self::UnreadableRecord => mend(
                "What the cache holds of the record does not fit its schema.",
                "For an operator: ingest's log says what. Writing the record anew mends it.",
            ),
            Self::InternalError => Help {
                when: "A fault of this service's own: the request was broken off.",
                remedy: "Send it again with the same id and the same `Idempotency-Key` or precondition. For an operator: ingest's log \
                         says more, and we want to know.",
                again: Again::WithCare,
                written: Written::Perhaps,
            },
            Self::BodiesFull => later(
                "What all requests in progress hold fills `--bodies-bytes-most`.",
                "Wait for `Retry-After`, longer each time.",
            ),
            Self::Busy => later(
                "More requests are in progress than `--in-flight-most`, or more bulks than `--bulks-most`.",
                "Wait for `Retry-After`, longer each time.",
            ),
            Self::Stopping => later(
                "A line of a bulk had not begun when its instance of ingest was asked to stop: neither it was written, nor any that has no \
                 result.",
                "Send it again, and all that have no result, as another bulk; another instance takes them, or this one after its start.",
            ),
            Self::Contended => later(
                "Others have changed the record again and again, so that the patch found no moment for itself.",
                "Wait for `Retry-After`, longer each time.",
            ),
            Self::Full => later(
                "The cache may hold no more writes that the topic or the database does not have yet.",
                "Wait, longer each time; an operator sees in the metrics how much waits for what.",
            ),
            Self::ClocksDisagree => later(
                "The clocks of the servers are too far apart to give out versions.",
                "Wait; an operator mends the clocks.",
            ),
            Self::CacheChanged => later(
                "The cache was restarted or replaced a moment ago, and no versions are given out until its clock can be trusted.",
                "Wait for `Retry-After`.",
            ),
            Self::CacheAway => later(
                "The cache does not answer, and without it this cannot be done: a precondition, a POST without an id but with a key, \
                 a read that might be older than a write.",
                "Wait for `Retry-After`. A write that asks for none of these is taken meanwhile, if the operator allows it.",
            ),
            Self::CacheIncomplete => later(
                "After a loss of the cache, or after the database has refused a write to this record, it cannot be told yet which \
                 version is the newest.",
                "Wait for `Retry-After`, or write without a precondition.",
            ),
            Self::NewerSchema => later(
                "The record was written by a newer ingest, in a version of its schema that this one does not know.",
                "Wait until all instances are of one version; an operator sees to that.",
            ),
            Self::NotThereYet => later(
                "What `Min-Version` or the version in the path asks for is on its way, and not where it can be seen.",
                "Wait for `Retry-After`, longer each time.",
            ),
            Self::NoInstanceSlot => later(
                "The cache is away, and this instance of ingest may not give out versions without it.",
                "Wait for `Retry-After`; an operator gives every instance its `--instance-slot`.",
            ),
            Self::TopicAway => later(
                "`Prefer: state=logged` was asked for, and the topic is away.",
                "Wait for `Retry-After`, or send it without that preference: the answer then says `cached`.",
            ),
            Self::StoresAway => later("The cache and the topic are both away.", "Wait for `Retry-After`."),
            Self::DatabaseAway => later(
                "The record is not cached, and the database that might have it does not answer.",
                "Wait for `Retry-After`.",
            ),
            Self::OutcomeUnknown => Help {
                when: "A store did not answer in time: the write may have happened, or may still happen.",
                remedy: "Send it again with the id given here and the same `Idempotency-Key` or precondition. With \
                         `Idempotency-Checked: false` the key was not looked up: read the record first, or use `If-Match`.",
                again: Again::WithCare,
                written: Written::Perhaps,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fmt::Write as _;

    use strum::IntoEnumIterator as _;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/PROBLEMS.md");
    const BEGIN: &str = "<!-- problems -->\n";
    const END: &str = "<!-- end of problems -->";

    /// By status and then by name.
    fn tables() -> String {
        let mut groups: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
        Kind::iter().for_each(|kind| groups.entry(kind.status().as_u16()).or_default().push(kind));
        let mut text = String::new();
        for (status, kinds) in groups {
            let reason = kinds[0].status().canonical_reason().unwrap();
            write!(text, "\n## {status} {reason}\n\n| problem | title | when | what to do | again? | written? |\n|---|---|---|---|---|---|\n").unwrap();
            for kind in kinds {
                let Help { when, remedy, again, written } = kind.help();
                let (name, title) = (kind.as_str(), kind.title());
                let (again, written) = (again.as_str(), written.as_str());
                writeln!(text, "| `{name}` | {title} | {when} | {remedy} | {again} | {written} |").unwrap();
            }
        }
        text + "\n"
    }

    #[test]
    fn the_problems_page_is_that_of_the_kinds() {
        let page = std::fs::read_to_string(PAGE).unwrap();
        let (before, rest) = page.split_once(BEGIN).unwrap();
        let (shown, after) = rest.split_once(END).unwrap();
        let tables = tables();
        if std::env::var_os("REWRITE_PAGES").is_some() {
            std::fs::write(PAGE, format!("{before}{BEGIN}{tables}{END}{after}")).unwrap();
            return;
        }
        let other = shown.lines().zip(tables.lines()).find(|(shown, is)| shown != is);
        assert!(
            shown == tables,
            "docs/PROBLEMS.md is not what the problems are now; rewrite it with\n\
             REWRITE_PAGES=1 cargo test --workspace --profile ci --lib problems_page\n{other:#?}"
        );
    }

    #[test]
    fn what_may_be_sent_again_says_when_and_what_was_refused_for_good_does_not() {
        for kind in Kind::iter() {
            let (status, help) = (kind.status().as_u16(), kind.help());
            let unavailable = [408, 429, 503].contains(&status);
            assert_eq!(help.again == Again::Yes, unavailable, "{}", kind.as_str());
            let uncertain = status == 504 || kind == Kind::InternalError;
            assert_eq!(help.written == Written::Perhaps, uncertain, "{}", kind.as_str());
        }
    }
}
