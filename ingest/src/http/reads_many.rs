//! `GET /{entity}?ids=a,b,c`: many records by one request.

use std::collections::HashSet;

use actix_web::http::StatusCode;
use actix_web::web::{Data, Query};
use actix_web::{HttpMessage, HttpRequest, HttpResponse};
use record::RecordId;
use tokio::time::Instant;

use super::front::segment;
use super::{Answer, Front, Problem};
use crate::callers::Right;
use crate::read::{self, Found};
use crate::read_many::read_many;

/// `GET /{entity}?ids=…`; for `HEAD` the same without its body, which the server leaves out.
pub(super) async fn get(front: Data<Front>, request: HttpRequest) -> Answer {
    let table = front.opened(&request, segment(&request, "entity"), Right::Read)?;
    let ids = ids(request.query_string(), front.bulks.ids_most())?;
    let until = Instant::now() + front.writes.answer_deadline;
    let answers = read_many(&front.cache, table, &ids, until).await?;
    let body = body(&ids, &answers);
    // As a body that was sent: both stand until the request is answered.
    let mut place = front.bodies.place();
    if !place.grow(body.len()) {
        return Err(Problem::answers_full());
    }
    request.extensions_mut().insert(place);
    Ok(HttpResponse::build(StatusCode::OK).content_type("application/json").body(body))
}

/// The ids that are asked for, each once, in the order in which they were first named.
pub(super) fn ids(query: &str, most: usize) -> Result<Vec<RecordId>, Problem> {
    const HINT: &str = "name the records: ?ids=a,b,c; there is no listing of all of an entity's records";
    let members = Query::<Vec<(String, String)>>::from_query(query);
    let members = members.map_err(|_| Problem::query("it is no list of name=value with & between"))?.into_inner();
    let text = match members.as_slice() {
        [] => return Err(Problem::query(HINT)),
        [(name, text)] if name == "ids" => text,
        _ => return Err(Problem::query(format!("give ids alone, and once: {HINT}"))),
    };
    if text.is_empty() {
        return Err(Problem::query(HINT));
    }
    let (mut seen, mut ids) = (HashSet::new(), Vec::new());
    for (at, text) in text.split(',').enumerate() {
        if at == most {
            return Err(Problem::query(format!("at most {most} ids are taken (--ids-most); ask for the others again")));
        }
        let id = RecordId::parse(text).map_err(|fault| Problem::id(format!("number {} of ids: {fault}", at + 1)))?;
        if seen.insert(id.clone()) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// What is found, in the order asked for, and the ids of what is not.
fn body(ids: &[RecordId], answers: &[read::Answer]) -> String {
    let (mut records, mut missing) = (String::new(), String::new());
    for (id, read::Answer { source, found }) in ids.iter().zip(answers) {
        let Some(Found { version, state, json: Some(json) }) = found else {
            push(&mut missing, &format!("\"{id}\""));
            continue;
        };
        let (state, source) = (state.as_str(), source.as_str());
        // An id needs no escaping, and the record is an object of JSON already.
        let head = format!("{{\"id\":\"{id}\",\"version\":{version},\"state\":\"{state}\",\"source\":\"{source}\"");
        push(&mut records, &format!("{head},\"record\":{json}}}"));
    }
    format!("{{\"records\":[{records}],\"missing\":[{missing}]}}")
}

fn push(list: &mut String, item: &str) {
    if !list.is_empty() {
        list.push(',');
    }
    list.push_str(item);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(query: &str) -> Result<Vec<String>, String> {
        let texts = |ids: Vec<RecordId>| ids.iter().map(ToString::to_string).collect();
        ids(query, 3).map(texts).map_err(|problem| problem.to_string())
    }

    #[test]
    fn ids_are_taken_once_each_and_in_their_order() {
        assert_eq!(told("ids=b,a,b"), Ok(vec!["b".to_owned(), "a".to_owned()]));
        assert_eq!(told("ids=b%2Ca"), Ok(vec!["b".to_owned(), "a".to_owned()]), "escaped, as many clients do");
    }

    #[test]
    fn exactly_as_many_ids_as_may_be_are_taken_and_anything_else_is_refused() {
        assert!(told("ids=a,b,c").is_ok());
        for query in ["ids=a,b,c,d", "ids=a,a,a,a", "", "ids=", "ids", "id=a", "ids=a&ids=b", "ids=a&limit=3"] {
            assert_eq!(told(query), Err("400 invalid-query".to_owned()), "{query}");
        }
        for query in ["ids=a,", "ids=,", "ids=a,%C3%A4", "ids=a b"] {
            assert_eq!(told(query), Err("400 invalid-id".to_owned()), "{query}");
        }
        let problem = ids("ids=a,b%20c", 3).unwrap_err();
        assert!(problem.members()["detail"].as_str().unwrap().starts_with("number 2 of ids: "), "it is named");
    }
}
