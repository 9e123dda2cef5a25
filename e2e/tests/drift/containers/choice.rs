//! What `make up`, `make down` and `make clean` choose and call, with a stand-in for docker and one for cargo: which command
//! goes to whom, and no more than that. Nothing here shows that containers work.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stack::{folder, shared, workspace};

/// A copy of what the commands read, with stand-ins on the PATH that note how they are called.
struct Here(PathBuf);

impl Here {
    fn new(engine: bool) -> Self {
        let root: PathBuf = shared::scratch("choice");
        for name in ["deploy", "schemas"] {
            folder::copy(&workspace().join(name), &root.join(name)).expect("a copy");
        }
        for name in ["Makefile", "docker-compose.yml", ".env.example"] {
            std::fs::copy(workspace().join(name), root.join(name)).expect("a copy");
        }
        let here = Self(root);
        // An engine that has what an earlier `up` started, once there was one.
        let ps = "if [ -e started ]; then echo 0123456789ab; fi";
        let answers = if engine { "exit 0" } else { "exit 1" };
        here.program(
            "programs/docker",
            &format!(
                "case $1$2 in info*) {answers};; ps*|volume*|composeps) {ps};; esac\nif [ \"$3\" = --detach ]; then touch started; fi"
            ),
        );
        here.program("programs/cargo", "");
        here.program("built/ci/stack", "");
        here.program("crates/stack/packages.sh", "");
        here
    }

    fn program(&self, path: &str, then: &str) {
        let path = self.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = format!("#!/bin/sh\ncd '{}' && echo {name} \"$@\" >>calls\n{then}\n", self.0.display());
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn run(&self, command: &str, args: &[&str], settings: &[(&str, &str)]) -> Output {
        let mut path = self.0.join("programs").into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut it = Command::new(command);
        it.args(args).current_dir(&self.0).env("PATH", path).env("CARGO_TARGET_DIR", self.0.join("built"));
        for outer in
            ["STACK", "STACK_DB", "STACK_DIR", "SCHEMAS_DIR", "SCHEMAS_OWNER", "MAKEFLAGS", "MAKELEVEL", "CARGO"]
        {
            it.env_remove(outer);
        }
        it.envs(settings.iter().copied()).output().expect("it runs")
    }

    /// What was called since the last time, without the looking.
    fn make(&self, target: &str, settings: &[(&str, &str)]) -> Vec<String> {
        drop(std::fs::remove_file(self.0.join("calls")));
        let done = self.run("make", &[target], settings);
        assert!(done.status.success(), "make {target}: {}", said(&done));
        let calls = std::fs::read_to_string(self.0.join("calls")).unwrap_or_default();
        let looking = ["docker info", "docker compose version", "docker ps", "docker volume", "docker compose ps"];
        let told = calls.lines().filter(|call| !looking.iter().any(|look| call.starts_with(look)));
        told.map(str::to_owned).collect()
    }

    fn chosen(&self, settings: &[(&str, &str)]) -> String {
        said(&self.run("deploy/containers.sh", &["chosen"], settings))
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

const UP: &str = "docker compose up --detach --wait --build";

#[test]
fn processes_are_the_choice_where_no_engine_answers() {
    let here = Here::new(false);
    let calls = here.make("up", &[]);
    assert_eq!(calls, ["packages.sh", "cargo build --workspace --bins --profile ci", "stack up"]);
    assert_eq!(here.make("down", &[]), ["stack down"]);
    assert_eq!(here.make("clean", &[]), ["stack clean"]);
    assert!(!here.0.join(".env").exists(), "nobody needs it");
    let refused = here.run("make", &["up"], &[("STACK", "containers")]);
    assert!(!refused.status.success() && said(&refused).contains("no container engine"), "{}", said(&refused));
}

#[test]
fn containers_are_the_choice_where_an_engine_answers() {
    let here = Here::new(true);
    assert_eq!(here.make("up", &[]), [UP]);
    assert_eq!((mode(&here.0.join(".env")), mode(&here.0.join(".stack/env"))), (0o600, 0o600));
    let written = std::fs::read_to_string(here.0.join(".env")).expect("the settings");
    let passwords: Vec<_> = written.lines().filter_map(|line| line.split_once("PASSWORD=")).collect();
    assert!(passwords.len() == 7 && passwords.iter().all(|(_, password)| password.len() == 32), "{written}");
    let env = std::fs::read_to_string(here.0.join(".stack/env")).expect("the addresses");
    for line in ["INGEST_URL=http://127.0.0.1:8080", "PROMETHEUS_URL=http://127.0.0.1:9090"] {
        assert!(env.lines().any(|it| it == line), "{env}");
    }

    assert_eq!(here.make("up", &[]), [UP], "what runs stays, its passwords too");
    assert_eq!(std::fs::read_to_string(here.0.join(".env")).expect("the settings"), written);
    std::fs::write(here.0.join("schemas/users/v9.avsc"), "{}").expect("a schema");
    let anew = |service| format!("docker compose up --detach --wait --no-deps --force-recreate {service}");
    assert_eq!(here.make("up", &[]), [UP.to_owned(), anew("persister"), anew("ingest")], "who reads it goes first");

    assert_eq!(here.make("down", &[]), ["docker compose --profile * down"]);
    assert_eq!(here.make("clean", &[]), ["docker compose --profile * down --volumes"]);
    assert!(!here.0.join(".stack/env").exists());
}

#[test]
fn a_setting_and_what_runs_already_come_before_the_engine() {
    let here = Here::new(true);
    assert_eq!(here.chosen(&[]), "containers\n");
    assert_eq!(here.chosen(&[("STACK", "processes")]), "processes\n");
    assert_eq!(here.chosen(&[("STACK_DB", "mariadb")]), "processes\n");
    assert!(here.chosen(&[("STACK", "both")]).contains("STACK is containers or processes, not both"));
    std::fs::create_dir_all(here.0.join(".stack/run")).expect("a folder");
    std::fs::write(here.0.join(".stack/run/redis"), "1").expect("a note");
    assert_eq!(here.chosen(&[]), "processes\n");
    let refused = here.run("make", &["up"], &[("STACK", "containers")]);
    assert!(!refused.status.success() && said(&refused).contains("make down first"), "{}", said(&refused));
    assert_eq!(here.make("down", &[]), ["stack down"]);
}
