//! A handler that panics is a fault of ours: its client gets an answer like any other, and no inside of ours.

use std::panic::AssertUnwindSafe;

use actix_web::Error;
use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::Next;
use futures_util::FutureExt as _;

use super::Problem;

/// Answers 500 where a handler has none. Of a resource: before one is found, nobody else may hold the request.
pub(crate) async fn caught<B: MessageBody>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let answerable = request.request().clone();
    // What was going on is dropped with the handler, and nothing of it is looked at again.
    match AssertUnwindSafe(next.call(request)).catch_unwind().await {
        Ok(answered) => answered.map(ServiceResponse::map_into_left_body),
        Err(_) => {
            tracing::error!(route = answerable.match_pattern(), "a handler has panicked");
            let answer = Problem::internal().response();
            Ok(ServiceResponse::new(answerable, answer.map_into_right_body()))
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::middleware::from_fn;
    use actix_web::{App, HttpResponse, test, web};
    use serde_json::Value;

    use super::*;

    async fn breaks() -> HttpResponse {
        panic!("s3cret of {}", file!())
    }

    #[actix_web::test]
    async fn a_handler_that_panics_is_answered_with_a_problem_that_says_nothing_of_why() {
        let resource = web::resource("/").route(web::get().to(breaks)).wrap(from_fn(caught));
        let app = test::init_service(App::new().service(resource)).await;
        for _ in 0..2 {
            let answer = test::call_service(&app, test::TestRequest::get().to_request()).await;
            assert_eq!(answer.status().as_u16(), 500);
            assert_eq!(answer.headers().get("content-type").unwrap(), "application/problem+json");
            let body = test::read_body(answer).await;
            let problem: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["type"], "urn:write-behind:problem:internal-error");
            let text = String::from_utf8(body.to_vec()).unwrap();
            assert!(!text.contains("s3cret") && !text.contains(".rs"), "{text}");
        }
    }
}
