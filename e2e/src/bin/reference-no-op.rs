//! The limit of ingest: a handler that reads the body and answers 202. Nothing is checked, nothing is kept.
//!
//! `reference-no-op ADDRESS WORKERS`

use actix_web::web::Bytes;
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;

async fn accept(body: Bytes) -> HttpResponse {
    if body.is_empty() { HttpResponse::BadRequest().finish() } else { HttpResponse::Accepted().finish() }
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("reference-no-op ADDRESS WORKERS");
    let (address, workers) = (next()?, next()?.parse()?);
    let app = || App::new().route("/{entity}/{id}", web::put().to(accept));
    Ok(HttpServer::new(app).workers(workers).bind(address)?.run().await?)
}
