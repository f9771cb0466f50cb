//! The addresses from which a session's client sends, and what each has proved.
//!
//! Invariant *own the path*: STUN goes where the ICE agent says; everything else goes to the
//! active address, which is the latest that was nominated (authenticated USE-CANDIDATE) and has
//! answered a check of ours, whichever came second. Before an address has answered, it is sent at
//! most [`UNPROVED_FACTOR`] times the bytes it sent (decision 0003), and what it sends besides STUN
//! is parked.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use firsthop_wire::stun::TransactionId;

/// How a packet reached us, and so how the answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// The client's transport address.
    pub client: SocketAddr,
    /// The relay in between; `None` when the client reached our socket directly.
    pub relay: Option<RelayHop>,
}

/// The relay's part of a [`Route`], echoed to it as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelayHop {
    /// The relay's upstream socket.
    pub address: SocketAddr,
    /// Which of its public sockets the client used.
    pub ingress: u16,
    /// The edge relay behind it, if any.
    pub return_hop: Option<SocketAddr>,
}

/// What an address has shown so far. Ordered: each step includes the ones before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It sent something.
    Seen,
    /// It sent a binding request under our password.
    Confirmed,
    /// It answered a check of ours, so it receives there.
    Proved,
}

/// Anti-amplification, as QUIC bounds it (RFC 9000 §8.1).
const UNPROVED_FACTOR: usize = 3;
/// Addresses kept per session: browsers use two or three, and change a few times per call.
const MAX_PATHS: usize = 8;
/// Transactions watched per session, each way.
const MAX_TRANSACTIONS: usize = 16;
/// Addresses that a session lets its ICE agent confirm: so many at once, and one more per
/// interval. The agent forgets none, and whoever copied a binding request can send it from
/// anywhere.
const CONFIRMED_AT_ONCE: u64 = 16;
const CONFIRMED_INTERVAL: Duration = Duration::from_secs(10);
/// Packets parked per address: a DTLS ClientHello of two datagrams, and some.
const MAX_PARKED: usize = 6;

struct Path {
    route: Route,
    standing: Standing,
    nominated: bool,
    received_bytes: usize,
    sent_bytes: usize,
    parked: Vec<Vec<u8>>,
}

/// A binding request of the client that waits for the ICE agent's verdict.
struct Request {
    transaction: TransactionId,
    route: Route,
    use_candidate: bool,
}

/// The paths of one session.
pub struct Paths {
    paths: Vec<Path>,
    active: Option<SocketAddr>,
    since: Instant,
    confirmed: u64,
    requests: VecDeque<Request>,
    checks: VecDeque<(TransactionId, SocketAddr)>,
}

