//! Events on their way out: a bounded queue and a file descriptor that becomes readable.
//!
//! Shards put batches in, one consumer takes all there is. A shard never waits: what does not fit
//! is lost, audio first, since an account of what happened is worth more than 20 ms of sound.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::event::Event;

/// Audio frames beyond this many waiting events are lost.
const MAX_WITH_AUDIO: usize = 65_536;
/// Nothing is kept beyond this.
const MAX_EVENTS: usize = 2 * MAX_WITH_AUDIO;

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
    pub(crate) fn send(&self, events: impl ExactSizeIterator<Item = Event>) -> u64 {
        if events.len() == 0 {
            return 0;
        }
        let mut lost = 0;
        let mut queue = self.shared.lock();
        let was_empty = queue.is_empty();
        for event in events {
            let room = match event {
                Event::Audio { .. } | Event::Opus { .. } => MAX_WITH_AUDIO,
                _ => MAX_EVENTS,
            };
            if queue.len() < room {
                queue.push_back(event);
            } else {
                lost += 1;
            }
        }
        drop(queue);
        if was_empty {
            // Full means that the consumer has been told already.
            let _ = (&self.signal).write(&[1]);
        }
        lost
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

    #[test]
    fn many_events_wake_once_and_come_out_in_order() {
        let receiver = mailbox().unwrap();
        let sender = receiver.sender().unwrap();
        assert_eq!(sender.send([connected(), audio()].into_iter()), 0);
        assert_eq!(sender.send([audio()].into_iter()), 0);
        let mut bytes = [0; 8];
        assert_eq!((&receiver.signal).read(&mut bytes).unwrap(), 1);
        assert_eq!(receiver.take(), [connected(), audio(), audio()]);
        assert!(
            (&receiver.signal).read(&mut bytes).is_err(),
            "nothing more to read"
        );
    }

    #[test]
    fn a_consumer_that_sleeps_loses_audio_before_anything_else() {
        let receiver = mailbox().unwrap();
        let sender = receiver.sender().unwrap();
        let flood = (0..MAX_WITH_AUDIO + 10)
            .map(|_| audio())
            .collect::<Vec<_>>();
        assert_eq!(sender.send(flood.into_iter()), 10);
        assert_eq!(sender.send([connected()].into_iter()), 0);
        assert_eq!(receiver.take().back(), Some(&connected()));
    }
}
