//! Reading a request's body within its bounds: type, encoding, bytes, time.

use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{BytesMut, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;

use crate::http::Problem;
use crate::http::room::{Place, Room};

/// The whole body, if it is JSON and within bounds.
pub(super) async fn json(
    request: &HttpRequest,
    payload: Payload,
    most: usize,
    room: &Room,
    deadline: Duration,
) -> Result<BytesMut, Problem> {
    check_head(request, most)?;
    let collected = tokio::time::timeout(deadline, collect(payload, most, room.place())).await;
    let (body, place) = collected.unwrap_or_else(|_| Err(Problem::slow_body()))?;
    // The record made of it takes as much; it stands until the request is answered.
    request.extensions_mut().insert(place);
    Ok(body)
}

fn check_head(request: &HttpRequest, most: usize) -> Result<(), Problem> {
    let text = |name| request.headers().get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let media = text(header::CONTENT_TYPE).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if !media.eq_ignore_ascii_case("application/json") {
        return Err(Problem::media_type());
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
