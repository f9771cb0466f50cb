//! Invariant: a stream gives the same packets however it is cut, in order, each as its length
//! says; none is empty or longer than a client's packet may be, and the first length that is
//! longer ends the stream.

#![no_main]

use firsthop_relay::frame::Deframer;
use firsthop_wire::MAX_CLIENT_DATAGRAM;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    // The first bytes are the lengths of the pieces, used again and again.
    let (cuts, stream) = input.split_at(input.len().min(8));

    let mut expected = Vec::new();
    let mut rest = stream;
    let good = loop {
        let Some((length, behind)) = rest.split_first_chunk() else {
            break true;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        if length > MAX_CLIENT_DATAGRAM {
            break false;
        }
        let Some((packet, behind)) = behind.split_at_checked(length) else {
            break true;
        };
        if !packet.is_empty() {
            expected.push(packet);
        }
        rest = behind;
    };

    let (mut deframer, mut packets) = (Deframer::default(), Vec::new());
    let mut pushed = Ok(());
    let (mut left, mut cuts) = (stream, cuts.iter().cycle());
    while !left.is_empty() && pushed.is_ok() {
        let cut = cuts.next().map_or(left.len(), |&cut| usize::from(cut) + 1);
        let (piece, behind) = left.split_at(cut.min(left.len()));
        pushed = deframer.push(piece, |packet| packets.push(packet.to_vec()));
        left = behind;
    }
    assert_eq!(packets, expected);
    assert_eq!(pushed.is_ok(), good);
    if good {
        assert_eq!(deframer.is_within_a_frame(), !rest.is_empty());
    }
});
