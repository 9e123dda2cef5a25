//! What strikes when, as a pure function of the seed.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use stack::Fsync;

use super::faults::Needs;

/// A fault as the draw sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What the round must have for it.
    pub needs: Needs,
    /// How often it is drawn.
    pub weight: u32,
}

/// A fault and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which of the candidates.
    pub fault: usize,
    /// When it strikes, after the load began. Later when what it hurts is being hurt already, or two are on.
    pub at: Duration,
    /// How long it is kept up.
    pub hold: Duration,
}

/// How the persisters of a round are members of their group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// By KIP-848 instead of the classic protocol.
    pub by_broker: bool,
    /// With names that they keep.
    pub named: bool,
}

/// Whether the persisters of a round have names of their own in the group (`--group-instance-id`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Names {
    /// In one round of three.
    #[default]
    Drawn,
    /// In each.
    Always,
    /// In none.
    Never,
}

impl Names {
    /// The round as it was drawn, but for the names of its members.
    #[must_use]
    pub fn of(self, plan: Plan) -> Plan {
        let named = match self {
            Self::Drawn => plan.members.named,
            Self::Always => true,
            Self::Never => false,
        };
        Plan { members: Membership { named, ..plan.members }, ..plan }
    }
}

/// A round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What all of it comes from.
    pub seed: u64,
    /// What Redis keeps on disk.
    pub fsync: Fsync,
    /// How the persisters share out the partitions.
    pub members: Membership,
    /// What the faults need together.
    pub needs: Needs,
    /// In the order of their times.
    pub planned: Vec<Planned>,
}

/// Draws a round: a fault every two to five seconds while the load lasts.
#[must_use]
pub fn plan(seed: u64, candidates: &[Candidate], load: Duration) -> Plan {
    let mut random = SmallRng::seed_from_u64(seed);
    let policies = [Fsync::EverySecond, Fsync::EverySecond, Fsync::Always, Fsync::Never, Fsync::NoFile];
    let fsync = policies.get(random.random_range(0..policies.len())).copied().unwrap_or_default();
    let members = Membership { by_broker: random.random_ratio(1, 3), named: random.random_ratio(1, 3) };
    let fits = |three: bool| {
        let fitting = move |candidate: &Candidate| candidate.needs.three_nodes.is_none_or(|needed| needed == three);
        candidates.iter().enumerate().filter(move |(_, candidate)| fitting(candidate))
    };
    let asks = |three: bool| candidates.iter().any(|candidate| candidate.needs.three_nodes == Some(three));
    // One round in four has three nodes, unless all faults ask for the same.
    let three = match (asks(true), asks(false)) {
        (true, true) => random.random_ratio(1, 4),
        (three, _) => three && random.random_ratio(1, if fits(false).next().is_some() { 4 } else { 1 }),
    };
    let pool: Vec<_> = fits(three).collect();
    let mut needs = Needs { three_nodes: Some(three), ..Needs::default() };
    let (mut planned, mut at) = (Vec::new(), Duration::from_millis(random.random_range(500..1_500)));
    while at < load && !pool.is_empty() {
        if let Some((fault, candidate)) = draw(&pool, &mut random) {
            needs = needs.and(candidate.needs);
            planned.push(Planned { fault, at, hold: Duration::from_millis(random.random_range(500..4_000)) });
        }
        at += Duration::from_millis(random.random_range(2_000..5_000));
    }
    // A disk that nothing is written to never is full.
    let fsync = if needs.redis_disk && fsync == Fsync::NoFile { Fsync::EverySecond } else { fsync };
    Plan { seed, fsync, members, needs, planned }
}

fn draw<'c>(pool: &[(usize, &'c Candidate)], random: &mut SmallRng) -> Option<(usize, &'c Candidate)> {
    let all: u32 = pool.iter().map(|(_, candidate)| candidate.weight).sum();
    let mut at = random.random_range(0..all.max(1));
    pool.iter().copied().find(|(_, candidate)| {
        let here = at < candidate.weight;
        at = at.saturating_sub(candidate.weight);
        here
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::faults::catalogue;

    const LOAD: Duration = Duration::from_secs(25);

    fn candidates() -> Vec<Candidate> {
        catalogue().iter().map(|fault| Candidate { needs: fault.needs(), weight: fault.weight() }).collect()
    }

    #[test]
    fn a_round_is_a_function_of_its_seed() {
        let candidates = candidates();
        for seed in 0..50 {
            assert_eq!(plan(seed, &candidates, LOAD), plan(seed, &candidates, LOAD));
        }
        assert_ne!(plan(1, &candidates, LOAD), plan(2, &candidates, LOAD));
    }

    #[test]
    fn whether_members_have_names_can_be_said_and_changes_nothing_else_of_a_round() {
        let candidates = candidates();
        let plans: Vec<_> = (0..300).map(|seed| plan(seed, &candidates, LOAD)).collect();
        let named = |names: Names| plans.iter().filter(|plan| names.of((*plan).clone()).members.named).count();
        assert!((60..150).contains(&named(Names::Drawn)), "one in three, not {} of 300", named(Names::Drawn));
        assert_eq!((named(Names::Always), named(Names::Never)), (300, 0));
        for drawn in plans {
            let members = Membership { named: !drawn.members.named, ..drawn.members };
            let other = if members.named { Names::Always } else { Names::Never };
            assert_eq!(other.of(drawn.clone()), Plan { members, ..drawn.clone() });
            assert_eq!(Names::Drawn.of(drawn.clone()), drawn);
        }
    }

    #[test]
    fn a_fault_strikes_every_two_to_five_seconds_and_every_one_has_its_turn() {
        let candidates = candidates();
        let mut drawn = vec![0; candidates.len()];
        for seed in 0..1_000 {
            let plan = plan(seed, &candidates, LOAD);
            assert!(plan.planned.len() >= 5, "{plan:?}");
            for (one, next) in plan.planned.iter().zip(plan.planned.iter().skip(1)) {
                assert!((2_000..5_000).contains(&(next.at - one.at).as_millis()), "{plan:?}");
            }
            plan.planned.iter().for_each(|planned| drawn[planned.fault] += 1);
        }
        let never: Vec<_> =
            catalogue().iter().zip(&drawn).filter(|(_, times)| **times == 0).map(|(f, _)| f.name()).collect();
        assert!(never.is_empty(), "{never:?}");
    }

    #[test]
    fn a_round_has_one_node_or_three_and_only_faults_that_fit() {
        let candidates = candidates();
        let three = (0..1_000).map(|seed| plan(seed, &candidates, LOAD)).filter(|plan| {
            let three = plan.needs.three_nodes == Some(true);
            for planned in &plan.planned {
                let needed = candidates[planned.fault].needs.three_nodes;
                assert!(needed.is_none_or(|needed| needed == three), "{plan:?}");
            }
            three
        });
        assert!((150..350).contains(&three.count()));
    }
}
