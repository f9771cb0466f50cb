//! *No byte from the network can panic*: datagrams of every length, and of every first byte.

mod common;

use common::*;
use firsthop_relay::DropReason;
use firsthop_wire::MAX_CLIENT_DATAGRAM;
use firsthop_wire::hop::{self, Flags};

const MAX_UDP_PAYLOAD: usize = 65507;

#[test]
fn only_lengths_that_a_client_sends_pass() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let longest = vec![0x80; MAX_UDP_PAYLOAD];
    for length in 0..=MAX_UDP_PAYLOAD {
        let expected = match length {
            0 => Err(DropReason::Empty),
            1..=MAX_CLIENT_DATAGRAM => Ok(owner()),
            _ => Err(DropReason::Oversize),
        };
        assert_eq!(
            scene.routed(client(), &longest[..length]),
            expected,
            "{length} bytes"
        );
    }
}

#[test]
fn a_datagram_between_hops_may_have_any_length() {
    let mut scene = Scene::new();
    let header = down(client(), Flags::CONFIRM, START_UNIX);
    let full = sealed(&header, owner(), &vec![0x80; MAX_UDP_PAYLOAD - 24]);
    assert_eq!(full.len(), MAX_UDP_PAYLOAD);
    for length in 0..=MAX_UDP_PAYLOAD {
        let delivered = scene.down(owner(), &full[..length]).len();
        assert_eq!(
            delivered,
            usize::from(length == MAX_UDP_PAYLOAD),
            "{length} bytes"
        );
    }
    assert_eq!(
        scene.drops(),
        [(DropReason::HopMalformed, MAX_UDP_PAYLOAD as u64)]
    );
}

#[test]
fn every_first_byte_is_judged_by_its_range() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    for byte in 0..=u8::MAX {
        let expected = match byte {
            0..=3 => Err(DropReason::StunMalformed),
            20..=63 | 128..=191 => Ok(owner()),
            _ => Err(DropReason::UnknownProtocol),
        };
        assert_eq!(
            scene.routed(client(), &[byte; 60]),
            expected,
            "first byte {byte}"
        );
    }
}

#[test]
fn a_hop_record_at_a_public_socket_goes_nowhere() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let record = sealed(&down(client(), Flags::RELEASE, START_UNIX), owner(), &rtp());
    for source in [client(), owner()] {
        assert_eq!(
            scene.routed(source, &record),
            Err(DropReason::UnknownProtocol)
        );
    }
    assert_eq!(scene.forwarder.flows(), 1);
}

#[test]
fn a_client_address_that_no_answer_reaches_gets_no_further() {
    let mut scene = Scene::new();
    for source in [
        "198.51.100.20:0",
        "0.0.0.0:5000",
        "255.255.255.255:5000",
        "[fe80::1]:5000",
    ] {
        let request = binding_request(&ufrag(owner()));
        assert_eq!(
            scene.routed(address(source), &request),
            Err(DropReason::ClientAddress)
        );
    }
}

#[test]
fn random_bytes_from_either_side_neither_panic_nor_pass() {
    let mut scene = Scene::new();
    scene.establish(client(), owner());
    let mut random = Random(0xFEED_F00D_DEAD_BEEF);
    let mut bytes = [0; 300];
    let request = binding_request(&ufrag(owner()));
    let record = sealed(&down(client(), Flags::CONFIRM, START_UNIX), owner(), &rtp());
    for _ in 0..50_000 {
        random.fill(&mut bytes);
        let length = random.next() as usize % bytes.len();
        let _ = scene.up(client(), &bytes[..length]);
        assert_eq!(scene.down(owner(), &bytes[..length]), []);
        // Near misses go deeper into the parsers than noise.
        for valid in [&request, &record] {
            let mut near = valid.clone();
            let position = random.next() as usize % near.len();
            near[position] = random.next() as u8;
            near.truncate(random.next() as usize % (near.len() + 1));
            let _ = scene.up(client(), &near);
            let _ = scene.down(owner(), &near);
        }
    }
    assert_eq!(scene.routed(client(), &rtp()), Ok(owner()));
    assert_eq!(hop::records(&record).count(), 1);
}
