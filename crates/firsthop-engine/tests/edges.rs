//! Two edge relays stand in front of the cluster, and the answer names both: when the one by which
//! a call goes falls silent, the call goes on by the other.

mod common;

use std::time::Duration;

use common::edges::edge_addresses;
use common::{FRAME, World, opus_packets, sweep};
use firsthop_engine::shard::{Command, RelayLink};
use firsthop_engine::{DropReason, Event};
use firsthop_wire::hop::{self, HopSecrets};
use str0m::change::SdpApi;

/// A client in a call, the agent talking for half a minute.
fn call(world: &mut World) -> usize {
    let client = world.connected_call();
    world.play(client, 30_000);
    world.run(Duration::from_secs(3));
    assert_eq!(world.gaps(client), 0);
    client
}

/// Packets of sound that `client` gets by each edge relay within a second.
fn media(world: &mut World) -> [u64; 2] {
    let before = world.media_by_socket;
    world.run(Duration::from_secs(1));
    [0, 1].map(|edge| world.media_by_socket[edge] - before[edge])
}

fn paths_lost(world: &World) -> u64 {
    let lost = &world.counters.paths_lost;
    lost.load(std::sync::atomic::Ordering::Relaxed)
}

/// The addresses that an answer names, and with which priority.
fn candidates(answer: &str) -> Vec<(String, u32)> {
    let lines = answer.lines();
    let lines = lines.filter_map(|line| line.strip_prefix("a=candidate:"));
    let parts = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    let udp = parts.filter(|parts| parts[2] == "udp");
    udp.map(|parts| (parts[4].to_owned(), parts[3].parse().unwrap()))
        .collect()
}

#[test]
fn the_answer_names_addresses_in_the_order_of_preference_and_so_do_later_ones() {
    let mut world = World::behind_edges();
    let named = ["192.0.2.2:3478", "[2001:db8::7]:3478", "192.0.2.1:3478"];
    world.advertised = named.map(common::address).to_vec();
    let client = world.connected_call();
    let first = candidates(&world.clients[client].answer);
    let expected = world.advertised.iter().map(|named| named.ip().to_string());
    assert!(expected.eq(first.iter().map(|(named, _)| named.clone())));
    assert!(first.is_sorted_by(|(_, higher), (_, lower)| higher > lower));
    // Others by now, as they are for new sessions.
    world.advertised.truncate(1);
    let more = |api: &mut SdpApi<'_>| {
        let sends = str0m::media::Direction::SendRecv;
        api.add_media(str0m::media::MediaKind::Audio, sends, None, None, None);
    };
    let restart = |api: &mut SdpApi<'_>| {
        api.ice_restart(true);
    };
    world.renegotiate(client, more);
    assert_eq!(candidates(&world.clients[client].answer), first);
    world.renegotiate(client, restart);
    assert_eq!(candidates(&world.clients[client].answer), first);
    world.run(Duration::from_secs(2));
    assert!(world.dropped(DropReason::UnknownSession) == 0);
}

#[test]
fn a_call_goes_by_the_edge_that_the_answer_prefers() {
    for order in [[0, 1], [1, 0]] {
        let mut world = World::behind_edges();
        world.advertised = order.map(|edge| edge_addresses()[edge]).to_vec();
        call(&mut world);
        let media = media(&mut world);
        assert!(media[order[0]] >= 50, "{media:?}");
        assert_eq!(media[order[1]], 0);
    }
}

#[test]
fn when_an_edge_is_lost_sound_goes_on_by_the_other_within_a_packet() {
    let mut world = World::behind_edges();
    let client = call(&mut world);
    let session = world.clients[client].session;
    world.edges().alive[0] = false;
    let before = world.clients[client].heard.len();
    world.run(Duration::from_secs(1));
    assert!(world.edges().told > 0);
    assert_eq!(paths_lost(&world), 1, "however often it was told");
    let gaps = world.gaps(client);
    assert!(gaps <= 1, "{gaps} packets are missing");
    let heard = &world.clients[client].heard[before - 1..];
    let pause = heard.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(pause.unwrap() <= FRAME * 2 + FRAME / 10, "{pause:?}");
    assert!(media(&mut world)[1] >= 50);

    // The client finds out by itself, and then it is heard too.
    world.run(Duration::from_secs(30));
    world.speak(client, &opus_packets(&sweep(1000)));
    let position = world.audio_of(client).len();
    world.run(Duration::from_secs(1));
    assert!(world.audio_of(client).len() >= position + 45);
    assert_eq!(world.closed(session), None);
}

