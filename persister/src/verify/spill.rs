//! More ids than memory may hold: what one source has of each, folded while there is room, then spread over files by a digest of
//! the id, and read back a part at a time. Each source is read once; the files take about 30 bytes and the id per entry, are
//! never linked into a folder, and so are gone with the process however it ends.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::marker::PhantomData;
use std::path::Path;

use cache::State;
use record::Version;

use super::seen::{Content, DIGEST, InCache, InTopic, Seen};

/// Files of one source.
pub(crate) const BUCKETS: u64 = 64;

/// What a source has of an id, in a fixed number of bytes.
pub(crate) trait Spilled: Copy {
    /// What remains of two.
    fn fold(known: Self, next: Self) -> Self;
    fn put(self) -> [u8; SIZE];
    /// `None`: these bytes are not ours.
    fn get(bytes: [u8; SIZE]) -> Option<Self>;
}

pub(crate) const SIZE: usize = 2 + 8 + DIGEST;

/// Takes what a source has, in any order.
#[derive(Debug)]
pub(crate) struct Spill<T> {
    held: HashMap<Box<str>, T>,
    most: usize,
    buckets: Vec<(BufWriter<File>, u64)>,
}

/// What it has taken.
#[derive(Debug)]
pub(crate) struct Heap<T> {
    buckets: Vec<(File, u64)>,
    of: PhantomData<T>,
}

/// One of several equal shares of a bucket's ids.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

impl<T: Spilled> Spill<T> {
    /// Holds at most `most` ids at a time; its files lie on the disk of `folder`.
    pub(crate) fn new(most: usize, folder: &Path) -> io::Result<Self> {
        let bucket = |_| Ok((BufWriter::new(tempfile::tempfile_in(folder)?), 0));
        Ok(Self { held: HashMap::new(), most, buckets: (0..BUCKETS).map(bucket).collect::<io::Result<_>>()? })
    }

    pub(crate) fn add(&mut self, id: &str, item: T) -> io::Result<()> {
        if let Some(known) = self.held.get_mut(id) {
            *known = T::fold(*known, item);
            return Ok(());
        }
        if self.held.len() >= self.most {
            self.write_out()?;
        }
        self.held.insert(id.into(), item);
        Ok(())
    }

    fn write_out(&mut self) -> io::Result<()> {
        for (id, item) in self.held.drain() {
            let place = usize::try_from(hash(&id) % BUCKETS).unwrap_or_default();
            let Some((file, entries)) = self.buckets.get_mut(place) else { continue };
            let length = u16::try_from(id.len()).map_err(io::Error::other)?;
            file.write_all(&length.to_be_bytes())?;
            file.write_all(id.as_bytes())?;
            file.write_all(&item.put())?;
            *entries += 1;
        }
        Ok(())
    }

    pub(crate) fn finish(mut self) -> io::Result<Heap<T>> {
        self.write_out()?;
        let file = |(file, entries): (BufWriter<File>, u64)| Ok((file.into_inner()?, entries));
        Ok(Heap { buckets: self.buckets.into_iter().map(file).collect::<io::Result<_>>()?, of: PhantomData })
    }
}

impl<T: Spilled> Heap<T> {
    /// How many entries a bucket has: its ids, and some of them more than once.
    pub(crate) fn entries(&self, bucket: u64) -> u64 {
        let place = usize::try_from(bucket).unwrap_or(usize::MAX);
        self.buckets.get(place).map_or(0, |(_, entries)| *entries)
    }

