//! Calls from offer to close, with a server that is a plain str0m peer.

mod common;

use std::time::{Duration, Instant};

use common::{Call, Config, is_dtls, lost, ms, passes, sequence};
use firsthop_load::report::{Failure, Phase};

#[test]
fn a_caller_connects_whichever_end_of_dtls_the_server_takes() {
    for server_is_active in [false, true] {
        let config = Config {
            server_is_active,
            ..Config::default()
        };
        let mut call = Call::new(&config);
        let role = if server_is_active {
            "active"
        } else {
            "passive"
        };
        assert!(call.answer.contains(&format!("a=setup:{role}")));
        assert!(call.run_until(ms(3000), |call| call.caller.counts().received >= 10));
        let report = call.caller.report();
        assert_eq!((report.phase, report.failure), (Phase::Connected, None));
        let stages = report.stages;
        assert!(stages.ice.unwrap() >= 2 * common::DELAY);
        assert!(stages.ice < stages.connected);
        assert!(stages.connected < stages.channel);
        assert!(stages.connected < stages.audio);
    }
}

#[test]
fn it_says_its_loop_at_its_pace_and_hears_it_back() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(500));
    call.caller.measure();
    call.heard.clear();
    call.run(ms(2000));
    let counts = call.caller.counts();
    assert_eq!((counts.sent, counts.received), (100, 100));
    assert_eq!(
        (counts.lost, counts.reordered, counts.duplicated),
        (0, 0, 0)
    );
    assert_eq!(counts.late, 0);
    let steps = call.heard.windows(2);
    assert!(
        steps
            .clone()
            .all(|w| w[1].0 - w[0].0 == 1 && w[1].1 - w[0].1 == 960)
    );
    // Clocks and link are exact to the step.
    let bins = call.out.gaps.bins();
    let regular: u64 = bins[76..=84].iter().sum();
    assert_eq!(regular, bins.iter().sum::<u64>());
    assert!(call.caller.report().jitter < ms(1));
}

#[test]
fn a_caller_is_woken_for_its_packets_and_for_little_else() {
    for (talks, packets) in [(true, 500), (false, 0)] {
        let config = Config {
            talks,
            ..Config::default()
        };
        let mut call = Call::connected(&config);
        call.run(ms(500));
        call.wakes = 0;
        call.run(ms(10_000));
        // Reports, checks of consent, the data channel's heartbeats.
        assert!(
            (packets..packets + 40).contains(&call.wakes),
            "{}",
            call.wakes
        );
    }
}

#[test]
fn only_its_first_packet_has_the_marker() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(2500));
    let marked = call.heard.iter().map(|&(_, _, marker)| marker);
    assert!(marked.clone().next().unwrap());
    assert_eq!(marked.filter(|&marker| marker).count(), 1);
}

#[test]
fn what_the_link_does_to_packets_is_counted_exactly() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(200));
    call.caller.measure();
    call.down = Box::new(|packet| match sequence(packet).map(|n| n % 20) {
        Some(3) => lost(),
        Some(8 | 9) => lost(),
        // Behind the next one.
        Some(13) => vec![ms(30)],
        // Once more, at once and after the next three.
        Some(17) => vec![ms(0), ms(0), ms(65)],
        _ => passes(),
    });
    // Each kind of fate 20 times, and a clean end.
    call.run(ms(400 * 20));
    call.down = Box::new(|_| passes());
    call.run(ms(200));
    let counts = call.caller.counts();
    assert_eq!(counts.lost, 3 * 20);
    assert_eq!(counts.reordered, 20);
    assert_eq!(counts.duplicated, 2 * 20);
    assert_eq!(counts.sent, counts.received + counts.lost);
    assert!(call.caller.report().jitter > Duration::ZERO);
}

#[test]
fn what_a_server_that_returns_packets_never_got_is_counted_too() {
    let is_lost = |packet: &[u8]| match sequence(packet) {
        Some(_) => lost(),
        None => passes(),
    };
    let mut call = Call::connected(&Config::default());
    // A whole loop, and with it packets that are like no other.
    call.run(ms(1200));
    let returned = call.caller.counts().returned;
    assert!(returned > 20, "{returned}");
    call.up = Box::new(is_lost);
    call.run(ms(100));
    call.up = Box::new(|_| passes());
    call.run(ms(1200));
    let counts = call.caller.counts();
    assert_eq!((counts.unreturned, counts.lost), (5, 0));
    call.down = Box::new(is_lost);
    call.run(ms(100));
    call.down = Box::new(|_| passes());
    call.run(ms(1200));
    let counts = call.caller.counts();
    assert_eq!((counts.unreturned, counts.lost), (10, 5));
}

