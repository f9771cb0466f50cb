//! The flow table: which owner the packets of a client address go to.
//!
//! *A flow entry is a cache*: every entry may vanish, and no session is lost with it. The table
//! reserves its memory once, for its whole capacity, and a flow takes one cache line. No I/O, no
//! clock: whole seconds since some start come in as a [`Duration`].

use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// The most flows that one table can hold. Slots above it stand for the ends of lists.
pub(crate) const MAX_CAPACITY: usize = 1 << 30;

/// The longest idle time, in seconds: there is one list for each second of it.
pub(crate) const MAX_IDLE_SECONDS: u64 = 3600;

/// A full table gives up its longest idle flow only after this long.
///
/// A client that still talks checks its path every 5 seconds at most (RFC 7675 §5.1).
const EVICT_AFTER_SECONDS: u32 = 10;

/// Flows that one call looks at, at most: what is left waits for the next call.
const EXPIRE_STEP: usize = 4096;
/// The same for an insertion into a full table, which happens between two packets.
const EVICT_STEP: usize = 64;

/// Keys that are looked up together.
pub(crate) const LOOK_AHEAD: usize = 64;

/// No slot; ends a chain.
const NONE: u32 = u32::MAX;

/// What tells flows apart: the client's transport address, and the public socket that it uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    /// IPv4 as an IPv4-mapped address (RFC 4291 §2.5.5.2).
    ip: [u8; 16],
    port: u16,
    ingress: u8,
}

impl FlowKey {
    /// Length of [`FlowKey::to_bytes`].
    pub(crate) const LEN: usize = 20;

    /// The key of what `client` sends to the public socket `ingress`. One client has one key,
    /// whether an IPv4 or a dual-stack socket saw it.
    pub(crate) fn new(client: SocketAddr, ingress: u8) -> Self {
        Self {
            ip: octets(client.ip()),
            port: client.port(),
            ingress,
        }
    }

    pub(crate) fn client(&self) -> SocketAddr {
        address(self.ip, self.port)
    }

    pub(crate) fn ingress(&self) -> u8 {
        self.ingress
    }

    /// The key as other programs write it: IP (16), port (2) and ingress id (2), big-endian. The
    /// upper byte of the ingress id is the relay's site.
    pub(crate) fn to_bytes(self, site: u8) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..18].copy_from_slice(&address_to_bytes(self.client()));
        (bytes[18], bytes[19]) = (site, self.ingress);
        bytes
    }

    /// What [`FlowKey::to_bytes`] wrote; `None` for an ingress id of another site.
    pub(crate) fn from_bytes(bytes: &[u8; Self::LEN], site: u8) -> Option<Self> {
        let &[ref address @ .., its_site, ingress] = bytes;
        (its_site == site).then(|| Self::new(address_from_bytes(address), ingress))
    }
}

impl Hash for FlowKey {
    /// In one piece: field by field it takes twice as long, and every packet pays for it.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.ip);
        bytes[16..18].copy_from_slice(&self.port.to_be_bytes());
        bytes[18] = self.ingress;
        state.write(&bytes);
    }
}

/// Length of a transport address as bytes.
pub(crate) const ADDRESS_LEN: usize = 18;

/// A transport address as other programs write it: IP (16, IPv4 mapped) and port (2), big-endian.
#[must_use]
pub fn address_to_bytes(address: SocketAddr) -> [u8; ADDRESS_LEN] {
    let mut bytes = [0; ADDRESS_LEN];
    bytes[..16].copy_from_slice(&octets(address.ip()));
    bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    bytes
}

/// What [`address_to_bytes`] wrote.
#[must_use]
pub fn address_from_bytes(bytes: &[u8; ADDRESS_LEN]) -> SocketAddr {
    let [ip @ .., high, low] = *bytes;
    address(ip, u16::from_be_bytes([high, low]))
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

fn address(ip: [u8; 16], port: u16) -> SocketAddr {
    SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port)
}

