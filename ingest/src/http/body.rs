//! Reading a request's body within its bounds: type, coding, bytes, time.

use std::io;
use std::time::Duration;

use actix_web::http::header;
use actix_web::web::{BytesMut, Payload};
use actix_web::{HttpMessage, HttpRequest};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

use crate::http::Problem;
use crate::http::inflate::{Coding, media};
use crate::http::room::{Place, Room};

/// What is to take a record's place.
pub(super) const JSON: &str = "application/json";
/// What is to be merged into a record (RFC 7396).
pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";

/// Bytes that are read at once, at least.
const READ_AT_ONCE: usize = 4096;

/// The whole body, inflated, if it is of this type and within bounds.
pub(super) async fn whole(
    request: &HttpRequest,
    payload: Payload,
    expected: &'static str,
    most: usize,
    room: &Room,
    deadline: Duration,
) -> Result<BytesMut, Problem> {
    media(request.headers(), &[expected])?;
    let coding = Coding::of(request.headers())?;
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if coding == Coding::Identity && announced.is_some_and(|length: usize| length > most) {
        return Err(Problem::too_large(most));
    }
    let body = StreamReader::new(payload.map(|chunk| chunk.map_err(io::Error::other)));
    let collected = tokio::time::timeout(deadline, collect(coding.inflate(body), most, room.place())).await;
    let (body, place) = collected.unwrap_or_else(|_| Err(Problem::slow_body()))?;
    // The record made of it takes as much; it stands until the request is answered.
    request.extensions_mut().insert(place);
    Ok(body)
}

/// Room is taken for what has arrived, not for what was announced: a client that sends nothing keeps nobody out.
async fn collect(
    mut from: impl AsyncRead + Unpin,
    most: usize,
    mut place: Place,
) -> Result<(BytesMut, Place), Problem> {
    let mut body = BytesMut::new();
    loop {
        body.reserve(READ_AT_ONCE);
        let read = from.read_buf(&mut body).await.map_err(|_| Problem::broken_body())?;
        if read == 0 {
            return Ok((body, place));
        }
        if body.len() > most {
            return Err(Problem::too_large(most));
        }
        if !place.grow(read) {
            return Err(Problem::bodies_full());
        }
    }
}
