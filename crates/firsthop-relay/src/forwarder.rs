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
//! - *No lookup on the packet path.* What is not known here and now is dropped.
//! - *No byte from the network can panic* (`tests/oversize.rs`, `tests/forged_tokens.rs`, and the
//!   fuzz target).

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use firsthop_wire::MAX_CLIENT_DATAGRAM;
use firsthop_wire::demux::{self, Kind};
use firsthop_wire::hop::{self, Direction, Flags, Header, Record, SealedHeader};
use firsthop_wire::stun::{Binding, Class};
use firsthop_wire::token::TokenKeys;

use crate::config::{self, Cluster, RelayConfig};
use crate::counters::Counters;
use crate::drop_reason::DropReason;
use crate::flow::{Flow, FlowKey, FlowTable, Inserted};
use crate::pairs::PairKeys;

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
        /// The owner.
        to: SocketAddr,
        /// What goes before the packet.
        header: SealedHeader,
    },
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

/// The decisions of one worker, and the flows and keys that they need.
///
/// Call [`Forwarder::expire`] about once a second.
pub struct Forwarder {
    ingresses: u16,
    hop_key_id: u8,
    token_keys: TokenKeys,
    clusters: Vec<Cluster>,
    pairs: PairKeys,
    flows: FlowTable,
    counters: Arc<Counters>,
}

impl Forwarder {
    /// A forwarder that knows no flow yet. It counts what it decides in `counters`, of which its
    /// thread must be the only writer.
    #[must_use]
    pub fn new(config: &RelayConfig, counters: Arc<Counters>) -> Self {
        Self {
            // More public sockets than ids: those beyond are unknown to owners, not confused.
            ingresses: u16::try_from(config.listen.len()).unwrap_or(u16::MAX),
            hop_key_id: config.hop_key_id,
            token_keys: config.token_keys.clone(),
            clusters: config.clusters.clone(),
            pairs: PairKeys::new(config.hop_secrets.clone()),
            flows: FlowTable::new(config.flow_capacity, config.flow_idle),
            counters,
        }
    }

    /// Flows remembered now.
    #[must_use]
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Judges `packet`, which `client` sent to the public socket `ingress`.
    pub fn ingress(
        &mut self,
        now: Now,
        client: SocketAddr,
        ingress: u16,
        packet: &[u8],
    ) -> Verdict {
        match self.route(now, canonical(client), ingress, packet) {
            Ok((to, header)) => Verdict::Forward { to, header },
            Err(reason) => {
                self.counters.dropped(reason, 1);
                Verdict::Drop(reason)
            }
        }
    }

