//! The handlers that read records.

use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use tokio::time::Instant;

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
    let until = Instant::now() + front.writes.answer_deadline;
    let read::Answer { source, found } = read::read(&front.cache, table, &id, until).await?;
    let mut answer = match found {
        Some(Found { version, state, json: Some(json) }) => {
            // The fields are one JSON object, and an id needs no escaping.
            let fields = json.get(1..).unwrap_or("}");
            let comma = if fields == "}" { "" } else { "," };
            HttpResponse::Ok()
                .content_type("application/json")
                .insert_header((header::ETAG, format!("\"{version}\"")))
                .insert_header(("Write-Behind-State", state.as_str()))
                .body(format!("{{\"id\":\"{id}\"{comma}{fields}"))
        }
        _ => Problem::not_found().response(),
    };
    answer.headers_mut().insert(SOURCE, HeaderValue::from_static(source.as_str()));
    Ok(answer)
}
