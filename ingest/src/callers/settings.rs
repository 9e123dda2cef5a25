//! Whether anybody is asked who they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use record::Catalog;
use service::settings::Findings;

use super::load;

/// The settings of authentication.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Callers")]
pub struct CallerSettings {
    /// The file of API keys (`ingest api-key NAME >> FILE`), of which it holds hashes, rights and entities. A change of it is in
    /// force within two seconds. Without it nobody is asked who they are, and only this machine may ask.
    #[arg(long, env = "API_KEYS")]
    pub api_keys: Option<PathBuf>,

    /// Take requests from everybody who reaches --listen, where something before it has asked who they are.
    #[arg(long, env = "NO_AUTH", default_value = "false", action = clap::ArgAction::Set, num_args = 0..=1,
          default_missing_value = "true")]
    pub no_auth: bool,
}

impl CallerSettings {
    /// A port that others reach asks who they are, unless it is told not to.
    #[must_use]
    pub fn findings(&self, listen: SocketAddr) -> Findings {
        let mut found = Findings::default();
        found.demand(self.api_keys.is_some() || self.no_auth || listen.ip().is_loopback(), || {
            format!(
                "--listen {listen} is reached from other machines, and nobody would be asked who they are: give --api-keys FILE \
                 (`ingest api-key NAME` makes a key), or --no-auth where something before it asks"
            )
        });
        found
    }

    /// What is wrong with the file of keys.
    #[must_use]
    pub fn file_faults(&self, catalog: &Catalog) -> Option<String> {
        let path = self.api_keys.as_ref()?;
        load(path, catalog).err().map(|fault| fault.to_string())
    }
}
