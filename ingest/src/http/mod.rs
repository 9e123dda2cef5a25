//! The front: routes, what a request must look like, and what a client is told.

mod authenticate;
mod body;
mod conditions;
mod farewell;
mod measure;
mod problem;
mod records;
mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::web::{self, ServiceConfig};
use cache::Cache;
use table::EntityTable;

pub(crate) use authenticate::authenticated;
pub(crate) use farewell::farewell;
pub(crate) use measure::{HttpMetrics, measured};
pub(crate) use problem::{BODIES_FULL, Problem};
pub(crate) use room::{Connections, Room};

use crate::settings::Alias;
use crate::write::WritePath;

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Front {
    pub(crate) entities: BTreeMap<String, EntityTable>,
    pub(crate) writes: WritePath,
    pub(crate) cache: Cache,
    pub(crate) body_bytes_most: usize,
    pub(crate) bodies: Room,
    pub(crate) body_deadline: Duration,
    pub(crate) wait_most: Duration,
    pub(crate) event_bytes_most: usize,
}

/// The routes. An alias takes POST alone and answers as the project did that it is named
/// after: 200 and a message.
pub(crate) fn routes(front: Arc<Front>, aliases: &[Alias]) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let aliases = aliases.to_vec();
    move |config| {
        config.app_data(web::Data::from(front));
        for Alias { route, entity } in aliases {
            let entity: Arc<str> = entity.into();
            let post = web::post().to(move |front, request, payload| {
                let entity = Arc::clone(&entity);
                async move { records::post_alias(&entity, front, request, payload).await }
            });
            config.service(only(web::resource(format!("/{route}")).name(&route).route(post), "POST"));
        }
        config.service(only(web::resource("/{entity}").route(web::post().to(records::post)), "POST"));
        let record = web::resource("/{entity}/{id}")
            .route(web::put().to(records::put))
            .route(web::get().to(records::get))
            .route(web::head().to(records::get))
            .route(web::delete().to(records::delete));
        config.service(only(record, "DELETE, GET, HEAD, PUT"));
    }
}

/// Every other method is 405 with the methods that there are.
fn only(resource: actix_web::Resource, allowed: &'static str) -> actix_web::Resource {
    resource.default_service(web::to(move |front: web::Data<Front>, request: HttpRequest| async move {
        records::known(&front, &request).err().unwrap_or_else(|| Problem::method(allowed))
    }))
}
