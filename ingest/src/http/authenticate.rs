//! Who asks: before anything of a request is read but its head.

use std::sync::Arc;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpMessage as _, HttpRequest};

use super::Problem;
use super::farewell::turned_away;
use super::openapi::is_open;
use crate::callers::{Caller, Callers};

/// Lets pass whom `callers` knows, and nobody else.
pub(crate) async fn authenticated<B: MessageBody>(
    callers: Data<Callers>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if is_open(request.path()) {
        return Ok(next.call(request).await?.map_into_left_body());
    }
    let Some(caller) = callers.caller(bearer(request.headers())) else {
        let shown = request.headers().contains_key(AUTHORIZATION);
        return Ok(turned_away(request, &Problem::unauthenticated(shown)).await);
    };
    request.extensions_mut().insert(caller);
    Ok(next.call(request).await?.map_into_left_body())
}

/// Who asked. Nobody gets here who was not let pass.
pub(super) fn caller(request: &HttpRequest) -> Result<Arc<Caller>, Problem> {
    request.extensions().get::<Arc<Caller>>().cloned().ok_or_else(|| Problem::unauthenticated(false))
}

/// The one key that was shown (RFC 6750, in its header alone: an address gets into logs).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut shown = headers.get_all(AUTHORIZATION);
    let (scheme, key) = shown.next()?.to_str().ok()?.split_once(' ')?;
    (scheme.eq_ignore_ascii_case("bearer") && shown.next().is_none()).then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn a_key_stands_alone_in_the_header_behind_its_scheme() {
        let shown = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| headers.append(AUTHORIZATION, HeaderValue::from_static(value)));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(shown(&["Bearer wb_1"]).as_deref(), Some("wb_1"));
        assert_eq!(shown(&["bearer  wb_1"]).as_deref(), Some("wb_1"));
        for none in [&[][..], &["Basic wb_1"], &["wb_1"], &["Bearer"], &["Bearer wb_1", "Bearer wb_2"]] {
            assert_eq!(shown(none), None, "{none:?}");
        }
    }
}
