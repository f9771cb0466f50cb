//! Events on their way out: a bounded queue and a file descriptor that becomes readable.
//!
//! Shards put batches in, one consumer takes all there is. A shard never waits: what does not fit
//! is lost, audio first, since an account of what happened is worth more than 20 ms of sound.
//!
//! To wake the consumer costs ten times what it does with a frame of sound. So for sound it is woken
//! at most every [`APART`]: a frame of a busy process waits for a few of other calls, and one of a
//! quiet process for none. What happened is told at once.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::Event;

/// Audio frames beyond this many waiting events are lost.
const MAX_WITH_AUDIO: usize = 65_536;
/// Nothing is kept beyond this.
const MAX_EVENTS: usize = 2 * MAX_WITH_AUDIO;

/// Wake-ups for sound are so far apart.
const APART: Duration = Duration::from_millis(10);

struct Shared {
    events: Mutex<VecDeque<Event>>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Event>> {
        // Nothing panics while it holds the lock; and a queue has no half-done state.
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A shard's end.
pub(crate) struct EventSender {
    shared: Arc<Shared>,
    signal: UnixStream,
    /// When it last woke the consumer.
    woke: Option<Instant>,
    /// Whether sound waits that the consumer has not been woken for.
    owes: bool,
}

/// The consumer's end.
pub(crate) struct EventReceiver {
    shared: Arc<Shared>,
    signal: UnixStream,
    sender_signal: UnixStream,
}

/// A mailbox without senders; [`EventReceiver::sender`] makes them.
///
/// # Errors
/// When the kernel has no descriptors left.
pub(crate) fn mailbox() -> io::Result<EventReceiver> {
    let (signal, sender_signal) = UnixStream::pair()?;
    signal.set_nonblocking(true)?;
    sender_signal.set_nonblocking(true)?;
    let shared = Arc::new(Shared {
        events: Mutex::new(VecDeque::new()),
    });
    Ok(EventReceiver {
        shared,
        signal,
        sender_signal,
    })
}

impl EventSender {
    /// Puts events in; returns how many were lost.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        events: impl ExactSizeIterator<Item = Event>,
    ) -> u64 {
        if events.len() == 0 {
            return 0;
        }
        let mut lost = 0;
        let mut urgent = false;
        let mut queue = self.shared.lock();
        let was_empty = queue.is_empty();
        for event in events {
            let sound = matches!(event, Event::Audio { .. } | Event::Opus { .. });
            let room = if sound { MAX_WITH_AUDIO } else { MAX_EVENTS };
            urgent |= !sound;
            if queue.len() < room {
                queue.push_back(event);
            } else {
                lost += 1;
            }
        }
        drop(queue);
        self.owes |= was_empty;
        if urgent {
            self.wake(now);
        } else {
            self.handle_timeout(now);
        }
        lost
    }

    /// When [`EventSender::handle_timeout`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let due = self.woke.filter(|_| self.owes)?;
        Some(due + APART)
    }

    /// Wakes the consumer for sound, if that is due.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = self.woke.is_none_or(|woke| now >= woke + APART);
        if self.owes && due {
            self.wake(now);
        }
    }

    fn wake(&mut self, now: Instant) {
        self.woke = Some(now);
        self.owes = false;
        // Full means that the consumer has been told already.
        let _ = (&self.signal).write(&[1]);
    }
}

impl EventReceiver {
    /// One more sender.
    ///
    /// # Errors
    /// When the kernel has no descriptors left.
    pub(crate) fn sender(&self) -> io::Result<EventSender> {
        let signal = self.sender_signal.try_clone()?;
        Ok(EventSender {
            shared: Arc::clone(&self.shared),
            signal,
            woke: None,
            owes: false,
        })
    }

    /// All events that wait, oldest first. Clears the signal.
    pub(crate) fn take(&self) -> VecDeque<Event> {
        let mut bytes = [0; 64];
        while matches!((&self.signal).read(&mut bytes), Ok(read) if read > 0) {}
        std::mem::take(&mut *self.shared.lock())
    }
}

impl AsFd for EventReceiver {
    /// Readable when events wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SessionId;

    fn audio() -> Event {
        Event::Audio {
            session: SessionId(1),
            position: 0,
            pcm: Vec::new(),
        }
    }

    fn connected() -> Event {
        Event::Connected {
            session: SessionId(1),
        }
    }

    /// How often the consumer was woken since the last call.
    fn wakes(receiver: &EventReceiver) -> usize {
        let mut bytes = [0; 8];
        (&receiver.signal).read(&mut bytes).unwrap_or(0)
    }

    #[test]
    fn many_events_wake_once_and_come_out_in_order() {
        let receiver = mailbox().unwrap();
        let mut sender = receiver.sender().unwrap();
        let now = Instant::now();
        assert_eq!(sender.send(now, [connected(), audio()].into_iter()), 0);
        assert_eq!(sender.send(now, [audio()].into_iter()), 0);
        assert_eq!(wakes(&receiver), 1);
        assert_eq!(receiver.take(), [connected(), audio(), audio()]);
        assert_eq!(wakes(&receiver), 0, "nothing more to read");
    }

    #[test]
    fn sound_waits_for_more_of_it_and_for_nothing_else() {
        let receiver = mailbox().unwrap();
        let mut sender = receiver.sender().unwrap();
        let start = Instant::now();
        sender.send(start, [audio()].into_iter());
        assert_eq!(wakes(&receiver), 1, "it was quiet");
        receiver.take();
        let soon = start + APART / 2;
        sender.send(soon, [audio()].into_iter());
        sender.handle_timeout(soon);
        assert_eq!(wakes(&receiver), 0);
        assert_eq!(sender.deadline(), Some(start + APART));
        sender.handle_timeout(start + APART);
        assert_eq!((wakes(&receiver), receiver.take().len()), (1, 1));
        assert_eq!(sender.deadline(), None);
        sender.send(start + APART, [audio()].into_iter());
        sender.send(start + APART, [connected()].into_iter());
        assert_eq!((wakes(&receiver), receiver.take().len()), (1, 2));
        assert_eq!(sender.deadline(), None);
    }

    #[test]
    fn a_consumer_that_sleeps_loses_audio_before_anything_else() {
        let receiver = mailbox().unwrap();
        let mut sender = receiver.sender().unwrap();
        let now = Instant::now();
        let flood = (0..MAX_WITH_AUDIO + 10)
            .map(|_| audio())
            .collect::<Vec<_>>();
        assert_eq!(sender.send(now, flood.into_iter()), 10);
        assert_eq!(sender.send(now, [connected()].into_iter()), 0);
        assert_eq!(receiver.take().back(), Some(&connected()));
    }
}
