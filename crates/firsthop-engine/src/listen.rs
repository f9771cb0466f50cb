//! What the client says: RTP packets in any order become an unbroken line of PCM.
//!
//! In order: decoded at once. At a gap: later packets wait for the missing ones (`reorder.rs`), then
//! the gap is filled from in-band FEC, then by concealment. A sender that stops
//! (DTX, a muted track, a lost uplink) is filled with silence, so that whoever waits for the end
//! of a turn hears it. Takes `now`; no I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::packet::{RTP_RATE, rtp_ticks};
use crate::reorder::Reorder;

/// A gap of more packets is a jump, not a loss: nothing is concealed.
const MAX_CONCEALED: u64 = 25;
/// A sender is silent after this much without a packet.
const STALL: Duration = Duration::from_millis(100);
/// Silence is made up for so long, then the line pauses.
const MAX_SILENCE: Duration = Duration::from_millis(1500);
const SILENCE_STEP: Duration = Duration::from_millis(20);
/// Longest Opus packet (RFC 6716 §2).
const MAX_PACKET: Duration = Duration::from_millis(120);

struct Packet {
    rtp_time: u64,
    payload: Arc<[u8]>,
}

/// One stretch of PCM on the listener's clock.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Samples since the first one received.
    pub position: u64,
    /// PCM16, mono.
    pub pcm: Vec<i16>,
}

/// Counters of one listener.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ListenStats {
    /// Packets that came after their place had been filled, and duplicates.
    pub late_packets: u64,
    /// Packets replaced by in-band FEC.
    pub recovered_packets: u64,
    /// Packets replaced by concealment.
    pub concealed_packets: u64,
    /// Packets that Opus refused.
    pub corrupt_packets: u64,
}

/// Jitter buffer and decoder of one session.
pub struct Listener {
    decoder: opus::Decoder,
    rate: u32,
    frame_samples: usize,
    order: Reorder<Packet>,
    next_rtp_time: u64,
    packet_samples: usize,
    last_arrival: Option<Instant>,
    silent_until: Option<Instant>,
    decoded: Vec<i16>,
    position: u64,
    stats: ListenStats,
}

impl Listener {
    /// A listener that yields frames of `frame` at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    ///
    /// # Errors
    /// When libopus refuses the rate or is out of memory.
    pub fn new(rate: u32, frame: Duration) -> Result<Self, opus::Error> {
        Ok(Self {
            decoder: opus::Decoder::new(rate, opus::Channels::Mono)?,
            rate,
            frame_samples: samples(rate, frame),
            order: Reorder::new(),
            next_rtp_time: 0,
            packet_samples: samples(rate, SILENCE_STEP),
            last_arrival: None,
            silent_until: None,
            decoded: Vec::new(),
            position: 0,
            stats: ListenStats::default(),
        })
    }

    /// Takes one RTP packet: extended sequence number, extended RTP time, Opus payload.
    pub fn push(&mut self, now: Instant, sequence: u64, rtp_time: u64, payload: Arc<[u8]>) {
        self.last_arrival = Some(now);
        self.silent_until = None;
        if !self.order.has_begun() {
            self.next_rtp_time = rtp_time;
        }
        if !self.order.push(now, sequence, Packet { rtp_time, payload }) {
            self.stats.late_packets += 1;
            return;
        }
        self.advance(now);
    }

    /// Starts over with a stream that has other sequence numbers and another clock. What waited
    /// of the old one is played first; the position goes on.
    pub fn restart(&mut self) {
        for packet in self.order.restart() {
            self.decode(&packet);
        }
    }

