//! `stack doctor`: what the stack runs on, piece by piece, and the command that mends what is missing.
//!
//! `packages.sh doctor` does the same for what must be there before anything can be built.

use crate::ports::{self, Found};
use crate::settings::Settings;
use crate::state::{ALL, State};
use anyhow::{Result, bail};
use stack::{Kind, Tools};

/// Prints a line a requirement; an error when one is not met.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let mut missing = 0;
    let mut say = |what: &str, problem: Option<String>| {
        missing += usize::from(problem.is_some());
        println!("   {what:<38}{}", problem.map_or_else(|| "ok".to_owned(), |p| format!("MISSING  {p}")));
    };
    for (what, problem) in programs(settings.stack_db) {
        say(what, problem);
    }
    let state = State::open(settings.stack_dir.as_deref())?;
    for wanted in ports::all(settings) {
        let found = ports::look(&state, wanted)?;
        let what = format!("{} {}{}", wanted.setting, wanted.port, if found == Found::Ours { " (ours)" } else { "" });
        say(&what, ports::problem(wanted, &found));
    }
    for name in ALL {
        let running = state.running(name)?;
        println!("   {name:<38}{}", running.map_or_else(|| "-".into(), |n| format!("runs, pid {}", n.process.pid())));
    }
    if missing > 0 {
        bail!("{missing} missing");
    }
    Ok(())
}

fn programs(kind: Kind) -> Vec<(&'static str, Option<String>)> {
    let tools = Tools::find();
    let why = |found: Result<()>| found.err().map(|e| format!("{e:#}"));
    let mut list = vec![
        ("Java and Kafka", why(tools.kafka().map(drop))),
        ("Redis", why(tools.redis().map(drop))),
        ("database client", why(tools.mariadb().map(drop))),
        ("Prometheus", why(tools.prometheus().and(tools.promtool()).map(drop))),
    ];
    match kind {
        Kind::MariaDb => {
            list.push(("MariaDB", why(tools.mariadbd().and(tools.mariadb_install_db()).map(drop))));
        }
        Kind::MySql => list.push(("MySQL", why(tools.mysql().map(drop)))),
    }
    list
}
