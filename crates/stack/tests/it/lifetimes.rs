//! Attached children go with whoever started them, detached ones stay, and nobody else is ever signalled.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stack::note::{self, Note};
use stack::{Ended, Lifetime, Process, Spec, shared};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set for the parent that [`attached_children_and_scratch_go_with_a_killed_parent`] kills.
const PARENT: &str = "STACK_TEST_IS_PARENT";

fn sleeper(log: &Path) -> Spec {
    Spec::new("sleeper", "/bin/sleep", log).arg("600")
}

/// Waits until it holds.
pub(crate) fn soon(what: &str, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process has not ended.
pub(crate) fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

/// The parent's side: starts a child from a thread that ends at once, says who it is, and waits to be killed.
#[test]
fn parent_waits_to_be_killed() {
    if std::env::var_os(PARENT).is_none() {
        return; // it has work only in the process that the test below starts
    }
    let dir = shared::scratch("parent");
    let spec = sleeper(&dir.join("log"));
    let child = std::thread::spawn(move || Process::spawn(&spec, Lifetime::Attached).unwrap()).join().unwrap();
    println!("child {} {}", child.pid(), dir.display());
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn attached_children_and_scratch_go_with_a_killed_parent() {
    let mut parent = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifetimes::parent_waits_to_be_killed", "--nocapture"])
        .env(PARENT, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).find_map(|line| Some(line.split_once("child ")?.1.to_owned())).unwrap();
    let (pid, dir) = said.split_once(' ').unwrap();
    let (pid, dir): (i32, PathBuf) = (pid.parse().unwrap(), dir.into());
    std::thread::sleep(Duration::from_millis(300));
    assert!(is_alive(pid) && dir.exists(), "the thread that asked for it has ended, and it lives on");
    parent.kill().unwrap();
    parent.wait().unwrap();
    soon("the child is gone", || !is_alive(pid));
    soon("the scratch folder is gone", || !dir.exists());
}

#[test]
fn a_dropped_attached_process_is_gone_and_a_detached_one_is_not() {
    let dir = shared::scratch("drop");
    let attached = Process::spawn(&sleeper(&dir.join("log")), Lifetime::Attached).unwrap();
    let detached = Process::spawn(&sleeper(&dir.join("log")), Lifetime::Detached).unwrap();
    let (one, two) = (attached.pid(), detached.pid());
    drop((attached, detached));
    assert!(!is_alive(one) && is_alive(two));
    kill(Pid::from_raw(two), Signal::SIGKILL).unwrap();
}

#[test]
fn stop_asks_first_and_kills_after_the_deadline() {
    let log = shared::scratch("stop").join("log");
    let shell = |script: &str| Spec::new("shell", "/bin/sh", &log).args(["-c", script]);
    let polite =
        Process::spawn(&shell("trap 'exit 3' TERM; echo up; while :; do sleep 0.01; done"), Lifetime::Attached);
    let polite = polite.unwrap();
    soon("it runs", || polite.log_tail(1) == "up");
    polite.pause().unwrap();
    let status = polite.stop(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(status.code(), Some(3), "it was asked, although it was paused");

    let deaf = Process::spawn(&shell("trap '' TERM; echo deaf; while :; do sleep 0.01; done"), Lifetime::Attached);
    let deaf = deaf.unwrap();
    soon("it runs", || deaf.log_tail(1) == "deaf");
    assert_eq!(deaf.stop(Duration::from_millis(200)).unwrap().unwrap().code(), None, "it was killed");
    assert!(!deaf.is_running());
    deaf.signal(Signal::SIGKILL).expect("signalling the dead is no error");
    assert!(matches!(deaf.wait(Duration::ZERO), Ok(Ended::Yes(_))));
}

#[test]
fn a_note_finds_its_process_and_never_another_one() {
    let dir = shared::scratch("note");
    let (file, log) = (dir.join("sleeper"), dir.join("log"));
    let note = Note { file: file.clone(), about: "PORT=1".into() };
    assert!(note::running("sleeper", &file, &log).unwrap().is_none(), "nothing is noted");
    let process = Process::spawn(&sleeper(&log).noted(Some(note)), Lifetime::Detached).unwrap();
    let found = note::running("sleeper", &file, &log).unwrap().expect("it runs");
    assert_eq!((found.process.pid(), found.about.as_str()), (process.pid(), "PORT=1"));

    let text = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let born: u64 = lines[1].parse().unwrap();
    let reused = text.replacen(&format!("\n{born}\n"), &format!("\n{}\n", born + 1), 1);
    std::fs::write(&file, reused).unwrap();
    assert!(note::running("sleeper", &file, &log).unwrap().is_none(), "the pid has gone to somebody else");
    std::fs::write(&file, text.replacen(lines[2], "another-boot", 1)).unwrap();
    assert!(note::running("sleeper", &file, &log).unwrap().is_none(), "the machine was started again");

    found.process.stop(Duration::from_secs(10)).expect("it stops");
    assert!(!process.is_running());
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let log = shared::scratch("missing").join("log");
    let refused = Process::spawn(&Spec::new("it", "/no/such/program", log), Lifetime::Attached).unwrap_err();
    assert!(refused.to_string().contains("/no/such/program"), "{refused}");
}
