//! What the client says: RTP packets in any order become an unbroken line of PCM.
//!
//! In order: decoded at once. At a gap: later packets wait for the missing ones, as long as such
//! have lately been late (`reorder.rs`); then in-band FEC brings back what it can, and the rest is
//! concealed. A sender that stops (DTX, a muted track, a lost uplink) is filled with silence, so
//! that whoever waits for the end of a turn hears it.
//!
//! The line is as long as the client's clock says. There is no clock of ours in it, but for that
//! silence: what turns out to have been made up beyond the client's clock, since packets were held
//! up and came after all, is a surplus, and is left out again of the next pauses. Nothing that was
//! said is lost to it. Takes `now`; no I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::codec::Codec;
use crate::decode::{Corrupt, Decoder};
use crate::frames::Frames;
use crate::lateness::fading;
use crate::level::Level;
use crate::reorder::{Arrival, Reorder};

/// A gap of more packets is a jump, not a loss: nothing is concealed.
const MAX_LOST: u64 = 25;
/// Concealment says nothing more after this: silence follows.
const MAX_CONCEALED: Duration = Duration::from_millis(100);
/// A sender is silent when its packet is so late, if what it sent last was quiet.
const STALL: Duration = Duration::from_millis(80);
/// A voice that breaks off is rather held up than silent, and waited for.
const VOICE_STALL: Duration = Duration::from_millis(300);
/// Where packets are held up, both waits are twice as long as the longest lately was, but for no
/// more: turns have to end.
const MAX_STALL: Duration = Duration::from_millis(400);
/// What is concealed and breaks off fades out within this.
const FADE: Duration = Duration::from_millis(40);
/// The longest that packets were held up counts half as much after this.
const HOLD_UP_HALF_LIFE: Duration = Duration::from_secs(20);
/// Silence is made up for so long, then the line pauses. No surplus is larger.
const MAX_SILENCE: Duration = Duration::from_millis(1500);
const SILENCE_STEP: Duration = Duration::from_millis(20);

struct Packet {
    arrived: Instant,
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
    /// Packets that came after their place had been filled.
    pub late_packets: u64,
    /// Packets that came twice.
    pub duplicate_packets: u64,
    /// Packets replaced by in-band FEC.
    pub recovered_packets: u64,
    /// Packets replaced by concealment or, after much of it, by silence.
    pub concealed_packets: u64,
    /// Packets that the codec refused.
    pub corrupt_packets: u64,
    /// Quiet packets left out, since as much silence had been made up before.
    pub skipped_packets: u64,
}

/// Jitter buffer and decoder of one session.
pub struct Listener {
    codec: Codec,
    decoder: Decoder,
    rate: u32,
    order: Reorder<Packet>,
    frames: Frames,
    position: u64,
    /// Where the line ends, on the client's clock.
    next_rtp_time: u64,
    /// When the latest packet came; None before the first.
    last_arrival: Option<Instant>,
    /// The last packet of the line: when it came, its end on the client's clock, and its length.
    last: Option<(Instant, u64)>,
    packet_samples: usize,
    /// Silence made up since, in samples.
    made_up: usize,
    /// Silence in the line that the client's clock knows nothing of, in samples.
    surplus: usize,
    level: Level,
    quiet: bool,
    /// The longest that packets were lately held up.
    hold_up: Duration,
    stats: ListenStats,
}

impl Listener {
    /// A listener that yields frames of `frame` at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    #[must_use]
    pub fn new(codec: Codec, rate: u32, frame: Duration) -> Self {
        Self {
            codec,
            decoder: Decoder::new(codec, rate),
            rate,
            order: Reorder::new(),
            frames: Frames::new(samples(rate, frame)),
            position: 0,
            next_rtp_time: 0,
            last_arrival: None,
            last: None,
            packet_samples: samples(rate, SILENCE_STEP),
            made_up: 0,
            surplus: 0,
            level: Level::default(),
            quiet: true,
            hold_up: Duration::ZERO,
            stats: ListenStats::default(),
        }
    }