impl Paths {
    /// No paths yet, at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            paths: Vec::new(),
            active: None,
            since: now,
            confirmed: 0,
            requests: VecDeque::new(),
            checks: VecDeque::new(),
        }
    }

    /// Notes a received datagram, of whatever kind. Returns the address that was forgotten for it.
    pub fn received(&mut self, route: Route, bytes: usize) -> Option<SocketAddr> {
        if let Some(path) = self.find(route.client) {
            path.received_bytes += bytes;
            return None;
        }
        let forgotten = (self.paths.len() == MAX_PATHS).then(|| self.forget_one());
        self.paths.push(Path {
            route,
            standing: Standing::Seen,
            nominated: false,
            received_bytes: bytes,
            sent_bytes: 0,
            parked: Vec::new(),
        });
        forgotten.flatten()
    }

    /// Whether the ICE agent may see a binding request from `client`.
    pub fn admits(&self, now: Instant, client: SocketAddr) -> bool {
        let intervals = (now - self.since).as_secs() / CONFIRMED_INTERVAL.as_secs();
        self.standing(client) >= Some(Standing::Confirmed)
            || self.confirmed < CONFIRMED_AT_ONCE + intervals
    }

    /// Notes a binding request before the ICE agent gets it.
    pub fn request(&mut self, transaction: TransactionId, route: Route, use_candidate: bool) {
        bound(&mut self.requests, MAX_TRANSACTIONS);
        self.requests.push_back(Request {
            transaction,
            route,
            use_candidate,
        });
    }

    /// Notes that the ICE agent answered a request of `client` with success: it was authenticated.
    ///
    /// True when this confirms the address for the first time.
    pub fn answered(&mut self, transaction: TransactionId, client: SocketAddr) -> bool {
        let asked = |r: &Request| r.transaction == transaction && r.route.client == client;
        let request = self.requests.iter().rposition(asked);
        let Some(request) = request.and_then(|index| self.requests.remove(index)) else {
            return false;
        };
        let Some(path) = self.find(client) else {
            return false;
        };
        path.route = request.route;
        path.nominated |= request.use_candidate;
        let first = path.standing == Standing::Seen;
        if first {
            path.standing = Standing::Confirmed;
            self.confirmed += 1;
        } else if path.standing == Standing::Proved && request.use_candidate {
            self.active = Some(client);
        }
        first
    }

    /// Notes a check that the ICE agent sends.
    pub fn check(&mut self, transaction: TransactionId, client: SocketAddr) {
        bound(&mut self.checks, MAX_TRANSACTIONS);
        self.checks.push_back((transaction, client));
    }

    /// Notes a success answer to one of our checks: 96 random bits came back from where they were
    /// sent, so the address receives.
    ///
    /// Returns what was parked for it when this proves the address for the first time.
    pub fn check_answered(&mut self, transaction: TransactionId, route: Route) -> Option<Parked> {
        let index = self
            .checks
            .iter()
            .position(|&check| check == (transaction, route.client))?;
        self.checks.remove(index);
        let path = self.find(route.client)?;
        if path.standing != Standing::Confirmed {
            return None;
        }
        path.standing = Standing::Proved;
        let packets = std::mem::take(&mut path.parked);
        if path.nominated {
            self.active = Some(route.client);
        }
        Some(Parked {
            client: route.client,
            packets,
        })
    }

    /// Follows the client to another relay, once a packet that came through it was authenticated.
    pub fn move_to(&mut self, route: Route) {
        if let Some(path) = self.find(route.client) {
            path.route = route;
        }
    }

    /// Keeps a packet for the moment its address is proved. False: too many, it is lost.
    pub fn park(&mut self, client: SocketAddr, packet: &[u8]) -> bool {
        match self.find(client) {
            Some(path) if path.parked.len() < MAX_PARKED => {
                path.parked.push(packet.to_vec());
                true
            }
            _ => false,
        }
    }

    /// What `client` has shown.
    pub fn standing(&self, client: SocketAddr) -> Option<Standing> {
        self.paths
            .iter()
            .find(|path| path.route.client == client)
            .map(|path| path.standing)
    }

    /// The address to which everything but STUN goes, once there is one.
    pub fn active(&self) -> Option<SocketAddr> {
        self.active
    }

    /// The route on which `bytes` may be sent to `client` now; `None` when they may not.
    pub fn spend(&mut self, client: SocketAddr, bytes: usize) -> Option<(Route, Standing)> {
        let path = self.find(client)?;
        let allowed = path.received_bytes * UNPROVED_FACTOR;
        if path.standing < Standing::Proved && path.sent_bytes + bytes > allowed {
            return None;
        }
        path.sent_bytes += bytes;
        Some((path.route, path.standing))
    }

    /// All routes on which the client was confirmed: where a release has to be told.
    pub fn confirmed(&self) -> impl Iterator<Item = (Route, Standing)> {
        let confirmed = self
            .paths
            .iter()
            .filter(|path| path.standing >= Standing::Confirmed);
        confirmed.map(|path| (path.route, path.standing))
    }

    /// All addresses ever kept, for whoever maps them to this session.
    pub fn clients(&self) -> impl Iterator<Item = SocketAddr> {
        self.paths.iter().map(|path| path.route.client)
    }

    fn find(&mut self, client: SocketAddr) -> Option<&mut Path> {
        self.paths
            .iter_mut()
            .find(|path| path.route.client == client)
    }

    /// Forgets the oldest address that is not active, the least proved first.
    fn forget_one(&mut self) -> Option<SocketAddr> {
        let candidates = self.paths.iter().enumerate();
        let spare = candidates.filter(|(_, path)| Some(path.route.client) != self.active);
        let (index, _) = spare.min_by_key(|(index, path)| (path.standing, *index))?;
        Some(self.paths.remove(index).route.client)
    }
}

