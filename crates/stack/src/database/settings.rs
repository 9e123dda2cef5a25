//! The server's settings: durable at every commit, strict, UTC, no binary log, loopback only.

use super::Kind;
use super::install::Programs;
use anyhow::Result;
use std::fmt::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub(super) fn of(programs: &Programs, dir: &Path, port: u16) -> Result<String> {
    let mut text = format!(
        "[mysqld]
datadir={dir}/data
# Its own: a starting MariaDB removes the temporary tables of every other one whose folder it shares.
tmpdir={dir}/tmp
# Relative to the data folder: an absolute path may be too long for a socket.
socket=server.sock
pid-file=server.pid
bind-address=127.0.0.1
port={port}
skip-name-resolve=ON
local-infile=OFF
max_connections=500
max_allowed_packet=64M
character-set-server=utf8mb4
default-time-zone=+00:00
sql_mode=STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ZERO_DATE,NO_ZERO_IN_DATE,NO_ENGINE_SUBSTITUTION
innodb_flush_log_at_trx_commit=1
innodb_buffer_pool_size=128M
",
        dir = dir.display()
    );
    if port != 0 {
        writeln!(text, "init-file={}", dir.join("init.sql").display())?;
    }
    // The owner of our own entry in /proc is who we are.
    if std::fs::metadata("/proc/self")?.uid() == 0 {
        text.push_str("user=root\n"); // both refuse to run as root unless told so
    }
    match programs.kind {
        Kind::MariaDb => text.push_str("innodb_log_file_size=64M\n"),
        Kind::MySql => {
            text.push_str("mysqlx=OFF\nskip-log-bin\nperformance_schema=OFF\nsecure-file-priv=NULL\n");
            text.push_str("innodb_redo_log_capacity=128M\ntable_open_cache=400\n");
            // Each would take more than two thousand of the kernel's 65,536 places for native I/O, and a test run starts dozens.
            text.push_str("innodb_use_native_aio=OFF\n");
        }
    }
    if let Some(folder) = &programs.unpacked {
        let usr = folder.join("usr");
        let usr = usr.display();
        writeln!(text, "basedir={usr}\nlc-messages-dir={usr}/share/mysql\nplugin-dir={usr}/lib/mysql/plugin")?;
    }
    Ok(text)
}
