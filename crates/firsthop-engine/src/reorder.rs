//! Packets into their order: in order at once; behind a gap after a wait for what is missing, as
//! long as such packets have lately been late (`lateness.rs`). Takes `now`; no I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use crate::lateness::Lateness;

/// Packets behind a gap that end the wait early: the missing one will not come any more.
pub(crate) const MAX_WAITING: usize = 10;
/// Packets that were given up and are remembered in case that they come. A gap of more is a jump
/// of the numbers and says nothing about the path.
const MAX_GIVEN_UP: usize = 32;

struct Waiting<T> {
    arrived: Instant,
    item: T,
}

struct GivenUp {
    sequence: u64,
    /// When a packet overtook it.
    overtaken: Instant,
}

/// What a packet is to its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It gets, or waits for, its place.
    Taken,
    /// Its place has been given up.
    Late,
    /// It was here before, or is too old to say.
    Duplicate,
}

/// Holds what came too early. Bounded: [`MAX_WAITING`].
pub(crate) struct Reorder<T> {
    waiting: BTreeMap<u64, Waiting<T>>,
    next: Option<u64>,
    given_up: VecDeque<GivenUp>,
    lateness: Lateness,
}

impl<T> Reorder<T> {
    /// In expectation of a stream's first packet, whatever its number.
    pub(crate) fn new() -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: None,
            given_up: VecDeque::new(),
            lateness: Lateness::new(),
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

    /// Takes a packet, if there is a place for it.
    pub(crate) fn push(&mut self, now: Instant, sequence: u64, item: T) -> Arrival {
        self.lateness.begin(now);
        let next = *self.next.get_or_insert(sequence);
        if sequence < next {
            return self.push_late(now, sequence);
        }
        if self.waiting.contains_key(&sequence) {
            return Arrival::Duplicate;
        }
        let behind = self.waiting.range(sequence..);
        if let Some(overtaken) = behind.map(|(_, waiting)| waiting.arrived).min() {
            self.lateness.came(now, now - overtaken);
        }
        let waiting = Waiting { arrived: now, item };
        self.waiting.insert(sequence, waiting);
        Arrival::Taken
    }

