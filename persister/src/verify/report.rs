//! What a comparison has found, for a human and for a program.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::judge::{Difference, Sight};
use super::seen::{InCache, Seen};

/// One id whose sources differ.
#[derive(Debug)]
pub(crate) struct Different {
    pub(super) id: Box<str>,
    pub(super) differences: Vec<Difference>,
    pub(super) sight: Sight,
}

/// The outcome for one entity.
#[derive(Debug)]
pub(crate) struct Compared {
    pub(super) entity: String,
    /// Ids that any source has.
    pub(super) ids: u64,
    pub(super) events: u64,
    pub(super) rows: u64,
    pub(super) cached: u64,
    /// Events that the table can have nothing of.
    pub(super) poison: u64,
    /// Ids that did not agree at first, and were looked at alone.
    pub(super) suspects: u64,
    pub(super) different: Vec<Different>,
    /// Ids that differed at every look, each time in other versions.
    pub(super) in_motion: Vec<Box<str>>,
    /// Ids that did not agree at first, and of which there were too many to look again.
    pub(super) unlooked: u64,
}

impl Compared {
    pub(super) fn of(entity: &str) -> Self {
        let entity = entity.to_owned();
        let (different, in_motion) = (Vec::new(), Vec::new());
        Self {
            entity,
            ids: 0,
            events: 0,
            rows: 0,
            cached: 0,
            poison: 0,
            suspects: 0,
            different,
            in_motion,
            unlooked: 0,
        }
    }

    /// Whether any id differs for certain.
    pub(crate) fn differs(&self) -> bool {
        !self.different.is_empty()
    }

    /// Whether every id could be judged.
    pub(crate) fn is_whole(&self) -> bool {
        self.in_motion.is_empty() && self.unlooked == 0
    }

    /// A line for the whole, and a few for each of the first `most` ids that differ.
    pub(crate) fn text(&self, most: usize) -> String {
        let Self { entity, ids, events, rows, cached, poison, .. } = self;
        let verdict = match (self.different.len(), self.is_whole()) {
            (0, true) => "cache, topic and table agree".to_owned(),
            (0, false) => "no id differs for certain, but not every id could be judged".to_owned(),
            (number, _) => format!("{number} ids differ"),
        };
        let mut text = format!(
            "{entity}: {verdict} ({ids} ids: {events} events, {rows} rows, {cached} cached records, {poison} events that no row can hold)\n"
        );
        for Different { id, differences, sight } in self.different.iter().take(most) {
            let sentences: Vec<_> = differences.iter().map(|difference| difference.sentence()).collect();
            // Into a String this cannot fail.
            writeln!(text, "{entity} {id}: {}", sentences.join("; ")).ok();
            let topic = sight.newest_in_topic();
            writeln!(
                text,
                "    topic {}\n    table {}\n    cache {}",
                shown(topic),
                shown(sight.row),
                kept(sight.cached)
            )
            .ok();
        }
        let rest = self.different.len().saturating_sub(most);
        if rest > 0 {
            writeln!(text, "{entity}: and {rest} more (--ids-most)").ok();
        }
        if !self.in_motion.is_empty() {
            let named = self.in_motion.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
            writeln!(text, "{entity}: {} ids changed at every look: {named}", self.in_motion.len()).ok();
        }
        if self.unlooked > 0 {
            writeln!(
                text,
                "{entity}: {} more did not agree at first and were not looked at again (--ids-in-memory-most)",
                self.unlooked
            )
            .ok();
        }
        text
    }

    pub(crate) fn json(&self, most: usize) -> Value {
        let different = self.different.iter().take(most).map(|Different { id, differences, sight }| {
            let topic = sight.newest_in_topic();
            json!({
                "id": id,
                "differences": differences.iter().map(|difference| difference.as_str()).collect::<Vec<_>>(),
                "topic": object(topic),
                "table": object(sight.row),
                "cache": cached(sight.cached),
            })
        });
        json!({
            "entity": self.entity,
            "ids": self.ids,
            "events": self.events,
            "rows": self.rows,
            "cached": self.cached,
            "poison": self.poison,
            "looked_at_again": self.suspects,
            "different": self.different.len(),
            "differing": different.collect::<Vec<_>>(),
            "in_motion": self.in_motion.len(),
            "not_looked_at_again": self.unlooked,
        })
    }
}

fn shown(seen: Option<Seen>) -> String {
    seen.map_or_else(|| "nothing".to_owned(), |seen| format!("{} {}", seen.version, seen.content))
}

fn kept(cached: Option<InCache>) -> String {
    match cached {
        None => "nothing".to_owned(),
        Some(InCache::Orphan) => "only an entry of outbox or unsettled".to_owned(),
        Some(InCache::Record { seen, state, .. }) => format!("{} {}", shown(Some(seen)), state.as_str()),
    }
}

fn object(seen: Option<Seen>) -> Value {
    seen.map_or(Value::Null, |seen| json!({ "version": seen.version.get(), "content": seen.content.to_string() }))
}

fn cached(cached: Option<InCache>) -> Value {
    match cached {
        None => Value::Null,
        Some(InCache::Orphan) => json!({ "state": Value::Null }),
        Some(InCache::Record { seen, state, in_outbox, in_unsettled }) => json!({
            "version": seen.version.get(),
            "content": seen.content.to_string(),
            "state": state.as_str(),
            "in_outbox": in_outbox,
            "in_unsettled": in_unsettled,
        }),
    }
}