    /// Judges every record of `datagram`, which `source` sent to the upstream socket, and passes
    /// what is for a client to `deliver`. Drops are counted.
    pub fn egress<'a>(
        &mut self,
        now: Now,
        source: SocketAddr,
        datagram: &'a [u8],
        mut deliver: impl FnMut(Delivery<'a>),
    ) {
        let source = canonical(source);
        // The cheapest check first: no key is derived for a source that may not speak at all.
        if !self.clusters.iter().any(|cluster| cluster.allows(source)) {
            self.counters.dropped(DropReason::SourceNotAllowed, 1);
            return;
        }
        for record in hop::records(datagram) {
            let accepted = record
                .map_err(DropReason::from)
                .and_then(|record| self.accept(now, source, &record));
            match accepted {
                Ok(delivery) if delivery.payload.is_empty() => {}
                Ok(delivery) => deliver(delivery),
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

    /// Forgets the flows that fell silent.
    pub fn expire(&mut self, now: Now) {
        let expired = self.flows.expire(now.elapsed);
        self.counters.flows_expired.add(expired as u64);
        self.counters.flows.set(self.flows.len() as u64);
    }

    fn route(
        &mut self,
        now: Now,
        client: SocketAddr,
        ingress: u16,
        packet: &[u8],
    ) -> Result<(SocketAddr, SealedHeader), DropReason> {
        if packet.is_empty() {
            return Err(DropReason::Empty);
        }
        if packet.len() > MAX_CLIENT_DATAGRAM {
            return Err(DropReason::Oversize);
        }
        if !can_be_a_client(client) {
            return Err(DropReason::ClientAddress);
        }
        let key = FlowKey { client, ingress };
        let named_owner = match demux::kind(packet) {
            Some(Kind::Dtls | Kind::Rtp) => None,
            Some(Kind::Stun) => self.named_owner(now, packet)?,
            Some(Kind::Hop) | None => return Err(DropReason::UnknownProtocol),
        };

        // *A binding request follows its own token*: one for another owner than the flow's leaves
        // the flow alone, neither moving it nor keeping it alive.
        if let Some(owner) = named_owner
            && self.flows.peek(&key).is_none_or(|flow| flow.owner != owner)
        {
            return Ok((owner, self.seal_up(now, key, owner)?));
        }
        let flow = self
            .flows
            .touch(now.elapsed, &key)
            .ok_or(DropReason::UnknownFlow)?;
        let (owner, tick) = (flow.owner, hop::tick_at(now.unix_seconds));
        if flow.tick == tick {
            return Ok((owner, flow.header));
        }
        let header = seal_up(&mut self.pairs, self.hop_key_id, tick, key, owner)?;
        (flow.header, flow.tick) = (header, tick);
        Ok((owner, header))
    }

    /// The owner that a binding request names by its token; `None` for STUN that names nobody.
    fn named_owner(&self, now: Now, packet: &[u8]) -> Result<Option<SocketAddr>, DropReason> {
        let binding = Binding::parse(packet).map_err(|_| DropReason::StunMalformed)?;
        if binding.class != Class::BindingRequest {
            return Ok(None);
        }
        let ufrag = binding.server_ufrag().ok_or(DropReason::StunUsername)?;
        let claims = self.token_keys.open(ufrag, now.unix_seconds)?;
        config::resolve(&self.clusters, &claims).map(Some)
    }

    fn accept<'a>(
        &mut self,
        now: Now,
        source: SocketAddr,
        record: &Record<'a>,
    ) -> Result<Delivery<'a>, DropReason> {
        self.pairs.verify(record, source, now.unix_seconds)?;
        let header = &record.header;
        if header.direction != Direction::Down {
            return Err(DropReason::HopDirection);
        }
        if header.hop_limit == 0 {
            return Err(DropReason::HopLimit);
        }
        if header.return_hop.is_some() {
            return Err(DropReason::UnexpectedHop);
        }
        if header.ingress >= self.ingresses {
            return Err(DropReason::UnknownIngress);
        }
        let client = canonical(header.client);
        if !can_be_a_client(client) {
            return Err(DropReason::ClientAddress);
        }
        let key = FlowKey {
            client,
            ingress: header.ingress,
        };
        self.learn(now, source, key, header.flags)?;
        Ok(Delivery {
            ingress: header.ingress,
            client,
            payload: record.payload,
        })
    }

    /// What an authenticated record does to the flow that it names, and whether it may pass.
    fn learn(
        &mut self,
        now: Now,
        source: SocketAddr,
        key: FlowKey,
        flags: Flags,
    ) -> Result<(), DropReason> {
        let held = self.flows.peek(&key).map(|flow| (flow.owner, flow.proved));
        let proved = flags.contains(Flags::PATH);
        let ends = flags.contains(Flags::RELEASE);

        if flags.contains(Flags::NO_SESSION) {
            if held.is_some_and(|(owner, _)| owner != source) {
                return Err(DropReason::NotOwner);
            }
            self.release(&key);
            return Err(DropReason::NoSession);
        }
        match held {
            Some((owner, _)) if owner == source => {
                if let Some(flow) = self.flows.touch(now.elapsed, &key) {
                    flow.proved |= proved;
                }
            }
            Some((_, held_proved)) => {
                let better = flags.contains(Flags::CONFIRM) && (proved || !held_proved);
                if ends || !better {
                    return Err(DropReason::NotOwner);
                }
                let moved = self.flow(now, key, source, proved)?;
                if let Some(flow) = self.flows.touch(now.elapsed, &key) {
                    *flow = moved;
                }
                self.counters.flows_moved.add(1);
            }
            None if !flags.contains(Flags::CONFIRM) => return Err(DropReason::NoFlow),
            None if ends => {}
            None => self.create(now, key, source, proved)?,
        }
        if ends {
            self.release(&key);
        }
        Ok(())
    }

    fn create(
        &mut self,
        now: Now,
        key: FlowKey,
        owner: SocketAddr,
        proved: bool,
    ) -> Result<(), DropReason> {
        let flow = self.flow(now, key, owner, proved)?;
        match self.flows.insert(now.elapsed, key, flow) {
            Inserted::Free => self.counters.flows_created.add(1),
            Inserted::Evicted => {
                self.counters.flows_created.add(1);
                self.counters.flows_evicted.add(1);
            }
            // The packet itself needs no flow.
            Inserted::Full => self.counters.dropped(DropReason::FlowTableFull, 1),
        }
        Ok(())
    }

    fn flow(
        &mut self,
        now: Now,
        key: FlowKey,
        owner: SocketAddr,
        proved: bool,
    ) -> Result<Flow, DropReason> {
        let header = self.seal_up(now, key, owner)?;
        Ok(Flow {
            owner,
            header,
            tick: hop::tick_at(now.unix_seconds),
            proved,
        })
    }

    fn release(&mut self, key: &FlowKey) {
        if self.flows.remove(key) {
            self.counters.flows_released.add(1);
        }
    }

    fn seal_up(
        &mut self,
        now: Now,
        key: FlowKey,
        owner: SocketAddr,
    ) -> Result<SealedHeader, DropReason> {
        let tick = hop::tick_at(now.unix_seconds);
        seal_up(&mut self.pairs, self.hop_key_id, tick, key, owner)
    }
}

fn seal_up(
    pairs: &mut PairKeys,
    key_id: u8,
    tick: u16,
    flow: FlowKey,
    owner: SocketAddr,
) -> Result<SealedHeader, DropReason> {
    let key = pairs
        .of_owner(key_id, owner)
        .ok_or(DropReason::HopUnknownKey)?;
    let header = Header {
        direction: Direction::Up,
        flags: Flags::default(),
        key_id,
        hop_limit: hop::HOP_LIMIT,
        tick,
        client: flow.client,
        ingress: flow.ingress,
        return_hop: None,
    };
    Ok(header.seal(&key))
}

/// One form for one address: IPv4 from a dual-stack socket is IPv4, and IPv6 has neither flow
/// label nor zone.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, address.port(), 0, 0).into(),
    }
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
    fn one_client_has_one_address_whatever_the_socket() {
        let mapped = "[::ffff:192.0.2.1]:5000".parse().unwrap();
        assert_eq!(canonical(mapped), "192.0.2.1:5000".parse().unwrap());
        let zoned = SocketAddrV6::new("2001:db8::1".parse().unwrap(), 5000, 9, 3).into();
        assert_eq!(canonical(zoned), "[2001:db8::1]:5000".parse().unwrap());
    }

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
