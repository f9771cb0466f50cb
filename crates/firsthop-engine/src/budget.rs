//! How many packets of one client are looked at: a token bucket. A client that sends more, or whose
//! address somebody else sends from, loses its own packets and takes no time from its neighbours.

use std::time::{Duration, Instant};

/// In a second, on the average: a call takes 50 to 100, and a large message on the data channel
/// some hundreds.
const PER_SECOND: u32 = 1000;
/// At once: what a path delivers after a stall.
const BURST: u32 = 2000;
const EACH: Duration = Duration::from_micros(1_000_000 / PER_SECOND as u64);

/// What one client may still send.
pub(crate) struct Budget {
    left: u32,
    /// When the tokens were last counted.
    counted: Instant,
}

impl Budget {
    /// A full budget at `now`.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            counted: now,
        }
    }

    /// Takes one packet off. False: nothing is left.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        if self.left < BURST / 2 {
            self.refill(now);
        }
        let admitted = self.left > 0;
        self.left = self.left.saturating_sub(1);
        admitted
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted);
        let earned = (passed.as_micros() / EACH.as_micros()).min(u128::from(BURST)) as u32;
        self.left = (self.left + earned).min(BURST);
        self.counted += EACH * earned;
        if self.left == BURST {
            self.counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `per_second` packets are admitted in each of `seconds` seconds.
    fn admitted(budget: &mut Budget, start: Instant, per_second: u32, seconds: u32) -> Vec<u32> {
        (0..seconds)
            .map(|second| {
                let at = |n| {
                    start
                        + Duration::from_secs(1) * second
                        + Duration::from_secs(1) * n / per_second
                };
                (0..per_second).filter(|&n| budget.spend(at(n))).count() as u32
            })
            .collect()
    }

    #[test]
    fn a_call_never_feels_it() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        assert_eq!(admitted(&mut budget, start, 900, 30), vec![900; 30]);
    }

    #[test]
    fn a_flood_gets_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let seconds = admitted(&mut budget, start, 50_000, 4);
        assert!(seconds[0] <= BURST + PER_SECOND, "{seconds:?}");
        for later in &seconds[1..] {
            assert!(later.abs_diff(PER_SECOND) <= 1, "{seconds:?}");
        }
    }

    #[test]
    fn whoever_rests_gets_the_burst_again_and_no_more() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        while budget.spend(start) {}
        let later = start + Duration::from_secs(3600);
        let again = (0..10 * BURST).filter(|_| budget.spend(later)).count() as u32;
        assert!((BURST..=BURST + 1).contains(&again), "{again}");
    }
}