    /// The next packet, if its turn has come, and how many before it are missing for good.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(u64, T)> {
        let sequence = *self.waiting.first_key_value()?.0;
        let missing = sequence - self.next.unwrap_or(sequence);
        if missing > 0 {
            let overtaken = self.overtaken()?;
            let due = overtaken + self.lateness.wait(overtaken);
            if now < due && self.waiting.len() < MAX_WAITING {
                return None;
            }
            self.give_up(now, overtaken, sequence - missing..sequence);
        }
        let (_, waiting) = self.waiting.pop_first()?;
        self.next = Some(sequence + 1);
        Some((missing, waiting.item))
    }

    /// When [`Reorder::pop`] gives up on what is missing.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let overtaken = self.overtaken()?;
        Some(overtaken + self.lateness.wait(overtaken))
    }

    /// Expects another stream, with numbers of its own. What waits of the old one comes out.
    pub(crate) fn restart(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.next = None;
        self.given_up.clear();
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().map(|waiting| waiting.item)
    }

    /// When the first of the packets that wait overtook the missing one.
    fn overtaken(&self) -> Option<Instant> {
        self.waiting.values().map(|waiting| waiting.arrived).min()
    }

    fn push_late(&mut self, now: Instant, sequence: u64) -> Arrival {
        let mut given_up = self.given_up.iter();
        let Some(index) = given_up.position(|one| one.sequence == sequence) else {
            return Arrival::Duplicate;
        };
        if let Some(one) = self.given_up.remove(index) {
            self.lateness.found();
            self.lateness.came(now, now - one.overtaken);
        }
        Arrival::Late
    }

    fn give_up(&mut self, now: Instant, overtaken: Instant, sequences: std::ops::Range<u64>) {
        let count = sequences.end - sequences.start;
        if count > MAX_GIVEN_UP as u64 {
            return;
        }
        self.lateness.lost(now, count);
        let excess = (self.given_up.len() + count as usize).saturating_sub(MAX_GIVEN_UP);
        self.given_up.drain(..excess);
        self.given_up.extend(sequences.map(|sequence| GivenUp {
            sequence,
            overtaken,
        }));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Packets of 20 ms that arrive in the order of their times in ms; those that come out, with
    /// the time at which they do.
    fn run(order: &mut Reorder<u64>, start: Instant, arrivals: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        let mut arrivals = arrivals.iter().peekable();
        loop {
            let arrival = arrivals
                .peek()
                .map(|&&(_, ms)| start + Duration::from_millis(ms));
            let Some(now) = [arrival, order.deadline()].into_iter().flatten().min() else {
                return out;
            };
            if arrival == Some(now) {
                let &(sequence, _) = arrivals.next().unwrap();
                order.push(now, sequence, sequence);
            }
            while let Some((_, item)) = order.pop(now) {
                out.push((item, (now - start).as_millis() as u64));
            }
        }
    }

    #[test]
    fn a_gap_soon_costs_nothing_where_nothing_is_ever_reordered() {
        let mut lossy: Vec<_> = (0..400).map(|n| (n, n * 20)).collect();
        lossy.retain(|(n, _)| n % 7 != 3);
        let out = run(&mut Reorder::new(), Instant::now(), &lossy);
        let waited = lossy.iter().zip(&out).filter(|(came, out)| came != out);
        let (last, _) = waited.clone().next_back().unwrap();
        assert_eq!(waited.count(), 9 * 3, "50 ms at the first gaps");
        assert!(last.0 < 75, "{last:?}");
    }

    #[test]
    fn what_comes_late_is_waited_for() {
        // Every tenth packet takes 30 ms longer, and 273 is lost.
        let delay = |n| 30 * u64::from(n % 10 == 5);
        let mut arrivals: Vec<_> = (0..900).map(|n| (n, n * 20 + delay(n))).collect();
        arrivals.remove(873);
        arrivals.sort_by_key(|&(_, at)| at);
        let out = run(&mut Reorder::new(), Instant::now(), &arrivals);
        assert!(out.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(out.len(), 899);
        let waited = |number| {
            let of = |list: &[(u64, u64)]| list.iter().find(|one| one.0 == number).unwrap().1;
            of(&out) - of(&arrivals)
        };
        assert_eq!(waited(800), 0);
        assert_eq!(waited(806), 10, "until the late one is here");
        assert_eq!(waited(874), 20, "as late ones are 10 ms late");
    }

    #[test]
    fn the_wait_is_learned_from_a_packet_that_came_too_late() {
        let mut order = Reorder::new();
        let start = Instant::now();
        order.push(start, 0, 0);
        assert_eq!(order.pop(start), Some((0, 0)));
        let calm = start + Duration::from_secs(60);
        assert_eq!(order.push(calm, 2, 2), Arrival::Taken);
        assert_eq!(order.pop(calm), Some((1, 2)));
        let late = calm + Duration::from_millis(31);
        assert_eq!(order.push(late, 1, 1), Arrival::Late);
        assert_eq!(order.push(late, 1, 1), Arrival::Duplicate);
        assert_eq!(order.push(late, 0, 0), Arrival::Duplicate);
        // The next that is as late finds its place.
        order.push(late, 4, 4);
        assert!(order.pop(late).is_none());
        assert_eq!(order.deadline(), Some(late + Duration::from_millis(40)));
        let then = late + Duration::from_millis(31);
        assert_eq!(order.push(then, 3, 3), Arrival::Taken);
        assert_eq!(order.pop(then), Some((0, 3)));
        assert_eq!(order.pop(then), Some((0, 4)));
    }

    #[test]
    fn many_waiting_packets_end_the_wait() {
        let (mut order, now) = (Reorder::new(), Instant::now());
        order.push(now, 0, ());
        while order.pop(now).is_some() {}
        for n in 0..MAX_WAITING as u64 {
            assert!(order.pop(now).is_none());
            order.push(now, 10 + n, ());
        }
        assert_eq!(order.pop(now), Some((9, ())));
    }
}
