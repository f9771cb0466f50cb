//! Frames that wait for a client who reads more slowly than it is sent to. No I/O, no clock.
//!
//! Media is worthless late, and whoever needs every byte (DTLS, SCTP) sends it again. So a
//! backlog loses its oldest frames: those past [`MAX_AGE`], and those in the way of newer ones.
//! It loses whole frames: one that has begun to leave stays to its last byte.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::time::Duration;

/// The most that waits, in bytes with frame lengths: what a client may cost that reads nothing.
pub(crate) const MAX_BYTES: usize = 64 << 10;

/// A frame that has waited longer is of no use to the ear any more.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(1);

/// Frames in order, of which the first may have left in part.
#[derive(Default)]
pub(crate) struct Backlog {
    bytes: VecDeque<u8>,
    frames: VecDeque<Frame>,
    /// A part of the first frame has left.
    begun: bool,
}

struct Frame {
    since: Duration,
    /// Bytes of it that wait.
    left: usize,
}

impl Backlog {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Appends what is left of a frame, `pieces`, of which `written` bytes have left already; only
    /// for the first frame may these be more than none. Returns how many older frames were lost
    /// for it.
    pub(crate) fn push(&mut self, now: Duration, pieces: [&[u8]; 2], written: usize) -> usize {
        debug_assert!(written == 0 || self.is_empty(), "frames leave in order");
        let left = pieces[0].len() + pieces[1].len() - written;
        let excess = (self.bytes.len() + left).saturating_sub(MAX_BYTES);
        let mut freed = 0;
        let lost = self.lose_while(|frame| {
            let more = freed < excess;
            freed += frame.left;
            more
        });
        let mut skip = written;
        for piece in pieces {
            let skipped = skip.min(piece.len());
            self.bytes.extend(&piece[skipped..]);
            skip -= skipped;
        }
        self.begun |= written > 0;
        self.frames.push_back(Frame { since: now, left });
        lost
    }

    /// Loses the frames that have waited too long. Returns how many.
    pub(crate) fn lose_late(&mut self, now: Duration) -> usize {
        self.lose_while(|frame| now.saturating_sub(frame.since) > MAX_AGE)
    }

    /// Writes once. Returns how many bytes `stream` took.
    ///
    /// # Errors
    /// Of the stream.
    pub(crate) fn write_to(&mut self, stream: &mut impl Write) -> io::Result<usize> {
        let (first, second) = self.bytes.as_slices();
        let written = stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])?;
        self.bytes.drain(..written);
        let mut rest = written;
        while let Some(frame) = self.frames.front_mut().filter(|_| rest > 0) {
            let taken = rest.min(frame.left);
            frame.left -= taken;
            rest -= taken;
            self.begun = frame.left > 0;
            if !self.begun {
                self.frames.pop_front();
            }
        }
        if self.is_empty() {
            // Most clients are never slow: what was reserved for a bad moment is given back.
            *self = Self::default();
        }
        Ok(written)
    }

    /// Loses frames from the oldest on, while `condition` holds; never one that has begun.
    fn lose_while(&mut self, mut condition: impl FnMut(&Frame) -> bool) -> usize {
        let first = usize::from(self.begun);
        let late = self.frames.iter().skip(first);
        let lost = late.take_while(|frame| condition(frame)).count();
        let start: usize = self.frames.range(..first).map(|frame| frame.left).sum();
        let lost_frames = self.frames.drain(first..first + lost);
        let length: usize = lost_frames.map(|frame| frame.left).sum();
        self.bytes.drain(start..start + length);
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes per call, and no more.
    struct Slow {
        per_write: usize,
        got: Vec<u8>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.per_write);
            self.got.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn drained(backlog: &mut Backlog, per_write: usize) -> Vec<u8> {
        let mut stream = Slow {
            per_write,
            got: Vec::new(),
        };
        while !backlog.is_empty() {
            assert!(backlog.write_to(&mut stream).unwrap() > 0);
        }
        stream.got
    }

    #[test]
    fn what_is_pushed_leaves_in_order_however_little_is_taken_at_a_time() {
        for per_write in 1..20 {
            let mut backlog = Backlog::default();
            for number in 0..5 {
                assert_eq!(backlog.push(at(0), [b"ab", &[number; 4]], 0), 0);
            }
            let expected: Vec<u8> = (0..5)
                .flat_map(|number| [b'a', b'b', number, number, number, number])
                .collect();
            assert_eq!(drained(&mut backlog, per_write), expected);
        }
    }

    #[test]
    fn a_frame_that_left_in_part_is_finished_though_it_is_late() {
        for written in 1..5 {
            let mut backlog = Backlog::default();
            backlog.push(at(0), [b"ab", b"cde"], written);
            backlog.push(at(0), [b"fg", b"hij"], 0);
            backlog.push(at(900), [b"kl", b"mno"], 0);
            assert_eq!(backlog.lose_late(at(1500)), 1);
            let left = [&b"abcde"[written..], b"klmno"].concat();
            assert_eq!(drained(&mut backlog, 3), left);
        }
    }

    #[test]
    fn late_frames_are_lost_whole_and_fresh_ones_kept() {
        let mut backlog = Backlog::default();
        for number in 0..10 {
            backlog.push(at(100 * u64::from(number)), [&[number], &[number]], 0);
        }
        assert_eq!(backlog.lose_late(at(1000)), 0);
        assert_eq!(backlog.lose_late(at(1350)), 4);
        assert_eq!(
            drained(&mut backlog, 100),
            [4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
        );
    }

    #[test]
    fn a_full_backlog_loses_its_oldest_frames_for_a_new_one() {
        let mut backlog = Backlog::default();
        let frame = [7; 1000];
        let mut lost = 0;
        for _ in 0..100 {
            lost += backlog.push(at(0), [b"ab", &frame], 0);
            assert!(backlog.bytes.len() <= MAX_BYTES);
        }
        assert_eq!(lost, 100 - MAX_BYTES / 1002);
        assert_eq!(backlog.bytes.len(), MAX_BYTES / 1002 * 1002);
    }

    #[test]
    fn an_emptied_backlog_keeps_no_memory() {
        let mut backlog = Backlog::default();
        backlog.push(at(0), [b"ab", &[0; 5000]], 0);
        drained(&mut backlog, 10_000);
        assert_eq!(backlog.bytes.capacity(), 0);
    }
}
