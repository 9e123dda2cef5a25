//! What can be set, from the environment or by flag, with its defaults.

use clap::Args;
use stack::Kind;
use std::path::PathBuf;

/// The settings of the stack.
#[derive(Debug, Clone, Args)]
pub(crate) struct Settings {
    /// Port of ingest's HTTP interface
    #[arg(long, env = "INGEST_PORT", default_value_t = 8080, global = true)]
    pub(crate) ingest_port: u16,
    /// Port of ingest's health and metrics
    #[arg(long, env = "INGEST_ADMIN_PORT", default_value_t = 9101, global = true)]
    pub(crate) ingest_admin_port: u16,
    /// Port of persister's health and metrics
    #[arg(long, env = "PERSISTER_ADMIN_PORT", default_value_t = 9102, global = true)]
    pub(crate) persister_admin_port: u16,
    /// Port of Prometheus
    #[arg(long, env = "PROMETHEUS_PORT", default_value_t = 9090, global = true)]
    pub(crate) prometheus_port: u16,
    /// Port of the Kafka broker
    #[arg(long, env = "KAFKA_PORT", default_value_t = 19092, global = true)]
    pub(crate) kafka_port: u16,
    /// Port of the Kafka controller
    #[arg(long, env = "KAFKA_CONTROLLER_PORT", default_value_t = 19093, global = true)]
    pub(crate) kafka_controller_port: u16,
    /// Port of Redis
    #[arg(long, env = "REDIS_PORT", default_value_t = 16379, global = true)]
    pub(crate) redis_port: u16,
    /// Port of the database
    #[arg(long, env = "DB_PORT", default_value_t = 13306, global = true)]
    pub(crate) db_port: u16,
    /// Which database: mariadb or mysql
    #[arg(long, env = "STACK_DB", default_value = "mariadb", global = true)]
    pub(crate) stack_db: Kind,
    /// The entities' schemas; `schemas` in the workspace unless set
    #[arg(long, env = "SCHEMAS_DIR", global = true)]
    schemas_dir: Option<PathBuf>,
    /// Where state is kept; `.stack` in the workspace unless set
    #[arg(long, env = "STACK_DIR", global = true)]
    pub(crate) stack_dir: Option<PathBuf>,
}

impl Settings {
    /// The folder of the entities' schemas.
    pub(crate) fn schemas(&self) -> PathBuf {
        self.schemas_dir.clone().unwrap_or_else(|| stack::workspace().join("schemas"))
    }
}
