//! Reading a request's body within its bounds: type, encoding, bytes, time.

use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{BytesMut, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;

use crate::http::Problem;
use crate::http::room::{Place, Room};

/// What is to take a record's place.
pub(super) const JSON: &str = "application/json";
/// What is to be merged into a record (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// The whole body, if it is of this type and within bounds.
pub(super) async fn whole(
    request: &HttpRequest,
    payload: Payload,
    expected: &str,
    most: usize,
    room: &Room,
    deadline: Duration,
) -> Result<BytesMut, Problem> {
    check_head(request, expected, most)?;
    let collected = tokio::time::timeout(deadline, collect(payload, most, room.place())).await;
    let (body, place) = collected.unwrap_or_else(|_| Err(Problem::slow_body()))?;
    // The record made of it takes as much; it stands until the request is answered.
    request.extensions_mut().insert(place);
    Ok(body)
}

fn check_head(request: &HttpRequest, expected: &str, most: usize) -> Result<(), Problem> {
    let text = |name| request.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case(expected) {
        return Err(Problem::media_type(expected));
    }
    let mut encodings = request.headers().get_all(header::CONTENT_ENCODING);
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::encoding());
    }
    let announced = text(header::CONTENT_LENGTH).and_then(|length| length.parse::<usize>().ok());
    if announced.is_some_and(|length| length > most) {
        return Err(Problem::too_large(most));
    }
    Ok(())
}

/// Room is taken for what has arrived, not for what was announced: a client that sends nothing keeps nobody out.
async fn collect(mut payload: Payload, most: usize, mut place: Place) -> Result<(BytesMut, Place), Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::broken_body())?;
        if body.len() + chunk.len() > most {
            return Err(Problem::too_large(most));
        }
        if !place.grow(chunk.len()) {
            return Err(Problem::bodies_full());
        }
        body.extend_from_slice(&chunk);
    }
    Ok((body, place))
}