    /// A part of a bucket, folded.
    pub(crate) fn load(&mut self, bucket: u64, part: Part) -> io::Result<HashMap<Box<str>, T>> {
        let place = usize::try_from(bucket).unwrap_or(usize::MAX);
        let Some((file, entries)) = self.buckets.get_mut(place) else { return Ok(HashMap::new()) };
        file.rewind()?;
        let (mut file, mut items) = (BufReader::new(file), HashMap::new());
        for _ in 0..*entries {
            let (mut length, mut bytes) = ([0; 2], [0; SIZE]);
            file.read_exact(&mut length)?;
            let mut id = vec![0; usize::from(u16::from_be_bytes(length))];
            file.read_exact(&mut id)?;
            file.read_exact(&mut bytes)?;
            let id = String::from_utf8(id).map_err(io::Error::other)?;
            let item = T::get(bytes).ok_or_else(|| io::Error::other("an entry of ours is damaged"))?;
            if (hash(&id) / BUCKETS) % part.of != part.index {
                continue;
            }
            let item = items.get(id.as_str()).map_or(item, |known| T::fold(*known, item));
            items.insert(id.into_boxed_str(), item);
        }
        Ok(items)
    }
}

const DELETED: u8 = 0;
const DIGESTED: u8 = 1;
const UNREADABLE: u8 = 2;

fn put(seen: Seen, flags: u8) -> [u8; SIZE] {
    let (kind, digest) = match seen.content {
        Content::Deleted => (DELETED, [0; DIGEST]),
        Content::Digest(digest) => (DIGESTED, digest),
        Content::Unreadable => (UNREADABLE, [0; DIGEST]),
    };
    let mut bytes = [0; SIZE];
    let all = [kind, flags].into_iter().chain(seen.version.get().to_be_bytes()).chain(digest);
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = from;
    }
    bytes
}

fn get(bytes: [u8; SIZE]) -> Option<(Seen, u8)> {
    let [kind, flags, rest @ ..] = bytes;
    let (version, digest) = rest.split_first_chunk::<8>()?;
    let content = match kind {
        DELETED => Content::Deleted,
        DIGESTED => Content::Digest(digest.try_into().ok()?),
        UNREADABLE => Content::Unreadable,
        _ => return None,
    };
    Some((Seen { version: Version::new(u64::from_be_bytes(*version)).ok()?, content }, flags))
}

impl Spilled for Seen {
    fn fold(known: Self, next: Self) -> Self {
        Self::newest(Some(known), next)
    }

    fn put(self) -> [u8; SIZE] {
        put(self, 0)
    }

    fn get(bytes: [u8; SIZE]) -> Option<Self> {
        get(bytes).map(|(seen, _)| seen)
    }
}

const TAIL_BEHIND: u8 = 1;

impl Spilled for InTopic {
    fn fold(known: Self, next: Self) -> Self {
        known.then(next)
    }

    fn put(self) -> [u8; SIZE] {
        put(self.seen, if self.tail_behind { TAIL_BEHIND } else { 0 })
    }

    fn get(bytes: [u8; SIZE]) -> Option<Self> {
        get(bytes).map(|(seen, flags)| Self { seen, tail_behind: flags & TAIL_BEHIND != 0 })
    }
}

const STATES: [State; 3] = [State::Cached, State::Logged, State::Persisted];
const ORPHAN: u8 = 3;
const IN_OUTBOX: u8 = 4;
const IN_UNSETTLED: u8 = 8;

impl Spilled for InCache {
    /// A scan may come by twice: the later look counts.
    fn fold(_: Self, next: Self) -> Self {
        next
    }

    fn put(self) -> [u8; SIZE] {
        match self {
            Self::Orphan => put(Seen { version: Version::ZERO, content: Content::Deleted }, ORPHAN),
            Self::Record { seen, state, in_outbox, in_unsettled } => {
                let state = STATES.iter().zip(0..).find(|(known, _)| **known == state).map_or(0, |(_, number)| number);
                let member = |is: bool, flag: u8| if is { flag } else { 0 };
                put(seen, state | member(in_outbox, IN_OUTBOX) | member(in_unsettled, IN_UNSETTLED))
            }
        }
    }

