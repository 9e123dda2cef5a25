//! How many requests are in progress at all, and how often one caller may ask: looked at before anything is done for a
//! request.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::Error;
use actix_web::body::{BodySize, BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::{Bytes, Data};
use service::fail_points;

use super::authenticate::caller;
use super::farewell::turned_away;
use super::room::Place;
use super::{Problem, Room};
use crate::callers::{Allowance, Callers};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

/// The requests in progress: each has a place.
#[derive(Clone, Debug)]
pub(crate) struct InProgress(pub(crate) Room);

/// Lets pass as many requests as may be in progress at one time. Before anybody is asked who they are: whoever is not known has
/// an answer, and the place back, at once; and past the bound not even a key is looked at.
pub(crate) async fn admitted(
    requests: Data<InProgress>,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<EitherBody<Held>>, Error> {
    let mut place = requests.0.place();
    if !place.grow(1) {
        return Ok(turned_away(request, &Problem::crowded()).await);
    }
    fail_points::reached(fail_points::HTTP_ADMITTED);
    let response = next.call(request).await?;
    Ok(response.map_body(|_, body| Held { body: BoxBody::new(body), _place: place }).map_into_left_body())
}

/// An answer on its way: its request is in progress until it has been handed over.
pub(crate) struct Held {
    body: BoxBody,
    _place: Place,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(context)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, _place } = self;
        body.try_into_bytes().map_err(|body| Self { body, _place })
    }
}

/// Lets a caller ask as often as it may, and tells it where it stands.
pub(crate) async fn limited<B: MessageBody>(
    callers: Data<Callers>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    // What is open to everybody has no caller.
    let caller = caller(request.request()).ok();
    let bounded = caller.as_ref().and_then(|caller| Some((caller, caller.rate()?)));
    let Some((caller, rate)) = bounded else { return Ok(next.call(request).await?.map_into_left_body()) };
    let (left, mut response) = match callers.take_one(caller, rate) {
        Ok(left) => (left, next.call(request).await?.map_into_left_body()),
        Err(wait) => (0, turned_away(request, &Problem::rate_limited(whole_seconds(wait))).await),
    };
    for (name, value) in fields(rate.allowance, left) {
        response.headers_mut().insert(name, value);
    }
    Ok(response)
}

fn fields(allowance: Allowance, left: u32) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    let fields = [(POLICY, allowance.policy()), (STANDING, allowance.standing(left))];
    fields.into_iter().filter_map(|(name, value)| Some((name, value.try_into().ok()?)))
}

/// Never too early.
fn whole_seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_told_in_whole_seconds_and_never_too_short() {
        let told = |millis| whole_seconds(Duration::from_millis(millis));
        assert_eq!([0, 1, 1000, 1001].map(told), [1, 1, 1, 2]);
    }
}
