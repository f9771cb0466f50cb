//! What a worker counted: written by its one thread, read by any other. Knows no metric names.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{Closing, DropReason};

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

/// Writes [`Counters`] and [`Snapshot`] from one list, so that they cannot differ.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// The counters of one worker. One thread writes them; any thread may take a [`Snapshot`].
        #[derive(Debug)]
        pub struct Counters {
            $(pub(crate) $name: Count,)+
            tcp_closed: [Count; Closing::ALL.len()],
            drops: [Count; DropReason::ALL.len()],
        }

        /// Counters at one moment, of one worker or summed over several.
        ///
        /// All but `flows` and `edges` only grow. Packets are the client's; bytes are theirs, without hop
        /// headers.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[doc = $doc])+ pub $name: u64,)+
            tcp_closed: [u64; Closing::ALL.len()],
            drops: [u64; DropReason::ALL.len()],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: Count::default(),)+
                    tcp_closed: std::array::from_fn(|_| Count::default()),
                    drops: std::array::from_fn(|_| Count::default()),
                }
            }
        }

        impl Default for Snapshot {
            fn default() -> Self {
                Counters::default().snapshot()
            }
        }

        impl Counters {
            /// The numbers as they are now. They are read one by one: a packet that passes
            /// meanwhile may be in one and not yet in another.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot {
                    $($name: self.$name.read(),)+
                    tcp_closed: std::array::from_fn(|index| self.tcp_closed[index].read()),
                    drops: std::array::from_fn(|index| self.drops[index].read()),
                }
            }
        }

        impl Snapshot {
            /// Every counter without a reason, with its name.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $((stringify!($name), self.$name),)+
                    ("tcp_connections", self.tcp_connections()),
                ]
                .into_iter()
            }
        }

        impl std::ops::AddAssign for Snapshot {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)+
                for (sum, more) in self.tcp_closed.iter_mut().zip(other.tcp_closed) {
                    *sum += more;
                }
                for (sum, more) in self.drops.iter_mut().zip(other.drops) {
                    *sum += more;
                }
            }
        }
    };
}

counters! {
    /// Client packets handed to the kernel towards an owner, or a relay on the way there.
    ingress_packets,
    /// Their bytes.
    ingress_bytes,
    /// The datagrams that carried them: fewer than packets, by what bundling saved.
    ingress_datagrams,
    /// Packets handed to the kernel towards clients, or the edge relay on the way there.
    egress_packets,
    /// Their bytes.
    egress_bytes,
    /// Flows remembered now.
    flows,
    /// Flows learned from the return path or found in the flow cache.
    flows_created,
    /// Flows learned from the flow cache.
    flows_found,
    /// Flows taken over from another process.
    flows_restored,
    /// Flows that changed their owner.
    flows_moved,
    /// Flows that their owner ended, by RELEASE or NO_SESSION.
    flows_released,
    /// Flows forgotten because nothing passed, or because their owner is no longer allowed.
    flows_expired,
    /// Flows forgotten early, for room.
    flows_evicted,
    /// Edge relays that probe this one.
    edges,
    /// Packets of an owner towards an edge that has fallen silent; the owner is told each time.
    edge_lost,
    /// TCP connections of clients that were accepted, open ones included.
    tcp_accepted,
    /// TCP connections that a limit, ours or the system's, left no room for.
    tcp_refused,
}

impl Counters {
    /// Counts `packets` packets that went no further.
    pub(crate) fn dropped(&self, reason: DropReason, packets: u64) {
        self.drops[reason as usize].add(packets);
    }

    /// Counts a client's TCP connection that ended.
    pub(crate) fn tcp_closed(&self, closing: Closing) {
        self.tcp_closed[closing as usize].add(1);
    }
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

    /// Every reason for which TCP connections were closed with its count, zeros included.
    pub fn tcp_closed(&self) -> impl Iterator<Item = (Closing, u64)> + '_ {
        Closing::ALL.into_iter().zip(self.tcp_closed)
    }

    /// TCP connections of clients that are open.
    #[must_use]
    pub fn tcp_connections(&self) -> u64 {
        // Read one by one: a connection that closes meanwhile may be in the sum already.
        self.tcp_accepted
            .saturating_sub(self.tcp_closed.iter().sum())
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
        assert_eq!(sum.named().map(|(_, value)| value).sum::<u64>(), 12);
        assert_eq!(sum.dropped(DropReason::Empty), 5);
        assert_eq!(sum.drops().map(|(_, count)| count).sum::<u64>(), 5);
    }
}
