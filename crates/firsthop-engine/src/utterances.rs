//! What waits to be said, in its order, and the account of what was said of it.
//!
//! Counts pieces by their length on a clock of the owner's choice: samples, or ticks of RTP.

use std::collections::VecDeque;
use std::time::Duration;

use crate::event::UtteranceId;

/// Speech that may wait, per session. A backend that is further ahead has to hold back.
pub const MAX_QUEUED: Duration = Duration::from_secs(300);

/// What waits may take four times its memory, and these bytes beyond. More is given back.
const SPARE_BYTES: usize = 4096;

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

/// More than [`MAX_QUEUED`] of speech waits; what was offered is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueFull;

struct Utterance<T> {
    id: UtteranceId,
    pieces: VecDeque<T>,
    complete: bool,
    played: u64,
}

/// Utterances in the order of their first pieces, and their progress.
pub(crate) struct Utterances<T> {
    queue: VecDeque<Utterance<T>>,
    queued: u64,
    per_second: u64,
    progress: VecDeque<Progress>,
}

impl<T> Utterances<T> {
    /// No utterances, of pieces whose lengths count `per_second`.
    pub(crate) fn new(per_second: u32) -> Self {
        Self {
            queue: VecDeque::new(),
            queued: 0,
            per_second: u64::from(per_second),
            progress: VecDeque::new(),
        }
    }

    /// Whether nothing is being said and nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The length of all that waits.
    pub(crate) fn queued(&self) -> u64 {
        self.queued
    }

    /// Appends `pieces` of `length` in all to utterance `id`; no more of it follows a `complete`
    /// piece.
    ///
    /// # Errors
    /// [`QueueFull`]: nothing was taken, and the utterance ends with what it has.
    pub(crate) fn push(
        &mut self,
        id: UtteranceId,
        pieces: impl Iterator<Item = T>,
        length: u64,
        complete: bool,
    ) -> Result<(), QueueFull> {
        if self.queued + length > self.per_second * MAX_QUEUED.as_secs() {
            self.cut(id);
            return Err(QueueFull);
        }
        self.queued += length;
        let known = self.queue.iter_mut().find(|utterance| utterance.id == id);
        match known {
            Some(utterance) => {
                utterance.pieces.extend(pieces);
                utterance.complete |= complete;
            }
            None => self.queue.push_back(Utterance {
                id,
                pieces: pieces.collect(),
                complete,
                played: 0,
            }),
        }
        Ok(())
    }

    /// Lets utterance `id` end with what is queued of it, so that its account is settled.
    pub(crate) fn cut(&mut self, id: UtteranceId) {
        match self.queue.iter_mut().find(|utterance| utterance.id == id) {
            Some(utterance) => utterance.complete = true,
            None => self.end(id, 0, true),
        }
    }

    /// What waits of the utterance that is being said. Whoever takes from it says so to
    /// [`Utterances::played`] and [`Utterances::end_current`].
    pub(crate) fn current(&mut self) -> Option<&mut VecDeque<T>> {
        self.queue
            .front_mut()
            .map(|utterance| &mut utterance.pieces)
    }

    /// As [`Utterances::current`], to look at.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.queue.front()?.pieces.front()
    }

    /// Notes that pieces of `length` were taken from the current utterance.
    pub(crate) fn played(&mut self, length: u64) {
        let Some(utterance) = self.queue.front_mut() else {
            return;
        };
        if utterance.played == 0 && length > 0 {
            self.progress.push_back(Progress::Started(utterance.id));
        }
        utterance.played += length;
        self.queued -= length;
        let waiting = utterance.pieces.len();
        if utterance.pieces.capacity() > 4 * waiting + SPARE_BYTES / size_of::<T>() {
            utterance.pieces.shrink_to(2 * waiting);
        }
    }

    /// Ends the current utterance if nothing waits of it and nothing follows. It is waited for
    /// otherwise: nothing overtakes it.
    pub(crate) fn end_current(&mut self) -> bool {
        let over = |utterance: &Utterance<T>| utterance.complete && utterance.pieces.is_empty();
        if !self.queue.front().is_some_and(over) {
            return false;
        }
        if let Some(utterance) = self.queue.pop_front() {
            self.end(utterance.id, utterance.played, false);
        }
        true
    }

    /// Ends all utterances where they are. Returns what waited of the one that was being said.
    pub(crate) fn flush(&mut self) -> VecDeque<T> {
        self.queued = 0;
        let mut cut = VecDeque::new();
        for (nth, utterance) in std::mem::take(&mut self.queue).into_iter().enumerate() {
            self.end(utterance.id, utterance.played, true);
            if nth == 0 && utterance.played > 0 {
                cut = utterance.pieces;
            }
        }
        cut
    }

    /// What became of the utterances, oldest first.
    pub(crate) fn poll_progress(&mut self) -> Option<Progress> {
        self.progress.pop_front()
    }

    fn end(&mut self, utterance: UtteranceId, played: u64, interrupted: bool) {
        self.progress.push_back(Progress::Ended {
            utterance,
            played_ms: played * 1000 / self.per_second,
            interrupted,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_takes_no_memory() {
        let mut utterances = Utterances::new(48_000);
        let second = || [0i16; 48_000].into_iter();
        for _ in 0..60 {
            utterances.push(1, second(), 48_000, false).unwrap();
        }
        let mut given_back = 0;
        let mut capacity = utterances.current().unwrap().capacity();
        for _ in 0..60 * 50 {
            let pieces = utterances.current().unwrap();
            pieces.drain(..960);
            utterances.played(960);
            let now = utterances.current().unwrap();
            assert!(now.capacity() <= 4 * now.len() + SPARE_BYTES / 2);
            given_back += usize::from(now.capacity() < capacity);
            capacity = now.capacity();
        }
        assert!(capacity <= SPARE_BYTES / 2, "{capacity}");
        assert!(given_back < 20, "it is copied now and then, not always");
    }
}
