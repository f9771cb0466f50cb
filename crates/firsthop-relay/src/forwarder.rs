//! Where each packet goes: the relay's decisions, without a socket or a clock.
//!
//! The rules, each with a test that fails when it is broken:
//!
//! - *A flow entry is a cache.* A relay that lost all of them learns them again, and loses no
//!   session (`tests/restart.rs`, `tests/expiry.rs`).
//! - *No state before an answer.* A binding request with a valid token is forwarded statelessly;
//!   a flow is learned from the return path, from a record of the owner that says CONFIRM
//!   (`tests/learns_from_return_path.rs`, `tests/flood_keeps_memory_flat.rs`).
//! - *A binding request follows its own token; everything else follows the flow.* Only CONFIRM
//!   together with PATH, from the new owner, moves a flow whose path is proved; until it is, the
//!   latest CONFIRM counts, so that nobody can pin a spoofed address (`tests/hijack.rs`). Nothing
//!   but a token leads anywhere (`tests/forged_tokens.rs`), and nobody but the owner speaks for a
//!   flow (`tests/return_path_spoof.rs`).
//! - *No lookup on the packet path.* Nobody waits for an answer: a packet of an unknown flow is
//!   parked, bounded in time and number, until its owner speaks or the control plane has asked
//!   (`tests/look_ups.rs`).
//! - *The middle keeps no state.* A relay in front of another one says in the hop field whose a
//!   packet is; the one behind it remembers no flow, either way (`tests/hops.rs`).
//! - *A cluster is an island.* Its edge key opens its own tokens and hops, and nobody speaks for an
//!   owner of another one (`tests/hop_forgeries.rs`).
//! - *No byte from the network can panic* (`tests/oversize.rs`, `tests/forged_tokens.rs`, and the
//!   fuzz target).

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use firsthop_wire::MAX_CLIENT_DATAGRAM;
use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::{self, Direction, Flags, Header, Record, SealedHeader};
use firsthop_wire::stun::{Binding, Class};
use ipnet::IpNet;

use crate::clusters::Clusters;
use crate::config::{Cluster, RelayConfig, canonical};
use crate::control::{FlowBytes, Notice};
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::edges::Edges;
use crate::flow::{EPOCHS, Flow, FlowKey, FlowTable, Inserted, LOOK_AHEAD, Slot};
use crate::handover::{self, FlowRecord, KnownFlow};
use crate::middle;
use crate::parking::{Parked, Parking};

/// Slots of the flow table that one page of a handover covers.
const PAGE: usize = 1024;

/// The time, as the caller reads it once per batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since any fixed start; never goes back.
    pub elapsed: Duration,
    /// Seconds since the Unix epoch, for tokens and ticks.
    pub unix_seconds: u64,
}

/// What to do with a client's packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Send `header` and the packet, as one record, to `to`.
    Forward {
        /// The owner, or the relay on the way there.
        to: SocketAddr,
        /// What goes before the packet.
        header: SealedHeader,
    },
    /// Nothing for now. The forwarder kept a copy; if its owner is known in time, it comes out of
    /// [`Forwarder::take_ready`], and else it is dropped and counted.
    Parked,
    /// Nothing. Already counted.
    Drop(DropReason),
}

/// A packet for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The public socket to send from.
    pub ingress: u16,
    /// The client.
    pub client: SocketAddr,
    /// The packet, borrowed from the datagram; never empty.
    pub payload: &'a [u8],
}

/// A record for another hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transit<'a> {
    /// The owner, the edge relay, or the cluster's relay that it is for.
    pub to: SocketAddr,
    /// Up goes towards an owner, down towards a client.
    pub direction: Direction,
    /// What goes before the packet.
    pub header: SealedHeader,
    /// The packet, borrowed from the datagram; empty when the header says it all.
    pub payload: &'a [u8],
}

/// A packet that was parked, and whose owner is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The owner, or the relay on the way there.
    pub to: SocketAddr,
    /// What goes before the packet.
    pub header: SealedHeader,
    /// The packet.
    pub packet: Vec<u8>,
}

