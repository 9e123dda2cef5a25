//! What can be done with an entity's records. A route that is added to the code is added here, and a test sees to it.

use actix_web::http::StatusCode;
use record::{Entity, Form};
use serde_json::{Map, Value as Json, json};

use super::Described;
use super::answer::{state, unchanged, version, with, written};
use super::operation::Operation;
use crate::callers::Right;
use crate::http::ProblemKind as Kind;

/// Names among `components/schemas`; an entity's name has no point in it.
fn names(entity: &str) -> [(Form, String); 4] {
    [
        (Form::Shown, entity.to_owned()),
        (Form::New, format!("{entity}.new")),
        (Form::Replacement, format!("{entity}.replacement")),
        (Form::Patch, format!("{entity}.patch")),
    ]
}

fn reference(name: &str) -> String {
    format!("#/components/schemas/{name}")
}

/// Its bodies.
pub(super) fn schemas(entity: &Entity) -> Map<String, Json> {
    names(entity.name())
        .into_iter()
        .map(|(form, name)| (name.clone(), entity.json_schema(form, &reference(&name))))
        .collect()
}

fn schema(entity: &str, wanted: Form) -> Json {
    let name = names(entity).into_iter().find(|(form, _)| *form == wanted).map(|(_, name)| name).unwrap_or_default();
    json!({"$ref": reference(&name)})
}

fn body(entity: &Entity, form: Form) -> Json {
    let content = json!({"schema": schema(entity.name(), form), "examples": {"record": {"value": entity.example()}}});
    json!({"required": true, "content": {"application/json": content}})
}

/// Every operation on its records, and its aliases.
pub(super) fn operations(described: &Described, entity: &Entity) -> Vec<Operation> {
    let mut operations = vec![post(entity), put(entity), patch(entity), delete(entity), bulk(entity)];
    operations
        .extend(["get", "head"].into_iter().flat_map(|method| [get, get_many, fate].map(|of| of(entity, method))));
    let aliases = described.aliases.iter().filter(|alias| alias.entity == entity.name());
    operations.extend(aliases.map(|alias| post_alias(entity, &alias.route)));
    operations
}

/// What any write may come to.
const WRITES: [Kind; 16] = [
    Kind::DeadLettered,
    Kind::InvalidCondition,
    Kind::PreconditionFailed,
    Kind::IdempotencyKeyReused,
    Kind::Full,
    Kind::ClocksDisagree,
    Kind::CacheChanged,
    Kind::CacheAway,
    Kind::CacheIncomplete,
    Kind::NoInstanceSlot,
    Kind::TopicAway,
    Kind::StoresAway,
    Kind::DatabaseAway,
    Kind::OutcomeUnknown,
    Kind::BrokenBody,
    Kind::BodiesFull,
];
/// What a body may come to.
const BODIES: [Kind; 7] = [
    Kind::MalformedJson,
    Kind::SlowBody,
    Kind::BodyTooLarge,
    Kind::EventTooLarge,
    Kind::UnsupportedMediaType,
    Kind::UnsupportedEncoding,
    Kind::InvalidRecord,
];

fn kinds(of: &[&[Kind]]) -> Vec<Kind> {
    of.concat()
}

fn post(entity: &Entity) -> Operation {
    let name = entity.name();
    Operation {
        method: "post",
        path: format!("/{name}"),
        name: format!("post_{name}"),
        summary: "Write a record".to_owned(),
        description: "The id is the body's, else a new one. With an `Idempotency-Key` a new id is made of the key, so that a request that is \
                      sent again meets its record.",
        tag: name.to_owned(),
        right: Some(Right::Write),
        parameters: vec!["IdempotencyKey", "IfNoneMatchAny", "Prefer", "traceparent"],
        body: Some(body(entity, Form::New)),
        answers: vec![
            (StatusCode::CREATED, written("The database has it.", true)),
            (StatusCode::ACCEPTED, written("It is taken, and on its way to the database.", true)),
        ],
        problems: kinds(&[&WRITES, &BODIES]),
        open: false,
    }
}

