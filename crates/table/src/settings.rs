//! Settings of the table: where the database is, how it lets us in, and how it is used.

use std::path::PathBuf;
use std::time::Duration;

use service::settings::{Findings, Secret, ServerUrl, is_loopback, millis, tls};
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

/// The database and our pool in front of it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// `mysql://user:password@host:port/database`, for MySQL and MariaDB.
    #[arg(long, env = "DATABASE_URL", default_value = "mysql://write_behind@127.0.0.1:3306/write_behind")]
    pub database_url: ServerUrl,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub access: DatabaseAccess,

    /// Most connections to the database.
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "4")]
    pub database_connections: u32,

    /// How long one transaction or one read may take before its connection is given up.
    #[arg(long, env = "DATABASE_TIMEOUT_MS", default_value = "10000", value_parser = millis)]
    pub database_timeout_ms: Duration,
}

/// How the database knows us, and we it.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DatabaseAccess {
    /// The password; not in the URL as well.
    #[arg(long, env = "DATABASE_PASSWORD")]
    pub database_password: Option<Secret>,

    /// When TLS is used, and what of the server's certificate is checked; left out, what the URL says (`ssl-mode`), else
    /// `preferred`. Without TLS an account of MySQL (`caching_sha2_password`) may be refused after MySQL's next restart.
    #[arg(long, env = "DATABASE_SSL_MODE")]
    pub database_ssl_mode: Option<SslMode>,

    /// A PEM file with the authorities that the server's certificate must come from; checked with `verify-ca` and
    /// `verify-identity`.
    #[arg(long, env = "DATABASE_SSL_CA")]
    pub database_ssl_ca: Option<PathBuf>,

    /// A PEM file with the certificate that we show to the database.
    #[arg(long, env = "DATABASE_SSL_CERT")]
    pub database_ssl_cert: Option<PathBuf>,

    /// A PEM file with the key of that certificate.
    #[arg(long, env = "DATABASE_SSL_KEY")]
    pub database_ssl_key: Option<PathBuf>,
}

/// When TLS is used, in MySQL's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SslMode {
    /// Never.
    Disabled,
    /// When the server has it; its certificate is not checked.
    Preferred,
    /// Always; the server's certificate is not checked.
    Required,
    /// Always; the certificate must come from a known authority.
    #[value(alias = "verify_ca")]
    VerifyCa,
    /// Always; and it must be that of the host.
    #[value(alias = "verify_identity")]
    VerifyIdentity,
}

impl From<SslMode> for MySqlSslMode {
    fn from(mode: SslMode) -> Self {
        match mode {
            SslMode::Disabled => Self::Disabled,
            SslMode::Preferred => Self::Preferred,
            SslMode::Required => Self::Required,
            SslMode::VerifyCa => Self::VerifyCa,
            SslMode::VerifyIdentity => Self::VerifyIdentity,
        }
    }
}

