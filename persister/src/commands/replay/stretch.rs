//! From where to where a replay reads, and whether the table is one that this may be brought into.

use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use record::Version;
use table::ReplayNote;
use topic::{Reader, Stretch};

use super::run::Run;
use crate::commands::same_partitions;
use crate::verify::ask;

impl Run<'_> {
    /// From where to where, and what an interrupted replay has met before.
    pub(super) async fn noted(&self, reader: &Arc<Mutex<Reader>>) -> anyhow::Result<ReplayNote> {
        if !self.settings.resume {
            return Ok(ReplayNote { left: self.asked_for(reader).await?, poison: 0 });
        }
        let noted = self.database.replay(&self.topic).await;
        let noted = noted.context("is the database there, and was `persister migrate` run?")?;
        let (topic, partitions, offsets) = (&self.topic, noted.left.len(), remaining(&noted.left));
        tracing::info!(topic, partitions, poison = noted.poison, "topic {topic}: {offsets} offsets are left");
        Ok(noted)
    }

    async fn asked_for(&self, reader: &Arc<Mutex<Reader>>) -> anyhow::Result<Stretch> {
        let bounds = ask(reader, |reader| reader.bounds()).await?;
        ensure!(!bounds.is_empty(), "topic {} does not exist: run `persister migrate`", self.topic);
        let all = bounds.iter().map(|(number, bounds)| (*number, (bounds.low, bounds.end)));
        if let Some(micros) = self.settings.since {
            let asked = bounds.clone();
            let since = ask(reader, move |reader| reader.since(micros, &asked)).await?;
            let from = |(number, (low, end))| (number, (since.get(&number).copied().unwrap_or(low).max(low), end));
            return Ok(all.map(from).collect());
        }
        if self.settings.from_offset.is_empty() {
            return Ok(all.collect());
        }
        let places = self.settings.from_offset.iter().map(|(number, offset)| {
            let bounds =
                bounds.get(number).with_context(|| format!("--from-offset: there is no partition {number}"))?;
            Ok((*number, ((*offset).max(bounds.low), bounds.end)))
        });
        places.collect()
    }

    /// Is the table one that this topic may be brought into?
    pub(super) async fn fits(&self, reader: &Arc<Mutex<Reader>>, left: &Stretch) -> anyhow::Result<()> {
        let (table, name) = (&self.replay.table, self.entity.name());
        let begun = self.database.partitions(name).await?;
        let begun = begun.with_context(|| format!("table {name} does not exist: run `persister migrate`"))?;
        let bounds = ask(reader, |reader| reader.bounds()).await?;
        same_partitions(&self.topic, i32::try_from(bounds.len()).unwrap_or(i32::MAX), begun)?;
        let gone = left.iter().find(|(number, (_, until))| bounds.get(number).is_none_or(|bounds| bounds.end < *until));
        ensure!(gone.is_none(), "topic {} is another than the one that was begun with: --all", self.topic);
        let purged = table.purged().await?;
        if purged == Version::ZERO || self.settings.resume {
            return Ok(());
        }
        let empty = table.is_empty().await?;
        if self.settings.reset_purge_mark {
            ensure!(empty, "--reset-purge-mark: table {name} is not empty");
            // Where it cannot be told, nothing is reset either.
            let alone = ask(reader, |reader| reader.group_is_empty()).await?;
            ensure!(alone, "--reset-purge-mark: persisters are running: stop them first");
            table.reset_mark().await?;
            tracing::info!(entity = name, mark = purged.get(), "the purge mark of {name} is 0 again");
        } else {
            ensure!(
                !empty || !self.settings.all,
                "table {name} is empty and purged up to {purged}, so that nothing older would get a row: with every persister \
                 stopped, give --reset-purge-mark"
            );
        }
        Ok(())
    }
}

pub(super) fn remaining(left: &Stretch) -> i64 {
    left.values().map(|(next, until)| (until - next).max(0)).sum()
}
