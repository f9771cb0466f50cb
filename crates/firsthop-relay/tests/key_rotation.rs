//! Keys rotate on edges, relays and owners in any order, in mid-call and within a tick, and no
//! packet is lost: first everybody gets the new key, then everybody seals under it, then the old
//! one goes.

mod common;

use common::chain::*;
use common::*;
use firsthop_wire::hop::Flags;

const OLD: u8 = 1;
const NEW: u8 = 2;

/// Whose keys change.
#[derive(Debug, Clone, Copy)]
enum Who {
    Edge,
    Relays,
    Owners,
}

const ORDERS: [[Who; 3]; 6] = [
    [Who::Edge, Who::Relays, Who::Owners],
    [Who::Edge, Who::Owners, Who::Relays],
    [Who::Relays, Who::Edge, Who::Owners],
    [Who::Relays, Who::Owners, Who::Edge],
    [Who::Owners, Who::Edge, Who::Relays],
    [Who::Owners, Who::Relays, Who::Edge],
];

/// A cluster in the middle of a rotation, and a call.
struct Rotation {
    chain: Chain,
    call: Arrived,
    /// What owners seal under, tokens as well.
    owners_seal: u8,
}

impl Rotation {
    fn new() -> Self {
        let mut chain = Chain::new();
        let call = chain.call(client(), Name::A);
        Self {
            chain,
            call,
            owners_seal: OLD,
        }
    }

    fn set(&mut self, who: Who, ids: &[u8], seal: u8) {
        let now = self.chain.edge.now;
        match who {
            Who::Edge => {
                let clusters = [Name::A, Name::B].map(|name| behind(name, ids, seal));
                self.chain.edge.forwarder.set_clusters(now, &clusters, &[]);
            }
            Who::Relays => {
                for relay in &mut self.chain.relays {
                    let clusters = [reached(relay.name, ids, seal)];
                    let edges = ["192.0.2.0/24".parse().unwrap()];
                    relay.scene.forwarder.set_clusters(now, &clusters, &edges);
                }
            }
            Who::Owners => {
                self.chain.owner_keys = ids.to_vec();
                self.owners_seal = seal;
            }
        }
    }

    /// The call goes on, a new one begins, and probes are answered.
    fn works(&mut self, about: &str) {
        let seal = self.owners_seal;
        let media = self.chain.up(client(), &rtp()).unwrap();
        let media = media.unwrap_or_else(|| panic!("lost on the way up: {about}"));
        assert_eq!(media.owner, self.call.owner);
        let down = self
            .chain
            .answer_under(seal, &media, Flags::default(), &rtp());
        assert_eq!(down.len(), 1, "lost on the way down: {about}");

        let newcomer = address("198.51.100.9:1");
        let token = token_of(Name::A, seal, Name::A.id(), Name::A.owner());
        let request = binding_request(&token);
        let arrived = self.chain.up(newcomer, &request).unwrap().unwrap();
        let flags = Flags::CONFIRM | Flags::PATH;
        let answered = self
            .chain
            .answer_under(seal, &arrived, flags, &binding_success());
        assert_eq!(answered.len(), 1, "{about}");
        let ended = self
            .chain
            .answer_under(seal, &arrived, Flags::RELEASE, &rtp());
        assert_eq!(ended.len(), 1, "{about}");

        self.chain.wait_ms(51);
        self.chain.edge.forwarder.changed_next_hops();
        assert_eq!(self.chain.drops(), [], "{about}");
    }
}

#[test]
fn no_packet_is_lost_in_whatever_order_keys_are_rotated() {
    for first in ORDERS {
        for second in ORDERS {
            for third in ORDERS {
                let mut rotation = Rotation::new();
                rotation.works("before");
                let about = format!("{first:?}, {second:?}, {third:?}");
                for who in first {
                    rotation.set(who, &[OLD, NEW], OLD);
                    rotation.works(&about);
                }
                for who in second {
                    rotation.set(who, &[OLD, NEW], NEW);
                    rotation.works(&about);
                }
                for who in third {
                    rotation.set(who, &[NEW], NEW);
                    rotation.works(&about);
                }
                assert_eq!(
                    rotation.chain.edge.now.unix_seconds, START_UNIX,
                    "in one tick"
                );
            }
        }
    }
}

#[test]
fn who_keeps_a_key_that_is_gone_is_refused() {
    let mut rotation = Rotation::new();
    for who in [Who::Relays, Who::Owners] {
        rotation.set(who, &[NEW], NEW);
    }
    assert_eq!(rotation.chain.up(client(), &rtp()), Ok(None));
    let drops = rotation.chain.drops();
    assert_eq!(drops, [(firsthop_relay::DropReason::HopUnknownKey, 1)]);
}
