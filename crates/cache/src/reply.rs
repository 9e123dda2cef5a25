//! From what Redis answers to the types of `answers`. An answer that no script of ours gives is an error, never a guess.

use record::{RecordId, SchemaId, Version};
use redis::{FromRedisValue, Value};

use crate::CacheError;
use crate::answers::{
    Cached, Content, Depths, Lease, Looked, PendingEntry, PendingPage, State, UnsettledEntry, UnsettledPage, Written,
};

/// In place of a state: R14, the record is gone, and the table still awaits what a dead letter had overwritten.
pub(crate) const AWAITED: &str = "awaited";

pub(crate) fn unexpected(what: &str) -> CacheError {
    CacheError::Unexpected(what.to_owned())
}

pub(crate) fn parse<T: FromRedisValue>(value: Value) -> Result<T, CacheError> {
    T::from_redis_value(value).map_err(|error| CacheError::Unexpected(error.to_string()))
}

/// A version, or a clock reading: decimal text below 2^53.
pub(crate) fn version(value: Value) -> Result<Version, CacheError> {
    parse::<String>(value)?.parse().map_err(|_| unexpected("a version"))
}

pub(crate) fn state(value: Value) -> Result<State, CacheError> {
    State::parse(&parse::<String>(value)?).ok_or_else(|| unexpected("a state"))
}

/// Payload, deleted flag and schema id as the scripts store them.
pub(crate) fn stored(content: &Content) -> (&str, u8, u32) {
    match content {
        Content::Json { text, schema } => (text, 0, schema.get()),
        Content::Tombstone => ("", 1, 0),
    }
}

fn content(payload: String, deleted: &str, schema: &str) -> Result<Content, CacheError> {
    match deleted {
        "1" => Ok(Content::Tombstone),
        _ => {
            let schema = schema.parse().map_err(|_| unexpected("a schema id"))?;
            Ok(Content::Json { text: payload, schema: SchemaId::new(schema) })
        }
    }
}

pub(crate) fn written(answer: Value) -> Result<Written, CacheError> {
    if let Value::Int(number) = answer {
        // A version that Redis gave ends in slot 0 (R4).
        let version = u64::try_from(number).ok().filter(|number| *number > 0 && number.is_multiple_of(16));
        let version = version.and_then(|number| Version::new(number).ok());
        return version.map(Written::New).ok_or_else(|| unexpected("a version that the script does not give"));
    }
    let mut parts = parse::<Vec<Value>>(answer)?.into_iter();
    let mut next = || parts.next().ok_or_else(|| unexpected("a short answer to a write"));
    match parse::<String>(next()?)?.as_str() {
        "HIT" => {
            let (version, state) = (version(next()?)?, state(next()?)?);
            let content = match next() {
                Ok(payload) => {
                    let (deleted, schema): (String, String) = (parse(next()?)?, parse(next()?)?);
                    Some(content(parse(payload)?, &deleted, &schema)?)
                }
                Err(_) => None,
            };
            Ok(Written::Repeated { version, state, content })
        }
        "MOVED" => Ok(Written::Overtaken(version(next()?)?)),
        "MISMATCH" => Ok(Written::Mismatch),
        "CONFLICT" => match next() {
            Ok(current) => Ok(Written::Conflict(Some((version(current)?, state(next()?)?)))),
            Err(_) => Ok(Written::Conflict(None)),
        },
        "ABSENT" => Ok(Written::Absent),
        "INCOMPLETE" => Ok(Written::Incomplete),
        "FULL" => Ok(Written::Full),
        "QUIET" => Ok(Written::Quiet),
        "SKEW" => Ok(Written::Skew),
        "LATE" => Ok(Written::Late),
        "EPOCH" => Ok(Written::StaleEpoch),
        "ERR" => Err(CacheError::refused_here(parse(next()?)?)),
        other => Err(unexpected(other)),
    }
}

