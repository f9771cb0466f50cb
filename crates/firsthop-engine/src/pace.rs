//! What the agent says in Opus packets: each leaves when the one before it has been heard, byte by
//! byte as it is, with the same exact account as PCM (`playout.rs`). Of a live source that has got
//! ahead a small packet is left out now and then (`backlog.rs`). Takes `now`; no I/O.

use std::time::{Duration, Instant};

use crate::backlog::Backlog;
use crate::event::UtteranceId;
use crate::packet::{OpusPacket, RTP_RATE, duration_of, rtp_ticks};
use crate::playout::{HANGOVER_TICKS, MAX_CATCH_UP, Packet, TICK};
use crate::utterances::{Progress, QueueFull, Utterances};

/// What comes late by no more leaves at once, its time on the RTP clock unchanged: the receiver's
/// jitter buffer is there for that. Beyond, the clock jumps.
const MAX_LAG: Duration = TICK.saturating_mul(MAX_CATCH_UP);
/// A packet that is there so long before its time leaves at once: what is sent back as it comes would
/// else wake the thread twice, once to come and once to go. Its time on the RTP clock is the same.
const EARLY: Duration = Duration::from_millis(5);
/// Bytes that may wait, per session: five minutes at 220 kbit/s.
const MAX_BYTES_QUEUED: usize = 8 << 20;
/// A packet is small, and so is what it holds: silence, or nearly. With a constant bit rate all are.
/// The smallest is forgotten within a minute.
const SMALL: f32 = 1.2;
const SMALLEST_GROWTH: f32 = 1.0003;
/// What a packet takes besides its bytes.
const OVERHEAD_BYTES: usize = 48;

/// The outgoing queue and pacer of one session whose backend encodes itself.
pub struct Pacer {
    utterances: Utterances<OpusPacket>,
    backlog: Backlog,
    /// Bytes of the smallest packet lately.
    smallest: f32,
    bytes: usize,
    hangover: u8,
    first: Option<Instant>,
    /// RTP time of the next packet, since the first.
    clock: u64,
    resumed: bool,
}

impl Default for Pacer {
    fn default() -> Self {
        Self {
            utterances: Utterances::new(RTP_RATE),
            backlog: Backlog::default(),
            smallest: f32::MAX,
            bytes: 0,
            hangover: 0,
            first: None,
            clock: 0,
            resumed: true,
        }
    }
}

impl Pacer {
    /// Appends `packets` to utterance `id`; `complete` says that no more of it follows. Utterances
    /// are said in the order of their first piece.
    ///
    /// # Errors
    /// [`QueueFull`]: nothing was taken, and the utterance ends with what it has.
    pub fn push(
        &mut self,
        now: Instant,
        id: UtteranceId,
        packets: Vec<OpusPacket>,
        complete: bool,
    ) -> Result<(), QueueFull> {
        let bytes = packets.iter().map(cost).sum::<usize>();
        if self.bytes + bytes > MAX_BYTES_QUEUED {
            self.utterances.cut(id);
            self.settle();
            return Err(QueueFull);
        }
        let length = packets.iter().map(|packet| u64::from(packet.ticks()));
        let length = length.sum::<u64>();
        let waiting = duration_of(self.utterances.queued());
        let taken = self
            .utterances
            .push(id, packets.into_iter(), length, complete);
        if taken.is_ok() {
            self.bytes += bytes;
            self.backlog.give(now, id, duration_of(length), waiting);
            self.first.get_or_insert(now);
        }
        self.settle();
        taken
    }

    /// Drops everything that has not been sent. [`Pacer::poll_progress`] then tells, for each
    /// utterance, how many milliseconds were.
    pub fn flush(&mut self) {
        self.utterances.flush();
        self.bytes = 0;
    }

    /// When [`Pacer::tick`] is next due; `None` while there is nothing to send. A backend that is
    /// late, or whose caller sends nothing (DTX), is waited for: nothing is made up meanwhile.
    pub fn deadline(&self) -> Option<Instant> {
        let silence = self.hangover > 0 && self.utterances.is_empty();
        let due = self.first? + duration_of(self.clock);
        (silence || self.utterances.peek().is_some()).then_some(due)
    }

    /// The packet that is due at `now`, if one is. Call until `None`.
    pub fn tick(&mut self, now: Instant) -> Option<Packet> {
        let early = match self.utterances.peek() {
            Some(_) => EARLY,
            None => Duration::ZERO,
        };
        let due = self.deadline().filter(|&due| due <= now + early)?;
        if now - due > MAX_LAG {
            self.clock += rtp_ticks(now - due);
            self.resumed = true;
        }
        let marker = std::mem::take(&mut self.resumed);
        let packet = self.take(now);
        let rtp_time = self.clock as u32;
        self.clock += u64::from(packet.ticks());
        Some(Packet {
            rtp_time,
            marker,
            payload: packet.payload().clone(),
        })
    }

