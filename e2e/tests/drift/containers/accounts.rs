//! The accounts and the settings that compose's MySQL gets: the script itself on a real server, against what every test runs
//! with.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stack::{Database, Kind, Lifetime, Place, Tools, shared, workspace};

const ROLES: [&str; 4] = ["migrate", "persister", "ingest", "reader"];

/// Runs the script as MySQL's image does: root's password, the server's socket, and a program called `mysql`.
fn script(place: &Path, ingest: &str) -> Output {
    let programs = place.join("programs");
    if !programs.exists() {
        std::fs::create_dir(&programs).expect("a folder");
        symlink(Tools::find().mariadb().expect("the client"), programs.join("mysql")).expect("a link");
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let root = std::fs::read_to_string(place.join("root.password")).expect("root's password");
    let mut command = Command::new(workspace().join("deploy/mysql/accounts.sh"));
    for role in ROLES {
        let password = if role == "ingest" { ingest } else { "Aa0._~-" };
        command.env(format!("{}_DB_PASSWORD", role.to_uppercase()), password);
    }
    let command = command.env("PATH", path).env("SOCKET", place.join("data/server.sock"));
    command.env("MYSQL_ROOT_PASSWORD", root).output().expect("the script runs")
}

/// The grants of an account, with its name and its database's taken out, and no password.
fn grants(database: &Database, user: &str, host: &str, name: &str) -> String {
    let listed = database.query(&format!("SHOW GRANTS FOR '{user}'@'{host}'")).expect("grants");
    let lines = listed.lines().map(|line| line.split(" IDENTIFIED BY").next().unwrap_or(line));
    // The client writes a backslash as two.
    let lines = lines.map(|line| line.replace(user, "USER").replace(host, "HOST"));
    lines.map(|line| line.replace(&name.replace('_', "\\\\_"), "NAME") + "\n").collect()
}

fn server() -> (Database, PathBuf) {
    let place: PathBuf = shared::scratch("accounts");
    let at = Place { lifetime: Lifetime::Attached, ..Place::attached(place.clone()) };
    (Database::start(&Tools::find(), &at, Kind::from_env().expect("a kind")).expect("a database"), place)
}

#[test]
fn compose_grants_what_the_stack_grants() {
    let (database, place) = server();
    let accounts = database.create("of_the_stack").expect("accounts");
    let done = script(&place, "Aa0._~-");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let urls = [&accounts.migrate, &accounts.persister, &accounts.ingest, &accounts.reader];
    for (role, url) in ROLES.into_iter().zip(urls) {
        let user = url.split("//").nth(1).and_then(|rest| rest.split(':').next()).expect("a user");
        let theirs = grants(&database, role, "%", "write_behind");
        let ours = grants(&database, user, "127.0.0.1", "of_the_stack");
        assert!(theirs.contains("GRANT USAGE ON *.*") && theirs.lines().count() == 2, "{role}: {theirs}");
        assert_eq!(theirs, ours, "{role}");
    }
    let again = script(&place, "Aa0._~-");
    assert!(again.status.success(), "a second run: {}", String::from_utf8_lossy(&again.stderr));
}

#[test]
fn a_password_that_would_not_fit_into_a_url_is_named() {
    let (database, place) = server();
    for unfit in ["", "a'b", "a@b", "a b"] {
        let done = script(&place, unfit);
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(!done.status.success() && said.contains("INGEST_DB_PASSWORD"), "{unfit:?}: {said}");
    }
    let made = database.query("SELECT COUNT(*) FROM mysql.user WHERE user IN ('migrate', 'ingest')").expect("a count");
    assert_eq!(made, "0\n", "nothing is made by halves");
}

/// A value as it is written and as a server says it.
fn plain(value: &str) -> BTreeSet<String> {
    let value = match value {
        "ON" => "1".to_owned(),
        "OFF" => "0".to_owned(),
        sized => sized
            .strip_suffix('M')
            .and_then(|number| number.parse::<u64>().ok())
            .map_or_else(|| sized.to_owned(), |number| (number << 20).to_string()),
    };
    value.split(',').map(str::to_owned).collect()
}

#[test]
fn composes_settings_are_those_that_every_test_runs_with() {
    let text = super::file("deploy/mysql/my.cnf");
    let settings: Vec<_> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|it| it.split_once('=')).collect();
    assert!(settings.len() >= 9, "{text}");
    for (name, value) in settings {
        let variable = name.replace('-', "_").replace("default_time_zone", "time_zone");
        let said = shared::database().query(&format!("SELECT @@GLOBAL.{variable}")).expect("a variable");
        assert_eq!(plain(said.trim()), plain(value), "{name}");
    }
}
