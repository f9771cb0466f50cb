//! A caller's voice: which packet is due when, on the caller's own clock. No I/O.

use std::sync::Arc;
use std::time::{Duration, Instant};

use firsthop_engine::packet::{OpusPacket, RTP_RATE};

use crate::sound::Sound;

/// When it is late, so many packets are sent at once; what is then still due is left out.
const CATCH_UP: u32 = 3;
/// A packet that leaves later than this after its time is counted as late.
const LATE: Duration = Duration::from_millis(5);

/// Where a voice begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// The packet of the loop.
    pub packet: usize,
    /// The part of a packet's duration by which this clock is behind those of others, from 0 to 1.
    pub phase: f64,
    /// From when on all clocks count.
    pub epoch: Instant,
}

/// A packet to send.
#[derive(Debug)]
pub struct Due {
    /// Its payload.
    pub packet: OpusPacket,
    /// Its RTP time.
    pub rtp_time: u32,
    /// It is the first one.
    pub first: bool,
    /// A mark begins in it.
    pub mark: bool,
    /// No other packet of the loop has the same payload.
    pub alone: bool,
}

/// The voice of one caller.
pub struct Talk {
    sound: Arc<Sound>,
    beginning: Beginning,
    next: usize,
    rtp_time: u32,
    /// None: it has not begun.
    due: Option<Instant>,
    /// Packets that were sent without letting time catch up.
    in_a_row: u32,
    late: u64,
}

impl Talk {
    /// A voice that waits for [`Talk::begin`]; `sound` is not empty.
    #[must_use]
    pub fn new(sound: Arc<Sound>, beginning: Beginning) -> Self {
        Self {
            sound,
            next: beginning.packet,
            beginning,
            rtp_time: 0,
            due: None,
            in_a_row: 0,
            late: 0,
        }
    }

    /// Begins to talk, within the duration of a packet.
    pub fn begin(&mut self, now: Instant) {
        let Beginning { phase, epoch, .. } = self.beginning;
        let period = self.duration();
        let since = now.saturating_duration_since(epoch).as_nanos();
        let into = since % period.as_nanos().max(1);
        let into = Duration::from_nanos(u64::try_from(into).unwrap_or_default());
        let wanted = period.mul_f64(phase);
        let wait = match wanted.checked_sub(into) {
            Some(wait) => wait,
            None => wanted + period - into,
        };
        self.due = Some(now + wait);
    }

    /// When [`Talk::tick`] has something to say.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The next packet that is due at `now`. Call it until there is none.
    pub fn tick(&mut self, now: Instant) -> Option<Due> {
        let due = self.due.filter(|&due| due <= now);
        let Some(due) = due.filter(|_| self.in_a_row < CATCH_UP) else {
            if due.is_some() {
                self.leave_out(now);
            }
            self.in_a_row = 0;
            return None;
        };
        self.in_a_row += 1;
        self.late += u64::from(now - due > LATE);
        let first = self.next == self.beginning.packet && self.rtp_time == 0;
        let rtp_time = self.rtp_time;
        let said = self.sound.said(self.next)?;
        let (packet, mark, alone) = (said.packet.clone(), said.mark, said.alone);
        self.advance(due);
        Some(Due {
            packet,
            rtp_time,
            first,
            mark,
            alone,
        })
    }

    /// Packets since the last call that were late or left out.
    pub fn take_late(&mut self) -> u64 {
        std::mem::take(&mut self.late)
    }

    fn leave_out(&mut self, now: Instant) {
        while let Some(due) = self.due.filter(|&due| due <= now) {
            self.late += 1;
            self.advance(due);
        }
    }

    fn advance(&mut self, due: Instant) {
        self.due = Some(due + self.duration());
        let ticks = self
            .sound
            .said(self.next)
            .map_or(0, |said| said.packet.ticks());
        self.rtp_time = self.rtp_time.wrapping_add(ticks);
        self.next = (self.next + 1) % self.sound.len().max(1);
    }

    /// How long the next packet sounds.
    fn duration(&self) -> Duration {
        let ticks = self
            .sound
            .said(self.next)
            .map_or(0, |said| said.packet.ticks());
        Duration::from_secs(ticks.into()) / RTP_RATE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 10, 20 and 40 ms (CELT, one frame, and two of 20), with a mark in the second.
    fn sound() -> Arc<Sound> {
        let packets = [&[0xF0, 1][..], &[0xF8, 1], &[0xFA, 1, 7, 8, 9]];
        Arc::new(Sound::new(packets, &[1]).unwrap())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn talk(packet: usize, phase: f64) -> (Talk, Instant) {
        let epoch = Instant::now();
        let beginning = Beginning {
            packet,
            phase,
            epoch,
        };
        (Talk::new(sound(), beginning), epoch)
    }

    #[test]
    fn packets_follow_one_another_after_their_own_duration() {
        let (mut talk, now) = talk(1, 0.0);
        assert_eq!(talk.deadline(), None);
        talk.begin(now);
        let mut said = Vec::new();
        for _ in 0..5 {
            let at = talk.deadline().unwrap();
            let due = talk.tick(at).unwrap();
            said.push((
                (at - now).as_millis(),
                due.rtp_time,
                due.packet.ticks(),
                due.first,
                due.mark,
            ));
            assert!(talk.tick(at).is_none());
        }
        assert_eq!(
            said,
            [
                (0, 0, 960, true, true),
                (20, 960, 1920, false, false),
                (60, 2880, 480, false, false),
                (70, 3360, 960, false, true),
                (90, 4320, 1920, false, false),
            ]
        );
        assert_eq!(talk.take_late(), 0);
    }

    #[test]
    fn clocks_differ_by_their_phase_whenever_they_begin() {
        for (phase, after, wait) in [
            (0.0, 0, 0),
            (0.0, 5, 15),
            (0.5, 5, 5),
            (0.5, 10, 0),
            (0.5, 47, 3),
            (0.25, 19, 6),
        ] {
            let (mut talk, epoch) = talk(1, phase);
            let now = epoch + ms(after);
            talk.begin(now);
            assert_eq!(talk.deadline(), Some(now + ms(wait)), "{phase} {after}");
        }
    }

    #[test]
    fn who_is_late_sends_three_and_leaves_out_the_rest() {
        let (mut talk, now) = talk(0, 0.0);
        talk.begin(now);
        let late = now + ms(70 + 70 + 10);
        let mut sent = Vec::new();
        while let Some(due) = talk.tick(late) {
            sent.push(due.rtp_time);
        }
        assert_eq!(sent, [0, 480, 1440]);
        // Those, and four that were not sent; what is due right now is not late.
        assert_eq!(talk.take_late(), 3 + 5);
        assert_eq!(talk.deadline(), Some(now + ms(170)));
        let due = talk.tick(now + ms(170)).unwrap();
        assert_eq!(due.rtp_time, 48 * 170);
        assert_eq!(talk.take_late(), 0);
    }

    #[test]
    fn a_little_late_is_not_late() {
        let (mut talk, now) = talk(0, 0.0);
        talk.begin(now);
        assert!(talk.tick(now + ms(5)).is_some());
        assert_eq!(talk.take_late(), 0);
        assert!(talk.tick(now + ms(16)).is_some());
        assert_eq!(talk.take_late(), 1);
    }
}
