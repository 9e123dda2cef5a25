//! Connections end in order before a stop: since readiness fell, every answer says that its connection ends.
//!
//! Otherwise a client might send its next request on an open connection in the moment in which the server closes it, and
//! would not know whether it was taken.

use std::time::Duration;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _};
use futures_util::StreamExt;
use service::Health;

use super::Problem;

/// How much of a body that nobody wants is taken, so that its connection can go on, and how long it is waited for.
const UNWANTED_BYTES_MOST: usize = 65_536;
const UNWANTED_WAIT: Duration = Duration::from_millis(50);

pub(crate) async fn farewell(
    health: Data<Health>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let mut response = next.call(request).await?;
    if !health.is_serving() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}

/// The answer to a request that goes no further, of a client that will ask again: its body is taken where it is small and there, so
/// that the connection can go on. Else the server takes the rest of it in chunks, or says that the connection ends.
pub(super) async fn turned_away<B>(mut request: ServiceRequest, problem: &Problem) -> ServiceResponse<EitherBody<B>> {
    let mut payload = request.take_payload();
    let rest = async {
        let mut taken = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            taken += chunk.len();
            if taken > UNWANTED_BYTES_MOST {
                break;
            }
        }
    };
    tokio::select! {
        () = rest => {}
        () = tokio::time::sleep(UNWANTED_WAIT) => {}
    }
    request.into_response(problem.response().map_into_right_body())
}
