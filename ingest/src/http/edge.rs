//! What every request passes first and every answer last: the request gets its name, and is counted; and where something breaks
//! in between, its client gets an answer like any other, with no inside of ours.

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::middleware::Next;
use actix_web::web::Data;
use actix_web::{Error, HttpResponse};
use futures_util::FutureExt as _;

use super::request_id::{RequestId, X_REQUEST_ID};
use super::{HttpMetrics, Problem, ProblemKind};

/// Outside of whatever answers or refuses.
pub(crate) async fn edge<B: MessageBody + 'static>(
    metrics: Data<HttpMetrics>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let begun = Instant::now();
    let id = RequestId::of(request.headers(), rand::random);
    let method = method(&request);
    let route = request.match_pattern().unwrap_or_else(|| "none".to_owned());
    // What was going on is dropped, and nothing of it is looked at again; the request is gone with it.
    let answered = AssertUnwindSafe(next.call(request)).catch_unwind().await;
    let answered = match answered {
        Ok(Ok(answered)) => {
            let (request, response) = answered.into_parts();
            Ok(ServiceResponse::new(request, named(response, &id)))
        }
        Ok(Err(error)) => Err(named(error.error_response(), &id)),
        Err(_) => {
            tracing::error!(request_id = id.as_str(), method, route, "a request has met a panic");
            Err(named(Problem::internal().response(), &id))
        }
    };
    let (status, kind) = match &answered {
        Ok(answered) => (answered.status(), kind(answered.response())),
        Err(response) => (response.status(), kind(response)),
    };
    if status.is_server_error() {
        failed(&id, method, &route, status, kind);
    }
    metrics.answered(&route, method, status, begun.elapsed());
    // Without its request an answer is an error's.
    answered.map_err(|response| InternalError::from_response("unanswered", response.map_into_boxed_body()).into())
}

fn kind<B>(response: &HttpResponse<B>) -> Option<ProblemKind> {
    response.extensions().get().copied()
}

/// The answer with the request's name: as a header, and in a problem.
fn named<B: MessageBody>(mut response: HttpResponse<B>, id: &RequestId) -> HttpResponse<EitherBody<B>> {
    response.headers_mut().insert(X_REQUEST_ID, id.value());
    if kind(&response).is_none() {
        return response.map_into_left_body();
    }
    let (head, body) = response.into_parts();
    match body.try_into_bytes() {
        Ok(problem) => head.set_body(BoxBody::new(id.named(&problem))).map_into_right_body(),
        Err(body) => head.set_body(body).map_into_left_body(),
    }
}

/// Refusals while a store is away or too much is asked come by the thousands and are counted: only who looks for them is told of
/// each.
fn failed(id: &RequestId, method: &str, route: &str, status: StatusCode, kind: Option<ProblemKind>) {
    let (request_id, problem) = (id.as_str(), kind.map(ProblemKind::as_str));
    let status = status.as_u16();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        tracing::debug!(request_id, method, route, status, problem, "a request was refused");
    } else {
        tracing::error!(request_id, method, route, status, problem, "a request failed");
    }
}

/// Only known methods become labels: the set must stay closed.
fn method(request: &ServiceRequest) -> &'static str {
    match request.method().as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::test::{TestRequest, init_service, try_call_service};
    use actix_web::{App, web};
    use serde_json::Value;
    use service::Metrics;

    use super::super::Room;
    use super::*;

    async fn breaks() -> HttpResponse {
        panic!("s3cret of {}", file!())
    }

    async fn door(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
        assert!(request.path() != "/door", "s3cret of {}", file!());
        next.call(request).await
    }

    #[actix_web::test]
    async fn a_panic_anywhere_is_counted_and_answered_with_a_problem_that_says_nothing_of_why() {
        let metrics = Metrics::new();
        let counted = Data::new(HttpMetrics::new(&metrics, Room::new(1)));
        let app = App::new()
            .app_data(counted)
            .wrap(from_fn(door))
            .wrap(from_fn(edge))
            .route("/handler", web::get().to(breaks))
            .default_service(web::to(breaks));
        let app = init_service(app).await;
        for path in ["/handler", "/door", "/nowhere", "/handler"] {
            let request = TestRequest::with_uri(path).insert_header(("x-request-id", "mine")).to_request();
            let answer = match try_call_service(&app, request).await {
                Ok(answer) => answer.into_parts().1.map_into_boxed_body(),
                Err(error) => error.error_response(),
            };
            assert_eq!(answer.status(), 500, "{path}");
            assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json", "{path}");
            assert_eq!(answer.headers().get("x-request-id").unwrap(), "mine", "{path}");
            let body = answer.into_body().try_into_bytes().unwrap();
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["type"], "urn:write-behind:problem:internal-error");
            assert_eq!(problem["instance"], "urn:write-behind:request:mine");
            assert!(!problem.to_string().contains("s3cret") && !problem.to_string().contains(".rs"), "{problem}");
        }
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("http_requests_total{method=\"GET\",route=\"/handler\",status=\"500\"} 2"), "{text}");
        assert!(text.contains("http_requests_total{method=\"GET\",route=\"none\",status=\"500\"} 2"), "{text}");
    }
}