/// 200 and the message that the route's first owner answered.
fn post_alias(entity: &Entity, route: &str) -> Operation {
    let message = json!({
        "type": "object",
        "properties": {
            "message": {"type": "string"},
            "id": record::id_schema(),
            "version": super::answer::version(),
            "state": super::answer::state(),
        },
        "required": ["message", "id", "version", "state"],
    });
    let mut answer = written("It is taken.", false);
    answer["content"]["application/json"]["schema"] = message;
    Operation {
        path: format!("/{route}"),
        name: format!("post_{}", route.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_")),
        summary: "Write a record, under another name".to_owned(),
        description: "An alias of the entity's own route, which always answers 200 and a message.",
        answers: vec![(StatusCode::OK, answer)],
        ..post(entity)
    }
}

fn put(entity: &Entity) -> Operation {
    let name = entity.name();
    Operation {
        method: "put",
        path: format!("/{name}/{{id}}"),
        name: format!("put_{name}"),
        summary: "Write a record, or replace it".to_owned(),
        description: "What the body leaves out has its default afterwards, not what it was before. `If-Match` and `If-None-Match` exclude each \
                      other.",
        parameters: vec!["id", "IdempotencyKey", "IfMatch", "IfNoneMatchAny", "Prefer", "traceparent"],
        body: Some(body(entity, Form::Replacement)),
        answers: vec![
            (StatusCode::OK, written("The database has it.", false)),
            (StatusCode::CREATED, written("The database has it, and `If-None-Match: *` was asked for.", false)),
            (StatusCode::ACCEPTED, written("It is taken, and on its way to the database.", false)),
        ],
        problems: kinds(&[&WRITES, &BODIES, &[Kind::InvalidId, Kind::IdsDiffer]]),
        ..post(entity)
    }
}

fn delete(entity: &Entity) -> Operation {
    let name = entity.name();
    let bodiless = WRITES.into_iter().filter(|kind| ![Kind::BrokenBody, Kind::BodiesFull].contains(kind));
    Operation {
        method: "delete",
        path: format!("/{name}/{{id}}"),
        name: format!("delete_{name}"),
        summary: "Delete a record".to_owned(),
        description: "Also where none is: a delete is a write, and wins over older ones that are still on their way.",
        parameters: vec!["id", "IdempotencyKey", "IfMatch", "IfNoneMatchAny", "Prefer", "traceparent"],
        body: None,
        answers: vec![
            (StatusCode::OK, written("The database knows it.", false)),
            (StatusCode::ACCEPTED, written("It is taken, and on its way to the database.", false)),
        ],
        problems: bodiless.chain([Kind::InvalidId]).collect(),
        ..post(entity)
    }
}

fn get(entity: &Entity, method: &'static str) -> Operation {
    let name = entity.name();
    let mut found = json!({
        "description": "The record.",
        "headers": with(&["ETag", "Write-Behind-State", "Write-Behind-Source"]),
    });
    if method == "get" {
        let mut example = entity.example();
        example["id"] = "42".into();
        let content = json!({"schema": schema(name, Form::Shown), "examples": {"record": {"value": example}}});
        found["content"] = json!({"application/json": content});
    }
    Operation {
        method,
        path: format!("/{name}/{{id}}"),
        name: format!("{method}_{name}"),
        summary: if method == "get" { "Read a record" } else { "Read a record's version" }.to_owned(),
        description: "The newest version that was acknowledged, whatever of it the database has by now. With the cache away, \
                      `Write-Behind-Source: table-unchecked` says that a newer one may be on its way.",
        right: Some(Right::Read),
        parameters: vec!["id", "IfMatchRead", "IfNoneMatch", "MinVersion", "Prefer"],
        body: None,
        answers: vec![(StatusCode::OK, found), (StatusCode::NOT_MODIFIED, unchanged())],
        problems: vec![
            Kind::InvalidId,
            Kind::InvalidCondition,
            Kind::PreconditionFailed,
            Kind::NotFound,
            Kind::DeadLettered,
            Kind::NotThereYet,
            Kind::CacheAway,
            Kind::DatabaseAway,
            Kind::UnreadableRow,
            Kind::UnreadableRecord,
        ],
        ..post(entity)
    }
}

fn patch(entity: &Entity) -> Operation {
    let name = entity.name();
    let content = json!({"schema": schema(name, Form::Patch)});
    Operation {
        method: "patch",
        path: format!("/{name}/{{id}}"),
        name: format!("patch_{name}"),
        summary: "Change some fields of a record".to_owned(),
        description: "A merge patch (RFC 7396): a field that it has is replaced, one that is null gets its default, all others stay. \
                      Nobody's change in between is lost: the patch is merged anew then. Needs the right to read, too.",
        parameters: vec!["id", "IdempotencyKey", "IfMatch", "Prefer", "traceparent"],
        body: Some(json!({"required": true, "content": {"application/merge-patch+json": content}})),
        answers: vec![
            (StatusCode::OK, written("The database has it.", false)),
            (StatusCode::ACCEPTED, written("It is taken, and on its way to the database.", false)),
        ],
        problems: kinds(&[
            &WRITES,
            &BODIES,
            &[
                Kind::InvalidId,
                Kind::IdsDiffer,
                Kind::NotFound,
                Kind::Contended,
                Kind::NewerSchema,
                Kind::UnreadableRow,
                Kind::UnreadableRecord,
            ],
        ]),
        ..post(entity)
    }
}

fn bulk(entity: &Entity) -> Operation {
    let name = entity.name();
    let lines = |about: &str| json!({"application/x-ndjson": {"schema": {"type": "string", "description": about}}});
    let sent = lines("A record in each line, as POST takes it, or `{\"id\":\"…\",\"deleted\":true}`.");
    let answered = lines(
        "For each line, in its order: `{\"line\":1,\"status\":202,\"id\":\"…\",\"version\":…,\"state\":\"…\"}`, or the members of a problem \
         behind `line`. A last line of 400, 408 or 413 says from which line on nothing was read.",
    );
    Operation {
        path: format!("/{name}:bulk"),
        name: format!("bulk_{name}"),
        summary: "Write and delete many records".to_owned(),
        description: "Lines are written while they come and answered while more come: read the results as you send. No transaction: each line \
                      is a write of its own, and a line's fault stops no other. An `Idempotency-Key` K stands for line n as K/n.",
        parameters: vec!["IdempotencyKey", "Prefer", "traceparent"],
        body: Some(json!({"required": true, "content": sent})),
        answers: vec![(
            StatusCode::MULTI_STATUS,
            json!({"description": "What became of each line; the status says nothing about any.", "content": answered}),
        )],
        problems: vec![Kind::InvalidCondition, Kind::UnsupportedMediaType, Kind::UnsupportedEncoding],
        ..post(entity)
    }
}

fn get_many(entity: &Entity, method: &'static str) -> Operation {
    let name = entity.name();
    let mut found = json!({"description": "What is there, in the order asked for, and what is not."});
    if method == "get" {
        let record = json!({
            "type": "object",
            "properties": {
                "id": record::id_schema(),
                "version": version(),
                "state": state(),
                "source": {"type": "string"},
                "record": {"type": "object", "description": "Its fields, without the id."},
            },
            "required": ["id", "version", "state", "source", "record"],
        });
        let properties = json!({
            "records": {"type": "array", "items": record},
            "missing": {"type": "array", "items": record::id_schema()},
        });
        let all = json!({"type": "object", "properties": properties, "required": ["records", "missing"]});
        found["content"] = json!({"application/json": {"schema": all}});
    }
    Operation {
        method,
        path: format!("/{name}"),
        name: format!("{method}_many_{name}"),
        summary: "Read many records".to_owned(),
        description: "All of them, or one problem. There is no listing of all of an entity's records.",
        right: Some(Right::Read),
        parameters: vec!["ids"],
        body: None,
        answers: vec![(StatusCode::OK, found)],
        problems: vec![
            Kind::InvalidQuery,
            Kind::InvalidId,
            Kind::BodiesFull,
            Kind::CacheAway,
            Kind::DatabaseAway,
            Kind::UnreadableRow,
            Kind::UnreadableRecord,
        ],
        ..post(entity)
    }
}

fn fate(entity: &Entity, method: &'static str) -> Operation {
    let name = entity.name();
    let mut told = json!({"description": "What became of it."});
    if method == "get" {
        told["content"] = json!({"application/json": {"schema": {"$ref": reference("fate")}}});
    }
    Operation {
        method,
        path: format!("/{name}/{{id}}/writes/{{version}}"),
        name: format!("{method}_fate_{name}"),
        summary: "What became of a write".to_owned(),
        description: "Its version is in the answer to the write, whose `Link` leads here. Where somebody who could know is away, 503 and no \
                      guess.",
        right: Some(Right::Read),
        parameters: vec!["id", "version"],
        body: None,
        answers: vec![(StatusCode::OK, told)],
        problems: vec![
            Kind::InvalidId,
            Kind::UnknownWrite,
            Kind::NotThereYet,
            Kind::CacheAway,
            Kind::CacheIncomplete,
            Kind::DatabaseAway,
        ],
        ..post(entity)
    }
}
