//! The handlers that read records.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use record::{RecordId, Version};
use table::EntityTable;
use tokio::time::Instant;

use super::asked::Asked;
use super::done::WRITE_BEHIND_STATE;
use super::front::{record_id, segment};
use super::{Answer, Front, Problem};
use crate::callers::Right;
use crate::read::{self, Found};

/// Where a read was answered from ([`read::Source`]).
const SOURCE: HeaderName = HeaderName::from_static("write-behind-source");

/// `GET /{entity}/{id}`; for `HEAD` the same without its body, which the server leaves out.
pub(super) async fn get(front: Data<Front>, request: HttpRequest) -> Answer {
    let table = front.opened(&request, segment(&request, "entity"), Right::Read)?;
    let id = record_id(segment(&request, "id"))?;
    let asked = Asked::of(request.headers())?;
    let read::Answer { source, found } = front.read(table, &id, &asked).await?;
    let mut answer = match found {
        Some(Found { version, json: Some(_), .. }) if asked.only.is_some_and(|only| only != version) => {
            Problem::other_version(version).response()
        }
        Some(Found { version, state, json: Some(json) }) => {
            let known = asked.unless.has(&version.to_string());
            let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
            answer
                .insert_header((header::ETAG, format!("\"{version}\"")))
                .insert_header((WRITE_BEHIND_STATE, state.as_str()));
            if known {
                answer.finish()
            } else {
                // The fields are one JSON object, and an id needs no escaping.
                let fields = json.get(1..).unwrap_or("}");
                let comma = if fields == "}" { "" } else { "," };
                answer.content_type("application/json").body(format!("{{\"id\":\"{id}\"{comma}{fields}"))
            }
        }
        gone => Problem::not_found(gone.map(|found| found.version)).response(),
    };
    answer.headers_mut().insert(SOURCE, HeaderValue::from_static(source.as_str()));
    Ok(answer)
}

impl Front {
    async fn read(&self, table: &EntityTable, id: &RecordId, asked: &Asked<'_>) -> Result<read::Answer, Problem> {
        let now = Instant::now();
        match asked.least {
            None => Ok(read::read(&self.cache, table, id, now + self.writes.answer_deadline).await?),
            Some(least) => {
                let until = now + asked.wait.unwrap_or(self.wait_most).min(self.wait_most);
                match read::read_at_least(&self.cache, table, id, least, until).await? {
                    Some(answer) => Ok(answer),
                    None => Err(older(table, id, least).await),
                }
            }
        }
    }
}

/// Why what is there is older: the version may have been refused by the table, and will never come.
async fn older(table: &EntityTable, id: &RecordId, least: Version) -> Problem {
    match table.letter(id, least).await {
        Ok(Some(letter)) => Problem::dead_lettered((table.entity().name(), id, least), &letter),
        _ => Problem::not_there_yet(),
    }
}