    /// What became of the utterances, oldest first.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.utterances.poll_progress()
    }

    /// The next packet; silence after the last one, so that the receiver's concealment fades from
    /// silence.
    fn take(&mut self, now: Instant) -> OpusPacket {
        while let Some(packet) = self.take_next() {
            let waiting = duration_of(self.utterances.queued());
            let small = self.is_small(&packet);
            if self.backlog.is_too_long(now, waiting) && small {
                self.backlog.leave_out(now);
                continue;
            }
            return packet;
        }
        self.hangover = self.hangover.saturating_sub(1);
        self.resumed = self.hangover == 0;
        OpusPacket::silence()
    }

    fn take_next(&mut self) -> Option<OpusPacket> {
        let packet = self.utterances.current()?.pop_front()?;
        self.hangover = HANGOVER_TICKS;
        self.bytes -= cost(&packet);
        self.utterances.played(u64::from(packet.ticks()));
        self.settle();
        Some(packet)
    }

    fn is_small(&mut self, packet: &OpusPacket) -> bool {
        let bytes = packet.payload().len() as f32;
        self.smallest = bytes.min(self.smallest * SMALLEST_GROWTH);
        bytes <= self.smallest * SMALL + 2.0
    }

    fn settle(&mut self) {
        while self.utterances.end_current() {}
    }
}

