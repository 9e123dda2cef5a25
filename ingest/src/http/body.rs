//! Reading a request's body within its bounds: type, encoding, bytes, time.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header;
use actix_web::web::{BytesMut, Payload};
use futures_util::StreamExt;

use crate::http::Problem;

/// The whole body, if it is JSON and within bounds.
pub(super) async fn json(
    request: &HttpRequest,
    payload: Payload,
    most: usize,
    deadline: Duration,
) -> Result<BytesMut, Problem> {
    check_head(request, most)?;
    tokio::time::timeout(deadline, collect(payload, most)).await.unwrap_or_else(|_| Err(Problem::slow_body()))
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

async fn collect(mut payload: Payload, most: usize) -> Result<BytesMut, Problem> {
    let mut body = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| Problem::broken_body())?;
        if body.len() + chunk.len() > most {
            return Err(Problem::too_large(most));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
