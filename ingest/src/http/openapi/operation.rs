//! One operation of the document.

use actix_web::http::StatusCode;
use serde_json::{Map, Value as Json, json};

use super::problems;
use crate::callers::{Caller, Right};
use crate::http::ProblemKind as Kind;

/// A method on a path, and all that may come of it.
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// Unique in the document: what a generated client calls it.
    pub(super) name: String,
    pub(super) summary: String,
    pub(super) description: &'static str,
    pub(super) tag: String,
    /// What a key must open, where it is an entity's.
    pub(super) right: Option<Right>,
    /// Names among `components/parameters`.
    pub(super) parameters: Vec<&'static str>,
    /// Its `requestBody`.
    pub(super) body: Option<Json>,
    /// By status.
    pub(super) answers: Vec<(StatusCode, Json)>,
    pub(super) problems: Vec<Kind>,
    /// Whether it needs no key.
    pub(super) open: bool,
}

impl Operation {
    pub(super) fn open_to(&self, reader: &Caller, entity: &str) -> bool {
        self.right.is_none_or(|right| reader.may(right, entity))
    }

    pub(super) fn json(self, keyed: bool) -> Json {
        let mut kinds = self.problems;
        // Whoever asks for whatever.
        kinds.extend([Kind::Busy, Kind::InternalError]);
        kinds.extend((!self.open).then_some(Kind::RateLimited));
        if keyed && !self.open {
            kinds.push(Kind::Unauthenticated);
            kinds.extend(self.right.map(|_| Kind::Forbidden));
        }
        let mut answers: Map<String, Json> =
            self.answers.into_iter().map(|(status, answer)| (status.as_str().to_owned(), answer)).collect();
        let bodiless = self.method == "head";
        for (status, kinds) in problems::by_status(kinds) {
            answers.insert(status.as_u16().to_string(), problems::answer(status, &kinds, bodiless));
        }
        for answer in answers.values_mut() {
            answer["headers"]["X-Request-Id"] = json!({"$ref": "#/components/headers/X-Request-Id"});
        }
        let reference = |name: &str| json!({"$ref": format!("#/components/parameters/{name}")});
        let mut operation = json!({
            "operationId": self.name,
            "summary": self.summary,
            "description": self.description,
            "tags": [self.tag],
            "responses": answers,
        });
        operation["parameters"] = self.parameters.into_iter().chain(["XRequestId"]).map(reference).collect();
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        if keyed && self.open {
            operation["security"] = json!([]);
        }
        operation
    }
}
