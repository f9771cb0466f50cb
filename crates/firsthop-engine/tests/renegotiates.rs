//! Offers in mid-call: ICE restarts, other m-lines, mistakes.

mod common;

use std::time::Duration;

use common::{FRAME, World, opus_packets, shard_address, sweep};
use firsthop_engine::{DropReason, Event};
use str0m::media::{Direction, MediaKind};

/// The server ufrag that an answer names.
fn ufrag(answer: &str) -> String {
    let mut lines = answer.lines();
    let line = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    line.unwrap().to_owned()
}

/// Both sides speak for two seconds; everything arrives.
fn speak(world: &mut World, client: usize, utterance: u64) {
    let (heard, said) = (
        world.clients[client].heard.len(),
        world.audio_of(client).len(),
    );
    world.speak(client, &opus_packets(&sweep(2000)));
    world.command(firsthop_engine::shard::Command::Play {
        session: world.clients[client].session,
        utterance,
        pcm: sweep(2000),
        complete: true,
    });
    world.run(Duration::from_millis(2500));
    let frames = 2000 / FRAME.as_millis() as usize;
    assert!(world.clients[client].heard.len() - heard >= frames);
    assert!(world.audio_of(client).len() - said >= frames);
    assert_eq!(world.gaps(client), 0);
}

#[test]
fn an_ice_restart_keeps_the_call_and_names_the_same_owner() {
    for mut world in [World::direct(), World::relayed()] {
        let client = world.connected_call();
        let before = ufrag(&world.clients[client].answer);
        speak(&mut world, client, 1);
        world.renegotiate(client, |api| {
            api.ice_restart(true);
        });
        let after = ufrag(&world.clients[client].answer);
        assert_ne!(before, after);
        assert_eq!(world.owner_of(&after), shard_address());
        speak(&mut world, client, 2);
        world.run(Duration::from_secs(40));
        speak(&mut world, client, 3);
        assert!(world.clients[client].rtc.is_alive());
    }
}

#[test]
fn a_client_that_moves_and_restarts_is_found_by_its_new_name_only() {
    let mut world = World::relayed();
    let client = world.connected_call();
    speak(&mut world, client, 1);
    // Wi-Fi is gone, and the mobile network has another address.
    world.clients[client].address = common::address("203.0.113.77:50123");
    world.renegotiate(client, |api| {
        api.ice_restart(true);
    });
    world.run(Duration::from_secs(3));
    speak(&mut world, client, 2);
}

#[test]
fn names_of_before_are_forgotten_and_the_shard_stays_small() {
    let mut world = World::direct();
    let client = world.connected_call();
    for _ in 0..20 {
        world.renegotiate(client, |api| {
            api.ice_restart(true);
        });
        world.run(Duration::from_secs(2));
    }
    let [sessions, ufrags, ..] = world.shard.remembered();
    assert_eq!((sessions, ufrags), (1, 2));
    speak(&mut world, client, 1);
    world.hang_up(client);
    world.run(Duration::from_secs(2));
    assert_eq!(world.shard.remembered(), [0; 4]);
}

#[test]
fn a_second_microphone_is_a_second_line_and_the_first_goes_on() {
    let mut world = World::direct();
    let client = world.connected_call();
    world.renegotiate(client, |api| {
        api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
    });
    world.run(Duration::from_secs(1));
    speak(&mut world, client, 1);
}

#[test]
fn when_the_first_line_ends_the_agent_speaks_on_the_second() {
    let mut world = World::direct();
    let client = world.connected_call();
    speak(&mut world, client, 1);
    let mut second = None;
    let first = world.clients[client].mid;
    world.renegotiate(client, |api| {
        second = Some(api.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None));
        api.set_direction(first, Direction::Inactive);
    });
    world.clients[client].mid = second.unwrap();
    world.clients[client].heard.clear();
    world.run(Duration::from_secs(1));
    speak(&mut world, client, 2);
}

#[test]
fn a_wrong_offer_is_refused_and_the_call_goes_on() {
    let mut world = World::direct();
    let client = world.connected_call();
    let offer = {
        let mut api = world.clients[client].rtc.sdp_api();
        api.ice_restart(true);
        api.apply().unwrap().0.to_sdp_string()
    };
    let other_identity: Vec<_> = offer
        .lines()
        .map(|line| match line.strip_prefix("a=fingerprint:") {
            Some(_) => format!("a=fingerprint:sha-256 {}", ["AB"; 32].join(":")),
            None => line.to_owned(),
        })
        .collect();
    for (wrong, said) in [
        ("nonsense".to_owned(), "expected 'x=value'"),
        (
            other_identity.join("\r\n") + "\r\n",
            "a new DTLS identity takes a new call",
        ),
    ] {
        let error = world.offer_again(client, &wrong).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    speak(&mut world, client, 1);
    assert_eq!(world.shard.remembered()[1], 1);
}

#[test]
fn keys_are_told_once_each_in_order() {
    let mut world = World::direct();
    let client = world.connected_call();
    for (n, event) in [5, 5, 11].into_iter().enumerate() {
        let begin = 48_000 + n as u32 * 9600;
        for (end, duration) in [(0, 960u16), (0, 1920), (0x80, 2880), (0x80, 2880)] {
            let [high, low] = duration.to_be_bytes();
            world.press(client, begin, [event, end | 10, high, low]);
            world.run(FRAME);
        }
    }
    world.run(Duration::from_millis(100));
    let said = world.said(client);
    let digits = said.iter().filter_map(|event| match event {
        Event::Digit { digit, .. } => Some(*digit),
        _ => None,
    });
    assert_eq!(digits.collect::<String>(), "55#");
    assert_eq!(world.dropped(DropReason::Malformed), 0);
}
