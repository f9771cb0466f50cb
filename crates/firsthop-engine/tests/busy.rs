//! Two hundred calls on one shard: each is served in time, and the shard remembers as much as it
//! has sessions, whatever happens in them.

mod common;

use std::time::Duration;

use common::{World, opus_packets, sweep};
use firsthop_engine::CloseReason;
use firsthop_engine::shard::Command;
use str0m::config::DtlsVersion;

const CALLS: usize = 200;

#[test]
fn two_hundred_calls_are_served_in_time_and_leave_nothing_behind() {
    let mut world = World::relayed();
    let said = opus_packets(&sweep(1000));
    for _ in 0..CALLS {
        world.call(DtlsVersion::Auto);
        world.run(Duration::from_millis(3));
    }
    for client in 0..CALLS {
        world.connect(client);
    }
    for client in 0..CALLS {
        world.play(client, 1000);
        world.speak(client, &said);
        world.run(Duration::from_micros(100));
    }
    for _ in 0..15 {
        world.run(Duration::from_millis(100));
        let [sessions, ufrags, addresses, deadlines] = world.shard.remembered();
        assert_eq!([sessions, ufrags, addresses], [CALLS; 3]);
        assert_eq!(deadlines, CALLS, "one session, one deadline");
    }
    for client in 0..CALLS {
        let heard = &world.clients[client].heard;
        assert_eq!(heard.len(), 55, "{client}");
        assert!(heard.windows(2).all(|pair| {
            let apart = pair[1].at - pair[0].at;
            apart.abs_diff(Duration::from_millis(20)) < Duration::from_millis(2)
        }));
        let samples: usize = world
            .audio_of(client)
            .iter()
            .map(|(_, pcm)| pcm.len())
            .sum();
        assert!(samples >= sweep(1000).len(), "{client}");
    }
    for client in 0..CALLS {
        let session = world.clients[client].session;
        world.command(Command::Close(session));
    }
    world.run(Duration::from_secs(1));
    for client in 0..CALLS {
        let session = world.clients[client].session;
        assert_eq!(world.closed(session), Some(CloseReason::HungUp));
    }
    assert_eq!(world.shard.remembered(), [0; 4]);
    assert_eq!(world.relays[0].flows(), 0);
}