    /// Does what is due: gives up on missing packets, makes up silence.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.fill_silence(now);
    }

    /// When [`Listener::handle_timeout`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(deadline) = self.order.deadline() {
            return Some(deadline);
        }
        let last = self.last_arrival?;
        let due = self
            .silent_until
            .map_or(last + STALL, |until| until + SILENCE_STEP);
        (due <= last + MAX_SILENCE).then_some(due)
    }

    /// The next whole frame, if there is one.
    pub fn poll(&mut self) -> Option<Frame> {
        if self.decoded.len() < self.frame_samples {
            return None;
        }
        let rest = self.decoded.split_off(self.frame_samples);
        let pcm = std::mem::replace(&mut self.decoded, rest);
        let position = self.position;
        self.position += pcm.len() as u64;
        Some(Frame { position, pcm })
    }

    /// What happened so far.
    pub fn stats(&self) -> ListenStats {
        self.stats
    }

    fn advance(&mut self, now: Instant) {
        while let Some((missing, packet)) = self.order.pop(now) {
            if missing > 0 && missing <= MAX_CONCEALED {
                self.conceal(missing, &packet.payload);
            }
            self.decode(&packet);
        }
    }

    /// Fills `missing` packets before one whose payload may carry the last of them again.
    fn conceal(&mut self, missing: u64, following: &[u8]) {
        for nth in 1..=missing {
            let (payload, fec) = if nth == missing {
                (following, true)
            } else {
                (&[][..], false)
            };
            match self.run_decoder(payload, fec, self.packet_samples) {
                Ok(_) if fec => self.stats.recovered_packets += 1,
                Ok(_) => self.stats.concealed_packets += 1,
                Err(_) => self.push_silence(self.packet_samples),
            }
            self.next_rtp_time += self.rtp_duration(self.packet_samples);
        }
    }

    fn decode(&mut self, packet: &Packet) {
        // A jump of the clock without lost packets is silence that was not sent (DTX).
        let jump = packet.rtp_time.saturating_sub(self.next_rtp_time);
        let most = rtp_ticks(MAX_SILENCE);
        let silence = self.samples_of(jump.min(most));
        self.push_silence(silence);
        let longest = samples(self.rate, MAX_PACKET);
        let decoded = match self.run_decoder(&packet.payload, false, longest) {
            Ok(decoded) => {
                self.packet_samples = decoded;
                decoded
            }
            Err(_) => {
                self.stats.corrupt_packets += 1;
                self.push_silence(self.packet_samples);
                self.packet_samples
            }
        };
        self.next_rtp_time = packet.rtp_time + self.rtp_duration(decoded);
    }

    fn run_decoder(
        &mut self,
        payload: &[u8],
        fec: bool,
        room: usize,
    ) -> Result<usize, opus::Error> {
        let start = self.decoded.len();
        self.decoded.resize(start + room, 0);
        let result = self
            .decoder
            .decode(payload, &mut self.decoded[start..], fec);
        self.decoded
            .truncate(start + result.as_ref().copied().unwrap_or(0));
        result
    }

    fn fill_silence(&mut self, now: Instant) {
        let (Some(last), 0) = (self.last_arrival, self.order.len()) else {
            return;
        };
        if now < last + STALL {
            return;
        }
        let end = now.min(last + MAX_SILENCE);
        let mut until = self.silent_until.unwrap_or(last);
        while until + SILENCE_STEP <= end {
            until += SILENCE_STEP;
            self.push_silence(samples(self.rate, SILENCE_STEP));
            self.next_rtp_time += rtp_ticks(SILENCE_STEP);
        }
        self.silent_until = Some(until);
    }

    fn push_silence(&mut self, samples: usize) {
        self.decoded.resize(self.decoded.len() + samples, 0);
    }

    fn rtp_duration(&self, samples: usize) -> u64 {
        samples as u64 * u64::from(RTP_RATE / self.rate)
    }

    fn samples_of(&self, rtp_ticks: u64) -> usize {
        (rtp_ticks / u64::from(RTP_RATE / self.rate)) as usize
    }
}

