//! The front: routes, what a request must look like, and what a client is told.

mod asked;
mod authenticate;
mod body;
mod bulk;
mod conditions;
mod cors;
mod done;
mod edge;
mod farewell;
mod fate;
mod front;
#[cfg(fuzzing)]
pub mod fuzzing;
mod inflate;
mod limits;
mod measure;
mod openapi;
mod patch;
mod problem;
mod reads;
mod reads_many;
mod request_id;
mod room;
mod tags;
mod unread;
mod writes;

use std::sync::Arc;

use actix_web::dev::HttpServiceFactory;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

pub(crate) use authenticate::authenticated;
pub use bulk::BulkSettings;
pub(crate) use bulk::Bulks;
pub use cors::Origin;
pub(crate) use cors::{cors, origin, told};
pub(crate) use edge::edge;
pub(crate) use farewell::farewell;
pub(crate) use front::Front;
pub(crate) use limits::{InProgress, admitted, limited};
pub(crate) use measure::HttpMetrics;
pub(crate) use openapi::Described;
pub(crate) use problem::{Kind as ProblemKind, Problem};
pub(crate) use room::{Connections, Room};
pub(crate) use unread::unread;

use crate::aliases::Alias;

/// What a handler says.
type Answer = Result<HttpResponse, Problem>;

/// The routes. An alias takes POST alone and answers as the project did that it is named
/// after: 200 and a message.
pub(crate) fn routes(front: Arc<Front>, aliases: &[Alias]) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let aliases = aliases.to_vec();
    move |config| {
        config.app_data(web::Data::from(front));
        let document = web::resource("/openapi.json").route(web::get().to(openapi::document));
        config.service(only(document.route(web::head().to(openapi::document)), "GET, HEAD"));
        config.service(only(web::resource("/docs").route(web::get().to(openapi::page)), "GET"));
        config.service(only(web::resource("/docs/").route(web::get().to(openapi::slash)), "GET"));
        config.service(only(web::resource("/docs/{file}").route(web::get().to(openapi::file)), "GET"));
        for Alias { route, entity } in aliases {
            let entity: Arc<str> = entity.into();
            let post = web::post().to(move |front, request, payload| {
                let entity = Arc::clone(&entity);
                async move { writes::post_alias(&entity, front, request, payload).await }
            });
            config.service(only(web::resource(format!("/{route}")).name(&route).route(post), "POST"));
        }
        config.service(only(web::resource("/{entity}:bulk").route(web::post().to(bulk::post)), "POST"));
        let entity = web::resource("/{entity}")
            .route(web::post().to(writes::post))
            .route(web::get().to(reads_many::get))
            .route(web::head().to(reads_many::get));
        config.service(only(entity, "GET, HEAD, POST"));
        let record = web::resource("/{entity}/{id}")
            .route(web::put().to(writes::put))
            .route(web::patch().to(patch::patch))
            .route(web::get().to(reads::get))
            .route(web::head().to(reads::get))
            .route(web::delete().to(writes::delete));
        config.service(only(record, "DELETE, GET, HEAD, PATCH, PUT"));
        let fate = web::resource("/{entity}/{id}/writes/{version}")
            .route(web::get().to(fate::get))
            .route(web::head().to(fate::get));
        config.service(only(fate, "GET, HEAD"));
    }
}

/// Every other method is 405 with the methods that there are.
fn only(resource: actix_web::Resource, allowed: &'static str) -> impl HttpServiceFactory + use<> {
    resource.default_service(web::to(move |front: web::Data<Front>, request: HttpRequest| async move {
        front::known(&front, &request).err().unwrap_or_else(|| Problem::method(allowed))
    }))
}
