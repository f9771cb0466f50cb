//! What the agent says: PCM in, one packet every 20 ms out, and an exact account of how much
//! was sent. Takes `now`; no I/O.
//!
//! Of a live source that has got ahead, quiet ticks are left out (`backlog.rs`). Where there is
//! nothing to hear, little is sent (DTX): nothing at all while nothing is said, and a packet now and
//! then while what is said is silence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::adapt::Setting;
use crate::backlog::Backlog;
use crate::codec::Codec;
use crate::encode::Encoder;
pub use crate::encode::Encoding;
use crate::event::UtteranceId;
use crate::level::{Level, is_silent};
use crate::utterances::Utterances;
pub use crate::utterances::{MAX_QUEUED, Progress, QueueFull};

/// One packet per tick.
pub const TICK: Duration = Duration::from_millis(20);
/// Silent packets after the last word, so that the receiver's concealment fades from silence.
pub(crate) const HANGOVER_TICKS: u8 = 5;
/// Silence that is said is sent for so many ticks: it may be a pause between words.
const SILENCE_TICKS: u32 = 10;
/// Of more, every so many ticks a packet is sent, as Opus does it (RFC 6716 §2.1.9): NATs and
/// receivers see that the stream is alive.
const COMFORT_TICKS: u32 = 20;
/// Ticks that are made up for after a stall. Beyond, the clock jumps: a burst helps nobody.
pub(crate) const MAX_CATCH_UP: u32 = 3;
/// A cut is faded over this many samples' share of a tick, so that it does not click.
const FADE_FRACTION: usize = 4;

/// One RTP packet to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// The codec's clock since the playout's first tick, wrapping.
    pub rtp_time: u32,
    /// First packet after a pause (RFC 3551 §4.1).
    pub marker: bool,
    /// In the session's codec.
    pub payload: Arc<[u8]>,
}

/// The outgoing queue, pacer and encoder of one session.
pub struct Playout {
    codec: Codec,
    encoder: Encoder,
    rate: u32,
    tick_samples: usize,
    utterances: Utterances<i16>,
    backlog: Backlog,
    level: Level,
    /// Cut short: the next tick fades out from here.
    tail: Vec<i16>,
    hangover: u8,
    /// Ticks of silence that were said since the last sound.
    silent: u32,
    /// When the RTP clock was 0.
    epoch: Option<Instant>,
    next_tick: Option<Instant>,
    resumed: bool,
}

impl Playout {
    /// An empty playout for PCM16 mono at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    ///
    /// # Errors
    /// When libopus refuses a value or is out of memory.
    pub fn new(codec: Codec, rate: u32, encoding: Encoding) -> Result<Self, opus::Error> {
        Ok(Self {
            codec,
            encoder: Encoder::new(codec, rate, encoding)?,
            rate,
            tick_samples: (rate / 50) as usize,
            utterances: Utterances::new(rate),
            backlog: Backlog::default(),
            level: Level::default(),
            tail: Vec::new(),
            hangover: 0,
            silent: 0,
            epoch: None,
            next_tick: None,
            resumed: true,
        })
    }

    /// Appends `pcm` to utterance `id`; `complete` says that no more of it follows.
    ///
    /// Utterances play in the order of their first piece. A piece for an utterance that was
    /// flushed meanwhile starts it anew, so a caller stops sending when it hears of the flush.
    ///
    /// # Errors
    /// [`QueueFull`]: nothing was taken, and the utterance ends with what it has.
    pub fn push(
        &mut self,
        now: Instant,
        id: UtteranceId,
        pcm: &[i16],
        complete: bool,
    ) -> Result<(), QueueFull> {
        let samples = pcm.iter().copied();
        let length = pcm.len() as u64;
        let waiting = self.duration(self.utterances.queued());
        self.utterances.push(id, samples, length, complete)?;
        self.backlog.give(now, id, self.duration(length), waiting);
        // At once, wherever that is between the ticks before the silence.
        self.next_tick.get_or_insert(now);
        Ok(())
    }