#[test]
fn a_path_that_the_client_checks_only_when_the_first_is_silent_is_proved_by_that_check() {
    let mut world = World::behind_edges();
    // As Chromium, which asks by the second address once the first has been silent for a while.
    world.edges().alive[1] = false;
    let client = world.connected_call();
    world.play(client, 60_000);
    world.run(Duration::from_secs(2));
    assert_eq!(media(&mut world)[1], 0);
    world.edges().alive = [false, true];
    for _ in 0..1000 {
        if world.edges().brought[1] > 0 {
            break;
        }
        world.run(FRAME / 4);
    }
    assert!(world.edges().brought[1] > 0);
    world.run(FRAME * 5);
    assert!(world.media_by_socket[1] > 0);
}

#[test]
fn an_edge_that_comes_back_has_the_call_again_when_the_client_sends_by_it() {
    let mut world = World::behind_edges();
    let client = call(&mut world);
    let from = world.clients[client].address;
    world.lose_up = Some(|_| true);
    world.tell_of(0, from);
    world.run(FRAME);
    let [first, second] = media(&mut world);
    assert!(first == 0 && second >= 50, "{first} by the lost one");
    world.lose_up = None;
    world.speak(client, &opus_packets(&sweep(200)));
    world.run(FRAME * 2);
    let [first, second] = media(&mut world);
    assert!(first >= 50 && second == 0, "{second} by the other one");
    assert_eq!(world.gaps(client), 0);
    assert_eq!(paths_lost(&world), 1);
}

#[test]
fn news_of_edges_that_nobody_came_by_change_nothing_and_keep_nothing() {
    let mut world = World::behind_edges();
    let client = call(&mut world);
    let remembered = world.shard.remembered();
    for port in 1..1000 {
        let stranger = std::net::SocketAddr::from(([198, 51, 100, 99], port));
        for edge in [0, 1] {
            world.tell_of(edge, stranger);
        }
    }
    let media = media(&mut world);
    assert_eq!(world.shard.remembered(), remembered);
    assert!(media[0] >= 50 && media[1] == 0);
    assert_eq!((paths_lost(&world), world.gaps(client)), (0, 0));
    let dropped = DropReason::ALL.map(|reason| world.dropped(reason));
    assert_eq!(dropped, [0; DropReason::ALL.len()]);
}

#[test]
fn when_a_cluster_relay_is_gone_answers_follow_the_next_packet_by_another() {
    let mut world = World::behind_edges();
    let client = call(&mut world);
    world.speak(client, &opus_packets(&sweep(4000)));
    world.run(Duration::from_secs(1));
    assert_eq!(world.gaps(client), 0);
    // What is sent to the first from here on is lost.
    world.edges().relay = 1;
    world.run(Duration::from_secs(2));
    assert!(world.gaps(client) <= 1);
    assert!(world.passed_down[1] >= 98);
    let heard = &world.clients[client].heard;
    let pause = heard.windows(2).map(|pair| pair[1].at - pair[0].at).max();
    assert!(pause.unwrap() <= FRAME * 2 + FRAME / 10, "{pause:?}");
}

#[test]
fn secrets_change_under_a_call_and_nothing_is_dropped() {
    let secrets = |ids: &[u8]| {
        let mut secrets = HopSecrets::default();
        for &id in ids {
            secrets.insert(id, &[0x10 + id; hop::SECRET_LEN]);
        }
        secrets
    };
    let link = |ids: &[u8], id| {
        let link = RelayLink::new(&secrets(ids), id, common::shard_address());
        Command::Link(Box::new(link))
    };
    let mut world = World::behind_edges();
    world.command(link(&[0], 0));
    (world.edges().secrets, world.edges().key_id) = (secrets(&[0]), 0);
    let client = call(&mut world);
    world.speak(client, &opus_packets(&sweep(10_000)));
    let (first, since) = (world.audio_of(client).len(), world.now);
    // Whoever takes records has the new one before anybody seals under it.
    world.run(Duration::from_secs(2));
    world.edges().secrets = secrets(&[0, 1]);
    world.run(Duration::from_secs(2));
    world.command(link(&[0, 1], 1));
    world.run(Duration::from_secs(2));
    world.edges().key_id = 1;
    world.run(Duration::from_secs(2));
    world.edges().secrets = secrets(&[1]);
    world.command(link(&[1], 1));
    world.run(Duration::from_secs(2));
    assert_eq!(world.gaps(client), 0);
    assert_eq!(world.edges().refused, 0);
    let dropped = DropReason::ALL.map(|reason| world.dropped(reason));
    assert_eq!(dropped, [0; DropReason::ALL.len()]);
    let frames = (world.now - since).as_millis() / FRAME.as_millis();
    let heard = world.audio_of(client).len() - first;
    assert!(heard as u128 >= frames - 2, "{heard} of {frames}");
    assert!(
        !world
            .events
            .iter()
            .any(|(_, event)| matches!(event, Event::Closed { .. }))
    );

    // Under the old one nothing is taken any more.
    world.edges().secrets = secrets(&[0]);
    world.edges().key_id = 0;
    world.run(Duration::from_secs(3));
    assert!(world.dropped(DropReason::HopUnknownKey) > 0);
    assert!(world.edges().refused > 0);
}