#[test]
fn when_it_first_and_last_heard_something_is_told() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(500));
    call.down = Box::new(|_| lost());
    let cut = call.now;
    call.run(ms(300));
    let report = call.caller.report();
    let (first, newest) = report.heard.unwrap();
    assert_eq!(Some(first - call.start), report.stages.audio);
    assert!(cut - ms(20) <= newest && newest <= cut + ms(10));
}

#[test]
fn counting_begins_anew_with_what_comes_next() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(1000));
    call.down = Box::new(|packet| {
        if sequence(packet).is_some() {
            lost()
        } else {
            passes()
        }
    });
    call.run(ms(200));
    call.caller.measure();
    assert_eq!(call.caller.counts(), Default::default());
    call.run(ms(100));
    call.down = Box::new(|_| passes());
    call.run(ms(100));
    let counts = call.caller.counts();
    // Which also counts what was lost since the last packet that came.
    assert_eq!((counts.sent, counts.received, counts.lost), (10, 5, 15));
}

#[test]
fn marks_come_back_after_the_time_that_the_way_takes() {
    let config = Config {
        listens: true,
        ..Config::default()
    };
    let mut call = Call::connected(&config);
    call.run(ms(5000));
    call.down = Box::new(|_| vec![ms(40)]);
    call.run(ms(5000));
    let report = call.caller.report();
    assert_eq!(report.marks_missed, 0);
    let delays: Vec<_> = report.delays.iter().map(Duration::as_millis).collect();
    assert!((9..=10).contains(&delays.len()), "{delays:?}");
    let (before, after) = delays.split_at(5);
    assert!(before.iter().all(|&delay| delay == 10), "{delays:?}");
    assert!(after.iter().all(|&delay| delay == 50), "{delays:?}");
}

#[test]
fn a_mark_that_does_not_come_back_is_missed() {
    let config = Config {
        listens: true,
        ..Config::default()
    };
    let mut call = Call::connected(&config);
    call.mute = true;
    call.run(ms(3500));
    let report = call.caller.report();
    assert!(report.delays.is_empty());
    assert!((2..=3).contains(&report.marks_missed));
    call.caller.measure();
    assert_eq!(call.caller.report().marks_missed, 0);
}

#[test]
fn one_that_does_not_talk_sends_no_audio_and_stays_connected() {
    let config = Config {
        talks: false,
        ..Config::default()
    };
    let mut call = Call::connected(&config);
    call.run(ms(60_000));
    assert_eq!(call.heard, []);
    assert_eq!(call.caller.counts().sent, 0);
    assert_eq!(call.caller.phase(), Phase::Connected);
    let round_trip = call.caller.report().round_trip.unwrap();
    assert!((ms(10)..ms(13)).contains(&round_trip), "{round_trip:?}");
}

#[test]
fn messages_wait_for_the_channel_and_answers_are_counted() {
    let mut call = Call::new(&Config::default());
    call.send("early");
    call.run_until(ms(3000), |call| !call.messages.is_empty());
    call.send("late");
    call.run(ms(100));
    assert_eq!(call.messages, ["early", "late"]);
    assert_eq!(call.caller.counts().messages, 2);
}

#[test]
fn messages_that_are_wanted_are_kept_up_to_a_number_and_others_are_not() {
    let mut call = Call::connected(&Config::default());
    for number in 0..20 {
        call.send(&format!("handover {number}"));
        call.send("something else");
    }
    call.send(&"handover".repeat(10_000));
    call.run(ms(300));
    assert_eq!(call.caller.counts().messages, 41);
    let kept: Vec<_> = std::iter::from_fn(|| call.caller.take_message()).collect();
    let first: Vec<_> = (0..8).map(|number| format!("handover {number}")).collect();
    assert_eq!(kept, first);
}

#[test]
fn it_fails_at_ice_when_nobody_answers() {
    let mut call = Call::new(&Config::default());
    call.up = Box::new(|_| lost());
    call.run(ms(14_990));
    assert_eq!(call.caller.phase(), Phase::Connecting);
    call.run(ms(20));
    let report = call.caller.report();
    assert_eq!(
        (report.phase, report.failure),
        (Phase::Failed, Some(Failure::Ice))
    );
    assert!(call.caller.is_over());
    assert_eq!(call.caller.deadline(), None);
}

#[test]
fn it_fails_at_dtls_when_the_handshake_gets_no_further() {
    let mut call = Call::new(&Config::default());
    call.down = Box::new(|packet| if is_dtls(packet) { lost() } else { passes() });
    call.run(ms(15_010));
    let report = call.caller.report();
    assert_eq!(
        (report.phase, report.failure),
        (Phase::Failed, Some(Failure::Dtls))
    );
    assert!(report.stages.ice.is_some());
}

