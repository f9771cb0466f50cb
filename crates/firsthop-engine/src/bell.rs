//! How a thread that may be asleep learns that there is something in its mailbox: by a system call
//! only where it must.
//!
//! To wake a thread costs a system call, and the thread a turn. So whoever has put something in
//! leaves a mark, and wakes the thread only if nobody has left one before, and it does not wake by
//! itself soon: the next packet or tick of some call is about to come.
//!
//! Invariant *a thread that sleeps for long has been woken, or nothing is there*. Who calls leaves
//! the mark and then looks at the alarm; the thread sets the alarm and then looks for the mark. In
//! whichever order these come, one sees the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A thread that wakes by itself within this is not woken.
const SOON: Duration = Duration::from_millis(4);

/// Between one thread that sleeps and all that call it.
pub(crate) struct Bell {
    called: AtomicBool,
    origin: Instant,
    /// When the thread wakes by itself at the latest, in microseconds since the origin.
    alarm: AtomicU64,
}

impl Bell {
    /// Of a thread that is awake, as it is when it begins.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            called: AtomicBool::new(false),
            origin: now,
            alarm: AtomicU64::new(0),
        }
    }

    /// Calls the thread, once something is in the mailbox. True: it has to be woken for that.
    #[must_use]
    pub(crate) fn call(&self, now: Instant) -> bool {
        self.leave_mark() && !self.wakes_soon(now)
    }

    /// The thread wakes by itself at `at`, at the latest. True: it was called, and must not sleep.
    #[must_use]
    pub(crate) fn set(&self, at: Instant) -> bool {
        self.set_alarm(at);
        self.is_called()
    }

    /// The thread is about to empty its mailbox. What is put in from here on calls again.
    pub(crate) fn answered(&self) {
        self.called.store(false, Ordering::SeqCst);
    }

    /// Whether it is the first.
    fn leave_mark(&self) -> bool {
        !self.called.swap(true, Ordering::SeqCst)
    }

    fn wakes_soon(&self, now: Instant) -> bool {
        self.alarm.load(Ordering::SeqCst) <= self.micros(now + SOON)
    }

    fn set_alarm(&self, at: Instant) {
        self.alarm.store(self.micros(at), Ordering::SeqCst);
    }

    fn is_called(&self) -> bool {
        self.called.load(Ordering::SeqCst)
    }

    fn micros(&self, at: Instant) -> u64 {
        let micros = at.saturating_duration_since(self.origin).as_micros();
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(1);

    #[test]
    fn a_thread_that_sleeps_for_long_is_woken_once_for_all_that_call_it() {
        let now = Instant::now();
        let bell = Bell::new(now);
        assert!(!bell.set(now + LONG));
        assert!(bell.call(now));
        assert!(!bell.call(now), "it is on its way");
        bell.answered();
        assert!(!bell.set(now + LONG));
        assert!(bell.call(now));
    }

    #[test]
    fn a_thread_that_wakes_soon_is_left_to_it() {
        let now = Instant::now();
        let bell = Bell::new(now);
        assert!(!bell.set(now + LONG));
        assert!(!bell.call(now + LONG - SOON));
        bell.answered();
        assert!(bell.call(now + LONG - SOON * 2));
    }

    #[test]
    fn a_call_while_the_thread_falls_asleep_reaches_it_in_whichever_order() {
        // Every order of the caller's two steps and the thread's two.
        for order in ["cctt", "ctct", "cttc", "tcct", "tctc", "ttcc"] {
            let now = Instant::now();
            // The thread is awake: its last alarm has gone off, and its mailbox was empty.
            let bell = Bell::new(now);
            let (mut caller, mut thread) = (Vec::new(), Vec::new());
            for step in order.chars() {
                match step {
                    'c' if caller.is_empty() => caller.push(bell.leave_mark()),
                    'c' => caller.push(!bell.wakes_soon(now)),
                    _ if thread.is_empty() => thread.push({
                        bell.set_alarm(now + LONG);
                        true
                    }),
                    _ => thread.push(!bell.is_called()),
                }
            }
            let (woken, sleeps) = (caller == [true; 2], thread == [true; 2]);
            assert!(woken || !sleeps, "{order}: it sleeps, and nobody wakes it");
        }
    }
}
