//! Connections end in order before a stop: since readiness fell, every answer says that its connection ends.
//!
//! Otherwise a client might send its next request on an open connection in the moment in which the server closes it, and
//! would not know whether it was taken.

use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web::Data;
use service::Health;

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
