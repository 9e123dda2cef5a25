//! G7 on the way of a dead letter: wherever the persister dies there, nothing is lost, and nothing is noted twice.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::System;
use e2e::system::FAIL_POINTS;
use stack::{Lifetime, Process};

use crate::dead::{POISON, letters, notes, position, prepared, put, rows, until_behind};

/// Who is killed is no member any more soon after.
const SOON_GONE: [(&str, &str); 3] =
    [("SESSION_TIMEOUT_MS", "3000"), ("POLL_INTERVAL_MOST_MS", "4000"), ("DRAIN_DEADLINE_MS", "500")];

/// `k44`, `k49`, `k31`: killed after the first half is applied, before the notes, and before the commit. It stands there for as
/// long as many commits take: whatever it would allow to be committed too early is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g7_a_crash_on_the_way_of_a_dead_letter_loses_nothing_and_notes_it_once() -> Result<()> {
    let places =
        ["lane.applied=pause", "lane.applied=2*off->pause", "letters.acknowledged=pause", "letters.noted=pause"];
    for place in places {
        let mut system =
            prepared(&[&[(FAIL_POINTS, place), ("COMMIT_EVERY_MS", "10")][..], &SOON_GONE].concat()).await?;
        for id in 0..8 {
            put(&system, &id.to_string(), if id == 3 || id == 6 { POISON } else { "Jane" }).await?;
        }
        // One that stands there need not become ready.
        let persister = Process::spawn(&system.persister_spec(&system.persister_admin_url), Lifetime::Attached)?;
        let stands = async |system: &System| match place {
            "letters.acknowledged=pause" => Ok(!letters(system)?.is_empty()),
            "letters.noted=pause" => Ok(!notes(system).await?.is_empty()),
            _ => Ok(!rows(system).await?.is_empty()),
        };
        system.eventually(place, async || stands(&system).await).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        persister.kill()?;
        let (reached, applied) = (usize::try_from(position(&system)?)?, rows(&system).await?);
        let noted: Vec<_> = notes(&system).await?.into_iter().map(|(offset, ..)| offset).collect();
        assert!(applied.len() + noted.len() < 8, "{place}: it was not stopped there, and this shows nothing");
        for offset in 0..reached {
            let done = applied.contains_key(&offset.to_string()) || noted.contains(&i64::try_from(offset)?);
            assert!(done, "{place}: {reached} is committed, and the event at {offset} is nowhere");
        }
        system.settings.retain(|(name, _)| name != FAIL_POINTS);
        system.start_persister().await?;
        until_behind(&system, 8).await.context(place)?;
        assert_eq!(rows(&system).await?.len(), 6, "{place}");
        let offsets: Vec<_> = notes(&system).await?.into_iter().map(|(offset, ..)| offset).collect();
        assert_eq!(offsets, [3, 6], "{place}");
        let there: BTreeSet<_> = letters(&system)?.iter().map(|letter| letter.key.clone()).collect();
        assert_eq!(there, ["3".to_owned(), "6".to_owned()].into(), "{place}: a letter was noted and is not there");
    }
    Ok(())
}