/// The decisions of one worker, and the flows and keys that they need.
///
/// Call [`Forwarder::expire`] about once a second, and [`Forwarder::give_up_parked`] at
/// [`Forwarder::deadline`].
pub struct Forwarder {
    site: u8,
    ingresses: u8,
    pub(crate) clusters: Clusters,
    /// How often the clusters were replaced, modulo [`EPOCHS`]: headers sealed before are void.
    epoch: u8,
    pub(crate) edges: Edges,
    /// A relay that we send to was lost, or came back.
    hops_changed: bool,
    flows: FlowTable,
    parking: Parking,
    /// Whether there is somebody to ask, and to tell.
    look_up: bool,
    ready: Vec<Ready>,
    notices: Vec<Notice>,
    /// Flows that changed since a handover began.
    changed: Option<HashSet<FlowKey>>,
    pub(crate) counters: Arc<Counters>,
}

/// A source of records, and as whom it may speak.
#[derive(Clone, Copy)]
struct Source {
    address: SocketAddr,
    /// As an owner of this cluster.
    owner: Option<usize>,
    /// As a relay of this cluster, with this number there.
    relay: Option<(usize, usize)>,
    edge: bool,
}

impl Forwarder {
    /// A forwarder that knows no flow yet. It counts what it decides in `counters`, of which its
    /// thread must be the only writer.
    #[must_use]
    pub fn new(config: &RelayConfig, counters: Arc<Counters>) -> Self {
        Self {
            site: config.site,
            // The configuration was checked: at most as many as there are indices.
            ingresses: config.ingresses() as u8,
            clusters: Clusters::new(Duration::ZERO, &config.clusters, &config.edges, None),
            epoch: 0,
            edges: Edges::default(),
            hops_changed: true,
            flows: FlowTable::new(config.flow_capacity, config.flow_idle),
            parking: Parking::default(),
            look_up: config.look_up,
            ready: Vec::new(),
            notices: Vec::new(),
            changed: None,
            counters,
        }
    }

    /// Serves `clusters` and `edges` from now on, which [`crate::Relay::set_clusters`] checks. Flows of owners that are no
    /// longer allowed count as unknown; what is known of relays that stay is kept.
    pub fn set_clusters(&mut self, now: Now, clusters: &[Cluster], edges: &[IpNet]) {
        let nothing = Clusters::new(now.elapsed, &[], &[], None);
        let before = std::mem::replace(&mut self.clusters, nothing);
        self.clusters = Clusters::new(now.elapsed, clusters, edges, Some(before));
        self.epoch = (self.epoch + 1) % EPOCHS;
        self.hops_changed = true;
    }

    /// Flows remembered now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Judges `packet`, which `client` sent to the public socket with the index `ingress`.
    pub fn ingress(
        &mut self,
        now: Now,
        client: SocketAddr,
        ingress: u16,
        packet: &[u8],
    ) -> Verdict {
        let key = flow_key(client, ingress);
        let slot = self.flows.find(&key);
        self.judge(now, key, slot, packet)
    }

    /// [`Forwarder::ingress`] for every packet of a batch, in order; `forward` gets those that go
    /// on, each with its owner and header. Cheaper than one by one when there are many flows.
    pub fn ingress_batch<'a>(
        &mut self,
        now: Now,
        ingress: u16,
        packets: impl Iterator<Item = (SocketAddr, &'a [u8])>,
        mut forward: impl FnMut(SocketAddr, &SealedHeader, &'a [u8]),
    ) {
        let nobody = flow_key(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0), 0);
        let mut packets = packets.peekable();
        while packets.peek().is_some() {
            let (mut keys, mut contents) = ([nobody; LOOK_AHEAD], [&[][..]; LOOK_AHEAD]);
            let mut count = 0;
            for (client, packet) in packets.by_ref().take(LOOK_AHEAD) {
                (keys[count], contents[count]) = (flow_key(client, ingress), packet);
                count += 1;
            }
            let slots = self.flows.find_all(&keys[..count]);
            // Judging packets of clients neither creates flows nor removes any: slots stay good.
            for ((key, slot), packet) in keys.into_iter().zip(slots).zip(contents).take(count) {
                if let Verdict::Forward { to, header } = self.judge(now, key, slot, packet) {
                    forward(to, &header, packet);
                }
            }
        }
    }

