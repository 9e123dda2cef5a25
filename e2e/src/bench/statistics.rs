//! Medians and what lies around them. Pure.

/// The middle of a sample, and its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle value; of an even number the lower one.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of a sample; `None` of nothing.
    #[must_use]
    pub fn of(sample: &[f64]) -> Option<Self> {
        Some(Self { median: quantile(sample, 0.5)?, least: quantile(sample, 0.0)?, most: quantile(sample, 1.0)? })
    }
}

/// The value below which this share of the sample lies (nearest rank); `None` of nothing.
#[must_use]
pub fn quantile(sample: &[f64], share: f64) -> Option<f64> {
    let mut sorted = sample.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank")]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Round by round, the first by the second: what the machine did to both in a round is not in their ratio.
#[must_use]
pub fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(of, to)| of / to).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_sample() {
        let sample = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(Spread::of(&sample), Some(Spread { median: 3.0, least: 1.0, most: 5.0 }));
        assert_eq!(quantile(&sample, 0.99), Some(5.0));
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        assert_eq!(ratios(&[1.0, 2.0], &[2.0, 8.0]), [0.5, 0.25]);
    }
}
