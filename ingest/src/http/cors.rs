//! Pages of other origins: none may ask unless it is named, and of those only what the API has.

use actix_cors::{Cors, CorsError};
use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use url::Url;

use super::Problem;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// What a page may send.
const SENT: [&str; 10] = [
    "authorization",
    "content-encoding",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "min-version",
    "prefer",
    "traceparent",
    "x-request-id",
];

/// What a page may read.
const ANSWERED: [&str; 14] = [
    "allow",
    "etag",
    "idempotency-checked",
    "idempotent-replayed",
    "link",
    "location",
    "preference-applied",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "write-behind-source",
    "write-behind-state",
    "www-authenticate",
    "x-request-id",
];

/// How long a browser may keep a preflight's answer, in seconds.
const KEPT: usize = 600;

/// Whose pages may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Everybody's.
    Any,
    /// This one's, such as `https://shop.example`.
    Only(String),
}

/// Parses an origin as a browser writes it.
pub(crate) fn origin(text: &str) -> Result<Origin, String> {
    if text == "*" {
        return Ok(Origin::Any);
    }
    let written = Url::parse(text).ok().filter(Url::has_host).map(|url| url.origin().ascii_serialization());
    match written {
        Some(written) if written == text => Ok(Origin::Only(written)),
        Some(written) if written != "null" => Err(format!("a browser writes this origin {written}")),
        _ => Err("expected an origin, such as https://shop.example, or *".to_owned()),
    }
}

/// For where another origin is let in; else no answer says anything of origins.
pub(crate) fn cors(origins: &[Origin]) -> Cors {
    let cors = Cors::default()
        .allowed_methods(METHODS)
        .allowed_headers(SENT)
        .expose_headers(ANSWERED)
        .max_age(KEPT)
        .block_on_origin_mismatch(false);
    origins.iter().fold(cors, |cors, origin| match origin {
        Origin::Any => cors.allow_any_origin().send_wildcard(),
        Origin::Only(origin) => cors.allowed_origin(origin),
    })
}

/// A preflight that is refused is told as everything else is.
pub(crate) async fn told<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let response = next.call(request).await?;
    let refused = response.response().error().and_then(|error| error.as_error::<CorsError>());
    match refused.map(|error| Problem::cross_origin(error.to_string())) {
        Some(problem) => Ok(response.into_response(problem.response().map_into_right_body())),
        None => Ok(response.map_into_left_body()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_a_browser_writes_it() {
        let only = |text: &str| Ok(Origin::Only(text.to_owned()));
        assert_eq!(origin("*"), Ok(Origin::Any));
        assert_eq!(origin("https://shop.example"), only("https://shop.example"));
        assert_eq!(origin("http://localhost:3000"), only("http://localhost:3000"));
        for (text, fault) in [
            ("https://shop.example/", "a browser writes this origin https://shop.example"),
            ("https://Shop.example:443", "a browser writes this origin https://shop.example"),
            ("shop.example", "expected an origin"),
            ("null", "expected an origin"),
        ] {
            assert!(origin(text).unwrap_err().contains(fault), "{text}");
        }
    }
}
