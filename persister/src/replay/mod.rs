//! PROTOCOL R19: events once more on the ordinary way into the table, outside of the group.
//!
//! decode → newest version per record → one guarded transaction with its read-back → settle. What a lane does beyond that for
//! the topic's sake (re-asserts, late tombstones, offsets, lag) a replay leaves alone: the lanes do it, or have done it. What cannot
//! be applied holds nothing: it is bisected out, counted and named, and never dead-lettered again.

mod pace;

use std::collections::BTreeMap;
use std::time::Duration;

use cache::Settled;
use service::{Backoff, FailureClass, clock};
use table::{EntityTable, Held, Incoming, Letters, TableError};
use tokio_util::sync::CancellationToken;
use topic::Envelope;

pub(crate) use pace::Pace;

use crate::batch::{Coalesced, Readable, coalesce};
use crate::bisect::Parts;
use crate::decode::{self, Opened};
use crate::settle::{Outcome, Settler};

/// What has become of events so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) events: u64,
    /// Changes of rows: a row that several batches change counts in each.
    pub(crate) changed: u64,
    /// Events that a lane has moved to the dead letters: left out.
    pub(crate) dead: u64,
    /// Events that cannot be applied.
    pub(crate) poison: u64,
    /// The first of them, each with its coordinates and why.
    pub(crate) named: Vec<String>,
}

/// How many poisonous events are named.
const NAMED: usize = 100;

impl Tally {
    fn poison(&mut self, number: i32, offset: i64, why: &str) {
        tracing::warn!(partition = number, offset, why, "the event at {number}/{offset} cannot be applied: {why}");
        self.poison += 1;
        if self.named.len() < NAMED {
            self.named.push(format!("{number}/{offset}: {why}"));
        }
    }
}

/// Where a batch's events stand that cannot be applied, and why: what is met again when a part of it is tried again is the same.
type Refused = BTreeMap<(i32, i64), String>;

/// The way of one entity's events.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) table: EntityTable,
    pub(crate) settler: Settler,
    /// What lies among the dead letters already.
    pub(crate) letters: Letters,
    pub(crate) future_most: Duration,
    pub(crate) stopping: CancellationToken,
}

/// An event that is one, with its coordinates.
#[derive(Clone, Debug)]
struct Ready<'a> {
    number: i32,
    event: Readable<'a>,
}

/// Why some events did not go through.
enum Failed {
    /// One of them never will.
    Poison(String),
    Table(TableError),
}

impl Replay {
    /// Brings a batch into the table, whatever is in it.
    ///
    /// # Errors
    /// The database refuses all work for a reason that does not pass, or the replay is to stop. The batch may have been
    /// applied in part, and comes again.
    pub(crate) async fn bring(&self, batch: &[(i32, Envelope)], tally: &mut Tally) -> anyhow::Result<()> {
        let latest = self.latest(batch).await?;
        let (mut events, mut refused) = (Vec::with_capacity(batch.len()), Refused::new());
        for (number, envelope) in batch {
            let (number, offset) = (*number, envelope.offset);
            tally.events += 1;
            // An id that is unknown here holds nothing: what cannot be read now is named.
            let Opened { events: read, letters, .. } =
                decode::open(self.table.entity(), std::slice::from_ref(envelope), latest, |_| true);
            for event in read {
                if self.letters.has(number, offset, Some(event.version)) {
                    tally.dead += 1;
                } else {
                    events.push(Ready { number, event });
                }
            }
            for letter in letters {
                if self.letters.has(number, offset, letter.version().map(|(_, version)| version)) {
                    tally.dead += 1;
                } else {
                    refused.insert((number, offset), letter.detail);
                }
            }
        }
        let mut parts = Parts::of(events.len());
        while let Some(part) = parts.next() {
            let some = events.get(part.clone()).unwrap_or_default();
            // The order among halves is free: the guard sorts it out (R13).
            match (self.insist(some, tally, &mut refused).await?, some) {
                (None, _) => {}
                (Some(why), [one]) => _ = refused.insert((one.number, one.event.offset), why),
                (Some(_), _) => parts.halve(part),
            }
        }
        for ((number, offset), why) in refused {
            tally.poison(number, offset, &why);
        }
        Ok(())
    }

