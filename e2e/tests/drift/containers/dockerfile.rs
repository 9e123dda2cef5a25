//! The Dockerfile: its stages against compose, its context against the workspace, the libraries that it takes along.

use std::collections::BTreeSet;
use std::process::Command;

use e2e::system::binary;
use stack::{shared, workspace};

use super::{OURS, file, known, services};

/// The instructions of the Dockerfile, a line each, without comments.
fn instructions() -> Vec<String> {
    let text = file("deploy/Dockerfile").replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The instructions of one stage.
pub(super) fn stage(name: &str) -> Vec<String> {
    let end = format!(" AS {name}");
    let all = instructions().into_iter().skip_while(|line| !line.ends_with(&end)).skip(1);
    all.take_while(|line| !line.starts_with("FROM ")).collect()
}

/// What a stage sets.
pub(super) fn environment(name: &str) -> Vec<(String, String)> {
    let lines = stage(name);
    let set = lines.iter().filter_map(|line| line.strip_prefix("ENV "));
    let pairs = set.flat_map(str::split_whitespace).filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[test]
fn its_targets_are_those_that_compose_builds() {
    let from: Vec<Vec<String>> = instructions()
        .iter()
        .filter_map(|line| Some(line.strip_prefix("FROM ")?.split(' ').map(str::to_owned).collect()))
        .collect();
    let bases: BTreeSet<_> = from.iter().filter_map(|words| words.first()).cloned().collect();
    let copied: BTreeSet<_> = instructions()
        .iter()
        .filter_map(|line| line.split_once("--from=")?.1.split(' ').next().map(str::to_owned))
        .collect();
    let stages: BTreeSet<_> = from.iter().filter_map(|words| words.get(2)).cloned().collect();
    let last: BTreeSet<_> = stages.iter().filter(|it| !bases.contains(*it) && !copied.contains(*it)).cloned().collect();
    let built = services().values().filter_map(|service| service["build"]["target"].as_str());
    assert_eq!(last, built.map(str::to_owned).collect());
    for outside in bases.difference(&stages) {
        assert!(outside.contains(':') && !outside.ends_with(":latest"), "{outside} is not pinned");
    }
}

#[test]
fn images_run_their_program_as_nobody_and_stop_it_in_order() {
    for needed in ["USER 65532:65532", "STOPSIGNAL SIGTERM"] {
        assert!(stage("runtime").iter().any(|line| line == needed), "{needed}");
    }
    for (_, program, args) in OURS.into_iter().filter(|(service, ..)| *service != "migrate") {
        let lines = stage(program);
        let entry = format!("ENTRYPOINT [\"/usr/local/bin/{program}\"]");
        assert!(lines.contains(&entry), "{program}: {entry}");
        let command = lines.iter().any(|line| *line == format!("CMD [\"{}\"]", args.join("\", \"")));
        assert_eq!(command, !args.is_empty(), "{program} is started with {args:?}");
        // Before the image is whole: a library that is missing shows while it is built.
        assert!(lines.contains(&format!("RUN [\"/usr/local/bin/{program}\", \"--version\"]")), "{program}");
        let known = known(program, args);
        for (name, _) in environment("runtime").into_iter().chain(environment(program)) {
            assert!(known.iter().any(|(it, _)| *it == name), "the image sets {name}, which {program} does not know");
        }
    }
}

#[test]
fn health_checks_call_a_command_that_the_program_has() {
    for program in ["ingest", "persister"] {
        let check = stage(program).into_iter().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
        let wanted = format!("CMD [\"/usr/local/bin/{program}\", \"healthcheck\"]");
        assert!(check.ends_with(&wanted), "{check}");
        let mut asked = Command::new(binary(program));
        let done = asked.arg("healthcheck").env("ADMIN_LISTEN", "0.0.0.0:9").output().expect("a built program");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.code() == Some(1) && said.contains("/readyz does not answer"), "nobody is there: {said}");
    }
}

#[test]
fn the_context_holds_the_workspace_and_little_else() {
    let ignore = file(".dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "everything that is not named stays outside");
    let taken: Vec<_> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let manifest = file("Cargo.toml");
    let members = manifest.split("members = [").nth(1).and_then(|rest| rest.split(']').next()).expect("members");
    let members = members.split(", ").map(|member| member.trim_matches('"').trim_end_matches("/*"));
    for needed in members.chain(["Cargo.toml", "Cargo.lock", "deploy/libraries.sh"]) {
        assert!(taken.contains(&needed), "{needed} is not in the context of the build");
    }
    assert!(taken.iter().all(|path| workspace().join(path).exists()), "{taken:?}");
}

/// What `deploy/libraries.sh` leaves to the image must be the C library's: the image has that, and no other for sure.
#[test]
fn every_library_of_our_programs_is_copied_or_belongs_to_the_c_library() {
    let folder = shared::scratch("libraries");
    let programs = ["ingest", "persister", "publisher"].map(binary);
    let copy = Command::new(workspace().join("deploy/libraries.sh")).arg(&folder).args(&programs).status();
    assert!(copy.expect("the script runs").success());
    let listed = Command::new("ldd").args(&programs).output().expect("ldd");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let paths: BTreeSet<_> = listed
        .lines()
        .filter_map(|line| line.split_once("=> ")?.1.split(' ').next())
        .filter(|it| !it.is_empty())
        .collect();
    assert!(paths.iter().any(|path| path.contains("libssl")), "{listed}");
    for path in paths {
        let name = path.rsplit('/').next().unwrap_or_default();
        if !folder.join(name).exists() {
            let owner = Command::new("dpkg").args(["-S", path]).output().expect("dpkg");
            let owner = String::from_utf8_lossy(&owner.stdout).into_owned();
            assert!(owner.starts_with("libc6:"), "{path} is neither copied nor the C library's: {owner}");
        }
    }
}
