//! Packets into their order: in order at once; behind a gap after a wait for what is missing.
//! Takes `now`; no I/O.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long packets behind a gap wait for what is missing.
pub(crate) const GAP_WAIT: Duration = Duration::from_millis(50);
/// Packets behind a gap that end the wait early: the missing one will not come any more.
pub(crate) const MAX_WAITING: usize = 10;

struct Waiting<T> {
    arrived: Instant,
    item: T,
}

/// Holds what came too early. Bounded: [`MAX_WAITING`].
pub(crate) struct Reorder<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
    next: Option<u64>,
}

impl<T> Reorder<T> {
    /// In expectation of a stream's first packet, whatever its number.
    pub(crate) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: None,
        }
    }

    /// Whether a packet of the stream has come.
    pub(crate) fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    /// How many packets wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a packet; false: its place is filled already, or has been given up.
    pub(crate) fn push(&mut self, now: Instant, sequence: u64, item: T) -> bool {
        let next = *self.next.get_or_insert(sequence);
        if sequence < next || self.waiting.contains_key(&sequence) {
            return false;
        }
        let waiting = Waiting { arrived: now, item };
        self.waiting.insert(sequence, waiting);
        true
    }

    /// The next packet, if its turn has come, and how many before it are missing for good.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(u64, T)> {
        let first = self.waiting.first_entry()?;
        let sequence = *first.key();
        let missing = sequence - self.next.unwrap_or(sequence);
        let due = first.get().arrived + GAP_WAIT;
        if missing > 0 && now < due && self.waiting.len() < MAX_WAITING {
            return None;
        }
        let (_, waiting) = self.waiting.pop_first()?;
        self.next = Some(sequence + 1);
        Some((missing, waiting.item))
    }

    /// When [`Reorder::pop`] gives up on what is missing.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (_, first) = self.waiting.first_key_value()?;
        Some(first.arrived + GAP_WAIT)
    }

    /// Expects another stream, with numbers of its own. What waits of the old one comes out.
    pub(crate) fn restart(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.next = None;
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|waiting| waiting.item)
    }
}
