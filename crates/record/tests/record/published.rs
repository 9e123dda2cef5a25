//! The repository's own schemas: published files are intact, and no entry of `ids.json` ever changed or vanished.
//!
//! Reads git's history; where git is missing or the history is cut off, the test fails and says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use record::Catalog;
use serde_json::Value as Json;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(repository())
        .args(arguments)
        .output()
        .expect("git is needed: only its history shows that published schemas never changed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Every schema file below `schemas/`.
fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for entity in std::fs::read_dir(repository().join("schemas")).unwrap() {
        let entity = entity.unwrap().path();
        if !entity.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&entity).unwrap() {
            let file = file.unwrap().path();
            let path = format!("{}/{}", entity.file_name().unwrap().display(), file.file_name().unwrap().display());
            files.push((path, std::fs::read_to_string(file).unwrap()));
        }
    }
    files
}

fn ids() -> String {
    std::fs::read_to_string(repository().join("schemas/ids.json")).unwrap()
}

#[test]
fn every_schema_of_the_repository_compiles_as_published() {
    let catalog = Catalog::compile(files(), &ids()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(catalog.get("users").is_some());
}

#[test]
fn no_entry_of_the_list_of_ids_ever_changed() {
    assert_eq!(
        git(&["rev-parse", "--is-shallow-repository"]).trim(),
        "false",
        "the whole history is needed: git fetch --unshallow"
    );
    let now: BTreeMap<String, Json> = serde_json::from_str(&ids()).unwrap();
    let revisions = git(&["log", "--format=%H", "--", "schemas/ids.json"]);
    assert!(!revisions.trim().is_empty(), "schemas/ids.json has no history; is this a clone of the repository?");
    for revision in revisions.lines() {
        let then: BTreeMap<String, Json> =
            serde_json::from_str(&git(&["show", &format!("{revision}:schemas/ids.json")])).unwrap();
        for (file, pin) in then {
            assert_eq!(now.get(&file), Some(&pin), "{file} was published in {revision} and must stay as it was");
        }
    }
}