/// And whether this is the Redis that the process has met.
pub(crate) fn looked(answer: Vec<Value>) -> Result<(Looked, bool), CacheError> {
    let mut parts = answer.into_iter();
    let mut next = || parts.next().ok_or_else(|| unexpected("a short answer to a lookup"));
    match parse::<String>(next()?)?.as_str() {
        "HIT" => {
            let version = version(next()?)?;
            let state = state(next()?)?;
            let (deleted, schema): (String, String) = (parse(next()?)?, parse(next()?)?);
            let content = content(parse(next()?)?, &deleted, &schema)?;
            Ok((Looked::Hit(Cached { version, state, content }), true))
        }
        "MISS" => Ok((Looked::Miss(next().ok().map(parse).transpose()?.map(Lease)), true)),
        "ERR" => Ok((Looked::Unleased(CacheError::refused_here(parse(next()?)?).class()), true)),
        // Redis lost what it had: nothing is known of the record here, and a reader needs no epoch to read the row.
        "EPOCH" => Ok((Looked::Miss(None), false)),
        other => Err(unexpected(other)),
    }
}

/// The version that was looked at last, then the entries. An entry that cannot be read stays, and does not stop the page.
pub(crate) fn page(answer: Vec<Value>) -> Result<PendingPage, CacheError> {
    let (entries, behind) = entries(answer, pending)?;
    Ok(PendingPage { entries, behind })
}

pub(crate) fn unsettled_page(answer: Vec<Value>) -> Result<UnsettledPage, CacheError> {
    let (entries, behind) = entries(answer, unsettled)?;
    Ok(UnsettledPage { entries, behind })
}

fn entries<F: FromRedisValue, T>(
    answer: Vec<Value>,
    read: impl Fn(F) -> Result<T, CacheError>,
) -> Result<(Vec<T>, Option<u64>), CacheError> {
    let mut parts = answer.into_iter();
    let last: String = parse(parts.next().unwrap_or(Value::Nil))?;
    let readable = parts.filter_map(|entry| {
        parse(entry)
            .and_then(&read)
            .inspect_err(
                |error| tracing::error!(%error, "an entry of outbox or unsettled cannot be read and stays: {error}"),
            )
            .ok()
    });
    Ok((readable.collect(), last.parse().ok()))
}

/// The entity and the id that a member of outbox or unsettled names.
fn named(member: &str) -> Result<(String, RecordId), CacheError> {
    let (entity, id) = member.split_once(':').ok_or_else(|| unexpected("a member"))?;
    Ok((entity.to_owned(), RecordId::parse(id).map_err(|_| unexpected("a record id"))?))
}

fn unsettled(entry: [Option<String>; 5]) -> Result<UnsettledEntry, CacheError> {
    let [member, version, state, partition, logged_at] = entry.map(Option::unwrap_or_default);
    let (entity, id) = named(&member)?;
    Ok(UnsettledEntry {
        entity,
        id,
        version: version.parse().map_err(|_| unexpected("a version"))?,
        state: match state.as_str() {
            AWAITED => None,
            state => Some(State::parse(state).ok_or_else(|| unexpected("a state"))?),
        },
        // A record that was never acknowledged at its version has neither.
        partition: partition.parse().unwrap_or(-1),
        logged_at: logged_at.parse().unwrap_or(0),
    })
}

pub(crate) fn pending(entry: [Option<String>; 6]) -> Result<PendingEntry, CacheError> {
    let [member, version, payload, deleted, schema, trace] = entry.map(Option::unwrap_or_default);
    let (entity, id) = named(&member)?;
    Ok(PendingEntry {
        entity,
        id,
        version: version.parse().map_err(|_| unexpected("a version"))?,
        content: content(payload, &deleted, &schema)?,
        trace: Some(trace).filter(|trace| !trace.is_empty()),
    })
}

/// Per shard: entries of the outbox, its first with score, entries of the unsettled, its first with score.
pub(crate) fn sum(answers: Vec<Value>) -> Result<Depths, CacheError> {
    let mut depths = Depths::default();
    let mut answers = answers.into_iter();
    while let (Some(outbox), Some(first), Some(unsettled), Some(oldest)) =
        (answers.next(), answers.next(), answers.next(), answers.next())
    {
        depths.outbox += parse::<u64>(outbox)?;
        if let Some((entity, version)) = head(first)? {
            let known = depths.outbox_oldest.entry(entity).or_insert(version);
            *known = version.min(*known);
        }
        depths.unsettled += parse::<u64>(unsettled)?;
        if let Some((_, version)) = head(oldest)? {
            depths.unsettled_oldest = Some(depths.unsettled_oldest.map_or(version, |known| known.min(version)));
        }
    }
    Ok(depths)
}