/// What is remembered about a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    /// Where its packets go.
    pub(crate) owner: SocketAddr,
    /// The owner said PATH: the client answered there. Until then the address may be spoofed, and
    /// another owner may be right.
    pub(crate) proved: bool,
    /// The MAC of the header that goes before its packets.
    pub(crate) mac: u64,
    /// The tick for which that header was sealed.
    pub(crate) tick: u16,
    /// And under which state of the clusters: below [`EPOCHS`].
    pub(crate) epoch: u8,
}

/// States of the clusters that are told apart: more than there can be in a tick.
pub(crate) const EPOCHS: u8 = 1 << 7;

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

/// Where a flow stands, good until the next insertion or removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// One flow, in one cache line.
#[repr(align(64))]
struct Entry {
    client: [u8; 16],
    owner: [u8; 16],
    mac: u64,
    /// When a packet passed, in seconds since the start.
    seen: u32,
    /// The next entry in the same bucket, or the next free slot.
    chain: u32,
    /// Neighbours in the list of a second; see [`FlowTable`].
    older: u32,
    newer: u32,
    client_port: u16,
    owner_port: u16,
    tick: u16,
    ingress: u8,
    /// In the lowest bit whether the flow is proved, and above it the epoch.
    state: u8,
}

impl Entry {
    fn key(&self) -> FlowKey {
        FlowKey {
            ip: self.client,
            port: self.client_port,
            ingress: self.ingress,
        }
    }

    fn flow(&self) -> Flow {
        Flow {
            owner: address(self.owner, self.owner_port),
            proved: self.state & 1 == 1,
            mac: self.mac,
            tick: self.tick,
            epoch: self.state >> 1,
        }
    }

    fn set_flow(&mut self, flow: Flow) {
        self.owner = octets(flow.owner.ip());
        self.owner_port = flow.owner.port();
        self.state = flow.epoch << 1 | u8::from(flow.proved);
        self.mac = flow.mac;
        self.tick = flow.tick;
    }
}

/// The ends of a list.
#[derive(Clone, Copy)]
struct List {
    oldest: u32,
    newest: u32,
}

/// Flows by key, each also in the list of a second at which it was seen.
///
/// Slots of a slab, chained in buckets by a keyed hash: SipHash under a key that this process drew
/// at random, so that nobody can choose addresses that collide.
///
/// A packet only notes the second in its flow's own cache line. Which flows are idle is found out
/// later: [`FlowTable::expire`] goes through the lists second by second, and moves what was seen
/// since to the list where it belongs. So a flow is moved once per idle time, not once per packet.
pub(crate) struct FlowTable {
    entries: Vec<Entry>,
    buckets: Vec<u32>,
    /// By second, modulo their number: more of them than seconds of idle time. Circular; the slot
    /// [`MAX_CAPACITY`] + i stands for the end of list i.
    lists: Vec<List>,
    hasher: RandomState,
    capacity: usize,
    idle_seconds: u32,
    free: u32,
    /// The second of the oldest list that may hold flows.
    oldest: u32,
    length: usize,
}

impl FlowTable {
    /// A table for at most `capacity` flows, each forgotten after `idle` without a packet.
    ///
    /// Memory is reserved here, once. The system provides it as flows use it.
    pub(crate) fn new(capacity: usize, idle: Duration) -> Self {
        let capacity = capacity.clamp(1, MAX_CAPACITY);
        let idle_seconds = idle.as_secs() + u64::from(idle.subsec_nanos() > 0);
        let idle_seconds = idle_seconds.min(MAX_IDLE_SECONDS) as u32;
        let lists = (0..idle_seconds + 2).map(|index| List {
            oldest: end_of(index),
            newest: end_of(index),
        });
        Self {
            entries: Vec::with_capacity(capacity),
            buckets: vec![NONE; capacity.next_power_of_two()],
            lists: lists.collect(),
            hasher: RandomState::new(),
            capacity,
            idle_seconds,
            free: NONE,
            oldest: 0,
            length: 0,
        }
    }

    /// Flows remembered now.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Where the flow of `key` stands, if there is one.
    pub(crate) fn find(&self, key: &FlowKey) -> Option<Slot> {
        self.follow(self.buckets[self.bucket(key)], key)
    }