    /// Drops everything that has not been sent. [`Playout::poll_progress`] then tells, for each
    /// utterance, how many milliseconds were.
    pub fn flush(&mut self) {
        let cut = self.utterances.flush();
        if !cut.is_empty() {
            let length = self.tick_samples / FADE_FRACTION;
            self.tail = cut.into_iter().take(length).collect();
        }
    }

    /// Encodes for another path from the next packet on.
    ///
    /// # Errors
    /// When libopus refuses a value.
    pub(crate) fn adapt(&mut self, setting: Setting) -> Result<(), opus::Error> {
        self.encoder.adapt(setting)
    }

    /// When [`Playout::tick`] is next due; `None` while there is nothing to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_tick
    }

    /// The packet of the tick that is due at `now`, if one is. Call until `None`.
    ///
    /// # Errors
    /// When libopus fails, which it does not for frames of the right size.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Packet>, opus::Error> {
        while let Some(due) = self.next_tick.filter(|&due| due <= now) {
            let behind = ((now - due).as_millis() / TICK.as_millis()) as u32;
            let skipped = if behind > MAX_CATCH_UP { behind } else { 0 };
            let due = due + TICK * skipped;
            let epoch = *self.epoch.get_or_insert(due);
            self.next_tick = Some(due + TICK);
            let Some(frame) = self.next_frame(now) else {
                continue;
            };
            let payload = self.encoder.encode(&frame)?;
            return Ok(Some(Packet {
                // The RTP clock is time.
                rtp_time: self.codec.ticks(due - epoch) as u32,
                marker: self.silent <= SILENCE_TICKS && std::mem::take(&mut self.resumed),
                payload,
            }));
        }
        Ok(None)
    }

    /// What became of the utterances, oldest first.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.utterances.poll_progress()
    }

    /// What the packet of a tick holds; None if none is to be sent.
    fn next_frame(&mut self, now: Instant) -> Option<Vec<i16>> {
        let mut frame = Vec::with_capacity(self.tick_samples);
        self.fill(&mut frame);
        let quiet = self.level.is_quiet(&frame, self.rate);
        let waiting = self.duration(self.utterances.queued());
        if self.backlog.is_too_long(now, waiting) && quiet {
            self.backlog.leave_out(now);
            frame.clear();
            self.fill(&mut frame);
        }
        if frame.is_empty() {
            if self.hangover == 0 {
                // Silence costs nothing: no packets, no ticks, until there is something to say.
                self.next_tick = None;
                self.resumed = true;
                return None;
            }
            self.hangover -= 1;
            frame.resize(self.tick_samples, 0);
            return Some(frame);
        }
        let silent = is_silent(&frame);
        frame.resize(self.tick_samples, 0);
        self.hangover = HANGOVER_TICKS;
        self.silent = if silent { self.silent + 1 } else { 0 };
        if self.silent <= SILENCE_TICKS {
            return Some(frame);
        }
        self.hangover = 0;
        self.resumed = true;
        (self.silent - SILENCE_TICKS)
            .is_multiple_of(COMFORT_TICKS)
            .then_some(frame)
    }

    fn duration(&self, samples: u64) -> Duration {
        Duration::from_micros(samples * 1_000_000 / u64::from(self.rate))
    }

    /// Takes one tick's worth of samples from the queue, across utterances.
    fn fill(&mut self, frame: &mut Vec<i16>) {
        let length = self.tail.len();
        for (index, sample) in self.tail.drain(..).enumerate() {
            let faded = i32::from(sample) * (length - index) as i32 / length as i32;
            frame.push(faded as i16);
        }
        while frame.len() < self.tick_samples {
            let Some(pcm) = self.utterances.current() else {
                return;
            };
            let taken = pcm.len().min(self.tick_samples - frame.len());
            frame.extend(pcm.drain(..taken));
            self.utterances.played(taken as u64);
            if !self.utterances.end_current() {
                // The tick is full; or the backend is late, and gets silence until its next piece.
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::g711::Law;
    use crate::packet::has_fec;
    use crate::test_voice::{self, RATE};

    fn playout() -> Playout {
        Playout::new(
            Codec::Opus,
            RATE,
            Encoding {
                bitrate: 24_000,
                complexity: 0,
            },
        )
        .unwrap()
    }

    fn speech(ms: usize) -> Vec<i16> {
        (0..ms * 16)
            .map(|n| ((n % 160) as i16 - 80) * 100)
            .collect()
    }

    /// Runs until the playout rests; returns packets with their due times, and the progress.
    fn run(playout: &mut Playout) -> (Vec<(Instant, Packet)>, Vec<Progress>) {
        let mut packets = Vec::new();
        while let Some(due) = playout.deadline() {
            while let Some(packet) = playout.tick(due).unwrap() {
                packets.push((due, packet));
            }
        }
        (
            packets,
            std::iter::from_fn(|| playout.poll_progress()).collect(),
        )
    }

    fn ended(utterance: u64, played_ms: u64, interrupted: bool) -> Progress {
        Progress::Ended {
            utterance,
            played_ms,
            interrupted,
        }
    }

    #[test]
    fn speech_leaves_one_packet_per_tick_and_then_rests() {
        let mut playout = playout();
        let start = Instant::now();
        playout.push(start, 7, &speech(100), true).unwrap();
        let (packets, progress) = run(&mut playout);
        assert_eq!(packets.len(), 5 + usize::from(HANGOVER_TICKS));
        for (n, (due, packet)) in packets.iter().enumerate() {
            assert_eq!(*due, start + TICK * n as u32);
            assert_eq!(packet.rtp_time, n as u32 * 960);
            assert_eq!(packet.marker, n == 0);
        }
        assert_eq!(progress, [Progress::Started(7), ended(7, 100, false)]);
        assert_eq!(playout.deadline(), None);
    }

    #[test]
    fn of_silence_little_is_sent_and_all_is_accounted_for() {
        let mut playout = playout();
        let start = Instant::now();
        // Sound of 100 ms, two seconds of silence, in which a chip hums, sound of 100 ms.
        let hum = (0..2000 * 16).map(|n| (n % 7) as i16 - 3);
        let pcm = [speech(100), hum.collect(), speech(100)].concat();
        playout.push(start, 1, &pcm, true).unwrap();
        let (packets, progress) = run(&mut playout);
        assert_eq!(progress, [Progress::Started(1), ended(1, 2200, false)]);
        let ticks: Vec<_> = packets
            .iter()
            .map(|(due, packet)| {
                let tick = packet.rtp_time / 960;
                assert_eq!(*due, start + TICK * tick, "the RTP clock is time");
                (tick, packet.marker)
            })
            .collect();
        let sound = (0..15).chain([34, 54, 74, 94]).chain(105..115);
        let expected = sound.map(|tick| (tick, tick == 0 || tick == 105));
        assert_eq!(ticks, expected.collect::<Vec<_>>());
    }

    #[test]
    fn telephone_sound_leaves_as_160_bytes_on_a_clock_of_8_khz() {
        for (codec, law) in [(Codec::Pcmu, Law::Mu), (Codec::Pcma, Law::A)] {
            for rate in [8000, 12_000, 16_000, 24_000, 48_000] {
                let encoding = Encoding {
                    bitrate: 24_000,
                    complexity: 0,
                };
                let mut playout = Playout::new(codec, rate, encoding).unwrap();
                let start = Instant::now();
                let step = 400.0 * std::f32::consts::TAU / rate as f32;
                let tone = (0..rate / 5).map(|n| ((n as f32 * step).sin() * 8000.0) as i16);
                let tone: Vec<_> = tone.collect();
                playout.push(start, 1, &tone, true).unwrap();
                let (packets, progress) = run(&mut playout);
                assert_eq!(progress, [Progress::Started(1), ended(1, 200, false)]);
                assert_eq!(packets.len(), 10 + usize::from(HANGOVER_TICKS));
                for (n, (_, packet)) in packets.iter().enumerate() {
                    assert_eq!(packet.payload.len(), 160);
                    assert_eq!(packet.rtp_time, n as u32 * 160);
                }
                let decode = |&byte: &u8| f64::from(law.decode(byte)).powi(2);
                let energy = packets[5].1.payload.iter().map(decode).sum::<f64>() / 160.0;
                assert!(
                    (energy / 32e6 - 1.0).abs() < 0.05,
                    "{codec:?} {rate}: {energy}"
                );
                let silence = packets.last().unwrap().1.payload[0];
                assert_eq!(silence, law.encode(0));
            }
        }
    }

    #[test]
    fn a_source_with_another_clock_is_never_far_ahead_and_no_word_is_left_out() {
        // What a bad clock makes in half an hour, in ten minutes.
        for (millionths, expected) in [(900, 17..=27), (-900, 0..=0)] {
            let encoding = Encoding {
                bitrate: 64_000,
                complexity: 0,
            };
            let mut playout = Playout::new(Codec::Pcmu, 8000, encoding).unwrap();
            let (start, word) = (Instant::now(), vec![5000; 160]);
            let pause = vec![40; 160];
            let (mut spoken, mut sent, mut longest, mut played) = (0, 0, 0, 0);
            let mut now = start;
            for n in 0..600 * 50i64 {
                let nanoseconds = n * 20 * (1_000_000 - millionths);
                now = start + Duration::from_nanos(nanoseconds as u64);
                let word_now = n / 50 % 4 != 3;
                spoken += usize::from(word_now);
                let pcm = if word_now { &word } else { &pause };
                playout.push(now, 1, pcm, false).unwrap();
                while let Some(packet) = playout.tick(now).unwrap() {
                    played += 1;
                    sent += usize::from(packet.payload[80] == Law::Mu.encode(5000));
                }
                longest = longest.max(playout.utterances.queued());
            }
            let waiting = (playout.utterances.queued() / 160) as i64;
            assert!(longest <= 180 * 8, "{} ms", longest / 8);
            assert!(spoken - sent <= 9, "{spoken} said, {sent} sent");
            let elapsed = (now - start).as_millis() as i64 / 20 + 1;
            assert!((elapsed - played).abs() <= 1, "a packet each tick");
            let left_out = (600 * 50 - played - waiting).max(0);
            assert!(expected.contains(&left_out), "{left_out}");
        }
    }

    #[test]
    fn a_pause_between_words_is_sent_and_silence_after_silence_is_not() {
        let mut playout = playout();
        let start = Instant::now();
        let pause = vec![0; 200 * 16];
        let words = [speech(40), pause.clone(), speech(40), pause].concat();
        playout.push(start, 1, &words, false).unwrap();
        let (packets, _) = run(&mut playout);
        assert_eq!(packets.len(), 24 + usize::from(HANGOVER_TICKS));
        assert!(packets[1..].iter().all(|(_, packet)| !packet.marker));
        // A backend that says silence bit by bit.
        for n in 1..=20 {
            let now = start + Duration::from_secs(n);
            playout.push(now, 1, &[0; 320], false).unwrap();
            let (packets, _) = run(&mut playout);
            assert_eq!(packets.len(), usize::from(n == 20));
        }
        let now = start + Duration::from_secs(30);
        playout.push(now, 1, &speech(20), true).unwrap();
        let (packets, _) = run(&mut playout);
        assert_eq!(packets.len(), 1 + usize::from(HANGOVER_TICKS));
        assert!(packets[0].1.marker);
    }

    #[test]
    fn a_flush_of_silence_that_is_not_sent_is_exact() {
        let mut playout = playout();
        let start = Instant::now();
        let pcm = [speech(20), vec![0; 16_000]].concat();
        playout.push(start, 1, &pcm, true).unwrap();
        while playout.deadline().unwrap() < start + TICK * 25 {
            playout.tick(playout.deadline().unwrap()).unwrap();
        }
        playout.flush();
        let (packets, progress) = run(&mut playout);
        assert_eq!(progress, [Progress::Started(1), ended(1, 500, true)]);
        assert_eq!(packets, []);
    }

    #[test]
    fn redundancy_and_bits_follow_the_path() {
        let mut playout = Playout::new(
            Codec::Opus,
            RATE,
            Encoding {
                bitrate: 32_000,
                complexity: 0,
            },
        )
        .unwrap();
        let mut now = Instant::now();
        let mut say = |setting: Setting| {
            playout.adapt(setting).unwrap();
            now += Duration::from_secs(10);
            playout.push(now, 1, &test_voice::pcm(2000), false).unwrap();
            let (packets, _) = run(&mut playout);
            let packets = &packets[20..100];
            let fec = packets
                .iter()
                .filter(|(_, packet)| has_fec(&packet.payload));
            let bytes = packets.iter().map(|(_, packet)| packet.payload.len());
            (fec.count(), bytes.sum::<usize>())
        };
        let setting = |bitrate, loss_percent| Setting {
            bitrate,
            loss_percent,
        };
        let (fec, _) = say(setting(32_000, 0));
        assert_eq!(fec, 0);
        let (fec, bytes) = say(setting(32_000, 20));
        assert!(fec > 60, "{fec}");
        let (fec, fewer) = say(setting(20_000, 20));
        assert!(fec > 60, "{fec}");
        assert!(fewer < bytes, "{fewer} of {bytes}");
    }

    #[test]
    fn flush_tells_to_the_millisecond_what_was_played() {
        let mut playout = playout();
        let start = Instant::now();
        playout.push(start, 1, &speech(30), true).unwrap();
        playout.push(start, 2, &speech(500), true).unwrap();
        playout.push(start, 3, &speech(500), true).unwrap();
        for n in 0..4 {
            assert!(playout.tick(start + TICK * n).unwrap().is_some());
        }
        playout.flush();
        let (packets, progress) = run(&mut playout);
        assert_eq!(
            progress,
            [
                Progress::Started(1),
                ended(1, 30, false),
                Progress::Started(2),
                ended(2, 50, true),
                ended(3, 0, true),
            ]
        );
        assert_eq!(
            packets.len(),
            1 + usize::from(HANGOVER_TICKS),
            "a fade and silence"
        );
    }

    #[test]
    fn a_late_backend_is_waited_for_and_not_overtaken() {
        let mut playout = playout();
        let start = Instant::now();
        playout.push(start, 1, &speech(20), false).unwrap();
        playout.push(start, 2, &speech(20), true).unwrap();
        run(&mut playout);
        let later = start + Duration::from_secs(1);
        playout.push(later, 1, &speech(20), true).unwrap();
        let (packets, progress) = run(&mut playout);
        assert!(packets[0].1.marker);
        assert_eq!(packets[0].1.rtp_time, 48_000, "the RTP clock is time");
        assert_eq!(
            progress,
            [
                ended(1, 40, false),
                Progress::Started(2),
                ended(2, 20, false)
            ]
        );
    }

    #[test]
    fn speech_after_a_silence_leaves_at_once_and_its_clock_is_time() {
        let mut playout = playout();
        let start = Instant::now();
        playout.push(start, 1, &speech(20), true).unwrap();
        run(&mut playout);
        let later = start + Duration::from_millis(1007);
        playout.push(later, 2, &speech(40), true).unwrap();
        let (packets, _) = run(&mut playout);
        let told: Vec<_> = packets[..2]
            .iter()
            .map(|(due, packet)| (*due - later, packet.rtp_time))
            .collect();
        assert_eq!(told, [(Duration::ZERO, 1007 * 48), (TICK, 1027 * 48)]);
    }

    #[test]
    fn a_stalled_thread_does_not_burst() {
        let mut playout = playout();
        let start = Instant::now();
        playout.push(start, 1, &speech(2000), true).unwrap();
        playout.tick(start).unwrap();
        let late = start + Duration::from_secs(1);
        let mut burst = 0;
        while playout.tick(late).unwrap().is_some() {
            burst += 1;
        }
        assert!(burst <= MAX_CATCH_UP + 1, "{burst} packets at once");
    }

    #[test]
    fn the_queue_is_bounded() {
        let mut playout = playout();
        let now = Instant::now();
        let minute = speech(60_000);
        for _ in 0..5 {
            playout.push(now, 1, &minute, false).unwrap();
        }
        assert_eq!(playout.push(now, 1, &[0], false), Err(QueueFull));
        assert_eq!(playout.push(now, 2, &[0], true), Err(QueueFull));
        assert_eq!(
            playout.poll_progress(),
            Some(ended(2, 0, true)),
            "settled at once"
        );
        playout.flush();
        playout.push(now, 2, &minute, true).unwrap();
    }
}
