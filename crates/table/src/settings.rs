//! Settings of the table: where the database is, and how it is used.

use std::time::Duration;

use service::settings::{Secret, millis};

/// The database and our pool in front of it.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseSettings {
    /// `mysql://user:password@host:port/database`, for MySQL and MariaDB.
    #[arg(long, env = "DATABASE_URL", default_value = "mysql://write_behind@127.0.0.1:3306/write_behind")]
    pub database_url: Secret,

    /// Most connections to the database.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "4")]
    pub database_connections: u32,

    /// How long one transaction or one read may take before its connection is given up.
    #[arg(long, env = "DATABASE_TIMEOUT_MS", default_value = "10000", value_parser = millis)]
    pub database_timeout_ms: Duration,
}

impl DatabaseSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        // `persister migrate` holds its lock on one connection and works on another.
        let few = (self.database_connections < 2).then(|| "--database-connections must be at least 2".to_owned());
        few.into_iter().collect()
    }
}