    /// Judges every record of `datagram`, which `source` sent to the upstream socket. What is for a
    /// client goes to `deliver`, what is for another hop to `pass_on`. Drops are counted.
    pub fn egress<'a>(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &'a [u8],
        mut deliver: impl FnMut(Delivery<'a>),
        mut pass_on: impl FnMut(Transit<'a>),
    ) {
        // The cheapest check first: no key is derived for a source that may not speak at all.
        let Some(source) = self.source(canonical(source)) else {
            self.counters.dropped(DropReason::SourceNotAllowed, 1);
            return;
        };
        self.edges.listen(now.elapsed);
        for record in hop::records(datagram) {
            let accepted = record
                .map_err(DropReason::from)
                .and_then(|record| self.accept(now, source, &record, &mut pass_on));
            match accepted {
                Ok(Some(delivery)) if !delivery.payload.is_empty() => deliver(delivery),
                Ok(_) => {}
                Err(reason) => {
                    self.counters.dropped(reason, 1);
                    // Whoever forged one record forged them all: the rest is not worth a MAC.
                    if reason == DropReason::HopMac {
                        break;
                    }
                }
            }
        }
        self.counters.flows.set(self.flows.len() as u64);
    }

    /// Asks the relays that this one sends to whether they are there, as far as that is due; see
    /// [`Forwarder::deadline`].
    pub fn probe(&mut self, now: Now, mut send: impl FnMut(SocketAddr, &SealedHeader)) {
        self.hops_changed |= self.clusters.probe(now.elapsed, |cluster, relay| {
            if let Some(probe) = middle::probe(now, cluster) {
                send(relay, &probe);
            }
        });
    }

    /// Every relay that this one sends to: its cluster, its address, whether it is alive. `None`
    /// when nothing changed since the last call.
    pub fn changed_next_hops(&mut self) -> Option<Vec<(u16, SocketAddr, bool)>> {
        std::mem::take(&mut self.hops_changed).then(|| self.clusters.next_hops().collect())
    }

    /// What the control plane found out about a flow that a [`Notice::LookUp`] named: its owner,
    /// or that nobody knows it.
    ///
    /// An owner outside the clusters counts as none: whoever answers cannot lead packets astray.
    pub fn answer(&mut self, now: Now, flow: &FlowBytes, owner: Option<SocketAddr>) {
        let Some(key) = FlowKey::from_bytes(flow, self.site) else {
            return;
        };
        // The return path may have been faster, and knows better.
        if self.held(key).is_some() {
            return;
        }
        match owner.map(canonical).filter(|&owner| self.may_own(owner)) {
            Some(owner) => {
                // It fails only without the key to seal with, and then nothing is forwarded at all.
                if self.create(now, key, owner, true).is_ok() {
                    self.counters.flows_found.add(1);
                }
            }
            None => self.parking.unheard(now.elapsed, key),
        }
        self.counters.flows.set(self.flows.len() as u64);
    }

    /// Packets that were parked and can go on now: after [`Forwarder::egress`] and
    /// [`Forwarder::answer`] there may be some.
    pub fn take_ready(&mut self) -> impl ExactSizeIterator<Item = Ready> + '_ {
        self.ready.drain(..)
    }

