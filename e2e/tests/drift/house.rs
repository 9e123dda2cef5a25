//! The house: who may import whom, who speaks to which store.

use std::path::{Path, PathBuf};

use stack::workspace;

fn manifest(member: &str) -> String {
    std::fs::read_to_string(workspace().join(member).join("Cargo.toml")).expect("a manifest")
}

/// Names under `[dependencies]`, or under `[dev-dependencies]`.
fn dependencies(member: &str, section: &str) -> Vec<String> {
    let text = manifest(member);
    let body = text.split(&format!("[{section}]")).nth(1).unwrap_or_default();
    let body = body.split("\n[").next().unwrap_or_default();
    let names = body.lines().filter_map(|line| line.split(['.', ' ', '=']).next());
    names.filter(|name| !name.is_empty() && !name.starts_with('#')).map(str::to_owned).collect()
}

/// What each member may use of the others, outside of its tests.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("crates/record", &[]),
    ("crates/stack", &[]),
    ("crates/service", &["record"]),
    ("crates/cache", &["record", "service"]),
    ("crates/topic", &["record", "service"]),
    ("crates/table", &["record", "service"]),
    ("ingest", &["cache", "topic", "table", "record", "service"]),
    ("persister", &["cache", "topic", "table", "record", "service"]),
    ("e2e", &["cache", "topic", "table", "record", "service", "stack"]),
];

#[test]
fn dependencies_go_one_way() {
    let ours = ["record", "stack", "service", "cache", "topic", "table", "ingest", "persister", "e2e"];
    for (member, allowed) in ALLOWED {
        for used in dependencies(member, "dependencies") {
            let wrong = ours.contains(&used.as_str()) && !allowed.contains(&used.as_str());
            assert!(!wrong, "{member} must not depend on {used}");
        }
    }
}

#[test]
fn each_store_is_spoken_to_by_one_crate() {
    for (driver, owner) in [("redis", "crates/cache"), ("sqlx", "crates/table"), ("rdkafka", "crates/topic")] {
        for (member, _) in ALLOWED {
            let uses = dependencies(member, "dependencies").iter().any(|used| used == driver);
            assert!(!uses || member == owner || member == "e2e", "{member} uses {driver}, which is {owner}'s");
        }
    }
}

#[test]
fn records_do_no_io() {
    let used = dependencies("crates/record", "dependencies");
    for driver in ["tokio", "redis", "sqlx", "rdkafka", "actix-web", "reqwest", "rand"] {
        assert!(!used.iter().any(|name| name == driver), "crates/record uses {driver}");
    }
    for file in sources(&workspace().join("crates/record/src")) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        for io in ["std::fs", "std::net", "std::env", "SystemTime", "Instant::now"] {
            assert!(!text.contains(io), "{} uses {io}", file.display());
        }
    }
}

#[test]
fn no_code_knows_an_entity() {
    for member in [
        "ingest/src",
        "persister/src",
        "crates/cache/src",
        "crates/topic/src",
        "crates/table/src",
        "crates/service/src",
    ] {
        for file in sources(&workspace().join(member)) {
            let text = std::fs::read_to_string(&file).expect("a source file");
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            for known in ["occupation", "first_name", "John"] {
                let line = code.lines().find(|line| line.contains(known) && !line.trim_start().starts_with("//"));
                assert!(line.is_none(), "{} knows what a user is: {line:?}", file.display());
            }
        }
    }
}

#[test]
fn every_source_file_opens_with_what_it_is_for() {
    let members =
        ALLOWED.iter().flat_map(|(member, _)| ["src", "tests"].map(|part| workspace().join(member).join(part)));
    for file in members.filter(|folder| folder.exists()).flat_map(|folder| sources(&folder)) {
        let text = std::fs::read_to_string(&file).expect("a source file");
        assert!(text.starts_with("//!"), "{} does not say what it is for", file.display());
    }
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
