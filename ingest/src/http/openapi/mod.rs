//! The API as an OpenAPI 3.1 document, made of the code's own tables and of the entities' schemas, and a page that shows it.
//!
//! With keys on, the document shows what its reader's key opens and nothing else: which entities there are is told to nobody
//! else either. The page is the same for everybody; it asks for a key and fetches the document with it.

#![expect(clippy::indexing_slicing, reason = "an object of JSON takes a member under any name")]

mod answer;
mod entity;
mod operation;
mod page;
mod parameter;
mod problems;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderValue};
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use record::{Catalog, Entity};
use serde_json::{Map, Value as Json, json};
use sha2::{Digest, Sha256};

pub(crate) use page::is_open;
pub(super) use page::{file, page, slash};

use super::authenticate::caller;
use super::tags::Tags;
use super::{Answer, Front};
use crate::aliases::Alias;
use crate::callers::{Caller, Right};
use crate::http::ProblemKind as Kind;
use crate::settings::Settings;
use operation::Operation;

/// What there is to describe.
#[derive(Debug)]
pub(crate) struct Described {
    entities: Vec<Arc<Entity>>,
    aliases: Vec<Alias>,
    /// Whether keys are asked for.
    keyed: bool,
    body_bytes_most: usize,
    event_bytes_most: usize,
    wait_most_s: u64,
    ids_most: usize,
    bulk_bytes_most: u64,
    /// For whoever may do everything, which is everybody where no keys are.
    whole: Document,
}

/// The document as it is sent.
#[derive(Clone, Debug, Default)]
struct Document {
    text: Bytes,
    /// Its `ETag`, without the quotes.
    tag: String,
}

impl Document {
    fn new(json: &Json) -> Self {
        let text = Bytes::from(json.to_string());
        let tag = hex::encode(Sha256::digest(&text).get(..16).unwrap_or_default());
        Self { text, tag }
    }
}

impl Described {
    pub(crate) fn new(catalog: &Catalog, settings: &Settings) -> Self {
        let mut this = Self {
            entities: catalog.iter().map(Arc::clone).collect(),
            aliases: settings.route_alias.clone(),
            keyed: settings.callers.api_keys.is_some(),
            body_bytes_most: settings.body_bytes_most,
            event_bytes_most: settings.kafka.event_bytes_most,
            wait_most_s: settings.wait_most_s.as_secs(),
            ids_most: settings.bulk.ids_most,
            bulk_bytes_most: settings.bulk.bulk_bytes_most,
            whole: Document::default(),
        };
        this.whole = Document::new(&this.document(&Caller::anybody()));
        this
    }

    /// The document for one reader.
    fn shown_to(&self, reader: &Caller) -> Document {
        let all = |right| self.entities.iter().all(|entity| reader.may(right, entity.name()));
        if all(Right::Read) && all(Right::Write) { self.whole.clone() } else { Document::new(&self.document(reader)) }
    }

    fn document(&self, reader: &Caller) -> Json {
        let mut paths: Map<String, Json> = Map::new();
        let mut schemas = problems::schemas();
        let mut tags = Vec::new();
        let mut add = |operation: Operation| {
            let path = paths.entry(operation.path.clone()).or_insert_with(|| json!({}));
            if let Json::Object(path) = path {
                path.insert(operation.method.to_owned(), operation.json(self.keyed));
            }
        };
        for entity in self.entities.iter().filter(|entity| reader.sees(entity.name())) {
            let operations = entity::operations(self, entity);
            operations.into_iter().filter(|operation| operation.open_to(reader, entity.name())).for_each(&mut add);
            schemas.extend(entity::schemas(entity));
            tags.push(json!({"name": entity.name(), "description": entity.doc().unwrap_or_default()}));
        }
        own().into_iter().for_each(&mut add);
        tags.push(json!({"name": "about", "description": "The API itself."}));
        let mut components = json!({
            "schemas": schemas,
            "parameters": parameter::all(self.ids_most),
            "headers": answer::headers(),
            "examples": problems::examples(),
        });
        let mut document = json!({
            "openapi": "3.1.0",
            "info": self.info(),
            "servers": [{"url": "/", "description": "Where this document was read."}],
            "tags": tags,
            "paths": paths,
        });
        if self.keyed {
            let about = "A key of the file that the operator keeps (`ingest api-key`).";
            components["securitySchemes"] = json!({"key": {"type": "http", "scheme": "bearer", "description": about}});
            document["security"] = json!([{"key": []}]);
        }
        document["components"] = components;
        document
    }

    fn info(&self) -> Json {
        let Self { body_bytes_most, event_bytes_most, wait_most_s, bulk_bytes_most, .. } = self;
        let description = format!(
            "A write-behind cache that can be trusted with the only copy of a write. A write is answered as soon as the cache and \
             the log have it; `state` says what the answer rests on: `cached`, `logged`, or `persisted` once the database has it.\n\n\
             A body, and a line of a bulk, has at most {body_bytes_most} bytes, a bulk {bulk_bytes_most}, a record in the topic \
             {event_bytes_most}; bodies may be packed with gzip or zstd. `Prefer: wait` is granted {wait_most_s} seconds at most. What is not done is answered as `application/problem+json`, with a `type` that does not \
             change."
        );
        json!({
            "title": "write-behind",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Records over HTTP, into a cache, a log and a table.",
            "description": description,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        })
    }
}

/// What the API says of itself.
fn own() -> [Operation; 3] {
    let text = |of: &str, about: &str| json!({"description": about, "content": {of: {}}});
    let document = |method| Operation {
        method,
        path: "/openapi.json".to_owned(),
        name: format!("{method}_openapi"),
        summary: "This document".to_owned(),
        description: "With keys on, it shows what the key opens.",
        tag: "about".to_owned(),
        right: None,
        parameters: vec!["IfNoneMatchTag"],
        body: None,
        answers: vec![
            (
                StatusCode::OK,
                json!({
                    "description": "The document.",
                    "headers": {"ETag": {"schema": {"type": "string"}}},
                    "content": if method == "get" { json!({"application/json": {"schema": {"type": "object"}}}) } else { json!({}) },
                }),
            ),
            (
                StatusCode::NOT_MODIFIED,
                json!({"description": "It is as it was.", "headers": {"ETag": {"schema": {"type": "string"}}}}),
            ),
        ],
        problems: vec![Kind::InvalidCondition],
        open: false,
    };
    let docs = Operation {
        method: "get",
        path: "/docs".to_owned(),
        name: "get_docs".to_owned(),
        summary: "A page that shows this document".to_owned(),
        description: "It loads nothing from elsewhere, and needs no key.",
        tag: "about".to_owned(),
        right: None,
        parameters: Vec::new(),
        body: None,
        answers: vec![(StatusCode::OK, text("text/html", "The page."))],
        problems: Vec::new(),
        open: true,
    };
    [document("get"), document("head"), docs]
}

/// `GET /openapi.json`, and `HEAD`.
pub(super) async fn document(front: Data<Front>, request: HttpRequest) -> Answer {
    let document = front.described.shown_to(&*caller(&request)?);
    let same = Tags::of(request.headers())?.has(&document.tag);
    let mut answer = if same { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header((header::ETAG, format!("\"{}\"", document.tag)))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static("no-cache")))
        .insert_header((header::VARY, HeaderValue::from_static("authorization")));
    if same {
        return Ok(answer.finish());
    }
    Ok(answer.content_type("application/json").body(document.text))
}