    /// The newest birth that is believed. What is from the future by this machine's clock is poison only if it is by the database's,
    /// too: while they say different things of an event, one of them is wrong, and it waits (R13).
    async fn latest(&self, batch: &[(i32, Envelope)]) -> anyhow::Result<u64> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(10));
        let latest = |now: u64| now.saturating_add(clock::micros(self.future_most));
        loop {
            let ours = latest(clock::now_micros());
            let births = batch.iter().filter_map(|(_, envelope)| envelope.birth_micros());
            let Some(first) = births.filter(|birth| *birth > ours).min() else { return Ok(ours) };
            match self.table.database().now().await {
                Ok(theirs) if first > latest(theirs) => return Ok(ours),
                Ok(_) => tracing::warn!(
                    "the replay waits: an event is from the future by this machine's clock, and by the database's it is not: one \
                     of them is wrong"
                ),
                Err(error) if error.class() == FailureClass::Fatal => return Err(error.into()),
                Err(error) => tracing::warn!(%error, "the replay waits: {error}"),
            }
            self.pause(&mut backoff).await?;
        }
    }

    /// # Errors
    /// The replay is to stop.
    async fn pause(&self, backoff: &mut Backoff) -> anyhow::Result<()> {
        tokio::select! {
            () = tokio::time::sleep(backoff.next(rand::random())) => Ok(()),
            () = self.stopping.cancelled() => anyhow::bail!("told to stop"),
        }
    }

    /// Until the database takes these events, or refuses one of them for good, and why.
    async fn insist(
        &self,
        events: &[Ready<'_>],
        tally: &mut Tally,
        refused: &mut Refused,
    ) -> anyhow::Result<Option<String>> {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(10));
        loop {
            match self.transact(events, tally, refused).await {
                Ok(()) => return Ok(None),
                Err(Failed::Poison(why)) => return Ok(Some(why)),
                Err(Failed::Table(error)) if error.class() == FailureClass::Fatal => return Err(error.into()),
                Err(Failed::Table(error)) => {
                    tracing::warn!(%error, "the replay waits: {error}");
                    self.pause(&mut backoff).await?;
                }
            }
        }
    }

    /// R13 without what is the lanes' own, and R14.
    async fn transact(&self, events: &[Ready<'_>], tally: &mut Tally, refused: &mut Refused) -> Result<(), Failed> {
        let records = coalesce(events.iter().map(|ready| ready.event.clone()));
        let incoming: Vec<_> = records.iter().map(Coalesced::incoming).collect();
        let epoch = self.settler.epoch();
        let held = self.write(&incoming).await?;
        for ((record, row), held) in records.iter().zip(&incoming).zip(held) {
            // Another record's row held a unique key, and may have given it up in this very batch.
            let held = match held {
                Some(held) => Some(held),
                None => self.write(std::slice::from_ref(row)).await?.into_iter().next().flatten(),
            };
            match held {
                Some(held) => self.settle(record, held, epoch, tally),
                None if events.len() == 1 => return Err(Failed::Poison(DISPLACED.to_owned())),
                None => {
                    // Older versions of it may have had another key.
                    let own: Vec<_> = events.iter().filter(|ready| ready.event.id == record.id).cloned().collect();
                    self.one_by_one(&own, tally, refused).await?;
                }
            }
        }
        Ok(())
    }

    async fn one_by_one(&self, events: &[Ready<'_>], tally: &mut Tally, refused: &mut Refused) -> Result<(), Failed> {
        for ready in events {
            let done = Box::pin(self.transact(std::slice::from_ref(ready), tally, refused)).await;
            match done {
                Err(Failed::Poison(why)) => _ = refused.insert((ready.number, ready.event.offset), why),
                ended => ended?,
            }
        }
        Ok(())
    }

    async fn write(&self, incoming: &[Incoming<'_>]) -> Result<Vec<Option<Held>>, Failed> {
        self.table.apply(incoming, clock::now_micros()).await.map_err(|error| match error.class() {
            FailureClass::Poison => Failed::Poison(error.to_string()),
            _ => Failed::Table(error),
        })
    }

    fn settle(&self, record: &Coalesced<'_>, held: Held, epoch: u64, tally: &mut Tally) {
        if held.fresh && held.version == record.version {
            tally.changed += 1;
        }
        let entity = self.table.entity().name().to_owned();
        let settled = Settled { entity, id: record.id.clone(), held: held.version, epoch };
        self.settler.settle(Outcome::Held(settled));
    }
}

const DISPLACED: &str = "its row conflicts with another id's in a unique key of the table";
