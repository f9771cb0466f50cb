//! The paths by which a session's client sends, and what each has proved.
//!
//! A path is a client address together with the relay's public socket that it used. A client's UDP
//! and TCP ports may be equal, and another client behind the same NAT may have either: what an
//! address proved by one socket, whoever sends from it to another has not.
//!
//! Invariant *own the path*: STUN goes where the ICE agent says; everything else goes to the
//! active path, which is the latest that was nominated (authenticated USE-CANDIDATE), or by which
//! the newest media came, and that has answered a check of ours, whichever came second. Before a
//! path has answered, it is sent at most [`UNPROVED_FACTOR`] times the bytes it sent (decision
//! 0003), and what it sends besides STUN is parked.
//!
//! A path whose edge relay is *lost* is left at once for another that is proved, and is used again
//! when the client is heard by it.

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

/// What makes a path: a client address and a public socket, be it of whichever relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PathKey {
    client: SocketAddr,
    /// `None` for our own socket.
    ingress: Option<u16>,
}

impl Route {
    /// The path that it is a route of.
    #[must_use]
    pub fn path(&self) -> PathKey {
        PathKey {
            client: self.client,
            ingress: self.relay.map(|relay| relay.ingress),
        }
    }
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

/// What a path has shown so far. Ordered: each step includes the ones before.
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
/// Paths kept per session: browsers use two or three, and change a few times per call.
const MAX_PATHS: usize = 8;
/// Transactions watched per session, each way.
const MAX_TRANSACTIONS: usize = 16;
/// Addresses that a session lets its ICE agent confirm: so many at once, and one more per
/// interval. The agent forgets none, and whoever copied a binding request can send it from
/// anywhere.
const CONFIRMED_AT_ONCE: u64 = 16;
const CONFIRMED_INTERVAL: Duration = Duration::from_secs(10);
/// Packets parked per path: a DTLS ClientHello of two datagrams, and some.
const MAX_PARKED: usize = 6;

struct Path {
    route: Route,
    standing: Standing,
    nominated: bool,
    /// The edge relay in it is silent, and the client has not been heard by it since.
    lost: bool,
    /// When the client was last heard by it, with proof that it was the client: a count.
    heard: u64,
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
    /// A route of the active path.
    active: Option<Route>,
    /// How often the client was heard, by whatever path.
    heard: u64,
    since: Instant,
    confirmed: u64,
    requests: VecDeque<Request>,
    checks: VecDeque<(TransactionId, Route)>,
}

impl Paths {
    /// No paths yet, at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            paths: Vec::new(),
            active: None,
            heard: 0,
            since: now,
            confirmed: 0,
            requests: VecDeque::new(),
            checks: VecDeque::new(),
        }
    }

    /// Notes a received datagram, of whatever kind. Returns the path that was forgotten for it.
    pub fn received(&mut self, route: Route, bytes: usize) -> Option<PathKey> {
        if let Some(path) = self.find(route) {
            path.received_bytes += bytes;
            return None;
        }
        let forgotten = (self.paths.len() == MAX_PATHS).then(|| self.forget_one());
        self.paths.push(Path {
            route,
            standing: Standing::Seen,
            nominated: false,
            lost: false,
            heard: 0,
            received_bytes: bytes,
            sent_bytes: 0,
            parked: Vec::new(),
        });
        forgotten.flatten()
    }

    /// Whether the ICE agent may see a binding request from `client`.
    pub fn admits(&self, now: Instant, client: SocketAddr) -> bool {
        let intervals = (now - self.since).as_secs() / CONFIRMED_INTERVAL.as_secs();
        self.paths_of(client)
            .any(|path| path.standing >= Standing::Confirmed)
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
    /// Returns the route by which it came, and whether this confirms its path for the first time.
    pub fn answered(
        &mut self,
        transaction: TransactionId,
        client: SocketAddr,
    ) -> Option<(Route, bool)> {
        let asked = |r: &Request| r.transaction == transaction && r.route.client == client;
        let request = self.requests.iter().rposition(asked);
        let request = request.and_then(|index| self.requests.remove(index))?;
        let path = self.hear(request.route)?;
        path.nominated |= request.use_candidate;
        let first = path.standing == Standing::Seen;
        if first {
            path.standing = Standing::Confirmed;
            self.confirmed += 1;
        } else if path.standing == Standing::Proved && request.use_candidate {
            self.active = Some(request.route);
        }
        Some((request.route, first))
    }

    /// Notes a check that the ICE agent sends by `route`.
    pub fn check(&mut self, transaction: TransactionId, route: Route) {
        bound(&mut self.checks, MAX_TRANSACTIONS);
        self.checks.push_back((transaction, route));
    }

    /// Whether a check of ours has that transaction and went by the path of `route`.
    pub fn is_check(&self, transaction: TransactionId, route: Route) -> bool {
        self.position(transaction, route).is_some()
    }

    /// Notes a success answer to one of our checks: 96 random bits came back from where they were
    /// sent, so whoever is there receives.
    ///
    /// Returns the packets that were parked for it, in the order of arrival, when this proves the
    /// path for the first time.
    pub fn check_answered(
        &mut self,
        transaction: TransactionId,
        route: Route,
    ) -> Option<Vec<Vec<u8>>> {
        let index = self.position(transaction, route)?;
        self.checks.remove(index);
        let path = self.hear(route)?;
        if path.standing != Standing::Confirmed {
            return None;
        }
        path.standing = Standing::Proved;
        let (packets, nominated) = (std::mem::take(&mut path.parked), path.nominated);
        if nominated || self.active_is_lost() {
            self.active = Some(route);
        }
        Some(packets)
    }

    /// Follows the client to another relay, once a packet that came through it was authenticated.
    /// If it is the `newest`, the client sends by this path now: where it is proved, so do we, as
    /// QUIC does (RFC 9000 §9.3). Some clients nominate once in a call, and never again.
    pub fn move_to(&mut self, route: Route, newest: bool) {
        let Some(path) = self.hear(route) else {
            return;
        };
        if newest && path.standing == Standing::Proved {
            self.active = Some(route);
        }
    }

    /// Leaves the path of `route`, by which no packet comes through: its edge relay is silent. If
    /// it is the active one, the proved path by which the client was last heard takes its place;
    /// where there is none, media goes on to it, since there is nothing to lose.
    ///
    /// Returns whether this is news. It is none of a path that goes by another edge relay by now.
    pub fn lost(&mut self, route: Route) -> bool {
        let edge = |route: Route| route.relay.and_then(|relay| relay.return_hop);
        let Some(path) = self.find(route) else {
            return false;
        };
        if path.lost || edge(path.route) != edge(route) {
            return false;
        }
        path.lost = true;
        if self.active_is_lost() {
            let proved = |path: &&Path| path.standing == Standing::Proved && !path.lost;
            let others = self.paths.iter().filter(proved);
            let latest = others.max_by_key(|path| path.heard);
            self.active = latest.map(|path| path.route).or(self.active);
        }
        true
    }

    /// Keeps a packet for the moment its path is proved. False: too many, it is lost.
    pub fn park(&mut self, route: Route, packet: &[u8]) -> bool {
        match self.find(route) {
            Some(path) if path.parked.len() < MAX_PARKED => {
                path.parked.push(packet.to_vec());
                true
            }
            _ => false,
        }
    }

    /// The route by which the path of `route` goes now.
    pub fn latest(&self, route: Route) -> Option<Route> {
        let mut paths = self.paths.iter();
        let path = paths.find(|path| path.route.path() == route.path());
        path.map(|path| path.route)
    }

    /// What the path of `route` has shown.
    pub fn standing(&self, route: Route) -> Option<Standing> {
        self.paths
            .iter()
            .find(|path| path.route.path() == route.path())
            .map(|path| path.standing)
    }

    /// A route of the path to which everything but STUN goes: the active one, or while there is
    /// none, the most proved one to `client` whose edge relay is not lost.
    pub fn media(&self, client: SocketAddr) -> Option<Route> {
        self.active.or_else(|| {
            let paths = self.paths_of(client);
            let best = paths.max_by_key(|path| (!path.lost, path.standing));
            best.map(|path| path.route)
        })
    }

    /// The routes of all paths from `client`: the ICE agent tells addresses apart, and no more.
    pub fn routes(&self, client: SocketAddr) -> Vec<Route> {
        self.paths_of(client).map(|path| path.route).collect()
    }

    /// The route on which `bytes` may be sent now on the path of `route`; `None` when they may not.
    pub fn spend(&mut self, route: Route, bytes: usize) -> Option<(Route, Standing)> {
        let path = self.find(route)?;
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

    /// All paths that are kept, for whoever maps them to this session.
    pub fn keys(&self) -> impl Iterator<Item = PathKey> {
        self.paths.iter().map(|path| path.route.path())
    }

    /// Notes that the client was heard by the path of `route`, with proof that it was the client.
    fn hear(&mut self, route: Route) -> Option<&mut Path> {
        self.heard += 1;
        let heard = self.heard;
        let path = self.find(route)?;
        (path.route, path.heard, path.lost) = (route, heard, false);
        if path.standing == Standing::Proved && self.active_is_lost() {
            self.active = Some(route);
        }
        self.find(route)
    }

    fn active_is_lost(&self) -> bool {
        let active = self.active.map(|active| active.path());
        let mut paths = self.paths.iter();
        paths.any(|path| path.lost && Some(path.route.path()) == active)
    }

    /// Where in the list the check is that has that transaction and went by the path of `route`.
    fn position(&self, transaction: TransactionId, route: Route) -> Option<usize> {
        let mut checks = self.checks.iter();
        checks.position(|&(check, by)| check == transaction && by.path() == route.path())
    }

    fn find(&mut self, route: Route) -> Option<&mut Path> {
        self.paths
            .iter_mut()
            .find(|path| path.route.path() == route.path())
    }

    fn paths_of(&self, client: SocketAddr) -> impl Iterator<Item = &Path> {
        self.paths
            .iter()
            .filter(move |path| path.route.client == client)
    }

    /// Forgets the oldest path that is not active, the least proved first.
    fn forget_one(&mut self) -> Option<PathKey> {
        let candidates = self.paths.iter().enumerate();
        let active = self.active.map(|active| active.path());
        let active = |path: &Path| Some(path.route.path()) == active;
        let spare = candidates.filter(|(_, path)| !active(path));
        let (index, _) = spare.min_by_key(|(index, path)| (path.standing, *index))?;
        Some(self.paths.remove(index).route.path())
    }
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
        assert_eq!(
            paths.answered([1; 12], route(1).client),
            Some((route(1), true))
        );
        assert_eq!(paths.active, None, "nominated, but it proved nothing");
        paths.check([2; 12], route(1));
        assert!(
            paths.check_answered([3; 12], route(1)).is_none(),
            "not our transaction"
        );
        assert!(
            paths.check_answered([2; 12], route(2)).is_none(),
            "not where it was sent"
        );
        assert!(paths.check_answered([2; 12], route(1)).is_some());
        assert_eq!(paths.active, Some(route(1)));
    }

    #[test]
    fn a_replayed_request_from_elsewhere_moves_nothing() {
        let mut paths = Paths::new(Instant::now());
        for (port, transaction) in [(1, [1; 12]), (2, [2; 12])] {
            paths.received(route(port), 100);
            paths.request(transaction, route(port), true);
            paths.answered(transaction, route(port).client);
            if port == 1 {
                paths.check([9; 12], route(1));
                paths.check_answered([9; 12], route(1));
            }
        }
        assert_eq!(paths.active, Some(route(1)));
    }

    #[test]
    fn an_unproved_address_gets_three_times_what_it_sent() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        assert!(paths.spend(route(1), 300).is_some());
        assert!(paths.spend(route(1), 1).is_none());
        paths.received(route(1), 1);
        assert!(paths.spend(route(1), 3).is_some());
        assert!(paths.spend(route(2), 1).is_none(), "never heard of");
    }

    #[test]
    fn media_takes_the_way_by_which_the_newest_came_once_that_is_proved() {
        let mut paths = Paths::new(Instant::now());
        for (port, transaction, use_candidate) in [(1, [1; 12], true), (2, [2; 12], false)] {
            paths.received(route(port), 100);
            paths.request(transaction, route(port), use_candidate);
            paths.answered(transaction, route(port).client);
            if port == 1 {
                paths.check([9; 12], route(1));
                paths.check_answered([9; 12], route(1));
            }
        }
        paths.move_to(route(2), true);
        assert_eq!(paths.active, Some(route(1)), "it proved nothing yet");
        paths.check([8; 12], route(2));
        paths.check_answered([8; 12], route(2));
        paths.move_to(route(2), false);
        assert_eq!(paths.active, Some(route(1)), "an old packet that came late");
        paths.move_to(route(2), true);
        assert_eq!(paths.active, Some(route(2)));
    }

    #[test]
    fn parked_packets_come_back_once_in_order() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        paths.request([1; 12], route(1), false);
        paths.answered([1; 12], route(1).client);
        for byte in 0..10 {
            assert_eq!(
                paths.park(route(1), &[byte]),
                usize::from(byte) < MAX_PARKED
            );
        }
        paths.check([2; 12], route(1));
        let parked = paths.check_answered([2; 12], route(1)).unwrap();
        assert_eq!(parked.len(), MAX_PARKED);
        assert_eq!(parked[1], [1]);
    }

    #[test]
    fn a_flood_of_addresses_never_pushes_out_the_active_one() {
        let mut paths = Paths::new(Instant::now());
        paths.received(route(1), 100);
        paths.request([1; 12], route(1), true);
        paths.answered([1; 12], route(1).client);
        paths.check([2; 12], route(1));
        paths.check_answered([2; 12], route(1));
        for port in 2..1000 {
            paths.received(route(port), 1);
        }
        assert_eq!(paths.keys().count(), MAX_PATHS);
        assert!(paths.spend(route(1), 1200).is_some());
    }

    #[test]
    fn what_one_socket_proved_the_other_has_not() {
        let by = |ingress| Route {
            relay: Some(RelayHop {
                address: SocketAddr::from(([10, 0, 0, 1], 3500)),
                ingress,
                return_hop: None,
            }),
            ..route(1)
        };
        let mut paths = Paths::new(Instant::now());
        for (socket, transaction) in [(0, [1; 12]), (1, [2; 12])] {
            paths.received(by(socket), 100);
            paths.request(transaction, by(socket), true);
            paths.answered(transaction, by(socket).client);
        }
        let client = by(0).client;
        assert_eq!(paths.routes(client), [by(0), by(1)]);
        for route in paths.routes(client) {
            paths.check([9; 12], route);
        }
        assert!(paths.check_answered([9; 12], by(0)).is_some());
        assert_eq!(paths.standing(by(0)), Some(Standing::Proved));
        assert_eq!(paths.standing(by(1)), Some(Standing::Confirmed));
        assert_eq!(paths.active, Some(by(0)));
        assert!(paths.spend(by(1), 301).is_none());
        // The same socket of another relay is the same path.
        let mut moved = by(0);
        moved.relay.as_mut().unwrap().address.set_port(3501);
        paths.move_to(moved, false);
        assert_eq!(paths.spend(by(0), 1000), Some((moved, Standing::Proved)));
        // It answers by the other one too, so that is proved, and was nominated last.
        assert!(paths.check_answered([9; 12], by(1)).is_some());
        assert_eq!(paths.active, Some(by(1)));
    }

    /// The same client by an edge relay of `site`, whose number its address has, and by one of two
    /// cluster relays.
    fn by_edge(site: u8, cluster_relay: u8) -> Route {
        Route {
            relay: Some(RelayHop {
                address: SocketAddr::from(([10, 0, 0, cluster_relay], 3500)),
                ingress: u16::from(site) << 8,
                return_hop: Some(SocketAddr::from(([10, 9, 0, site], 3500))),
            }),
            ..route(1)
        }
    }

    /// Paths by the edge relays of `sites`, all proved, the first nominated.
    fn proved(sites: &[u8]) -> Paths {
        let mut paths = Paths::new(Instant::now());
        for (index, &site) in sites.iter().enumerate() {
            let route = by_edge(site, 1);
            paths.received(route, 100);
            paths.request([site; 12], route, index == 0);
            paths.answered([site; 12], route.client);
            paths.check([100 + site; 12], route);
            assert!(paths.check_answered([100 + site; 12], route).is_some());
        }
        assert_eq!(paths.active, Some(by_edge(sites[0], 1)));
        paths
    }

    fn request(paths: &mut Paths, route: Route, use_candidate: bool) {
        paths.request([200; 12], route, use_candidate);
        assert!(paths.answered([200; 12], route.client).is_some());
    }

    #[test]
    fn media_leaves_a_lost_edge_for_the_one_heard_last() {
        let mut paths = proved(&[1, 2, 3]);
        request(&mut paths, by_edge(2, 1), false);
        assert!(paths.lost(by_edge(1, 1)));
        assert_eq!(paths.active, Some(by_edge(2, 1)));
        assert!(!paths.lost(by_edge(1, 1)), "that is known");
        assert_eq!(paths.active, Some(by_edge(2, 1)));
        assert!(paths.lost(by_edge(3, 1)), "it was not in use");
        assert_eq!(paths.active, Some(by_edge(2, 1)));
    }

    #[test]
    fn a_path_that_goes_by_another_edge_by_now_is_not_lost() {
        let mut paths = proved(&[1, 2]);
        let mut other = by_edge(1, 1);
        other.relay.as_mut().unwrap().return_hop = Some(SocketAddr::from(([10, 9, 9, 9], 3500)));
        paths.move_to(other, true);
        assert!(!paths.lost(by_edge(1, 1)), "the news are of the one before");
        assert_eq!(paths.active, Some(other));
        assert!(!paths.lost(by_edge(4, 1)), "nobody came by that");
    }

    #[test]
    fn with_no_other_path_media_goes_on_until_there_is_one() {
        let mut paths = proved(&[1]);
        assert!(paths.lost(by_edge(1, 1)));
        assert_eq!(paths.active, Some(by_edge(1, 1)));
        paths.received(by_edge(2, 1), 100);
        request(&mut paths, by_edge(2, 1), false);
        assert_eq!(paths.active, Some(by_edge(1, 1)), "it has proved nothing");
        paths.check([9; 12], by_edge(2, 1));
        assert!(paths.check_answered([9; 12], by_edge(2, 1)).is_some());
        assert_eq!(paths.active, Some(by_edge(2, 1)));
        // Both are lost, and one of them is heard again.
        assert!(paths.lost(by_edge(2, 1)));
        assert_eq!(paths.active, Some(by_edge(2, 1)));
        request(&mut paths, by_edge(1, 1), false);
        assert_eq!(paths.active, Some(by_edge(1, 1)));
    }

    #[test]
    fn an_edge_that_comes_back_is_used_again_when_the_client_uses_it() {
        for use_candidate in [true, false] {
            let mut paths = proved(&[1, 2]);
            paths.lost(by_edge(1, 1));
            request(&mut paths, by_edge(1, 1), use_candidate);
            let nominated = if use_candidate { 1 } else { 2 };
            assert_eq!(paths.active, Some(by_edge(nominated, 1)));
            paths.move_to(by_edge(1, 1), true);
            assert_eq!(paths.active, Some(by_edge(1, 1)));
            assert!(paths.lost(by_edge(1, 1)), "it was heard in between");
        }
    }

    #[test]
    fn before_a_path_is_active_a_lost_one_is_the_last_choice() {
        let mut paths = Paths::new(Instant::now());
        for site in [1, 2] {
            paths.received(by_edge(site, 1), 100);
            request(&mut paths, by_edge(site, 1), false);
        }
        paths.check([9; 12], by_edge(1, 1));
        paths.check_answered([9; 12], by_edge(1, 1));
        assert_eq!(paths.media(route(1).client), Some(by_edge(1, 1)));
        paths.lost(by_edge(1, 1));
        assert_eq!(paths.media(route(1).client), Some(by_edge(2, 1)));
    }

    #[test]
    fn another_cluster_relay_is_answered_through_once_the_client_is_heard_by_it() {
        let mut paths = proved(&[1, 2]);
        for relay in [2, 1] {
            request(&mut paths, by_edge(2, relay), false);
            let moved = paths.spend(by_edge(2, 1), 1000);
            assert_eq!(moved, Some((by_edge(2, relay), Standing::Proved)));
        }
        paths.check([9; 12], by_edge(1, 1));
        paths.check_answered([9; 12], by_edge(1, 2));
        let moved = paths.spend(by_edge(1, 1), 1000);
        assert_eq!(moved, Some((by_edge(1, 2), Standing::Proved)));
        // Whichever relay tells of it, the edge is the same.
        assert!(paths.lost(by_edge(1, 1)));
        assert_eq!(paths.active, Some(by_edge(2, 1)));
    }
}
