//! `POST /{entity}:bulk`: many records in one request, a line each, and a line each of results, while the request still comes.
//!
//! The connection's side is in `exchange`, the writes' side in `run`; `lines`, `window` and `wanted` decide and do no I/O.

mod bulks;
mod exchange;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod lines;
mod results;
mod run;
mod settings;
mod wanted;
mod window;

use std::sync::Arc;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use tokio::sync::mpsc;
use tokio_util::codec::FramedRead;
use tokio_util::io::StreamReader;

use super::authenticate::caller;
use super::conditions::{Conditions, trace};
use super::front::segment;
use super::inflate::{Coding, media};
use super::{Answer, Front, Problem};
use crate::callers::Right;
use crate::intent::Refusal;
use exchange::{Exchange, PARTS_MOST};
use lines::Lines;
use run::{Bulk, READ_AT_ONCE};

pub(crate) use bulks::Bulks;
pub use settings::BulkSettings;

/// What a bulk is sent as, and what it is answered as. The others are names that are in use for the same.
const NDJSON: [&str; 4] =
    ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];

/// Parts of the answer that are on their way at one time.
const ANSWERS_MOST: usize = 2;

/// `POST /{entity}:bulk`. Its status says nothing about any line: it goes out before the first one is written.
pub(super) async fn post(front: Data<Front>, request: HttpRequest, payload: Payload) -> Answer {
    let name = segment(&request, "entity");
    front.counted(name, begin(&front, name, &request, payload))
}

fn begin(front: &Data<Front>, name: &str, request: &HttpRequest, payload: Payload) -> Answer {
    let table = front.opened(request, name, Right::Write)?.clone();
    let conditions = Conditions::of(request)?;
    if conditions.precondition.is_some() {
        return Err(Problem::condition("a bulk takes no If-Match and no If-None-Match: send such a write by itself"));
    }
    media(request.headers(), &NDJSON)?;
    let coding = Coding::of(request.headers())?;
    let place = front.bulks.enter().ok_or(Refusal::Busy)?;
    let (sender, parts) = mpsc::channel(PARTS_MOST);
    let (answer, results) = mpsc::channel(ANSWERS_MOST);
    let idle = Arc::default();
    let exchange = Exchange::new(payload, sender, results, front.body_deadline, Arc::clone(&idle));
    let lines = Lines::new(front.body_bytes_most, front.bulks.settings.bulk_bytes_most);
    let inflated = coding.inflate(StreamReader::new(exchange::bytes(parts)));
    let lines = FramedRead::with_capacity(inflated, lines, READ_AT_ONCE);
    let trace = trace(request).map(str::to_owned);
    let caller = caller(request)?;
    let bulk = Bulk { front: Arc::clone(front), table, caller, conditions, trace, idle };
    front.bulks.spawn(async move {
        bulk.run(lines, answer).await;
        drop(place);
    });
    Ok(HttpResponse::MultiStatus().content_type("application/x-ndjson").streaming(exchange))
}