    /// What there is to tell the control plane. Nothing, unless it answers look-ups.
    pub fn take_notices(&mut self) -> impl ExactSizeIterator<Item = Notice> + '_ {
        self.notices.drain(..)
    }

    /// Drops packets that waited for too long: due at [`Forwarder::deadline`], and cheap before.
    pub fn give_up_parked(&mut self, now: Now) {
        let lost = self.parking.expire(now.elapsed);
        self.counters.dropped(DropReason::UnknownFlow, lost as u64);
    }

    /// Forgets flows that fell silent. Returns false when it has more to do, and wants to be called
    /// again after the next packets.
    pub fn expire(&mut self, now: Now) -> bool {
        let (site, telling, notices) = (self.site, self.look_up, &mut self.notices);
        let (expired, done) = self.flows.expire(now.elapsed, |key, flow| {
            if telling && flow.proved {
                notices.push(kept(site, key, flow.owner));
            }
        });
        self.edges.expire(now.elapsed);
        self.counters.edges.set(self.edges.len() as u64);
        self.counters.flows_expired.add(expired as u64);
        self.counters.flows.set(self.flows.len() as u64);
        done
    }

    /// When a parked packet has waited for too long, and [`Forwarder::give_up_parked`] is due; or
    /// [`Forwarder::probe`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let both = [self.parking.deadline(), self.clusters.deadline()];
        both.into_iter().flatten().min()
    }

    /// The flows in some slots of the table from `first` on, for [`Forwarder::restore`] of the
    /// process that takes over; `None` past the last one. Go on at `first` + [`Forwarder::PAGE`].
    ///
    /// From the first call on, changes are noted for [`Forwarder::changes`].
    pub fn export(&mut self, now: Now, first: usize) -> Option<Vec<u8>> {
        self.changed.get_or_insert_default();
        let page = self.flows.page(now.elapsed, first, PAGE)?;
        let mut bytes = Vec::new();
        for (key, flow, idle_seconds) in page {
            record(key, Some((flow, idle_seconds))).write(self.site, &mut bytes);
        }
        Some(bytes)
    }

    /// Slots that one page of [`Forwarder::export`] covers.
    pub const PAGE: usize = PAGE;

    /// The flows that changed since the first [`Forwarder::export`], as they are now.
    pub fn changes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for key in self.changed.take().unwrap_or_default() {
            let slot = self.flows.find(&key);
            record(key, slot.map(|slot| (self.flows.get(slot), 0))).write(self.site, &mut bytes);
        }
        bytes
    }

    /// Takes over flows that another process exported, and what changed there afterwards.
    pub fn restore(&mut self, now: Now, bytes: &[u8]) {
        for FlowRecord { key, known } in handover::records(bytes, self.site) {
            let held = self.flows.find(&key);
            if let Some(slot) = held {
                self.flows.remove(slot);
            }
            let Some(known) = known.filter(|known| self.may_own(known.owner)) else {
                continue;
            };
            let seen = now
                .elapsed
                .saturating_sub(Duration::from_secs(known.idle_seconds.into()));
            if let Ok(flow) = self.flow(now, key, known.owner, known.proved)
                && self.flows.insert(seen, key, flow) == Inserted::Free
                && held.is_none()
            {
                self.counters.flows_restored.add(1);
            }
        }
        self.counters.flows.set(self.flows.len() as u64);
    }

    fn judge(&mut self, now: Now, key: FlowKey, slot: Option<Slot>, packet: &[u8]) -> Verdict {
        let reason = match self.route(now, key, slot, packet) {
            Ok((to, header)) => return Verdict::Forward { to, header },
            Err(DropReason::UnknownFlow) => match self.park(now, key, packet) {
                Some(reason) => reason,
                None => return Verdict::Parked,
            },
            Err(reason) => reason,
        };
        self.counters.dropped(reason, 1);
        Verdict::Drop(reason)
    }

    fn route(
        &mut self,
        now: Now,
        key: FlowKey,
        slot: Option<Slot>,
        packet: &[u8],
    ) -> Result<(SocketAddr, SealedHeader), DropReason> {
        if packet.is_empty() {
            return Err(DropReason::Empty);
        }
        if packet.len() > MAX_CLIENT_DATAGRAM {
            return Err(DropReason::Oversize);
        }
        if !can_be_a_client(key.client()) {
            return Err(DropReason::ClientAddress);
        }
        let named_owner = match demux::kind(packet) {
            Some(Kind::Dtls | Kind::Rtp) => None,
            Some(Kind::Stun) => self.named_owner(now, packet)?,
            Some(Kind::Hop) | None => return Err(DropReason::UnknownProtocol),
        };
        let known = slot.map(|slot| (slot, self.flows.get(slot)));

        // *A binding request follows its own token*: one for another owner than the flow's leaves
        // the flow alone, neither moving it nor keeping it alive.
        if let Some((cluster, owner)) = named_owner
            && known.is_none_or(|(_, flow)| flow.owner != owner)
        {
            let header = self.seal_up(now, key, cluster, owner)?;
            return Ok((self.next_hop(key, cluster, owner), header));
        }
        let (slot, flow) = known.ok_or(DropReason::UnknownFlow)?;
        // What its owner was before the clusters changed does not count.
        let cluster = self.clusters.of_owner(flow.owner);
        let cluster = cluster.ok_or(DropReason::UnknownFlow)?;
        let to = self.next_hop(key, cluster, flow.owner);
        self.flows.touch(now.elapsed, slot);
        let tick = hop::tick_at(now.unix_seconds);
        if (flow.tick, flow.epoch) == (tick, self.epoch) {
            let header = self.header_up(key, cluster, flow.owner, tick);
            return Ok((to, header.sealed_with(flow.mac)));
        }
        let header = self.seal_up(now, key, cluster, flow.owner)?;
        let resealed = Flow {
            mac: header.mac(),
            tick,
            epoch: self.epoch,
            ..flow
        };
        self.flows.set(slot, resealed);
        Ok((to, header))
    }

    /// Keeps a packet of an unknown flow for a moment, or tells why it is dropped.
    fn park(&mut self, now: Now, key: FlowKey, packet: &[u8]) -> Option<DropReason> {
        match self.parking.park(now.elapsed, key, packet) {
            Parked::Ask if self.look_up => {
                self.notices.push(Notice::LookUp {
                    flow: key.to_bytes(self.site),
                });
                None
            }
            Parked::Ask | Parked::Waiting => None,
            Parked::Full => Some(DropReason::ParkingFull),
            Parked::Ended => Some(DropReason::UnknownFlow),
        }
    }

    /// The owner that a binding request names by its token, and its cluster; `None` for STUN that
    /// names nobody.
    fn named_owner(
        &self,
        now: Now,
        packet: &[u8],
    ) -> Result<Option<(usize, SocketAddr)>, DropReason> {
        let binding = Binding::parse(packet).map_err(|_| DropReason::StunMalformed)?;
        if binding.class != Class::BindingRequest {
            return Ok(None);
        }
        let ufrag = binding.server_ufrag().ok_or(DropReason::StunUsername)?;
        self.clusters.open(ufrag, now.unix_seconds).map(Some)
    }

    /// As whom `address` may speak; `None` when it may not at all.
    fn source(&self, address: SocketAddr) -> Option<Source> {
        let source = Source {
            address,
            owner: self.clusters.of_reached_owner(address),
            relay: self.clusters.of_relay(address),
            edge: self.clusters.is_edge(address.ip()),
        };
        let known = source.owner.is_some() || source.relay.is_some() || source.edge;
        known.then_some(source)
    }

    /// Judges a record by who may have sent it; `None` when it goes on to another hop, or ends here.
    fn accept<'a>(
        &mut self,
        now: Now,
        source: Source,
        record: &Record<'a>,
        pass_on: &mut impl FnMut(Transit<'a>),
    ) -> Result<Option<Delivery<'a>>, DropReason> {
        let direction = record.header.direction;
        match (source.relay, source.owner) {
            _ if direction == Direction::Up && source.edge => {
                pass_on(self.take_from_edge(now, source.address, record)?);
                Ok(None)
            }
            (Some(relay), _) => self.take_from_relay(now, relay, record),
            (_, Some(cluster)) => {
                self.take_from_owner(now, source.address, cluster, record, pass_on)
            }
            (None, None) => Err(DropReason::HopDirection),
        }
    }

    /// Judges a record that only an owner in `cluster` can have sent.
    fn take_from_owner<'a>(
        &mut self,
        now: Now,
        owner: SocketAddr,
        cluster: usize,
        record: &Record<'a>,
        pass_on: &mut impl FnMut(Transit<'a>),
    ) -> Result<Option<Delivery<'a>>, DropReason> {
        self.clusters
            .verify_owner(cluster, owner, record, now.unix_seconds)?;
        let header = &record.header;
        is_down(header)?;
        if let Some(edge) = header.return_hop.map(canonical) {
            self.hand_to_edge(now, owner, cluster, edge, record, pass_on)?;
            return Ok(None);
        }
        self.hand_to_client(now, owner, record).map(Some)
    }

    /// Judges a record that only a relay of a cluster can have sent.
    fn take_from_relay<'a>(
        &mut self,
        now: Now,
        (cluster, number): (usize, usize),
        record: &Record<'a>,
    ) -> Result<Option<Delivery<'a>>, DropReason> {
        self.clusters
            .verify_hop(cluster, record, now.unix_seconds)?;
        let header = &record.header;
        is_down(header)?;
        if header.flags.contains(Flags::PROBE) {
            self.hops_changed |= self.clusters.answered(now.elapsed, (cluster, number));
            return Ok(None);
        }
        let owner = header.return_hop.map(canonical);
        let owner = owner.ok_or(DropReason::MissingHop)?;
        if self.clusters.of_owner(owner) != Some(cluster) {
            return Err(DropReason::OwnerNotAllowed);
        }
        self.hand_to_client(now, owner, record).map(Some)
    }

    /// What becomes of a record of `owner`, which is authentic, for a client of ours.
    fn hand_to_client<'a>(
        &mut self,
        now: Now,
        owner: SocketAddr,
        record: &Record<'a>,
    ) -> Result<Delivery<'a>, DropReason> {
        let header = &record.header;
        let [site, ingress] = header.ingress.to_be_bytes();
        if site != self.site || ingress >= self.ingresses {
            return Err(DropReason::UnknownIngress);
        }
        let key = FlowKey::new(header.client, ingress);
        let client = key.client();
        if !can_be_a_client(client) {
            return Err(DropReason::ClientAddress);
        }
        self.learn(now, owner, key, header.flags)?;
        Ok(Delivery {
            ingress: ingress.into(),
            client,
            payload: record.payload,
        })
    }

    /// What an authentic record of `source` does to the flow that it names, and whether it may pass.
    fn learn(
        &mut self,
        now: Now,
        source: SocketAddr,
        key: FlowKey,
        flags: Flags,
    ) -> Result<(), DropReason> {
        let held = self.held(key);
        let proved = flags.contains(Flags::PATH);
        let ends = flags.contains(Flags::RELEASE);
        let absent = flags.contains(Flags::NO_SESSION);

        match held {
            Some((slot, flow)) if flow.owner == source => {
                if ends || absent {
                    self.release(now, key, slot);
                } else {
                    self.flows.touch(now.elapsed, slot);
                    if proved && !flow.proved {
                        self.flows.set(slot, Flow { proved, ..flow });
                        self.note(key, source, proved);
                    }
                }
            }
            Some((slot, flow)) => {
                let better = flags.contains(Flags::CONFIRM) && (proved || !flow.proved);
                if ends || absent || !better {
                    return Err(DropReason::NotOwner);
                }
                let moved = self.flow(now, key, source, proved)?;
                self.flows.touch(now.elapsed, slot);
                self.flows.set(slot, moved);
                self.counters.flows_moved.add(1);
                self.note(key, source, proved);
            }
            None if absent => {}
            None if !flags.contains(Flags::CONFIRM) => return Err(DropReason::NoFlow),
            None if ends => {}
            None => {
                if self.create(now, key, source, proved)? {
                    self.note(key, source, proved);
                }
            }
        }
        match absent {
            true => Err(DropReason::NoSession),
            false => Ok(()),
        }
    }

    /// Remembers a flow, if there is room, and lets its parked packets go on either way.
    fn create(
        &mut self,
        now: Now,
        key: FlowKey,
        owner: SocketAddr,
        proved: bool,
    ) -> Result<bool, DropReason> {
        let flow = self.flow(now, key, owner, proved)?;
        let inserted = self.flows.insert(now.elapsed, key, flow);
        match inserted {
            Inserted::Free => self.counters.flows_created.add(1),
            Inserted::Evicted => {
                self.counters.flows_created.add(1);
                self.counters.flows_evicted.add(1);
            }
            // The packet itself needs no flow.
            Inserted::Full => self.counters.dropped(DropReason::FlowTableFull, 1),
        }
        if !self.parking.is_empty()
            && let Some(cluster) = self.clusters.of_owner(owner)
        {
            let header = self.header_up(key, cluster, owner, flow.tick);
            let (to, header) = (
                self.next_hop(key, cluster, owner),
                header.sealed_with(flow.mac),
            );
            let parked = self.parking.take(&key).into_iter();
            self.ready
                .extend(parked.map(|packet| Ready { to, header, packet }));
        }
        Ok(inserted != Inserted::Full)
    }

    fn flow(
        &mut self,
        now: Now,
        key: FlowKey,
        owner: SocketAddr,
        proved: bool,
    ) -> Result<Flow, DropReason> {
        let cluster = self.clusters.of_owner(owner);
        let cluster = cluster.ok_or(DropReason::OwnerNotAllowed)?;
        Ok(Flow {
            owner,
            proved,
            mac: self.seal_up(now, key, cluster, owner)?.mac(),
            tick: hop::tick_at(now.unix_seconds),
            epoch: self.epoch,
        })
    }

    /// The flow of `key`, if it has one. One whose owner is no longer allowed is forgotten.
    fn held(&mut self, key: FlowKey) -> Option<(Slot, Flow)> {
        let slot = self.flows.find(&key)?;
        let flow = self.flows.get(slot);
        if self.may_own(flow.owner) {
            return Some((slot, flow));
        }
        self.flows.remove(slot);
        self.counters.flows_expired.add(1);
        if let Some(changed) = &mut self.changed {
            changed.insert(key);
        }
        None
    }

    fn release(&mut self, now: Now, key: FlowKey, slot: Slot) {
        self.flows.remove(slot);
        self.counters.flows_released.add(1);
        if let Some(changed) = &mut self.changed {
            changed.insert(key);
        }
        // What the client still sends is nobody's; the cache may not know yet that it is over.
        self.parking.ended(now.elapsed, key);
        if self.look_up {
            self.notices.push(Notice::Gone {
                flow: key.to_bytes(self.site),
            });
        }
    }

    /// Notes that a flow is new, or has a new owner or proof. Only what is proved is worth telling:
    /// the rest may be anybody's claim.
    fn note(&mut self, key: FlowKey, owner: SocketAddr, proved: bool) {
        if let Some(changed) = &mut self.changed {
            changed.insert(key);
        }
        if proved && self.look_up {
            self.notices.push(kept(self.site, key, owner));
        }
    }

    fn may_own(&self, address: SocketAddr) -> bool {
        self.clusters.of_owner(address).is_some()
    }

    /// Where packets of a flow go first on their way to `owner`.
    fn next_hop(&self, key: FlowKey, cluster: usize, owner: SocketAddr) -> SocketAddr {
        self.clusters
            .next_hop(cluster, owner, || self.flows.hash(&key))
    }

    fn seal_up(
        &mut self,
        now: Now,
        key: FlowKey,
        cluster: usize,
        owner: SocketAddr,
    ) -> Result<SealedHeader, DropReason> {
        let header = self.header_up(key, cluster, owner, hop::tick_at(now.unix_seconds));
        let sealing = self.clusters.key(cluster, owner);
        Ok(header.seal(sealing.ok_or(DropReason::HopUnknownKey)?))
    }

    /// The header does not depend on which relay of the cluster it goes to: when a flow moves from
    /// one to another, its MAC stays.
    fn header_up(&self, key: FlowKey, cluster: usize, owner: SocketAddr, tick: u16) -> Header {
        Header {
            direction: Direction::Up,
            flags: Flags::default(),
            key_id: self.clusters.key_id(cluster),
            hop_limit: hop::HOP_LIMIT,
            tick,
            client: key.client(),
            ingress: u16::from_be_bytes([self.site, key.ingress()]),
            return_hop: self.clusters.hop_to(cluster, owner),
        }
    }
}

