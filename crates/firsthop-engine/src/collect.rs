//! What the client says, as it came: Opus packets in their order, for whoever decodes them himself.
//!
//! Packets are put in order as for decoding (`reorder.rs`), and handed over as soon as there is a
//! batch's worth of sound, so that a backend in Python is not called for each. Nothing is made up:
//! of what is missing the next packet tells, and what was not sent shows in positions. Takes `now`;
//! no I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::packet::{OpusPacket, rtp_ticks};
use crate::reorder::Reorder;

/// A packet of the client's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The packet, byte by byte as it came.
    pub packet: OpusPacket,
    /// Where it begins on the client's clock, in ticks of 48 kHz since the first one received. It
    /// never runs back; a stream that follows another goes on where that one ended.
    pub position: u64,
    /// How many packets before it were lost, or were no Opus.
    pub missing: u32,
}

struct Arrival {
    rtp_time: u64,
    /// None if it is malformed.
    packet: Option<OpusPacket>,
}

/// Puts one session's packets in order and in batches.
pub struct Collector {
    order: Reorder<Arrival>,
    /// Sound in a batch, and the longest that a packet waits for company.
    length: Duration,
    batch: Vec<Received>,
    ticks: u64,
    since: Option<Instant>,
    ready: bool,
    missing: u64,
    /// What the stream's clock shows at position 0; None before its first packet.
    origin: Option<u64>,
    position: u64,
}

