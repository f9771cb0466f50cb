//! The flow table: which owner the packets of a client address go to.
//!
//! *A flow entry is a cache*: every entry may vanish, and no session is lost with it. The table
//! allocates once, for its whole capacity. No I/O, no clock: whole seconds since some start come
//! in as a [`Duration`].

use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::time::Duration;

use firsthop_wire::hop::SealedHeader;

/// The most flows that one table can hold.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// A full table gives up its longest idle flow only after this long.
///
/// A client that still talks checks its path every 5 seconds at most (RFC 7675 §5.1).
const EVICT_AFTER_SECONDS: u32 = 10;

/// No slot; ends a list.
const NONE: u32 = u32::MAX;

/// What tells flows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    /// The client's transport address.
    pub(crate) client: SocketAddr,
    /// The public socket that it uses.
    pub(crate) ingress: u16,
}

/// What is remembered about a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flow {
    /// Where its packets go.
    pub(crate) owner: SocketAddr,
    /// The header that goes before them, good for one tick.
    pub(crate) header: SealedHeader,
    /// The tick of `header`.
    pub(crate) tick: u16,
    /// The owner said PATH: the client answered there. Until then the address may be spoofed, and
    /// another owner may be right.
    pub(crate) proved: bool,
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// There was room.
    Free,
    /// The longest idle flow made room.
    Evicted,
    /// No room: every flow is active. The table is as before.
    Full,
}

struct Entry {
    key: FlowKey,
    flow: Flow,
    /// When a packet passed, in seconds since the start.
    seen: u32,
    /// The next entry in the same bucket, or the next free slot.
    chain: u32,
    /// Neighbours in the list by idleness.
    older: u32,
    newer: u32,
}

/// Flows by key, each also in a list from longest to least idle.
///
/// Slots of a slab, chained in buckets by a keyed hash: SipHash under a key that this process drew
/// at random, so that nobody can choose addresses that collide.
pub(crate) struct FlowTable {
    entries: Vec<Entry>,
    buckets: Vec<u32>,
    hasher: RandomState,
    capacity: usize,
    idle_seconds: u32,
    free: u32,
    oldest: u32,
    newest: u32,
    length: usize,
}

impl FlowTable {
    /// A table for at most `capacity` flows, each forgotten after `idle` without a packet.
    ///
    /// Memory is reserved here, once. The system provides it as flows use it.
    pub(crate) fn new(capacity: usize, idle: Duration) -> Self {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        let idle_seconds = idle.as_secs() + u64::from(idle.subsec_nanos() > 0);
        Self {
            entries: Vec::with_capacity(capacity),
            buckets: vec![NONE; capacity.next_power_of_two()],
            hasher: RandomState::new(),
            capacity,
            idle_seconds: u32::try_from(idle_seconds).unwrap_or(u32::MAX),
            free: NONE,
            oldest: NONE,
            newest: NONE,
            length: 0,
        }
    }

    /// Flows remembered now.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// The flow of `key`, as it is: looking does not keep it alive.
    pub(crate) fn peek(&self, key: &FlowKey) -> Option<&Flow> {
        self.find(key).map(|slot| &self.entry(slot).flow)
    }

    /// The flow of `key`, of which a packet passes at `now`.
    pub(crate) fn touch(&mut self, now: Duration, key: &FlowKey) -> Option<&mut Flow> {
        let slot = self.find(key)?;
        // Once a second is enough to keep the list in order, and spares most packets the writes.
        let second = seconds(now);
        if self.entry(slot).seen != second {
            self.entry_mut(slot).seen = second;
            self.unlink(slot);
            self.link_newest(slot);
        }
        Some(&mut self.entry_mut(slot).flow)
    }

