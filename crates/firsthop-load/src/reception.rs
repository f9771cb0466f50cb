//! What came of an RTP stream: lost, reordered and duplicated packets by extended sequence number,
//! jitter (RFC 3550 §6.4.1), and the time between packets. No I/O.

use std::time::{Duration, Instant};

/// Clock of an Opus RTP stream (RFC 7587 §4.1).
const RTP_RATE: f64 = 48_000.0;
/// A packet that is so many behind the newest one is forgotten: seen again, it is not counted.
const WINDOW: u64 = u128::BITS as u64;

/// One audio packet that arrived and was decrypted.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// Its stream.
    pub ssrc: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// Extended RTP time.
    pub rtp_time: u64,
    /// How long it sounds, on the RTP clock.
    pub ticks: u32,
}

/// Where a packet stands in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It is the first of its stream.
    First,
    /// It is newer than all before, after it was quiet for so long. What the clock jumped beyond
    /// a packet's duration, with none lost (DTX), is taken off.
    Next(Duration),
    /// A later one was there first.
    Late,
    /// It was there before.
    Again,
}

struct Stream {
    /// Counting begins with this sequence number.
    first: u64,
    /// Packets since `first`, each once.
    unique: u64,
    /// Bit n: the packet n before the newest was seen.
    seen: u128,
    newest: Arrival,
    /// The packet that arrived last, for the jitter: (when, RTP time).
    last: (Instant, u64),
}

/// The books of one caller.
#[derive(Default)]
pub struct Reception {
    stream: Option<Stream>,
    received: u64,
    reordered: u64,
    duplicated: u64,
    /// Of streams before this one.
    lost_before: u64,
    jitter_ticks: f64,
}

impl Reception {
    /// Takes a packet.
    pub fn arrived(&mut self, arrival: Arrival) -> Order {
        let same = |stream: &&mut Stream| stream.newest.ssrc == arrival.ssrc;
        let Some(stream) = self.stream.as_mut().filter(same) else {
            self.lost_before = self.lost();
            self.begin(arrival);
            return Order::First;
        };
        let newest = stream.newest;
        let behind = newest.sequence.checked_sub(arrival.sequence);
        if behind.is_some_and(|behind| behind < WINDOW && stream.seen >> behind & 1 == 1) {
            self.duplicated += 1;
            return Order::Again;
        }
        self.received += 1;
        stream.unique += u64::from(arrival.sequence >= stream.first);
        let (last_at, last_time) = stream.last;
        stream.last = (arrival.at, arrival.rtp_time);
        let between = arrival.at.saturating_duration_since(last_at).as_secs_f64() * RTP_RATE;
        let due = arrival.rtp_time as f64 - last_time as f64;
        self.jitter_ticks += ((between - due).abs() - self.jitter_ticks) / 16.0;
        if let Some(behind) = behind {
            self.reordered += 1;
            if behind < WINDOW {
                stream.seen |= 1 << behind;
            }
            return Order::Late;
        }
        let ahead = arrival.sequence - newest.sequence;
        let seen = u32::try_from(ahead)
            .ok()
            .and_then(|n| stream.seen.checked_shl(n));
        stream.seen = seen.unwrap_or(0) | 1;
        stream.newest = arrival;
        let gap = arrival.at.saturating_duration_since(newest.at);
        let jumped = arrival.rtp_time.saturating_sub(newest.rtp_time);
        let silent = jumped.saturating_sub(newest.ticks.into());
        let silent = if ahead == 1 { silent } else { 0 };
        // The clock may jump by anything at all.
        let silent = Duration::try_from_secs_f64(silent as f64 / RTP_RATE);
        Order::Next(gap.saturating_sub(silent.unwrap_or(Duration::MAX)))
    }

    /// Takes a packet that decryption let not through, by what its header says: a packet that was
    /// seen before is refused there.
    pub fn refused(&mut self, ssrc: u32, sequence: u16) {
        let Some(stream) = self.stream.as_ref().filter(|s| s.newest.ssrc == ssrc) else {
            return;
        };
        let behind = (stream.newest.sequence as u16).wrapping_sub(sequence);
        if u64::from(behind) < WINDOW && stream.seen >> behind & 1 == 1 {
            self.duplicated += 1;
        }
    }

