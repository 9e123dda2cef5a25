//! `stack up`, `down` and `clean` on real servers, private ports and a private folder, with stand-ins for our services.

use crate::lifetimes::{is_alive, soon};
use stack::port::{self, address};
use stack::shared;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Set for a process that plays one of our services: where it listens.
const STAND_IN: &str = "ADMIN_LISTEN";
const SETTINGS: [&str; 8] = [
    "INGEST_PORT",
    "INGEST_ADMIN_PORT",
    "PERSISTER_ADMIN_PORT",
    "PROMETHEUS_PORT",
    "KAFKA_PORT",
    "KAFKA_CONTROLLER_PORT",
    "REDIS_PORT",
    "DB_PORT",
];

/// Plays ingest or persister: answers every question with 200.
#[test]
fn stand_in() {
    let Ok(listen) = std::env::var(STAND_IN) else {
        return; // it has work only in the processes that `stack up` starts
    };
    for stream in TcpListener::bind(listen).unwrap().incoming() {
        let mut stream = stream.unwrap();
        drop(stream.read(&mut [0; 1024]));
        drop(stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nready"));
    }
}

/// The program `stack` with stand-ins beside it, and a folder and ports of its own.
struct Here {
    dir: PathBuf,
    ports: Vec<u16>,
}

impl Here {
    fn new(migrate: &str) -> Self {
        let dir = shared::scratch("up");
        std::fs::create_dir(dir.join("schemas")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_stack"), dir.join("stack")).unwrap();
        let me = std::env::current_exe().unwrap();
        let serve = format!("exec {} --exact up::stand_in", me.display());
        program(&dir.join("ingest"), &serve);
        program(&dir.join("persister"), &format!("if [ \"$1\" = migrate ]; then {migrate}; fi\n{serve}"));
        let mut ports = Vec::new();
        while ports.len() < SETTINGS.len() {
            let port = port::free().unwrap();
            if !ports.contains(&port) {
                ports.push(port);
            }
        }
        Self { dir, ports }
    }

    fn stack(&self, command: &str, settings: &[(&str, &str)]) -> Output {
        let mut it = Command::new(self.dir.join("stack"));
        it.arg(command).env("STACK_DIR", self.dir.join("state"));
        it.env("SCHEMAS_DIR", self.dir.join("schemas")); // somebody may be at work in the real one
        it.envs(SETTINGS.iter().zip(&self.ports).map(|(setting, port)| (setting, port.to_string())));
        it.envs(settings.iter().copied()).output().unwrap()
    }

    fn succeed(&self, command: &str) -> String {
        let done = self.stack(command, &[]);
        assert!(done.status.success(), "{command}: {}", both(&done));
        both(&done)
    }

    fn fail(&self, command: &str, settings: &[(&str, &str)]) -> String {
        let done = self.stack(command, settings);
        assert_eq!(done.status.code(), Some(1), "{command}: {}", both(&done));
        both(&done)
    }

    /// The pid that is noted for a process.
    fn pid(&self, name: &str) -> String {
        let note = std::fs::read_to_string(self.dir.join("state/run").join(name)).unwrap();
        note.lines().next().unwrap().to_owned()
    }

    fn pids(&self) -> Vec<String> {
        ["database", "redis", "kafka", "prometheus", "persister", "ingest"].map(|name| self.pid(name)).to_vec()
    }

    fn listening(&self) -> usize {
        self.ports.iter().filter(|port| port::is_taken(**port).unwrap()).count()
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        // Its servers are detached: a failed test must not leave them behind.
        drop(self.stack("down", &[]));
    }
}

fn program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn both(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn up_starts_all_and_a_second_one_only_what_is_new_or_dead() {
    let here = Here::new("exit 0");
    let said = here.succeed("up");
    for word in ["curl -s http://127.0.0.1:", "SELECT * FROM users", "make down"] {
        assert!(said.contains(word), "{said}");
    }
    let env = here.dir.join("state/env");
    assert_eq!(std::fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = ["INGEST_URL", "INGEST_ADMIN_URL", "PERSISTER_ADMIN_URL", "REDIS_URL"];
    let keys = keys.iter().chain(&["KAFKA_BROKERS", "DATABASE_URL", "PROMETHEUS_URL"]);
    let env = std::fs::read_to_string(env).unwrap();
    assert!(keys.clone().all(|key| env.lines().any(|line| line.starts_with(&format!("{key}=")))), "{env}");

    let (_, rules) = stack::http::get(here.ports[3], "/api/v1/rules").unwrap();
    assert!(rules.contains("WriteBehindPersisterDead"), "the alerts are loaded: {rules}");

    let before = here.pids();
    here.succeed("up");
    assert_eq!(here.pids(), before, "what runs stays");

    program(&here.dir.join("ingest"), &std::fs::read_to_string(here.dir.join("ingest")).unwrap());
    let redis = here.pid("redis");
    assert!(Command::new("kill").args(["-9", &redis]).status().unwrap().success());
    // The signal is sent, not yet obeyed; `up` would find a running Redis.
    soon("redis is gone", || !is_alive(redis.parse().unwrap()));
    here.succeed("up");
    let changed: Vec<_> = here.pids().iter().zip(&before).map(|(now, then)| now != then).collect();
    assert_eq!(changed, [false, true, false, false, false, true], "the dead redis and the new ingest");

    let moved = here.fail("up", &[("KAFKA_PORT", "1")]);
    assert!(moved.contains("KAFKA_PORT=1") && moved.contains("make down"), "{moved}");
    let other = here.fail("up", &[("STACK_DB", other_kind())]);
    assert!(other.contains("make clean"), "{other}");

    here.succeed("doctor");
    here.succeed("down");
    assert_eq!(here.listening(), 0);
    assert!(here.dir.join("state/data/database").exists(), "down keeps the data");
    here.succeed("clean");
    assert!(!here.dir.join("state/data").exists() && !here.dir.join("state/env").exists());
}

fn other_kind() -> &'static str {
    match stack::Kind::from_env().unwrap() {
        stack::Kind::MariaDb => "mysql",
        stack::Kind::MySql => "mariadb",
    }
}

#[test]
fn an_up_that_fails_half_way_stops_what_it_started() {
    let here = Here::new("echo no grant for that; exit 3");
    let said = here.fail("up", &[]);
    assert!(said.contains("migrate failed") && said.contains("no grant for that"), "{said}");
    assert_eq!(here.listening(), 0, "{said}");
}

#[test]
fn an_occupied_port_names_its_setting_and_nothing_starts() {
    let here = Here::new("exit 0");
    let _other = TcpListener::bind(address(here.ports[6])).unwrap();
    let said = here.fail("up", &[]);
    assert!(said.contains("REDIS_PORT") && said.contains(&here.ports[6].to_string()), "{said}");
    assert!(said.contains("nothing was started"), "{said}");
    assert_eq!(here.listening(), 1);
    assert!(here.fail("doctor", &[]).contains("REDIS_PORT"));
}