    /// [`FlowTable::find`] for each of up to [`LOOK_AHEAD`] keys.
    ///
    /// Memory is the price of a look-up in a large table. Keys that do not wait for each other
    /// have theirs fetched at the same time.
    pub(crate) fn find_all(&self, keys: &[FlowKey]) -> [Option<Slot>; LOOK_AHEAD] {
        let mut found = [None; LOOK_AHEAD];
        for (slot, key) in found.iter_mut().zip(keys) {
            let head = self.buckets[self.bucket(key)];
            *slot = (head != NONE).then_some(Slot(head));
        }
        for (slot, key) in found.iter_mut().zip(keys) {
            *slot = slot.and_then(|head| self.follow(head.0, key));
        }
        found
    }

    /// The flow at `slot`, as it is: looking does not keep it alive.
    pub(crate) fn get(&self, slot: Slot) -> Flow {
        self.entry(slot.0).flow()
    }

    /// Notes that a packet of the flow passes at `now`.
    pub(crate) fn touch(&mut self, now: Duration, slot: Slot) {
        let (entry, second) = (self.entry_mut(slot.0), seconds(now));
        // Most packets spare the cache line the write.
        if entry.seen < second {
            entry.seen = second;
        }
    }

    /// Replaces what is remembered.
    pub(crate) fn set(&mut self, slot: Slot, flow: Flow) {
        self.entry_mut(slot.0).set_flow(flow);
    }

    /// Remembers `flow`, last seen at `now`. The caller knows that `key` has none.
    pub(crate) fn insert(&mut self, now: Duration, key: FlowKey, flow: Flow) -> Inserted {
        debug_assert!(self.find(&key).is_none(), "the caller looks first");
        let mut inserted = Inserted::Free;
        if self.length == self.capacity {
            let Some(idle) = self.longest_idle(seconds(now)) else {
                return Inserted::Full;
            };
            self.remove(idle);
            inserted = Inserted::Evicted;
        }
        if self.length == 0 {
            self.oldest = seconds(now);
        }
        let bucket = self.bucket(&key);
        let mut entry = Entry {
            client: key.ip,
            client_port: key.port,
            ingress: key.ingress,
            owner: [0; 16],
            owner_port: 0,
            mac: 0,
            tick: 0,
            state: 0,
            // No older than the oldest list, which the next expiry begins with.
            seen: seconds(now).max(self.oldest),
            chain: self.buckets[bucket],
            older: NONE,
            newer: NONE,
        };
        entry.set_flow(flow);
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
        self.link(slot);
        self.length += 1;
        inserted
    }

