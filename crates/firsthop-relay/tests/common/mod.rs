//! A relay's forwarder on a stepped clock, with clients and owners around it that are plain calls.

#![allow(dead_code, reason = "every test file uses its own part of it")]

pub(crate) mod chain;
pub(crate) mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firsthop_relay::forwarder::{Delivery, Now, Transit, Verdict};
use firsthop_relay::{Cluster, Counters, DropReason, Forwarder, Reach, RelayConfig, Snapshot};
use firsthop_wire::hop::{self, Direction, Flags, HOP_LIMIT, Header, HopSecrets, Record};
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};

pub(crate) const CLUSTER: u16 = 7;
pub(crate) const TOKEN_KEY: u8 = 2;
pub(crate) const HOP_KEY: u8 = 1;
pub(crate) const START_UNIX: u64 = 1_800_000_000;

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A browser.
pub(crate) fn client() -> SocketAddr {
    address("198.51.100.20:61000")
}

/// A transceiver.
pub(crate) fn owner() -> SocketAddr {
    address("10.1.0.5:4000")
}

/// Another transceiver of the same cluster.
pub(crate) fn other_owner() -> SocketAddr {
    address("10.1.0.6:4001")
}

pub(crate) fn token_keys() -> TokenKeys {
    let mut keys = TokenKeys::default();
    keys.insert(TOKEN_KEY, &[0x5A; token::MASTER_LEN]);
    keys
}

pub(crate) fn hop_secrets() -> HopSecrets {
    let mut secrets = HopSecrets::default();
    secrets.insert(HOP_KEY, &[0xC3; hop::SECRET_LEN]);
    secrets
}

/// Two public sockets, one cluster in 10.1.0.0/16 and fd00:1::/64 on ports 4000 to 4010.
pub(crate) fn config() -> RelayConfig {
    RelayConfig {
        site: 0,
        listen: vec![address("192.0.2.1:3478"), address("[2001:db8::1]:3478")],
        tcp_listen: Vec::new(),
        tcp_connections: 100,
        tcp_connections_per_address: 50,
        upstream: address("10.1.255.1:3500"),
        workers: 1,
        pin: false,
        busy_poll: Duration::ZERO,
        flow_capacity: 1000,
        flow_idle: firsthop_relay::DEFAULT_FLOW_IDLE,
        look_up: false,
        edges: Vec::new(),
        clusters: vec![Cluster {
            id: CLUSTER,
            prefix: Some("fd00:1::/64".parse().unwrap()),
            networks: vec![
                "10.1.0.0/16".parse().unwrap(),
                "fd00:1::/64".parse().unwrap(),
            ],
            ports: 4000..=4010,
            token_keys: token_keys(),
            key_id: HOP_KEY,
            reach: Reach::Direct(hop_secrets()),
        }],
    }
}

/// The ufrag of a session of `owner`, minted at `unix_seconds` for an hour.
pub(crate) fn ufrag_at(owner: SocketAddr, unix_seconds: u64) -> String {
    let owner = match owner {
        SocketAddr::V4(owner) => Owner::V4(owner),
        SocketAddr::V6(owner) => Owner::V6 {
            interface_id: owner.ip().to_bits() as u64,
            port: owner.port(),
        },
    };
    let expiry_slot = token::slot_at(unix_seconds + 3600);
    let claims = Claims {
        cluster: CLUSTER,
        owner,
        expiry_slot,
    };
    token_keys()
        .seal(TOKEN_KEY, &claims, [1, 2, 3, 4, 5, 6])
        .unwrap()
}

pub(crate) fn ufrag(owner: SocketAddr) -> String {
    ufrag_at(owner, START_UNIX)
}

/// A STUN message as a browser lays it out. Its MESSAGE-INTEGRITY is made up: the relay knows no
/// password.
pub(crate) fn stun(message_type: u16, username: Option<&[u8]>) -> Vec<u8> {
    let mut attributes = Vec::new();
    let mut attribute = |kind: u16, value: &[u8]| {
        attributes.extend_from_slice(&kind.to_be_bytes());
        attributes.extend_from_slice(&(value.len() as u16).to_be_bytes());
        attributes.extend_from_slice(value);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    };
    if let Some(username) = username {
        attribute(0x0006, username);
    }
    attribute(0x0024, &[0x6E, 0, 0x1E, 0xFF]); // PRIORITY
    attribute(0x802A, &[9; 8]); // ICE-CONTROLLING
    attribute(0x0008, &[0xAA; 20]); // MESSAGE-INTEGRITY
    attribute(0x8028, &[0xBB; 4]); // FINGERPRINT
    let mut message = message_type.to_be_bytes().to_vec();
    message.extend_from_slice(&(attributes.len() as u16).to_be_bytes());
    message.extend_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
    message.extend_from_slice(&[7; 12]);
    message.extend_from_slice(&attributes);
    message
}

pub(crate) fn binding_request(server_ufrag: &str) -> Vec<u8> {
    stun(0x0001, Some(format!("{server_ufrag}:clnt").as_bytes()))
}

pub(crate) fn binding_success() -> Vec<u8> {
    stun(0x0101, None)
}

/// An RTP packet, as far as its first byte goes.
pub(crate) fn rtp() -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.resize(172, 0x11);
    packet
}

