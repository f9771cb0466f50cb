//! What a cluster's relay does for edge relays: it passes records on between them and the owners,
//! and keeps nothing of a flow. And what the two ask each other.

use std::net::{Ipv4Addr, SocketAddr};

use firsthop_wire::MAX_CLIENT_DATAGRAM;
use firsthop_wire::hop::{self, Direction, Flags, Header, Record, SealedHeader};

use crate::config::{Cluster, Reach, canonical};
use crate::drop_reason::DropReason;
use crate::forwarder::{Forwarder, Now, Transit};

impl Forwarder {
    /// Judges a record that only an edge can have sent: a packet for the owner that it names as its
    /// hop, or a probe.
    pub(crate) fn take_from_edge<'a>(
        &mut self,
        now: Now,
        edge: SocketAddr,
        record: &Record<'a>,
    ) -> Result<Transit<'a>, DropReason> {
        let header = &record.header;
        if header.flags.contains(Flags::PROBE) {
            return self.answer_probe(now, edge, record);
        }
        let owner = header.return_hop.map(canonical);
        let owner = owner.ok_or(DropReason::MissingHop)?;
        let cluster = self.clusters.of_reached_owner(owner);
        let cluster = cluster.ok_or(DropReason::OwnerNotReached)?;
        self.clusters
            .verify_hop(cluster, record, now.unix_seconds)?;
        match record.payload.len() {
            0 => return Err(DropReason::Empty),
            length if length > MAX_CLIENT_DATAGRAM => return Err(DropReason::Oversize),
            _ => {}
        }
        let passed = Header {
            flags: Flags::default(),
            key_id: self.clusters.key_id(cluster),
            hop_limit: one_less(header.hop_limit)?,
            tick: hop::tick_at(now.unix_seconds),
            return_hop: Some(edge),
            ..*header
        };
        let key = self.clusters.key(cluster, owner);
        Ok(Transit {
            to: owner,
            direction: Direction::Up,
            header: passed.seal(key.ok_or(DropReason::HopUnknownKey)?),
            payload: record.payload,
        })
    }

    /// Passes a record of `owner` on to `edge`. If that has fallen silent, the owner is told: it may
    /// know another way to the client.
    pub(crate) fn hand_to_edge<'a>(
        &mut self,
        now: Now,
        owner: SocketAddr,
        cluster: usize,
        edge: SocketAddr,
        record: &Record<'a>,
        pass_on: &mut impl FnMut(Transit<'a>),
    ) -> Result<(), DropReason> {
        let header = &record.header;
        // Port 0 would be nobody.
        if edge.port() == 0 || !self.clusters.is_edge(edge.ip()) {
            return Err(DropReason::UnexpectedHop);
        }
        let passed = Header {
            flags: header.flags & Flags::OF_FLOW,
            key_id: self.clusters.key_id(cluster),
            hop_limit: one_less(header.hop_limit)?,
            tick: hop::tick_at(now.unix_seconds),
            return_hop: Some(owner),
            ..*header
        };
        let key = self.clusters.edge_keys(cluster).get(passed.key_id);
        pass_on(Transit {
            to: edge,
            direction: Direction::Down,
            header: passed.seal(key.ok_or(DropReason::HopUnknownKey)?),
            payload: record.payload,
        });
        if self.edges.is_lost(now.elapsed, edge) {
            self.counters.edge_lost.add(1);
            pass_on(self.edge_lost(&passed, owner, cluster, edge)?);
        }
        Ok(())
    }

    /// Tells `owner` that `edge`, to which it just sent `passed`, is silent.
    fn edge_lost(
        &mut self,
        passed: &Header,
        owner: SocketAddr,
        cluster: usize,
        edge: SocketAddr,
    ) -> Result<Transit<'static>, DropReason> {
        let told = Header {
            direction: Direction::Up,
            flags: Flags::EDGE_LOST,
            hop_limit: hop::HOP_LIMIT,
            return_hop: Some(edge),
            ..*passed
        };
        let key = self.clusters.key(cluster, owner);
        Ok(Transit {
            to: owner,
            direction: Direction::Up,
            header: told.seal(key.ok_or(DropReason::HopUnknownKey)?),
            payload: &[],
        })
    }

    /// Answers a probe with as many bytes, and notes that the edge is there.
    fn answer_probe<'a>(
        &mut self,
        now: Now,
        edge: SocketAddr,
        record: &Record<'_>,
    ) -> Result<Transit<'a>, DropReason> {
        let header = &record.header;
        let (key_id, id) = (header.key_id, header.ingress);
        let cluster = self.clusters.reached(id);
        let cluster = cluster.ok_or(DropReason::UnexpectedProbe)?;
        self.clusters
            .verify_hop(cluster, record, now.unix_seconds)?;
        let expected = probe_header(Direction::Up, key_id, id, header.tick);
        if *header != expected || !record.payload.is_empty() {
            return Err(DropReason::UnexpectedProbe);
        }
        self.edges.heard(now.elapsed, edge);
        self.counters.edges.set(self.edges.len() as u64);
        let tick = hop::tick_at(now.unix_seconds);
        // Under the key that the edge used: it has that one in any case.
        let key = self.clusters.edge_keys(cluster).get(key_id);
        let key = key.ok_or(DropReason::HopUnknownKey)?;
        Ok(Transit {
            to: edge,
            direction: Direction::Down,
            header: probe_header(Direction::Down, key_id, id, tick).seal(key),
            payload: &[],
        })
    }
}

/// What an edge asks the relays of `cluster`, if that is behind relays.
pub(crate) fn probe(now: Now, cluster: &Cluster) -> Option<SealedHeader> {
    let Reach::Relays { keys, .. } = &cluster.reach else {
        return None;
    };
    let tick = hop::tick_at(now.unix_seconds);
    let header = probe_header(Direction::Up, cluster.key_id, cluster.id, tick);
    Some(header.seal(keys.get(cluster.key_id)?))
}

/// A probe is about no client: its ingress id is that of the cluster, whose key it is under.
fn probe_header(direction: Direction, key_id: u8, cluster: u16, tick: u16) -> Header {
    Header {
        direction,
        flags: Flags::PROBE,
        key_id,
        hop_limit: hop::HOP_LIMIT,
        tick,
        client: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        ingress: cluster,
        return_hop: None,
    }
}

/// The hop limit of what is passed on.
fn one_less(hop_limit: u8) -> Result<u8, DropReason> {
    match hop_limit {
        0 | 1 => Err(DropReason::HopLimit),
        more => Ok(more - 1),
    }
}