/// The entity and version of a sorted set's first member.
fn head(first: Value) -> Result<Option<(String, Version)>, CacheError> {
    let first: Vec<(String, String)> = parse(first)?;
    let Some((member, score)) = first.into_iter().next() else { return Ok(None) };
    let entity = member.split(':').next().unwrap_or_default().to_owned();
    Ok(Some((entity, score.parse().map_err(|_| unexpected("a score"))?)))
}

#[cfg(test)]
mod tests {
    use service::FailureClass;

    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn array(parts: &[&str]) -> Value {
        Value::Array(parts.iter().map(|part| text(part)).collect())
    }

    /// The whole set of PROTOCOL R5, also what no script of today gives.
    #[test]
    fn every_answer_to_a_write_has_its_type() {
        let version = "1700000000000016";
        let known: Version = version.parse().unwrap();
        let repeated = |state, content| Written::Repeated { version: known, state, content };
        let answers = [
            (Value::Int(1_700_000_000_000_016), Written::New(known)),
            (array(&["HIT", version, "logged"]), repeated(State::Logged, None)),
            (array(&["HIT", version, "cached", "", "1", "0"]), repeated(State::Cached, Some(Content::Tombstone))),
            (array(&["MISMATCH"]), Written::Mismatch),
            (array(&["CONFLICT", version, "cached"]), Written::Conflict(Some((known, State::Cached)))),
            (array(&["CONFLICT"]), Written::Conflict(None)),
            (array(&["ABSENT"]), Written::Absent),
            (array(&["INCOMPLETE"]), Written::Incomplete),
            (array(&["FULL"]), Written::Full),
            (array(&["QUIET"]), Written::Quiet),
            (array(&["SKEW"]), Written::Skew),
            (array(&["LATE"]), Written::Late),
            (array(&["EPOCH"]), Written::StaleEpoch),
        ];
        for (answer, expected) in answers {
            assert_eq!(written(answer).unwrap(), expected);
        }
    }

    #[test]
    fn r12_a_miss_has_a_lease_or_none_or_a_reason_for_none() {
        let told = |answer: &[&str]| looked(answer.iter().map(|part| text(part)).collect()).unwrap().0;
        assert_eq!(told(&["MISS", "7 this-0"]), Looked::Miss(Some(Lease("7 this-0".to_owned()))));
        assert_eq!(told(&["MISS"]), Looked::Miss(None));
        assert_eq!(told(&["ERR", "OOM"]), Looked::Unleased(FailureClass::Saturated));
        assert_eq!(told(&["ERR", "NOREPLICAS"]), Looked::Unleased(FailureClass::Transient));
    }

    #[test]
    fn an_answer_that_no_script_gives_is_an_error_and_never_a_guess() {
        let strange = [
            Value::Nil,
            Value::Int(1),
            Value::Int(0),
            Value::Int(-16),
            Value::Int(9_007_199_254_740_992),
            text("OK"),
            array(&[]),
            array(&["OK", "16"]),
            array(&["hit", "16", "logged"]),
            array(&["HIT", "", "logged"]),
            array(&["HIT", "1.7e+15", "logged"]),
            array(&["HIT", "9007199254740992", "logged"]),
            array(&["HIT", "16"]),
            array(&["HIT", "16", "1"]),
            array(&["HIT", "16", "cached", "{}"]),
            array(&["HIT", "16", "cached", "{}", "0"]),
            array(&["CONFLICT", "16"]),
            array(&["ERR"]),
        ];
        for answer in strange {
            let told = written(answer.clone());
            assert!(matches!(told, Err(CacheError::Unexpected(_))), "{answer:?} was taken for {told:?}");
        }
        for answer in [&[][..], &["HIT", "16"], &["HIT", "16", "drafted", "0", "7", "{}"], &["ERR"], &["BEGIN"]] {
            let told = looked(answer.iter().map(|part| text(part)).collect());
            assert!(matches!(told, Err(CacheError::Unexpected(_))), "{answer:?} was taken for {told:?}");
        }
    }
}