#[test]
fn a_call_that_nothing_comes_of_any_more_is_lost() {
    let mut call = Call::connected(&Config::default());
    call.down = Box::new(|_| lost());
    let cut = call.now;
    assert!(call.run_until(ms(60_000), |call| call.caller.is_over()));
    assert!(call.now - cut > ms(10_000));
    let report = call.caller.report();
    assert_eq!(
        (report.phase, report.failure),
        (Phase::Failed, Some(Failure::Lost))
    );
}

#[test]
fn the_server_hears_that_a_caller_hangs_up() {
    let mut call = Call::connected(&Config::default());
    call.hang_up();
    call.run(ms(200));
    assert!(call.server_closed);
    assert!(call.caller.is_over());
    assert_eq!(call.caller.report().failure, None);
    let sent = call.caller.counts().sent;
    call.run(ms(100));
    assert_eq!(call.caller.counts().sent, sent);
}

#[test]
fn a_caller_that_hangs_up_while_it_connects_is_over_soon() {
    for so_far in [0, 8, 15, 22, 30] {
        let mut call = Call::new(&Config::default());
        call.run(ms(so_far));
        call.hang_up();
        call.run(ms(210));
        assert!(call.caller.is_over(), "after {so_far} ms");
        assert_eq!(call.caller.phase(), Phase::Closed);
    }
}

#[test]
fn it_tells_that_the_server_closed() {
    let mut call = Call::connected(&Config::default());
    call.close_server();
    assert!(call.run_until(ms(300), |call| call.caller.is_over()));
    let report = call.caller.report();
    assert_eq!(report.phase, Phase::Closed);
    assert_eq!(report.failure, Some(Failure::ClosedByServer));
}

#[test]
fn one_that_is_woken_late_catches_up_a_little_and_leaves_out_the_rest() {
    let mut call = Call::connected(&Config::default());
    call.run(ms(500));
    call.caller.measure();
    call.heard.clear();
    call.oversleep(ms(200));
    call.run(ms(100));
    let counts = call.caller.counts();
    // 200 ms are 10 packets: 3 leave, and the rest is as late.
    assert!((9..=10).contains(&counts.late), "{}", counts.late);
    assert_eq!(counts.sent, 3 + 5);
    let steps = call.heard.windows(2);
    let times: Vec<_> = steps.clone().map(|w| (w[1].1 - w[0].1) / 960).collect();
    assert!(
        steps.clone().all(|w| w[1].0 - w[0].0 == 1),
        "no sequence number is left out"
    );
    assert_eq!(times.iter().filter(|&&packets| packets > 1).count(), 1);
}

#[test]
fn answers_that_cannot_be_used_are_refused() {
    let good = Call::new(&Config::default()).answer;
    let without = |attribute: &str| {
        let lines = good.lines().filter(|line| !line.contains(attribute));
        lines.map(|line| format!("{line}\r\n")).collect::<String>()
    };
    let rejected = good
        .lines()
        .map(|line| match line.strip_prefix("m=audio ") {
            Some(rest) => {
                let (_, rest) = rest.split_once(' ').unwrap();
                format!("m=audio 0 {rest}\r\n")
            }
            None => format!("{line}\r\n"),
        })
        .collect();
    for answer in [
        String::new(),
        "not SDP".to_owned(),
        good[..good.len() / 2].to_owned(),
        without("a=fingerprint"),
        without("a=ice-pwd"),
        rejected,
    ] {
        let (waiting, _) = common::offer(Instant::now(), &Config::default());
        let Err(error) = waiting.answer(Instant::now(), &answer) else {
            panic!("{answer}");
        };
        assert!(!error.to_string().is_empty());
        assert!(!error.to_string().contains('\n'));
    }
}

#[test]
fn nothing_that_arrives_hurts_a_caller() {
    let mut call = Call::connected(&Config::default());
    let mut number = 1_u32;
    let mut dice = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (number >> 24) as u8
    };
    for length in (0..64).chain([200, 1500]) {
        for first in [0, 1, 20, 22, 63, 64, 128, 143, 144, 200, 255] {
            let mut bytes: Vec<u8> = (0..length).map(|_| dice()).collect();
            if let Some(byte) = bytes.first_mut() {
                *byte = first;
            }
            let (now, from) = (call.now, common::server_address());
            call.caller.receive(now, now, from, &bytes, &mut call.out);
        }
    }
    call.run(ms(500));
    call.caller.measure();
    call.run(ms(500));
    assert_eq!(call.caller.counts().received, 25);
}