impl DatabaseSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = Findings::default();
        match self.options() {
            Ok(options) => found.warnings.extend(self.warnings(&options)),
            Err(faults) => found.faults.extend(faults),
        }
        // `persister migrate` holds its lock on one connection and works on another.
        found.demand(self.database_connections >= 2, || "--database-connections must be at least 2".to_owned());
        found
    }

    /// The connection that these settings describe; nothing is connected yet.
    ///
    /// # Errors
    /// What is wrong, each naming its flag.
    pub(crate) fn options(&self) -> Result<MySqlConnectOptions, Vec<String>> {
        const EXPECTED: &str = "expected mysql://user:password@host:port/database";
        let url = self.database_url.expose();
        if !url.starts_with("mysql://") && !url.starts_with("mariadb://") {
            return Err(vec![format!("--database-url: {EXPECTED}")]);
        }
        let parsed: Result<MySqlConnectOptions, _> = url.parse();
        let mut options = parsed.map_err(|error| vec![format!("--database-url: {error}: {EXPECTED}")])?;
        let mut faults = Vec::new();
        if options.get_database().is_none() {
            faults.push(format!("--database-url names no database: {EXPECTED}"));
        }
        if let Some(password) = &self.access.database_password {
            if self.url_has_password() {
                faults
                    .push("--database-password is given, and --database-url has a password, too: give one".to_owned());
            }
            options = options.password(password.expose());
        }
        if let Some(mode) = self.access.database_ssl_mode {
            options = options.ssl_mode(mode.into());
        }
        let material = self.access.files().read().map_err(|wrong| faults.extend(wrong)).unwrap_or_default();
        if let Some(authority) = material.authority {
            options = options.ssl_ca_from_pem(authority);
        }
        if let Some((certificate, key)) = material.identity {
            options = options.ssl_client_cert_from_pem(certificate).ssl_client_key_from_pem(key);
        }
        if faults.is_empty() { Ok(options) } else { Err(faults) }
    }

    /// The driver does not tell.
    fn url_has_password(&self) -> bool {
        let after = self.database_url.expose().split_once("://").map_or("", |(_, after)| after);
        let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    }

    fn warnings(&self, options: &MySqlConnectOptions) -> Vec<String> {
        let mode = options.get_ssl_mode();
        let mut warnings = Vec::new();
        let password = self.url_has_password() || self.access.database_password.is_some();
        if password && matches!(mode, MySqlSslMode::Disabled) && !is_loopback(options.get_host()) {
            let seen = "--database-ssl-mode is disabled, so password and rows go to another machine without TLS";
            warnings.push(format!("{seen}: use preferred or more"));
        }
        let checked = matches!(mode, MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
        if self.access.database_ssl_ca.is_some() && !checked {
            let unused =
                "--database-ssl-ca is not looked at unless --database-ssl-mode is verify-ca or verify-identity";
            warnings.push(unused.to_owned());
        }
        warnings
    }
}

impl DatabaseAccess {
    fn files(&self) -> tls::Files<'_> {
        tls::Files {
            authority: ("--database-ssl-ca", self.database_ssl_ca.as_ref()),
            certificate: ("--database-ssl-cert", self.database_ssl_cert.as_ref()),
            key: ("--database-ssl-key", self.database_ssl_key.as_ref()),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        database: DatabaseSettings,
    }

    fn read(flags: &[&str]) -> DatabaseSettings {
        Line::parse_from(["test"].iter().chain(flags)).database
    }

    #[test]
    fn the_mode_of_tls_is_the_settings_else_the_urls_else_preferred() {
        let mode = |flags: &[&str]| read(flags).options().expect("options").get_ssl_mode();
        assert!(matches!(mode(&[]), MySqlSslMode::Preferred));
        assert!(matches!(mode(&["--database-url=mysql://h/d?ssl-mode=REQUIRED"]), MySqlSslMode::Required));
        let both = ["--database-url=mysql://h/d?ssl-mode=REQUIRED", "--database-ssl-mode=verify-identity"];
        assert!(matches!(mode(&both), MySqlSslMode::VerifyIdentity));
        assert!(matches!(mode(&["--database-ssl-mode=verify_ca"]), MySqlSslMode::VerifyCa));
    }

    #[test]
    fn what_is_not_safe_is_warned_of() {
        let warned = |flags: &[&str]| read(flags).findings().warnings.join("\n");
        assert!(warned(&["--database-url=mysql://me:s3cret@db/x?ssl-mode=disabled"]).contains("without TLS"));
        assert_eq!(warned(&["--database-url=mysql://me:s3cret@127.0.0.1/x?ssl-mode=disabled"]), "");
        assert_eq!(warned(&["--database-url=mysql://me:s3cret@db/x"]), "");
    }

    #[test]
    fn what_contradicts_itself_is_a_fault() {
        let faults = |flags: &[&str]| read(flags).findings().faults.join("\n");
        assert!(faults(&["--database-url=mysql://me:s3cret@h/d", "--database-password=t"]).contains("give one"));
        assert!(faults(&["--database-url=mysql://me@h"]).contains("names no database"));
        assert!(
            faults(&["--database-ssl-ca=/nowhere/ca.pem"]).contains("--database-ssl-ca: cannot read /nowhere/ca.pem")
        );
        for url in ["postgres://me:s3cret@h/d", "mysql://me:s3cret@h:port/d", "s3cret"] {
            let fault = faults(&[&format!("--database-url={url}")]);
            assert!(fault.contains("--database-url") && !fault.contains("s3cret"), "{fault}");
        }
    }
}
