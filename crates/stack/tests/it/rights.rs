//! The accounts of a database may do what their role says, and nothing more.

use stack::{Accounts, Database, Tools, shared};
use std::process::Command;

/// Runs SQL as the account of this URL; the error's number when the server refuses.
fn sql(url: &str, sql: &str) -> Result<String, String> {
    let (user, rest) = url.strip_prefix("mysql://").unwrap().split_once(':').unwrap();
    let (password, rest) = rest.split_once('@').unwrap();
    let (address, name) = rest.split_once('/').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    let done = Command::new(Tools::find().mariadb().unwrap())
        .args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", user, "-BN", "-e", sql, name])
        .env("MYSQL_PWD", password)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
}

fn database_with_a_row(name: &str) -> (&'static Database, Accounts) {
    let database = shared::database();
    let accounts = database.create(name).expect("a database is made");
    sql(&accounts.migrate, "CREATE TABLE t (i INT PRIMARY KEY); CREATE VIEW t_live AS SELECT * FROM t").expect("DDL");
    sql(&accounts.persister, "INSERT INTO t VALUES (1)").expect("a row");
    (database, accounts)
}

/// 1142: command denied; 1044: access to the database denied; 1045: no such account.
fn assert_denied(done: Result<String, String>, what: &str) {
    let error = done.expect_err(what);
    assert!(["(42000)", "1142", "1044", "1045", "1227"].iter().any(|code| error.contains(code)), "{what}: {error}");
}

#[test]
fn each_role_may_do_what_it_needs() {
    let (_, accounts) = database_with_a_row("rights_needed");
    for reader in [&accounts.ingest, &accounts.reader, &accounts.persister, &accounts.migrate, &accounts.root] {
        assert_eq!(sql(reader, "SELECT * FROM t").as_deref(), Ok("1\n"));
        assert_eq!(sql(reader, "SELECT * FROM t_live").as_deref(), Ok("1\n"));
    }
    sql(&accounts.persister, "UPDATE t SET i = 2; DELETE FROM t WHERE i = 2").expect("the persister writes");
    sql(&accounts.migrate, "ALTER TABLE t ADD COLUMN j INT; DROP VIEW t_live").expect("migrate changes tables");
}

#[test]
fn no_role_may_do_more() {
    let (database, accounts) = database_with_a_row("rights_bounded");
    database.create("rightsXbounded").expect("a name that the pattern rights_bounded would match");
    for reader in [&accounts.ingest, &accounts.reader] {
        for write in ["INSERT INTO t VALUES (2)", "UPDATE t SET i = 3", "DELETE FROM t"] {
            assert_denied(sql(reader, write), write);
        }
    }
    for role in [&accounts.ingest, &accounts.reader, &accounts.persister] {
        for ddl in ["CREATE TABLE u (i INT)", "ALTER TABLE t ADD COLUMN j INT", "DROP TABLE t", "TRUNCATE TABLE t"] {
            assert_denied(sql(role, ddl), ddl);
        }
    }
    for role in [&accounts.ingest, &accounts.reader, &accounts.persister, &accounts.migrate] {
        assert_denied(sql(role, "USE rightsXbounded"), "another database");
        assert_denied(sql(role, "CREATE USER x"), "accounts");
    }
}

#[test]
fn every_account_has_a_password_of_its_own() {
    let database = shared::database();
    let one = database.create("passwords_one").expect("a database is made");
    let two = database.create("passwords_two").expect("a database is made");
    let all = [&one.migrate, &one.persister, &one.ingest, &one.reader, &two.migrate, &two.reader, &one.root];
    let passwords: std::collections::BTreeSet<_> =
        all.iter().map(|url| url.split(['@', ':']).nth(2).unwrap().to_owned()).collect();
    assert_eq!(passwords.len(), all.len());
    assert_eq!(database.create("passwords_one").unwrap(), one, "asked again, the same accounts");
    assert!(!format!("{one:?}").contains("mysql://"), "no password in a log");
    let bare = database.query("SELECT COUNT(*) FROM mysql.user WHERE user = 'root' AND authentication_string = ''");
    assert_eq!(bare.unwrap(), "0\n", "no account of root is open");
}