fn samples(rate: u32, duration: Duration) -> usize {
    (u128::from(rate) * duration.as_millis() / 1000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reorder::{GAP_WAIT, MAX_WAITING};

    const RATE: u32 = 16_000;
    const FRAME: Duration = Duration::from_millis(20);

    /// Packets of a 300 Hz tone, 20 ms each.
    fn tone(count: usize) -> Vec<Arc<[u8]>> {
        let mode = opus::Application::Voip;
        let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, mode).unwrap();
        encoder.set_inband_fec(true).unwrap();
        encoder.set_packet_loss_perc(20).unwrap();
        let pcm: Vec<i16> = (0..count * 320)
            .map(|n| ((n as f32 * 300.0 * std::f32::consts::TAU / RATE as f32).sin() * 9e3) as i16)
            .collect();
        let encode = |frame| encoder.encode_vec(frame, 400).unwrap().into();
        pcm.chunks_exact(320).map(encode).collect()
    }

    fn drain(listener: &mut Listener) -> Vec<i16> {
        std::iter::from_fn(|| listener.poll())
            .flat_map(|frame| frame.pcm)
            .collect()
    }

    fn energy(pcm: &[i16]) -> f64 {
        pcm.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / pcm.len().max(1) as f64
    }

    #[test]
    fn packets_in_order_are_decoded_at_once() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let now = Instant::now();
        for (n, payload) in tone(5).into_iter().enumerate() {
            listener.push(now, n as u64, n as u64 * 960, payload);
            let frame = listener.poll().unwrap();
            assert_eq!((frame.position, frame.pcm.len()), (n as u64 * 320, 320));
        }
        assert_eq!(listener.stats(), ListenStats::default());
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_duplicates_once() {
        let packets = tone(6);
        let now = Instant::now();
        let decode = |order: &[usize]| {
            let mut listener = Listener::new(RATE, FRAME).unwrap();
            for &n in order {
                listener.push(now, n as u64, n as u64 * 960, packets[n].clone());
            }
            (drain(&mut listener), listener.stats().late_packets)
        };
        let (straight, _) = decode(&[0, 1, 2, 3, 4, 5]);
        assert_eq!(decode(&[0, 2, 1, 1, 4, 5, 3, 0]), (straight, 2));
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_after_a_short_wait() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let now = Instant::now();
        let packets = tone(12);
        for n in (0..12).filter(|&n| n != 10) {
            listener.push(now, n as u64, n as u64 * 960, packets[n].clone());
        }
        assert_eq!(drain(&mut listener).len(), 10 * 320);
        let deadline = listener.deadline().unwrap();
        assert_eq!(deadline, now + GAP_WAIT);
        listener.handle_timeout(deadline);
        let rest = drain(&mut listener);
        assert_eq!(rest.len(), 2 * 320);
        assert_eq!(listener.stats().recovered_packets, 1);
        assert!(energy(&rest[..320]) > 1e6, "FEC brought the tone back");
    }

    #[test]
    fn a_sender_that_stops_is_heard_as_silence() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let start = Instant::now();
        listener.push(start, 0, 0, tone(1).remove(0));
        drain(&mut listener);
        let mut silence = Vec::new();
        while let Some(deadline) = listener.deadline() {
            listener.handle_timeout(deadline);
            silence.extend(drain(&mut listener));
        }
        assert_eq!(silence.len(), samples(RATE, MAX_SILENCE));
        assert!(silence.iter().all(|&sample| sample == 0));
        // The clock goes on: a packet after the pause adds nothing twice.
        let later = start + MAX_SILENCE;
        listener.push(later, 1, rtp_ticks(MAX_SILENCE), tone(1).remove(0));
        assert_eq!(drain(&mut listener).len(), 320);
    }

    #[test]
    fn a_clock_jump_without_loss_is_filled_and_bounded() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let now = Instant::now();
        let packets = tone(3);
        listener.push(now, 0, 0, packets[0].clone());
        listener.push(now, 1, 960 + 4800, packets[1].clone());
        assert_eq!(drain(&mut listener).len(), 320 + 1600 + 320);
        listener.push(now, 2, u64::from(u32::MAX), packets[2].clone());
        assert_eq!(drain(&mut listener).len(), samples(RATE, MAX_SILENCE) + 320);
    }

    #[test]
    fn another_stream_with_lower_numbers_is_heard_at_once() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let now = Instant::now();
        let packets = tone(6);
        for n in [0, 1, 3] {
            listener.push(now, 5000 + n as u64, n as u64 * 960, packets[n].clone());
        }
        assert_eq!(drain(&mut listener).len(), 2 * 320);
        listener.restart();
        for n in [0, 1, 2] {
            listener.push(now, n as u64, n as u64 * 960, packets[n].clone());
        }
        // The lost packet, the one that waited behind it, and the new stream.
        assert_eq!(drain(&mut listener).len(), 5 * 320);
        assert_eq!(listener.stats().late_packets, 0);
    }

    #[test]
    fn garbage_and_wild_sequence_numbers_never_panic_nor_grow() {
        let mut listener = Listener::new(RATE, FRAME).unwrap();
        let mut now = Instant::now();
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let payload = state.to_le_bytes()[..(state >> 60) as usize % 9].into();
            let sequence = 1_000_000 + (state >> 40) % 2_000;
            listener.push(now, sequence, sequence * 960, payload);
            now += Duration::from_millis(state >> 61);
            listener.handle_timeout(now);
            drain(&mut listener);
            assert!(listener.order.len() <= MAX_WAITING);
        }
    }
}