/// The configuration was checked: an index of a socket fits.
fn flow_key(client: SocketAddr, ingress: u16) -> FlowKey {
    FlowKey::new(client, ingress as u8)
}

/// Whether a record that leads away from an owner may be passed on.
fn is_down(header: &Header) -> Result<(), DropReason> {
    if header.direction != Direction::Down {
        return Err(DropReason::HopDirection);
    }
    if header.hop_limit == 0 {
        return Err(DropReason::HopLimit);
    }
    Ok(())
}

fn kept(site: u8, key: FlowKey, owner: SocketAddr) -> Notice {
    Notice::Kept {
        flow: key.to_bytes(site),
        owner,
    }
}

fn record(key: FlowKey, known: Option<(Flow, u32)>) -> FlowRecord {
    let known = known.map(|(flow, idle_seconds)| KnownFlow {
        owner: flow.owner,
        proved: flow.proved,
        // An hour at most, or the flow would be forgotten.
        idle_seconds: idle_seconds.try_into().unwrap_or(u16::MAX),
    });
    FlowRecord { key, known }
}

/// Whether a packet can be sent to `client` at all. What the kernel would refuse is refused here,
/// before an owner spends an answer on it.
fn can_be_a_client(client: SocketAddr) -> bool {
    let ip = client.ip();
    let reachable = match ip {
        IpAddr::V4(ip) => !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unicast_link_local(),
    };
    reachable && client.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_no_answer_reaches_is_no_client() {
        let unreachable = [
            "192.0.2.1:0",
            "0.0.0.0:5000",
            "255.255.255.255:5000",
            "224.0.0.1:5000",
            "[::]:5000",
            "[ff02::1]:5000",
            "[fe80::1]:5000",
        ];
        for address in unreachable {
            assert!(!can_be_a_client(address.parse().unwrap()), "{address}");
        }
        for address in [
            "127.0.0.1:5000",
            "10.0.0.1:1",
            "[::1]:5000",
            "[2001:db8::1]:65535",
        ] {
            assert!(can_be_a_client(address.parse().unwrap()), "{address}");
        }
    }
}