    /// Forgets the flow at `slot`.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Slot(slot) = slot;
        self.unlink(slot);
        let bucket = self.bucket(&self.entry(slot).key());
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
        let free = self.free;
        let entry = self.entry_mut(slot);
        // A free slot is in no list, and that is how it is told.
        (entry.chain, entry.older, entry.newer) = (free, NONE, NONE);
        self.free = slot;
        self.length -= 1;
    }

    /// Forgets flows without a packet for the idle time, or up to two seconds longer, since it
    /// counts in whole ones; tells `alive` of those that it found alive, each about once per idle
    /// time. Does a bounded piece of work, and returns how many flows it forgot and whether it is
    /// done for this second.
    pub(crate) fn expire(
        &mut self,
        now: Duration,
        mut alive: impl FnMut(FlowKey, Flow),
    ) -> (usize, bool) {
        let end = seconds(now).saturating_sub(self.idle_seconds);
        let mut expired = 0;
        for _ in 0..EXPIRE_STEP {
            let Some((_, slot)) = self.oldest_listed(end) else {
                return (expired, true);
            };
            let entry = self.entry(slot);
            if entry.seen >= end {
                alive(entry.key(), entry.flow());
                self.relink(slot);
            } else {
                self.remove(Slot(slot));
                expired += 1;
            }
        }
        (expired, false)
    }

    /// The flows in `count` slots from `first` on, each with its idle time in seconds. `None` past
    /// the last slot.
    pub(crate) fn page(
        &self,
        now: Duration,
        first: usize,
        count: usize,
    ) -> Option<impl Iterator<Item = (FlowKey, Flow, u32)>> {
        let end = self.entries.len().min(first + count);
        let page = (first < end).then(|| &self.entries[first..end])?;
        let used = page.iter().filter(|entry| entry.older != NONE);
        Some(used.map(move |entry| {
            let idle = seconds(now).saturating_sub(entry.seen);
            (entry.key(), entry.flow(), idle)
        }))
    }

    /// The flow that was silent for longest, if that is long enough to give it up.
    fn longest_idle(&mut self, second: u32) -> Option<Slot> {
        for _ in 0..EVICT_STEP {
            let (list, slot) = self.oldest_listed(second.saturating_sub(EVICT_AFTER_SECONDS))?;
            if self.entry(slot).seen == list {
                return Some(Slot(slot));
            }
            self.relink(slot);
        }
        None
    }

    /// The first flow in the lists of the seconds before `end`, and which list that is. Remembers
    /// how far the lists are empty.
    fn oldest_listed(&mut self, end: u32) -> Option<(u32, u32)> {
        while self.oldest < end {
            let slot = self.lists[self.list_of(self.oldest)].oldest;
            if (slot as usize) < MAX_CAPACITY {
                return Some((self.oldest, slot));
            }
            self.oldest += 1;
        }
        None
    }

    /// A hash under a key that only this process knows.
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        self.hasher.hash_one(key)
    }

    fn bucket(&self, key: &FlowKey) -> usize {
        // The number of buckets is a power of two.
        self.hash(key) as usize & (self.buckets.len() - 1)
    }

    fn follow(&self, head: u32, key: &FlowKey) -> Option<Slot> {
        let mut slot = head;
        while slot != NONE {
            let entry = self.entry(slot);
            if entry.key() == *key {
                return Some(Slot(slot));
            }
            slot = entry.chain;
        }
        None
    }

    fn list_of(&self, second: u32) -> usize {
        second as usize % self.lists.len()
    }

    fn relink(&mut self, slot: u32) {
        self.unlink(slot);
        self.link(slot);
    }

    /// Puts an entry at the newest end of the list of the second at which it was seen, or of the
    /// last second that there is a list for: late calls to expire must not mix old and new.
    fn link(&mut self, slot: u32) {
        let last = self.oldest.saturating_add(self.lists.len() as u32 - 1);
        let list = self.list_of(self.entry(slot).seen.min(last));
        let (older, end) = (self.lists[list].newest, end_of(list as u32));
        let entry = self.entry_mut(slot);
        (entry.older, entry.newer) = (older, end);
        self.set_newer(older, slot);
        self.set_older(end, slot);
    }

    fn unlink(&mut self, slot: u32) {
        let &Entry { older, newer, .. } = self.entry(slot);
        self.set_newer(older, newer);
        self.set_older(newer, older);
    }

    fn set_newer(&mut self, slot: u32, newer: u32) {
        match (slot as usize).checked_sub(MAX_CAPACITY) {
            Some(list) => self.lists[list].oldest = newer,
            None => self.entry_mut(slot).newer = newer,
        }
    }

    fn set_older(&mut self, slot: u32, older: u32) {
        match (slot as usize).checked_sub(MAX_CAPACITY) {
            Some(list) => self.lists[list].newest = older,
            None => self.entry_mut(slot).older = older,
        }
    }

    fn entry(&self, slot: u32) -> &Entry {
        &self.entries[slot as usize]
    }

    fn entry_mut(&mut self, slot: u32) -> &mut Entry {
        &mut self.entries[slot as usize]
    }
}

/// The slot that stands for the end of a list.
fn end_of(list: u32) -> u32 {
    MAX_CAPACITY as u32 + list
}

