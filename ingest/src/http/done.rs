//! The answer to a write that was accepted.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName};
use actix_web::{HttpResponse, HttpResponseBuilder};
use cache::State;
use record::{Entity, RecordId};
use serde::Serialize;

use super::conditions::Conditions;
use super::fate;
use crate::intent::{Accepted, How};

/// A write that was accepted, and what its request had asked for.
pub(super) struct Done {
    pub(super) entity: Arc<Entity>,
    pub(super) id: RecordId,
    pub(super) accepted: Accepted,
    pub(super) conditions: Conditions,
    /// How long at most the table was waited for, where it was.
    pub(super) waited: Option<Duration>,
}

pub(super) const WRITE_BEHIND_STATE: HeaderName = HeaderName::from_static("write-behind-state");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const IDEMPOTENCY_CHECKED: HeaderName = HeaderName::from_static("idempotency-checked");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The body of the answer.
#[derive(Serialize)]
struct Told<'d> {
    id: &'d str,
    state: &'static str,
    version: u64,
}

impl Done {
    /// 202: it is not finished yet.
    pub(super) fn status(&self, persisted: StatusCode) -> StatusCode {
        if self.accepted.state == State::Persisted { persisted } else { StatusCode::ACCEPTED }
    }

    pub(super) fn headers(&self, answer: &mut HttpResponseBuilder) {
        let Accepted { version, state, how } = self.accepted;
        answer
            .insert_header((header::ETAG, format!("\"{version}\"")))
            .insert_header((WRITE_BEHIND_STATE, state.as_str()));
        match how {
            How::Replayed => {
                answer.insert_header((IDEMPOTENT_REPLAYED, "true"));
            }
            // The record was there; whether it is what this request asks for, only its key could have told.
            How::Found => {
                answer.insert_header((IDEMPOTENT_REPLAYED, "true")).insert_header((IDEMPOTENCY_CHECKED, "false"));
            }
            How::Past if self.conditions.key.is_some() => {
                answer.insert_header((IDEMPOTENCY_CHECKED, "false"));
            }
            How::New | How::Past => {}
        }
        if state < State::Persisted {
            // RFC 8631: where to ask what becomes of it.
            let fate = fate::address(self.entity.name(), &self.id, version);
            answer.insert_header((header::LINK, format!("<{fate}>; rel=\"status\"")));
        }
        let kept = self.conditions.prefer.state.filter(|preferred| *preferred <= state);
        let kept = kept.map(|preferred| format!("state={}", preferred.as_str()));
        let waited = self.waited.map(|wait| format!("wait={}", wait.as_secs()));
        let applied: Vec<_> = kept.into_iter().chain(waited).collect();
        if !applied.is_empty() {
            answer.insert_header((PREFERENCE_APPLIED, applied.join(", ")));
        }
    }

    pub(super) fn answer(&self, mut answer: HttpResponseBuilder) -> HttpResponse {
        self.headers(&mut answer);
        let Accepted { version, state, .. } = self.accepted;
        answer.json(Told { id: self.id.as_str(), state: state.as_str(), version: version.get() })
    }
}
