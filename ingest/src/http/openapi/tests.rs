//! The document against the code that it describes.

use std::collections::BTreeSet;
use std::path::Path;

use clap::Parser as _;
use strum::IntoEnumIterator as _;

use super::*;
use crate::http::ProblemKind as Kind;
use crate::settings::Arguments;

const ROUTES: &str = include_str!("../mod.rs");

fn described(flags: &[&str]) -> Described {
    let schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas");
    let catalog = service::schemas::load(Path::new(schemas)).unwrap();
    let arguments = ["ingest", "--route-alias=write-behind:users"].iter().chain(flags);
    Described::new(&catalog, &Arguments::parse_from(arguments).settings)
}

fn whole(flags: &[&str]) -> Json {
    serde_json::from_slice(&described(flags).whole.text).unwrap()
}

#[test]
fn every_route_of_the_code_is_in_the_document() {
    let document = whole(&[]);
    let paths = document["paths"].as_object().unwrap();
    // What the page is made of is no part of the API.
    let page = ["/docs/", "/docs/{file}"];
    let routes = ROUTES.split("web::resource(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    for route in routes.filter(|route| !page.contains(route)) {
        let path = route.replace("{entity}", "users");
        assert!(paths.contains_key(&path), "{route} is not in the document: add it in http/openapi/entity.rs");
    }
    assert!(paths.contains_key("/write-behind"), "the alias");
}

#[test]
fn every_problem_is_in_the_document_and_may_come_of_something() {
    let document = whole(&["--api-keys=keys.toml"]);
    let text = document["paths"].to_string();
    // Of paths and methods that are not in the document, of preflights, and of lines of a bulk.
    let of_others = [
        Kind::UnknownEntity,
        Kind::NoRoute,
        Kind::MethodNotAllowed,
        Kind::CrossOriginRefused,
        Kind::BulkTooLarge,
        Kind::Stopping,
    ];
    for kind in Kind::iter() {
        let example = format!("\"#/components/examples/{}\"", kind.as_str());
        assert_eq!(text.contains(&example), !of_others.contains(&kind), "{}", kind.as_str());
        assert_eq!(document["components"]["examples"][kind.as_str()]["value"]["type"], kind.uri());
    }
}

fn references<'j>(json: &'j Json, found: &mut BTreeSet<&'j str>) {
    match json {
        Json::Object(members) => {
            found.extend(members.get("$ref").and_then(Json::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Json::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_name_is_one_operations() {
    let document = whole(&["--api-keys=keys.toml"]);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let names: Vec<_> = operations.map(|operation| operation["operationId"].as_str().unwrap()).collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
}

#[test]
fn a_reader_sees_what_its_key_opens_and_no_more() {
    let described = described(&["--api-keys=keys.toml"]);
    let shown = |rights: &[Right], entities: &[&str]| -> Json {
        serde_json::from_slice(&described.shown_to(&Caller::with(rights, entities)).text).unwrap()
    };
    let methods = |document: &Json, path: &str| -> Vec<String> {
        document["paths"][path].as_object().into_iter().flat_map(|path| path.keys().cloned()).collect()
    };
    let reader = shown(&[Right::Read], &["users"]);
    assert_eq!(methods(&reader, "/users/{id}"), ["get", "head"]);
    assert_eq!(methods(&reader, "/write-behind"), Vec::<String>::new());
    let stranger = shown(&[Right::Read, Right::Write], &["orders"]);
    assert!(!stranger.to_string().contains("users"), "that there are users is told to nobody else");
    assert_eq!(methods(&stranger, "/openapi.json"), ["get", "head"]);
    assert_eq!(shown(&[Right::Read, Right::Write], &["users"]), whole(&["--api-keys=keys.toml"]));
}

#[test]
fn keys_are_asked_for_where_keys_are() {
    assert_eq!(whole(&[])["security"], Json::Null);
    let keyed = whole(&["--api-keys=keys.toml"]);
    assert_eq!(keyed["security"], json!([{"key": []}]));
    assert_eq!(keyed["paths"]["/docs"]["get"]["security"], json!([]), "the page needs none");
    assert!(keyed["paths"]["/users"]["post"]["responses"]["401"].is_object());
    assert!(whole(&[])["paths"]["/users"]["post"]["responses"]["401"].is_null());
}