/// A down header from `owner` to `client`, as a transceiver writes it.
pub(crate) fn down(client: SocketAddr, flags: Flags, unix_seconds: u64) -> Header {
    Header {
        direction: Direction::Down,
        flags,
        key_id: HOP_KEY,
        hop_limit: HOP_LIMIT,
        tick: hop::tick_at(unix_seconds),
        client,
        ingress: 0,
        return_hop: None,
    }
}

/// One record, sealed as `signer`.
pub(crate) fn sealed(header: &Header, signer: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    let key = hop_secrets().pair(header.key_id, signer).unwrap();
    header.seal(&key).write_record(payload, &mut datagram);
    datagram
}

/// What reached a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivered {
    pub(crate) ingress: u16,
    pub(crate) client: SocketAddr,
    pub(crate) payload: Vec<u8>,
}

/// A forwarder, its clock and its counters.
pub(crate) struct Scene {
    pub(crate) forwarder: Forwarder,
    pub(crate) now: Now,
    /// What went on to other hops: where to, and the datagram.
    pub(crate) passed: Vec<(SocketAddr, Vec<u8>)>,
    counters: Arc<Counters>,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(&config())
    }

    pub(crate) fn with(config: &RelayConfig) -> Self {
        let counters = Arc::new(Counters::default());
        let forwarder = Forwarder::new(config, Arc::clone(&counters));
        let now = Now {
            elapsed: Duration::ZERO,
            unix_seconds: START_UNIX,
        };
        Self {
            forwarder,
            now,
            passed: Vec::new(),
            counters,
        }
    }

    /// Lets time pass, with an expiry every second as a worker does it.
    pub(crate) fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now.elapsed += Duration::from_secs(1);
            self.now.unix_seconds += 1;
            self.forwarder.give_up_parked(self.now);
            self.forwarder.expire(self.now);
        }
    }

    /// `client` sends `packet` to the first public socket.
    pub(crate) fn up(&mut self, client: SocketAddr, packet: &[u8]) -> Verdict {
        self.forwarder.ingress(self.now, client, 0, packet)
    }

    /// As [`Scene::up`], and where it goes; the header must be what the owner expects.
    pub(crate) fn routed(
        &mut self,
        from: SocketAddr,
        packet: &[u8],
    ) -> Result<SocketAddr, DropReason> {
        match self.up(from, packet) {
            Verdict::Drop(reason) => Err(reason),
            // As it will be, unless its owner speaks up.
            Verdict::Parked => Err(DropReason::UnknownFlow),
            Verdict::Forward { to, header } => {
                let mut datagram = Vec::new();
                header.write_record(packet, &mut datagram);
                let record: Record<'_> = hop::records(&datagram).next().unwrap().unwrap();
                let key = hop_secrets().pair(HOP_KEY, to).unwrap();
                assert_eq!(record.verify(&key, self.now.unix_seconds), Ok(()));
                assert_eq!(record.payload, packet);
                let expected = Header {
                    direction: Direction::Up,
                    ..down(from, Flags::default(), self.now.unix_seconds)
                };
                assert_eq!(record.header, expected);
                Ok(to)
            }
        }
    }

    /// `source` sends `datagram` to the upstream socket; what clients receive.
    pub(crate) fn down(&mut self, source: SocketAddr, datagram: &[u8]) -> Vec<Delivered> {
        let (mut delivered, passed) = (Vec::new(), &mut self.passed);
        let deliver = |delivery: Delivery<'_>| {
            delivered.push(Delivered {
                ingress: delivery.ingress,
                client: delivery.client,
                payload: delivery.payload.to_vec(),
            });
        };
        let pass_on = |transit: Transit<'_>| {
            let mut datagram = Vec::new();
            transit.header.write_record(transit.payload, &mut datagram);
            passed.push((transit.to, datagram));
        };
        self.forwarder
            .egress(self.now, source, datagram, deliver, pass_on);
        delivered
    }

    /// `owner` sends `payload` to `client` with `flags`; whether it arrived.
    pub(crate) fn answer(
        &mut self,
        owner: SocketAddr,
        client: SocketAddr,
        flags: Flags,
        payload: &[u8],
    ) -> bool {
        let datagram = sealed(&down(client, flags, self.now.unix_seconds), owner, payload);
        let delivered = self.down(owner, &datagram);
        let expected = Delivered {
            ingress: 0,
            client,
            payload: payload.to_vec(),
        };
        assert!(
            delivered.is_empty() || delivered == [expected],
            "{delivered:?}"
        );
        !delivered.is_empty()
    }

    /// `client` has a flow to `owner`, with a proved path.
    pub(crate) fn establish(&mut self, client: SocketAddr, owner: SocketAddr) {
        assert!(self.answer(
            owner,
            client,
            Flags::CONFIRM | Flags::PATH,
            &binding_success()
        ));
        assert_eq!(self.routed(client, &rtp()), Ok(owner));
    }

    pub(crate) fn counters(&self) -> Snapshot {
        self.counters.snapshot()
    }

    /// All drops so far.
    pub(crate) fn drops(&self) -> Vec<(DropReason, u64)> {
        self.counters()
            .drops()
            .filter(|&(_, count)| count > 0)
            .collect()
    }
}

/// xorshift64: repeatable, and random enough for tests.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }
}