    /// Takes one RTP packet: extended sequence number, extended RTP time, payload.
    pub fn push(&mut self, now: Instant, sequence: u64, rtp_time: u64, payload: Arc<[u8]>) {
        if !self.order.has_begun() {
            self.next_rtp_time = rtp_time;
        }
        let packet = Packet {
            arrived: now,
            rtp_time,
            payload,
        };
        match self.order.push(now, sequence, packet) {
            Arrival::Taken => {
                self.last_arrival = Some(now);
                self.advance(now);
            }
            Arrival::Late => self.stats.late_packets += 1,
            Arrival::Duplicate => self.stats.duplicate_packets += 1,
        }
    }

    /// Starts over with a stream that has other sequence numbers and another clock. What waited
    /// of the old one is played first; the position goes on.
    pub fn restart(&mut self) {
        for packet in self.order.restart() {
            self.take(0, &packet);
        }
        self.decoder.restart();
        self.made_up = 0;
        self.last = None;
    }

    /// Does what is due: gives up on missing packets, makes up silence.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.fill_silence(now);
    }

    /// When [`Listener::handle_timeout`] is next due.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if let Some(deadline) = self.order.deadline() {
            return Some(deadline);
        }
        let made_up = self.duration(self.made_up);
        let due = if self.made_up == 0 {
            self.stall()
        } else {
            made_up + SILENCE_STEP
        };
        (made_up < MAX_SILENCE).then_some(self.expected()? + due)
    }

    /// The next whole frame, if there is one.
    pub fn poll(&mut self) -> Option<Frame> {
        let pcm = self.frames.poll()?;
        let position = self.position;
        self.position += pcm.len() as u64;
        Some(Frame { position, pcm })
    }

    /// What happened so far.
    #[must_use]
    pub fn stats(&self) -> ListenStats {
        self.stats
    }

    fn advance(&mut self, now: Instant) {
        while let Some((missing, packet)) = self.order.pop(now) {
            self.take(missing, &packet);
        }
    }

    /// Puts a packet at the end of the line, behind what stands in for the `missing` ones.
    fn take(&mut self, missing: u64, packet: &Packet) {
        self.learn(missing, packet);
        let length = self.decoder.samples(&packet.payload);
        let length = length.unwrap_or(self.packet_samples);
        // What was made up was not silence that the client did not send: its packets come late.
        let ahead = self.samples_of(self.next_rtp_time.saturating_sub(packet.rtp_time));
        self.surplus += ahead.min(self.made_up);
        let gap = self.samples_of(packet.rtp_time.saturating_sub(self.next_rtp_time));
        self.bridge(missing, gap, length, &packet.payload);
        self.made_up = 0;
        self.decode(&packet.payload, length);
        self.packet_samples = length;
        self.next_rtp_time = packet.rtp_time + self.rtp_duration(length);
        self.last = Some((packet.arrived, self.next_rtp_time));
    }

    /// Fills a `gap` of samples, in which `missing` packets were lost, before `following`, which
    /// has `length` samples.
    fn bridge(&mut self, missing: u64, gap: usize, length: usize, following: &[u8]) {
        let mut lost = 0;
        if (1..=MAX_LOST).contains(&missing) {
            // Packets may have become longer or shorter meanwhile.
            lost = gap.min(missing as usize * length.max(self.packet_samples));
        }
        let recovered = self.decoder.recoverable(following).min(lost);
        let mut concealed = 0;
        // Behind silence there is nothing that could go on.
        if self.made_up == 0 {
            concealed = (lost - recovered).min(samples(self.rate, MAX_CONCEALED));
        }
        let mut pcm = self.decoder.conceal(concealed);
        if lost - recovered > concealed {
            fade(&mut pcm, samples(self.rate, FADE));
        }
        self.frames.push(pcm);
        let silence = (gap - concealed - recovered).min(samples(self.rate, MAX_SILENCE));
        let left_out = silence.min(self.surplus);
        self.surplus -= left_out;
        self.push_silence(silence - left_out);
        if recovered > 0 {
            self.frames.push(self.decoder.recover(following, recovered));
            self.stats.recovered_packets += 1;
        }
        if lost > 0 {
            self.stats.concealed_packets += missing - u64::from(recovered > 0);
        }
    }

    fn decode(&mut self, payload: &[u8], length: usize) {
        let pcm = self.decoder.decode(payload).unwrap_or_else(|Corrupt| {
            self.stats.corrupt_packets += 1;
            self.decoder.conceal(length)
        });
        self.quiet = self.level.is_quiet(&pcm, self.rate);
        let most = samples(self.rate, MAX_SILENCE);
        if self.surplus >= pcm.len() && (self.quiet || self.surplus > most) {
            self.surplus -= pcm.len();
            self.stats.skipped_packets += 1;
            return;
        }
        self.frames.push(pcm);
    }

    /// Notes how long a packet was held up, on the client's clock. After a jump of that clock
    /// without a loss nobody can say.
    fn learn(&mut self, missing: u64, packet: &Packet) {
        let Some((arrived, end)) = self.last else {
            return;
        };
        let apart = packet.arrived - arrived;
        let fading = fading(apart, HOLD_UP_HALF_LIFE);
        self.hold_up = self.hold_up.mul_f32(fading);
        let gap = self.samples_of(packet.rtp_time.saturating_sub(end));
        if missing <= MAX_LOST && (missing > 0 || gap == 0) {
            let due = self.duration(gap + self.packet_samples);
            self.hold_up = self.hold_up.max(apart.saturating_sub(due));
        }
    }

    /// When the next packet should come.
    fn expected(&self) -> Option<Instant> {
        Some(self.last_arrival? + self.duration(self.packet_samples))
    }

    /// How late a packet may be until silence is made up for it.
    fn stall(&self) -> Duration {
        let least = if self.quiet { STALL } else { VOICE_STALL };
        (self.hold_up * 2).clamp(least, MAX_STALL)
    }

    fn fill_silence(&mut self, now: Instant) {
        let (Some(expected), 0) = (self.expected(), self.order.len()) else {
            return;
        };
        let late = now.saturating_duration_since(expected);
        if self.made_up == 0 {
            if late < self.stall() {
                return;
            }
            self.fade_out();
        }
        while self.duration(self.made_up) + SILENCE_STEP <= late.min(MAX_SILENCE) {
            let step = samples(self.rate, SILENCE_STEP);
            self.push_silence(step);
            self.make_up(step);
        }
    }

    /// Lets a voice that broke off fade.
    fn fade_out(&mut self) {
        if self.quiet {
            return;
        }
        let length = samples(self.rate, FADE);
        let mut pcm = self.decoder.conceal(length);
        fade(&mut pcm, length);
        self.frames.push(pcm);
        self.make_up(length);
    }

    fn make_up(&mut self, samples: usize) {
        self.made_up += samples;
        self.next_rtp_time += self.rtp_duration(samples);
    }

    fn push_silence(&mut self, samples: usize) {
        self.frames.push(vec![0; samples]);
    }

    fn rtp_duration(&self, samples: usize) -> u64 {
        samples as u64 * u64::from(self.codec.clock_rate()) / u64::from(self.rate)
    }

    fn samples_of(&self, rtp_ticks: u64) -> usize {
        let samples = u128::from(rtp_ticks) * u128::from(self.rate);
        (samples / u128::from(self.codec.clock_rate())) as usize
    }

    fn duration(&self, samples: usize) -> Duration {
        Duration::from_micros(samples as u64 * 1_000_000 / u64::from(self.rate))
    }
}

