//! How late packets come that others overtook, as a path has lately shown: how long a gap is worth
//! waiting for. Takes `now`; no I/O.

use std::time::{Duration, Instant};

/// What was seen counts half as much after this.
const HALF_LIFE: Duration = Duration::from_secs(10);
const BIN: Duration = Duration::from_millis(5);
/// The longest wait is 80 ms.
const BINS: usize = 16;
/// Share of the late packets that a wait is long enough for.
const COVERED: f32 = 0.99;
/// Of a path of which nothing is known, it is as if a packet had once come so late.
const FIRST_GUESS: Duration = Duration::from_millis(40);
/// One gap in so many has to be filled by a late packet, or waits are mostly in vain.
const WORTHWHILE: f32 = 0.1;
/// Late packets that weigh less are forgotten: one after 20 s, a burst of eight after 50.
const FORGOTTEN: f32 = 0.25;
/// What weighs less does not count beside others either.
const NOTHING: f32 = 0.05;

/// A decaying histogram of what became of the packets that were missing.
pub(crate) struct Lateness {
    /// Weights of those that came, by how long after the packet that overtook them.
    came: [f32; BINS],
    /// Weight of those that came later than any wait, or never.
    lost: f32,
    at: Option<Instant>,
}

impl Lateness {
    /// Of a path of which nothing is known.
    pub(crate) fn new() -> Self {
        let mut came = [0.0; BINS];
        came[bin(FIRST_GUESS)] = 1.0;
        Self {
            came,
            lost: 0.0,
            at: None,
        }
    }

    /// The path is there: from now on time counts.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.at.get_or_insert(now);
    }

    /// A packet came this long after another had overtaken it.
    pub(crate) fn came(&mut self, now: Instant, late: Duration) {
        self.decay(now);
        *self.came.get_mut(bin(late)).unwrap_or(&mut self.lost) += 1.0;
    }

    /// `count` packets were given up.
    pub(crate) fn lost(&mut self, now: Instant, count: u64) {
        self.decay(now);
        self.lost += count as f32;
    }

    /// One that was given up came after all: [`Lateness::came`] says when.
    pub(crate) fn found(&mut self) {
        self.lost = (self.lost - 1.0).max(0.0);
    }

    /// How long to wait for a missing packet: up to 80 ms, nothing where none comes late.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let came = self.came.iter().sum::<f32>();
        let forgotten = came * self.fading(now) < FORGOTTEN;
        if forgotten || came < WORTHWHILE * (came + self.lost) {
            return Duration::ZERO;
        }
        let mut covered = 0.0;
        let enough = |weight: &f32| {
            covered += weight;
            covered >= COVERED * came
        };
        let bin = self.came.iter().position(enough).unwrap_or(BINS - 1);
        // The next one may be a little later.
        BIN * (bin + 2).min(BINS) as u32
    }

    fn decay(&mut self, now: Instant) {
        let fading = self.fading(now);
        for weight in &mut self.came {
            *weight *= fading;
            if *weight < NOTHING {
                *weight = 0.0;
            }
        }
        self.lost *= fading;
        self.at = Some(now);
    }

    fn fading(&self, now: Instant) -> f32 {
        let since = self.at.map_or(Duration::ZERO, |at| now - at);
        fading(since, HALF_LIFE)
    }
}

fn bin(late: Duration) -> usize {
    (late.as_micros() / BIN.as_micros()) as usize
}

/// What is left of 1 after `since`.
pub(crate) fn fading(since: Duration, half_life: Duration) -> f32 {
    (-since.as_secs_f32() / half_life.as_secs_f32()).exp2()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A path that has been used for long.
    fn known(start: Instant) -> Lateness {
        let mut lateness = Lateness::new();
        lateness.came = Default::default();
        lateness.begin(start);
        lateness
    }

    #[test]
    fn a_path_that_loses_but_never_reorders_is_not_waited_for() {
        let start = Instant::now();
        let mut lateness = Lateness::new();
        lateness.begin(start);
        assert_eq!(lateness.wait(start), ms(50), "as long as it is not known");
        lateness.lost(start, 8);
        assert_eq!(lateness.wait(start), ms(50));
        lateness.lost(start, 2);
        assert_eq!(lateness.wait(start), ms(0));
        let mut lateness = Lateness::new();
        lateness.begin(start);
        assert_eq!(lateness.wait(start + Duration::from_secs(21)), ms(0));
        // One late packet among many losses is not worth a wait at each of them.
        let mut lateness = known(start);
        lateness.lost(start, 20);
        lateness.came(start, ms(30));
        assert_eq!(lateness.wait(start), ms(0));
    }

    #[test]
    fn the_wait_covers_nearly_all_that_came_late_and_no_more() {
        let now = Instant::now();
        let mut lateness = known(now);
        for late in 0..200 {
            lateness.came(now, ms(late % 30));
        }
        assert_eq!(lateness.wait(now), ms(35));
        lateness.came(now, ms(74));
        assert_eq!(lateness.wait(now), ms(35), "one in two hundred");
        for _ in 0..4 {
            lateness.came(now, ms(74));
        }
        assert_eq!(lateness.wait(now), ms(80), "a burst counts");
        for _ in 0..3000 {
            lateness.came(now, ms(200));
        }
        assert_eq!(lateness.wait(now), ms(0), "beyond any wait");
    }

    #[test]
    fn what_was_seen_is_forgotten() {
        let start = Instant::now();
        let mut lateness = known(start);
        lateness.came(start, ms(12));
        assert_eq!(lateness.wait(start + Duration::from_secs(19)), ms(20));
        assert_eq!(lateness.wait(start + Duration::from_secs(21)), ms(0));
        // The path has become quicker.
        for _ in 0..8 {
            lateness.came(start, ms(60));
        }
        let later = start + Duration::from_secs(40);
        assert_eq!(lateness.wait(later), ms(70));
        for _ in 0..60 {
            lateness.came(later, ms(3));
        }
        assert_eq!(lateness.wait(later), ms(10));
    }

    #[test]
    fn a_packet_that_came_after_all_was_not_lost() {
        let now = Instant::now();
        let mut lateness = known(now);
        lateness.lost(now, 10);
        for _ in 0..10 {
            lateness.found();
            lateness.came(now, ms(22));
        }
        lateness.found();
        assert_eq!(lateness.lost, 0.0);
        assert_eq!(lateness.wait(now), ms(30));
    }
}
