//! Sound that is made as it is said, an echo or a relayed call, comes by a clock that is not ours,
//! and by a path that holds it up: what waits of it grows, and would stay. This tells when some may
//! be left out. Takes `now`; no I/O.
//!
//! Invariant: *what was given ahead of time waits*. A source that was ever ahead of the clock by more
//! than [`AHEAD`] has filled the queue on purpose; and of any, so much is left alone.

use std::time::{Duration, Instant};

use crate::event::UtteranceId;

/// What a live source may be ahead of the clock, as packets of 120 ms are; and what may wait of it.
const AHEAD: Duration = Duration::from_millis(120);
/// Its clock may be faster than ours by a thousandth: ten times what a bad crystal does.
const DRIFT: u32 = 1000;
/// A source that gave nothing for so long, and of which nothing waits, begins anew.
const PAUSE: Duration = Duration::from_millis(500);
/// What waits is too much if it never was less within this.
const WINDOW: Duration = Duration::from_secs(2);
/// Between two packets that are left out.
const APART: Duration = Duration::from_millis(200);

/// Follows what one session is given to say.
#[derive(Default)]
pub(crate) struct Backlog {
    source: Option<Source>,
    window: Option<(Instant, Duration)>,
    excess: bool,
    left_out: Option<Instant>,
}

struct Source {
    utterance: UtteranceId,
    begun: Instant,
    latest: Instant,
    given: Duration,
    live: bool,
}

impl Backlog {
    /// `length` of sound was given for `utterance`, when `waiting` was there already.
    pub(crate) fn give(
        &mut self,
        now: Instant,
        utterance: UtteranceId,
        length: Duration,
        waiting: Duration,
    ) {
        let goes_on = |source: &Source| {
            let paused = waiting.is_zero() && now > source.latest + PAUSE;
            source.utterance == utterance && !paused
        };
        if !self.source.as_ref().is_some_and(goes_on) {
            self.window = None;
            self.excess = false;
        }
        let source = self.source.take().filter(goes_on).unwrap_or(Source {
            utterance,
            begun: now,
            latest: now,
            given: Duration::ZERO,
            live: true,
        });
        let elapsed = now - source.begun;
        let given = source.given + length;
        self.source = Some(Source {
            latest: now,
            given,
            live: source.live && given <= elapsed + elapsed / DRIFT + AHEAD,
            ..source
        });
    }

    /// Whether the next 20 ms or so may be left out, of `waiting`, if they are quiet. To be asked
    /// whenever some is to be sent.
    pub(crate) fn is_too_long(&mut self, now: Instant, waiting: Duration) -> bool {
        let (since, least) = self.window.unwrap_or((now, waiting));
        let least = least.min(waiting);
        if now >= since + WINDOW {
            self.excess = least > AHEAD;
            self.window = Some((now, waiting));
        } else {
            self.window = Some((since, least));
        }
        self.excess &= waiting > AHEAD;
        let live = self.source.as_ref().is_some_and(|source| source.live);
        live && self.excess && self.left_out.is_none_or(|at| now >= at + APART)
    }

    /// Some was left out.
    pub(crate) fn leave_out(&mut self, now: Instant) {
        self.left_out = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(20);

    /// Gives pieces (ms since the start, length in ms) and says 20 ms every 20 ms; returns how
    /// often some could have been left out, and leaves nothing out.
    fn run(pieces: &[(u64, u64)], seconds: u64) -> usize {
        let start = Instant::now();
        let mut backlog = Backlog::default();
        let mut waiting = Duration::ZERO;
        let mut pieces = pieces.iter().peekable();
        let mut too_long = 0;
        for tick in 0..seconds * 50 {
            let now = start + TICK * tick as u32;
            while let Some((_, length)) = pieces.next_if(|(at, _)| *at <= tick * 20) {
                let length = Duration::from_millis(*length);
                backlog.give(now, 1, length, waiting);
                waiting += length;
            }
            if waiting > Duration::ZERO {
                waiting = waiting.saturating_sub(TICK);
                too_long += usize::from(backlog.is_too_long(now, waiting));
            }
        }
        too_long
    }

    #[test]
    fn what_was_held_up_and_came_after_all_is_too_long() {
        let ticks = (0..1500).map(|n| n * 20);
        let held_up = |at: u64| if (4000..4400).contains(&at) { 4400 } else { at };
        let pieces: Vec<_> = ticks.map(|at| (held_up(at), 20)).collect();
        assert!(run(&pieces, 30) > 1000);
        let on_time: Vec<_> = (0..1500).map(|n| (n * 20, 20)).collect();
        assert_eq!(run(&on_time, 30), 0);
    }

    #[test]
    fn what_a_synthesiser_gives_ahead_is_not() {
        // Much faster than it is said; at once; at its rate with a lead.
        let fast: Vec<_> = (0..100).map(|n| (n * 60, 100)).collect();
        let at_once = [(0, 20_000)];
        let lead: Vec<_> = std::iter::once((0, 200))
            .chain((0..1500).map(|n| (n * 20, 20)))
            .collect();
        // It holds up, and is ahead again.
        let jerky: Vec<_> = (0..20).map(|n| (n * 1000, 1300)).collect();
        for pieces in [&fast[..], &at_once, &lead, &jerky] {
            assert_eq!(run(pieces, 30), 0);
        }
    }

    #[test]
    fn little_is_left_out_at_a_time() {
        let (mut backlog, start) = (Backlog::default(), Instant::now());
        backlog.give(start, 1, TICK, Duration::ZERO);
        let waiting = Duration::from_millis(400);
        let mut left_out = 0;
        for tick in 0..150 {
            let now = start + TICK * tick;
            if backlog.is_too_long(now, waiting) {
                backlog.leave_out(now);
                left_out += 1;
            }
        }
        assert_eq!(left_out, 5, "in the third second");
        assert!(!backlog.is_too_long(start + TICK * 160, AHEAD));
        // Another utterance is another source.
        backlog.give(start + TICK * 161, 2, waiting, waiting);
        assert!(!backlog.is_too_long(start + TICK * 161, waiting));
    }
}
