//! How long a member may be without a steady place in its group. Pure.
//!
//! librdkafka looks after its place by itself, and now and then waits for what never comes: a commit that nobody answers, of a
//! member whose session is over. From outside one sees only that it takes too long.

use std::time::{Duration, Instant};

/// Since when a member has not been steady while Kafka answered.
#[derive(Debug)]
pub(crate) struct Steadiness {
    most: Duration,
    since: Option<Instant>,
    was_steady: bool,
}

impl Steadiness {
    /// Of a member that is made just now, and may be unsteady for so long.
    pub(crate) fn new(most: Duration) -> Self {
        Self { most, since: None, was_steady: false }
    }

    /// A look at it. `Some`: it has been unsteady for so long, which is too long. Without Kafka no member is steady, and another
    /// client would not be either: that time does not count.
    pub(crate) fn overdue(&mut self, now: Instant, steady: bool, kafka_answers: bool) -> Option<Duration> {
        self.was_steady |= steady;
        if steady || !kafka_answers {
            self.since = None;
            return None;
        }
        let unsteady = now.saturating_duration_since(*self.since.get_or_insert(now));
        (unsteady >= self.most).then_some(unsteady)
    }

    /// Whether it ever had its place.
    pub(crate) fn was_steady(&self) -> bool {
        self.was_steady
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: Duration = Duration::from_secs(10);

    proptest! {
        /// By all looks so far, newest first: those without a break in which it was unsteady while Kafka answered.
        #[test]
        fn a_member_is_given_up_exactly_when_it_was_unsteady_for_the_whole_time_while_kafka_answered(
            looks in proptest::collection::vec((0u64..4_000, proptest::bool::weighted(0.1), proptest::bool::weighted(0.9)), 1..60)
        ) {
            let (mut steadiness, begun) = (Steadiness::new(MOST), Instant::now());
            let (mut now, mut seen) = (begun, Vec::new());
            for (after, steady, answers) in looks {
                now += Duration::from_millis(after);
                seen.push((now, steady, answers));
                let run = seen.iter().rev().take_while(|(_, steady, answers)| !steady && *answers);
                let unsteady = run.last().map(|(first, ..)| now - *first);
                prop_assert_eq!(steadiness.overdue(now, steady, answers), unsteady.filter(|it| *it >= MOST));
                prop_assert_eq!(steadiness.was_steady(), seen.iter().any(|(_, steady, _)| *steady));
            }
        }
    }
}