    /// Remembers `flow`, of which a packet passes at `now`. The caller knows that `key` has none.
    pub(crate) fn insert(&mut self, now: Duration, key: FlowKey, flow: Flow) -> Inserted {
        debug_assert!(self.find(&key).is_none(), "the caller looks first");
        let mut inserted = Inserted::Free;
        if self.length == self.capacity {
            let oldest = self.entry(self.oldest);
            if seconds(now).saturating_sub(oldest.seen) <= EVICT_AFTER_SECONDS {
                return Inserted::Full;
            }
            self.remove_slot(self.oldest);
            inserted = Inserted::Evicted;
        }
        let bucket = self.bucket(&key);
        let entry = Entry {
            key,
            flow,
            seen: seconds(now),
            chain: self.buckets[bucket],
            older: NONE,
            newer: NONE,
        };
        let slot = self.free;
        let slot = if slot == NONE {
            self.entries.push(entry);
            (self.entries.len() - 1) as u32
        } else {
            self.free = self.entry(slot).chain;
            *self.entry_mut(slot) = entry;
            slot
        };
        self.buckets[bucket] = slot;
        self.link_newest(slot);
        self.length += 1;
        inserted
    }

    /// Forgets the flow of `key`; whether there was one.
    pub(crate) fn remove(&mut self, key: &FlowKey) -> bool {
        let slot = self.find(key);
        if let Some(slot) = slot {
            self.remove_slot(slot);
        }
        slot.is_some()
    }

    /// Forgets every flow without a packet for the idle time, or up to two seconds longer, since
    /// it counts in whole ones. Returns how many.
    pub(crate) fn expire(&mut self, now: Duration) -> usize {
        let before = self.length;
        while self.oldest != NONE
            && seconds(now).saturating_sub(self.entry(self.oldest).seen) > self.idle_seconds
        {
            self.remove_slot(self.oldest);
        }
        before - self.length
    }

    fn bucket(&self, key: &FlowKey) -> usize {
        // The number of buckets is a power of two.
        self.hasher.hash_one(key) as usize & (self.buckets.len() - 1)
    }

    fn find(&self, key: &FlowKey) -> Option<u32> {
        let mut slot = self.buckets[self.bucket(key)];
        while slot != NONE {
            let entry = self.entry(slot);
            if entry.key == *key {
                return Some(slot);
            }
            slot = entry.chain;
        }
        None
    }

    fn remove_slot(&mut self, slot: u32) {
        self.unlink(slot);
        let bucket = self.bucket(&self.entry(slot).key);
        let next = self.entry(slot).chain;
        if self.buckets[bucket] == slot {
            self.buckets[bucket] = next;
        } else {
            let mut before = self.buckets[bucket];
            while self.entry(before).chain != slot {
                before = self.entry(before).chain;
            }
            self.entry_mut(before).chain = next;
        }
        self.entry_mut(slot).chain = self.free;
        self.free = slot;
        self.length -= 1;
    }

    fn unlink(&mut self, slot: u32) {
        let Entry { older, newer, .. } = *self.entry(slot);
        match older {
            NONE => self.oldest = newer,
            older => self.entry_mut(older).newer = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.entry_mut(newer).older = older,
        }
    }

    fn link_newest(&mut self, slot: u32) {
        let older = self.newest;
        let entry = self.entry_mut(slot);
        (entry.older, entry.newer) = (older, NONE);
        match older {
            NONE => self.oldest = slot,
            older => self.entry_mut(older).newer = slot,
        }
        self.newest = slot;
    }

    fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use firsthop_wire::hop::{Direction, Flags, HOP_LIMIT, Header, HopSecrets};

    use super::*;

    const IDLE: Duration = Duration::from_secs(35);

    fn key(number: u32) -> FlowKey {
        let ip = Ipv4Addr::from_bits(0xC633_6400 + number);
        FlowKey {
            client: SocketAddr::new(ip.into(), 50000),
            ingress: 0,
        }
    }