/// Packets that waited for their address to be proved.
pub struct Parked {
    /// The address.
    pub client: SocketAddr,
    /// In the order of arrival.
    pub packets: Vec<Vec<u8>>,
}

fn bound<T>(queue: &mut VecDeque<T>, limit: usize) {
    if queue.len() == limit {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(port: u16) -> Route {
        Route {
            client: SocketAddr::from(([192, 0, 2, 1], port)),
            relay: None,
        }
    }

    #[test]
    fn an_address_is_active_only_when_nominated_and_proved() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        paths.request([1; 12], route(1), true);
        assert!(paths.answered([1; 12], route(1).client));
        assert_eq!(paths.active(), None, "nominated, but it proved nothing");
        paths.check([2; 12], route(1).client);
        assert!(
            paths.check_answered([3; 12], route(1)).is_none(),
            "not our transaction"
        );
        assert!(
            paths.check_answered([2; 12], route(2)).is_none(),
            "not where it was sent"
        );
        assert!(paths.check_answered([2; 12], route(1)).is_some());
        assert_eq!(paths.active(), Some(route(1).client));
    }

    #[test]
    fn a_replayed_request_from_elsewhere_moves_nothing() {
        let mut paths = Paths::new(Instant::now());
        for (port, transaction) in [(1, [1; 12]), (2, [2; 12])] {
            paths.received(route(port), 100);
            paths.request(transaction, route(port), true);
            paths.answered(transaction, route(port).client);
            if port == 1 {
                paths.check([9; 12], route(1).client);
                paths.check_answered([9; 12], route(1));
            }
        }
        assert_eq!(paths.active(), Some(route(1).client));
    }

    #[test]
    fn an_unproved_address_gets_three_times_what_it_sent() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        assert!(paths.spend(route(1).client, 300).is_some());
        assert!(paths.spend(route(1).client, 1).is_none());
        paths.received(route(1), 1);
        assert!(paths.spend(route(1).client, 3).is_some());
        assert!(paths.spend(route(2).client, 1).is_none(), "never heard of");
    }

    #[test]
    fn parked_packets_come_back_once_in_order() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        paths.request([1; 12], route(1), false);
        paths.answered([1; 12], route(1).client);
        for byte in 0..10 {
            assert_eq!(
                paths.park(route(1).client, &[byte]),
                usize::from(byte) < MAX_PARKED
            );
        }
        paths.check([2; 12], route(1).client);
        let parked = paths.check_answered([2; 12], route(1)).unwrap();
        assert_eq!(parked.packets.len(), MAX_PARKED);
        assert_eq!(parked.packets[1], [1]);
    }

    #[test]
    fn a_flood_of_addresses_never_pushes_out_the_active_one() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        paths.request([1; 12], route(1), true);
        paths.answered([1; 12], route(1).client);
        paths.check([2; 12], route(1).client);
        paths.check_answered([2; 12], route(1));
        for port in 2..1000 {
            paths.received(route(port), 1);
        }
        assert_eq!(paths.clients().count(), MAX_PATHS);
        assert!(paths.spend(route(1).client, 1200).is_some());
    }
}