/// Fades out over the last `length` samples.
fn fade(pcm: &mut [i16], length: usize) {
    let length = length.min(pcm.len());
    for (left, sample) in (1..=length).zip(pcm.iter_mut().rev()) {
        *sample = (i32::from(*sample) * left as i32 / length as i32) as i16;
    }
}

fn samples(rate: u32, duration: Duration) -> usize {
    (u128::from(rate) * duration.as_millis() / 1000) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::Law;
    use crate::packet::{OpusPacket, has_fec, rtp_ticks};
    use crate::reorder::MAX_WAITING;
    use crate::test_voice::{RATE, packets as voice};

    const FRAME: Duration = Duration::from_millis(20);

    fn silence() -> Arc<[u8]> {
        OpusPacket::silence().payload().clone()
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
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let now = Instant::now();
        for (n, payload) in voice(5).into_iter().enumerate() {
            listener.push(now, n as u64, n as u64 * 960, payload);
            let frame = listener.poll().unwrap();
            assert_eq!((frame.position, frame.pcm.len()), (n as u64 * 320, 320));
        }
        assert_eq!(listener.stats(), ListenStats::default());
    }

    /// What `listener` makes of `packets` that come at these times (number, ms), in that order; it
    /// is woken when it wants to be, until `end`.
    fn run(
        listener: &mut Listener,
        packets: &[Arc<[u8]>],
        arrivals: &[(usize, u64)],
        end: u64,
    ) -> Vec<i16> {
        let start = Instant::now();
        let mut pcm = Vec::new();
        let mut arrivals = arrivals.iter().peekable();
        loop {
            let at = |ms| start + Duration::from_millis(ms);
            let arrival = arrivals.peek().map_or(at(end), |&&(_, ms)| at(ms));
            let now = listener.deadline().map_or(arrival, |due| due.min(arrival));
            if now >= at(end) {
                return pcm;
            }
            listener.handle_timeout(now);
            while let Some(&(n, _)) = arrivals.next_if(|&&(_, ms)| at(ms) == now) {
                let time = n as u64 * 960;
                listener.push(now, n as u64, time, packets[n].clone());
            }
            for frame in std::iter::from_fn(|| listener.poll()) {
                assert_eq!(frame.position, pcm.len() as u64);
                pcm.extend(frame.pcm);
            }
        }
    }

    /// Each packet of 20 ms as it is sent.
    fn in_time(count: usize) -> Vec<(usize, u64)> {
        (0..count).map(|n| (n, n as u64 * 20)).collect()
    }

    #[test]
    fn reordered_packets_come_out_in_order_and_duplicates_once() {
        let packets = voice(40);
        let mut straight = Listener::new(Codec::Opus, RATE, FRAME);
        let expected = run(&mut straight, &packets, &in_time(40), 800);
        // From the tenth on, every fourth is overtaken by two.
        let mut arrivals = in_time(40);
        for (n, at) in arrivals.iter_mut().skip(10).step_by(4) {
            *at += 50 + *n as u64 % 3;
        }
        arrivals.extend([(20, 400), (20, 405), (21, 500)]);
        arrivals.sort_by_key(|&(_, at)| at);
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &packets, &arrivals, 850);
        let duplicate_packets = 3;
        let expected_stats = ListenStats {
            duplicate_packets,
            ..ListenStats::default()
        };
        assert_eq!(listener.stats(), expected_stats);
        assert_eq!(pcm, expected);
    }

    #[test]
    fn a_packet_that_came_too_late_is_counted_and_the_next_is_waited_for() {
        let packets = voice(40);
        let mut arrivals = in_time(40);
        arrivals[20].1 += 90;
        arrivals[30].1 += 65;
        arrivals.sort_by_key(|&(_, at)| at);
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &packets, &arrivals, 800);
        let stats = listener.stats();
        let replaced = stats.recovered_packets + stats.concealed_packets;
        assert_eq!((stats.late_packets, replaced), (1, 1));
        assert_eq!(pcm.len(), 40 * 320);
    }

    #[test]
    fn a_lost_packet_is_recovered_from_the_next_and_soon_at_once() {
        let mut packets = voice(1400);
        let mut arrivals = in_time(1400);
        arrivals.retain(|(n, _)| n % 100 != 99);
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &packets, &arrivals, 28_000);
        let stats = listener.stats();
        let carried = (1..14).filter(|n| has_fec(&packets[n * 100])).count() as u64;
        assert!(carried > 3);
        assert_eq!(stats.recovered_packets, carried);
        assert_eq!(stats.concealed_packets, 13 - carried);
        let quiet = pcm.chunks(320).skip(1).filter(|pcm| energy(pcm) < 1e6);
        assert_eq!(quiet.count(), 0);
        // By now it is known that nothing comes late here.
        packets.truncate(12);
        let now = Instant::now() + Duration::from_secs(100);
        for n in (0..12).filter(|&n| n != 10) {
            listener.push(now, 2000 + n as u64, n as u64 * 960, packets[n].clone());
        }
        assert_eq!(listener.order.len(), 0);
    }

    #[test]
    fn a_recovered_packet_sounds_like_itself() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let now = Instant::now();
        let packets = voice(12);
        for n in (0..12).filter(|&n| n != 10) {
            listener.push(now, n as u64, n as u64 * 960, packets[n].clone());
        }
        listener.handle_timeout(listener.deadline().unwrap());
        let pcm = drain(&mut listener);
        assert_eq!(pcm.len(), 12 * 320);
        let stats = listener.stats();
        assert_eq!((stats.recovered_packets, stats.concealed_packets), (1, 0));
        let recovered = energy(&pcm[10 * 320..11 * 320]);
        assert!(recovered > 1e6, "FEC brought the voice back: {recovered}");
    }

    #[test]
    fn of_many_lost_packets_the_last_is_recovered_and_the_first_are_concealed() {
        let packets = voice(40);
        for lost in [1, 2, 5, 20] {
            let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
            let now = Instant::now();
            for n in (0..40).filter(|n| !(10..10 + lost).contains(n)) {
                listener.push(now, n as u64, n as u64 * 960, packets[n].clone());
            }
            listener.handle_timeout(now + FRAME * 4);
            let pcm = drain(&mut listener);
            assert_eq!(pcm.len(), 40 * 320, "{lost}");
            let stats = listener.stats();
            let recovered = u64::from(has_fec(&packets[10 + lost]));
            assert_eq!(stats.recovered_packets, recovered);
            assert_eq!(stats.concealed_packets, lost as u64 - recovered);
            let packet = |n: usize| energy(&pcm[n * 320..(n + 1) * 320]);
            assert!(packet(10) > 1e6, "{lost}: {}", packet(10));
            let last = packet(10 + lost - 1);
            assert!(recovered == 0 || last > 1e4, "{lost}: {last}");
            // Nobody sustains a vowel for so long.
            assert!(lost < 20 || packet(20) == 0.0);
        }
    }

    #[test]
    fn without_fec_a_lost_packet_is_concealed() {
        let mode = opus::Application::LowDelay;
        let mut encoder = opus::Encoder::new(RATE, opus::Channels::Mono, mode).unwrap();
        let pcm: Vec<i16> = (0..320 * 8)
            .map(|n| ((n as f32 * 300.0 * std::f32::consts::TAU / RATE as f32).sin() * 9e3) as i16)
            .collect();
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let now = Instant::now();
        for (n, frame) in pcm.chunks(320).enumerate() {
            let payload = encoder.encode_vec(frame, 400).unwrap().into();
            if n != 6 {
                listener.push(now, n as u64, n as u64 * 960, payload);
            }
        }
        listener.handle_timeout(now + FRAME * 4);
        let pcm = drain(&mut listener);
        assert!(energy(&pcm[6 * 320..7 * 320]) > 1e6);
        let stats = listener.stats();
        assert_eq!((stats.recovered_packets, stats.concealed_packets), (0, 1));
    }

    #[test]
    fn a_sender_that_stops_is_heard_as_silence() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let start = Instant::now();
        listener.push(start, 0, 0, silence());
        drain(&mut listener);
        let mut pcm = Vec::new();
        let mut first = None;
        while let Some(deadline) = listener.deadline() {
            listener.handle_timeout(deadline);
            first.get_or_insert(deadline - start);
            pcm.extend(drain(&mut listener));
        }
        assert_eq!(first, Some(STALL + FRAME));
        assert_eq!(pcm.len(), samples(RATE, MAX_SILENCE));
        assert!(pcm.iter().all(|&sample| sample == 0));
        // The clock goes on: a packet after the pause adds nothing twice.
        let later = start + MAX_SILENCE + FRAME;
        let time = rtp_ticks(MAX_SILENCE + FRAME);
        listener.push(later, 1, time, silence());
        assert_eq!(drain(&mut listener).len(), 320);
        assert_eq!(listener.surplus, 0);
    }

    #[test]
    fn a_voice_that_breaks_off_fades() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &voice(10), &in_time(10), 1000);
        let tail = &pcm[10 * 320..];
        assert!(energy(&tail[..160]) > 1e6);
        assert!(energy(&tail[480..640]) < energy(&tail[..160]) / 4.0);
        assert!(tail[640..].iter().all(|&sample| sample == 0));
    }

    #[test]
    fn packets_of_any_duration_are_no_stall() {
        for ms in [10, 40, 60, 120] {
            let mut encoder =
                opus::Encoder::new(RATE, opus::Channels::Stereo, opus::Application::Voip).unwrap();
            let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
            let start = Instant::now();
            for n in 0..20 {
                let now = start + Duration::from_millis(n * ms);
                if let Some(due) = listener.deadline() {
                    assert!(due > now, "{ms} ms");
                }
                let pcm: Vec<_> = (0..ms as i16 * 32).map(|n| n % 160 * 50).collect();
                let payload = encoder.encode_vec(&pcm, 1200).unwrap().into();
                listener.push(now, n, n * ms * 48, payload);
            }
            assert_eq!(drain(&mut listener).len(), 20 * ms as usize * 16);
        }
    }

    #[test]
    fn telephone_sound_of_any_packet_length_is_heard_in_its_place() {
        for (codec, law) in [(Codec::Pcmu, Law::Mu), (Codec::Pcma, Law::A)] {
            for ms in [10, 20, 30, 40, 60] {
                for rate in [8000, 12_000, 16_000, 24_000, 48_000] {
                    let mut listener = Listener::new(codec, rate, FRAME);
                    let start = Instant::now();
                    let tone = |n| ((n as f32 * 0.3).sin() * 9000.0) as i16;
                    for n in (0..1200 / ms).filter(|&n| n != 600 / ms) {
                        let now = start + Duration::from_millis(n * ms);
                        listener.handle_timeout(now);
                        let bytes = n * ms * 8..(n + 1) * ms * 8;
                        let payload: Vec<_> = bytes.map(|n| law.encode(tone(n))).collect();
                        listener.push(now, n, n * ms * 8, payload.into());
                    }
                    let pcm = drain(&mut listener);
                    assert_eq!(pcm.len(), rate as usize * 1200 / 1000, "{ms} ms, {rate} Hz");
                    assert_eq!(listener.stats().concealed_packets, 1);
                    for (n, frame) in pcm.chunks(rate as usize / 50).enumerate().skip(1) {
                        let enough = if (30..33).contains(&n) { 1e6 } else { 1e7 };
                        assert!(energy(frame) > enough, "{ms} ms, {rate} Hz, {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn packets_that_were_held_up_are_heard_once_and_pauses_make_up_for_it() {
        let mut packets = voice(200);
        for (n, packet) in packets.iter_mut().enumerate() {
            if n % 50 >= 30 {
                *packet = silence();
            }
        }
        let mut arrivals = in_time(200);
        for (n, at) in &mut arrivals {
            // Nothing comes for 360 ms within the first sound, and again in each later one.
            let into = *n as u64 % 50 * 20;
            if (200..560).contains(&into) {
                *at += 560 - into;
            }
        }
        let loud = |pcm: &[i16]| pcm.chunks(320).filter(|frame| energy(frame) > 1e6).count();
        let mut straight = Listener::new(Codec::Opus, RATE, FRAME);
        let said = loud(&run(&mut straight, &packets, &in_time(200), 4000));
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &packets, &arrivals, 4000);
        // All that was said, and a fade, once; then it was known that packets are held up, and
        // they were waited for.
        let heard = loud(&pcm);
        assert!((said..=said + 3).contains(&heard), "{heard} of {said}");
        assert_eq!(pcm.len(), 200 * 320);
        let skipped = listener.stats().skipped_packets;
        assert!((14..=18).contains(&skipped), "{skipped}");
        assert_eq!(listener.surplus, 0);
        assert_eq!(listener.stats().late_packets, 0);
    }

    #[test]
    fn hold_ups_without_end_never_make_the_line_much_longer_than_the_clock() {
        let packets = voice(3000);
        let mut arrivals = in_time(3000);
        // An unbroken sound, of which every second nothing comes for 600 ms.
        for (_, at) in &mut arrivals {
            let into = *at % 1000;
            *at += 600 - into.min(600);
        }
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let pcm = run(&mut listener, &packets, &arrivals, 60_600);
        let more = pcm.len() - 3000 * 320;
        let hold_up = samples(RATE, Duration::from_millis(600));
        assert!(more <= samples(RATE, MAX_SILENCE) + hold_up, "{more}");
    }

    #[test]
    fn the_line_is_as_long_as_the_client_says_whatever_its_clock_and_the_path() {
        // What a bad clock makes in an hour, in twenty minutes.
        for millionths in [900, -900] {
            let (mut listener, start) = (Listener::new(Codec::Opus, RATE, FRAME), Instant::now());
            let mut dice = 7u64;
            let (mut sequence, mut heard, mut arrival) = (0, 0, Duration::ZERO);
            // A quarter of it is sent: a second of packets, three of nothing (DTX).
            for n in (0..1200 * 50i64).filter(|n| n / 50 % 4 == 0) {
                let sent = Duration::from_nanos((n * 20 * (1_000_000 - millionths)) as u64);
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // In order, up to 250 ms late, mostly little.
                let late = (dice >> 40) as f32 / (1 << 24) as f32;
                arrival = arrival.max(sent + Duration::from_millis((late.powi(8) * 250.0) as u64));
                let now = start + arrival;
                while let Some(due) = listener.deadline().filter(|&due| due < now) {
                    listener.handle_timeout(due);
                    heard += drain(&mut listener).len() as i64;
                }
                listener.push(now, sequence, n as u64 * 960, silence());
                sequence += 1;
                heard += drain(&mut listener).len() as i64;
                let ahead = heard - (n + 1) * 320;
                assert!((0..=320 * 15).contains(&ahead), "{ahead} at {n}");
            }
            assert!(listener.surplus <= 320 * 15);
            assert_eq!(listener.stats().late_packets, 0);
        }
    }

    #[test]
    fn a_clock_jump_without_loss_is_filled_and_bounded() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let now = Instant::now();
        let packets = voice(3);
        listener.push(now, 0, 0, packets[0].clone());
        listener.push(now, 1, 960 + 4800, packets[1].clone());
        assert_eq!(drain(&mut listener).len(), 320 + 1600 + 320);
        listener.push(now, 2, u64::from(u32::MAX), packets[2].clone());
        assert_eq!(drain(&mut listener).len(), samples(RATE, MAX_SILENCE) + 320);
    }

    #[test]
    fn another_stream_with_lower_numbers_is_heard_at_once() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
        let now = Instant::now();
        let packets = voice(6);
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
        let stats = listener.stats();
        assert_eq!((stats.late_packets, stats.duplicate_packets), (0, 0));
    }

    #[test]
    fn garbage_and_wild_sequence_numbers_never_panic_nor_grow() {
        let mut listener = Listener::new(Codec::Opus, RATE, FRAME);
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
