//! Pages against the repository.

use std::path::Path;

use stack::workspace;

/// The pages that are checked.
const PAGES: [&str; 14] = [
    "README.md",
    "deploy/README.md",
    "docs/API.md",
    "docs/ARCHITECTURE.md",
    "docs/BENCHMARKS.md",
    "docs/BOUNDS.md",
    "docs/CONFIGURATION.md",
    "docs/FAULTS.md",
    "docs/GUARANTEES.md",
    "docs/OBSERVABILITY.md",
    "docs/PROBLEMS.md",
    "docs/PROTOCOL.md",
    "docs/TYPES.md",
    "docs/YOUR-OWN-ENTITY.md",
];

fn page(name: &str) -> String {
    std::fs::read_to_string(workspace().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn every_path_that_a_page_names_exists() {
    let roots = ["ingest/", "persister/", "crates/", "schemas/", "model/", "e2e/", "grafana/", "docs/", "deploy/"];
    let mut dead = Vec::new();
    for name in PAGES {
        let text = page(name);
        for path in quoted(&text).filter(|quoted| roots.iter().any(|root| quoted.starts_with(root))) {
            let plain = path.split([' ', '*', '<', ':']).next().unwrap_or(path);
            if !workspace().join(plain).exists() {
                dead.push(format!("{name} names {path}"));
            }
        }
    }
    assert!(dead.is_empty(), "no such path:\n{}", dead.join("\n"));
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut dead = Vec::new();
    for name in PAGES {
        let (text, file) = (page(name), workspace().join(name));
        let folder = file.parent().unwrap_or(Path::new("."));
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") && !folder.join(link).exists() {
                dead.push(format!("{name} links to {link}"));
            }
        }
    }
    assert!(dead.is_empty(), "no such page:\n{}", dead.join("\n"));
}

#[test]
fn every_make_target_that_a_page_names_exists() {
    let makefile = page("Makefile");
    for name in PAGES {
        let text = page(name);
        for command in quoted(&text).filter(|quoted| quoted.starts_with("make ")) {
            let target = command.split_whitespace().nth(1).unwrap_or_default();
            assert!(
                makefile.contains(&format!("\n{target}:")),
                "{name} names `{command}`, the Makefile has no {target}"
            );
        }
    }
}

#[test]
fn every_rule_of_the_protocol_has_its_place_in_the_architecture() {
    let text = page("docs/ARCHITECTURE.md");
    let table = text.split("## Which rules are built").nth(1).unwrap_or_default();
    for rule in 1..=19 {
        let named = table.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == format!("R{rule}"));
        assert!(named, "R{rule} is missing in the table of docs/ARCHITECTURE.md");
    }
}

#[test]
fn the_rust_of_the_api_page_is_the_example_that_a_test_runs() {
    let page = page("docs/API.md");
    let shown = page.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block of Rust");
    // What is said to the linter is nothing for a reader.
    let example: Vec<String> = self::page("e2e/examples/api.rs").lines().map(str::to_owned).collect();
    let told = example.iter().filter(|line| !line.starts_with("#![") && !line.starts_with("#[allow"));
    assert_eq!(shown.lines().collect::<Vec<_>>(), told.collect::<Vec<_>>(), "copy the example into the page");
}
