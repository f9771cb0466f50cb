//! What a worker counted: written by its one thread, read by any other. Knows no metric names.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::DropReason;

/// One number with one writer.
///
/// With a single writer a load and a store do what a locked add would, at a fraction of its price
/// per packet.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, amount: u64) {
        self.set(self.read().wrapping_add(amount));
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one worker. One thread writes them; any thread may take a [`Snapshot`].
#[derive(Debug)]
pub struct Counters {
    pub(crate) ingress_packets: Count,
    pub(crate) ingress_bytes: Count,
    pub(crate) ingress_datagrams: Count,
    pub(crate) egress_packets: Count,
    pub(crate) egress_bytes: Count,
    pub(crate) flows: Count,
    pub(crate) flows_created: Count,
    pub(crate) flows_moved: Count,
    pub(crate) flows_released: Count,
    pub(crate) flows_expired: Count,
    pub(crate) flows_evicted: Count,
    drops: [Count; DropReason::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            ingress_packets: Count::default(),
            ingress_bytes: Count::default(),
            ingress_datagrams: Count::default(),
            egress_packets: Count::default(),
            egress_bytes: Count::default(),
            flows: Count::default(),
            flows_created: Count::default(),
            flows_moved: Count::default(),
            flows_released: Count::default(),
            flows_expired: Count::default(),
            flows_evicted: Count::default(),
            drops: std::array::from_fn(|_| Count::default()),
        }
    }
}

impl Counters {
    /// Counts `packets` packets that went no further.
    pub(crate) fn dropped(&self, reason: DropReason, packets: u64) {
        self.drops[reason as usize].add(packets);
    }

    /// The numbers as they are now. They are read one by one: a packet that passes meanwhile may
    /// be in one and not yet in another.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            ingress_packets: self.ingress_packets.read(),
            ingress_bytes: self.ingress_bytes.read(),
            ingress_datagrams: self.ingress_datagrams.read(),
            egress_packets: self.egress_packets.read(),
            egress_bytes: self.egress_bytes.read(),
            flows: self.flows.read(),
            flows_created: self.flows_created.read(),
            flows_moved: self.flows_moved.read(),
            flows_released: self.flows_released.read(),
            flows_expired: self.flows_expired.read(),
            flows_evicted: self.flows_evicted.read(),
            drops: std::array::from_fn(|index| self.drops[index].read()),
        }
    }
}

/// Counters at one moment, of one worker or summed over several.
///
/// All but `flows` only grow. Packets are the client's; bytes are theirs, without hop headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snapshot {
    /// Client packets handed to the kernel towards an owner.
    pub ingress_packets: u64,
    /// Their bytes.
    pub ingress_bytes: u64,
    /// The datagrams that carried them: fewer than packets, by what bundling saved.
    pub ingress_datagrams: u64,
    /// Packets handed to the kernel towards clients.
    pub egress_packets: u64,
    /// Their bytes.
    pub egress_bytes: u64,
    /// Flows remembered now.
    pub flows: u64,
    /// Flows learned from the return path.
    pub flows_created: u64,
    /// Flows that changed their owner.
    pub flows_moved: u64,
    /// Flows that their owner ended, by RELEASE or NO_SESSION.
    pub flows_released: u64,
    /// Flows forgotten because nothing passed.
    pub flows_expired: u64,
    /// Flows forgotten early, for room.
    pub flows_evicted: u64,
    drops: [u64; DropReason::ALL.len()],
}

impl Snapshot {
    /// Packets dropped for `reason`.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }

    /// Every reason with its count, zeros included.
    pub fn drops(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().zip(self.drops)
    }
}

impl std::ops::AddAssign for Snapshot {
    fn add_assign(&mut self, other: Self) {
        self.ingress_packets += other.ingress_packets;
        self.ingress_bytes += other.ingress_bytes;
        self.ingress_datagrams += other.ingress_datagrams;
        self.egress_packets += other.egress_packets;
        self.egress_bytes += other.egress_bytes;
        self.flows += other.flows;
        self.flows_created += other.flows_created;
        self.flows_moved += other.flows_moved;
        self.flows_released += other.flows_released;
        self.flows_expired += other.flows_expired;
        self.flows_evicted += other.flows_evicted;
        for (sum, more) in self.drops.iter_mut().zip(other.drops) {
            *sum += more;
        }
    }
}

impl std::iter::Sum for Snapshot {
    fn sum<I: Iterator<Item = Self>>(snapshots: I) -> Self {
        snapshots.fold(Self::default(), |mut sum, snapshot| {
            sum += snapshot;
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_has_what_every_worker_counted() {
        let (one, other) = (Counters::default(), Counters::default());
        one.ingress_packets.add(2);
        other.ingress_packets.add(3);
        other.flows.set(7);
        one.dropped(DropReason::Empty, 1);
        other.dropped(DropReason::Empty, 4);
        let sum: Snapshot = [one.snapshot(), other.snapshot()].into_iter().sum();
        assert_eq!((sum.ingress_packets, sum.flows), (5, 7));
        assert_eq!(sum.dropped(DropReason::Empty), 5);
        assert_eq!(sum.drops().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