    /// Begins to count anew, with the next packet in order.
    pub fn restart(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.first = stream.newest.sequence + 1;
            stream.unique = 0;
        }
        self.received = 0;
        self.reordered = 0;
        self.duplicated = 0;
        self.lost_before = 0;
    }

    /// Packets that came, each once.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Packets that came after a later one.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.reordered
    }

    /// Packets that came once more.
    #[must_use]
    pub fn duplicated(&self) -> u64 {
        self.duplicated
    }

    /// Packets before the newest one that did not come, so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        let lost = |stream: &Stream| {
            let expected = (stream.newest.sequence + 1).saturating_sub(stream.first);
            expected.saturating_sub(stream.unique)
        };
        self.lost_before + self.stream.as_ref().map_or(0, lost)
    }

    /// Interarrival jitter.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        Duration::from_secs_f64(self.jitter_ticks / RTP_RATE)
    }

    fn begin(&mut self, arrival: Arrival) {
        self.received += 1;
        self.stream = Some(Stream {
            first: arrival.sequence,
            unique: 1,
            seen: 1,
            newest: arrival,
            last: (arrival.at, arrival.rtp_time),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Wire {
        start: Instant,
        reception: Reception,
    }

    impl Wire {
        fn new() -> Self {
            Self {
                start: Instant::now(),
                reception: Reception::default(),
            }
        }

        /// Packets of 20 ms, with a clock that goes with their numbers.
        fn arrives(&mut self, ms: u64, sequence: u64) -> Order {
            self.arrives_at_time(ms, sequence, sequence * 960)
        }

        fn arrives_at_time(&mut self, ms: u64, sequence: u64, rtp_time: u64) -> Order {
            self.reception.arrived(Arrival {
                at: self.start + Duration::from_millis(ms),
                ssrc: 7,
                sequence,
                rtp_time,
                ticks: 960,
            })
        }

        fn books(&self) -> [u64; 4] {
            let it = &self.reception;
            [it.received(), it.lost(), it.reordered(), it.duplicated()]
        }
    }

    fn next(ms: u64) -> Order {
        Order::Next(Duration::from_millis(ms))
    }

    #[test]
    fn a_gap_is_from_one_packet_to_a_newer_one() {
        let mut wire = Wire::new();
        assert_eq!(wire.arrives(0, 100), Order::First);
        assert_eq!(wire.arrives(20, 101), next(20));
        assert_eq!(wire.arrives(70, 103), next(50));
        assert_eq!(wire.arrives(75, 102), Order::Late);
        assert_eq!(wire.arrives(76, 102), Order::Again);
        assert_eq!(wire.arrives(90, 104), next(20));
        assert_eq!(wire.books(), [5, 0, 1, 1]);
    }

    #[test]
    fn silence_that_the_sender_left_out_is_no_gap_but_loss_is() {
        let mut wire = Wire::new();
        wire.arrives_at_time(0, 1, 0);
        // 400 ms of silence, and 5 ms late.
        assert_eq!(wire.arrives_at_time(425, 2, 21 * 960), next(25));
        assert_eq!(wire.arrives_at_time(485, 5, 24 * 960), next(60));
        assert_eq!(wire.books(), [3, 2, 0, 0]);
        // A clock that runs back, or away, is no reason to panic.
        assert_eq!(wire.arrives_at_time(505, 6, 0), next(20));
        assert_eq!(wire.arrives_at_time(525, 7, u64::MAX / 2), next(0));
    }

    #[test]
    fn what_is_refused_was_there_before_or_does_not_count() {
        let mut wire = Wire::new();
        for sequence in [65_534, 65_535, 65_537] {
            wire.arrives(sequence, sequence);
        }
        let it = &mut wire.reception;
        it.refused(7, 65_535);
        it.refused(7, 1);
        assert_eq!(it.duplicated(), 2);
        // Never seen, far away, of another stream.
        it.refused(7, 0);
        it.refused(7, 65_533);
        it.refused(7, 2);
        it.refused(7, 30_000);
        it.refused(8, 1);
        assert_eq!(it.duplicated(), 2);
    }

    #[test]
    fn a_stream_that_ends_keeps_its_losses() {
        let mut wire = Wire::new();
        wire.arrives(0, 1);
        wire.arrives(40, 3);
        let other = Arrival {
            at: wire.start,
            ssrc: 8,
            sequence: 500,
            rtp_time: 9,
            ticks: 960,
        };
        assert_eq!(wire.reception.arrived(other), Order::First);
        assert_eq!(wire.books(), [3, 1, 0, 0]);
    }

    #[test]
    fn one_from_before_the_counting_makes_good_no_loss() {
        let mut wire = Wire::new();
        for sequence in [1, 2, 5] {
            wire.arrives(sequence * 20, sequence);
        }
        wire.reception.restart();
        wire.arrives(120, 4);
        wire.arrives(140, 8);
        assert_eq!(wire.books(), [2, 2, 1, 0]);
    }

    #[test]
    fn jitter_is_that_of_rfc_3550() {
        let mut wire = Wire::new();
        wire.arrives(0, 1);
        // Off by 16 ms once: a sixteenth of it, and from then on less.
        wire.arrives(36, 2);
        let jitter = wire.reception.jitter().as_secs_f64() * 1000.0;
        assert!((jitter - 1.0).abs() < 1e-6, "{jitter}");
        wire.arrives(56, 3);
        let jitter = wire.reception.jitter().as_secs_f64() * 1000.0;
        assert!((jitter - 15.0 / 16.0).abs() < 1e-6, "{jitter}");
    }

    #[test]
    fn packets_far_ahead_are_counted_once_each() {
        let mut wire = Wire::new();
        wire.arrives(0, 1);
        wire.arrives(10, 1 + (1 << 40));
        assert_eq!(wire.arrives(11, 1), Order::Late);
        wire.reception.refused(7, 1);
        assert_eq!(
            wire.reception.duplicated(),
            1,
            "the newest one, by its 16 bits"
        );
    }
}
