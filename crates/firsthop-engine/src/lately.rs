//! What was sent lately, to be sent again when the client is heard by another relay.
//!
//! A relay is left because it is going, or because the network balances flows anew. What it passes
//! on from then on may not arrive: a balancer that translates addresses knows the flow by the new
//! relay only, and the client takes nothing from elsewhere. We learn of it with the client's next
//! packet. What went the old way until then goes by the new one again; SRTP drops what did arrive
//! (RFC 3711 section 3.3.2).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::path::Route;

/// A client that talks is heard every 20 ms, and a relay that does not know its flow may take 50
/// to find out.
const KEPT: Duration = Duration::from_millis(100);
/// Those of 100 ms, and one that waited for its turn.
const MOST: usize = 6;
/// Where every packet comes by another relay, each would bring all of them again.
const AGAIN: Duration = Duration::from_secs(1);

/// Media packets as they were sent, and the route of the last.
#[derive(Default)]
pub(crate) struct Lately {
    packets: VecDeque<(Instant, Vec<u8>)>,
    route: Option<Route>,
    repeated: Option<Instant>,
}

impl Lately {
    /// Keeps a packet that goes by `route` now.
    pub(crate) fn sent(&mut self, now: Instant, route: Route, packet: &[u8]) {
        let mut kept = if self.packets.len() < MOST {
            Vec::new()
        } else {
            self.packets.pop_front().map_or_else(Vec::new, |(_, it)| it)
        };
        kept.clear();
        kept.extend_from_slice(packet);
        self.packets.push_back((now, kept));
        self.route = Some(route);
    }

    /// By which route the last packet went.
    pub(crate) fn route(&self) -> Option<Route> {
        self.route
    }

    /// Follows the client to `route`. Returns what may be missing, in the order in which it was
    /// sent; nothing if it is the same relay, or another address of the client: that one was not
    /// left by it being balanced anew.
    pub(crate) fn follow(&mut self, now: Instant, route: Route) -> Vec<Vec<u8>> {
        let Some(before) = self.route.replace(route) else {
            return Vec::new();
        };
        let recent = |at: Instant, within| now.saturating_duration_since(at) < within;
        let moved = before.path() == route.path() && before.relay != route.relay;
        if !moved || self.repeated.is_some_and(|at| recent(at, AGAIN)) {
            return Vec::new();
        }
        self.repeated = Some(now);
        let packets = self.packets.drain(..);
        let missing = packets.filter(|&(at, _)| recent(at, KEPT));
        missing.map(|(_, packet)| packet).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::path::RelayHop;

    fn by(relay: u8, client: u16) -> Route {
        Route {
            client: SocketAddr::from(([192, 0, 2, 1], client)),
            relay: Some(RelayHop {
                address: SocketAddr::from(([10, 0, 0, relay], 3479)),
                ingress: 0,
                return_hop: None,
            }),
        }
    }

    fn after(packets: u8) -> (Lately, Instant) {
        let (mut lately, start) = (Lately::default(), Instant::now());
        let mut now = start;
        for number in 0..packets {
            now = start + Duration::from_millis(20) * u32::from(number);
            lately.sent(now, by(1, 1000), &[number]);
        }
        (lately, now)
    }

    #[test]
    fn what_was_sent_lately_goes_by_the_new_relay_again_in_order() {
        let (mut lately, now) = after(20);
        assert!(lately.follow(now, by(1, 1000)).is_empty(), "nothing moved");
        let again = lately.follow(now, by(2, 1000));
        assert_eq!(again, [[15], [16], [17], [18], [19]]);
        assert_eq!(lately.route(), Some(by(2, 1000)));
    }

    #[test]
    fn what_is_old_does_not() {
        let (mut lately, now) = after(20);
        let later = now + KEPT;
        assert!(lately.follow(later, by(2, 1000)).is_empty());
    }

    #[test]
    fn another_address_of_the_client_brings_nothing_again() {
        let (mut lately, now) = after(20);
        assert!(lately.follow(now, by(2, 2000)).is_empty());
    }

    #[test]
    fn a_client_that_comes_by_two_relays_in_turn_brings_it_once_a_second() {
        let (mut lately, now) = after(3);
        assert_eq!(lately.follow(now, by(2, 1000)).len(), 3);
        lately.sent(now, by(2, 1000), &[9]);
        assert!(lately.follow(now, by(1, 1000)).is_empty());
        lately.sent(now + AGAIN, by(1, 1000), &[10]);
        assert_eq!(lately.follow(now + AGAIN, by(2, 1000)), [[10]]);
    }
}
