//! Real sockets on loopback, and somebody who stands in for a transceiver.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use firsthop_relay::{Relay, RelayConfig, Snapshot};
use firsthop_wire::hop::{self, Direction, Flags, Header};

use super::*;

pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

pub(crate) fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
}

/// Stands in for a transceiver: reads records, answers with records.
pub(crate) struct FakeOwner {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl FakeOwner {
    pub(crate) fn new() -> Self {
        Self::at(address("127.0.0.1:0"))
    }

    pub(crate) fn at(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        Self {
            socket,
            buffer: vec![0; 65536],
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    /// The records of the next datagram, and which relay socket they came from.
    pub(crate) fn receive(&mut self) -> (SocketAddr, Vec<(Header, Vec<u8>)>) {
        self.try_receive().expect("a datagram in time")
    }

    /// How long the next one may take.
    pub(crate) fn patience(&self, patience: Duration) {
        self.socket.set_read_timeout(Some(patience)).unwrap();
    }

    /// The same, if one comes in time.
    pub(crate) fn try_receive(&mut self) -> Option<(SocketAddr, Vec<(Header, Vec<u8>)>)> {
        let (length, relay) = self.socket.recv_from(&mut self.buffer).ok()?;
        let key = hop_secrets().pair(HOP_KEY, self.address()).unwrap();
        let records = hop::records(&self.buffer[..length]).map(|record| {
            let record = record.unwrap();
            record.verify(&key, unix_seconds()).unwrap();
            assert_eq!(record.header.direction, Direction::Up);
            (record.header, record.payload.to_vec())
        });
        Some((relay, records.collect()))
    }

    /// Sends `payload` back where `header` came from.
    pub(crate) fn answer(&self, relay: SocketAddr, header: &Header, flags: Flags, payload: &[u8]) {
        let header = Header {
            direction: Direction::Down,
            flags,
            ..*header
        };
        self.socket
            .send_to(&sealed(&header, self.address(), payload), relay)
            .unwrap();
    }
}

pub(crate) fn loopback(owner: SocketAddr) -> RelayConfig {
    let mut config = config();
    config.listen = vec![address("127.0.0.1:0"), address("127.0.0.1:0")];
    config.upstream = address("127.0.0.1:0");
    config.clusters[0].networks = vec!["127.0.0.0/8".parse().unwrap()];
    config.clusters[0].ports = owner.port()..=owner.port();
    config
}

pub(crate) fn counters(relay: &Relay) -> Snapshot {
    relay.counters().sum()
}

/// Waits until `condition` holds: counters are written after the packet is on its way.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
