//! What the agent says: PCM in, one Opus packet every 20 ms out, and an exact account of how much
//! was sent. Takes `now`; no I/O.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::event::UtteranceId;

/// One packet per tick.
pub const TICK: Duration = Duration::from_millis(20);
/// RTP clock per tick (48 kHz, RFC 7587 §4.1).
const TICK_RTP: u32 = 960;
/// Silent packets after the last word, so that the receiver's concealment fades from silence.
const HANGOVER_TICKS: u8 = 5;
/// Ticks that are made up for after a stall. Beyond, the clock jumps: a burst helps nobody.
const MAX_CATCH_UP: u32 = 3;
/// Speech that may wait, per session. A backend that is further ahead has to hold back.
pub const MAX_QUEUED: Duration = Duration::from_secs(300);
/// A cut is faded over this many samples' share of a tick, so that it does not click.
const FADE_FRACTION: usize = 4;
/// Largest Opus packet that we make; at speech bit rates 20 ms take about 80 bytes.
const MAX_PACKET_BYTES: usize = 400;

/// How speech is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// Bit rate in bit/s.
    pub bitrate: i32,
    /// libopus complexity, 0–10: CPU against quality.
    pub complexity: i32,
}

/// One RTP packet to send.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet {
    /// Clock since the playout's first tick, 48 kHz, wrapping.
    pub rtp_time: u32,
    /// First packet after a pause (RFC 3551 §4.1).
    pub marker: bool,
    /// Opus.
    pub payload: Vec<u8>,
}

/// What became of an utterance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Its first packet is about to leave.
    Started(UtteranceId),
    /// It is over.
    Ended {
        /// Which.
        utterance: UtteranceId,
        /// How much of it was sent.
        played_ms: u64,
        /// Flushed before its end.
        interrupted: bool,
    },
}

struct Utterance {
    id: UtteranceId,
    pcm: VecDeque<i16>,
    complete: bool,
    played: usize,
}

/// The outgoing queue, pacer and encoder of one session.
pub struct Playout {
    encoder: opus::Encoder,
    rate: u32,
    tick_samples: usize,
    queue: VecDeque<Utterance>,
    queued_samples: usize,
    progress: VecDeque<Progress>,
    /// Cut short: the next tick fades out from here.
    tail: Vec<i16>,
    hangover: u8,
    first_tick: Option<Instant>,
    next_tick: Option<Instant>,
    ticks: u32,
    resumed: bool,
}

/// More than [`MAX_QUEUED`] of speech waits; what was offered is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

