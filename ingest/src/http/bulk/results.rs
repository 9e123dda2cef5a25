//! What a client is told of each line.

use actix_web::http::StatusCode;
use serde_json::Value;

use super::super::Problem;
use super::super::done::Done;
use crate::intent::How;

/// The result of a line, with the end of its own line. `done` is what a request of its own would have been answered.
pub(super) fn line(number: u64, op: &str, done: &Result<Done, Problem>) -> String {
    match done {
        Ok(done) => accepted(number, op, done),
        Err(problem) => refused(number, problem),
    }
}

fn accepted(number: u64, op: &str, done: &Done) -> String {
    let persisted = if op == "upsert" { StatusCode::CREATED } else { StatusCode::OK };
    let status = done.status(persisted).as_u16();
    let (id, version, state) = (&done.id, done.accepted.version, done.accepted.state.as_str());
    let told = match done.accepted.how {
        How::Replayed => r#","replayed":true"#,
        How::Found => r#","replayed":true,"key_checked":false"#,
        How::Past if done.conditions.key.is_some() => r#","key_checked":false"#,
        How::New | How::Past => "",
    };
    // An id needs no escaping.
    format!(
        "{{\"line\":{number},\"status\":{status},\"id\":\"{id}\",\"version\":{version},\"state\":\"{state}\"{told}}}\n"
    )
}

/// The members of the problem, behind the number of the line.
pub(super) fn refused(number: u64, problem: &Problem) -> String {
    let members = Value::Object(problem.members()).to_string();
    let members = members.strip_prefix('{').unwrap_or("}");
    format!("{{\"line\":{number},{members}\n")
}
