//! What the cache knows of a record's newest version, and whether it would know of a newer one: for whoever asks what became of
//! a write.

use record::{RecordId, Version};
use redis::Value;

use crate::answers::State;
use crate::call::Call;
use crate::keys::located;
use crate::reply::{AWAITED, parse, state, unexpected, version};
use crate::{Cache, CacheError};

/// A record's newest version in the cache, if it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    /// `None`: the record is not here, so that its row answers.
    pub held: Option<HeldVersion>,
    /// Whether no version that was written through the cache, and that the table lacks, can be missing here.
    pub whole: bool,
}

/// A version that the cache holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldVersion {
    /// Which.
    pub version: Version,
    /// How far it has come. `None`: it is gone from here, and the table may still get it (PROTOCOL R14).
    pub state: Option<State>,
    /// Where it stands in the topic, where that was heard.
    pub place: Option<Place>,
}

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In the topic.
    pub partition: i32,
    /// In the partition.
    pub offset: i64,
    /// When the topic acknowledged it, in microseconds.
    pub logged_at: u64,
}

impl Cache {
    /// The newest version of a record, and what that is worth. Leaves nothing behind.
    ///
    /// # Errors
    /// [`CacheError`].
    pub async fn newest(&self, entity: &str, id: &RecordId) -> Result<Newest, CacheError> {
        let (member, shard) = located(entity, id);
        let mut call = Call::of(&self.scripts.newest);
        call.key(shard.record(&member)).key(shard.epoch()).key(shard.incomplete()).arg(self.epoch());
        newest(self.call(&call).await?)
    }
}

fn newest(answer: Vec<Value>) -> Result<Newest, CacheError> {
    let mut parts = answer.into_iter();
    let whole = match parse::<String>(parts.next().unwrap_or(Value::Nil))?.as_str() {
        "WHOLE" => true,
        // Another life of Redis knows nothing, and has not been looked at.
        "INCOMPLETE" | "EPOCH" => false,
        other => return Err(unexpected(other)),
    };
    let Some(number) = parts.next() else { return Ok(Newest { held: None, whole }) };
    let mut next = || parts.next().ok_or_else(|| unexpected("a short answer about a record's newest version"));
    let (version, word) = (version(number)?, next()?);
    let state = if parse::<String>(word.clone())? == AWAITED { None } else { Some(state(word)?) };
    let place = (parse::<Option<i32>>(next()?)?, parse::<Option<i64>>(next()?)?, parse::<Option<u64>>(next()?)?);
    let place = match place {
        (Some(partition), Some(offset), Some(logged_at)) => Some(Place { partition, offset, logged_at }),
        _ => None,
    };
    Ok(Newest { held: Some(HeldVersion { version, state, place }), whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_has_a_state_or_is_awaited_and_strange_answers_are_errors() {
        let text = |text: &&str| if text.is_empty() { Value::Nil } else { Value::BulkString(text.as_bytes().to_vec()) };
        let told = |answer: &[&str]| newest(answer.iter().map(text).collect()).map_err(|_| ());
        let held = |state, place| HeldVersion { version: "32".parse().unwrap(), state, place };
        let place = Some(Place { partition: 3, offset: 7, logged_at: 9 });
        assert_eq!(told(&["WHOLE"]), Ok(Newest { held: None, whole: true }));
        assert_eq!(told(&["EPOCH"]), Ok(Newest { held: None, whole: false }));
        assert_eq!(
            told(&["WHOLE", "32", "logged", "3", "7", "9"]),
            Ok(Newest { held: Some(held(Some(State::Logged), place)), whole: true })
        );
        assert_eq!(
            told(&["INCOMPLETE", "32", "awaited", "", "", "9"]),
            Ok(Newest { held: Some(held(None, None)), whole: false })
        );
        for strange in [
            &[][..],
            &["YES"],
            &["WHOLE", "x", "logged", "", "", ""],
            &["WHOLE", "32"],
            &["WHOLE", "32", "lost", "", "", ""],
        ] {
            assert_eq!(told(strange), Err(()), "{strange:?}");
        }
    }
}
