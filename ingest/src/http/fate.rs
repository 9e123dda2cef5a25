//! `GET /{entity}/{id}/writes/{version}`: what became of a write. Asks, in the order that makes a denial true; `crate::fate` decides.

use actix_web::HttpRequest;
use actix_web::HttpResponse;
use actix_web::web::Data;
use chrono::{DateTime, SecondsFormat};
use record::{RecordId, Version};
use serde_json::{Map, Value, json};
use service::clock;
use table::EntityTable;

use super::front::{record_id, segment};
use super::{Answer, Front, Problem};
use crate::callers::Right;
use crate::fate::{Facts, Fate, decide, place};

/// Where the fate of a write is told.
pub(super) fn address(entity: &str, id: &RecordId, version: Version) -> String {
    format!("/{entity}/{id}/writes/{version}")
}

/// Whoever may write or read the records may know what became of a write: it shows no content.
pub(super) async fn get(front: Data<Front>, request: HttpRequest) -> Answer {
    let name = segment(&request, "entity");
    let opened = front.opened(&request, name, Right::Write);
    let table = opened.or_else(|_| front.opened(&request, name, Right::Read))?;
    let id = record_id(segment(&request, "id"))?;
    let version = segment(&request, "version").parse().map_err(Problem::version)?;
    let facts = front.facts(table, &id, version).await;
    let fate = decide(version, &facts).map_err(Problem::untold)?;
    Ok(HttpResponse::Ok().json(told(&id, version, &fate, &facts)))
}

impl Front {
    async fn facts(&self, table: &EntityTable, id: &RecordId, version: Version) -> Facts {
        let entity = table.entity().name();
        let topic = self.writes.kafka_settings.topic(entity);
        let drained = self.lag.drained().everywhere_in(&topic).map(|moment| moment.micros);
        let cache = self.cache.newest(entity, id).await.inspect_err(|error| tracing::debug!(%error, "a write's fate"));
        let table = table.fate(id, version).await.inspect_err(|error| tracing::debug!(%error, "a write's fate"));
        Facts { now: clock::now_micros(), drained, grace: self.grace, cache: cache.ok(), table: table.ok() }
    }
}

fn told(id: &RecordId, version: Version, fate: &Fate, facts: &Facts) -> Value {
    let mut told = Map::new();
    let mut say = |name: &str, value: Value| drop(told.insert(name.to_owned(), value));
    say("id", id.as_str().into());
    say("version", version.get().into());
    say("fate", fate.as_str().into());
    say("written_at", time(version.birth_micros()));
    if let Some(place) = place(version, facts) {
        say("logged_at", time(place.logged_at));
        say("partition", place.partition.into());
        say("offset", place.offset.into());
    }
    match fate {
        Fate::Persisted(Some(at)) => say("persisted_at", time(*at)),
        Fate::Superseded { by, state } => say("by", json!({ "version": by.get(), "state": state.as_str() })),
        Fate::Dead(letter) => say(
            "dead",
            json!({
                "reason": letter.reason, "topic": letter.topic, "partition": letter.partition, "offset": letter.offset,
                "at": time(letter.at),
            }),
        ),
        Fate::Cached | Fate::Logged | Fate::Persisted(None) => {}
    }
    Value::Object(told)
}

/// RFC 3339 with microseconds.
fn time(micros: u64) -> Value {
    let time = i64::try_from(micros).ok().and_then(DateTime::from_timestamp_micros);
    time.map_or(Value::Null, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_microseconds_and_say_that_they_are_utc() {
        assert_eq!(time(1_700_000_000_000_016), json!("2023-11-14T22:13:20.000016Z"));
        assert_eq!(time(0), json!("1970-01-01T00:00:00.000000Z"));
    }
}
