//! `/docs`: Swagger UI, of whose files three are served as they were vendored, around a page and a script of our own.
//!
//! Nothing is loaded from elsewhere, and nothing may be: the Content-Security-Policy says so to the browser. Page and files are
//! the same for everybody and say nothing about this system, so that they need no key.

use std::sync::Arc;

use actix_web::http::header::{self, HeaderValue};
use actix_web::{HttpRequest, HttpResponse};
use utoipa_swagger_ui::{Config, serve};

use crate::http::front::segment;
use crate::http::{Answer, Problem};

const PAGE: &str = include_str!("page.html");
const SCRIPT: &str = include_str!("page.js");
const STYLE: &str = include_str!("page.css");
/// What of Swagger UI is used.
const VENDORED: [&str; 3] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"];
/// Scripts, styles and calls from here alone; images also from within styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Whether a path is part of the page, and needs no key.
pub(crate) fn is_open(path: &str) -> bool {
    path == "/docs" || path.starts_with("/docs/")
}

/// `GET /docs`.
pub(crate) async fn page() -> HttpResponse {
    sent("text/html; charset=utf-8", PAGE.as_bytes(), false)
}

/// `GET /docs/`: a page whose links would lead elsewhere.
pub(crate) async fn slash() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((header::LOCATION, "../docs")).finish()
}

/// `GET /docs/{file}`.
pub(crate) async fn file(request: HttpRequest) -> Answer {
    match segment(&request, "file") {
        "page.js" => Ok(sent("text/javascript; charset=utf-8", SCRIPT.as_bytes(), false)),
        "page.css" => Ok(sent("text/css; charset=utf-8", STYLE.as_bytes(), false)),
        name if VENDORED.contains(&name) => vendored(name),
        _ => Err(Problem::no_route()),
    }
}

fn vendored(name: &str) -> Answer {
    let file = serve(name, Arc::new(Config::default()));
    let file = file.ok().flatten().ok_or_else(Problem::no_route)?;
    Ok(sent(&file.content_type, &file.bytes, file.gzpipped))
}

fn sent(media: &str, bytes: &[u8], gzipped: bool) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type(media)
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")))
        .insert_header((header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")));
    if gzipped {
        answer.insert_header((header::CONTENT_ENCODING, HeaderValue::from_static("gzip")));
    }
    answer.body(bytes.to_vec())
}