fn seconds(now: Duration) -> u32 {
    u32::try_from(now.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::net::Ipv4Addr;

    use super::*;

    const IDLE: Duration = Duration::from_secs(35);

    fn key(number: u32) -> FlowKey {
        let ip = Ipv4Addr::from_bits(0xC633_6400 + number);
        FlowKey::new(SocketAddr::new(ip.into(), 50000), 0)
    }

    fn flow(port: u16) -> Flow {
        Flow {
            owner: SocketAddr::from(([10, 0, 0, 1], port)),
            proved: true,
            mac: u64::from(port) << 7,
            tick: port ^ 0x55,
            epoch: port as u8 % EPOCHS,
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn has(table: &FlowTable, number: u32) -> bool {
        table.find(&key(number)).is_some()
    }

    fn touch(table: &mut FlowTable, now: u64, number: u32) {
        let slot = table.find(&key(number)).unwrap();
        table.touch(at(now), slot);
    }

    /// Calls expire until it is done; how many flows it forgot, and those that it found alive.
    fn expire(table: &mut FlowTable, now: u64) -> (usize, Vec<FlowKey>) {
        let (mut expired, mut alive) = (0, Vec::new());
        loop {
            let (count, done) = table.expire(at(now), |key, _| alive.push(key));
            expired += count;
            if done {
                return (expired, alive);
            }
        }
    }

    #[test]
    fn a_flow_takes_one_cache_line() {
        assert_eq!((size_of::<Entry>(), align_of::<Entry>()), (64, 64));
    }

    #[test]
    fn keys_and_addresses_survive_as_bytes() {
        for client in ["192.0.2.1:5000", "[2001:db8::1]:65535", "[::1]:1"] {
            let client: SocketAddr = client.parse().unwrap();
            let key = FlowKey::new(client, 7);
            assert_eq!(FlowKey::from_bytes(&key.to_bytes(3), 3), Some(key));
            assert_eq!(FlowKey::from_bytes(&key.to_bytes(3), 4), None);
            assert_eq!((key.client(), key.ingress()), (client, 7));
            assert_eq!(address_from_bytes(&address_to_bytes(client)), client);
        }
    }

    #[test]
    fn proof_and_epoch_are_remembered_apart() {
        let mut table = FlowTable::new(10, IDLE);
        table.insert(at(0), key(1), flow(1));
        let slot = table.find(&key(1)).unwrap();
        for epoch in 0..EPOCHS {
            for proved in [false, true] {
                let flow = Flow {
                    proved,
                    epoch,
                    ..flow(1)
                };
                table.set(slot, flow);
                assert_eq!(table.get(slot), flow);
            }
        }
    }

    #[test]
    fn one_client_has_one_key_whatever_the_socket() {
        let plain = FlowKey::new("192.0.2.1:5000".parse().unwrap(), 0);
        let mapped = FlowKey::new("[::ffff:192.0.2.1]:5000".parse().unwrap(), 0);
        assert_eq!(plain, mapped);
        let zoned = std::net::SocketAddrV6::new("2001:db8::1".parse().unwrap(), 5000, 9, 3);
        let key = FlowKey::new(zoned.into(), 0);
        assert_eq!(key.client(), "[2001:db8::1]:5000".parse().unwrap());
    }

    #[test]
    fn what_was_remembered_is_found_whole() {
        let mut table = FlowTable::new(4, IDLE);
        table.insert(at(0), key(1), flow(9));
        let slot = table.find(&key(1)).unwrap();
        assert_eq!(table.get(slot), flow(9));
        table.set(slot, flow(10));
        assert_eq!(table.get(slot), flow(10));
    }

    #[test]
    fn a_full_table_evicts_the_longest_idle_flow() {
        let mut table = FlowTable::new(2, IDLE);
        assert_eq!(table.insert(at(0), key(1), flow(1)), Inserted::Free);
        assert_eq!(table.insert(at(1), key(2), flow(2)), Inserted::Free);
        touch(&mut table, 5, 1);
        assert_eq!(table.insert(at(12), key(3), flow(3)), Inserted::Evicted);
        assert!(!has(&table, 2));
        assert!(has(&table, 1) && has(&table, 3));
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
        table.get(table.find(&key(1)).unwrap());
        touch(&mut table, 20, 2);
        assert_eq!(expire(&mut table, 35), (0, vec![]));
        assert_eq!(expire(&mut table, 36), (1, vec![key(2)]));
        assert!(!has(&table, 1) && has(&table, 2));
        assert_eq!(expire(&mut table, 56), (1, vec![]));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_flow_in_use_is_reported_alive_once_per_idle_time() {
        let mut table = FlowTable::new(4, IDLE);
        table.insert(at(0), key(1), flow(1));
        let mut reports = 0;
        for second in 0..720 {
            touch(&mut table, second, 1);
            reports += expire(&mut table, second).1.len();
        }
        // In every 36th second.
        assert_eq!(reports, 19);
    }

    #[test]
    fn expiring_many_flows_is_done_in_bounded_steps() {
        let mut table = FlowTable::new(10_000, IDLE);
        for number in 0..10_000 {
            table.insert(at(0), key(number), flow(1));
        }
        assert_eq!(table.expire(at(40), |_, _| ()), (EXPIRE_STEP, false));
        assert_eq!(table.len(), 10_000 - EXPIRE_STEP);
        assert_eq!(expire(&mut table, 40).0, 10_000 - EXPIRE_STEP);
    }

    #[test]
    fn a_clock_that_leapt_ahead_leaves_no_flow_behind() {
        let mut table = FlowTable::new(100, IDLE);
        for (number, second) in (0..100).map(|number| (number, u64::from(number) * 17)) {
            table.insert(at(second), key(number), flow(1));
        }
        // Nobody expired for half an hour: only those of the last 35 s are left.
        let (expired, alive) = expire(&mut table, 99 * 17);
        assert_eq!((expired, table.len()), (97, 3));
        assert!(alive.iter().all(|key| table.find(key).is_some()));
        assert_eq!(expire(&mut table, 99 * 17 + 36).0, 3);
    }

    #[test]
    fn a_batch_finds_what_single_look_ups_find() {
        let mut table = FlowTable::new(8, IDLE);
        // More flows than fit in buckets of one, so that there are chains.
        for number in 0..8 {
            table.insert(at(0), key(number), flow(number as u16));
        }
        let keys: Vec<_> = (0..20).rev().map(key).collect();
        let found = table.find_all(&keys);
        let single: Vec<_> = keys.iter().map(|key| table.find(key)).collect();
        assert_eq!(found[..keys.len()], single);
        assert_eq!(found.iter().flatten().count(), 8);
    }

    #[test]
    fn pages_hold_every_flow_once() {
        let mut table = FlowTable::new(100, IDLE);
        for number in 0..100 {
            table.insert(at(u64::from(number) / 10), key(number), flow(number as u16));
        }
        for number in (0..100).step_by(3) {
            table.remove(table.find(&key(number)).unwrap());
        }
        let (mut first, mut ports) = (0, Vec::new());
        while let Some(page) = table.page(at(10), first, 7) {
            for (found, flow, idle) in page {
                assert_eq!(found, key(u32::from(flow.owner.port())));
                assert_eq!(idle, 10 - u32::from(flow.owner.port()) / 10);
                ports.push(flow.owner.port());
            }
            first += 7;
        }
        let expected: Vec<u16> = (0..100).filter(|number| number % 3 != 0).collect();
        assert_eq!(ports, expected);
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
                            .filter(|key| table.find(key).is_none())
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
                3 => {
                    let slot = table.find(&key);
                    assert_eq!(slot.is_some(), model.remove(&key).is_some());
                    if let Some(slot) = slot {
                        table.remove(slot);
                    }
                }
                4 if random.is_multiple_of(64) => {
                    let before = model.len();
                    model.retain(|_, (_, seen)| now - *seen <= IDLE.as_secs());
                    assert_eq!(expire(&mut table, now).0, before - model.len());
                }
                _ => {
                    let found = table.find(&key).map(|slot| {
                        table.touch(at(now), slot);
                        table.get(slot)
                    });
                    let expected = model.get_mut(&key).map(|(port, seen)| {
                        *seen = now;
                        flow(*port)
                    });
                    assert_eq!(found, expected);
                }
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(table.entries.len() <= CAPACITY);
    }
}
