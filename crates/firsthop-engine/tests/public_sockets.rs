//! A relay has several public sockets, UDP and TCP ones, and the same client address may come by
//! two of them: a client's UDP and TCP ports are chosen apart, and may be equal. What was proved
//! by one counts for that one only.

mod common;

use std::time::Duration;

use common::{Arrival, World, address, public_address, public_tcp_addresses};
use firsthop_wire::stun::{Binding, Class};
use str0m::config::DtlsVersion;

fn requests(recorded: Vec<Arrival>) -> Vec<Arrival> {
    let mut requests = recorded;
    requests.retain(|arrival| {
        Binding::parse(&arrival.bytes).is_ok_and(|binding| binding.class == Class::BindingRequest)
    });
    requests
}

#[test]
fn the_answer_names_tcp_addresses_below_all_udp_ones() {
    let mut world = World::relayed();
    let client = world.call(DtlsVersion::Auto);
    let answer = world.clients[client].answer.lines();
    let candidates: Vec<Vec<&str>> = answer
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| line.split(' ').collect())
        .collect();
    let of = |protocol| {
        let candidates = candidates.iter().filter(move |parts| parts[2] == protocol);
        candidates.map(|parts| {
            let port = parts[5].parse().unwrap();
            let address = std::net::SocketAddr::new(parts[4].parse().unwrap(), port);
            (parts[3].parse::<u32>().unwrap(), address, &parts[6..])
        })
    };
    assert!(of("udp").all(|(_, address, _)| address == public_address()));
    let lowest = of("udp").map(|(priority, ..)| priority).min().unwrap();
    let tcp: Vec<_> = of("tcp").collect();
    for (priority, address, rest) in &tcp {
        assert!(*priority < lowest);
        assert!(public_tcp_addresses().contains(address));
        assert_eq!(rest[..4], ["typ", "host", "tcptype", "passive"]);
    }
    assert!(tcp[0].0 > tcp[1].0, "the first is preferred");
}

#[test]
fn a_client_that_cannot_send_udp_talks_over_either_ip_version() {
    for client in ["198.51.100.20:40000", "[2001:db8:2::2]:40000"] {
        let mut world = World::relayed();
        let client = world.call_by_tcp(address(client));
        world.connect(client);
        world.play(client, 2_000);
        world.run(Duration::from_secs(3));
        assert!(world.clients[client].heard.len() >= 100);
        assert_eq!(world.gaps(client), 0);
        assert_eq!(world.passed_by_socket[0], 0);
    }
}

#[test]
fn two_callers_behind_one_address_talk_one_by_udp_and_one_by_tcp() {
    let mut world = World::relayed();
    let by_udp = world.connected_call();
    let by_tcp = world.call_by_tcp(world.clients[by_udp].address);
    world.connect(by_tcp);
    for client in [by_udp, by_tcp] {
        world.play(client, 2_000);
    }
    world.run(Duration::from_secs(3));
    for client in [by_udp, by_tcp] {
        assert!(world.clients[client].heard.len() >= 100);
        assert_eq!(world.gaps(client), 0);
    }
}

#[test]
fn a_client_that_uses_the_second_socket_alone_talks() {
    let mut world = World::relayed();
    world.socket = 1;
    let client = world.connected_call();
    world.play(client, 2_000);
    world.run(Duration::from_secs(3));
    assert!(world.clients[client].heard.len() >= 100);
    assert_eq!(world.passed_by_socket[0], 0);
}

#[test]
fn a_client_that_changes_the_socket_but_not_its_address_is_followed() {
    let mut world = World::relayed();
    let client = world.connected_call();
    world.play(client, 30_000);
    world.run(Duration::from_secs(1));
    world.socket = 1;
    let followed = |world: &World| world.media_by_socket[1] > 0;
    assert!(world.run_until(Duration::from_secs(10), followed));
    let before = world.media_by_socket;
    world.run(Duration::from_secs(5));
    assert_eq!(
        world.media_by_socket[0], before[0],
        "nothing goes the old way"
    );
    assert!(world.media_by_socket[1] > before[1] + 240);
    assert_eq!(world.closed(world.clients[client].session), None);
}

#[test]
fn copied_requests_by_the_other_socket_get_no_media() {
    let mut world = World::relayed();
    let client = world.call(DtlsVersion::Auto);
    world.recorded = Some(Vec::new());
    world.connect(client);
    world.run(Duration::from_secs(3));
    world.play(client, 10_000);
    for _ in 0..90 {
        // Whoever shares the client's public IP address may have its port too, by TCP.
        for request in requests(world.recorded.replace(Vec::new()).unwrap()) {
            world.socket = 1;
            world.inject(request.from, &request.bytes);
            world.socket = 0;
        }
        world.run(Duration::from_millis(100));
    }
    assert!(
        world.passed_by_socket[1] > 0,
        "the agent answers, it cannot know"
    );
    assert_eq!(world.media_by_socket[1], 0);
    assert!(world.clients[client].heard.len() > 400);
    assert_eq!(world.gaps(client), 0);
}

#[test]
fn copied_requests_do_not_delay_a_call_by_the_other_socket() {
    let mut world = World::relayed();
    let client = world.call(DtlsVersion::Auto);
    world.recorded = Some(Vec::new());
    for _ in 0..100 {
        for request in requests(world.recorded.replace(Vec::new()).unwrap()) {
            world.socket = 1;
            world.inject(request.from, &request.bytes);
            world.socket = 0;
        }
        world.run(Duration::from_millis(10));
    }
    assert!(world.clients[client].connected && world.clients[client].channel.is_some());
    assert_eq!(world.media_by_socket[1], 0);
}
