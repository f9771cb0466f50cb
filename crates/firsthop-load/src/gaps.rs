//! How long it was quiet between packets, as a histogram: what an ear without a buffer would hear.

use std::time::Duration;

/// How many bins there are; the last one counts all gaps that are longer.
pub const BINS: usize = 2000;
/// Gaps that one bin counts.
pub const BIN: Duration = Duration::from_micros(250);

/// A histogram of gaps: bin n counts those in [n, n + 1) times [`BIN`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gaps {
    bins: Vec<u64>,
    longest: Duration,
}

impl Default for Gaps {
    fn default() -> Self {
        Self {
            bins: vec![0; BINS],
            longest: Duration::ZERO,
        }
    }
}

impl Gaps {
    /// Counts one gap.
    pub fn add(&mut self, gap: Duration) {
        let bin = gap.as_nanos() / BIN.as_nanos();
        let bin = usize::try_from(bin).unwrap_or(usize::MAX).min(BINS - 1);
        self.bins[bin] += 1;
        self.longest = self.longest.max(gap);
    }

    /// Counts all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            *bin += more;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// The longest gap since it was last asked for.
    pub fn take_longest(&mut self) -> Duration {
        std::mem::take(&mut self.longest)
    }

    /// The counts, [`BINS`] of them.
    #[must_use]
    pub fn bins(&self) -> &[u64] {
        &self.bins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_counted_once_in_the_bin_that_holds_it() {
        let mut gaps = Gaps::default();
        for (micros, bin) in [
            (0, 0),
            (249, 0),
            (250, 1),
            (20_000, 80),
            (499_750, 1999),
            (9_000_000, 1999),
        ] {
            let before = gaps.bins()[bin];
            gaps.add(Duration::from_micros(micros));
            assert_eq!(gaps.bins()[bin], before + 1, "{micros} µs");
        }
        assert_eq!(gaps.bins().iter().sum::<u64>(), 6);
        let mut merged = gaps.clone();
        assert_eq!(merged.take_longest(), Duration::from_secs(9));
        assert_eq!(merged.take_longest(), Duration::ZERO);
        merged.merge(&gaps);
        assert!(
            merged
                .bins()
                .iter()
                .zip(gaps.bins())
                .all(|(two, one)| *two == 2 * one)
        );
        assert_eq!(merged.take_longest(), Duration::from_secs(9));
    }
}