fn cost(packet: &OpusPacket) -> usize {
    packet.payload().len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` packets of 20 ms.
    fn speech(count: u8) -> Vec<OpusPacket> {
        let packet = |n: u8| OpusPacket::new(&[0xF8, n][..]).unwrap();
        (0..count).map(packet).collect()
    }

    fn progress(pacer: &mut Pacer) -> Vec<Progress> {
        std::iter::from_fn(|| pacer.poll_progress()).collect()
    }

    fn ended(utterance: u64, played_ms: u64, interrupted: bool) -> Progress {
        Progress::Ended {
            utterance,
            played_ms,
            interrupted,
        }
    }

    /// Runs until the pacer rests; returns due times and packets.
    fn run(pacer: &mut Pacer) -> Vec<(Instant, Packet)> {
        let mut packets = Vec::new();
        while let Some(due) = pacer.deadline() {
            packets.push((due, pacer.tick(due).unwrap()));
            assert!(packets.len() < 10_000, "never at rest");
        }
        packets
    }

    #[test]
    fn utterances_follow_each_other_without_a_gap_and_are_accounted_for() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(start, 1, speech(2), true).unwrap();
        pacer.push(start, 2, speech(1), false).unwrap();
        pacer.push(start, 3, speech(1), true).unwrap();
        assert_eq!(run(&mut pacer).len(), 3, "the third waits for the second");
        pacer.push(start, 2, Vec::new(), true).unwrap();
        let packets = run(&mut pacer);
        assert_eq!(packets.len(), 1 + usize::from(HANGOVER_TICKS));
        assert_eq!(packets[0].0, start + 3 * TICK);
        assert_eq!(packets[0].1.rtp_time, 3 * 960);
        assert_eq!(
            progress(&mut pacer),
            [
                Progress::Started(1),
                ended(1, 40, false),
                Progress::Started(2),
                ended(2, 20, false),
                Progress::Started(3),
                ended(3, 20, false),
            ]
        );
        // What comes after silence begins a talkspurt (RFC 3551 §4.1).
        pacer.push(start + 9 * TICK, 4, speech(1), true).unwrap();
        let (due, packet) = run(&mut pacer).remove(0);
        assert_eq!((due, packet.marker), (start + 9 * TICK, true));
    }

    #[test]
    fn an_utterance_of_nothing_is_over_at_once() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(start, 1, Vec::new(), true).unwrap();
        assert_eq!(progress(&mut pacer), [ended(1, 0, false)]);
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn what_is_a_little_late_leaves_at_once_and_keeps_its_time() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(start, 1, speech(1), false).unwrap();
        assert!(pacer.tick(start).is_some());
        let late = start + TICK + MAX_LAG;
        pacer.push(late, 1, speech(1), false).unwrap();
        let packet = pacer.tick(late).unwrap();
        assert_eq!((packet.rtp_time, packet.marker), (960, false));
        // Its successor came in time.
        pacer.push(late, 1, speech(1), false).unwrap();
        assert_eq!(pacer.deadline(), Some(start + 2 * TICK));
        assert_eq!(pacer.tick(late).unwrap().rtp_time, 2 * 960);
    }

    #[test]
    fn a_stalled_thread_does_not_burst() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(start, 1, speech(200), true).unwrap();
        assert!(pacer.tick(start).is_some());
        let late = start + Duration::from_secs(1);
        let packet = pacer.tick(late).unwrap();
        assert_eq!((packet.rtp_time, packet.marker), (48_000, true));
        assert!(pacer.tick(late).is_none());
    }

    #[test]
    fn a_flush_leaves_nothing_but_silence() {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        pacer.push(start, 1, speech(9), false).unwrap();
        pacer.push(start, 2, speech(9), true).unwrap();
        pacer.tick(start).unwrap();
        pacer.tick(start + TICK).unwrap();
        pacer.flush();
        assert_eq!(
            progress(&mut pacer),
            [Progress::Started(1), ended(1, 40, true), ended(2, 0, true)]
        );
        let packets = run(&mut pacer);
        assert_eq!(packets.len(), usize::from(HANGOVER_TICKS));
        let silence = OpusPacket::silence();
        assert!(
            packets
                .iter()
                .all(|(_, packet)| packet.payload == *silence.payload())
        );
        assert_eq!(packets[0].0, start + 2 * TICK);
    }

    #[test]
    fn the_queue_is_bounded_in_time_and_in_bytes() {
        let now = Instant::now();
        let minute = || vec![speech(250); 12].concat();
        let mut pacer = Pacer::default();
        for _ in 0..5 {
            pacer.push(now, 1, minute(), false).unwrap();
        }
        assert_eq!(pacer.push(now, 2, speech(1), true), Err(QueueFull));
        assert_eq!(progress(&mut pacer), [ended(2, 0, true)], "settled at once");
        pacer.flush();
        pacer.push(now, 3, minute(), true).unwrap();

        let mut pacer = Pacer::default();
        let large = OpusPacket::new(&[0x80; 1000][..]).unwrap();
        let second = vec![large; 400];
        let taken = (0..300).take_while(|_| pacer.push(now, 1, second.clone(), false).is_ok());
        let taken = taken.count();
        assert!(
            taken * 400 * 1000 <= MAX_BYTES_QUEUED && taken > 10,
            "{taken}"
        );
        // It ends with what it has, and what was sent makes room.
        let mut sent = 0;
        while let Some(due) = pacer.deadline() {
            pacer.tick(due).unwrap();
            sent += 1;
        }
        assert_eq!(sent, taken * 400 + usize::from(HANGOVER_TICKS));
        assert_eq!(pacer.bytes, 0);
        assert_eq!(
            progress(&mut pacer).last(),
            Some(&ended(1, taken as u64 * 1000, false))
        );
    }

    /// An hour of a source whose clock is off by so many millionths, with packets of speech and,
    /// every fourth second, small ones. Returns packets of speech given and sent, all packets left
    /// out, and the longest that ever waited.
    fn echo(millionths: i64) -> (usize, usize, usize, Duration) {
        let (mut pacer, start) = (Pacer::default(), Instant::now());
        let speech = OpusPacket::new(&[0xF8; 80][..]).unwrap();
        let pause = OpusPacket::new(&[0xF8; 9][..]).unwrap();
        let (mut given, mut sent, mut all, mut longest) = (0, 0, 0, Duration::ZERO);
        const PACKETS: usize = 3600 * 50;
        for n in 0..PACKETS as i64 {
            let nanoseconds = n * 20 * (1_000_000 - millionths);
            let now = start + Duration::from_nanos(nanoseconds as u64);
            while let Some(due) = pacer.deadline().filter(|&due| due <= now) {
                if let Some(packet) = pacer.tick(due) {
                    sent += usize::from(packet.payload.len() == 80);
                    all += 1;
                }
            }
            let spoken = n / 50 % 4 != 3;
            given += usize::from(spoken);
            let packet = if spoken { &speech } else { &pause };
            pacer.push(now, 1, vec![packet.clone()], false).unwrap();
            while let Some(packet) = pacer.tick(now) {
                sent += usize::from(packet.payload.len() == 80);
                all += 1;
            }
            longest = longest.max(duration_of(pacer.utterances.queued()));
        }
        let waiting = pacer.utterances.queued() / 960;
        (given, sent, PACKETS - all - waiting as usize, longest)
    }

    #[test]
    fn a_source_with_another_clock_is_never_far_ahead_and_no_word_is_left_out() {
        let (given, sent, left_out, longest) = echo(300);
        assert!(longest <= Duration::from_millis(180), "{longest:?}");
        assert!(given - sent <= 9, "{given} given, {sent} sent");
        // 1.08 s, less what may wait.
        assert!((44..=50).contains(&left_out), "{left_out}");
        let (given, sent, left_out, longest) = echo(-300);
        assert_eq!((given - sent, left_out), (0, 0));
        assert!(longest <= Duration::from_millis(40), "{longest:?}");
    }
}
