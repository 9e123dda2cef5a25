//! `ingest api-key`: a new key, shown once, and what the file of keys has to hold of it.

use std::collections::BTreeSet;

use super::file::{Written, WrittenKey};
use super::{Right, hash};

/// Whose key it is to be.
#[derive(Clone, Debug, clap::Args)]
pub struct IssueKey {
    /// Who is going to use it, as logs and the file of keys name it.
    pub name: String,

    /// What it opens. Several with commas between.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "read,write")]
    pub rights: Vec<Right>,

    /// The entities that it opens; all when left out. Several with commas between.
    #[arg(long, value_delimiter = ',')]
    pub entities: Vec<String>,
}

impl IssueKey {
    /// Prints what belongs into the file of keys to standard output, and the key itself to standard error, so that
    /// `ingest api-key NAME >> FILE` shows the key and nothing else.
    ///
    /// # Errors
    /// None that is known.
    pub fn issue(self) -> anyhow::Result<()> {
        // The thread's generator is one for secrets, seeded by the system.
        let key = format!("wb_{}", hex::encode(rand::random::<[u8; 32]>()));
        print!("{}", self.written(&key)?);
        eprintln!("{key}");
        Ok(())
    }

    fn written(self, key: &str) -> anyhow::Result<String> {
        let Self { name, rights, entities } = self;
        let entities: BTreeSet<_> = entities.into_iter().collect();
        let entities = (!entities.is_empty()).then_some(entities);
        let (sha256, rights) = (hex::encode(hash(key)), rights.into_iter().collect());
        let key = WrittenKey { name, sha256, rights, entities, rate_per_s: None, rate_burst: None };
        Ok(format!("\n{}", toml::to_string(&Written { key: vec![key] })?))
    }
}