impl Collector {
    /// A collector of batches with `length` of sound.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self {
            order: Reorder::new(),
            length,
            batch: Vec::new(),
            ticks: 0,
            since: None,
            ready: false,
            missing: 0,
            origin: None,
            position: 0,
        }
    }

    /// Takes one RTP packet: extended sequence number, extended RTP time, payload. Returns whether
    /// the payload is Opus; if not, it counts as missing.
    pub fn push(&mut self, now: Instant, sequence: u64, rtp_time: u64, payload: Arc<[u8]>) -> bool {
        let packet = OpusPacket::new(payload).ok();
        let good = packet.is_some();
        self.order.push(now, sequence, Arrival { rtp_time, packet });
        self.advance(now);
        good
    }

    /// Starts over with a stream that has other sequence numbers and another clock.
    pub fn restart(&mut self, now: Instant) {
        for arrival in self.order.restart() {
            self.collect(now, arrival);
        }
        self.origin = None;
        self.missing = 0;
    }

    /// Does what is due: gives up on missing packets, hands over what waits for company.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// When [`Collector::handle_timeout`] is next due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let batch = self.since.map(|since| since + self.length);
        [batch, self.order.deadline()].into_iter().flatten().min()
    }

    /// The next batch, if there is one; it is never empty.
    pub fn poll(&mut self) -> Option<Vec<Received>> {
        if !std::mem::take(&mut self.ready) {
            return None;
        }
        self.since = None;
        self.ticks = 0;
        Some(std::mem::take(&mut self.batch))
    }

    fn advance(&mut self, now: Instant) {
        while let Some((missing, arrival)) = self.order.pop(now) {
            self.missing += missing;
            self.collect(now, arrival);
        }
        let due = self.since.is_some_and(|since| since + self.length <= now);
        self.ready |= due || self.ticks >= rtp_ticks(self.length);
    }

    fn collect(&mut self, now: Instant, arrival: Arrival) {
        let Some(packet) = arrival.packet else {
            self.missing += 1;
            return;
        };
        let time = arrival.rtp_time;
        let origin = *self.origin.get_or_insert(time.wrapping_sub(self.position));
        // A clock that runs back reads as a very late one.
        let ahead = time.wrapping_sub(origin).wrapping_sub(self.position) as i64;
        let position = self.position.saturating_add(ahead.max(0) as u64);
        let ticks = u64::from(packet.ticks());
        self.position = position.saturating_add(ticks);
        self.ticks += ticks;
        self.since.get_or_insert(now);
        let missing = std::mem::take(&mut self.missing);
        self.batch.push(Received {
            packet,
            position,
            missing: u32::try_from(missing).unwrap_or(u32::MAX),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reorder::MAX_WAITING;

    const FRAME: Duration = Duration::from_millis(20);

    fn packet(n: u64) -> Arc<[u8]> {
        [0xF8, n as u8].into()
    }

    /// (number, position, missing) of all that was collected.
    fn drain(collector: &mut Collector) -> Vec<(u8, u64, u32)> {
        let batches = std::iter::from_fn(|| collector.poll());
        let flat = |received: Received| {
            let number = received.packet.payload()[1];
            (number, received.position, received.missing)
        };
        batches.flatten().map(flat).collect()
    }

    fn push(collector: &mut Collector, now: Instant, numbers: &[u64]) {
        for &n in numbers {
            assert!(collector.push(now, 100 + n, 7000 + n * 960, packet(n)));
        }
    }

    #[test]
    fn packets_come_out_in_order_and_duplicates_once() {
        let mut collector = Collector::new(FRAME);
        push(&mut collector, Instant::now(), &[0, 2, 1, 1, 4, 5, 3, 0]);
        let numbers: Vec<_> = drain(&mut collector).iter().map(|one| one.0).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_lost_packet_is_waited_for_and_then_told() {
        let (mut collector, now) = (Collector::new(FRAME), Instant::now());
        push(&mut collector, now, &[0, 3, 4]);
        assert_eq!(drain(&mut collector), [(0, 0, 0)]);
        let deadline = collector.deadline().unwrap();
        assert!(deadline - now < Duration::from_millis(80));
        collector.handle_timeout(deadline);
        assert_eq!(drain(&mut collector), [(3, 2880, 2), (4, 3840, 0)]);
        push(&mut collector, deadline, &[2]);
        assert_eq!(drain(&mut collector), [], "too late");
        assert_eq!(collector.deadline(), None);
    }

    #[test]
    fn short_packets_wait_for_company_and_not_for_long() {
        let (mut collector, now) = (Collector::new(FRAME), Instant::now());
        let half: Arc<[u8]> = [0x60, 1].into();
        let later = now + Duration::from_millis(10);
        collector.push(now, 0, 0, half.clone());
        assert_eq!(collector.poll(), None);
        collector.push(later, 1, 480, half.clone());
        assert_eq!(collector.poll().unwrap().len(), 2);
        collector.push(later, 2, 960, half);
        assert_eq!(collector.deadline(), Some(later + FRAME));
        collector.handle_timeout(later + FRAME);
        assert_eq!(collector.poll().unwrap().len(), 1);
    }

    #[test]
    fn silence_that_was_not_sent_shows_in_positions() {
        let (mut collector, now) = (Collector::new(FRAME), Instant::now());
        collector.push(now, 0, 0, packet(0));
        collector.push(now, 1, 19_200, packet(1));
        assert_eq!(drain(&mut collector), [(0, 0, 0), (1, 19_200, 0)]);
    }

    #[test]
    fn another_stream_goes_on_where_the_one_before_it_ended() {
        let (mut collector, now) = (Collector::new(FRAME), Instant::now());
        push(&mut collector, now, &[0, 2]);
        collector.restart(now);
        collector.push(now, 1, 5, packet(9));
        // What waited behind the gap comes out first.
        assert_eq!(
            drain(&mut collector),
            [(0, 0, 0), (2, 1920, 0), (9, 2880, 0)]
        );
    }

    #[test]
    fn garbage_and_wild_numbers_never_panic_nor_grow_nor_run_back() {
        let (mut collector, mut now) = (Collector::new(FRAME), Instant::now());
        let (mut state, mut position) = (1u64, 0);
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let payload = state.to_le_bytes()[..(state >> 60) as usize % 9].into();
            let sequence = 1_000_000 + (state >> 40) % 2_000;
            let time = if state & 1 == 0 {
                sequence * 960
            } else {
                state
            };
            collector.push(now, sequence, time, payload);
            now += Duration::from_millis(state >> 61);
            collector.handle_timeout(now);
            while let Some(batch) = collector.poll() {
                assert!((1..=MAX_WAITING + 8).contains(&batch.len()));
                for received in batch {
                    assert!(received.position >= position);
                    position = received.position;
                }
            }
            assert!(collector.order.len() <= MAX_WAITING);
        }
    }
}
