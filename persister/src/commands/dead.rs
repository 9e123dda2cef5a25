//! `persister dead`: what an operator says about dead letters.

use anyhow::Context;
use service::settings::Findings;
use service::{clock, schemas};
use table::{Accepted, Database};

use super::{BaseSettings, chosen, unknown_entities};

/// What to do with dead letters.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum DeadCommand {
    /// Let a lane that is stopped by its brake go on: the events that stand in the topic now, up to an offset, may become dead
    /// letters, however many.
    Accept(Box<AcceptSettings>),
}

/// Settings of `persister dead accept`. The database account needs the persister's rights; the lane reads what is said here
/// within --brake-probe-ms.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Accept")]
pub struct AcceptSettings {
    /// The last offset that is accepted, in each partition that is named.
    #[arg(long, env = "ACCEPT_UNTIL")]
    pub until: i64,

    /// The partition; all of them if it is not said.
    #[arg(long, env = "ACCEPT_PARTITION")]
    pub partition: Option<i32>,

    /// The entity; all of them if it is not said.
    #[arg(long, env = "ACCEPT_ENTITY")]
    pub entity: Option<String>,

    // Groups stand last, since each goes on under its own heading.
    #[command(flatten)]
    #[expect(missing_docs, reason = "a group of flags, documented there")]
    pub base: BaseSettings,
}

impl AcceptSettings {
    /// Everything that is wrong, each naming its flag.
    #[must_use]
    pub fn findings(&self) -> Findings {
        let mut found = self.base.findings();
        found.demand(self.until >= 0, || "--until must be an offset, 0 or more".to_owned());
        found.demand(self.partition.is_none_or(|number| number >= 0), || "--partition must be 0 or more".to_owned());
        unknown_entities(&self.base.process, self.entity.as_slice(), &mut found);
        found
    }
}

pub(crate) async fn accept(settings: AcceptSettings) -> anyhow::Result<()> {
    let catalog = schemas::load(&settings.base.process.schemas_dir)?;
    let database = Database::new(&settings.base.database)?;
    // By the later of two clocks: what stands there now is meant, whoever is behind.
    let accepted = Accepted { until: settings.until, said_at: database.now().await?.max(clock::now_micros()) };
    for name in chosen(&catalog, settings.entity.as_slice()).map(|entity| entity.name()) {
        let partitions = database.partitions(name).await?;
        let partitions = partitions.with_context(|| format!("there is no table of {name}: run `persister migrate`"))?;
        if let Some(number) = settings.partition {
            anyhow::ensure!(number < partitions, "--partition: {name} has {partitions} partitions, from 0");
        }
        let topic = settings.base.kafka.topic(name);
        for number in settings.partition.map_or(0..partitions, |number| number..number + 1) {
            database.accept_dead(&topic, number, accepted).await?;
            tracing::info!(
                topic,
                number,
                until = settings.until,
                "accepted for {topic}/{number}, until {}",
                settings.until
            );
        }
    }
    database.close().await;
    Ok(())
}
