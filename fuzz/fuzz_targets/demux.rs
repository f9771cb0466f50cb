//! Invariant: the demultiplexer never hides a packet from its parser. Whatever the STUN or the hop
//! parser accepts is of that kind, and the kind depends on the first byte alone.

#![no_main]

use firsthop_wire::demux::{self, Kind};
use firsthop_wire::{hop, stun};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    let kind = demux::kind(datagram);
    assert_eq!(kind, demux::kind(&datagram[..datagram.len().min(1)]));
    if stun::Binding::parse(datagram).is_ok() {
        assert_eq!(kind, Some(Kind::Stun));
    }
    if hop::records(datagram).any(|record| record.is_ok()) {
        assert_eq!(kind, Some(Kind::Hop));
    }
});