    fn get(bytes: [u8; SIZE]) -> Option<Self> {
        let (seen, flags) = get(bytes)?;
        if flags == ORPHAN {
            return Some(Self::Orphan);
        }
        let state = *STATES.get(usize::from(flags & 3))?;
        Some(Self::Record { seen, state, in_outbox: flags & IN_OUTBOX != 0, in_unsettled: flags & IN_UNSETTLED != 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn content() -> impl Strategy<Value = Content> {
        prop_oneof![Just(Content::Deleted), Just(Content::Unreadable), any::<[u8; DIGEST]>().prop_map(Content::Digest)]
    }

    fn seen() -> impl Strategy<Value = Seen> {
        (0u64..1 << 53, content())
            .prop_map(|(version, content)| Seen { version: Version::new(version).unwrap(), content })
    }

    fn in_cache() -> impl Strategy<Value = InCache> {
        let record =
            (seen(), 0usize..3, any::<bool>(), any::<bool>()).prop_map(|(seen, state, in_outbox, in_unsettled)| {
                InCache::Record { seen, state: STATES[state], in_outbox, in_unsettled }
            });
        prop_oneof![Just(InCache::Orphan), record]
    }

    proptest! {
        #[test]
        fn what_was_put_comes_back(seen in seen(), cached in in_cache()) {
            prop_assert_eq!(Seen::get(seen.put()), Some(seen));
            prop_assert_eq!(InCache::get(cached.put()), Some(cached));
            for tail_behind in [false, true] {
                let topic = InTopic { seen, tail_behind };
                prop_assert_eq!(InTopic::get(topic.put()), Some(topic));
            }
        }

        /// However few are held: what is remembered of an id is its newest event, and whether its last one is older.
        #[test]
        fn r13_of_each_id_it_is_known_whether_its_last_event_is_its_newest(
            items in proptest::collection::vec((0u16..6, seen()), 0..100), most in 1usize..8
        ) {
            let mut spill = Spill::new(most, &std::env::temp_dir()).unwrap();
            let mut events: HashMap<String, Vec<Version>> = HashMap::new();
            for (id, item) in &items {
                let id = format!("id{id}");
                spill.add(&id, InTopic::of(*item)).unwrap();
                events.entry(id).or_default().push(item.version);
            }
            let mut heap = spill.finish().unwrap();
            for bucket in 0..BUCKETS {
                for (id, item) in heap.load(bucket, Part { index: 0, of: 1 }).unwrap() {
                    let all = events.remove(&*id).unwrap();
                    prop_assert_eq!(Some(&item.seen.version), all.iter().max());
                    prop_assert_eq!(item.tail_behind, all.last() != all.iter().max(), "{:?}", all);
                }
            }
            prop_assert!(events.is_empty());
        }

        #[test]
        fn every_id_comes_back_in_one_part_with_its_newest_version_and_never_more_are_held(
            items in proptest::collection::vec((0u16..60, seen()), 0..200), most in 1usize..20, of in 1u64..5
        ) {
            let mut spill = Spill::new(most, &std::env::temp_dir()).unwrap();
            let mut newest: HashMap<String, Seen> = HashMap::new();
            for (id, item) in &items {
                let id = format!("id{id}");
                spill.add(&id, *item).unwrap();
                prop_assert!(spill.held.len() <= most, "{} ids are held", spill.held.len());
                let known = newest.get(&id).copied();
                newest.insert(id, Seen::newest(known, *item));
            }
            let mut heap = spill.finish().unwrap();
            let (mut back, mut met) = (HashMap::new(), HashSet::new());
            for bucket in 0..BUCKETS {
                for index in 0..of {
                    for (id, item) in heap.load(bucket, Part { index, of }).unwrap() {
                        prop_assert!(met.insert(id.clone()), "{} came twice", id);
                        back.insert(String::from(id), item.version);
                    }
                }
            }
            let newest: HashMap<_, _> = newest.into_iter().map(|(id, seen)| (id, seen.version)).collect();
            prop_assert_eq!(back, newest);
        }
    }
}