    fn flow(port: u16) -> Flow {
        let owner = SocketAddr::from(([10, 0, 0, 1], port));
        let mut secrets = HopSecrets::default();
        secrets.insert(0, &[1; 32]);
        let header = Header {
            direction: Direction::Up,
            flags: Flags::default(),
            key_id: 0,
            hop_limit: HOP_LIMIT,
            tick: 0,
            client: key(0).client,
            ingress: 0,
            return_hop: None,
        };
        Flow {
            proved: true,
            owner,
            header: header.seal(&secrets.pair(0, owner).unwrap()),
            tick: 0,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_entry_stays_small() {
        assert!(size_of::<Entry>() <= 152, "{} bytes", size_of::<Entry>());
    }

    #[test]
    fn a_full_table_evicts_the_longest_idle_flow() {
        let mut table = FlowTable::new(2, IDLE);
        assert_eq!(table.insert(at(0), key(1), flow(1)), Inserted::Free);
        assert_eq!(table.insert(at(1), key(2), flow(2)), Inserted::Free);
        table.touch(at(5), &key(1));
        assert_eq!(table.insert(at(12), key(3), flow(3)), Inserted::Evicted);
        assert!(table.peek(&key(2)).is_none());
        assert!(table.peek(&key(1)).is_some() && table.peek(&key(3)).is_some());
    }

    #[test]
    fn a_full_table_never_evicts_an_active_flow() {
        let mut table = FlowTable::new(2, IDLE);
        table.insert(at(0), key(1), flow(1));
        table.insert(at(0), key(2), flow(2));
        assert_eq!(table.insert(at(10), key(3), flow(3)), Inserted::Full);
        assert_eq!(table.len(), 2);
        assert_eq!(table.insert(at(11), key(3), flow(3)), Inserted::Evicted);
    }

    #[test]
    fn a_look_does_not_keep_a_flow_alive_and_a_packet_does() {
        let mut table = FlowTable::new(4, IDLE);
        table.insert(at(0), key(1), flow(1));
        table.insert(at(0), key(2), flow(2));
        table.peek(&key(1));
        table.touch(at(20), &key(2));
        assert_eq!(table.expire(at(35)), 0);
        assert_eq!(table.expire(at(36)), 1);
        assert!(table.peek(&key(1)).is_none() && table.peek(&key(2)).is_some());
        assert_eq!(table.expire(at(56)), 1);
        assert_eq!(table.len(), 0);
    }

    /// The table against a map and a list that are too simple to be wrong.
    #[test]
    fn it_agrees_with_a_model_over_a_long_random_run() {
        const CAPACITY: usize = 50;
        let mut table = FlowTable::new(CAPACITY, IDLE);
        let mut model: HashMap<FlowKey, (u16, u64)> = HashMap::new();
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let mut now = 0;
        for step in 0..200_000_u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let key = key((random >> 8) as u32 % 80);
            now += u64::from(random.is_multiple_of(16));
            match random >> 40 & 7 {
                0..=2 if !model.contains_key(&key) => {
                    let port = (step & 0xFFFF) as u16;
                    let longest = model.values().map(|&(_, seen)| now - seen).max();
                    let inserted = table.insert(at(now), key, flow(port));
                    if model.len() < CAPACITY {
                        assert_eq!(inserted, Inserted::Free);
                    } else if longest > Some(u64::from(EVICT_AFTER_SECONDS)) {
                        assert_eq!(inserted, Inserted::Evicted);
                        let gone: Vec<_> = model
                            .keys()
                            .filter(|key| table.peek(key).is_none())
                            .copied()
                            .collect();
                        assert_eq!(gone.len(), 1);
                        let (_, seen) = model.remove(&gone[0]).unwrap();
                        assert_eq!(Some(now - seen), longest);
                    } else {
                        assert_eq!(inserted, Inserted::Full);
                        continue;
                    }
                    model.insert(key, (port, now));
                }
                3 => assert_eq!(table.remove(&key), model.remove(&key).is_some()),
                4 if random.is_multiple_of(64) => {
                    let before = model.len();
                    model.retain(|_, (_, seen)| now - *seen <= IDLE.as_secs());
                    assert_eq!(table.expire(at(now)), before - model.len());
                }
                _ => {
                    let found = table.touch(at(now), &key).map(|flow| flow.owner.port());
                    let expected = model.get_mut(&key).map(|(port, seen)| {
                        *seen = now;
                        *port
                    });
                    assert_eq!(found, expected);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(table.entries.len() <= CAPACITY);
    }
}
