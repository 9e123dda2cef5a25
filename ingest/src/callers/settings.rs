//! Whether anybody is asked who they are.

use std::net::SocketAddr;
use std::path::PathBuf;

use record::Catalog;
use service::settings::Findings;

use super::Allowance;
use super::file::load;
use super::rate::PER_SECOND_MOST;

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

    /// Most requests of one caller a second, after a burst; past it 429. The lines of a bulk request wait for it instead. 0: no
    /// limit. A key in the file may have its own, `rate_per_s`. Without keys all are one caller.
    #[arg(long, env = "RATE_PER_S", default_value = "0", value_parser = clap::value_parser!(u32).range(..=i64::from(PER_SECOND_MOST)))]
    pub rate_per_s: u32,

    /// Most requests of one caller at once after a rest (`rate_burst` of a key). 0: what a second brings.
    #[arg(long, env = "RATE_BURST", default_value = "0")]
    pub rate_burst: u32,
}

impl CallerSettings {
    /// A port that others reach asks who they are, unless it is told not to.
    #[must_use]
    pub fn findings(&self, listen: SocketAddr) -> Findings {
        let mut found = Findings::default();
        found.demand(self.api_keys.is_none() || !self.no_auth, || {
            "--api-keys and --no-auth contradict each other: give one of them".to_owned()
        });
        found.demand(self.rate_burst == 0 || self.rate_per_s > 0, || {
            "--rate-burst is given without --rate-per-s: give both or none".to_owned()
        });
        found.demand(self.api_keys.is_some() || self.no_auth || listen.ip().is_loopback(), || {
            "--listen is reached from other machines, and nobody would be asked who they are: give --api-keys with a file of keys \
             (`ingest api-key NAME` makes one), or --no-auth where something before it asks"
                .to_owned()
        });
        found
    }

    /// What every caller may ask for that has nothing of its own.
    pub(crate) fn allowance(&self) -> Option<Allowance> {
        Allowance::new(self.rate_per_s, self.rate_burst)
    }

    /// What is wrong with the file of keys.
    #[must_use]
    pub fn file_faults(&self, catalog: &Catalog) -> Option<String> {
        let path = self.api_keys.as_ref()?;
        load(path, catalog, self.allowance()).err()
    }
}