impl Playout {
    /// An empty playout for PCM16 mono at `rate` Hz (8, 12, 16, 24 or 48 kHz).
    ///
    /// # Errors
    /// When libopus refuses a value or is out of memory.
    pub fn new(rate: u32, encoding: Encoding) -> Result<Self, opus::Error> {
        let mode = opus::Application::Voip;
        let mut encoder = opus::Encoder::new(rate, opus::Channels::Mono, mode)?;
        encoder.set_bitrate(opus::Bitrate::Bits(encoding.bitrate))?;
        encoder.set_complexity(encoding.complexity)?;
        encoder.set_inband_fec(true)?;
        // Redundancy for a mildly lossy path; it costs a few bits only when FEC is in use.
        encoder.set_packet_loss_perc(5)?;
        Ok(Self {
            encoder,
            rate,
            tick_samples: (rate / 50) as usize,
            queue: VecDeque::new(),
            queued_samples: 0,
            progress: VecDeque::new(),
            tail: Vec::new(),
            hangover: 0,
            first_tick: None,
            next_tick: None,
            ticks: 0,
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
        let limit = self.rate as usize * MAX_QUEUED.as_secs() as usize;
        if self.queued_samples + pcm.len() > limit {
            self.cut(id);
            return Err(QueueFull);
        }
        self.queued_samples += pcm.len();
        match self.queue.iter_mut().find(|utterance| utterance.id == id) {
            Some(utterance) => {
                utterance.pcm.extend(pcm);
                utterance.complete |= complete;
            }
            None => {
                let pcm = pcm.iter().copied().collect();
                self.queue.push_back(Utterance {
                    id,
                    pcm,
                    complete,
                    played: 0,
                });
            }
        }
        if self.next_tick.is_none() {
            self.start(now);
        }
        Ok(())
    }

    /// Drops everything that has not been sent. [`Playout::poll_progress`] then tells, for each
    /// utterance, how many milliseconds were.
    pub fn flush(&mut self) {
        for (nth, utterance) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            if nth == 0 && utterance.played > 0 {
                let length = (self.tick_samples / FADE_FRACTION).min(utterance.pcm.len());
                self.tail = utterance.pcm.iter().copied().take(length).collect();
            }
            self.progress.push_back(Progress::Ended {
                utterance: utterance.id,
                played_ms: self.milliseconds(utterance.played),
                interrupted: true,
            });
        }
        self.queued_samples = 0;
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
        let Some(due) = self.next_tick.filter(|&due| due <= now) else {
            return Ok(None);
        };
        let behind = (now - due).as_millis() / TICK.as_millis();
        if behind > u128::from(MAX_CATCH_UP) {
            self.ticks += behind as u32;
        }
        self.ticks += 1;
        let rtp_time = (self.ticks - 1).wrapping_mul(TICK_RTP);
        self.next_tick = self.first_tick.map(|first| first + TICK * self.ticks);

        let mut frame = Vec::with_capacity(self.tick_samples);
        self.fill(&mut frame);
        if frame.is_empty() {
            if self.hangover == 0 {
                // Silence costs nothing: no packets, no ticks, until there is something to say.
                self.next_tick = None;
                self.resumed = true;
                return Ok(None);
            }
            self.hangover -= 1;
        } else {
            self.hangover = HANGOVER_TICKS;
        }
        frame.resize(self.tick_samples, 0);
        let payload = self.encoder.encode_vec(&frame, MAX_PACKET_BYTES)?;
        let marker = std::mem::take(&mut self.resumed);
        Ok(Some(Packet {
            rtp_time,
            marker,
            payload,
        }))
    }

    /// What became of the utterances, oldest first.
    pub fn poll_progress(&mut self) -> Option<Progress> {
        self.progress.pop_front()
    }

    /// Lets utterance `id` end with what is queued of it, so that its account is settled.
    fn cut(&mut self, id: UtteranceId) {
        match self.queue.iter_mut().find(|utterance| utterance.id == id) {
            Some(utterance) => utterance.complete = true,
            None => self.progress.push_back(Progress::Ended {
                utterance: id,
                played_ms: 0,
                interrupted: true,
            }),
        }
    }

    fn start(&mut self, now: Instant) {
        let first = *self.first_tick.get_or_insert(now);
        // Ticks stay on one grid for the whole session, so that the RTP clock is time.
        let elapsed = (now - first).as_nanos().div_ceil(TICK.as_nanos()) as u32;
        self.ticks = self.ticks.max(elapsed);
        self.next_tick = Some(first + TICK * self.ticks);
    }

    /// Takes one tick's worth of samples from the queue, across utterances.
    fn fill(&mut self, frame: &mut Vec<i16>) {
        let length = self.tail.len();
        for (index, sample) in self.tail.drain(..).enumerate() {
            let faded = i32::from(sample) * (length - index) as i32 / length as i32;
            frame.push(faded as i16);
        }
        while frame.len() < self.tick_samples {
            let Some(utterance) = self.queue.front_mut() else {
                return;
            };
            if utterance.played == 0 && !utterance.pcm.is_empty() {
                self.progress.push_back(Progress::Started(utterance.id));
            }
            let taken = utterance.pcm.len().min(self.tick_samples - frame.len());
            frame.extend(utterance.pcm.drain(..taken));
            utterance.played += taken;
            self.queued_samples -= taken;
            if !utterance.pcm.is_empty() {
                return;
            }
            if !utterance.complete {
                // The backend is late: silence until its next piece, and nothing overtakes it.
                return;
            }
            let (id, played) = (utterance.id, utterance.played);
            self.queue.pop_front();
            self.progress.push_back(Progress::Ended {
                utterance: id,
                played_ms: self.milliseconds(played),
                interrupted: false,
            });
        }
    }

    fn milliseconds(&self, samples: usize) -> u64 {
        samples as u64 * 1000 / u64::from(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u32 = 16_000;

    fn playout() -> Playout {
        Playout::new(
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
            assert_eq!(packet.rtp_time, n as u32 * TICK_RTP);
            assert_eq!(packet.marker, n == 0);
        }
        assert_eq!(progress, [Progress::Started(7), ended(7, 100, false)]);
        assert_eq!(playout.deadline(), None);
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
