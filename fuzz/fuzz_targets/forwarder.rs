//! Invariant: whatever clients and owners send a relay, nothing panics; a client's packet leaves
//! only for an owner inside the cluster's networks; a packet for a client comes only from an owner
//! whose MAC is right; and no more flows are kept than there is room for.
//!
//! Input: steps of four bytes (what happens, to whom, flags or seconds, a length) and as many bytes
//! of payload. Tokens and headers are sealed here: no fuzzer guesses a tag.

#![no_main]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use firsthop_relay::forwarder::{Now, Verdict};
use firsthop_relay::{Cluster, Counters, DEFAULT_FLOW_IDLE, Forwarder, Notice, RelayConfig};
use firsthop_wire::hop::{self, Direction, Flags, Header, HopSecrets};
use firsthop_wire::token::{self, Claims, Owner, TokenKeys};
use libfuzzer_sys::fuzz_target;

const START: u64 = 1_800_000_000;
const CAPACITY: usize = 4;

fn address(a: u8, b: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([a, 0, 0, b], port))
}

/// Eight clients, more than there is room for.
fn client(who: u8) -> SocketAddr {
    address(198, 1 + who % 8, 50_000)
}

/// Two owners inside the cluster, one outside.
fn owner(who: u8) -> SocketAddr {
    address(10 + who % 3 / 2, 1 + who % 3, 4000)
}

fn token_keys() -> TokenKeys {
    let mut keys = TokenKeys::default();
    keys.insert(0, &[1; token::MASTER_LEN]);
    keys
}

fn hop_secrets() -> HopSecrets {
    let mut secrets = HopSecrets::default();
    secrets.insert(0, &[2; hop::SECRET_LEN]);
    secrets
}

fn config() -> RelayConfig {
    RelayConfig {
        listen: vec![address(192, 1, 3478)],
        tcp_listen: Vec::new(),
        tcp_connections: 100,
        tcp_connections_per_address: 10,
        upstream: address(10, 9, 3479),
        workers: 1,
        pin: false,
        busy_poll: Duration::ZERO,
        flow_capacity: CAPACITY,
        flow_idle: DEFAULT_FLOW_IDLE,
        look_up: true,
        token_keys: token_keys(),
        hop_secrets: hop_secrets(),
        hop_key_id: 0,
        clusters: vec![Cluster {
            id: 1,
            prefix: None,
            networks: vec!["10.0.0.0/8".parse().expect("a network")],
            ports: 4000..=4000,
        }],
    }
}

/// A binding request whose USERNAME begins with a token for `owner`.
fn binding_request(owner: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(owner) = owner else {
        unreachable!("owners are IPv4")
    };
    let expiry_slot = token::slot_at(START + 3600);
    let claims = Claims {
        cluster: 1,
        owner: Owner::V4(owner),
        expiry_slot,
    };
    let ufrag = token_keys()
        .seal(0, &claims, [0; 6])
        .expect("key 0 is there");
    let username = format!("{ufrag}:abc");
    let length = username.len() as u16;
    let mut message = vec![0, 1, 0, 4 + length as u8, 0x21, 0x12, 0xA4, 0x42];
    message.extend([7; 12]);
    message.extend([0, 6, 0, length as u8]);
    message.extend(username.bytes());
    message
}

/// A record as `owner` would send it, with the flags that `bits` says.
fn record(now: Now, owner: SocketAddr, client: SocketAddr, bits: u8, payload: &[u8]) -> Vec<u8> {
    let all = [
        Flags::CONFIRM,
        Flags::PATH,
        Flags::RELEASE,
        Flags::NO_SESSION,
    ];
    let set = all
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| bits >> bit & 1 == 1);
    let header = Header {
        direction: Direction::Down,
        flags: set.fold(Flags::default(), |flags, (_, flag)| flags | flag),
        key_id: 0,
        hop_limit: hop::HOP_LIMIT,
        tick: hop::tick_at(now.unix_seconds),
        client,
        ingress: 0,
        return_hop: None,
    };
    let key = hop_secrets().pair(0, owner).expect("secret 0 is there");
    let mut datagram = Vec::new();
    header.seal(&key).write_record(payload, &mut datagram);
    datagram
}

fn first_octet(address: SocketAddr) -> String {
    let text = address.to_string();
    text.split('.').next().unwrap_or_default().to_owned()
}

fuzz_target!(|data: &[u8]| {
    let mut forwarder = Forwarder::new(&config(), Arc::new(Counters::default()));
    let mut seconds = 0;
    let mut rest = data;
    while let Some((&[what, who, bits, length], after)) = rest.split_first_chunk::<4>() {
        let (payload, next) = after.split_at(usize::from(length).min(after.len()));
        rest = next;
        let now = Now {
            elapsed: Duration::from_secs(seconds),
            unix_seconds: START + seconds,
        };
        let (client, owner) = (client(who), owner(who >> 4));
        let (ingress, egress) = match what % 7 {
            0 => (Some(payload.to_vec()), None),
            1 => (Some(binding_request(owner)), None),
            2 => (None, Some((payload.to_vec(), false))),
            3 => (
                None,
                Some((record(now, owner, client, bits, payload), true)),
            ),
            4 => {
                seconds += u64::from(bits);
                forwarder.give_up_parked(now);
                forwarder.expire(now);
                (None, None)
            }
            5 => {
                // Somebody answers what was asked, and somebody says what nobody asked.
                let asked: Vec<_> = forwarder.take_notices().collect();
                for notice in asked {
                    if let Notice::LookUp { flow } = notice {
                        forwarder.answer(now, &flow, (bits & 1 == 1).then_some(owner));
                    }
                }
                if let Some(flow) = payload.first_chunk() {
                    forwarder.answer(now, flow, Some(owner));
                }
                for ready in forwarder.take_ready() {
                    assert_eq!(first_octet(ready.to), "10", "left for {}", ready.to);
                }
                (None, None)
            }
            _ => {
                // Another process takes over, and is told nonsense besides.
                let mut next = Forwarder::new(&config(), Arc::new(Counters::default()));
                let page = forwarder.export(now, 0).unwrap_or_default();
                next.restore(now, &page);
                next.restore(now, &forwarder.changes());
                assert_eq!(next.flows(), forwarder.flows());
                next.restore(now, payload);
                forwarder = next;
                (None, None)
            }
        };
        if let Some(packet) = ingress
            && let Verdict::Forward { to, .. } = forwarder.ingress(now, client, 0, &packet)
        {
            assert_eq!(first_octet(to), "10", "left for {to}");
        }
        if let Some((datagram, sealed)) = egress {
            forwarder.egress(now, owner, &datagram, |delivery| {
                assert!(sealed, "nobody sealed what was delivered");
                assert_eq!(delivery.client, client);
                assert_ne!(first_octet(owner), "11", "an outsider");
            });
        }
        assert!(forwarder.flows() <= CAPACITY);
    }
});
